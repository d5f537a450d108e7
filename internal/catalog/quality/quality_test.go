package quality

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/simulate"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/telemetry"
)

// world is a keeper over a real register, a real store and a database.
type world struct {
	testing.TB
	now      time.Time
	db       *records.DB
	store    *local.DB
	catalog  *register.Register
	keeper   *Keeper
	expect   func(device, metric, unit string) Expected
	arrivals map[string]*telemetry.Arrivals
	paths    []string
	door     string
	releases []catalog.Release
}

// today is a day of China's time that is over.
const today = Day("2026-11-25")

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, now: today.Begin().Add(-48 * time.Hour), arrivals: map[string]*telemetry.Arrivals{}, expect: func(string, string, string) Expected {
		return Expected{Period: time.Minute, Low: math.Inf(-1), High: math.Inf(1)}
	}}
	log, clock := slog.New(slog.DiscardHandler), func() time.Time { return w.now }
	dir := t.TempDir()
	var err error
	w.db, err = records.Open(t.Context(), filepath.Join(dir, "records.db"))
	w.ok(err)
	t.Cleanup(func() { w.db.Close() })
	c := local.DefaultConfig()
	c.Dir = filepath.Join(dir, "series")
	w.store, err = local.Open(t.Context(), c, log, prometheus.NewRegistry())
	w.ok(err)
	t.Cleanup(func() { w.store.Close() })
	selection := func(selector string) (register.Selection, error) {
		return register.Selection{{Label: "__name__", Is: "=", Value: selector}}, nil
	}
	w.catalog, err = register.Open(t.Context(), register.DefaultConfig(), register.Deps{
		Changed: func(string) {}, Records: w.db, Noted: func(ctx context.Context, _ access.Action, _, _ string, _, _ any) context.Context { return ctx },
		Selection: selection, Series: func(context.Context, string, int) ([]register.Series, error) { return nil, nil }, Metric: func(string) register.Metric { return register.Metric{} },
		Seal: func(plain []byte, _ string) []byte { return plain }, Unseal: func(sealed []byte, _ string) ([]byte, error) { return sealed, nil },
		Log: log, Clock: clock, Metrics: prometheus.NewRegistry(),
	})
	w.ok(err)
	w.keeper = w.open()
	return w
}

func (w *world) open() *Keeper {
	w.Helper()
	k, err := Open(w.Context(), DefaultConfig(), Deps{
		Records: w.db, Register: w.catalog, Store: w.store,
		Selection: func(d *catalog.Dataset) (register.Selection, error) {
			return register.Selection{{Label: "__name__", Is: "=", Value: d.Source.Selector}}, nil
		},
		Expect: func(device, metric, unit string) Expected { return w.expect(device, metric, unit) },
		Arrivals: func(yield func(string, *telemetry.Arrivals) bool) {
			for device, a := range w.arrivals {
				if !yield(device, a) {
					return
				}
			}
		},
		Releases: func(string) []catalog.Release { return w.releases },
		Paths:    func(*catalog.Dataset) []string { return w.paths }, Base: func() string { return w.door }, Client: http.DefaultClient,
		Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return w.now }, Metrics: prometheus.NewRegistry(),
	})
	w.ok(err)
	return k
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// publish makes a dataset of a metric public now.
func (w *world) publish(id, metric string) {
	w.Helper()
	d, err := register.Parse(fmt.Appendf(nil, `{id: %s, title: {zh: 温度, en: Temperature (%[1]s)}, abstract: {zh: 温度}, region: "22", path: ["1"],
provider: {name: {zh: 某局}, code: 91220101MA00000000}, contact: {name: {zh: 张三}, email: a@example.org}, items: [{name: %s, title: {zh: 温度}, unit: Cel}],
source: {kind: series, selector: %[2]s, bin: 1h, by: [device]}, share: {class: unconditional}, open: {class: unconditional}, licence: "https://creativecommons.org/licenses/by/4.0/", cycle: {kind: periodic, period: 1h}}`, id, metric))
	w.ok(err)
	_, err = w.catalog.Put(w.Context(), *d, 0)
	w.ok(err)
	_, err = w.catalog.Submit(w.Context(), id, 0)
	w.ok(err)
	_, err = w.catalog.Sign(w.Context(), id, 0, register.Signing{By: "李四"})
	w.ok(err)
	_, err = w.catalog.Publish(w.Context(), id, 0)
	w.ok(err)
}

