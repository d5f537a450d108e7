package publish

import (
	"errors"
	"flag"
	"fmt"
	"hash/maphash"
	"maps"
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
	"github.com/songhua-io/hub/internal/road/dialect"
	"github.com/songhua-io/hub/internal/simulate/roads"
	"github.com/songhua-io/hub/internal/traffic"
)

var days = flag.Int("publish.days", 1, "days of simulated traffic that are released with random datasets; the figure is of 30")

// city is what truly passed detectors: who, where, and in which minute.
type city struct {
	links  []string
	passed map[string]map[int64][]int // vehicles, by link and minute since 1970
}

// drive makes a day of a town: few links are busy, and some vehicles go round a
// block all day, never faster than a minute a round.
func (c *city) drive(period catalog.Period, rng *rand.Rand, vehicles *int) {
	c.passed = map[string]map[int64][]int{}
	type round struct {
		vehicle int
		last    int64 // second
	}
	for _, link := range c.links {
		c.passed[link] = map[int64][]int{}
		busy := math.Exp(2 + 1.2*rng.NormFloat64()) // vehicles a minute at noon
		if rng.IntN(4) == 0 {
			busy = 0.01 // of those who go round alone
		}
		var rounds []round
		for range rng.IntN(12) {
			*vehicles++
			rounds = append(rounds, round{vehicle: *vehicles})
		}
		for m := period.From.Unix() / 60; m < period.To.Unix()/60; m++ {
			h := float64(m*60-period.From.Unix()) / 3600
			mean := busy * (0.05 + math.Exp(-(h-8)*(h-8)/6) + math.Exp(-(h-18)*(h-18)/8) + 0.6*math.Exp(-(h-13)*(h-13)/12))
			for range max(0, int(math.Round(mean+math.Sqrt(mean)*rng.NormFloat64()))) {
				*vehicles++
				c.passed[link][m] = append(c.passed[link][m], *vehicles)
			}
			for i := range rounds {
				if at := m*60 + rng.Int64N(60); at-rounds[i].last > 60 && rng.IntN(3) > 0 {
					rounds[i].last = at
					c.passed[link][m] = append(c.passed[link][m], rounds[i].vehicle)
				}
			}
		}
	}
}

func (c *city) minute(link string, m int64) source.Passages {
	n := int64(len(c.passed[link][m]))
	return source.Passages{Vehicles: n, SpeedSum: 11_000 * n}
}

// districts are of every third link.
func district(link int) string { return fmt.Sprint(220102 + link/8) }

// distinct counts who truly was in a cell: on links, within minutes.
func (c *city) distinct(links []string, from, to int64) int64 {
	seen := map[int]bool{}
	for _, l := range links {
		for m := from; m < to; m++ {
			for _, v := range c.passed[l][m] {
				seen[v] = true
			}
		}
	}
	return int64(len(seen))
}

// TestNothingBelowKIsPublished releases days of a town with random datasets, in
// random order, with late data, and looks at every cell by the truth; all attacks
// are run on all that is out of a day together.
//
// The figure "cells published below k over the simulator's month": go test
// ./internal/catalog/publish -run NothingBelowK -publish.days 30 -v
func TestNothingBelowKIsPublished(t *testing.T) {
	if testing.Short() {
		t.Skip("days of releases with every attack on them; make test")
	}
	w := newWorld(t)
	rng := rand.New(rand.NewPCG(7, 7))
	c, vehicles := &city{}, 0
	for i := range 24 {
		c.links = append(c.links, fmt.Sprintf("%d>%d", i, i+1))
	}
	// The roads of a town lie a kilometre apart, from west to east.
	w.Publisher.deps.Road = func(code, _ string) source.Link {
		at := slices.Index(c.links, code)
		from := gate.Point{Lon: int32(125_000_000 + 12_500*at), Lat: 43_900_000}
		return source.Link{District: district(at), Path: []gate.Point{from, {Lon: from.Lon + 5_000, Lat: from.Lat}}}
	}
	by := map[string]*[2]int64{}
	for i := range 3 {
		d := flows(fmt.Sprint("roads-", i))
		d.Region = []string{"", "220102", "2201"}[i]
		w.datasets[d.ID] = d
	}
	var cells, shown, below, refused int64
	var news late
	for day := range *days {
		period := source.Day(yesterday.From.AddDate(0, 0, day))
		w.now = period.To.Add(3 * time.Hour)
		c.drive(period, rng, &vehicles)
		for range 1 + rng.IntN(4) {
			id := fmt.Sprint("roads-", rng.IntN(3))
			w.tell(c, period, rng)
			r, err := w.Make(t.Context(), Order{Dataset: id, Day: period.From})
			var no *gate.Refusal
			switch {
			case errors.As(err, &no):
				refused++
			case err == nil:
				news.add(w, period, ref{id, r.Version})
			case err != nil && !errors.Is(err, ErrSame):
				t.Fatal(err)
			}
		}
		all, states := w.out(period)
		for i, p := range all {
			n, s, b := c.judge(p, states[i], by)
			cells, shown, below = cells+n, shown+s, below+b
		}
		w.attacked(all, states)
	}
	t.Logf("%d days: %d cells, %d shown, %d below k, %d versions refused", *days, cells, shown, below, refused)
	t.Logf("%d versions beside others, of which %d tell of late data; %d base cells told otherwise, of these %d by too few; %d are shown as told", news.versions, news.telling, news.changed, news.few, news.shown)
	for _, levels := range slices.Sorted(maps.Keys(by)) {
		t.Logf("%s: %d of %d shown, %.1f %%", levels, by[levels][1], by[levels][0], 100*float64(by[levels][1])/float64(by[levels][0]))
	}
	if below > 0 || shown == 0 {
		t.Errorf("%d cells are published below k of %d that are shown", below, shown)
	}
	if refused > 0 || news.telling == 0 {
		t.Errorf("of late data %d versions tell, and %d were refused", news.telling, refused)
	}
}

