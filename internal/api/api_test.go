package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	matching "github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/backfill"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/outbox"
	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/quality"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/correction"
	"github.com/songhua-io/hub/internal/enrolment"
	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/schedule/loop"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/twin"
)

// desk holds rejects in a list.
type desk struct {
	entries []RejectEntry
	fail    error // of Replay, after all but the last
}

func (d *desk) matching(f RejectFilter) (all []RejectEntry) {
	for _, e := range d.entries {
		if (f.ID == "" || f.ID == e.ID) && (f.Device == "" || f.Device == e.Device) && (f.Sees == nil || f.Sees(e.Device)) {
			all = append(all, e)
		}
	}
	return all
}

func (d *desk) List(_ context.Context, q RejectQuery) (RejectPage, error) {
	if q.ID == "no-id" || q.Cursor == "no-id" {
		return RejectPage{}, fmt.Errorf("%w: no-id", ErrNoReject)
	}
	found := d.matching(q.RejectFilter)
	for i := range found {
		if !q.Payloads {
			found[i].Payload = nil
		}
	}
	return RejectPage{Entries: found}, nil
}

func (d *desk) Replay(_ context.Context, f RejectFilter) (int, error) {
	if d.fail != nil {
		return len(d.matching(f)) - 1, d.fail
	}
	return len(d.matching(f)), nil
}

func (d *desk) Drop(_ context.Context, f RejectFilter) (int, error) { return len(d.matching(f)), nil }

type quiet struct{}

func (quiet) Activity(func(string, registry.Seen) bool) {}

// hub is an API with everything real behind it but the write path.
type hub struct {
	testing.TB
	api       *API
	server    *httptest.Server
	registry  *registry.Registry
	presence  *registry.Presence
	tokens    *access.Tokens
	sessions  *access.Sessions
	desk      *desk
	ready     error
	metrics   *prometheus.Registry
	token     string // of role admin
	cookie    string // of a session, in the place of a token
	answered  string // the ticket that the newest release answers
	authority *authority.Authority
	enrolment *enrolment.Registrar
	audit     *audit.Log
	releases  *release.Store
	where     []release.Stretch // of the rows of releases
	roads     *roadViews
}

// onlySeries is a set of one series.
type onlySeries struct {
	storage.Series
	told bool
}

func (s *onlySeries) Next() bool                        { was := s.told; s.told = true; return !was }
func (s *onlySeries) At() storage.Series                { return s.Series }
func (s *onlySeries) Err() error                        { return nil }
func (s *onlySeries) Warnings() annotations.Annotations { return nil }

func start(t testing.TB, beside ...Beside) *hub {
	t.Helper()
	return startWith(t, loop.DefaultConfig(), time.Now, beside...)
}