// put stores samples of a series.
func (w *world) put(device, metric string, all []Sampled) {
	w.Helper()
	id := w.store.Series([]telemetry.Label{{Name: "__name__", Value: metric}, {Name: "device", Value: device}, {Name: "region", Value: "220100"}})
	write := &telemetry.Write{}
	for _, s := range all {
		write.Points = append(write.Points, telemetry.Point{Series: id, Time: s.At, Value: s.Value})
	}
	w.ok(w.store.Commit([]*telemetry.Write{write}))
	if len(write.Refused) > 0 {
		w.Fatalf("%d refused: %+v", len(write.Refused), write.Refused[0])
	}
}

// over lets the day be over.
func (w *world) over(day Day) { w.now = day.End().Add(3 * time.Hour) }

func (w *world) find(id string, kind Kind) *Finding {
	for _, f := range w.keeper.Findings(id) {
		if f.Kind == kind {
			return &f
		}
	}
	return nil
}

// simulated are the readings of one metric of a simulated device of a day, every
// minute.
func simulated(t testing.TB, seed uint64, day Day) []Sampled {
	t.Helper()
	f := simulate.New(simulate.Config{Seed: seed, Sensors: 1, Start: day.Begin()})
	var all []Sampled
	for at := day.Begin(); at.Before(day.End()); at = at.Add(time.Minute) {
		r := f.Devices[0].Read(at, nil)[0]
		all = append(all, Sampled{At: at.UnixMilli(), Value: r.Value})
	}
	return all
}

// TestPlantedFaultsAreCountedExactly: gaps, values out of range, flagged ones,
// spikes and flat lines in the readings of the simulator are measured as what was
// planted.
func TestPlantedFaultsAreCountedExactly(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { planted(t, seed) })
	}
}