// late is what came of data that came late.
type late struct{ versions, telling, changed, few, shown int64 }

// add looks at a version: which cells were told otherwise than in the newest version
// before, and which of them it shows as told.
func (n *late) add(w *world, period catalog.Period, of ref) {
	all, states := w.out(period)
	if len(all) < 2 {
		return
	}
	g := states[len(states)-1]
	n.versions++
	before := n.shown
	for i := range g.Table.Cells {
		link, quarter := g.Table.Dimensions[0].Leaves[i/96].Code, i%96
		for _, e := range slices.Backward(states[:len(states)-1]) {
			at := slices.IndexFunc(e.Past.Table.Dimensions[0].Leaves, func(l gate.Leaf) bool { return l.Code == link })
			if at < 0 {
				continue
			}
			was, told, is := e.Past.Table.Cells[at*96+quarter].Values[0], g.Table.Cells[i].Values[0], g.Past.Table.Cells[i].Values[0]
			if told != was {
				n.changed++
				if told-was < g.Policy.K {
					n.few++
				}
				if is == told {
					n.shown++
				}
			}
			break
		}
	}
	if n.shown > before {
		n.telling++
	}
}

// tell keeps what units told; of some minutes they have not told yet.
func (w *world) tell(c *city, period catalog.Period, rng *rand.Rand) {
	w.t.Helper()
	var all []Minute
	late := rng.IntN(20)
	for m := period.From.Unix() / 60; m < period.To.Unix()/60; m++ {
		if late > 0 && rng.IntN(200) < late {
			continue
		}
		one := Minute{Unit: "r1", Start: time.Unix(m*60, 0), Passages: map[string]source.Passages{}}
		for _, l := range c.links {
			one.Passages[l] = c.minute(l, m)
		}
		all = append(all, one)
	}
	if err := w.passages.Keep(w.t.Context(), all); err != nil {
		w.t.Fatal(err)
	}
}

// out is all that was released of a day, in the order of the decisions.
func (w *world) out(period catalog.Period) (all []*gate.Published, states []*gated) {
	w.t.Helper()
	refs, err := w.overlapping(w.t.Context(), &publication{Dataset: &catalog.Dataset{}, Period: period})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range refs {
		g, err := w.gatedOf(w.t.Context(), r)
		if err != nil {
			w.t.Fatal(err)
		}
		all, states = append(all, g.Published), append(states, g)
	}
	return all, states
}

// judge counts the cells of a table, those shown, and those shown in which truly
// fewer than k vehicles were.
func (c *city) judge(p *gate.Published, g *gated, by map[string]*[2]int64) (cells, shown, below int64) {
	for _, group := range p.Groupings {
		name := strings.Join(group.Levels, " × ")
		if by[name] == nil {
			by[name] = &[2]int64{}
		}
		space, times := &p.Dimensions[0], &p.Dimensions[1]
		codes, starts := codes(space, group.Levels[0]), spans(times, group.Levels[1])
		for s, code := range codes {
			links := []string{code}
			if group.Levels[0] != gate.Each {
				links = nil
				for _, l := range g.Links {
					if l.District == code {
						links = append(links, l.Code)
					}
				}
			}
			for b, at := range starts {
				cells++
				by[name][0]++
				if !group.Values[(s*len(starts)+b)*2].Shown {
					continue
				}
				shown++
				by[name][1]++
				if c.distinct(links, at[0]/60, at[1]/60) < g.Policy.K {
					below++
				}
			}
		}
	}
	return cells, shown, below
}

func codes(d *gate.PublishedDimension, level string) (all []string) {
	if level == gate.Each {
		for _, l := range d.Leaves {
			all = append(all, l.Code)
		}
		return all
	}
	return d.Levels[slices.IndexFunc(d.Levels, func(l gate.PublishedLevel) bool { return l.Name == level })].Codes
}

