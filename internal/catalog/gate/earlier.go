package gate

import "slices"

// Past is what has to be kept of a published table so that later ones can be
// checked against it: what was behind it, and which cells it showed. It is as
// delicate as the data itself, and is not published.
type Past struct {
	Table  *Table
	Policy Policy
	// State is by grouping and cell.
	State [][]Reason
	// Noisy are the values with noise, by grouping and cell times measure, those that
	// are not shown too; they may be below 0. Nil without noise.
	Noisy [][]int64
}

func matchLeaves(of, in *Dimension) []int32 {
	index := make(map[string]int32, len(in.Leaves))
	for i, l := range in.Leaves {
		index[l.Code] = int32(i)
	}
	all := make([]int32, len(of.Leaves))
	for i, l := range of.Leaves {
		if j, ok := index[l.Code]; ok {
			all[i] = j
		} else {
			all[i] = -1
		}
	}
	return all
}

// cellAt is the base cell of an earlier table with the measures of the new one;
// nil where it has none, or not these measures.
func (b *Past) cellAt(at [][]int32, leaf []int, t *Table) *Cell {
	i := b.index(at, leaf)
	if i < 0 {
		return nil
	}
	c := &b.Table.Cells[i]
	if slices.EqualFunc(t.Measures, b.Table.Measures, func(x, y Measure) bool { return x.Name == y.Name && x.Kind == y.Kind }) {
		return c
	}
	out := *c
	out.Values, out.Largest = make([]int64, len(t.Measures)), nil
	for m := range t.Measures {
		o := b.Table.measure(t.Measures[m].Name)
		if o < 0 || b.Table.Measures[o].Kind != t.Measures[m].Kind {
			return nil // other measures: no difference can be taken
		}
		out.Values[m] = c.Values[o]
	}
	return &out
}

// index is that of a base cell; -1 where it has none.
func (b *Past) index(at [][]int32, leaf []int) (i int) {
	for d, l := range leaf {
		j := at[d][l]
		if j < 0 {
			return -1
		}
		i = i*len(b.Table.Dimensions[d].Leaves) + int(j)
	}
	return i
}

// mayFollow says whether a cell may take the place of an earlier one.
func mayFollow(t *Table, p *Policy, now, before *Cell) bool {
	if now.same(before) {
		return true
	}
	changed := max(now.Changed, now.Contributors-before.Contributors, before.Contributors-now.Contributors)
	return changed >= p.K && (small(t, p, before) || !small(t, p, now))
}

// small reports whether the policy hides a base cell.
func small(t *Table, p *Policy, c *Cell) bool {
	if c.Contributors < p.K || c.Special > 0 {
		return true
	}
	for m := range t.Measures {
		if !t.Measures[m].Kind.sums() || p.MaxSharePercent == 0 {
			continue
		}
		if c.Largest == nil || dominated(c.Largest[m], c.Values[m], p.MaxSharePercent) {
			return true
		}
	}
	return false
}
