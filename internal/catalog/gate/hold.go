package gate

import "slices"

// holding decides which base cells of a table stay what they were, in themselves
// and in all that hold them. The difference of two versions must not tell of a few,
// so a cell that fewer than K contributors changed stays until more have; so does
// one that was shown and would now have to be hidden, since its number is known
// anyway. And where what is out already would tell of a hidden cell beside the new
// numbers, those give way.
type holding struct {
	told   *Table
	policy *Policy
	past   []*Past
	at     [][][]int32 // by earlier table, dimension and leaf: the leaf there; -1 for none
	last   []*Cell     // by base cell: what it was in the newest table that has it; nil for none
	keep   []bool      // by base cell: whether it stays so
	rounds [reaches]int
}

func newHolding(t *Table, p *Policy, past []*Past) *holding {
	h := &holding{told: t, policy: p, past: past, at: make([][][]int32, len(past)), last: make([]*Cell, len(t.Cells)), keep: make([]bool, len(t.Cells))}
	for e := range past {
		h.at[e] = make([][]int32, len(t.Dimensions))
		for d := range t.Dimensions {
			h.at[e][d] = matchLeaves(&t.Dimensions[d], &past[e].Table.Dimensions[d])
		}
	}
	each(len(t.Cells), t.leaves(), func(i int, leaf []int) {
		free := true
		for e, b := range past {
			c := b.cellAt(h.at[e], leaf, t)
			if c == nil {
				continue
			}
			h.last[i] = c
			free = free && mayFollow(t, p, &t.Cells[i], c)
		}
		h.keep[i] = !free
	})
	return h
}

// leaves are all of them, by dimension.
func (t *Table) leaves() [][]int32 {
	all := make([][]int32, len(t.Dimensions))
	for d := range all {
		all[d] = upTo(len(t.Dimensions[d].Leaves))
	}
	return all
}

// held are the base cells that stay what they were.
func (h *holding) held() (all []int) {
	for i, keep := range h.keep {
		if keep {
			all = append(all, i)
		}
	}
	return all
}

// table is the one that was measured, but for the cells that stay what they were.
func (h *holding) table(former bool) *Table {
	out := *h.told
	out.Cells, out.Totals = slices.Clone(out.Cells), slices.Clone(out.Totals)
	for i, keep := range h.keep {
		if keep {
			out.Cells[i] = *h.last[i]
		}
	}
	for gr := range out.Totals {
		out.Totals[gr] = slices.Clone(out.Totals[gr])
	}
	h.forget(&out)
	if !former {
		h.remember(&out)
	}
	return &out
}

// forget drops what was known of totals that hold a held cell: it was known of
// what was measured, not of what is published.
func (h *holding) forget(t *Table) {
	held := h.held()
	if len(held) == 0 {
		return
	}
	for gr := range t.Totals {
		if len(t.Totals[gr]) == 0 {
			continue
		}
		cell := t.cells(gr)
		for _, b := range held {
			t.Totals[gr][cell(b)] = Cell{}
		}
	}
}

// cells tells which cell of a grouping holds a base cell.
func (t *Table) cells(group int) func(base int) int {
	levels := make([]Level, len(t.Dimensions))
	for d := range levels {
		levels[d], _ = t.Dimensions[d].level(t.Groupings[group][d])
	}
	return func(b int) int {
		i, stride := 0, 1
		for d := len(levels) - 1; d >= 0; d-- {
			n := len(levels[d].Of)
			i += int(levels[d].Of[b%n]) * stride
			stride *= len(levels[d].Codes)
			b /= n
		}
		return i
	}
}

// size is how many cells a grouping has.
func (t *Table) size(group int) int {
	n := 1
	for d := range t.Dimensions {
		level, _ := t.Dimensions[d].level(t.Groupings[group][d])
		n *= len(level.Codes)
	}
	return n
}

// remember puts back what is sure of totals by what was known of them before: a
// total that has all contributions of an earlier one has its contributors, too. It
// is out, so a bound that is less would hide in vain what everybody knows.
func (h *holding) remember(t *Table) {
	for e, p := range h.past {
		in, same := h.inside(t, e)
		for gr, levels := range t.Groupings {
			ge := slices.IndexFunc(p.Table.Groupings, func(g Grouping) bool { return slices.Equal(g, levels) })
			if ge >= 0 && len(p.Table.Totals) > 0 && len(p.Table.Totals[ge]) > 0 {
				h.recall(t, gr, p.Table, ge, in, same)
			}
		}
	}
}

// inside tells, by base cell of an earlier table, which one of the table holds all
// of its contributions, -1 for none; and whether that one is the same.
func (h *holding) inside(t *Table, e int) (in []int, same []bool) {
	p := h.past[e]
	in, same = make([]int, len(p.Table.Cells)), make([]bool, len(p.Table.Cells))
	for i := range in {
		in[i] = -1
	}
	each(len(t.Cells), t.leaves(), func(i int, leaf []int) {
		c := p.cellAt(h.at[e], leaf, t)
		if c == nil {
			return
		}
		j := p.index(h.at[e], leaf)
		if same[j] = c.same(&t.Cells[i]); same[j] || h.told.Cells[i].Grown && c.within(&t.Cells[i]) {
			in[j] = i
		}
	})
	return in, same
}

