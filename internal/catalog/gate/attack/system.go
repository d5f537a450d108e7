// Package attack tries to find out what the gate withheld. It reads what
// everybody reads, and shares no code with what hides: a fault there is not
// repeated here. What was to be hidden it is told only to judge what it found.
package attack

import (
	"fmt"
	"math"
	"slices"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// system is what published tables say of one measure: unknowns, none of them
// negative, and sums of them within bounds.
type system struct {
	names  []string // of dimensions
	codes  []map[string]int
	size   []int
	list   [][]string // codes by index; only where leaves are named
	vars   map[varKey]int
	lo, hi []int64
	sums   []sum
	// cells are the hidden ones, with the unknowns that make them up.
	cells []hidden
}

// varKey is a base cell and one of the values that it has had, by number. Where they
// only grew, it is by how much the value is above the one before.
type varKey struct{ cell, version int }

// versions are which value a base cell has in a table.
type versions struct {
	of    map[varKey]int // by base cell and table
	grown map[int]bool   // base cells whose later values are never below earlier ones
}

type sum struct {
	of     []int32
	lo, hi int64
}

type hidden struct {
	name string
	of   []int32
}

const unbounded = math.MaxInt64 / 4

// cellName names a cell of a published table.
func cellName(dataset string, version int64, levels gate.Grouping, codes []string) string {
	return fmt.Sprintf("%s %d %q %q", dataset, version, levels, codes)
}

// view is a grouping of a published table, as leaves.
type view struct {
	table   *gate.Published
	group   *gate.PublishedGrouping
	version int
	codes   [][]string // by dimension
	members [][][]int  // by dimension and code: leaves of the system
	absent  [][]bool
	keys    [][]string // by dimension and code; see key
}

func (v *view) size() int {
	n := 1
	for d := range v.codes {
		n *= len(v.codes[d])
	}
	return n
}

// at are the codes of a cell, by index.
func (v *view) at(cell int) []int {
	out := make([]int, len(v.codes))
	for d := len(out) - 1; d >= 0; d-- {
		out[d] = cell % len(v.codes[d])
		cell /= len(v.codes[d])
	}
	return out
}

func (v *view) names(at []int) []string {
	out := make([]string, len(at))
	for d, c := range at {
		out[d] = v.codes[d][c]
	}
	return out
}

// key is the same for cells of the same leaves, whatever they are called.
func (v *view) key(at []int) string {
	if v.keys == nil {
		for d := range v.members {
			keys := make([]string, len(v.members[d]))
			for c, leaves := range v.members[d] {
				sorted := slices.Clone(leaves)
				slices.Sort(sorted)
				keys[c] = fmt.Sprint(sorted)
			}
			v.keys = append(v.keys, keys)
		}
	}
	out := ""
	for d, c := range at {
		out += v.keys[d][c]
	}
	return out
}

// isAbsent reports whether nothing was to be published of a cell.
func (v *view) isAbsent(at []int) bool {
	for d, c := range at {
		if v.absent[d][c] || len(v.members[d][c]) == 0 {
			return true
		}
	}
	return false
}

// newSystem reads a measure that adds up from tables that overlap; of the truth
// it takes only which base cells differ between them.
func newSystem(tables []*gate.Published, truth []*gate.Table, measure string) *system {
	s := &system{vars: map[varKey]int{}}
	for _, d := range tables[0].Dimensions {
		s.names = append(s.names, d.Name)
		s.codes = append(s.codes, map[string]int{})
	}
	for _, t := range tables {
		for d := range t.Dimensions {
			for _, l := range t.Dimensions[d].Leaves {
				if _, ok := s.codes[d][l.Code]; !ok {
					s.codes[d][l.Code] = len(s.codes[d])
				}
			}
		}
	}
	for d := range s.codes {
		s.size = append(s.size, len(s.codes[d]))
	}
	var views []*view
	for version, t := range tables {
		for g := range t.Groupings {
			views = append(views, s.newView(t, &t.Groupings[g], version))
		}
	}
	known := s.versions(truth, measure)
	for _, v := range views {
		s.read(v, measure, known)
	}
	return s
}

func (s *system) newView(t *gate.Published, g *gate.PublishedGrouping, version int) *view {
	v := &view{table: t, group: g, version: version}
	for d := range t.Dimensions {
		dim := &t.Dimensions[d]
		codes, of := levelOf(dim, g.Levels[d])
		members := make([][]int, len(codes))
		for leaf, c := range of {
			members[c] = append(members[c], s.codes[d][dim.Leaves[leaf].Code])
		}
		absent := make([]bool, len(codes))
		for _, a := range t.Absent {
			if i := slices.Index(codes, a.Code); i >= 0 && a.Dimension == dim.Name && a.Level == g.Levels[d] {
				absent[i] = true
			}
		}
		v.codes, v.members, v.absent = append(v.codes, codes), append(v.members, members), append(v.absent, absent)
	}
	return v
}

func levelOf(d *gate.PublishedDimension, name string) (codes []string, of []int32) {
	switch name {
	case gate.Each:
		for i, l := range d.Leaves {
			codes, of = append(codes, l.Code), append(of, int32(i))
		}
		return codes, of
	case gate.All:
		return []string{gate.All}, make([]int32, len(d.Leaves))
	}
	i := slices.IndexFunc(d.Levels, func(l gate.PublishedLevel) bool { return l.Name == name })
	return d.Levels[i].Codes, d.Levels[i].Of
}

// bases calls do with each base cell of a cell.
func (s *system) bases(v *view, at []int, do func(cell int)) {
	var walk func(d, cell int)
	walk = func(d, cell int) {
		if d == len(at) {
			do(cell)
			return
		}
		for _, leaf := range v.members[d][at[d]] {
			walk(d+1, cell*s.size[d]+leaf)
		}
	}
	walk(0, 0)
}

// bounds are those of the true value behind a published one.
func (v *view) bounds(cell int, measure string) (lo, hi int64, shown bool) {
	m := slices.IndexFunc(v.table.Measures, func(x gate.PublishedMeasure) bool { return x.Name == measure })
	if m < 0 || v.table.Measures[m].NoiseT > 0 {
		return 0, 0, false
	}
	x := &v.table.Measures[m]
	n := v.group.Values[cell*len(v.table.Measures)+m]
	if !n.Shown {
		return 0, 0, false
	}
	lo, hi = n.Value-x.Round/2, n.Value+(x.Round+1)/2-1
	if x.Kind == gate.Mean {
		least, most, ok := v.bounds(cell, x.Of)
		if !ok {
			return 0, 0, false
		}
		lo, hi = ((2*lo-1)*least+1)/2, ((2*hi+1)*most-1)/2
	}
	return max(0, lo), hi, true
}

// versions tells, by base cell and table, which table first had the value that
// it has there: what did not change is the same unknown. Whoever reads a release
// and its list of changes knows that, and that late data only add, so the attack is
// given both.
func (s *system) versions(truth []*gate.Table, measure string) versions {
	out := versions{map[varKey]int{}, map[int]bool{}}
	seen := map[int][]int64{} // values by base cell, one for each table so far
	for i, t := range truth {
		m := slices.IndexFunc(t.Measures, func(x gate.Measure) bool { return x.Name == measure })
		if m < 0 {
			continue
		}
		at := make([]int, len(t.Dimensions))
		for c := range t.Cells {
			b := 0
			for d := range at {
				b = b*s.size[d] + s.codes[d][t.Dimensions[d].Leaves[at[d]].Code]
			}
			v := t.Cells[c].Values[m]
			j := slices.Index(seen[b], v)
			if j < 0 {
				j = len(seen[b])
				seen[b] = append(seen[b], v)
			}
			if j > 0 {
				out.of[varKey{b, i}] = j
			}
			for d := len(at) - 1; d >= 0; d-- {
				if at[d]++; at[d] < len(t.Dimensions[d].Leaves) {
					break
				}
				at[d] = 0
			}
		}
	}
	for b, values := range seen {
		out.grown[b] = slices.IsSorted(values)
	}
	return out
}

// unknowns are those whose sum is the value of a base cell in a table.
func (s *system) unknowns(cell, table int, known versions) (all []int32) {
	last := known.of[varKey{cell, table}]
	first := last
	if known.grown[cell] {
		first = 0
	}
	for j := first; j <= last; j++ {
		all = append(all, s.unknown(varKey{cell, j}))
	}
	return all
}

func (s *system) unknown(k varKey) int32 {
	i, ok := s.vars[k]
	if !ok {
		i = len(s.lo)
		s.vars[k] = i
		s.lo, s.hi = append(s.lo, 0), append(s.hi, unbounded)
	}
	return int32(i)
}

// read adds what a view says.
func (s *system) read(v *view, measure string, known versions) {
	for cell := range v.size() {
		at := v.at(cell)
		if v.isAbsent(at) {
			continue
		}
		var of []int32
		s.bases(v, at, func(b int) { of = append(of, s.unknowns(b, v.version, known)...) })
		lo, hi, shown := v.bounds(cell, measure)
		switch {
		case !shown:
			s.cells = append(s.cells, hidden{name: cellName(v.table.Dataset, v.table.Version, v.group.Levels, v.names(at)), of: of})
		case len(of) == 1:
			s.lo[of[0]], s.hi[of[0]] = max(s.lo[of[0]], lo), min(s.hi[of[0]], hi)
		default:
			slices.Sort(of)
			s.sums = append(s.sums, sum{of, lo, hi})
		}
	}
}

// simplify takes off what is known.
func (s *system) simplify() {
	kept := s.sums[:0]
	for _, c := range s.sums {
		of := c.of[:0:0]
		for _, v := range c.of {
			if s.lo[v] == s.hi[v] {
				c.lo -= s.lo[v]
				c.hi -= s.lo[v]
			} else {
				of = append(of, v)
			}
		}
		if len(of) > 0 {
			kept = append(kept, sum{of, c.lo, c.hi})
		}
	}
	s.sums = kept
}
