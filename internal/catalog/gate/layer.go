package gate

import (
	"fmt"
	"slices"
)

// universe is all that is known of the cells that this table and the earlier
// ones share: the leaves of all of them, and each published grouping of each as
// a layer. Whoever reads all releases reads all layers.
type universe struct {
	dims   []axis
	size   int
	layers []*layer
	low    [][]int64 // by measure of the new table and base cell: the least that any table has there
	inside []bool    // base cells that some table has
	former bool      // see Input
}

// axis is a dimension of the universe.
type axis struct {
	codes  []string
	index  map[string]int32
	stride int
	rings  []ring // partitions that layers use, from fine to coarse; the last joins all
}

// ring is a partition of the leaves of an axis.
type ring struct {
	of      []int32 // by leaf; -1 outside
	members [][]int32
}

// layer is one grouping that is, or was, published.
type layer struct {
	own    bool
	table  *Table
	policy *Policy
	group  int // index of the grouping in its table

	axes    [][]int32   // by dimension and leaf of the universe: the code; -1 outside
	members [][][]int32 // by dimension and code: the leaves
	names   [][]string  // of codes, by dimension
	stride  []int
	size    int
	weight  int64 // what it costs to withhold a cell

	state        []Reason
	values       [][]int64 // by measure of the new table and cell; nil where its table has no such measure, or it does not add up
	contributors []int64   // at least
	largest      [][]int64 // at most; nil where it is not known
	special      []bool
}

// cell is the index of the cell that holds a base cell; -1 outside.
func (l *layer) cell(at []int32) int {
	i := 0
	for d, leaf := range at {
		c := l.axes[d][leaf]
		if c < 0 {
			return -1
		}
		i += int(c) * l.stride[d]
	}
	return i
}

// code is that of a cell in a dimension.
func (l *layer) code(cell, d int) int {
	return cell / l.stride[d] % len(l.members[d])
}

// codes names a cell.
func (l *layer) codes(cell int) []string {
	all := make([]string, len(l.members))
	for d := range all {
		all[d] = l.names[d][l.code(cell, d)]
	}
	return all
}

func (l *layer) name(cell int) string {
	return fmt.Sprintf("%s %v %v", l.table.Dataset, l.table.Groupings[l.group], l.codes(cell))
}

// sameLeaves reports whether two cells are of the same base cells.
func (l *layer) sameLeaves(i int, o *layer, j int) bool {
	for d := range l.members {
		if !slices.Equal(l.members[d][l.code(i, d)], o.members[d][o.code(j, d)]) {
			return false
		}
	}
	return true
}

// newUniverse lays a table over the earlier ones, whose dimensions are the same.
func newUniverse(t *Table, p *Policy, past []*Past) (*universe, error) {
	u := &universe{dims: make([]axis, len(t.Dimensions))}
	for d := range u.dims {
		u.dims[d].index = map[string]int32{}
		u.add(d, &t.Dimensions[d])
	}
	for _, e := range past {
		for d := range e.Table.Dimensions {
			u.add(d, &e.Table.Dimensions[d])
		}
	}
	u.size = 1
	for d := len(u.dims) - 1; d >= 0; d-- {
		u.dims[d].stride = u.size
		if u.size *= len(u.dims[d].codes); u.size > maxCells {
			return nil, fmt.Errorf("table %s: with the earlier ones it has more than %d cells; check it against fewer", t.Dataset, maxCells)
		}
	}
	u.low = make([][]int64, len(t.Measures))
	for m := range u.low {
		u.low[m] = make([]int64, u.size)
	}
	u.inside = make([]bool, u.size)
	if err := u.lay(t, t, p, nil); err != nil {
		return nil, err
	}
	for _, e := range past {
		if err := u.lay(t, e.Table, &e.Policy, e); err != nil {
			return nil, err
		}
	}
	if len(u.layers) > maxLayers {
		return nil, fmt.Errorf("table %s: %d groupings with those of earlier tables; check it against at most %d at once", t.Dataset, len(u.layers), maxLayers)
	}
	for d := range u.dims {
		u.makeRings(d)
	}
	return u, nil
}

func (u *universe) add(d int, of *Dimension) {
	a := &u.dims[d]
	for _, l := range of.Leaves {
		if _, ok := a.index[l.Code]; !ok {
			a.index[l.Code] = int32(len(a.codes))
			a.codes = append(a.codes, l.Code)
		}
	}
}