// same reports whether two cells show the same.
func (c *Cell) same(o *Cell) bool {
	return slices.Equal(c.Values, o.Values) && c.Contributors == o.Contributors && c.Special == o.Special
}

// within reports whether a cell may have all that another has, by its numbers.
func (c *Cell) within(o *Cell) bool {
	for m := range c.Values {
		if c.Values[m] > o.Values[m] {
			return false
		}
	}
	return c.Contributors <= o.Contributors && c.Special <= o.Special && c.Told&^o.Told == 0
}

// under is what is known of the base cells of a total.
type under struct {
	of    int // total of the new table; -1: they are not all in one, or not all there
	parts int
	same  bool
}

// recall takes what was known of the totals of a grouping of an earlier table.
func (h *holding) recall(t *Table, gr int, before *Table, ge int, in []int, same []bool) {
	cell, former := t.cells(gr), before.cells(ge)
	parts, most := make([]int, t.size(gr)), make([]int64, t.size(gr))
	for b := range t.Cells {
		parts[cell(b)]++
		most[cell(b)] = max(most[cell(b)], t.Cells[b].Contributors)
	}
	all := make([]under, len(before.Totals[ge]))
	for j, b := range in {
		x := &all[former(j)]
		of := -1
		if b >= 0 {
			of = cell(b)
		}
		if x.parts == 0 {
			*x = under{of: of, same: true}
		}
		if x.parts++; x.of != of {
			x.of = -1
		}
		x.same = x.same && same[j]
	}
	single := slices.ContainsFunc(t.Measures, func(m Measure) bool { return !m.Kind.additive() })
	alike := slices.EqualFunc(t.Measures, before.Measures, func(x, y Measure) bool { return x.Name == y.Name && x.Kind == y.Kind })
	for j := range all {
		x, known := &all[j], &before.Totals[ge][j]
		if x.parts == 0 || x.of < 0 || known.Values == nil || known.Contributors < most[x.of] {
			continue
		}
		if len(t.Totals) == 0 {
			t.Totals = make([][]Cell, len(t.Groupings))
		}
		if len(t.Totals[gr]) == 0 {
			t.Totals[gr] = make([]Cell, len(parts))
		}
		c := &t.Totals[gr][x.of]
		switch {
		case c.Values != nil:
			c.Contributors = max(c.Contributors, known.Contributors)
		case x.same && alike && x.parts == parts[x.of]:
			*c = *known
		case !single:
			*c = Cell{Values: make([]int64, len(t.Measures)), Contributors: known.Contributors}
		}
	}
}

// How far around a cell that would be found out numbers give way.
const (
	beneath  = iota // in the cell
	across          // in all cells that share something with it
	anywhere        // in all
	reaches
)

// tries are how many rounds there are of each.
var tries = [reaches]int{4, 2, 1}

// more holds further cells, so that what would be found out is not: at last all that
// was out before, beside which nothing new is told. It reports whether there were any.
func (h *holding) more(u *universe, open []exposed) bool {
	for reach := range reaches {
		if h.rounds[reach] == tries[reach] {
			continue
		}
		if h.rounds[reach]++; h.extend(u, open, reach) {
			return true
		}
	}
	return false
}

func (h *holding) extend(u *universe, open []exposed, reach int) (some bool) {
	near := make([]bool, u.size)
	for _, x := range open {
		x.layer.eachBase(u, x.cell, func(b int, _ []int32) { near[b] = true })
	}
	if reach == across {
		wide := make([]bool, u.size)
		for _, l := range u.layers {
			touched := make([]bool, l.size)
			u.eachBase(func(b int, at []int32) {
				if i := l.cell(at); i >= 0 && near[b] {
					touched[i] = true
				}
			})
			u.eachBase(func(b int, at []int32) {
				if i := l.cell(at); i >= 0 && touched[i] {
					wide[b] = true
				}
			})
		}
		near = wide
	}
	each(len(h.keep), h.told.leaves(), func(i int, leaf []int) {
		b := 0
		for d, l := range leaf { // those of the table are the first of the universe
			b += l * u.dims[d].stride
		}
		if (near[b] || reach == anywhere) && !h.keep[i] && h.last[i] != nil && !h.last[i].same(&h.told.Cells[i]) {
			h.keep[i], some = true, true
		}
	})
	return some
}

// eachBase calls do with each base cell of a cell.
func (l *layer) eachBase(u *universe, cell int, do func(b int, at []int32)) {
	at := make([]int32, len(u.dims))
	var walk func(d int)
	walk = func(d int) {
		if d == len(at) {
			do(u.base(at), at)
			return
		}
		for _, leaf := range l.members[d][l.code(cell, d)] {
			at[d] = leaf
			walk(d + 1)
		}
	}
	walk(0)
}
