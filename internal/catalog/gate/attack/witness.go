package attack

import (
	"fmt"
	"slices"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// Witnesses checks the proofs of uncertainty: each leads to two other tables in
// which no number is negative, nothing that is shown differs, in any of the
// tables, and the hidden cell is as much smaller and larger as it says. A proof
// that fails counts as a cell that was found out. Truth are the tables behind the
// published ones, in the same order.
func Witnesses(tables []*gate.Published, truth []*gate.Table, result *gate.Result) gate.Finding {
	f := gate.Finding{Attack: "proofs", Detail: gate.Text{ZH: "逐一核验另外两张表：公布的数字完全相同，而隐藏值可更小、可更大", EN: "each proof of uncertainty checked: two other tables with the same published numbers, in which the hidden cell is smaller, and larger"}}
	checks := make([]*checker, len(tables))
	for i := range tables {
		checks[i] = newChecker(tables[i], truth[i])
	}
	for w := range result.Witnesses() {
		f.Tried++
		if !holds(checks, &w, w.Higher, w.Up) || !holds(checks, &w, w.Lower, -w.Down) {
			f.Recovered++
		}
	}
	return f
}

// checker is a table in a form that is quick to change.
type checker struct {
	shown  *gate.Published
	truth  *gate.Table
	leaves []map[string]int
	stride []int
	views  []*view
	ofLeaf [][][]int // by view, dimension and leaf: the code
}

func newChecker(shown *gate.Published, truth *gate.Table) *checker {
	c := &checker{shown: shown, truth: truth, stride: make([]int, len(truth.Dimensions))}
	n := 1
	for d := len(truth.Dimensions) - 1; d >= 0; d-- {
		c.stride[d] = n
		n *= len(truth.Dimensions[d].Leaves)
	}
	for _, d := range truth.Dimensions {
		index := map[string]int{}
		for i, l := range d.Leaves {
			index[l.Code] = i
		}
		c.leaves = append(c.leaves, index)
	}
	s := &system{}
	for d := range shown.Dimensions {
		index := map[string]int{}
		for i, l := range shown.Dimensions[d].Leaves {
			index[l.Code] = i
		}
		s.codes = append(s.codes, index)
	}
	for g := range shown.Groupings {
		v := s.newView(shown, &shown.Groupings[g], 0)
		c.views = append(c.views, v)
		of := make([][]int, len(v.members))
		for d := range of {
			of[d] = make([]int, len(shown.Dimensions[d].Leaves))
			for code, leaves := range v.members[d] {
				for _, l := range leaves {
					of[d][l] = code
				}
			}
		}
		c.ofLeaf = append(c.ofLeaf, of)
	}
	return c
}

// holds checks one of the two other tables.
func holds(checks []*checker, w *gate.Witness, shifts []gate.Shift, want int64) bool {
	if want == 0 {
		return true
	}
	reached := false
	for _, c := range checks {
		measure := slices.IndexFunc(c.truth.Measures, func(m gate.Measure) bool { return m.Name == w.Measure })
		net := map[int]int64{} // by base cell
		for _, s := range shifts {
			if b := c.base(s.Leaves); b >= 0 {
				net[b] += s.By
			}
		}
		for b, by := range net {
			if measure >= 0 && c.truth.Cells[b].Values[measure]+by < 0 {
				return false
			}
		}
		ours := c.shown.Dataset == w.Dataset && c.shown.Version == w.Version
		for g, v := range c.views {
			of := map[int]int64{} // by cell
			for b, by := range net {
				of[c.cell(g, b)] += by
			}
			for cell, by := range of {
				if by == 0 {
					continue
				}
				if c.isShown(g, cell) {
					return false
				}
				if ours && slices.Equal(v.group.Levels, w.Grouping) && slices.Equal(v.names(v.at(cell)), w.Codes) {
					reached = reached || want > 0 && by >= want || want < 0 && by <= want
				}
			}
		}
	}
	return reached
}

// base is a cell of the base; -1 where a leaf is not in this table.
func (c *checker) base(leaves []string) int {
	b := 0
	for d, l := range leaves {
		i, ok := c.leaves[d][l]
		if !ok {
			return -1
		}
		b += i * c.stride[d]
	}
	return b
}

func (c *checker) cell(g, b int) int {
	cell := 0
	for d := range c.stride {
		leaf := b / c.stride[d] % len(c.truth.Dimensions[d].Leaves)
		cell = cell*len(c.views[g].codes[d]) + c.ofLeaf[g][d][leaf]
	}
	return cell
}

// isShown reports whether any number that adds up is shown.
func (c *checker) isShown(g, cell int) bool {
	n := len(c.shown.Measures)
	for m := range n {
		if c.shown.Groupings[g].Values[cell*n+m].Shown {
			return true
		}
	}
	return false
}

// errTables tells that a table has no truth.
func errTables(n, m int) error {
	return fmt.Errorf("attack: %d published tables and %d behind them; it takes as many", n, m)
}
