package gate

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// noise is what noise makes of a table. Every cell of one layer, the finest that
// is published, has a number of noise in each measure, whether it is shown or not,
// and every coarser cell is the sum of those beneath it. So totals add up, a cell
// of a version has one noise however it is asked for, and no grouping is a second
// look at the same contributions: each is in one cell of that layer, and ε is
// shared out over the measures alone.
type noise struct {
	scale  []Scale            // by measure; zero for none
	base   *layer             // nil: there is none
	values map[*layer][]int64 // by cell and measure; they may be below 0
}

// addNoise draws the noise, and says what it costs. covered is how many
// contributions of one contributor to a day it hides.
func (g *gate) addNoise(covered int64) ([]Spent, error) {
	t := g.table
	if g.policy.MicroEpsilon == 0 {
		return nil, nil
	}
	for m := range t.Measures {
		if err := g.setScale(m, covered); err != nil {
			return nil, err
		}
	}
	pairs, err := g.finest()
	if err != nil {
		return nil, err
	}
	n, base := len(t.Measures), g.noise.base
	drawn := make([]int64, base.size*n)
	for i := range base.size {
		if err := g.draw(i, drawn[i*n:][:n]); err != nil {
			return nil, err
		}
	}
	g.noise.values = map[*layer][]int64{base: drawn}
	for p := range pairs {
		sums := make([]int64, pairs[p].coarse.size*n)
		for i := range base.size {
			if c := pairs[p].up(i); c >= 0 {
				for m := range n {
					sums[c*n+m] += drawn[i*n+m]
				}
			}
		}
		g.noise.values[pairs[p].coarse] = sums
	}
	return g.costs(), nil
}

func (g *gate) setScale(m int, covered int64) (err error) {
	t, x := g.table, &g.table.Measures[m]
	parts := int64(len(t.Measures))
	sensitivity := covered
	if x.Kind != Count {
		if x.Cap > maxScale/covered {
			return fmt.Errorf("table %s: measure %q with a cap of %d takes too much noise; use a larger unit", t.Dataset, x.Name, x.Cap)
		}
		sensitivity *= x.Cap
	}
	if sensitivity > math.MaxInt64/parts/1_000_000 {
		return fmt.Errorf("table %s: measure %q takes too much noise; use a larger unit, or a smaller bound", t.Dataset, x.Name)
	}
	if g.noise.scale[m], err = newScale(sensitivity*parts*1_000_000, g.policy.MicroEpsilon); err != nil {
		return fmt.Errorf("table %s: measure %q: %w", t.Dataset, x.Name, err)
	}
	return nil
}

// finest finds the layer whose cells make all others, and returns those.
func (g *gate) finest() (pairs []pair, err error) {
	for _, f := range g.u.layers {
		if !f.own {
			continue
		}
		all := true
		pairs = pairs[:0]
		for _, c := range g.u.layers {
			if !c.own || c == f {
				continue
			}
			p, ok := newPair(c, f)
			all = all && ok
			pairs = append(pairs, p)
		}
		if all {
			g.noise.base = f
			return pairs, nil
		}
	}
	return nil, fmt.Errorf("table %s: of its groupings %v none is finer than all others; noise is added to one, of which the others are sums: add it, or publish fewer", g.table.Dataset, g.table.Groupings)
}

// draw makes the numbers of a cell of the finest layer. They are derived from the
// key, which is not published, and nothing else that is secret, so the same version
// has the same ones whenever it is made.
func (g *gate) draw(i int, into []int64) error {
	t, l := g.table, g.noise.base
	if g.asBefore(i, into) {
		return nil
	}
	codes := strings.Join(l.codes(i), "\x00")
	for m := range t.Measures {
		from := newStream(g.key, "songhua-gate-noise/1", t.Dataset, strconv.FormatInt(t.Version, 10), strings.Join(t.Groupings[l.group], "\x00"), codes, t.Measures[m].Name)
		x, err := Geometric(from, g.noise.scale[m])
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Dataset, err)
		}
		into[m] = l.values[m][i] + x
	}
	return nil
}

// asBefore takes the numbers of an earlier version, or of a table that overlaps
// this one, where all of the cell is what it was there: asking for versions and
// datasets until the noise averages out is of no use.
func (g *gate) asBefore(i int, into []int64) bool {
	l := g.noise.base
	at := make([]int32, len(g.u.dims))
	for d := range at {
		leaves := l.members[d][l.code(i, d)]
		if len(leaves) == 0 {
			return false
		}
		at[d] = leaves[0]
	}
	for _, b := range slices.Backward(g.past) {
		if b.Noisy == nil || !slices.EqualFunc(b.Table.Measures, g.table.Measures, func(x, y Measure) bool { return x.Name == y.Name && x.Kind == y.Kind }) {
			continue
		}
		for _, x := range g.u.layers {
			if x.own || x.table != b.Table || !slices.Equal(x.table.Groupings[x.group], l.table.Groupings[l.group]) {
				continue
			}
			j := x.cell(at)
			if j < 0 || !l.sameLeaves(i, x, j) {
				continue
			}
			same := true
			for m := range into {
				same = same && x.values[m][j] == l.values[m][i]
			}
			if same {
				copy(into, b.Noisy[x.group][j*len(into):])
				return true
			}
		}
	}
	return false
}

// costs are what the noise takes of the budget of each day.
func (g *gate) costs() (spent []Spent) {
	t := g.table
	days := map[int64]bool{}
	for _, d := range t.Dimensions {
		for _, l := range d.Leaves {
			for at := t.day(l.Start); d.Time && at <= t.day(l.End-1); at++ {
				days[at] = true
			}
		}
	}
	input := t.digest(g.key)
	for _, at := range slices.Sorted(maps.Keys(days)) {
		spent = append(spent, Spent{Dataset: t.Dataset, Day: at, Version: t.Version, MicroEpsilon: g.policy.MicroEpsilon, Input: input})
	}
	return spent
}

// numbers are the values of a shown cell, with noise where there is to be some:
// what it makes less than nothing is nothing.
func (g *gate) numbers(l *layer, i int, out []int64) {
	t := g.table
	if g.noise.base != nil {
		for m := range out {
			out[m] = max(0, g.noise.values[l][i*len(out)+m])
		}
		return
	}
	told := l.cellValues(i)
	for m := range t.Measures {
		if l.values[m] != nil {
			out[m] = l.values[m][i]
		} else if told != nil {
			out[m] = told[m]
		}
	}
}
