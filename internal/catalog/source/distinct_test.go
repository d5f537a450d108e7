package source

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/simulate/roads"
)

var (
	aDay = Day(time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC))
	flow = &catalog.Dataset{ID: "flow", Source: catalog.Source{Kind: catalog.SourceRoads},
		Items: []catalog.Item{{Name: "link", Type: catalog.String}, {Name: "district", Type: catalog.String}, {Name: "bin", Type: catalog.String}, {Name: "time", Type: catalog.Instant},
			{Name: "vehicles", Type: catalog.Integer}, {Name: "speed", Type: catalog.Number}}}
)

// truth is who truly passed, by link and minute of the day.
type truth map[string]map[int64][]int

func (w truth) pass(link string, minute int64, vehicle int) {
	if w[link] == nil {
		w[link] = map[int64][]int{}
	}
	w[link][minute] = append(w[link][minute], vehicle)
}

func (w truth) table(t *testing.T, links []Link, terms RoadTerms) *gate.Table {
	t.Helper()
	table, err := RoadTable(flow, aDay, links, func(link string, m int64) Passages {
		n := int64(len(w[link][m-aDay.From.Unix()/60]))
		return Passages{n, 11_000 * n}
	}, terms)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// judge fails for each cell that is said to have more contributors than there truly
// were, and returns how many cells of totals are known better than by their largest
// part.
func (w truth) judge(t *testing.T, table *gate.Table) (better int) {
	t.Helper()
	space, n := &table.Dimensions[0], len(table.Dimensions[1].Leaves)
	check := func(links []int, from, minutes int, said int64, what string) {
		seen := map[int]bool{}
		for _, l := range links {
			for m := from; m < from+minutes; m++ {
				for _, v := range w[space.Leaves[l].Code][int64(m)] {
					seen[v] = true
				}
			}
		}
		if said > int64(len(seen)) {
			t.Errorf("%s at minute %d: at least %d vehicles, and truly %d", what, from, said, len(seen))
		}
	}
	for i := range table.Cells {
		check([]int{i / n}, i%n*15, 15, table.Cells[i].Contributors, space.Leaves[i/n].Code)
	}
	for g, cells := range table.Totals {
		levels := table.Groupings[g]
		minutes := int(roadBins[levels[1]].Minutes())
		bins := 24 * 60 / minutes
		links := linksOf(space, levels[0])
		for i, c := range cells {
			if c.Values != nil {
				better++
				check(links[i/bins], i%bins*minutes, minutes, c.Contributors, fmt.Sprint(levels))
			}
		}
	}
	return better
}

// TestNobodyIsCountedTwice has vehicles that do nothing but try to be: each drives
// from detector to detector as fast as may be, and comes round as soon as it may.
func TestNobodyIsCountedTwice(t *testing.T) {
	better := 0
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 9))
		terms := RoadTerms{Returning: []int{1, 1, 4, 30}[rng.IntN(4)], Reach: 30}
		var links []Link
		var at [][2]float64 // metres
		for i := range 12 {
			x, y := rng.Float64()*9000, rng.Float64()*9000
			at = append(at, [2]float64{x, y})
			point := gate.Point{Lon: int32(125_000_000 + x/(111_320*math.Cos(44*math.Pi/180))*1e6), Lat: int32(44_000_000 + y/111_320*1e6)}
			links = append(links, Link{Code: fmt.Sprint("l", i), District: fmt.Sprint(220102 + i%2), Path: []gate.Point{point, point}})
		}
		links[11].Path = nil // nobody knows where it is
		w := truth{}
		for vehicle := range 2 + rng.IntN(25) {
			last := map[int]float64{} // when it was at a detector
			here, now := rng.IntN(len(links)), float64(rng.IntN(3600))
			for now < 4*3600 {
				w.pass(links[here].Code, int64(now/60), vehicle)
				last[here] = now
				next, soonest := 0, math.Inf(1)
				for _, l := range rng.Perm(len(links))[:4] {
					when := now + math.Hypot(at[l][0]-at[here][0], at[l][1]-at[here][1])/terms.Reach + 0.001
					if was, been := last[l]; been {
						when = max(when, was+float64(terms.Returning)*60+0.001)
					}
					if when < soonest {
						next, soonest = l, when
					}
				}
				here, now = next, soonest
			}
		}
		better += w.judge(t, w.table(t, links, terms))
	}
	if better == 0 {
		t.Error("no total is known better than by its largest part")
	}
}