func planted(t *testing.T, seed uint64) {
	w := newWorld(t)
	w.publish("air", "air_temperature")
	const low, high = -1e6, 1e6 // no reading of the simulator comes near
	w.expect = func(string, string, string) Expected {
		return Expected{Period: time.Minute, Low: low, High: high, Step: 0.01, Unit: "Cel", Since: today.Begin().Add(-time.Hour)}
	}
	random := rand.New(rand.NewPCG(seed, 30))
	var expected, received, samples, out, jump, flat int64
	flags := map[string][]Sampled{}
	const devices = 5
	for d := range devices {
		device := fmt.Sprintf("d%d", d)
		all := simulated(t, seed*100+uint64(d), today)
		expected += int64(len(all))
		if d == 0 { // a flat line of seven hours
			from := random.IntN(len(all) - 421)
			for i := range 421 {
				all[from+i].Value = 12.34
			}
			flat += 421
		}
		wrong := map[int]bool{}
		for range random.IntN(20) * b2i(d > 0) {
			i := 5 + 10*random.IntN(140) // apart from each other
			if wrong[i] {
				continue
			}
			wrong[i] = true
			switch random.IntN(3) {
			case 0:
				all[i].Value = high * 2
				out++
			case 1:
				flags[device] = append(flags[device], Sampled{At: all[i].At, Value: 1}, Sampled{At: all[i].At + 1, Value: 0})
				out++
			case 2:
				all[i].Value = high * 0.99
				if all[i-1].Value > 0 { // the jump is more than half of the range
					all[i].Value = low * 0.99
				}
				all[i].Value *= 1.01
				all[i].Value = math.Copysign(1e6, all[i].Value)
				jump++
			}
		}
		if d > 0 { // gaps, where nothing else is planted
			for range 3 {
				from, length := random.IntN(len(all)-30), 1+random.IntN(25)
				for i := from; i < from+length; i++ {
					if !wrong[i] && !wrong[i-1+b2i(i == 0)] {
						all[i].At = 0
					}
				}
			}
		}
		all = slices.DeleteFunc(all, func(s Sampled) bool { return s.At == 0 })
		received += int64(len(all))
		samples += int64(len(all))
		w.put(device, "air_temperature", all)
		slices.SortFunc(flags[device], func(a, b Sampled) int { return int(a.At - b.At) })
		w.put(device, "air_temperature_out_of_range", flags[device])
	}
	// One that was there the day before, and is silent.
	w.put("gone", "air_temperature", []Sampled{{At: today.Begin().Add(-time.Minute).UnixMilli(), Value: 1}})
	expected += 1440
	w.over(today)
	w.ok(w.keeper.Measure(t.Context(), today))
	m := w.keeper.Latest("air")
	if m == nil || m.Day != today {
		t.Fatalf("%+v", m)
	}
	if m.Expected != expected || m.Received != received || m.Samples != samples || m.Range != out || m.Jump != jump || m.Flat != flat || m.Invalid != out+jump+flat || m.Silent != 1 || m.Series != devices+1 || m.Devices != devices+1 {
		t.Errorf("measured %+v; planted: expected %d received %d samples %d out of range %d jumps %d flat %d", m, expected, received, samples, out, jump, flat)
	}
	if v, ok := m.Share(catalog.Completeness); !ok || v != float64(received)/float64(expected) {
		t.Errorf("completeness %v", v)
	}
	if f := w.find("air", Incomplete); f == nil || !strings.Contains(f.EN, fmt.Sprint(expected)) || !strings.Contains(f.ZH, fmt.Sprint(received)) || strings.Contains(f.ZH+f.EN, "%!") {
		t.Errorf("%+v", f)
	}
	if f := w.find("air", Implausible); f == nil || strings.Contains(f.ZH+f.EN, "%!") {
		t.Errorf("%+v", f)
	}
	if f := w.find("air", WrongUnit); f != nil {
		t.Errorf("%+v", f)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestADayWithoutDataIsMeasuredAsNothing, and its findings end with the day that has
// data again; what was measured is there after a restart.
func TestADayWithoutDataIsMeasuredAsNothing(t *testing.T) {
	w := newWorld(t)
	w.publish("air", "air_temperature")
	before := DayOf(today.Begin().Add(-time.Hour))
	w.put("d1", "air_temperature", simulated(t, 1, before))
	w.over(before)
	w.ok(w.keeper.Due(t.Context()))
	if all := w.keeper.Findings("air"); len(all) != 0 {
		t.Fatalf("%+v", all)
	}
	w.over(today)
	w.ok(w.keeper.Due(t.Context()))
	m := w.keeper.Latest("air")
	if v, ok := m.Share(catalog.Completeness); !ok || v != 0 || m.Day != today || m.AgeSeconds < 86400 || m.AgeSeconds > 86400+120 {
		t.Errorf("%+v", m)
	}
	stale, incomplete := w.find("air", Stale), w.find("air", Incomplete)
	if stale == nil || incomplete == nil || stale.Since != today || strings.Contains(stale.ZH+stale.EN, "%!") {
		t.Fatalf("%+v %+v", stale, incomplete)
	}
	w.keeper = w.open()
	if len(w.keeper.Findings("air")) != 2 || w.keeper.Latest("air").Day != today || len(w.keeper.Measurements("air")) == 0 {
		t.Errorf("after a restart: %+v", w.keeper.Findings("air"))
	}
	next := today.Next()
	w.put("d1", "air_temperature", simulated(t, 1, next))
	w.over(next)
	w.ok(w.keeper.Due(t.Context()))
	if all := w.keeper.Findings("air"); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	history, err := w.keeper.History(t.Context(), "air", "", 10)
	if err != nil || len(history) != 4 || history[0].Day != next || history[1].Received != 0 {
		t.Errorf("%v %+v", err, history)
	}
}

// TestADatasetOfTodayHasNoFinding, whenever in the day it was published.
func TestADatasetOfTodayHasNoFinding(t *testing.T) {
	for _, ago := range []time.Duration{time.Second, time.Minute, 90 * time.Minute, 23 * time.Hour} {
		w := newWorld(t)
		w.now = today.End().Add(-ago)
		w.publish("air", "air_temperature")
		all := simulated(t, 1, today)
		w.put("d1", "air_temperature", all[max(0, len(all)-int(ago/time.Minute)):])
		w.over(today)
		w.ok(w.keeper.Due(t.Context()))
		if found := w.keeper.Findings("air"); len(found) != 0 || w.keeper.Latest("air").Day != today {
			t.Errorf("published %v before the end of the day: %+v", ago, found)
		}
	}
}

// TestADayThatIsReleasedIsMeasured, although the dataset and its device are newer than
// the day: its history was brought in, and is held against all of the day.
func TestADayThatIsReleasedIsMeasured(t *testing.T) {
	w := newWorld(t)
	w.over(today.Next())
	w.publish("air", "air_temperature")
	w.expect = func(string, string, string) Expected {
		return Expected{Period: time.Minute, Low: math.Inf(-1), High: math.Inf(1), Since: w.now}
	}
	all := simulated(t, 1, today)
	w.put("d1", "air_temperature", all[:len(all)/2])
	w.ok(w.keeper.Due(t.Context()))
	if m := w.keeper.Latest("air"); m != nil {
		t.Fatalf("of a day that nobody has: %+v", m)
	}
	w.releases = []catalog.Release{{Period: catalog.Period{From: today.Begin(), To: today.End()}}}
	w.ok(w.keeper.Due(t.Context()))
	m := w.keeper.Latest("air")
	if m == nil || m.Day != today || m.Expected != 1440 || m.Received != 720 || m.Samples != 720 || !m.From.Equal(today.Begin()) {
		t.Fatalf("%+v", m)
	}
	if w.find("air", Incomplete) == nil {
		t.Errorf("half a day is no finding: %+v", w.keeper.Findings("air"))
	}
}

// TestHowSamplesCame: delays, repetitions and order are of the day in which they
// came, and survive a restart.
func TestHowSamplesCame(t *testing.T) {
	w := newWorld(t)
	w.publish("air", "air_temperature")
	w.put("d1", "air_temperature", simulated(t, 1, today))
	w.now = today.Begin().Add(time.Hour)
	a := &telemetry.Arrivals{Samples: 1000, Repeated: 10, Behind: 20, Refused: 5}
	a.Delays[0] = 900
	for b := range telemetry.DelayBuckets {
		if telemetry.DelayBound(b) > 3*3600*1000 {
			a.Delays[b] = 100
			break
		}
	}
	w.arrivals["d1"] = a
	w.ok(w.keeper.Due(t.Context())) // the first look is of what came since the start
	w.keeper.arrivals.at = time.Time{}
	w.ok(w.keeper.count(t.Context(), true))
	w.keeper = w.open()
	more := &telemetry.Arrivals{Samples: 10, Conflicts: 1}
	more.Delays[0] = 10
	w.arrivals["d1"] = more // it began anew
	w.ok(w.keeper.count(t.Context(), true))
	w.over(today)
	w.ok(w.keeper.Due(t.Context()))
	got := w.keeper.Latest("air").Arrived
	if got.Samples != 1010 || got.Repeated != 10 || got.Conflicts != 1 || got.Behind != 20 || got.Refused != 5 || got.P50 != 0.128 || got.P95 < 3*3600 || got.P95 > 3.75*3600 {
		t.Errorf("%+v", got)
	}
	if v, _ := w.keeper.Latest("air").Share(catalog.Consistency); v != float64(1015-36)/1015 {
		t.Errorf("%v", v)
	}
	if w.find("air", Late) == nil || w.find("air", Inconsistent) == nil || strings.Contains(fmt.Sprint(w.keeper.Findings("air")), "%!") {
		t.Errorf("%+v", w.keeper.Findings("air"))
	}
}

// TestOwnAddressesAreTried, again where the hub says that too many come at once.
func TestOwnAddressesAreTried(t *testing.T) {
	w := newWorld(t)
	w.publish("air", "air_temperature")
	tries := 0
	door := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodHead:
			rw.WriteHeader(http.StatusMethodNotAllowed)
		case r.URL.Path == "/busy" && tries == 0:
			tries++
			rw.Header().Set("Retry-After", "1")
			rw.WriteHeader(http.StatusTooManyRequests)
		case r.URL.Path == "/gone":
			rw.WriteHeader(http.StatusNotFound)
		}
	}))
	defer door.Close()
	w.paths, w.door = []string{"/there", "/busy", "/gone"}, door.URL
	w.put("d1", "air_temperature", simulated(t, 1, today))
	w.over(today)
	w.ok(w.keeper.Measure(t.Context(), today))
	if v, ok := w.keeper.Latest("air").Share(catalog.Accessibility); !ok || v != 2.0/3 || w.keeper.Latest("air").latency(0.5) <= 0 {
		t.Errorf("%+v", w.keeper.Latest("air").Probes)
	}
	if f := w.find("air", Unreachable); f == nil || f.About != "/gone" || f.Measured != 404 {
		t.Errorf("%+v", f)
	}
}

