package source

import (
	"cmp"
	"math"
	"slices"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// How many different vehicles are in a cell, at least, is told by when and where
// they passed, and by no id: ids change, and would be counted again.
//
// Take the passages within one window of time that is no longer than Returning, at
// links of which any two lie further apart than the fastest vehicle gets in it. Two
// of them at the same link are of different vehicles, since nobody passes a detector
// again so soon. Two at different links are, too: one vehicle would have been at
// both, within the window. So all of them are of different vehicles, and a cell that
// holds the window and the links has as many contributors.
//
// Of one link no more can be told of passages alone. Passages that are Returning
// apart may all be of one vehicle; so the fewest vehicles that may have made them are
// the fewest chains that cover them, which are as many as the busiest window has
// (intervals of one length make a perfect graph). What is more than that would be a
// guess.

// fastest is how far a vehicle gets in a second, in metres, at most: 252 km/h.
// Special vehicles are not counted.
const fastest = 70.0

// metresPerDegree is that of latitude, rounded down, with what it is less by for not
// being on a plane.
const metresPerDegree = 110_000

// box is where a road lies, in degrees.
type box struct{ west, south, east, north float64 }

func boxOf(path []gate.Point) (b box, known bool) {
	b = box{math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)}
	for _, p := range path {
		lon, lat := float64(p.Lon)/1e6, float64(p.Lat)/1e6
		b = box{min(b.west, lon), min(b.south, lat), max(b.east, lon), max(b.north, lat)}
	}
	return b, len(path) > 0
}

// apart is how many metres are between two boxes, at least.
func (b box) apart(o box) float64 {
	north := max(0, o.south-b.north, b.south-o.north)
	east := max(0, o.west-b.east, b.west-o.east)
	narrow := math.Cos(min(math.Pi/2, max(math.Abs(b.north), math.Abs(b.south), math.Abs(o.north), math.Abs(o.south))*math.Pi/180))
	return metresPerDegree * math.Hypot(north, east*narrow)
}

// counts are the vehicles of each link, by minute.
type counts struct {
	links []Link
	sums  [][]int64 // of the minutes before, by link
	boxes []box
	known []bool
	// reach is how far a vehicle gets in a second, in metres.
	reach float64
}

func newCounts(links []Link, minutes int, at func(link, minute int) int64, reach float64) *counts {
	c := &counts{links: links, reach: cmp.Or(reach, fastest)}
	for l := range links {
		sums := make([]int64, minutes+1)
		for m := range minutes {
			sums[m+1] = sums[m] + at(l, m)
		}
		c.sums = append(c.sums, sums)
		b, known := boxOf(links[l].Path)
		c.boxes, c.known = append(c.boxes, b), append(c.known, known)
	}
	return c
}

func (c *counts) of(link, from, length int) int64 {
	return c.sums[link][from+length] - c.sums[link][from]
}

// crowd is links that are looked at together, and for each of them those of the
// crowd that a vehicle may reach within a window.
type crowd struct {
	links []int
	near  [][]bool
}

func (c *counts) crowd(links []int, window int) crowd {
	all := crowd{links, make([][]bool, len(links))}
	for i, a := range links {
		all.near[i] = make([]bool, len(links))
		for j, b := range links {
			all.near[i][j] = !c.known[a] || !c.known[b] || c.boxes[a].apart(c.boxes[b]) <= c.reach*60*float64(window)
		}
	}
	return all
}

// distinct is how many different vehicles passed, at least, on links of a crowd
// within minutes: of the best window, and in it of links that are far enough apart,
// the busiest first.
func (c *counts) distinct(of crowd, from, minutes, window int) (most int64) {
	type busy struct {
		i int
		n int64
	}
	var some []busy
	var chosen []int
	for at := from; at+window <= from+minutes; at++ {
		some, chosen = some[:0], chosen[:0]
		var all, sum int64
		for i, l := range of.links {
			if n := c.of(l, at, window); n > 0 {
				some, all = append(some, busy{i, n}), all+n
			}
		}
		if all <= most {
			continue
		}
		slices.SortFunc(some, func(a, b busy) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.i, b.i)) })
		for _, b := range some {
			if !slices.ContainsFunc(chosen, func(i int) bool { return of.near[i][b.i] }) {
				chosen, sum = append(chosen, b.i), sum+b.n
			}
		}
		most = max(most, sum)
	}
	return most
}

// total sets what is known of totals of a table of roads, where it is more than
// what their largest part tells.
func (c *counts) total(t *gate.Table, returning int) {
	space, times := &t.Dimensions[0], &t.Dimensions[1]
	totals, more := make([][]gate.Cell, len(t.Groupings)), false
	for g, levels := range t.Groupings {
		minutes := int(roadBins[levels[1]].Minutes())
		window := min(returning, minutes)
		var crowds []crowd
		for _, links := range linksOf(space, levels[0]) {
			crowds = append(crowds, c.crowd(links, window))
		}
		bins := len(times.Leaves) * int(Quarter.Minutes()) / minutes
		cells, better := make([]gate.Cell, len(crowds)*bins), false
		for s, of := range crowds {
			for b := range bins {
				n := c.distinct(of, b*minutes, minutes, window)
				if n > largest(t, of.links, b*minutes/int(Quarter.Minutes()), minutes/int(Quarter.Minutes())) {
					cells[s*bins+b], better = gate.Cell{Values: make([]int64, len(t.Measures)), Contributors: n}, true
				}
			}
		}
		if better {
			totals[g], more = cells, true
		}
	}
	if more {
		t.Totals = totals
	}
}

// largest is the most contributors of a base cell on links within quarters.
func largest(t *gate.Table, links []int, from, quarters int) (most int64) {
	n := len(t.Dimensions[1].Leaves)
	for _, l := range links {
		for q := from; q < from+quarters; q++ {
			most = max(most, t.Cells[l*n+q].Contributors)
		}
	}
	return most
}

// linksOf are the links of each code of a level.
func linksOf(d *gate.Dimension, level string) (all [][]int) {
	i := slices.IndexFunc(d.Levels, func(l gate.Level) bool { return l.Name == level })
	if i < 0 {
		for l := range d.Leaves {
			all = append(all, []int{l})
		}
		return all
	}
	all = make([][]int, len(d.Levels[i].Codes))
	for l, code := range d.Levels[i].Of {
		all[code] = append(all[code], l)
	}
	return all
}
