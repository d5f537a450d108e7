package gate

import "iter"

// Witness is a Proof in words of the tables, so that it can be checked by who
// knows nothing of how it was found: the cell, its value, and the other tables
// with the same published cells in which it is smaller by Down and larger by Up.
type Witness struct {
	Dataset  string
	Version  int64
	Grouping Grouping
	Codes    []string
	Measure  string
	Down, Up int64
	// Lower and Higher lead from the true table to the others.
	Lower, Higher []Shift
}

// Shift changes a base cell, named by its leaves.
type Shift struct {
	Leaves []string
	By     int64
}

// Witnesses are the proofs of all cells that were withheld.
func (r *Result) Witnesses() iter.Seq[Witness] {
	return func(yield func(Witness) bool) {
		for i := range r.proofs {
			p := &r.proofs[i]
			t := p.Target.layer.table
			w := Witness{Dataset: t.Dataset, Version: t.Version, Grouping: t.Groupings[p.Target.layer.group], Codes: p.Target.layer.codes(p.Target.cell),
				Measure: r.Past.Table.Measures[p.Target.measure].Name, Down: p.Target.Down, Up: p.Target.Up, Lower: r.u.shifts(p.Down), Higher: r.u.shifts(p.Up)}
			if !yield(w) {
				return
			}
		}
	}
}

// shifts are the corners of moves.
func (u *universe) shifts(moves []Move) (all []Shift) {
	for _, m := range moves {
		var corners [][]int32
		corners = append(corners, m.From)
		for d := range m.From {
			if m.From[d] == m.To[d] {
				continue
			}
			for _, c := range corners {
				far := append([]int32(nil), c...)
				far[d] = m.To[d]
				corners = append(corners, far)
			}
		}
		for j, c := range corners {
			leaves := make([]string, len(c))
			for d := range c {
				leaves[d] = u.dims[d].codes[c[d]]
			}
			all = append(all, Shift{Leaves: leaves, By: parity(j) * m.By})
		}
	}
	return all
}

// Decision is what became of a cell and why, for the eyes of who answers for the
// dataset.
type Decision struct {
	Grouping Grouping
	Codes    []string
	Reason   Reason
	// Contributors are at least so many.
	Contributors int64
}

// Decisions are those of all cells that are not shown.
func (r *Result) Decisions() iter.Seq[Decision] {
	return func(yield func(Decision) bool) {
		for _, l := range r.u.layers {
			for i, s := range l.state {
				if !l.own || s == Shown {
					continue
				}
				if !yield(Decision{Grouping: l.table.Groupings[l.group], Codes: l.codes(i), Reason: s, Contributors: l.contributors[i]}) {
					return
				}
			}
		}
	}
}