// TestPlantedCopiesAreFoundAndNothingElse: whatever the seed, series that repeat
// another one, shifted, scaled, rounded or sampled otherwise, are found, and
// independent sensors of the same weather are not.
func TestPlantedCopiesAreFoundAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		noise := rapid.Float64Range(0.02, 1).Draw(t, "noise")
		random := rand.New(rand.NewPCG(seed, 1))
		common := func(at int) float64 { return 12 + 8*math.Sin(2*math.Pi*float64(at)/1440-1.8) }
		found := newCopies()
		begin := today.Begin()
		sketchOf := func(values func(i int) float64, every int) (sketch, bool) {
			var b binned
			b.reset(begin)
			for i := 0; i < 1440; i += every {
				b.add(begin.Add(time.Duration(i)*time.Minute).UnixMilli(), values(i))
			}
			return b.sketch()
		}
		const sensors = 20
		walks := make([][]float64, sensors)
		for d := range sensors { // each has what it measures by itself, and its noise
			walks[d] = make([]float64, 1440)
			local := 0.0
			for i := range 1440 {
				local = 0.98*local + 0.2*noise*random.NormFloat64()
				walks[d][i] = common(i) + local + noise*random.NormFloat64()
			}
			s, ok := sketchOf(func(i int) float64 { return walks[d][i] }, 1)
			if !ok {
				t.Fatal("no sketch of a sensor")
			}
			me := origin{"air", fmt.Sprint("d", d), "t", fmt.Sprint("t @ d", d)}
			found.find(&s, origin{"", me.device, "t", me.name}, func(o origin) { t.Errorf("%s is taken for a copy of %s", me.name, o.name) })
			found.add(s, me)
		}
		of := random.IntN(sensors)
		scale, shift := rapid.Float64Range(0.01, 100).Draw(t, "scale"), rapid.Float64Range(-1000, 1000).Draw(t, "shift")
		step := noise / 10
		for what, copied := range map[string]func(i int) float64{
			"the same":     func(i int) float64 { return walks[of][i] },
			"another unit": func(i int) float64 { return walks[of][i]*scale + shift },
			"rounded":      func(i int) float64 { return math.Round(walks[of][i]/step) * step },
		} {
			s, ok := sketchOf(copied, 1)
			hit := ""
			if ok {
				found.find(&s, origin{"", "other", "t", "t @ other"}, func(o origin) { hit += o.device })
			}
			if hit != fmt.Sprint("d", of) {
				t.Errorf("%s of d%d is found as a copy of %q", what, of, hit)
			}
		}
		for what, trivial := range map[string]func(i int) float64{
			"constant": func(int) float64 { return 5 }, "a counter": func(i int) float64 { return float64(i) * 3 }, "a switch": func(i int) float64 { return float64(i / 200 % 2) },
			"steps": func(i int) float64 { return float64(i / 60 % 5) },
		} {
			if _, ok := sketchOf(trivial, 1); ok {
				t.Errorf("%s has a sketch", what)
			}
		}
	})
}

// TestAnUndeclaredCopyIsAFinding of the dataset that shares what is collected again.
func TestAnUndeclaredCopyIsAFinding(t *testing.T) {
	w := newWorld(t)
	w.publish("air", "air_temperature")
	for d := range 6 {
		all := simulated(t, uint64(d), today)
		for i := range all {
			all[i].Value += 0.3 * rand.New(rand.NewPCG(uint64(d), uint64(i))).NormFloat64()
		}
		w.put(fmt.Sprint("d", d), "air_temperature", all)
		if d == 3 {
			for i := range all {
				all[i].Value = all[i].Value*1.8 + 32
			}
			w.put("copier", "fahrenheit", all)
		}
		if d == 4 { // a device tells the same twice
			w.put("d4", "again", all)
		}
	}
	w.over(today)
	w.ok(w.keeper.Measure(t.Context(), today))
	var copies []Finding
	for _, f := range w.keeper.Findings("air") {
		if f.Kind == Copied {
			copies = append(copies, f)
		}
	}
	if len(copies) != 1 || copies[0].About != "fahrenheit @ copier" || !strings.Contains(copies[0].EN, "air_temperature @ d3") {
		t.Errorf("%+v", copies)
	}
}
