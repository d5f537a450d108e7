package push

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/catalogtest"
	"github.com/songhua-io/hub/internal/catalog/ckan"
	"github.com/songhua-io/hub/internal/catalog/outbox"
	"github.com/songhua-io/hub/internal/records"
)

const (
	base = catalog.Base("http://data.example.test")
	key  = "the-key-that-nobody-logs"
)

// fake is a CKAN, as far as we use one.
type fake struct {
	mu       sync.Mutex
	packages map[string]*ckan.Package // by id, deleted ones too
	made     int
	calls    int
	// hides: deleted packages are not shown, and keep their names.
	hides bool
	// trouble is what befalls a call: before it is done, or after.
	trouble func(action string) (before, after error)
	// status is what a call is answered with instead, when it is not 0.
	status func(action string) int
	// slow is how long it takes to answer.
	slow func() time.Duration
}

func newFake() *fake {
	return &fake{packages: map[string]*ckan.Package{}, trouble: func(string) (_, _ error) { return nil, nil }, status: func(string) int { return 0 }, slow: func() time.Duration { return 0 }}
}

// RoundTrip implements http.RoundTripper.
func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	action := strings.TrimPrefix(r.URL.Path, "/api/3/action/")
	before, after := f.trouble(action)
	if before != nil {
		return nil, before
	}
	late := f.slow()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	answered := make(chan struct{})
	go func() { // it goes on with what it was asked after the caller left
		time.Sleep(late)
		f.serve(w, action, r.Header.Get("Authorization"), body)
		close(answered)
	}()
	select {
	case <-answered:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if after != nil {
		return nil, after
	}
	return w.Result(), r.Context().Err()
}

func (f *fake) serve(w http.ResponseWriter, action, auth string, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if code := f.status(action); code != 0 {
		http.Error(w, "<html>an error page</html>", code)
		return
	}
	result, code, fault := any(nil), 403, map[string]any{"__type": "Authorization Error", "message": "Access denied"}
	if auth == key {
		result, code, fault = f.do(action, body)
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"success": code == 200, "result": result, "error": fault})
}

func invalid(field, text string) (any, int, map[string]any) {
	return nil, 409, map[string]any{"__type": "Validation Error", field: []string{text}}
}

func missing() (any, int, map[string]any) {
	return nil, 404, map[string]any{"__type": "Not Found Error", "message": "Not found"}
}

func (f *fake) do(action string, body []byte) (any, int, map[string]any) {
	var in ckan.Package
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &in) != nil || json.Unmarshal(body, &fields) != nil {
		return nil, 400, map[string]any{"message": "JSON Error"}
	}
	is := f.find(in.ID)
	switch action {
	case "package_show":
		if is == nil || is.State == "deleted" && f.hides {
			return missing()
		}
		return is, 200, nil
	case "package_create":
		if f.find(in.Name) != nil {
			return invalid("name", "That URL is already in use.")
		}
		f.made++
		in.ID = fmt.Sprintf("id-%d", f.made)
		return f.put(&in)
	case "package_patch":
		if is == nil {
			return missing()
		}
		next := *is
		for name, list := range map[string]func(){"extras": func() { next.Extras = nil }, "resources": func() { next.Resources = nil }, "tags": func() { next.Tags = nil }} {
			if fields[name] != nil {
				list()
			}
		}
		if json.Unmarshal(body, &next) != nil {
			return nil, 400, nil
		}
		next.ID = is.ID
		if other := f.find(next.Name); other != nil && other.ID != is.ID {
			return invalid("name", "That URL is already in use.")
		}
		return f.put(&next)
	case "package_delete":
		if is == nil {
			return missing()
		}
		gone := *is
		gone.State = "deleted"
		f.packages[is.ID] = &gone
		return nil, 200, nil
	}
	return missing()
}

func (f *fake) find(idOrName string) *ckan.Package {
	if p := f.packages[idOrName]; p != nil {
		return p
	}
	for _, p := range f.packages {
		if p.Name == idOrName {
			return p
		}
	}
	return nil
}

func (f *fake) put(p *ckan.Package) (any, int, map[string]any) {
	if strings.Contains(p.Title, "毒") {
		return invalid("title", "is not taken here")
	}
	if p.OwnerOrg == "" {
		return invalid("owner_org", "An organization must be provided")
	}
	if p.State == "" {
		p.State = "active"
	}
	p.Organization, p.NumResources = &ckan.Organization{ID: "org-1", Name: p.OwnerOrg}, len(p.Resources)
	for i := range p.Resources {
		r := &p.Resources[i]
		if r.ID == "" {
			f.made++
			r.ID = fmt.Sprintf("res-%d", f.made)
		}
		r.PackageID, r.State, r.Position = p.ID, "active", i
	}
	f.packages[p.ID] = p
	return p, 200, nil
}

