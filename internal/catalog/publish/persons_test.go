package publish

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/gate/attack"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/telemetry"
)

// meter is one of a household, with what it counted in each hour; NaN: nothing came.
type meter struct {
	id, household, district string
	wh                      [24]float64
}

// fleet is the meters of homes.
type fleet []*meter

// newFleet makes districts of homes, by how many there are; some homes have two
// meters, and some use far more than all others.
func newFleet(rng *rand.Rand, homes map[string]int, giants float64) (all fleet) {
	for _, district := range slices.Sorted(func(yield func(string) bool) {
		for d := range homes {
			if !yield(d) {
				return
			}
		}
	}) {
		for h := range homes[district] {
			usual := math.Exp(6 + 0.4*rng.NormFloat64())
			if rng.Float64() < giants {
				usual *= 300
			}
			for n := range 1 + rng.IntN(2) {
				m := &meter{id: fmt.Sprintf("meter-%s-%d-%d", district, h, n), household: fmt.Sprintf("home-%s-%d", district, h), district: district}
				for i := range m.wh {
					m.wh[i] = math.Round(usual * (0.5 + rng.Float64()))
				}
				all = append(all, m)
			}
		}
	}
	return all
}

// bins is [source.Deps.Bins] of a fleet: a sample each quarter of an hour.
func (f *fleet) bins(_ context.Context, region, _ string, from, to time.Time, bin time.Duration, each func(map[string]string, []source.Bin) error) error {
	for _, m := range *f {
		if !strings.HasPrefix(m.district, region) {
			continue
		}
		bins := make([]source.Bin, to.Sub(from)/bin)
		for i := range bins {
			if v := m.wh[i*24/len(bins)]; !math.IsNaN(v) {
				bins[i] = source.Bin{Count: 4, Sum: v, Min: v / 4, Max: v / 4, Last: v / 4, LastAt: from.UnixMilli()}
			}
		}
		if err := each(map[string]string{"__name__": "meter_wh", "device": m.id, "household": m.household, "region": m.district}, bins); err != nil {
			return err
		}
	}
	return nil
}

// cell is what truly was in a district, or a city, in an hour.
type cell struct {
	households   map[string]float64
	sum, largest float64
}

func (f fleet) cell(place string, hour int) cell {
	c := cell{households: map[string]float64{}}
	for _, m := range f {
		if strings.HasPrefix(m.district, strings.TrimSuffix(place, "00")) && !math.IsNaN(m.wh[hour]) {
			c.households[m.household] += m.wh[hour]
			c.sum += m.wh[hour]
			c.largest = max(c.largest, c.households[m.household])
		}
	}
	return c
}

// homes is a dataset of what households use, by district or city.
func homes(id, by string) *catalog.Dataset {
	return &catalog.Dataset{ID: id, State: catalog.Published, Grade: telemetry.General, Signed: "张三", Personal: true, Privacy: catalog.Privacy{Contributor: "household"},
		Source: catalog.Source{Kind: catalog.SourceSeries, Selector: "meter_wh", Bin: time.Hour, By: []string{by}},
		Items: []catalog.Item{{Name: by, Type: catalog.String}, {Name: "time", Type: catalog.Instant}, {Name: "meter_wh_sum", Type: catalog.Number},
			{Name: "meter_wh_count", Type: catalog.Integer}, {Name: "meter_wh_avg", Type: catalog.Number}}}
}

// judged counts the rows of a release that have numbers, and fails for those that
// have not been of 20 households, or of which one had more than 15 %.
// Held numbers are of any of the fleets.
func judged(t *testing.T, d *Draft, exact bool, fleets ...fleet) (shown int) {
	t.Helper()
	for r := range d.Table.Rows {
		sum, count, mean := &d.Table.Columns[2], &d.Table.Columns[3], &d.Table.Columns[4]
		if !sum.Has(r) && !count.Has(r) && !mean.Has(r) {
			continue
		}
		shown++
		place := d.Table.Columns[0].Strings[r]
		hour := int((d.Table.Columns[1].Integers[r] - yesterday.From.UnixMilli()) / 3_600_000)
		var c cell
		if !slices.ContainsFunc(fleets, func(f fleet) bool {
			c = f.cell(place, hour)
			return len(c.households) >= 20 && c.largest <= 0.15*c.sum
		}) {
			t.Errorf("%s in hour %d is shown: %d households, one of which has %.0f %%", place, hour, len(c.households), 100*c.largest/c.sum)
		}
		if exact && (count.Integers[r] != int64(len(c.households)) || sum.Numbers[r] != c.sum) {
			t.Errorf("%s in hour %d: %d households with %v Wh are told, and %d had %v", place, hour, count.Integers[r], sum.Numbers[r], len(c.households), c.sum)
		}
	}
	return shown
}

// newHomes is a world with a fleet.
func newHomes(t testing.TB, f *fleet) *world {
	w := newWorld(t)
	w.Publisher.deps.Sources.Bins = f.bins
	return w
}

