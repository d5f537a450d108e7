package correction

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/telemetry"
)

type point struct {
	T int64
	V float64
}

// world is a real store with samples, and corrections of them.
type world struct {
	log   *Log
	db    *records.DB
	store *local.DB
	raw   map[string][]point // by labels
	start int64
	now   int64
}

// names are the series of a world: two of one metric and device, one of another
// device, one of another metric.
var names = []map[string]string{
	{"__name__": "level", "device": "a", "room": "1"},
	{"__name__": "level", "device": "a", "room": "2"},
	{"__name__": "level", "device": "b"},
	{"__name__": "wind", "device": "a"},
}

const samples = 40 // of a series, one a second

func newWorld(t *testing.T) *world {
	t.Helper()
	cfg := local.DefaultConfig()
	cfg.Dir = t.TempDir()
	store, err := local.Open(t.Context(), cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	db, err := records.Open(t.Context(), filepath.Join(t.TempDir(), "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := &world{db: db, store: store, raw: map[string][]point{}, start: time.Now().Add(-time.Hour).Truncate(time.Second).UnixMilli()}
	write := &telemetry.Write{}
	for n, name := range names {
		var ls []telemetry.Label
		for _, l := range []string{"__name__", "device", "room"} {
			if name[l] != "" {
				ls = append(ls, telemetry.Label{Name: l, Value: name[l]})
			}
		}
		id := store.Series(ls)
		for i := range int64(samples) {
			p := point{w.start + i*1000, float64(int64(n)*100 + i)}
			if i == samples-1 {
				p.V = telemetry.StaleMarker()
			}
			write.Points = append(write.Points, telemetry.Point{Series: id, Time: p.T, Value: p.V})
			key := labels.FromMap(name).String()
			w.raw[key] = append(w.raw[key], p)
		}
	}
	if err := store.Commit([]*telemetry.Write{write}); err != nil || len(write.Refused) > 0 {
		t.Fatal(err, write.Refused)
	}
	w.open(t)
	return w
}

func (w *world) open(t fataler) {
	var err error
	w.log, err = Open(context.Background(), Deps{Records: w.db, Store: w.store, Clock: func() time.Time { return time.UnixMilli(w.now) }, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
}

type fataler interface{ Fatal(...any) }

// forget begins with an empty log.
func (w *world) forget(t fataler) {
	if err := w.db.Tx(context.Background(), func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM corrections")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	w.open(t)
}

// read returns what is seen of a metric, between two times, by labels.
func (w *world) read(t fataler, ctx context.Context, metric string, from, to int64, seek bool) map[string][]point {
	q, err := w.log.Queryable().Querier(from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	all := map[string][]point{}
	set := q.Select(ctx, true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", metric))
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		it = s.Iterator(it)
		step := it.Next
		if seek {
			last := from - 1
			step = func() chunkenc.ValueType {
				kind := it.Seek(last + 1)
				if kind != chunkenc.ValNone {
					last = it.AtT()
				}
				return kind
			}
		}
		for kind := step(); kind != chunkenc.ValNone; kind = step() {
			p := point{}
			p.T, p.V = it.At()
			all[s.Labels().String()] = append(all[s.Labels().String()], p)
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return all
}

// model is what is to be seen: one sample after the other, one correction after
// the other.
func (w *world) model(all []*Correction, metric string, from, to, asOf int64) map[string][]point {
	out := map[string][]point{}
	for _, name := range names {
		key := labels.FromMap(name).String()
		for _, p := range w.raw[key] {
			if name["__name__"] != metric || p.T < from || p.T > to {
				continue
			}
			v, gone := p.V, false
			for _, c := range all {
				if c.At > asOf || c.Metric != metric || c.Device != name["device"] || p.T < c.From || p.T > c.To || telemetry.IsStaleMarker(p.V) || c.Labels["room"] != "" && c.Labels["room"] != name["room"] {
					continue
				}
				switch c.Operation {
				case Set:
					v, gone = c.Value, false
				case Scale:
					v = c.Factor*v + c.Offset
				case Remove:
					gone = true
				case Restore:
					v, gone = p.V, false
				}
			}
			if !gone {
				out[key] = append(out[key], point{p.T, v})
			}
		}
	}
	return out
}

var sameBits = cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })

// TestTheOverlayIsWhatTheModelSays holds any sequence of corrections, read as of
// any time and after a restart, against a model of a few lines.
func TestTheOverlayIsWhatTheModelSays(t *testing.T) {
	w := newWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		w.forget(t)
		w.now = 1_000_000
		var all []*Correction
		for range rapid.IntRange(0, 12).Draw(t, "corrections") {
			w.now += rapid.Int64Range(-5, 20).Draw(t, "clock")
			at := func(name string) int64 {
				return w.start + rapid.Int64Range(-2, samples+2).Draw(t, name)*1000 + rapid.Int64Range(-1, 1).Draw(t, name+" ms")
			}
			c := Correction{
				Metric: rapid.SampledFrom([]string{"level", "wind"}).Draw(t, "metric"), Device: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "device"),
				From: at("from"), Operation: rapid.SampledFrom(Operations()).Draw(t, "operation"), Reason: "because", By: "somebody",
				Value: rapid.Float64Range(-9, 9).Draw(t, "value"), Factor: rapid.Float64Range(-2, 2).Draw(t, "factor"), Offset: rapid.Float64Range(-5, 5).Draw(t, "offset"),
			}
			if room := rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "room"); room != "" {
				c.Labels = map[string]string{"room": room}
			}
			if c.To = c.From; rapid.Bool().Draw(t, "range") {
				c.To = max(c.From, at("to"))
			}
			kept, err := w.log.Add(t.Context(), c)
			switch {
			case err == nil:
				all = append(all, kept)
			case !errors.Is(err, ErrNothing) && !errors.Is(err, ErrInvalid):
				t.Fatal(err)
			}
		}
		if rapid.Bool().Draw(t, "restart") {
			w.open(t)
		}
		if got, _ := w.log.List(Filter{}, 100); len(got) != len(all) {
			t.Fatalf("%d corrections are listed, %d were made", len(got), len(all))
		}
		ctx, asOf := t.Context(), int64(math.MaxInt64)
		if rapid.Bool().Draw(t, "as of") {
			asOf = 1_000_000 + rapid.Int64Range(-10, 250).Draw(t, "as of when")
			ctx = AsOf(ctx, time.UnixMilli(asOf))
		}
		from := w.start + rapid.Int64Range(-1, samples).Draw(t, "read from")*1000
		to := from + rapid.Int64Range(0, samples).Draw(t, "read for")*1000
		for _, metric := range []string{"level", "wind"} {
			want := w.model(all, metric, from, to, asOf)
			if diff := cmp.Diff(want, w.read(t, ctx, metric, from, to, rapid.Bool().Draw(t, "seek")), sameBits); diff != "" {
				t.Fatalf("%s as of %d: -model +read\n%s", metric, asOf, diff)
			}
		}
	})
}

func TestAnUncorrectedReadIsTheStoresOwn(t *testing.T) {
	w := newWorld(t)
	if q, _ := w.log.Queryable().Querier(0, math.MaxInt64); fmt.Sprintf("%T", q) == "*correction.querier" {
		t.Error("without corrections a querier is wrapped")
	}
	add(t, w, Correction{Device: "a", Metric: "level", From: w.start, To: w.start, Operation: Set, Value: 1, Labels: map[string]string{"room": "1"}})
	q, err := w.log.Queryable().Querier(0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	wrapped := map[string]bool{}
	for _, metric := range []string{"level", "wind"} {
		set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", metric))
		if _, is := set.(*seriesSet); is != (metric == "level") {
			t.Errorf("the set of %s is %T", metric, set)
		}
		for set.Next() {
			if _, is := set.At().(*series); is {
				wrapped[set.At().Labels().String()] = true
			}
		}
	}
	if len(wrapped) != 1 || !wrapped[`{__name__="level", device="a", room="1"}`] {
		t.Errorf("wrapped are %v", wrapped)
	}
}

// asked is a querier that remembers with which hints it was asked.
type asked struct {
	storage.Querier
	funcs *[]string
}

func (a asked) Select(ctx context.Context, sorted bool, h *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	*a.funcs = append(*a.funcs, h.Func)
	return a.Querier.Select(ctx, sorted, h, ms...)
}

// TestAnEngineLeavesNoSampleOutOfWhatIsCorrected: it may answer max by the greatest
// sample that it has, which is not the greatest of those that are right.
func TestAnEngineLeavesNoSampleOutOfWhatIsCorrected(t *testing.T) {
	w := newWorld(t)
	add(t, w, Correction{Device: "b", Metric: "level", From: w.start, To: w.start, Operation: Set, Value: 1})
	var funcs []string
	w.log.deps.Store = storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) {
		q, err := w.store.Querier(mint, maxt)
		return asked{q, &funcs}, err
	})
	q, err := w.log.Queryable().Querier(0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for _, metric := range []string{"level", "wind"} {
		for _, f := range []string{"max_over_time", "series"} {
			q.Select(t.Context(), true, &storage.SelectHints{Func: f}, labels.MustNewMatcher(labels.MatchEqual, "__name__", metric))
		}
	}
	if diff := cmp.Diff([]string{"", "series", "max_over_time", "series"}, funcs); diff != "" {
		t.Error(diff)
	}
}

func add(t *testing.T, w *world, c Correction) *Correction {
	t.Helper()
	if c.Reason == "" {
		c.Reason = "because"
	}
	kept, err := w.log.Add(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

func TestACorrectionTellsWhatItWasAbout(t *testing.T) {
	w := newWorld(t)
	one := add(t, w, Correction{Device: "b", Metric: "level", From: w.start + 3000, To: w.start + 3000, Operation: Set, Value: 7, By: "li"})
	if one.Samples != 1 || one.Old == nil || *one.Old != 203 {
		t.Errorf("%+v", one)
	}
	again := add(t, w, Correction{Device: "b", Metric: "level", From: w.start + 3000, To: w.start + 3000, Operation: Scale, Factor: 2, Old: ptr(7.)})
	if *again.Old != 7 {
		t.Errorf("the old value is %v", *again.Old)
	}
	all := add(t, w, Correction{Device: "a", Metric: "level", From: w.start, To: w.start + 3_600_000, Operation: Scale, Factor: 1, Offset: -1})
	if all.Samples != 2*(samples-1) || all.Old != nil { // the end of a series is no value
		t.Errorf("%+v", all)
	}
}

func ptr[T any](v T) *T { return &v }

func TestWhatIsNoCorrectionIsRefused(t *testing.T) {
	w := newWorld(t)
	good := Correction{Device: "b", Metric: "level", From: w.start, To: w.start, Operation: Set, Value: 7, Reason: "read wrong"}
	for name, c := range map[string]struct {
		change func(*Correction)
		want   error
	}{
		"a device that is not there":    {func(c *Correction) { c.Device = "c" }, ErrNothing},
		"between two samples":           {func(c *Correction) { c.From++; c.To++ }, ErrNothing},
		"no reason":                     {func(c *Correction) { c.Reason = " " }, ErrInvalid},
		"backwards":                     {func(c *Correction) { c.To-- }, ErrInvalid},
		"not finite":                    {func(c *Correction) { c.Value = math.Inf(1) }, ErrInvalid},
		"an operation that nobody does": {func(c *Correction) { c.Operation = "guess" }, ErrInvalid},
		"nothing is changed":            {func(c *Correction) { c.Operation, c.Factor = Scale, 1 }, ErrInvalid},
		"more than a number holds": {func(c *Correction) {
			c.Operation, c.Factor, c.Offset = Scale, 1e308, 1e308
			c.From += 9000
			c.To += 9000
		}, ErrInvalid},
		"another old value":        {func(c *Correction) { c.Old = ptr(1.) }, ErrOld},
		"the old value of many":    {func(c *Correction) { c.Old = ptr(200.); c.To += 5000 }, ErrInvalid},
		"one value for two series": {func(c *Correction) { c.Device = "a" }, ErrInvalid},
	} {
		bad := good
		c.change(&bad)
		if _, err := w.log.Add(t.Context(), bad); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.log.Len() != 0 {
		t.Errorf("%d are kept", w.log.Len())
	}
}

func TestTheListIsTheNewestFirst(t *testing.T) {
	w := newWorld(t)
	for i := range int64(5) {
		add(t, w, Correction{Device: "b", Metric: "level", From: w.start + i*1000, To: w.start + i*1000, Operation: Remove})
	}
	var ids []int64
	for before, more := int64(0), true; more; more = before != 0 {
		part, next := w.log.List(Filter{Device: "b", Before: before}, 2)
		for _, c := range part {
			ids = append(ids, c.ID)
		}
		before = next
	}
	if !slices.Equal(ids, []int64{5, 4, 3, 2, 1}) {
		t.Errorf("%v", ids)
	}
	if part, _ := w.log.List(Filter{Device: "a"}, 9); len(part) != 0 {
		t.Errorf("%v", part)
	}
}

// A read as of a time that parts sees the same whatever is corrected later, also in
// the same millisecond; what was made between two such times is told.
func TestATimeParts(t *testing.T) {
	w := newWorld(t)
	correct := func(value float64) *Correction {
		t.Helper()
		c, err := w.log.Add(t.Context(), Correction{Device: "b", Metric: "level", From: w.start, To: w.start, Operation: Set, Value: value, By: "x", Reason: "x"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := correct(1)
	before := w.log.Part()
	second := correct(2)
	after := w.log.Part()
	correct(3)
	if second.At <= before.UnixMilli() {
		t.Errorf("a correction is made at %d, not after %d", second.At, before.UnixMilli())
	}
	if some := w.log.Made(before, after, w.start, w.start); len(some) != 1 || some[0] != second {
		t.Errorf("between are %v", some)
	}
	if some := w.log.Made(time.Time{}, after, w.start+1, w.start+2); len(some) != 0 {
		t.Errorf("of other times are %v", some)
	}
	all, more, err := w.log.Samples(t.Context(), second, 1)
	if err != nil || len(all) != 1 || more || all[0].Before != (Value{1, true}) || all[0].After != (Value{2, true}) || all[0].Now != (Value{3, true}) {
		t.Errorf("%+v, %v, %v", all, more, err)
	}
	if w.log.Get(first.ID) != first || w.log.Get(99) != nil {
		t.Error("a correction is not found by its number")
	}
}