// spans are the bounds of the bins of a level.
func spans(d *gate.PublishedDimension, level string) (all [][2]int64) {
	switch level {
	case gate.Each:
		for _, l := range d.Leaves {
			all = append(all, [2]int64{l.Start, l.End})
		}
		return all
	case gate.All:
		return [][2]int64{{d.Leaves[0].Start, d.Leaves[len(d.Leaves)-1].End}}
	}
	of := d.Levels[slices.IndexFunc(d.Levels, func(l gate.PublishedLevel) bool { return l.Name == level })].Of
	for leaf, code := range of {
		if int(code) == len(all) {
			all = append(all, [2]int64{d.Leaves[leaf].Start, 0})
		}
		all[code][1] = d.Leaves[leaf].End
	}
	return all
}

// attacked runs all attacks on the last table that is out of a day, knowing all
// others, as everybody may.
func (w *world) attacked(all []*gate.Published, states []*gated) {
	w.t.Helper()
	if len(all) == 0 {
		return
	}
	last := states[len(states)-1]
	var past []*gate.Past
	for _, g := range states[:len(states)-1] {
		past = append(past, g.Past)
	}
	key, err := w.key(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := gate.Run(gate.Input{Table: last.Table, Policy: last.Policy, Now: last.Now, Past: past, Key: key})
	if err != nil {
		w.t.Fatal(err)
	}
	findings, err := (&attack.Suite{Result: r, Earlier: all[:len(all)-1], Past: past}).Run()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range findings {
		if f.Recovered > 0 {
			w.t.Errorf("%s finds out %d of %d", f.Attack, f.Recovered, f.Tried)
		}
	}
}

// TestContributorsAreDistinct plays the simulator through the board: as many
// vehicles as a cell is said to have truly were in it, though ids change and
// vehicles come round.
func TestContributorsAreDistinct(t *testing.T) {
	length := 20 * time.Minute
	if testing.Short() {
		length = 4 * time.Minute
	}
	start := yesterday.From.Add(8 * time.Hour)
	w := roads.New(roads.Config{Seed: 3, Units: 2, Vehicles: 12, Connected: 0.3, Start: start})
	c := &city{passed: map[string]map[int64][]int{}}
	w.Truth().Passed = func(p roads.Passage) {
		link := fmt.Sprintf("%d>%d", p.From, p.To)
		if c.passed[link] == nil {
			c.passed[link] = map[int64][]int{}
		}
		c.passed[link][p.At.Unix()/60] = append(c.passed[link][p.At.Unix()/60], p.Vehicle)
	}
	heard := map[string]map[int64]source.Passages{}
	hearWorld(t, w, length, func(m traffic.Minute) {
		for _, p := range m.Passages {
			link := fmt.Sprintf("%d>%d", p.From.ID, p.To.ID)
			if heard[link] == nil {
				heard[link] = map[int64]source.Passages{}
			}
			heard[link][m.Start.Unix()/60] = source.Passages{Vehicles: p.Vehicles, SpeedSum: p.SpeedSum}
		}
	})
	var links []source.Link
	for l := range heard {
		links = append(links, source.Link{Code: l, District: "220102"})
	}
	slices.SortFunc(links, func(a, b source.Link) int { return strings.Compare(a.Code, b.Code) })
	table, err := source.RoadTable(flows("flow"), yesterday, links, func(link string, m int64) source.Passages { return heard[link][m] }, source.RoadTerms{Returning: 1})
	if err != nil {
		t.Fatal(err)
	}
	some := false
	for i, cell := range table.Cells {
		link, quarter := links[i/96].Code, table.Dimensions[1].Leaves[i%96]
		truth := c.distinct([]string{link}, quarter.Start/60-1, quarter.End/60+1) // at the edge of a minute it may be in the next
		if cell.Contributors > truth {
			t.Errorf("%s at %s: at least %d vehicles, and truly %d", link, quarter.Code, cell.Contributors, truth)
		}
		some = some || cell.Contributors > 1
	}
	if !some {
		t.Error("nobody passed")
	}
}

// hearWorld lets a board hear a world, and hands out the minutes that close.
func hearWorld(t testing.TB, w *roads.World, length time.Duration, over func(traffic.Minute)) {
	t.Helper()
	board, seed := traffic.New(traffic.Config{MaxUnits: 10, MaxNodes: 10, MaxLinks: 100, MaxEvents: 100}), maphash.MakeSeed()
	var frames dialect.Frames
	shut := func(now time.Time) {
		var all []traffic.Minute
		board.Close(now, func(m traffic.Minute) { all = append(all, m) })
		for _, m := range all {
			over(m)
			board.Written(m, nil)
		}
	}
	for end := w.Now().Add(length); w.Now().Before(end); {
		w.Step(func(u roads.Uplink) {
			if u.Message != "RSM" && u.Message != "MAP" {
				return
			}
			m, err := frames.Read(u.Payload, w.Now())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := board.Take(&traffic.Arrival{Unit: u.Unit, Message: m, Hash: maphash.Bytes(seed, u.Payload), Received: w.Now(), Live: true}, nil); err != nil {
				t.Fatal(err)
			}
		})
		if w.Now().Nanosecond() == 0 {
			shut(w.Now())
		}
	}
	shut(w.Now().Add(time.Hour))
}