// Series about persons come out as aggregates of districts, through the gate, of
// distinct households and not of devices; nobody is named anywhere in them.
func TestPersonsPassTheGate(t *testing.T) {
	f := newFleet(rand.New(rand.NewPCG(1, 2)), map[string]int{"220102": 60, "220103": 35, "220104": 12, "220105": 19, "220202": 40}, 0)
	for _, m := range f {
		if m.household == "home-220202-3" {
			m.wh[5] = 1e6 // somebody who stands out in an hour
		}
	}
	w := newHomes(t, &f)
	w.datasets["homes"] = homes("homes", "district")
	w.made(w.order("homes"))
	d := &w.drafts["homes"][0]
	// 31 homes are in two districts below k, whose sum is that of the city without the
	// others.
	// A third one goes with them: in a sum of two, the larger would not be hidden.
	if shown := judged(t, d, true, f); shown != 24+23 {
		t.Errorf("%d numbers are shown", shown)
	}
	if r := w.report("homes", 1); r.Policy.K != 20 || r.Policy.MaxSharePercent != 15 || r.Cells.SmallestK < 20 || len(r.Attacks) < 6 {
		t.Errorf("the report says %+v", r)
	}
	w.rebuilt("homes", 1)
	// Who knows four hours of somebody finds a crowd there, and no single household.
	state, err := w.gatedOf(t.Context(), ref{"homes", 1})
	if err != nil {
		t.Fatal(err)
	}
	districts := []string{"220102", "220103", "220104", "220105", "220202"}
	trips := attack.Trips{}
	for _, m := range f {
		if _, again := trips[uint64(slices.IndexFunc(f, func(o *meter) bool { return o.household == m.household }))]; again {
			continue
		}
		var cells []int
		for hour := range 24 {
			cells = append(cells, slices.Index(districts, m.district)*24+hour)
		}
		trips[uint64(slices.IndexFunc(f, func(o *meter) bool { return o.household == m.household }))] = cells
	}
	if found := attack.Unicity(state.Published, state.Past.Table, trips, 20, 2000, rand.New(rand.NewPCG(4, 4))); found.Tried == 0 || found.Recovered > 0 {
		t.Errorf("%+v", found)
	}
	l, err := w.Lineage(t.Context(), "homes", 1, 30)
	if err != nil || len(l.Series) != 1 || l.Series[0].Name() != `meter_wh{district="220103"}` || len(l.Devices) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	all := fmt.Sprintf("%v %v %+v %s", d.Inputs, d.Table.Columns, l, d.Privacy)
	if strings.Contains(all, "home-") || strings.Contains(all, "meter-") {
		t.Error("what is out names households or their devices")
	}
	// Grades are followed all the same.
	w.grades["meter-220102-7-0"], w.gradings = telemetry.Important, 1
	if err := w.follow(t.Context()); err != nil || w.datasets["homes"].State != catalog.Suspended {
		t.Errorf("a meter was graded important, and the dataset is %s, %v", w.datasets["homes"].State, err)
	}
}

// A household that is added, left out or corrected is not found by the difference of
// versions, of datasets, or of selectors.
func TestAPersonIsNotFoundByDifference(t *testing.T) {
	f := newFleet(rand.New(rand.NewPCG(5, 2)), map[string]int{"220102": 60, "220103": 35, "220202": 40}, 0)
	whole := slices.Clone(f)
	f = slices.DeleteFunc(slices.Clone(f), func(m *meter) bool { return m.household == "home-220102-0" })
	w := newHomes(t, &f)
	w.datasets["homes"], w.datasets["cities"] = homes("homes", "district"), homes("cities", "city")
	w.made(w.order("homes"))
	f = whole
	w.made(w.order("homes"))
	first, second := w.drafts["homes"][0].Table, w.drafts["homes"][1].Table
	for r := range first.Rows {
		if first.Columns[2].Has(r) && (first.Columns[2].Numbers[r] != second.Columns[2].Numbers[r] || first.Columns[3].Integers[r] != second.Columns[3].Integers[r]) {
			t.Fatalf("row %d: one household more changes %v to %v", r, first.Columns[2].Numbers[r], second.Columns[2].Numbers[r])
		}
	}
	w.made(w.order("cities"))
	var a gate.Report
	if a = w.report("cities", 1); a.Checks.Earlier != 2 {
		t.Errorf("it was checked against %d tables", a.Checks.Earlier)
	}
	w.datasets["others"] = homes("others", "district")
	w.datasets["others"].Source.Selector = `meter_wh{device!="meter-220102-7-0"}`
	if _, err := w.Make(t.Context(), w.order("others")); !errors.Is(err, ErrShut) || !strings.Contains(err.Error(), "by another selector") {
		t.Errorf("a dataset that leaves out one household: %v", err)
	}
	w.datasets["others"].Source.Selector, w.datasets["others"].Privacy.Contributor = "meter_wh", "" // devices, of which homes have two
	if _, err := w.Make(t.Context(), w.order("others")); !errors.Is(err, ErrShut) {
		t.Errorf("a dataset that counts devices beside one of households: %v", err)
	}
	for id, version := range map[string]int{"homes": 2, "cities": 1} {
		w.rebuilt(id, version)
	}
}