// lay adds the layers of a table.
func (u *universe) lay(t, of *Table, p *Policy, past *Past) error {
	leaves := make([][]int32, len(u.dims)) // of the universe, by leaf of the table
	for d := range u.dims {
		for _, l := range of.Dimensions[d].Leaves {
			leaves[d] = append(leaves[d], u.dims[d].index[l.Code])
		}
	}
	measures := make([]int, len(t.Measures)) // of the other table; -1 where it has none that adds up
	for m, wanted := range t.Measures {
		measures[m] = of.measure(wanted.Name)
		if o := measures[m]; o >= 0 && (of.Measures[o].Kind != wanted.Kind || !wanted.Kind.additive()) {
			measures[m] = -1
		}
	}
	first := len(u.layers)
	for g := range of.Groupings {
		l := u.newLayer(of, g, leaves, measures)
		l.own, l.policy = past == nil, p
		if past != nil {
			if len(past.State) != len(of.Groupings) || len(past.State[g]) != l.size {
				return fmt.Errorf("what was kept of table %s version %d is not whole: grouping %v has not the state of its %d cells", of.Dataset, of.Version, of.Groupings[g], l.size)
			}
			copy(l.state, past.State[g])
		}
		u.layers = append(u.layers, l)
	}
	base := make([]int32, len(u.dims))
	each(len(of.Cells), leaves, func(i int, at []int) {
		b := 0
		for d := range at {
			base[d] = leaves[d][at[d]]
			b += int(base[d]) * u.dims[d].stride
		}
		c := &of.Cells[i]
		for m, o := range measures {
			if o < 0 {
				continue
			}
			if v := c.Values[o]; !u.inside[b] || v < u.low[m][b] {
				u.low[m][b] = v
			}
		}
		u.inside[b] = true
		for _, l := range u.layers[first:] {
			l.take(l.cell(base), c, measures)
		}
	})
	for _, l := range u.layers[first:] {
		if err := l.known(measures); err != nil {
			return err
		}
	}
	return nil
}

func (u *universe) newLayer(t *Table, g int, leaves [][]int32, measures []int) *layer {
	l := &layer{table: t, group: g, size: 1, axes: make([][]int32, len(u.dims)), members: make([][][]int32, len(u.dims)), names: make([][]string, len(u.dims)), stride: make([]int, len(u.dims))}
	for d := len(u.dims) - 1; d >= 0; d-- {
		level, _ := t.Dimensions[d].level(t.Groupings[g][d])
		l.names[d] = level.Codes
		l.stride[d] = l.size
		l.size *= len(level.Codes)
		l.axes[d] = make([]int32, len(u.dims[d].codes))
		for i := range l.axes[d] {
			l.axes[d][i] = -1
		}
		l.members[d] = make([][]int32, len(level.Codes))
		for i, code := range level.Of {
			l.axes[d][leaves[d][i]] = code
			l.members[d][code] = append(l.members[d][code], leaves[d][i])
		}
	}
	l.weight = 1 + int64(len(t.Cells)/max(l.size, 1))/2
	l.state = make([]Reason, l.size)
	l.contributors = make([]int64, l.size)
	l.special = make([]bool, l.size)
	l.values, l.largest = make([][]int64, len(measures)), make([][]int64, len(measures))
	for m, o := range measures {
		if o >= 0 {
			l.values[m], l.largest[m] = make([]int64, l.size), make([]int64, l.size)
		}
	}
	return l
}

// take adds a base cell to the cell that holds it.
func (l *layer) take(i int, c *Cell, measures []int) {
	l.contributors[i] = max(l.contributors[i], c.Contributors)
	l.special[i] = l.special[i] || c.Special > 0
	for m, o := range measures {
		if o < 0 {
			continue
		}
		l.values[m][i] += c.Values[o]
		most := c.Values[o]
		if c.Largest != nil {
			most = c.Largest[o]
		}
		l.largest[m][i] += most
	}
}

// known replaces what follows from the base by what is known of totals.
func (l *layer) known(measures []int) error {
	if len(l.table.Totals) == 0 || len(l.table.Totals[l.group]) == 0 {
		return nil
	}
	totals := l.table.Totals[l.group]
	if len(totals) != l.size {
		return fmt.Errorf("table %s: %d totals of %v, which has %d cells", l.table.Dataset, len(totals), l.table.Groupings[l.group], l.size)
	}
	for i := range totals {
		c := &totals[i]
		if c.Values == nil {
			continue
		}
		if c.Contributors < l.contributors[i] {
			return fmt.Errorf("table %s: %s has %d contributors, and %d in a cell of it", l.table.Dataset, l.name(i), c.Contributors, l.contributors[i])
		}
		l.contributors[i] = c.Contributors
		for m, o := range measures {
			if o >= 0 && c.Largest != nil {
				l.largest[m][i] = min(l.largest[m][i], c.Largest[o])
			}
		}
	}
	return nil
}

// makeRings collects the partitions of an axis, from fine to coarse.
func (u *universe) makeRings(d int) {
	a := &u.dims[d]
	add := func(of []int32, codes int) {
		if slices.ContainsFunc(a.rings, func(r ring) bool { return slices.Equal(r.of, of) }) {
			return
		}
		r := ring{of: of, members: make([][]int32, codes)}
		for leaf, code := range of {
			if code >= 0 {
				r.members[code] = append(r.members[code], int32(leaf))
			}
		}
		a.rings = append(a.rings, r)
	}
	add(upTo(len(a.codes)), len(a.codes))
	for _, l := range u.layers {
		add(l.axes[d], len(l.members[d]))
	}
	add(make([]int32, len(a.codes)), 1)
	slices.SortStableFunc(a.rings, func(x, y ring) int { return len(y.members) - len(x.members) })
}
