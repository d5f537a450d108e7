package source

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/release"
)

var today = Day(time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC))

// stored are series with their samples, in any order.
type stored struct {
	labels  map[string]string
	samples map[time.Duration]float64 // since the day began
}

func deps(all []stored) Deps {
	return Deps{
		Bins: func(_ context.Context, region, _ string, from, to time.Time, bin time.Duration, each func(map[string]string, []Bin) error) error {
			order := rand.Perm(len(all))
			for _, i := range order {
				s := all[i]
				if !strings.HasPrefix(s.labels["region"], region) {
					continue
				}
				bins := make([]Bin, to.Sub(from)/bin)
				for _, at := range slices.Sorted(keys(s.samples)) {
					v, b := s.samples[at], &bins[at/bin]
					if b.Count == 0 {
						b.Min, b.Max = v, v
					}
					b.Count++
					b.Sum, b.Min, b.Max, b.Last, b.LastAt = b.Sum+v, min(b.Min, v), max(b.Max, v), v, from.Add(at).UnixMilli()
				}
				if err := each(s.labels, bins); err != nil {
					return err
				}
			}
			return nil
		},
		Place: func(labels map[string]string) (float64, float64, bool) {
			return 43.88123, 125.32777, labels["device"] == "t1"
		},
	}
}

func keys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func text(t *release.Table) (lines []string) {
	for r := range t.Rows {
		var cells []string
		for i := range t.Columns {
			c := &t.Columns[i]
			switch {
			case !c.Has(r):
				cells = append(cells, "-")
			case c.Type == catalog.Instant:
				cells = append(cells, time.UnixMilli(c.Integers[r]).In(China).Format("15:04"))
			case c.Integers != nil:
				cells = append(cells, fmt.Sprint(c.Integers[r]))
			case c.Strings != nil:
				cells = append(cells, c.Strings[r])
			case c.Booleans != nil:
				cells = append(cells, fmt.Sprint(c.Booleans[r]))
			default:
				cells = append(cells, fmt.Sprint(c.Numbers[r]))
			}
		}
		lines = append(lines, strings.Join(cells, " "))
	}
	return lines
}

func environment() *catalog.Dataset {
	return &catalog.Dataset{ID: "environment", Region: "2201",
		Source: catalog.Source{Kind: catalog.SourceSeries, Selector: "temperature", Bin: time.Hour, By: []string{"district"}},
		Items: []catalog.Item{{Name: "district", Type: catalog.String}, {Name: "time", Type: catalog.Instant}, {Name: "temperature", Type: catalog.Number},
			{Name: "temperature_max", Type: catalog.Number}, {Name: "temperature_count", Type: catalog.Integer}, {Name: "place", Type: catalog.Place}}}
}

func thermometers() []stored {
	of := func(device, region string, samples map[time.Duration]float64) stored {
		return stored{map[string]string{"__name__": "temperature", "device": device, "region": region}, samples}
	}
	return []stored{
		of("t1", "220102", map[time.Duration]float64{0: 1.1, 30 * time.Minute: 2.2, time.Hour: 0.1}),
		of("t2", "220102", map[time.Duration]float64{0: 7, 90 * time.Minute: 0.2}),
		of("t3", "220104", map[time.Duration]float64{3 * time.Hour: -5}),
		of("t4", "220300", map[time.Duration]float64{0: 100}), // elsewhere
	}
}

// Rows are groups in order and bins in them; each item has its function, the mean
// is that of devices, and a row leads to its series.
func TestSeriesBecomeRows(t *testing.T) {
	m, err := Series(t.Context(), deps(thermometers()), environment(), today)
	if err != nil {
		t.Fatal(err)
	}
	const place = `{"type":"Point","coordinates":[125.328,43.881]}`
	want := []string{
		"220102 00:00 4.325 7 3 " + place,
		"220102 01:00 0.15 0.2 2 " + place,
		"220104 03:00 -5 -5 1 -",
	}
	if diff := cmp.Diff(want, text(m.Table)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Group{{By: []string{"220102"}, Runs: [][2]int{{0, 2}}, Inputs: []int{0, 1}}, {By: []string{"220104"}, Row: 2, Runs: [][2]int{{3, 1}}, Inputs: []int{2}}}, m.Groups); diff != "" {
		t.Error(diff)
	}
	if n := m.Inputs[2].Name(); n != `temperature{device="t3",region="220104"}` {
		t.Errorf("an input is %s", n)
	}
}