// Random fleets, released by districts and cities, in random order and with late
// meters: no number is of fewer than 20 households or mostly of one, and no attack on
// all that is out together finds anything.
func TestNobodyAtHomeIsShown(t *testing.T) {
	shown, refused := 0, 0
	for seed := range uint64(max(8, *days)) {
		rng := rand.New(rand.NewPCG(seed, 77))
		sizes := map[string]int{}
		for _, district := range []string{"220102", "220103", "220104", "220105", "220202", "220203", "220301"} {
			sizes[district] = 1 + rng.IntN(70)
		}
		whole := newFleet(rng, sizes, 0.01)
		var f fleet
		w := newHomes(t, &f)
		w.datasets["homes"], w.datasets["cities"] = homes("homes", "district"), homes("cities", "city")
		var all []fleet
		for range 2 + rng.IntN(2) {
			f = slices.DeleteFunc(slices.Clone(whole), func(*meter) bool { return rng.IntN(40) == 0 }) // late
			all = append(all, f)
			_, err := w.Make(t.Context(), w.order([]string{"homes", "cities"}[rng.IntN(2)]))
			var no *gate.Refusal
			switch {
			case errors.As(err, &no):
				refused++
			case err != nil && !errors.Is(err, ErrSame):
				t.Fatal(err)
			}
		}
		for _, drafts := range w.drafts {
			for i := range drafts {
				shown += judged(t, &drafts[i], false, all...)
			}
		}
		refs, err := w.overlapping(t.Context(), &publication{Dataset: homes("", "district"), Period: yesterday})
		if err != nil {
			t.Fatal(err)
		}
		var out []*gate.Published
		var states []*gated
		for _, r := range refs {
			g, err := w.gatedOf(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			out, states = append(out, g.Published), append(states, g)
		}
		w.attacked(out, states)
	}
	t.Logf("%d numbers are shown, %d versions refused", shown, refused)
	if shown == 0 {
		t.Error("nothing is shown")
	}
}

// Noise on what is about persons is bounded by the gate: nobody counts twice in a
// bin, nor above the cap.
func TestNoiseOnPersons(t *testing.T) {
	f := newFleet(rand.New(rand.NewPCG(9, 2)), map[string]int{"220102": 900, "220103": 700}, 0)
	w := newHomes(t, &f)
	d := homes("homes", "district")
	d.Privacy.Noise = &catalog.Noise{MicroEpsilon: 500_000, MicroBudget: 1_000_000}
	w.datasets["homes"] = d
	if _, err := w.Make(t.Context(), w.order("homes")); err == nil || !strings.Contains(err.Error(), "cap") {
		t.Fatalf("sums without a cap: %v", err)
	}
	d.Privacy.Cap = 2000
	w.made(w.order("homes"))
	r := w.report("homes", 1)
	if r.Noise == nil || r.Noise.Spent != 500_000 || r.Noise.Covers != 24 || r.Bound != 24 {
		t.Errorf("the report says %+v, bound %d", r.Noise, r.Bound)
	}
	w.rebuilt("homes", 1)
	if shown := judged(t, &w.drafts["homes"][0], false, f); shown != 48 {
		t.Errorf("%d numbers are shown", shown)
	}
	if got := w.spent("homes"); len(got) != 1 || got["2026-11-20"] != 500_000 {
		t.Errorf("the ledger has %v", got)
	}
}

// What of persons does not pass is refused with the reason.
func TestWhatOfPersonsIsRefused(t *testing.T) {
	f := newFleet(rand.New(rand.NewPCG(1, 2)), map[string]int{"220102": 60}, 0)
	for why, change := range map[string]func(*catalog.Dataset){
		"a row of a device":        func(d *catalog.Dataset) { d.Source.By = []string{"device"} },
		"no contributors":          func(d *catalog.Dataset) { d.Source.Kind = catalog.SourceSignals },
		"value of one of them":     func(d *catalog.Dataset) { d.Source.Function = catalog.Maximum },
		"is the value of one":      func(d *catalog.Dataset) { d.Items[2].Name = "meter_wh_max" },
		"make them 15m":            func(d *catalog.Dataset) { d.Source.Bin = time.Minute },
		"not live":                 func(d *catalog.Dataset) { d.Source.Live = true },
		"where people live":        func(d *catalog.Dataset) { d.Items[4] = catalog.Item{Name: "place", Type: catalog.Place} },
		"no label flat":            func(d *catalog.Dataset) { d.Privacy.Contributor = "flat" },
		"no item that holds a num": func(d *catalog.Dataset) { d.Items = d.Items[:2] },
	} {
		w := newHomes(t, &f)
		w.datasets["homes"] = homes("homes", "district")
		change(w.datasets["homes"])
		if _, err := w.Make(t.Context(), w.order("homes")); err == nil || !strings.Contains(err.Error(), why) || len(w.drafts["homes"]) > 0 {
			t.Errorf("want an error that says %q, got %v", why, err)
		}
	}
}
