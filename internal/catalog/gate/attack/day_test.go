package attack

import (
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
	return t
}

// TestADayInSeconds: a day of 1,000 links is proven, and no proof is wrong.
func TestADayOfACity(t *testing.T) {
	links := 1000
	if testing.Short() {
		links = 120
	}
	start := time.Now()
	r, err := gate.Run(gate.Input{Table: day(links, 1), Policy: gate.VehicleFlow(), Now: later})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d cells, %d shown, %d withheld, of these %d complementary; %s", r.Figures.Cells, r.Figures.Shown, r.Figures.Withheld, r.Figures.Complementary, time.Since(start))
	by := map[string]int{}
	for d := range r.Decisions() {
		by[fmt.Sprint(d.Grouping, d.Reason.Code())]++
	}
	t.Log(by)
	start = time.Now()
	findings, err := (&Suite{Result: r}).Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(start))
	for _, f := range findings {
		t.Log(f.Attack, f.Tried, f.Recovered, f.Unfinished)
	}
	expectNothing(t, findings)
}
