package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

var (
	yesterday = source.Day(time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC))
	morning   = yesterday.To.Add(3 * time.Hour)
)

// world is a publisher with everything around it in memory, but for the records.
type world struct {
	*Publisher
	t         testing.TB
	dir       string
	db        *records.DB
	passages  *Passages
	touched   *Touched
	corrected []corrected
	now       time.Time
	datasets  map[string]*catalog.Dataset
	samples   map[string]float64 // of the first bin, by device
	grades    map[string]telemetry.Grade
	gradings  uint64
	drafts    map[string][]Draft
	fails     error // of Put
	takes     error // of Takes
	answers   []string
	noted     []string
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, dir: t.TempDir(), now: morning, datasets: map[string]*catalog.Dataset{}, samples: map[string]float64{"t1": 1, "t2": 2},
		grades: map[string]telemetry.Grade{}, drafts: map[string][]Draft{}}
	w.open()
	t.Cleanup(func() { _ = w.db.Close() })
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	if w.db, err = records.Open(w.t.Context(), filepath.Join(w.dir, "records.db")); err != nil {
		w.t.Fatal(err)
	}
	seal := func(plain []byte, binding string) []byte { return append([]byte(binding+"\n"), plain...) }
	unseal := func(sealed []byte, binding string) ([]byte, error) {
		plain, ok := strings.CutPrefix(string(sealed), binding+"\n")
		if !ok {
			return nil, fmt.Errorf("sealed for another purpose than %s", binding)
		}
		return []byte(plain), nil
	}
	w.passages = NewPassages(w.db, seal, unseal)
	cfg := DefaultConfig()
	cfg.Reviewer = "李四"
	if w.touched, err = NewTouched(w.t.Context(), w.db, cfg, prometheus.NewRegistry()); err != nil {
		w.t.Fatal(err)
	}
	w.Publisher, err = Open(w.t.Context(), cfg, Deps{
		Records: w.db, Passages: w.passages, Store: w,
		Touched: w.touched, Devices: func(context.Context, *catalog.Dataset, time.Time, time.Time) (map[string]bool, error) {
			all := map[string]bool{}
			for device := range w.samples {
				all[device] = true
			}
			return all, nil
		},
		Part: func() time.Time { return w.now }, AsOf: asOf, Corrections: w.corrections,
		Sources: source.Deps{Bins: w.bins, Place: func(map[string]string) (float64, float64, bool) { return 0, 0, false }},
		Dataset: func(id string) (*catalog.Dataset, error) {
			if d := w.datasets[id]; d != nil {
				return d, nil
			}
			return nil, fmt.Errorf("dataset %s is not known", id)
		},
		Published: func() (all []*catalog.Dataset) {
			for _, id := range slices.Sorted(maps.Keys(w.datasets)) {
				if d := w.datasets[id]; d.State == catalog.Published {
					all = append(all, d)
				}
			}
			return all
		},
		Suspend: func(_ context.Context, id, _ string) error { w.datasets[id].State = catalog.Suspended; return nil },
		Answered: func(_ context.Context, ticket string) error {
			w.answers = append(w.answers, ticket)
			return nil
		},
		Grade:    func(device, _ string) telemetry.Grade { return w.grades[device] },
		Gradings: func() uint64 { return w.gradings },
		Device: func(_ context.Context, id string) Device {
			return Device{ID: id, Kind: "sensor", Firmware: "1.2", Agent: "edge-agent 3"}
		},
		Road: func(code, _ string) source.Link { return source.Link{District: "220102"} },
		Noted: func(ctx context.Context, _ access.Action, object, _ string, _, _ any) context.Context {
			w.noted = append(w.noted, object)
			return ctx
		},
		Seal: seal, Unseal: unseal, Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return w.now }, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// bins give each device a sample in the first bin.
func (w *world) bins(ctx context.Context, _, _ string, from, to time.Time, bin time.Duration, each func(map[string]string, []source.Bin) error) error {
	for device, v := range w.samples {
		v = w.as(ctx, device, v)
		bins := make([]source.Bin, to.Sub(from)/bin)
		bins[0] = source.Bin{Count: 1, Sum: v, Min: v, Max: v, Last: v, LastAt: from.UnixMilli()}
		if err := each(map[string]string{"__name__": "temperature", "device": device, "region": "220102"}, bins); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) Takes(*catalog.Dataset) error { return w.takes }

func (w *world) Put(_ context.Context, d Draft) error {
	if w.fails != nil {
		return w.fails
	}
	if n := len(w.drafts[d.Dataset.ID]) + 1; int(d.Version) != n {
		return fmt.Errorf("version %d comes as number %d", d.Version, n)
	}
	w.drafts[d.Dataset.ID] = append(w.drafts[d.Dataset.ID], d)
	return nil
}

func (w *world) List(dataset string) (all []Released) {
	for _, d := range w.drafts[dataset] {
		all = append(all, Released{d.Version, d.Period})
	}
	return all
}

func (w *world) Remove(_ context.Context, dataset string, version int64) error {
	w.drafts[dataset] = slices.DeleteFunc(w.drafts[dataset], func(d Draft) bool { return d.Version == version })
	return nil
}

func series(id string) *catalog.Dataset {
	return &catalog.Dataset{ID: id, State: catalog.Published, Grade: telemetry.General, Signed: "张三",
		Source: catalog.Source{Kind: catalog.SourceSeries, Selector: "temperature", Bin: time.Hour, By: []string{"device"}},
		Items:  []catalog.Item{{Name: "device", Type: catalog.String}, {Name: "time", Type: catalog.Instant}, {Name: "temperature", Type: catalog.Number}}}
}

func flows(id string) *catalog.Dataset {
	return &catalog.Dataset{ID: id, State: catalog.Published, Grade: telemetry.General, Signed: "张三",
		Source: catalog.Source{Kind: catalog.SourceRoads, Bin: source.Quarter},
		Items: []catalog.Item{{Name: "link", Type: catalog.String}, {Name: "district", Type: catalog.String}, {Name: "bin", Type: catalog.String},
			{Name: "time", Type: catalog.Instant}, {Name: "vehicles", Type: catalog.Integer}, {Name: "speed", Type: catalog.Number, Unit: "km/h"}, {Name: "held", Type: catalog.Boolean}}}
}

func (w *world) order(id string) Order { return Order{Dataset: id, Day: yesterday.From} }

func (w *world) made(o Order) *Result {
	w.t.Helper()
	r, err := w.Make(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) refused(o Order, is error) {
	w.t.Helper()
	if _, err := w.Make(w.t.Context(), o); !errors.Is(err, is) {
		w.t.Errorf("want an error that %v, got %v", is, err)
	}
}

// A day is released once; late data make a new version that says what it replaces
// and why; a correction tells its ticket.
func TestADayIsReleased(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	if r := w.made(w.order("air")); r.Version != 1 || r.Rows != 2 || r.Replaces != 0 {
		t.Errorf("%+v", r)
	}
	w.refused(w.order("air"), ErrSame)
	w.samples["t3"] = 3
	if r := w.made(w.order("air")); r.Version != 2 || r.Rows != 3 || r.Replaces != 1 {
		t.Errorf("%+v", r)
	}
	w.samples["t1"] = 1.5
	o := w.order("air")
	o.Ticket, o.Reason = "o-7", catalog.Text{ZH: "探头偏差", EN: "the probe was off"}
	o.Replaces = 1
	w.refused(o, ErrNewer) // somebody released version 2 meanwhile
	o.Replaces = 2
	if r := w.made(o); r.Version != 3 || r.Replaces != 2 {
		t.Errorf("%+v", r)
	}
	var why []string
	for _, d := range w.drafts["air"] {
		why = append(why, d.Reason.EN+d.Thread)
		if len(d.Inputs) < 2 || d.Transform.ID != "songhua-series/1" || len(d.Transform.Hash) != 64 || d.Key[1] != "time" {
			t.Errorf("%+v", d)
		}
	}
	if diff := cmp.Diff([]string{"", "late data came in", "the probe was off (ticket o-7)o-7"}, why); diff != "" {
		t.Error(diff)
	}
	if len(w.answers) != 1 || w.answers[0] != "o-7" {
		t.Errorf("tickets are told %q", w.answers)
	}
	if len(w.noted) != 3 {
		t.Errorf("on record is %q", w.noted)
	}
}

func TestWhatIsNotReleased(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	today := w.order("air")
	today.Day = morning
	w.refused(today, ErrEarly)
	w.datasets["air"].State = catalog.Suspended
	w.refused(w.order("air"), ErrShut)
	w.datasets["flow"] = flows("flow")
	w.refused(w.order("flow"), ErrEmpty)
	w.datasets["flow"].Source.Live = true
	w.refused(w.order("flow"), ErrShut)
	w.datasets["people"] = series("people")
	w.datasets["people"].Personal = true
	w.refused(w.order("people"), ErrShut)
	w.samples = nil
	w.datasets["air"].State = catalog.Published
	w.refused(w.order("air"), ErrEmpty)
	if len(w.drafts) > 0 {
		t.Errorf("released are %v", w.drafts)
	}
}

// What was decided before a crash is released after it; where its samples have
// changed meanwhile, nothing of it is, and the day is decided anew.
func TestACrashMakesNoSecondDecision(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	w.fails = errors.New("the power is cut")
	w.refused(w.order("air"), w.fails)
	w.fails = nil
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.refused(w.order("air"), ErrSame) // it was finished first
	if n := len(w.drafts["air"]); n != 1 {
		t.Errorf("%d releases", n)
	}

	w.samples["t1"] = 9
	w.fails = errors.New("the power is cut")
	w.refused(w.order("air"), w.fails)
	w.fails, w.samples["t1"] = nil, 10
	if r := w.made(w.order("air")); r.Version != 2 || r.Replaces != 1 {
		t.Errorf("%+v", r)
	}
	if v := w.drafts["air"][1].Table.Columns[2].Numbers[0]; v != 10 {
		t.Errorf("%v is released", v)
	}
}

// Each day of the look-back is released at its time; what a dataset does not keep
// any longer is removed.
func TestDailyAndRetention(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	w.datasets["air"].Retention = 3 * 24 * time.Hour
	w.Daily(t.Context())
	var days []string
	for _, d := range w.drafts["air"] {
		days = append(days, dayName(d.Period))
	}
	if diff := cmp.Diff([]string{"2026-11-18", "2026-11-19", "2026-11-20"}, days); diff != "" {
		t.Error(diff)
	}
	if at := w.due(morning); at.In(source.China).Format("2006-01-02 15:04") != "2026-11-22 02:30" {
		t.Errorf("the next time is %s", at)
	}
}

// A grade that is raised reaches what is made of it, and what is derived.
func TestGradesAreCarriedOn(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"], w.datasets["index"] = series("air"), series("index")
	w.datasets["index"].Related, w.datasets["index"].Source.Selector = []string{"air"}, "other"
	follow := func() {
		t.Helper()
		if err := w.follow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.made(w.order("air"))
	follow()
	if w.datasets["air"].State != catalog.Published {
		t.Fatal("it is suspended without a reason")
	}
	w.grades["t1"], w.gradings = telemetry.Important, 1
	follow()
	if s := w.datasets["air"].State; s != catalog.Suspended {
		t.Errorf("a device was graded important, and the dataset is %s", s)
	}
	w.datasets["air"].State = catalog.Published
	w.samples["t2"] = 5
	w.refused(w.order("air"), ErrGrade)
	if s := w.datasets["air"].State; s != catalog.Suspended || len(w.drafts["air"]) != 1 {
		t.Errorf("the dataset is %s, with %d releases", s, len(w.drafts["air"]))
	}
	w.datasets["air"].Grade = telemetry.Important
	follow()
	if s := w.datasets["index"].State; s != catalog.Suspended {
		t.Errorf("what it is derived from is important, and it is %s", s)
	}
	w.datasets["index"].State = catalog.Published // a person looked at it
	follow()
	if s := w.datasets["index"].State; s != catalog.Published {
		t.Errorf("it was opened again, and is %s", s)
	}
}

func TestLineageOfARow(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	w.made(w.order("air"))
	l, err := w.Lineage(t.Context(), "air", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Series) != 1 || l.Series[0].Name() != `temperature{device="t2",region="220102"}` || l.Devices[0].Firmware != "1.2" || !l.At.Equal(yesterday.From) || l.Transform.ID == "" {
		t.Errorf("%+v", l)
	}
	if all, err := w.Lineage(t.Context(), "air", 1, -1); err != nil || len(all.Series) != 2 || len(all.Devices) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	for _, wrong := range []struct{ version, row int }{{1, 2}, {7, 0}} {
		if _, err := w.Lineage(t.Context(), "air", int64(wrong.version), wrong.row); !errors.Is(err, ErrUnknown) {
			t.Errorf("row %d of version %d: %v", wrong.row, wrong.version, err)
		}
	}
}

// drive puts vehicles on links in minutes of the day: how many, by minute.
func (w *world) drive(link string, from, to time.Duration, each int64) {
	w.t.Helper()
	var all []Minute
	for at := from; at < to; at += time.Minute {
		all = append(all, Minute{Unit: "r1", Start: yesterday.From.Add(at), Passages: map[string]source.Passages{link: {Vehicles: each, SpeedSum: each * 12_000}}})
	}
	if err := w.passages.Keep(w.t.Context(), all); err != nil {
		w.t.Fatal(err)
	}
}

// Roads are released through the gate alone, with its report; the same rows and
// report come out of what is kept; a second dataset is checked against the first.
func TestRoadsPassTheGate(t *testing.T) {
	w := newWorld(t)
	w.datasets["flow"] = flows("flow")
	w.drive("1>2", 0, 24*time.Hour, 20)
	w.drive("2>1", 0, 24*time.Hour, 15)
	w.drive("2>3", 0, 24*time.Hour, 2)
	w.drive("3>2", 0, 24*time.Hour, 3)
	w.made(w.order("flow"))
	d := w.drafts["flow"][0]
	if err := gate.VerifyReport(d.Privacy, nil); err != nil {
		t.Fatal(err)
	}
	shown := map[string]int{}
	for r := range d.Table.Rows {
		if v := &d.Table.Columns[4]; v.Has(r) {
			shown[d.Table.Columns[0].Strings[r]+" "+d.Table.Columns[2].Strings[r]]++
			if d.Table.Columns[0].Strings[r] == "2>1" && d.Table.Columns[2].Strings[r] == "1h" && (v.Integers[r] != 900 || d.Table.Columns[5].Numbers[r] != 43.2) {
				t.Errorf("an hour of 2>1 has %d vehicles at %v km/h", v.Integers[r], d.Table.Columns[5].Numbers[r])
			}
		}
	}
	// One of the busy links goes with the two quiet ones: what is left of the
	// district would be of three vehicles for sure, and no more.
	if shown["2>1 15m"] != 96 || shown["2>1 24h"] != 1 || shown["2>3 15m"] != 0 || shown["3>2 24h"] != 0 || shown[" 1h"] != 24 {
		t.Errorf("shown are %v", shown)
	}
	table, report, err := w.Rebuild(t.Context(), "flow", 1)
	if err != nil || string(report) != string(d.Privacy) || hashTable(table) != hashTable(d.Table) {
		t.Errorf("it comes out as something else, %v", err)
	}
	w.madeAsBefore(ref{"flow", 1})

	w.datasets["districts"] = flows("districts")
	w.datasets["districts"].Items = w.datasets["districts"].Items[1:] // no links
	w.made(w.order("districts"))
	var second gate.Report
	if err := json.Unmarshal(w.drafts["districts"][0].Privacy, &second); err != nil || second.Checks.Earlier != 1 {
		t.Errorf("it was checked against %d tables, %v", second.Checks.Earlier, err)
	}
	l, err := w.Lineage(t.Context(), "flow", 1, 3)
	if err != nil || len(l.Devices) != 1 || l.Devices[0].ID != "r1" {
		t.Errorf("%+v, %v", l, err)
	}
}

// madeAsBefore decides a version by the rules of before late data were shown in part,
// as one that was decided then is made again: the report says the method of then.
func (w *world) madeAsBefore(of ref) {
	w.t.Helper()
	g, err := w.gatedOf(w.t.Context(), of)
	if err != nil {
		w.t.Fatal(err)
	}
	methods := map[string]bool{}
	for _, g.Edition = range []int{0, gateEdition} {
		if err := w.run(w.t.Context(), g, &gate.Ledger{}); err != nil {
			w.t.Fatal(err)
		}
		var r gate.Report
		if err := json.Unmarshal(g.Report, &r); err != nil {
			w.t.Fatal(err)
		}
		methods[r.Method.EN] = strings.Contains(r.Method.EN, "late contributors") == (g.Edition > 0)
	}
	if len(methods) != 2 || slices.Contains(slices.Collect(maps.Values(methods)), false) {
		w.t.Errorf("the methods of both editions are %v", methods)
	}
}

// Late passages of a few change nothing that is out; those of many do, in a new
// version.
func TestLatePassages(t *testing.T) {
	w := newWorld(t)
	w.datasets["flow"] = flows("flow")
	w.drive("1>2", 0, 24*time.Hour, 20)
	w.drive("2>1", 0, 24*time.Hour, 20)
	w.made(w.order("flow"))
	w.drive("1>2", 8*time.Hour, 8*time.Hour+15*time.Minute, 21)
	w.drive("2>1", 9*time.Hour, 9*time.Hour+15*time.Minute, 40)
	if r := w.made(w.order("flow")); r.Version != 2 || r.Replaces != 1 {
		t.Errorf("%+v", r)
	}
	before, after := w.drafts["flow"][0].Table, w.drafts["flow"][1].Table
	var changed []string
	for r := range after.Rows {
		if after.Columns[2].Strings[r] == "15m" && after.Columns[4].Has(r) && after.Columns[4].Integers[r] != before.Columns[4].Integers[r] {
			changed = append(changed, fmt.Sprint(after.Columns[0].Strings[r], " ", after.Columns[4].Integers[r]))
		}
	}
	if diff := cmp.Diff([]string{" 900", "2>1 600"}, changed); diff != "" {
		t.Error(diff)
	}
}

// Minutes that are told again replace themselves; a link that two units report is
// counted once; what is old is forgotten.
func TestPassagesAreKept(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		w.drive("1>2", 0, 30*time.Minute, 3)
	}
	second := []Minute{{Unit: "r2", Start: yesterday.From, Passages: map[string]source.Passages{"1>2": {Vehicles: 4, SpeedSum: 4}, "9>8": {}}}}
	if err := w.passages.Keep(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	d, err := w.passages.day(t.Context(), yesterday)
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, p := range d.links["1>2"] {
		n += p.Vehicles
	}
	if n != 90 || d.units["1>2"] != "r1" || d.units["9>8"] != "r2" {
		t.Errorf("%d vehicles, %v", n, d.units)
	}
	at := yesterday.From.Unix() / 60
	w.drive("2>3", 0, 30*time.Minute, 3)
	w.drive("2>3", 20*time.Minute, 21*time.Minute, 2) // takes one back
	w.drive("2>3", 21*time.Minute, 22*time.Minute, 3) // says the same again
	if d, err = w.passages.day(t.Context(), yesterday); err != nil {
		t.Fatal(err)
	}
	if d.grown("1>2", at) || !d.grown("2>3", at) || d.grown("2>3", at+15) {
		t.Errorf("only added to: 1>2, of which two tell: %v; the first quarter of 2>3: %v; the second: %v", d.grown("1>2", at), d.grown("2>3", at), d.grown("2>3", at+15))
	}
	if err := w.passages.Forget(t.Context(), yesterday.To); err != nil {
		t.Fatal(err)
	}
	if d, err = w.passages.day(t.Context(), yesterday); err != nil || len(d.links) != 0 {
		t.Errorf("%v is left, %v", d, err)
	}
}

// What the store keeps nothing of is refused before anything is decided: nothing is
// left to finish, and the first release is version 1.
func TestNothingIsDecidedOfWhatIsNotKept(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	w.takes = errors.New("needs a key")
	w.refused(w.order("air"), w.takes)
	if pending, err := w.pending(t.Context(), "air"); err != nil || len(pending) > 0 || len(w.noted) > 0 {
		t.Errorf("%v, decided %v, noted %v", err, pending, w.noted)
	}
	w.takes = nil
	if r := w.made(w.order("air")); r.Version != 1 {
		t.Errorf("%+v", r)
	}
}