// TestDistinctAgainstTheRoads plays the road net, whose vehicles come round, and
// counts by where its roads lie.
func TestDistinctAgainstTheRoads(t *testing.T) {
	w := roads.New(roads.Config{Seed: 3, Units: 49, Vehicles: 4, Start: aDay.From.Add(8 * time.Hour)})
	who := truth{}
	fast := 0.0
	w.Truth().Passed = func(p roads.Passage) {
		who.pass(fmt.Sprintf("%d>%d", p.From, p.To), p.At.Unix()/60-aDay.From.Unix()/60, p.Vehicle)
		fast = max(fast, p.Speed)
	}
	length := 20 * time.Minute
	if testing.Short() {
		length = 5 * time.Minute
	}
	for end := w.Now().Add(length); w.Now().Before(end); {
		w.Step(func(roads.Uplink) {})
	}
	units := w.Units()
	point := func(u int) gate.Point {
		return gate.Point{Lon: int32(units[u].Lon * 1e6), Lat: int32(units[u].Lat * 1e6)}
	}
	var links []Link
	for code := range who {
		var from, to int
		if _, err := fmt.Sscanf(code, "%d>%d", &from, &to); err != nil {
			t.Fatal(err)
		}
		links = append(links, Link{Code: code, District: "220102", Path: []gate.Point{point(from - 1), point(to - 1)}})
	}
	slices.SortFunc(links, func(a, b Link) int { return cmpCode(a.Code, b.Code) })
	table := who.table(t, links, RoadTerms{Returning: 1, Reach: math.Ceil(fast)})
	if better := who.judge(t, table); better == 0 {
		t.Error("no total is known better than by its largest part")
	}
	most := int64(0)
	for _, c := range table.Cells {
		most = max(most, c.Contributors)
	}
	day := slices.IndexFunc(table.Groupings, func(g gate.Grouping) bool { return slices.Equal(g, gate.Grouping{levelDistrict, gate.All}) })
	t.Logf("%d links: at least %d vehicles on the busiest, %d on all of them together", len(links), most, table.Totals[day][0].Contributors)
}

func cmpCode(a, b string) int { return slices.Compare([]byte(a), []byte(b)) }

// A bound that is longer than a bin counts for the longer bins: a quiet road, of
// which somebody is sure that nobody comes round within two hours, is shown by the
// day.
func TestQuietRoadsAreShownByLongerBins(t *testing.T) {
	w := truth{}
	for m := range int64(24 * 60) {
		if m%8 == 0 {
			w.pass("quiet", m, int(m))
		}
	}
	links := []Link{{Code: "quiet", District: "220102"}}
	for _, c := range []struct{ returning, quarter, hour, day int64 }{{1, 1, 1, 1}, {15, 2, 2, 2}, {120, 2, 8, 15}} {
		table := w.table(t, links, RoadTerms{Returning: int(c.returning)})
		known := func(bin string) int64 {
			g := slices.IndexFunc(table.Groupings, func(g gate.Grouping) bool { return slices.Equal(g, gate.Grouping{gate.Each, bin}) })
			if table.Totals == nil || table.Totals[g] == nil {
				return table.Cells[0].Contributors
			}
			return table.Totals[g][0].Contributors
		}
		if is := [3]int64{table.Cells[0].Contributors, known(levelHour), known(gate.All)}; is != [3]int64{c.quarter, c.hour, c.day} {
			t.Errorf("when nobody comes round within %d minutes, there are %v in a quarter, an hour and a day; want %+v", c.returning, is, c)
		}
		w.judge(t, table)
	}
}
