package attack

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// day is a day of flows: links with busy and quiet ones among them, in roads and
// districts, and bins with the hours of a city's day.
func day(links int, seed uint64) *gate.Table {
	rng := rand.New(rand.NewPCG(seed, 1))
	space, times := gate.Dimension{Name: "link"}, gate.Dimension{Name: "time", Time: true}
	road, district := gate.Level{Name: "road"}, gate.Level{Name: "district"}
	for i := range links {
		space.Leaves = append(space.Leaves, gate.Leaf{Code: fmt.Sprintf("l%04d", i)})
		if i%12 == 0 {
			road.Codes = append(road.Codes, fmt.Sprintf("r%03d", i/12))
		}
		if i%120 == 0 {
			district.Codes = append(district.Codes, fmt.Sprintf("d%02d", i/120))
		}
		road.Of, district.Of = append(road.Of, int32(i/12)), append(district.Of, int32(i/120))
	}
	space.Levels = []gate.Level{road, district}
	hour := gate.Level{Name: "hour", Length: time.Hour}
	for b := range 96 {
		start := midnight.Add(time.Duration(b) * 15 * time.Minute).Unix()
		times.Leaves = append(times.Leaves, gate.Leaf{Code: fmt.Sprintf("%02d:%02d", b/4, b%4*15), Start: start, End: start + 900})
		if b%4 == 0 {
			hour.Codes = append(hour.Codes, fmt.Sprintf("%02d", b/4))
		}
		hour.Of = append(hour.Of, int32(b/4))
	}
	times.Levels = []gate.Level{hour}
	t := &gate.Table{Dataset: "flow", Version: 1, Dimensions: []gate.Dimension{space, times}, Measures: []gate.Measure{flow}}
	for _, s := range []string{gate.Each, "road", "district"} {
		for _, b := range []string{gate.Each, "hour", gate.All} {
			t.Groupings = append(t.Groupings, gate.Grouping{s, b})
		}
	}
	roadMean := 0.0
	for i := range links {
		if i%12 == 0 {
			roadMean = math.Exp(4 + 0.7*rng.NormFloat64()) // at noon, in a quarter of an hour
		}
		mean := roadMean * math.Exp(0.3*rng.NormFloat64())
		for b := range 96 {
			h := float64(b) / 4
			shape := 0.03 + math.Exp(-(h-8)*(h-8)/6) + math.Exp(-(h-18)*(h-18)/8) + 0.6*math.Exp(-(h-13)*(h-13)/12)
			x := mean * shape
			n := max(0, int64(math.Round(x+math.Sqrt(x)*rng.NormFloat64())))
			t.Cells = append(t.Cells, gate.Cell{Values: []int64{n}, Contributors: n, Largest: []int64{min(1, n)}})
		}
	}
	for _, g := range t.Groupings {
		t.Totals = append(t.Totals, totals(t, g))
	}
	return t
}

// totals are cells of a grouping in which seven passages of ten are by vehicles
// that are counted for the first time.
func totals(t *gate.Table, g gate.Grouping) []gate.Cell {
	space, times := t.Dimensions[0], t.Dimensions[1]
	code := func(d gate.Dimension, name string, leaf int) (int, int) {
		switch name {
		case gate.Each:
			return leaf, len(d.Leaves)
		case gate.All:
			return 0, 1
		}
		for _, l := range d.Levels {
			if l.Name == name {
				return int(l.Of[leaf]), len(l.Codes)
			}
		}
		panic(name)
	}
	_, rows := code(space, g[0], 0)
	_, columns := code(times, g[1], 0)
	out := make([]gate.Cell, rows*columns)
	for i := range out {
		out[i] = gate.Cell{Values: []int64{0}, Largest: []int64{1}}
	}
	for b := range t.Cells {
		row, _ := code(space, g[0], b/len(times.Leaves))
		column, _ := code(times, g[1], b%len(times.Leaves))
		c := &out[row*columns+column]
		n := t.Cells[b].Values[0]
		c.Values[0] += n
		c.Contributors = max(c.Contributors, n, (7*c.Values[0]+9)/10)
	}
	return out
}

// TestNothingIsRecoveredFromADay of a part of a city, large enough that most
// cells hang together; what is withheld stays a small part more than it has to.
func TestNothingIsRecoveredFromADay(t *testing.T) {
	links := 120
	if testing.Short() {
		links = 36
	}
	r, err := gate.Run(gate.Input{Table: day(links, 1), Policy: gate.VehicleFlow(), Now: later})
	if err != nil {
		t.Fatal(err)
	}
	f := r.Figures
	t.Logf("%d cells, %d shown, %d withheld, of these %d for others", f.Cells, f.Shown, f.Withheld, f.Complementary)
	if f.Complementary*10 > f.Cells {
		t.Errorf("%d of %d cells are withheld for others; a tenth would be much", f.Complementary, f.Cells)
	}
	findings, err := (&Suite{Result: r}).Run()
	if err != nil {
		t.Fatal(err)
	}
	expectNothing(t, findings)
}

// TestNothingIsRecoveredFromAMonth: each day is published in other groupings, and
// some again in further ones.
func TestNothingIsRecoveredFromAMonth(t *testing.T) {
	if testing.Short() {
		t.Skip("a month takes half a minute")
	}
	rng := rand.New(rand.NewPCG(11, 11))
	shown, refused := int64(0), 0
	for d := range uint64(30) {
		in := day(36, d)
		all := in.Groupings
		var tables []*gate.Published
		var past []*gate.Past
		for version := range int64(2) {
			next := *in
			next.Version = version + 1
			next.Groupings, next.Totals = nil, nil
			for _, g := range all {
				if rng.IntN(2) == 0 || len(next.Groupings) == 0 {
					next.Groupings, next.Totals = append(next.Groupings, g), append(next.Totals, totals(in, g))
				}
			}
			r, err := gate.Run(gate.Input{Table: &next, Policy: gate.VehicleFlow(), Now: later, Past: past})
			var no *gate.Refusal
			if errors.As(err, &no) {
				refused++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			findings, err := (&Suite{Result: r, Earlier: tables, Past: past}).Run()
			if err != nil {
				t.Fatal(err)
			}
			expectNothing(t, findings)
			shown += r.Figures.Shown
			tables, past = append(tables, r.Published), append(past, r.Past)
		}
	}
	t.Logf("%d cells shown, %d versions refused", shown, refused)
}

// BenchmarkADayOfACity is 1,000 links by 96 quarters of an hour, with roads,
// districts, hours and totals.
func BenchmarkADayOfACity(b *testing.B) {
	in := day(1000, 1)
	var r *gate.Result
	for b.Loop() {
		var err error
		if r, err = gate.Run(gate.Input{Table: in, Policy: gate.VehicleFlow(), Now: later}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(r.Figures.Withheld)*100/float64(r.Figures.Cells), "%withheld")
	b.ReportMetric(float64(r.Figures.Complementary)*100/float64(r.Figures.Cells), "%for-others")
}

// BenchmarkAttackOnADay runs all attacks on the same.
func BenchmarkAttackOnADay(b *testing.B) {
	r, err := gate.Run(gate.Input{Table: day(1000, 1), Policy: gate.VehicleFlow(), Now: later})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := (&Suite{Result: r}).Run(); err != nil {
			b.Fatal(err)
		}
	}
}