// world is what the feed tells an outbox, which pushes to a fake.
type world struct {
	*testing.T
	dir  string
	ckan *fake

	mu     sync.Mutex
	number int64
	items  map[string]outbox.Item

	*outbox.Outbox
	stop   func()
	logged strings.Builder
	// noted is what went on record.
	noted []string
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, dir: t.TempDir(), ckan: newFake(), items: map[string]outbox.Item{}, stop: func() {}}
	if err := os.WriteFile(filepath.Join(w.dir, "key"), []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) set(i, edition int, state catalog.State, title string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := catalogtest.Usual(i, edition)
	if title != "" {
		e.Dataset.Title.ZH = title
	}
	id := e.Dataset.ID
	if state != catalog.Published {
		e = nil
	}
	w.number++
	w.items[id] = outbox.Item{Dataset: id, Number: w.number, At: time.Now(), Entry: e, Reason: "撤销"}
	if w.Outbox != nil {
		w.Wake()
	}
}

// start runs an outbox, again after a kill.
func (w *world) start() {
	w.Helper()
	w.stop()
	var cfg Config
	cfg.SetDefaults()
	cfg.Name, cfg.URL, cfg.KeyFile, cfg.Organization = "city", "https://ckan.example.test", filepath.Join(w.dir, "key"), "ours"
	db, err := records.Open(w.Context(), filepath.Join(w.dir, "records.db"))
	if err != nil {
		w.Fatal(err)
	}
	w.Outbox, err = outbox.Open(w.Context(), []outbox.Outlet{{Name: cfg.Name, Kind: "ckan", Reconcile: cfg.Reconcile, Destination: New(cfg, base, w.ckan)}}, outbox.Deps{
		Records: db, Log: slog.New(slog.NewTextHandler(&w.logged, nil)), Clock: time.Now, Metrics: prometheus.NewRegistry(),
		Noted: func(ctx context.Context, action access.Action, object, _ string, _, after any) context.Context {
			text, _ := json.Marshal(after)
			return records.Also(ctx, func(*sql.Tx) error {
				w.noted = append(w.noted, fmt.Sprintf("%s %s %s", action, object, text))
				return nil
			})
		},
		Item: func(id string) outbox.Item {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.items[id]
		},
		Each: func(do func(string, int64)) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for id, it := range w.items {
				do(id, it.Number)
			}
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan error, 1)
	go func() { done <- w.Outbox.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
		if err := db.Close(); err != nil {
			w.Error(err)
		}
		w.stop = func() {}
	}
}

// settled lets time pass until nothing waits.
func (w *world) settled() outbox.State {
	w.Helper()
	for range 24 * 60 {
		synctest.Wait()
		if s := w.List()[0]; s.Pending == 0 {
			return s
		}
		time.Sleep(time.Minute)
	}
	w.Fatalf("after a day %+v", w.List()[0])
	return outbox.State{}
}

// same compares the CKAN with what it is to have: every dataset once, and nothing
// else of ours.
func (w *world) same() {
	w.Helper()
	byURI := map[string][]*ckan.Package{}
	for _, p := range w.ckan.packages {
		for _, x := range p.Extras {
			if x.Key == "uri" {
				byURI[x.Value] = append(byURI[x.Value], p)
			}
		}
	}
	d := ckan.Destination{Prefix: "songhua-", Organization: "ours"}
	for id, it := range w.items {
		all := byURI[base.Dataset(id)]
		if len(all) > 1 {
			w.Errorf("%s is there %d times", id, len(all))
		}
		live := len(all) == 1 && all[0].State == "active"
		if live != (it.Entry != nil) {
			w.Errorf("%s: there %v, published %v", id, live, it.Entry != nil)
		}
		if live && it.Entry != nil {
			want := d.Push(it.Entry, base)
			if p := ckan.Diff(all[0], &want); !p.Empty() {
				w.Errorf("%s differs in %v", id, p.Fields)
			}
		}
	}
}

// TestAfterAnyTroubleACKANHasTheSnapshotEachPackageOnce: outages, answers that are
// lost after the deed, errors of every kind, slowness, kills of the hub, in any
// order between changes.
func TestAfterAnyTroubleACKANHasTheSnapshotEachPackageOnce(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 8
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { troubled(t, seed) }) })
	}
}

