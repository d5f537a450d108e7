package attack

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/simulate/roads"
	"pgregory.net/rapid"
)

// roadDay plays a road net and tallies it as link × 15 min flows and speeds. Some
// of the vehicles are special.
func roadDay(t *testing.T, junctions, hours int) (*gate.Table, Trips) {
	t.Helper()
	w := roads.New(roads.Config{Seed: 5, Units: junctions, Vehicles: 3, Start: midnight})
	var all []roads.Passage
	w.Truth().Passed = func(p roads.Passage) { all = append(all, p) }
	for w.Now().Before(midnight.Add(time.Duration(hours) * time.Hour)) {
		w.Step(func(roads.Uplink) {})
	}
	type link struct{ from, to uint16 }
	found := map[link]bool{}
	for _, p := range all {
		found[link{p.From, p.To}] = true
	}
	links := slices.SortedFunc(maps.Keys(found), func(a, b link) int { return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.from, b.from)) })
	space, times := gate.Dimension{Name: "link"}, gate.Dimension{Name: "time", Time: true}
	junction, hour := gate.Level{Name: "junction"}, gate.Level{Name: "hour", Length: time.Hour}
	for _, l := range links {
		space.Leaves = append(space.Leaves, gate.Leaf{Code: fmt.Sprintf("%d-%d", l.from, l.to)})
		name := fmt.Sprint(l.to)
		if !slices.Contains(junction.Codes, name) {
			junction.Codes = append(junction.Codes, name)
		}
		junction.Of = append(junction.Of, int32(slices.Index(junction.Codes, name)))
	}
	for b := range hours * 4 {
		start := midnight.Add(time.Duration(b) * 15 * time.Minute).Unix()
		times.Leaves = append(times.Leaves, gate.Leaf{Code: fmt.Sprintf("%02d:%02d", b/4, b%4*15), Start: start, End: start + 900})
		if b%4 == 0 {
			hour.Codes = append(hour.Codes, fmt.Sprintf("%02d", b/4))
		}
		hour.Of = append(hour.Of, int32(b/4))
	}
	space.Levels, times.Levels = []gate.Level{junction}, []gate.Level{hour}
	out := &gate.Table{Dataset: "flow", Version: 1, Dimensions: []gate.Dimension{space, times},
		Measures: []gate.Measure{flow, {Name: "speed", Unit: "mm/s", Kind: gate.Mean, Of: "vehicles"}, {Name: "distinct", Unit: "1", Kind: gate.Distinct}}}
	for _, s := range []string{gate.Each, "junction", gate.All} {
		for _, b := range []string{gate.Each, "hour", gate.All} {
			out.Groupings = append(out.Groupings, gate.Grouping{s, b})
		}
	}
	y, err := gate.NewTally(out, key(9))
	if err != nil {
		t.Fatal(err)
	}
	trips := Trips{}
	end := midnight.Add(time.Duration(hours) * time.Hour)
	for _, p := range all {
		if !p.At.Before(end) {
			continue
		}
		at := []int{slices.Index(links, link{p.From, p.To}), int(p.At.Sub(midnight) / (15 * time.Minute))}
		special := p.Vehicle%40 == 0
		if err := y.Add(gate.Contribution{Who: uint64(p.Vehicle), Special: special, Leaf: at, Values: []int64{0, int64(p.Speed * 1000), 0}}); err != nil {
			t.Fatal(err)
		}
		if !special {
			trips[uint64(p.Vehicle)] = append(trips[uint64(p.Vehicle)], at[0]*len(times.Leaves)+at[1])
		}
	}
	y.Fill()
	return out, trips
}

// TestNothingIsRecoveredFromTheRoads: of what vehicles of the simulator truly did
// the attackers find out nothing, by any of their ways.
func TestNothingIsRecoveredFromTheRoads(t *testing.T) {
	if testing.Short() {
		t.Skip("hours of roads; make test")
	}
	in, trips := roadDay(t, 16, 3)
	r, err := gate.Run(gate.Input{Table: in, Policy: gate.VehicleFlow(), Now: later})
	if err != nil {
		t.Fatal(err)
	}
	findings, err := (&Suite{Result: r, Trips: trips, Seed: 2}).Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r.Figures)
	for _, f := range findings {
		t.Logf("%s: %d tried, %d recovered, %d unfinished; %s", f.Attack, f.Tried, f.Recovered, f.Unfinished, f.Detail.EN)
	}
	expectNothing(t, findings)
	if r.Figures.Shown == 0 || r.Figures.Withheld == 0 {
		t.Error("nothing is shown, or nothing withheld: that tests little")
	}
}

// TestWhoComesAgainAndAgainIsNoCrowd: a few vehicles pass the same links in
// many bins, where few others do; what they add up to must not be left of totals.
func TestWhoComesAgainAndAgainIsNoCrowd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := table(t, 6, flow)
		y, err := gate.NewTally(in, key(9))
		if err != nil {
			t.Fatal(err)
		}
		trips := Trips{}
		links, bins := len(in.Dimensions[0].Leaves), len(in.Dimensions[1].Leaves)
		who := uint64(0)
		pass := func(who uint64, link, bin int) {
			if err := y.Add(gate.Contribution{Who: who, Leaf: []int{link, bin}, Values: []int64{1}}); err != nil {
				t.Fatal(err)
			}
			trips[who] = append(trips[who], link*bins+bin)
		}
		for link := range links {
			for bin := range bins {
				if rapid.IntRange(0, 9).Draw(t, "busy") < 6 {
					for range rapid.IntRange(10, 16).Draw(t, "vehicles") {
						pass(who, link, bin)
						who++
					}
				} else {
					for regular := range uint64(3) {
						for range rapid.IntRange(0, 6).Draw(t, "times") {
							pass(1_000_000+regular, link, bin)
						}
					}
				}
			}
		}
		y.Fill()
		r, err := gate.Run(gate.Input{Table: in, Policy: gate.VehicleFlow(), Now: later})
		if err != nil {
			t.Fatal(err)
		}
		expectNothing(t, []gate.Finding{Unicity(r.Published, r.Past.Table, trips, 10, 300, rand.New(rand.NewPCG(1, 1)))})
	})
}
