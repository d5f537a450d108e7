package attack

import (
	"slices"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// Difference subtracts each table from the later ones: a cell that both show, and
// that a few changed, tells what those few did. Changed tells, for who judges, by
// how many contributors a base cell of the later table differs at least from the
// earlier one.
func Difference(tables []*gate.Published, k int64, changed func(earlier, later int, leaves []string) int64) gate.Finding {
	f := gate.Finding{Attack: "differencing", Detail: gate.Text{ZH: "各版本与相关数据集逐格相减", EN: "versions and overlapping datasets subtracted cell by cell"}}
	type cell struct {
		values []gate.Number
		of     int
	}
	seen := map[string][]cell{}
	for i, t := range tables {
		s := newSystemNames(tables)
		for g := range t.Groupings {
			v := s.newView(t, &t.Groupings[g], i)
			n := len(t.Measures)
			for c := range v.size() {
				at := v.at(c)
				name := v.key(at)
				values := v.group.Values[c*n : c*n+n]
				for _, before := range seen[name] {
					if !differ(tables[before.of], t, before.values, values) {
						continue
					}
					f.Tried++
					least := int64(0)
					s.bases(v, at, func(b int) { least = max(least, changed(before.of, i, s.leaves(b))) })
					if least < k {
						f.Recovered++
					}
				}
				seen[name] = append(seen[name], cell{values, i})
			}
		}
	}
	return f
}

// newSystemNames is a system that knows the leaves of tables, and nothing else.
func newSystemNames(tables []*gate.Published) *system {
	s := &system{}
	for d := range tables[0].Dimensions {
		index := map[string]int{}
		var list []string
		for _, t := range tables {
			for _, l := range t.Dimensions[d].Leaves {
				if _, ok := index[l.Code]; !ok {
					index[l.Code] = len(index)
					list = append(list, l.Code)
				}
			}
		}
		s.codes, s.size, s.list = append(s.codes, index), append(s.size, len(list)), append(s.list, list)
	}
	return s
}

func (s *system) leaves(b int) []string {
	out := make([]string, len(s.size))
	for d := len(out) - 1; d >= 0; d-- {
		out[d] = s.list[d][b%s.size[d]]
		b /= s.size[d]
	}
	return out
}

// differ reports whether two cells show different exact numbers of a measure.
func differ(a, b *gate.Published, x, y []gate.Number) bool {
	for m := range b.Measures {
		o := slices.IndexFunc(a.Measures, func(z gate.PublishedMeasure) bool {
			return z.Name == b.Measures[m].Name && z.Kind == b.Measures[m].Kind
		})
		if o >= 0 && b.Measures[m].NoiseT == 0 && a.Measures[o].NoiseT == 0 && x[o].Shown && y[m].Shown && x[o].Value != y[m].Value {
			return true
		}
	}
	return false
}

// changedCells compares the tables behind the published ones: by how many
// contributors a base cell differs, at least.
func changedCells(truth []*gate.Table) func(earlier, later int, leaves []string) int64 {
	index := make([][]map[string]int, len(truth))
	for i, t := range truth {
		for _, d := range t.Dimensions {
			m := map[string]int{}
			for j, l := range d.Leaves {
				m[l.Code] = j
			}
			index[i] = append(index[i], m)
		}
	}
	cellOf := func(i int, leaves []string) *gate.Cell {
		b := 0
		for d, l := range leaves {
			j, ok := index[i][d][l]
			if !ok {
				return nil
			}
			b = b*len(truth[i].Dimensions[d].Leaves) + j
		}
		return &truth[i].Cells[b]
	}
	return func(earlier, later int, leaves []string) int64 {
		a, b := cellOf(earlier, leaves), cellOf(later, leaves)
		switch {
		case a == nil && b == nil:
			return 0
		case a == nil:
			return b.Contributors
		case b == nil:
			return a.Contributors
		case slices.Equal(a.Values, b.Values):
			return 0
		}
		return max(b.Changed, a.Contributors-b.Contributors, b.Contributors-a.Contributors)
	}
}