func troubled(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 6))
	w := newWorld(t)
	w.ckan.hides = seed%2 == 0
	var mu sync.Mutex
	bad := 0.0 // the share of calls that something befalls
	draw := func(n int) int { mu.Lock(); defer mu.Unlock(); return rnd.IntN(n) }
	befalls := func() bool { mu.Lock(); defer mu.Unlock(); return rnd.Float64() < bad }
	killed := make(chan struct{}, 1)
	w.ckan.trouble = func(string) (before, after error) {
		if !befalls() {
			return nil, nil
		}
		switch draw(4) {
		case 0:
			return errors.New("connection refused"), nil
		case 1:
			return nil, errors.New("connection reset by peer")
		case 2: // the hub is killed when it is done there and not here
			select {
			case killed <- struct{}{}:
			default:
			}
			return nil, errors.New("connection reset by peer")
		}
		return nil, nil
	}
	w.ckan.status = func(string) int {
		if befalls() {
			return []int{500, 502, 503, 429, 404, 403, 301}[draw(7)]
		}
		return 0
	}
	w.ckan.slow = func() time.Duration {
		if befalls() {
			return time.Duration(draw(90)) * time.Second // the hub waits for 30
		}
		return 0
	}
	w.start()
	for step := range 60 {
		i, state := draw(12), catalog.Published
		if draw(3) == 0 {
			state = []catalog.State{catalog.Suspended, catalog.Withdrawn}[draw(2)]
		}
		w.set(i, step, state, "")
		switch draw(5) {
		case 0:
			mu.Lock()
			bad = []float64{0, 0.1, 0.5, 1}[rnd.IntN(4)]
			mu.Unlock()
		case 1:
			time.Sleep(time.Duration(draw(300)) * time.Second)
		case 2:
			w.start() // a kill: what runs is cut off
		}
		select {
		case <-killed:
			w.start()
		default:
		}
	}
	mu.Lock()
	bad = 0
	mu.Unlock()
	time.Sleep(2 * time.Minute) // what it still works at, of calls long given up
	w.settled()
	// What was done late, after nobody waited for it any more, is found when all is
	// looked at.
	if err := w.Reconcile("city"); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if s := w.settled(); s.Failed != 0 || s.Problem != "" {
		t.Errorf("%+v", s)
	}
	w.same()
	if strings.Contains(w.logged.String()+strings.Join(w.noted, ""), key) {
		t.Error("the key is in the log")
	}
	calls := w.ckan.calls
	w.start() // nothing is sent twice
	w.settled()
	if w.ckan.calls != calls {
		t.Errorf("%d calls after a start without changes", w.ckan.calls-calls)
	}
	w.stop()
}

// in runs a test in a bubble with its own time.
func in(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f(w)
		w.stop()
	})
}

// TestWhatACKANRefusesWaitsForAChange and holds nothing else up.
func TestWhatACKANRefusesWaitsForAChange(t *testing.T) {
	in(t, func(w *world) {
		w.set(0, 1, catalog.Published, "毒")
		w.set(1, 1, catalog.Published, "")
		w.start()
		if s := w.settled(); s.Failed != 1 || s.Delivered != 1 || s.Problem != "" {
			w.Errorf("%+v", s)
		}
		calls := w.ckan.calls
		time.Sleep(9 * time.Minute) // and after ten all is looked at
		if all, err := w.Entries("city"); err != nil || w.ckan.calls != calls || !strings.Contains(all[0].Problem.ZH, "不接受") || !strings.Contains(all[0].Problem.EN, "is not taken here") {
			w.Errorf("%d calls more, %+v, %v", w.ckan.calls-calls, all, err)
		}
		w.start() // also after a start
		if s := w.settled(); s.Failed != 1 || w.ckan.calls != calls {
			w.Errorf("%+v", s)
		}
		if n, err := w.Retry(w.Context(), "city", ""); n != 1 || err != nil {
			w.Errorf("%d %v", n, err)
		}
		if s := w.settled(); s.Failed != 1 || w.ckan.calls == calls {
			w.Errorf("tried anew: %+v", s)
		}
		w.set(0, 2, catalog.Published, "")
		if s := w.settled(); s.Failed != 0 || s.Delivered != 2 {
			w.Errorf("%+v", s)
		}
		w.same()
	})
}

// TestALookThatFailsIsTriedAgain and its problem ends with the one that goes well.
func TestALookThatFailsIsTriedAgain(t *testing.T) {
	in(t, func(w *world) {
		var mu sync.Mutex
		status := 0
		answer := func(with int) { mu.Lock(); defer mu.Unlock(); status = with }
		w.ckan.status = func(string) int { mu.Lock(); defer mu.Unlock(); return status }
		w.set(0, 1, catalog.Published, "")
		w.start()
		w.settled()
		answer(http.StatusInternalServerError)
		if err := w.Reconcile("city"); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		if s := w.List()[0]; s.Problem == "" || s.Pending != 0 {
			w.Errorf("a look that failed: %+v", s)
		}
		answer(0)
		time.Sleep(9 * time.Minute) // the first look of itself is after ten
		if s := w.List()[0]; s.Problem != "" || s.Looked.IsZero() {
			w.Errorf("a look that went well: %+v", s)
		}
	})
}

