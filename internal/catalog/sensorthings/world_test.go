package sensorthings

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/offer"
	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/telemetry"
)

// world is the API over a real registry, real models and a real store.
type world struct {
	testing.TB
	store   *local.DB
	reads   storage.Queryable // the store, unless a test says otherwise
	devices *registry.Registry
	models  *model.Models
	metrics *prometheus.Registry
	caller  access.Caller
	now     time.Time
	serve   http.Handler
	sight   func(context.Context) Sight // of who has no right of the own
	db      *records.DB
	offers  *offer.Access
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	w := &world{TB: t, metrics: prometheus.NewRegistry(), now: time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC), caller: access.Caller{Name: "reader", Role: access.Reader, Grade: telemetry.General}}
	clock := func() time.Time { return w.now }
	dir := t.TempDir()
	db, err := records.Open(t.Context(), filepath.Join(dir, "records.db"))
	w.ok(err)
	t.Cleanup(func() { db.Close() })
	sealer, err := registry.OpenSealer(filepath.Join(dir, "secrets.key"))
	w.ok(err)
	w.models, err = model.Open(t.Context(), model.Deps{Records: db, Users: func(id string) int { return w.devices.Users(id, nil) }, Changed: func(m *telemetry.Model) { w.devices.Remodel(m) }, Log: log, Clock: clock, Metrics: prometheus.NewRegistry()})
	w.ok(err)
	w.devices, err = registry.Open(t.Context(), registry.Config{Records: db, Sealer: sealer, Log: log, Now: clock, Model: w.models.View})
	w.ok(err)
	c := local.DefaultConfig()
	c.Dir = filepath.Join(dir, "series")
	w.store, err = local.Open(t.Context(), c, log, prometheus.NewRegistry())
	w.ok(err)
	t.Cleanup(func() { w.store.Close() })
	w.reads, w.db = w.store, db
	w.sight = func(context.Context) Sight { return nil }
	w.serve = w.api(change)
	return w
}

func (w *world) api(change func(*Config)) http.Handler {
	w.Helper()
	cfg := DefaultConfig()
	change(&cfg)
	api, err := New(cfg, Deps{Devices: w.devices, Models: w.models, Sight: func(ctx context.Context) Sight { return w.sight(ctx) }, Base: func(*http.Request) string { return "http://hub" }, Clock: func() time.Time { return w.now }, Metrics: w.metrics})
	w.ok(err)
	questions, err := query.New(query.DefaultConfig(), query.Source{Store: w.reads, Visible: func(*http.Request) (query.Scope, bool) {
		return query.Scope{Region: w.caller.Region}, true
	}}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	w.ok(err)
	h := questions.Beside(query.Beside{Name: "sensorthings", Answer: api.Answer, Fail: api.Fail})
	if w.offers != nil {
		return w.offers.Serve(h, api.Fail)
	}
	return h
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) register(specs ...registry.Spec) {
	w.Helper()
	_, err := w.devices.CreateBatch(w.Context(), specs)
	w.ok(err)
}

// series is the number of a series of a device.
func (w *world) series(device, metric string, tags ...telemetry.Label) telemetry.SeriesID {
	d, err := w.devices.Get(device)
	w.ok(err)
	all := append(append([]telemetry.Label{{Name: "__name__", Value: metric}}, d.Labels()...), tags...)
	slices.SortFunc(all, func(a, b telemetry.Label) int { return strings.Compare(a.Name, b.Name) })
	return w.store.Series(all)
}

// put stores n samples of a series, every step from a time on; their values are
// their positions.
func (w *world) put(id telemetry.SeriesID, from time.Time, step time.Duration, n int) {
	w.Helper()
	write := &telemetry.Write{}
	for i := range n {
		write.Points = append(write.Points, telemetry.Point{Series: id, Time: from.Add(time.Duration(i) * step).UnixMilli(), Value: float64(i)})
	}
	w.ok(w.store.Commit([]*telemetry.Write{write}))
	if len(write.Refused) > 0 {
		w.Fatalf("%d refused: %+v", len(write.Refused), write.Refused[0])
	}
}

// ask returns the answer to a path below the root.
func (w *world) ask(path string) (int, string) {
	r := httptest.NewRequestWithContext(access.WithCaller(w.Context(), w.caller), http.MethodGet, "http://hub"+Root+strings.ReplaceAll(path, " ", "%20"), nil)
	to := httptest.NewRecorder()
	w.serve.ServeHTTP(to, r)
	return to.Code, to.Body.String()
}

// get returns the object that a path answers, as it stands in JSON.
func (w *world) get(path string) map[string]any {
	w.Helper()
	code, text := w.ask(path)
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil || code != 200 {
		w.Fatalf("%s: %d %s", path, code, text)
	}
	return v
}

// pages follows the nextLinks of a collection and returns what all of its pages
// have, and how many there were.
func (w *world) pages(path string, between func()) (all []map[string]any, n int) {
	w.Helper()
	for path != "" {
		v := w.get(path)
		for _, e := range v["value"].([]any) {
			all = append(all, e.(map[string]any))
		}
		next, _ := v["@iot.nextLink"].(string)
		path = strings.TrimPrefix(next, "http://hub"+Root)
		if n++; n > 100_000 {
			w.Fatal("nextLinks do not end")
		}
		if between != nil {
			between()
		}
	}
	return all, n
}

func ids(all []map[string]any) (out []string) {
	for _, e := range all {
		out = append(out, fmt.Sprint(e["@iot.id"]))
	}
	return out
}

// late is a store that finds nothing before the question's time is over.
type late struct{ storage.Queryable }

func (l late) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := l.Queryable.Querier(mint, maxt)
	return lateQuerier{q}, err
}

type lateQuerier struct{ storage.Querier }

func (lateQuerier) Select(ctx context.Context, _ bool, _ *storage.SelectHints, _ ...*labels.Matcher) storage.SeriesSet {
	<-ctx.Done()
	return storage.ErrSeriesSet(ctx.Err())
}

func newRegistry() *prometheus.Registry { return prometheus.NewRegistry() }

// counted is how often requests met a budget.
func counted(t *testing.T, reg *prometheus.Registry, limit string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "hub_sensorthings_limited_total" && m.GetLabel()[0].GetValue() == limit {
				return m.GetCounter().GetValue()
			}
		}
	}
	return -1
}