// The same samples make the same rows, in whatever order series come.
func TestRowsDoNotDependOnOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var all []stored
	for i := range 40 {
		s := stored{map[string]string{"__name__": "temperature", "device": fmt.Sprint("d", i), "region": fmt.Sprint(220100 + i%3)}, map[time.Duration]float64{}}
		for h := range 24 {
			s.samples[time.Duration(h)*time.Hour+time.Duration(rng.IntN(60))*time.Minute] = rng.NormFloat64() * 1e3
		}
		all = append(all, s)
	}
	var first []string
	for range 20 {
		m, err := Series(t.Context(), deps(all), environment(), today)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = text(m.Table)
		} else if diff := cmp.Diff(first, text(m.Table)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestComputeAndSignals(t *testing.T) {
	facility := func(name string, v float64) stored {
		return stored{map[string]string{"__name__": "hub_schedule_facility_" + name, "facility": "cc", "region": "220100"}, map[time.Duration]float64{0: v, time.Minute: v}}
	}
	d := &catalog.Dataset{ID: "compute", Source: catalog.Source{Kind: catalog.SourceCompute, Bin: 30 * time.Minute}, Items: []catalog.Item{
		{Name: "facility", Type: catalog.String}, {Name: "time", Type: catalog.Instant}, {Name: "load", Type: catalog.Number}, {Name: "energy", Type: catalog.Number}, {Name: "carbon", Type: catalog.Number}}}
	m, err := Series(t.Context(), deps([]stored{facility("load", 0.25), facility("power_watts", 8000), facility("carbon_kg_per_hour", 3)}), d, today)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"cc 00:00 0.25 4 1.5"}, text(m.Table)); diff != "" {
		t.Error(diff)
	}

	light := func(name string, v float64) stored {
		return stored{map[string]string{"__name__": "signal_light_seconds", "node": "n1", "phase": "2", "light": name}, map[time.Duration]float64{0: v, time.Minute: v}}
	}
	d = &catalog.Dataset{ID: "signals", Source: catalog.Source{Kind: catalog.SourceSignals, Bin: time.Hour}, Items: []catalog.Item{
		{Name: "node", Type: catalog.String}, {Name: "phase", Type: catalog.String}, {Name: "time", Type: catalog.Instant}, {Name: "light_red", Type: catalog.Number}, {Name: "light_yellow", Type: catalog.Number}}}
	if m, err = Series(t.Context(), deps([]stored{light("red", 40), light("yellow", 3)}), d, today); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"n1 2 00:00 80 6"}, text(m.Table)); diff != "" {
		t.Error(diff)
	}
}

// What cannot be made of a source is named with the way out.
func TestWhatIsNoTable(t *testing.T) {
	for change, says := range map[string]func(*catalog.Dataset){
		"add the item district of type string": func(d *catalog.Dataset) { d.Items = d.Items[1:] },
		"add one of type datetime":             func(d *catalog.Dataset) { d.Items = d.Items[:1] },
		"make it a string":                     func(d *catalog.Dataset) { d.Items[0].Type = catalog.Number },
		"item remark of type string": func(d *catalog.Dataset) {
			d.Items = append(d.Items, catalog.Item{Name: "remark", Type: catalog.String})
		},
	} {
		d := environment()
		says(d)
		if _, err := Series(t.Context(), deps(thermometers()), d, today); err == nil || !strings.Contains(err.Error(), change) {
			t.Errorf("want %q, got %v", change, err)
		}
	}
}

// BenchmarkDay is a day of 1,000 series at a minute, each device a row.
func BenchmarkDay(b *testing.B) {
	d := &catalog.Dataset{ID: "day", Source: catalog.Source{Kind: catalog.SourceSeries, Bin: time.Minute, By: []string{"device"}},
		Items: []catalog.Item{{Name: "device", Type: catalog.String}, {Name: "time", Type: catalog.Instant}, {Name: "temperature", Type: catalog.Number}}}
	bins := make([]Bin, 1440)
	for i := range bins {
		bins[i] = Bin{Count: 1, Sum: float64(i), Min: float64(i), Max: float64(i), Last: float64(i)}
	}
	deps := Deps{Bins: func(_ context.Context, _, _ string, _, _ time.Time, _ time.Duration, each func(map[string]string, []Bin) error) error {
		for i := range 1000 {
			if err := each(map[string]string{"__name__": "temperature", "device": fmt.Sprintf("d%04d", i)}, bins); err != nil {
				return err
			}
		}
		return nil
	}}
	for b.Loop() {
		m, err := Series(b.Context(), deps, d, today)
		if err != nil || m.Table.Rows != 1440*1000 {
			b.Fatal(err)
		}
	}
}