// startWith has a scheduler of its own settings, with a clock of its own.
func startWith(t testing.TB, compute loop.Config, clock func() time.Time, beside ...Beside) *hub {
	t.Helper()
	dir := t.TempDir()
	h := &hub{TB: t, desk: &desk{}, roads: &roadViews{}, metrics: prometheus.NewRegistry()}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := records.Open(t.Context(), filepath.Join(dir, "records.db"))
	check(err)
	sealer, err := registry.OpenSealer(filepath.Join(dir, "secrets.key"))
	check(err)
	log := slog.New(slog.DiscardHandler)
	models, err := model.Open(t.Context(), model.Deps{Records: db, Users: func(id string) int { return h.registry.Users(id, nil) },
		Changed: func(m *telemetry.Model) { h.registry.Remodel(m) }, Log: log, Clock: time.Now, Metrics: prometheus.NewRegistry()})
	check(err)
	h.registry, err = registry.Open(t.Context(), registry.Config{Records: db, Sealer: sealer, Log: log, Now: time.Now, Model: models.View})
	check(err)
	h.presence, err = registry.NewPresence(t.Context(), registry.PresenceConfig{Registry: h.registry, Records: db, Activity: quiet{},
		On: func([]registry.Transition) {}, Log: log, Now: time.Now, Metrics: prometheus.NewRegistry()})
	check(err)
	h.tokens, err = access.OpenTokens(t.Context(), db, time.Now)
	check(err)
	h.sessions, err = access.OpenSessions(t.Context(), access.DefaultPagesConfig(), access.SessionsDeps{Records: db, Tokens: h.tokens, Clock: time.Now, Metrics: prometheus.NewRegistry()})
	check(err)
	h.token = h.roleToken("root", access.Admin, "")
	h.authority, err = authority.Open(authority.Options{Dir: filepath.Join(dir, "authority"), Config: authority.DefaultConfig(), Log: log, Clock: time.Now, Metrics: prometheus.NewRegistry()})
	check(err)
	h.enrolment, err = enrolment.Open(t.Context(), enrolment.Options{Records: db, Registry: h.registry, Authority: h.authority, Clock: clock, Metrics: prometheus.NewRegistry()})
	check(err)
	commands, err := command.Open(t.Context(), command.DefaultConfig(), command.Deps{
		Records: db, Registered: func(id string) bool { return h.registry.Device(id) != nil }, Check: func(string, string, json.RawMessage) error { return nil },
		Log: log, Clock: time.Now, Metrics: prometheus.NewRegistry()})
	check(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- commands.Run(ctx) }()
	twins := twin.New(twin.Deps{Records: db, Check: func(string, json.RawMessage) error { return nil }, Clock: time.Now})
	scheduler, err := loop.Open(t.Context(), compute, loop.Deps{Records: db, Log: log, Clock: clock, Metrics: prometheus.NewRegistry()})
	check(err)
	promised := make(chan error, 1)
	go func() { promised <- scheduler.Run(ctx) }()
	h.audit, err = audit.Open(audit.Options{Records: db, Dir: dir, Config: audit.DefaultConfig(), Log: log, Clock: time.Now, Metrics: prometheus.NewRegistry()})
	check(err)
	datasets, err := register.Open(t.Context(), register.DefaultConfig(), register.Deps{
		Records: db, Noted: func(ctx context.Context, action access.Action, object, region string, before, after any) context.Context {
			return h.api.noted(ctx, action, object, region, before, after)
		},
		Selection: func(s string) (register.Selection, error) {
			return register.Selection{{Label: "__name__", Is: "=", Value: s}}, nil
		},
		Series: func(context.Context, string, int) ([]register.Series, error) {
			return []register.Series{{Metric: "soil", Labels: map[string]string{"device": "t1", "kind": "sensor", "region": "220100"}, Unit: "%", Grade: telemetry.General}}, nil
		},
		Metric: func(string) register.Metric { return register.Metric{} }, Seal: sealer.Seal, Unseal: sealer.Open,
		Changed: func(string) {}, Log: log, Clock: clock, Metrics: prometheus.NewRegistry(),
	})
	check(err)
	measured, err := quality.Open(t.Context(), quality.DefaultConfig(), quality.Deps{Records: db, Register: datasets, Devices: h.registry, Log: log, Clock: clock, Metrics: prometheus.NewRegistry(),
		Selection: func(*catalog.Dataset) (register.Selection, error) { return nil, nil },
		Store:     storage.QueryableFunc(func(int64, int64) (storage.Querier, error) { return storage.NoopQuerier(), nil })})
	check(err)
	h.releases, err = release.Open(release.Deps{Dir: filepath.Join(dir, "releases"), Log: log, Clock: clock,
		Cuts: release.CutDeps{Dir: filepath.Join(dir, "cuts"), Max: 1 << 30, Where: func(context.Context, string, int64) ([]release.Stretch, error) { return h.where, nil }}, Noted: func(ctx context.Context, _ release.Event, m *release.Manifest) error {
			text, err := m.Note()
			return errors.Join(err, h.audit.Add(ctx, h.api.entry(ctx, access.MakeReleases, fmt.Sprintf("release %s/%d", m.Dataset, m.Version), "220100", nil, json.RawMessage(text))))
		}})
	check(err)
	outlets, err := outbox.Open(t.Context(), []outbox.Outlet{{Name: "portal", Kind: "ckan", Destination: deaf{}}}, outbox.Deps{
		Records: db, Item: func(id string) outbox.Item { return outbox.Item{Dataset: id} }, Each: func(func(string, int64)) {},
		Noted: func(ctx context.Context, action access.Action, object, region string, before, after any) context.Context {
			return h.api.noted(ctx, action, object, region, before, after)
		},
		Log: log, Clock: clock, Metrics: prometheus.NewRegistry(),
	})
	check(err)
	evaluated, err := rules.Open(t.Context(), rules.DefaultConfig(), rules.Deps{Records: db, Changed: func() {}, Log: log, Clock: clock, Metrics: prometheus.NewRegistry()})
	check(err)
	corrections, err := correction.Open(t.Context(), correction.Deps{Records: db, Clock: clock, Metrics: prometheus.NewRegistry(),
		Store: &storage.MockQueryable{MockQuerier: &storage.MockQuerier{SelectMockFunction: func(bool, *storage.SelectHints, ...*matching.Matcher) storage.SeriesSet {
			return &onlySeries{Series: storage.MockSeries(nil, []int64{1764000000000}, []float64{4}, []string{"__name__", "soil", "device", "t1"})}
		}}}})
	check(err)
	h.api, err = New(Deps{Rules: evaluated, Corrections: corrections, Steps: h.steps, Concerns: func(_ context.Context, _ string, c *correction.Correction) (bool, error) {
		return c.Metric == "soil", nil
	}, Imports: backfill.NewLedger(db, clock), Outlets: outlets, ExportOutlet: func(string, string) ([]byte, string, []catalog.Problem, error) { return nil, "text/csv", nil, nil },
		Lineage: func(_ context.Context, dataset string, _ int64, _ int) (*publish.Lineage, error) {
			return nil, fmt.Errorf("dataset %s %w", dataset, register.ErrUnknown)
		},
		Releases: Releases{Store: h.releases, Make: h.makeRelease, Budget: func(_ context.Context, d *catalog.Dataset) (*publish.Budget, error) {
			return &publish.Budget{Noise: d.Privacy.Noise, Together: 900_000, Days: []publish.DayBudget{{Day: 20_777, Spent: 250_000, All: 750_000, Versions: 1}, {Day: 20_776, Spent: 500_000, All: 500_000, Versions: 2}}}, nil
		}}, Quality: measured, Freezes: freezes{}, Roads: h.roads, Catalog: datasets, Scheduler: scheduler, Expression: func(string) error { return nil }, Quotas: quota.New(quota.DefaultConfig(), time.Now(), prometheus.NewRegistry()), Authority: h.authority, Enrolment: h.enrolment, Doors: func(host string) map[string]string { return map[string]string{"https": "https://" + host} }, Registry: h.registry, Presence: h.presence, Commands: commands, Twins: twins, Tokens: h.tokens, Sessions: h.sessions, Audit: h.audit, Models: models, Desk: h.desk,
		Answers: records.Answers{DB: db, Now: time.Now}, Sealer: sealer, Rates: func() Rates { return Rates{SamplesPerSecond: 1.5} },
		Ready: func() error { return h.ready }, Version: "test", Log: log, Now: time.Now, Metrics: h.metrics, Beside: beside})
	check(err)
	h.server = httptest.NewServer(h.api)
	t.Cleanup(func() {
		h.server.Close()
		stop()
		if err := errors.Join(<-ended, <-promised); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	return h
}

func (h *hub) roleToken(name string, role access.Role, region string) string {
	h.Helper()
	_, secret, err := h.tokens.Create(h.Context(), access.Token{Name: name, Role: role, Region: region})
	if err != nil {
		h.Fatal(err)
	}
	return secret
}

type reply struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

// do sends a request; headers are "Name: value".
func (h *hub) do(method, path, body string, headers ...string) reply {
	h.Helper()
	req, err := http.NewRequestWithContext(h.Context(), method, h.server.URL+path, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	if h.token != "" {
		req.Header.Set("Authorization", "Bearer "+h.token)
	}
	if h.cookie != "" {
		req.Header.Set("Cookie", h.cookie)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatal(err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header, text: string(text)}
	json.Unmarshal(text, &r.body) //nolint:errcheck // not all answers are JSON
	return r
}

func (h *hub) want(code int, r reply) reply {
	h.Helper()
	if r.status != code {
		h.Fatalf("status %d, want %d: %s", r.status, code, r.text)
	}
	return r
}

// as returns the hub as the holder of another token sees it.
func (h *hub) as(token string) *hub {
	other := *h
	other.token = token
	return &other
}

func TestShapesThatClientsRelyOn(t *testing.T) {
	h := start(t)
	made := h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t1", "kind": "sensor", "site": "plant-a", "region": "220100", "tags": {"floor": "2"}, "period": "60s", "lat": 43.88, "lon": 125.32}`))
	secret, _ := made.body["secret"].(string)
	if made.body["id"] != "t1" || len(secret) != 43 || made.header.Get("ETag") != `"1"` || made.header.Get("Location") != "/api/v1/devices/t1" {
		t.Errorf("%+v", made)
	}
	if _, err := h.registry.Authenticate(t.Context(), "t1", []byte(secret)); err != nil {
		t.Error(err)
	}
	got := h.want(200, h.do("GET", "/api/v1/devices/t1", ""))
	for _, k := range []string{"created", "updated"} {
		delete(got.body, k)
	}
	want := map[string]any{"id": "t1", "kind": "sensor", "site": "plant-a", "region": "220100", "tags": map[string]any{"floor": "2"},
		"period": "1m0s", "lat": 43.88, "lon": 125.32, "disabled": false, "last_seen": nil, "last_event": nil, "series": 0.0, "samples": 0.0, "version": 1.0,
		"presence": map[string]any{"state": "never", "since": nil, "reason": ""}}
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Errorf("GET (-want +got):\n%s", diff)
	}
	h.presence.Connected("t1")
	got = h.want(200, h.do("GET", "/api/v1/devices/t1", ""))
	if p := got.body["presence"].(map[string]any); p["state"] != "online" || p["reason"] != "connected" || p["since"] == nil {
		t.Errorf("presence %v", p)
	}
	rotated := h.want(200, h.do("POST", "/api/v1/devices/t1/rotate", ""))
	if s := rotated.body["secret"]; s == secret || s == nil || rotated.body["id"] != "t1" {
		t.Errorf("rotate: %s", rotated.text)
	}
	batch := h.want(201, h.do("POST", "/api/v1/devices:batch", `{"devices": [{"id": "a"}, {"id": "b", "secret": "correct-horse-battery"}]}`))
	if devices := batch.body["devices"].([]any); len(devices) != 2 || devices[1].(map[string]any)["secret"] != "correct-horse-battery" {
		t.Errorf("batch: %s", batch.text)
	}
	h.want(204, h.do("DELETE", "/api/v1/devices/a", ""))
	h.want(404, h.do("GET", "/api/v1/devices/a", ""))
}

func TestErrorsNameTheThingTheValueAndTheWayOut(t *testing.T) {
	h := start(t)
	h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t1"}`))
	for _, c := range []struct {
		method, path, body string
		code               int
		says               []string
	}{
		{"POST", "/api/v1/devices", `{"id": "t1"}`, 409, []string{`device \"t1\" is already registered`, "PATCH /api/v1/devices/t1"}},
		{"POST", "/api/v1/devices", `{"id": "-", "kind": "toaster", "period": "0.01s"}`, 422, []string{`kind \"toaster\" is not one of`, "body.kind", "body.id", "body.period"}},
		{"POST", "/api/v1/devices", `{"id": "x", "period": "soon"}`, 422, []string{`period \"soon\"`, "60s"}},
		{"POST", "/api/v1/devices", `{"id": "x", "colour": "red"}`, 422, []string{"unexpected property", "colour"}},
		{"POST", "/api/v1/devices", `{"id": "x", "secret": "short"}`, 422, []string{"16 to 128"}},
		{"POST", "/api/v1/devices", `{"id": `, 400, nil},
		{"POST", "/api/v1/devices:batch", `{"devices": [{"id": "n1"}, {"id": "t1"}]}`, 409, []string{"body.devices[1].id", "none was"}},
		{"POST", "/api/v1/devices:batch", `{"devices": [{"id": "n1"}, {"id": "t 1"}]}`, 422, []string{"body.devices[1].id"}},
		{"GET", "/api/v1/devices/nobody", ``, 404, []string{`device \"nobody\" is not registered`, "hub device list"}},
		{"GET", "/api/v1/devices?limit=0", ``, 422, []string{"query.limit"}},
		{"GET", "/api/v1/devices?cursor=!!", ``, 422, []string{"leave it out"}},
		{"GET", "/api/v1/devices?knd=rsu", ``, 422, []string{"unknown query parameter"}},
		{"PATCH", "/api/v1/devices/t1", `{"secret": "a-new-secret-for-it"}`, 422, []string{"/rotate"}},
		{"PATCH", "/api/v1/devices/t1", `{"id": "t2"}`, 422, []string{"id cannot be changed"}},
		{"PATCH", "/api/v1/devices/t1", `{"colour": "red"}`, 422, []string{"colour"}},
		{"POST", "/api/v1/rejects:drop", `{}`, 422, []string{`{\"all\": true}`}},
		{"POST", "/api/v1/tokens", `{"name": "x", "role": "device"}`, 422, []string{"hub device add"}},
		{"DELETE", "/api/v1/tokens/nobody", ``, 404, []string{"hub token list"}},
		{"GET", "/api/v1/nothing", ``, 404, []string{"/docs"}},
	} {
		r := h.do(c.method, c.path, c.body)
		if r.status != c.code || !strings.HasPrefix(r.header.Get("Content-Type"), "application/problem+json") {
			t.Errorf("%s %s %s: status %d (%s), want %d: %s", c.method, c.path, c.body, r.status, r.header.Get("Content-Type"), c.code, r.text)
		}
		for _, s := range c.says {
			if !strings.Contains(r.text, s) {
				t.Errorf("%s %s %s: %s does not say %q", c.method, c.path, c.body, r.text, s)
			}
		}
	}
	if h.registry.Len() != 1 {
		t.Errorf("%d devices", h.registry.Len())
	}
}

// The table of rights is what the doors do: every route is asked by every role
// and by strangers.
func TestEveryRouteAgreesWithTheTableOfRights(t *testing.T) {
	h := start(t, Beside{Pattern: "/prometheus/", Action: access.ReadTelemetry, Handler: http.NotFoundHandler()})
	open := []string{"/api/v1/enroll", "/api/v1/renew", "/api/v1/objections", "/api/v1/objections/{id}/status", "/api/v1/objections/{id}/messages"} // by what else they are shown
	asked, tokens := map[access.Action]bool{}, map[access.Role]string{}
	for _, role := range access.Roles() {
		if role != access.Device { // has no tokens
			tokens[role] = h.roleToken("of-"+string(role), role, "")
		}
	}
	for _, r := range h.api.Routes() {
		if strings.HasPrefix(r.Path, "/api/") && r.Action == "" && !slices.Contains(open, r.Path) {
			t.Errorf("%s %s asks nothing", r.Method, r.Path)
		}
		asked[r.Action] = true
		path := strings.NewReplacer("{id}", "nobody", "{name}", "nobody", "{kind}", "carbon", "{zone}", "nowhere", "{node}", "0").Replace(r.Path)
		if path == "/api/v1/watch" {
			path += "?since=never" // an answer that ends
		}
		method := r.Method
		if method == "" {
			method = "GET"
		}
		for _, role := range append(access.Roles(), "") {
			req := httptest.NewRequest(method, path, strings.NewReader("{}"))
			if tokens[role] != "" {
				req.Header.Set("Authorization", "Bearer "+tokens[role])
			}
			rec := httptest.NewRecorder()
			h.api.ServeHTTP(rec, req)
			in := rec.Code != 401 && rec.Code != 403
			want := r.Action == "" || tokens[role] != "" && access.May(role, r.Action)
			if in != want {
				t.Errorf("%s %s as %q: %d, allowed is %v", method, path, role, rec.Code, want)
			}
			if role == "" && !in && (rec.Code != 401 || rec.Header().Get("WWW-Authenticate") == "") {
				t.Errorf("%s %s as a stranger: %d", method, path, rec.Code)
			}
		}
	}
	for _, action := range access.Actions() {
		if action != access.SendTelemetry && !asked[action] {
			t.Errorf("no route asks for %s", action)
		}
	}
}

func TestNarrowedCallersSeeTheirRegionOnly(t *testing.T) {
	h := start(t)
	for id, region := range map[string]string{"here": "220100", "there": "110000", "nowhere": ""} {
		h.want(201, h.do("POST", "/api/v1/devices", fmt.Sprintf(`{"id": %q, "region": %q}`, id, region)))
		h.want(200, h.do("PUT", "/api/v1/sites/"+id, fmt.Sprintf(`{"names": {"zh": "甲", "en": "A"}, "region": %q}`, region)))
	}
	h.desk.entries = []RejectEntry{{ID: "1", Device: "here"}, {ID: "2", Device: "there"}, {ID: "3"}}
	jilin := h.as(h.roleToken("jl", access.Admin, "22"))
	for path, want := range map[string]string{"/api/v1/devices": "here", "/api/v1/sites": "here", "/api/v1/rejects": "1", "/api/v1/tokens": "jl"} {
		r := jilin.want(200, jilin.do("GET", path, ""))
		items := r.body["items"].([]any)
		if len(items) != 1 || !strings.Contains(fmt.Sprint(items[0]), want) {
			t.Errorf("%s: %s", path, r.text)
		}
	}
	for _, c := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/api/v1/devices/there", "", 404},
		{"POST", "/api/v1/devices/there/disable", "", 404},
		{"DELETE", "/api/v1/devices/nowhere", "", 404},
		{"POST", "/api/v1/devices", `{"id": "x", "region": "110000"}`, 403},
		{"POST", "/api/v1/devices", `{"id": "x"}`, 403},
		{"POST", "/api/v1/devices:batch", `{"devices": [{"id": "y", "region": "220100"}, {"id": "x", "region": "110000"}]}`, 403},
		{"PATCH", "/api/v1/devices/here", `{"region": "110000"}`, 403},
		{"PUT", "/api/v1/sites/there", `{"names": {"zh": "", "en": ""}, "region": "220100"}`, 403},
		{"POST", "/api/v1/tokens", `{"name": "x", "role": "admin"}`, 403},
		{"DELETE", "/api/v1/tokens/root", ``, 403},
		{"PATCH", "/api/v1/devices/here", `{"region": "220200"}`, 200},
		{"POST", "/api/v1/tokens", `{"name": "x", "role": "reader", "region": "2201"}`, 201},
	} {
		jilin.want(c.code, jilin.do(c.method, c.path, c.body))
	}
	if r := jilin.want(200, jilin.do("GET", "/api/v1/stats", "")); r.body["devices"].(map[string]any)["total"] != 1.0 {
		t.Errorf("stats: %s", r.text)
	}
}

func TestListsPage(t *testing.T) {
	h := start(t)
	var specs []string
	for i := range 25 {
		specs = append(specs, fmt.Sprintf(`{"id": "d%02d", "region": "22%02d00"}`, i, i))
	}
	h.want(201, h.do("POST", "/api/v1/devices:batch", `{"devices": [`+strings.Join(specs, ",")+`]}`))
	for i := range 25 {
		h.roleToken(fmt.Sprintf("t%02d", i), access.Reader, "")
		h.want(200, h.do("PUT", fmt.Sprintf("/api/v1/sites/s%02d", i), `{"names": {"zh": "", "en": ""}}`))
	}
	for path, want := range map[string]int{"/api/v1/devices": 25, "/api/v1/sites": 25, "/api/v1/tokens": 26, "/api/v1/regions": 25, "/api/v1/audit": 26} {
		seen := map[string]bool{}
		for next := ""; ; {
			r := h.want(200, h.do("GET", path+"?limit=7&cursor="+next, ""))
			for _, item := range r.body["items"].([]any) {
				seen[fmt.Sprint(item)] = true
			}
			next, _ = r.body["next_cursor"].(string)
			if next == "" {
				break
			}
		}
		if len(seen) != want {
			t.Errorf("%s: %d items, want %d", path, len(seen), want)
		}
	}
	if r := h.want(200, h.do("GET", "/api/v1/devices?region=220&q=D0&presence=never", "")); len(r.body["items"].([]any)) != 10 {
		t.Errorf("filtered: %s", r.text)
	}
}

func TestChangesAreConditional(t *testing.T) {
	h := start(t)
	h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t1", "region": "220100", "tags": {"a": "1", "b": "2"}, "lat": 1, "lon": 2}`))
	r := h.want(200, h.do("PATCH", "/api/v1/devices/t1", `{"tags": {"a": null, "c": "3"}, "lat": null, "lon": null, "period": "30s"}`, `If-Match: "1"`))
	if r.header.Get("ETag") != `"2"` || r.body["lat"] != nil || r.body["region"] != "220100" || r.body["period"] != "30s" {
		t.Errorf("%s", r.text)
	}
	if diff := cmp.Diff(map[string]any{"b": "2", "c": "3"}, r.body["tags"]); diff != "" {
		t.Error(diff)
	}
	h.want(412, h.do("PATCH", "/api/v1/devices/t1", `{"region": "220200"}`, `If-Match: "1"`))
	h.want(412, h.do("DELETE", "/api/v1/devices/t1", "", `If-Match: "1"`))
	h.want(412, h.do("DELETE", "/api/v1/devices/t1", "", `If-Match: nonsense`))
	h.want(200, h.do("POST", "/api/v1/devices/t1/disable", "", `If-Match: *`))
	h.want(204, h.do("DELETE", "/api/v1/devices/t1", "", `If-Match: "3"`))
}

func TestAWriteWithAKeyHappensOnce(t *testing.T) {
	h := start(t)
	const key = "Idempotency-Key: 7f1c"
	first := h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t1"}`, key))
	again := h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t1"}`, key))
	if first.text != again.text || again.header.Get("Idempotency-Replayed") != "true" || again.header.Get("ETag") != first.header.Get("ETag") || again.header.Get("Content-Type") != "application/json" {
		t.Errorf("first %+v\nagain %+v", first, again)
	}
	h.want(422, h.do("POST", "/api/v1/devices", `{"id": "t2"}`, key))
	h.want(409, h.do("POST", "/api/v1/devices", `{"id": "t1"}`, "Idempotency-Key: other"))
	h.want(422, h.do("POST", "/api/v1/devices", `{"id": "t 3"}`, "Idempotency-Key: third"))
	h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t3"}`, "Idempotency-Key: third"))
	h.want(422, h.do("POST", "/api/v1/devices", `{"id": "t4"}`, "Idempotency-Key: "+strings.Repeat("k", 256)))
	h.want(204, h.do("DELETE", "/api/v1/devices/t3", "", "Idempotency-Key: gone"))
	h.want(204, h.do("DELETE", "/api/v1/devices/t3", "", "Idempotency-Key: gone"))

	var all sync.WaitGroup
	codes := make(chan int, 10)
	for range cap(codes) {
		all.Go(func() { codes <- h.do("POST", "/api/v1/devices/t1/rotate", "", "Idempotency-Key: rotate").status })
	}
	all.Wait()
	close(codes)
	for c := range codes {
		if c != 200 && c != 409 {
			t.Errorf("status %d", c)
		}
	}
	if d, err := h.registry.Get("t1"); err != nil || d.Version != 2 {
		t.Errorf("rotated %d times, %v", d.Version-1, err)
	}
}

func TestRevocationEndsSessionsAtOnce(t *testing.T) {
	h := start(t)
	made := h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t1"}`))
	p, err := h.registry.Authenticate(t.Context(), "t1", []byte(made.body["secret"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	h.want(200, h.do("POST", "/api/v1/devices/t1/disable", ""))
	select {
	case <-p.Done:
	default:
		t.Error("disabled, and the session lives on after the answer")
	}
}

func TestAnAdminEndsSessionsOfTheOwnRegion(t *testing.T) {
	h := start(t)
	open := func(name, region string) (access.Session, string) {
		t.Helper()
		s, secret, err := h.sessions.Open(t.Context(), access.Session{Name: name, Shown: name, Via: access.ViaOIDC, Subject: "1", Role: access.Operator, Region: region, Origin: "192.0.2.1"})
		if err != nil {
			t.Fatal(err)
		}
		return s, secret
	}
	here, secret := open("here@road.example", "2201")
	there, _ := open("there@road.example", "1101")
	cookie := "Cookie: " + access.Cookie + "=" + secret
	person := h.as("")
	person.want(200, person.do("GET", "/api/v1/devices", "", cookie))
	person.want(403, person.do("GET", "/api/v1/sessions", "", cookie))
	person.want(201, person.do("POST", "/api/v1/devices", `{"id": "own", "region": "220100"}`, cookie, "Sec-Fetch-Site: same-origin"))
	for _, site := range []string{"cross-site", "same-site"} {
		person.want(401, person.do("POST", "/api/v1/devices", `{"id": "forged", "region": "220100"}`, cookie, "Sec-Fetch-Site: "+site))
	}
	person.want(401, person.do("POST", "/api/v1/devices", `{"id": "forged", "region": "220100"}`, cookie, "Origin: https://evil.example"))

	jilin := h.as(h.roleToken("jl", access.Admin, "22"))
	r := jilin.want(200, jilin.do("GET", "/api/v1/sessions", ""))
	if items := r.body["items"].([]any); len(items) != 1 || items[0].(map[string]any)["id"] != here.ID || strings.Contains(r.text, secret) {
		t.Errorf("%s", r.text)
	}
	jilin.want(403, jilin.do("DELETE", "/api/v1/sessions/"+there.ID, ""))
	jilin.want(204, jilin.do("DELETE", "/api/v1/sessions/"+here.ID, ""))
	jilin.want(404, jilin.do("DELETE", "/api/v1/sessions/"+here.ID, ""))
	person.want(401, person.do("GET", "/api/v1/devices", "", cookie))
	if r := h.want(200, h.do("GET", "/api/v1/audit?limit=1", "")); !strings.Contains(r.text, `"sessions.end"`) || !strings.Contains(r.text, "session of here@road.example") || strings.Contains(r.text, secret) {
		t.Errorf("%s", r.text)
	}
	admin, own := h.sessionOf("root2")
	admin.want(204, admin.do("DELETE", "/api/v1/sessions/"+own, "")) // ends itself, and is told so
}

// sessionOf returns the hub as an admin with a session sees it.
func (h *hub) sessionOf(name string) (*hub, string) {
	h.Helper()
	s, secret, err := h.sessions.OpenByToken(h.Context(), h.roleToken(name, access.Admin, ""), "192.0.2.1")
	if err != nil {
		h.Fatal(err)
	}
	other := h.as("")
	other.cookie = access.Cookie + "=" + secret
	return other, s.ID
}

func TestAnEndedSessionIsToldNothingMore(t *testing.T) {
	h := start(t)
	h.devices(map[string]string{"here": "220100"})
	id := h.want(201, h.do("POST", "/api/v1/devices/here/commands", `{"name": "reboot", "expires_in": "1h"}`)).body["id"].(string)
	admin, own := h.sessionOf("waiting")
	for begun := time.Now(); time.Since(begun) < 2*time.Millisecond; { // a use is later than the opening, in milliseconds
		runtime.Gosched()
	}
	got := make(chan reply, 1)
	go func() { got <- admin.do("GET", "/api/v1/commands/"+id+"?wait=1m", "") }()
	for { // until the request is under way
		if s, err := h.sessions.Get(own); err != nil || s.LastUse.After(s.Created) {
			break
		}
		runtime.Gosched()
	}
	h.want(204, h.do("DELETE", "/api/v1/sessions/"+own, ""))
	if r := <-got; r.status != 401 || strings.Contains(r.text, "reboot") {
		t.Errorf("%d %s", r.status, r.text)
	}
}

func TestTheHubSaysHowItIs(t *testing.T) {
	h := start(t)
	h.token = ""
	h.want(200, h.do("GET", "/healthz", ""))
	h.want(200, h.do("GET", "/readyz", ""))
	h.ready = errors.New("the store is opening: 40 % of the log is read")
	if r := h.want(503, h.do("GET", "/readyz", "")); !strings.Contains(r.text, "40 %") {
		t.Errorf("%s", r.text)
	}
}

func TestTheDescriptionHasEveryRoute(t *testing.T) {
	h := start(t,
		Beside{Pattern: "POST /api/v1/devices/{id}/telemetry", ZH: "上报遥测", EN: "Telemetry of a device", Own: true, Handler: http.NotFoundHandler()},
		Beside{Pattern: "GET /metrics", ZH: "自身指标", EN: "The hub's own metrics", Action: access.ReadHub, Handler: http.NotFoundHandler()})
	h.token = ""
	spec := h.want(200, h.do("GET", "/openapi.json", ""))
	paths := spec.body["paths"].(map[string]any)
	zh := h.want(200, h.do("GET", "/docs", "", "Accept-Language: zh-CN,zh;q=0.9"))
	en := h.want(200, h.do("GET", "/docs", ""))
	for _, r := range h.api.Routes() {
		methods, _ := paths[r.Path].(map[string]any)
		if methods[strings.ToLower(r.Method)] == nil {
			t.Errorf("%s %s is not in /openapi.json", r.Method, r.Path)
		}
		if r.ZH == "" || r.EN == "" || !strings.Contains(zh.text, r.ZH) || !bytes.Contains([]byte(en.text), []byte(r.Path)) {
			t.Errorf("%s %s is not in /docs", r.Method, r.Path)
		}
	}
	for _, page := range []string{zh.text, en.text} {
		if strings.Contains(page, "://") || strings.Contains(page, "<script") {
			t.Error("/docs takes something from elsewhere")
		}
	}
}

func FuzzDevice(f *testing.F) {
	f.Add([]byte(`{"id": "t1", "kind": "sensor", "site": "plant-a", "region": "220100", "tags": {"floor": "2"}, "period": "60s", "lat": 43.88, "lon": 125.32}`))
	f.Add([]byte(`{"id": "t1", "lat": 1e999}`))
	f.Add([]byte(`{"id": "\ud800", "tags": {"": null}}`))
	f.Add([]byte(`[]`))
	h := start(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		req := httptest.NewRequest("POST", "/api/v1/devices", bytes.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+h.token)
		rec := httptest.NewRecorder()
		h.api.ServeHTTP(rec, req)
		switch {
		case rec.Code >= 500:
			t.Fatalf("%q: %d %s", body, rec.Code, rec.Body)
		case rec.Code != 201:
			return
		}
		var made deviceWithSecret
		if err := json.Unmarshal(rec.Body.Bytes(), &made); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		d, err := h.registry.Get(made.ID)
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if diff := cmp.Diff(made.DeviceIn, describeDevice(d), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q: shown and kept differ:\n%s", body, diff)
		}
		if err := h.registry.Remove(t.Context(), made.ID, 0); err != nil {
			t.Fatal(err)
		}
	})
}

// freezes is a hub that is frozen and thawed without a file.
type freezes struct{}

func (freezes) Freeze(context.Context) (Frozen, error) { return Frozen{ID: "moment"}, nil }

func (freezes) Thaw(string) error { return nil }

// deaf is an outlet that is never there.
type deaf struct{}

func (deaf) Send(context.Context, outbox.Item) (outbox.Known, error) {
	return outbox.Known{}, errors.New("nobody answers")
}

func (deaf) Look(context.Context, outbox.Item) (outbox.Known, []string, error) {
	return outbox.Known{}, nil, outbox.ErrAlike
}
