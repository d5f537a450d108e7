package gate

import "math/bits"

// hideByRule withholds what the policy does not let be seen by itself.
func (u *universe) hideByRule(t *Table, p *Policy) {
	for _, l := range u.layers {
		if !l.own {
			continue
		}
		missing := u.missing(l, t)
		for i := range l.state {
			l.state[i] = l.rule(t, p, i)
			for d := range missing {
				if missing[d][l.code(i, d)] {
					l.state[i] = Incomplete
				}
			}
		}
	}
	for _, e := range u.layers {
		if !e.own {
			u.hideAsBefore(e)
		}
	}
}

// rule is what the policy says of a cell by itself.
func (l *layer) rule(t *Table, p *Policy, i int) Reason {
	switch {
	case l.special[i]:
		return Special
	case l.contributors[i] < p.K:
		return BelowK
	case p.MaxSharePercent > 0:
		for m := range t.Measures {
			if t.Measures[m].Kind.sums() && dominated(l.largest[m][i], l.values[m][i], p.MaxSharePercent) {
				return Dominated
			}
		}
	}
	return Shown
}

// dominated reports whether part is more than so many percent of all.
func dominated(part, all, percent int64) bool {
	ph, pl := bits.Mul64(uint64(part), 100)
	ah, al := bits.Mul64(uint64(all), uint64(percent))
	return ph > ah || ph == ah && pl > al
}

// missing tells, by dimension and code, what cannot be published yet: none of
// its leaves, or not all of its time, is in the table.
func (u *universe) missing(l *layer, t *Table) [][]bool {
	out := make([][]bool, len(t.Dimensions))
	for d := range t.Dimensions {
		dim := &t.Dimensions[d]
		level, _ := dim.level(t.Groupings[l.group][d])
		out[d] = make([]bool, len(level.Codes))
		length := make([]int64, len(level.Codes))
		count := make([]int, len(level.Codes))
		for leaf, code := range level.Of {
			length[code] += dim.Leaves[leaf].End - dim.Leaves[leaf].Start
			count[code]++
		}
		for c := range out[d] {
			out[d][c] = count[c] == 0 || dim.Time && level.Length > 0 && length[c] < int64(level.Length.Seconds())
		}
	}
	return out
}

// hideAsBefore withholds what an earlier layer of the same grouping withheld:
// showing it now would be of use against what it was withheld for.
func (u *universe) hideAsBefore(e *layer) {
	for _, l := range u.layers {
		if !l.own || !sameGrouping(l, e) {
			continue
		}
		at := make([]int32, len(u.dims))
	cells:
		for i, s := range e.state {
			if !s.forPeople() {
				continue
			}
			for d := range at {
				leaves := e.members[d][e.code(i, d)]
				if len(leaves) == 0 {
					continue cells
				}
				at[d] = leaves[0]
			}
			if c := l.cell(at); c >= 0 && l.state[c] == Shown && l.sameLeaves(c, e, i) {
				l.state[c] = Before
			}
		}
	}
}

func sameGrouping(a, b *layer) bool {
	if a.table.Dataset != b.table.Dataset {
		return false
	}
	for d, name := range a.table.Groupings[a.group] {
		if b.table.Groupings[b.group][d] != name {
			return false
		}
	}
	return true
}

// forPeople reports whether a cell is hidden to protect somebody.
func (r Reason) forPeople() bool { return r.Public() == Withheld }

// Sensitive reports whether the cell itself must not be found out.
func (r Reason) Sensitive() bool { return r == BelowK || r == Dominated || r == Special }

// markNotAdditive withholds maxima, quantiles and distinct counts of cells that
// overlap a hidden one: nothing is worked out from those that are left, since
// they tell only of cells that are published anyway.
func (u *universe) markNotAdditive(t *Table, p *Policy) map[*layer][][]Reason {
	hidden := u.underHidden()
	out := map[*layer][][]Reason{}
	for _, l := range u.layers {
		if !l.own {
			continue
		}
		overlaps := make([]bool, l.size)
		u.eachBase(func(b int, at []int32) {
			if hidden[b] {
				if i := l.cell(at); i >= 0 {
					overlaps[i] = true
				}
			}
		})
		out[l] = make([][]Reason, len(t.Measures))
		for m := range t.Measures {
			if kind := t.Measures[m].Kind; !kind.additive() {
				out[l][m] = make([]Reason, l.size)
				for i := range out[l][m] {
					out[l][m][i] = l.single(&t.Measures[m], p, i, overlaps[i])
				}
			}
		}
	}
	return out
}

// single says whether a value that does not add up may be seen.
func (l *layer) single(m *Measure, p *Policy, i int, overlaps bool) Reason {
	beside := l.contributors[i] * min(m.Mille, 1000-m.Mille) / 1000
	switch {
	case l.state[i] != Shown:
		return l.state[i]
	case overlaps || l.cellValues(i) == nil:
		return NotAdditive
	case m.Kind == Max && p.ExtremeStep == 0:
		return Extreme
	case m.Kind == Quantile && beside < p.Beside:
		return FewBeside
	}
	return Shown
}

// cellValues are the values of a cell as they were told, not as they add up;
// nil where nobody told them.
func (l *layer) cellValues(i int) []int64 {
	t := l.table
	if len(t.Totals) > 0 && len(t.Totals[l.group]) > 0 {
		return t.Totals[l.group][i].Values
	}
	for _, name := range t.Groupings[l.group] {
		if name != Each {
			return nil
		}
	}
	return t.Cells[i].Values
}

// underHidden marks the base cells under any hidden cell, of any layer.
func (u *universe) underHidden() []bool {
	out := make([]bool, u.size)
	for _, l := range u.layers {
		u.eachBase(func(b int, at []int32) {
			if i := l.cell(at); i >= 0 && l.state[i].forPeople() {
				out[b] = true
			}
		})
	}
	return out
}

func (u *universe) eachBase(do func(b int, at []int32)) {
	at := make([]int32, len(u.dims))
	for b := range u.size {
		do(b, at)
		for d := len(at) - 1; d >= 0; d-- {
			if at[d]++; int(at[d]) < len(u.dims[d].codes) {
				break
			}
			at[d] = 0
		}
	}
}