// TestANameOfSomebodyElseIsLeftAlone and what it holds is not touched.
func TestANameOfSomebodyElseIsLeftAlone(t *testing.T) {
	in(t, func(w *world) {
		theirs := &ckan.Package{ID: "theirs", Name: "songhua-road-temperature-00000", Title: "别人的", OwnerOrg: "them", State: "active"}
		w.ckan.packages["theirs"] = theirs
		w.set(0, 1, catalog.Published, "")
		w.start()
		if s := w.settled(); s.Failed != 1 {
			w.Errorf("%+v", s)
		}
		w.set(0, 2, catalog.Withdrawn, "")
		w.settled()
		if p := w.ckan.packages["theirs"]; p != theirs || len(w.ckan.packages) != 1 {
			w.Errorf("%+v", p)
		}
	})
}

// TestWhatDriftsIsFoundAndMended and what others added stays.
func TestWhatDriftsIsFoundAndMended(t *testing.T) {
	in(t, func(w *world) {
		for i := range 3 {
			w.set(i, 1, catalog.Published, "")
		}
		w.start()
		w.settled()
		w.ckan.mu.Lock()
		for _, p := range w.ckan.packages {
			switch p.Name {
			case "songhua-road-temperature-00000":
				p.Title = "改过的"
				p.Extras = append(slices.Clone(p.Extras), ckan.Extra{Key: "theirs", Value: "stays"})
			case "songhua-road-temperature-00001":
				p.State = "deleted"
			}
		}
		w.ckan.mu.Unlock()
		time.Sleep(11 * time.Minute) // the first look
		s := w.settled()
		all, err := w.Entries("city")
		if err != nil || s.Drifted != 2 || !slices.Contains(all[0].Drift, "title") || !slices.Contains(all[1].Drift, "package") && !slices.Contains(all[1].Drift, "state") || s.Looked.IsZero() {
			w.Errorf("%+v %+v %v", s, all, err)
		}
		w.same()
		if p := w.ckan.find("songhua-road-temperature-00000"); !slices.Contains(p.Extras, ckan.Extra{Key: "theirs", Value: "stays"}) {
			w.Errorf("%+v", p.Extras)
		}
		time.Sleep(25 * time.Hour)
		if s := w.settled(); s.Drifted != 0 {
			w.Errorf("a day later %+v", s)
		}
	})
}

// TestPausesGrowWhileACKANIsOutOfReach so that an hour costs some sixty calls, not
// thousands.
func TestPausesGrowWhileACKANIsOutOfReach(t *testing.T) {
	in(t, func(w *world) {
		for i := range 50 {
			w.set(i, 1, catalog.Published, "")
		}
		calls := 0
		w.ckan.trouble = func(string) (_, _ error) { calls++; return errors.New("connection refused"), nil }
		w.start()
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := w.List()[0]; calls < 30 || calls > 150 || s.Pending != 50 || !strings.Contains(s.Problem, "refused") || s.Oldest.IsZero() {
			w.Errorf("%d calls, %+v", calls, s)
		}
		w.ckan.trouble = func(string) (_, _ error) { return nil, nil }
		if s := w.settled(); s.Delivered != 50 || s.Problem != "" {
			w.Errorf("%+v", s)
		}
		w.same()
	})
}

// TestADestinationIsCheckedBeforeAKeyIsSentToIt.
func TestADestinationIsCheckedBeforeAKeyIsSentToIt(t *testing.T) {
	good := Config{}
	good.SetDefaults()
	good.Name, good.URL, good.KeyFile, good.Organization = "city", "https://ckan.example.test", "key", "ours"
	if errs := good.Check("ckan[0]"); len(errs) != 0 {
		t.Errorf("%v", errs)
	}
	for want, change := range map[string]func(*Config){
		"name":          func(c *Config) { c.Name = "City!" },
		"not encrypted": func(c *Config) { c.URL = "http://ckan.example.test" },
		"https://host":  func(c *Config) { c.URL = "https://user:secret@ckan.example.test" },
		"key_file":      func(c *Config) { c.KeyFile = "" },
		"prefix":        func(c *Config) { c.Prefix = "é" },
		"organization":  func(c *Config) { c.Organization = "" },
		"timeout":       func(c *Config) { c.Timeout = -time.Second },
		"reconcile":     func(c *Config) { c.Reconcile = -time.Second },
	} {
		c := good
		change(&c)
		errs := c.Check("ckan[0]")
		if len(errs) == 0 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%s: %v", want, errs)
		}
	}
}
