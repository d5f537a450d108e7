package gate

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Tally makes the cells of a table of single contributions, and sees to what
// only they tell: special contributors are left out, each contributor is counted
// at most Bound times a day, single contributions to sums are cut at their cap,
// and distinct contributors are counted in every grouping. Which of a
// contributor's are kept is decided by a keyed hash, not by their order, so the
// same contributions make the same table.
type Tally struct {
	table *Table
	key   []byte
	all   []contribution
}

type contribution struct {
	who    uint64
	day    int64
	cell   int32
	rank   uint64
	serial int32 // of equal ones, in the order of arrival
	values []int64
}

// NewTally counts for a table whose dimensions, measures, groupings and bound are
// set. Key decides which contributions are left out; it is not published.
func NewTally(t *Table, key []byte) (*Tally, error) {
	for _, m := range t.Measures {
		if m.Kind == Quantile {
			return nil, fmt.Errorf("table %s: measure %q is a quantile; it is worked out where the single values are", t.Dataset, m.Name)
		}
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("table %s: a key of %d bytes; use %d", t.Dataset, len(key), KeySize)
	}
	return &Tally{table: t, key: key}, nil
}

// Contribution is what one contributor gave to a base cell at once.
type Contribution struct {
	// Who is any number that is the same for the same contributor, in all the
	// time that the table covers.
	Who     uint64
	Special bool
	// Leaf is by dimension.
	Leaf []int
	// Values are by measure; those of counts and distinct counts are not read.
	Values []int64
}

// Add takes a contribution.
func (y *Tally) Add(c Contribution) error {
	if c.Special {
		return nil
	}
	t := y.table
	if len(c.Leaf) != len(t.Dimensions) || len(c.Values) != len(t.Measures) {
		return fmt.Errorf("table %s: a contribution with %d leaves and %d values; it takes %d and %d", t.Dataset, len(c.Leaf), len(c.Values), len(t.Dimensions), len(t.Measures))
	}
	cell, at := 0, int64(0)
	for d, l := range c.Leaf {
		if l < 0 || l >= len(t.Dimensions[d].Leaves) {
			return fmt.Errorf("table %s: leaf %d of dimension %q; it has %d", t.Dataset, l, t.Dimensions[d].Name, len(t.Dimensions[d].Leaves))
		}
		cell = cell*len(t.Dimensions[d].Leaves) + l
		if t.Dimensions[d].Time {
			at = t.day(t.Dimensions[d].Leaves[l].Start)
		}
	}
	values := make([]int64, len(c.Values))
	for m := range values {
		x := &t.Measures[m]
		switch {
		case x.Kind == Count || x.Kind == Distinct:
			values[m] = 1
		case x.Kind.additive() && c.Values[m] < 0:
			return fmt.Errorf("table %s: %d for %q; what adds up cannot be negative", t.Dataset, c.Values[m], x.Name)
		case x.Kind.additive() && x.Cap > 0:
			values[m] = min(c.Values[m], x.Cap)
		default:
			values[m] = c.Values[m]
		}
	}
	y.all = append(y.all, contribution{who: c.Who, day: at, cell: int32(cell), values: values})
	return nil
}

// Fill sets the cells and totals of the table.
func (y *Tally) Fill() {
	y.bound()
	t := y.table
	leaves := make([][]int32, len(t.Dimensions))
	for d := range leaves {
		leaves[d] = upTo(len(t.Dimensions[d].Leaves))
	}
	base := Grouping(slices.Repeat([]string{Each}, len(leaves)))
	t.Cells = y.group(base)
	t.Totals = make([][]Cell, len(t.Groupings))
	for g := range t.Groupings {
		t.Totals[g] = y.group(t.Groupings[g])
	}
}

// bound leaves out what is above the bound.
func (y *Tally) bound() {
	slices.SortStableFunc(y.all, func(a, b contribution) int {
		return cmp.Or(cmp.Compare(a.who, b.who), cmp.Compare(a.day, b.day), cmp.Compare(a.cell, b.cell), slices.Compare(a.values, b.values))
	})
	var b [8]byte
	for i := range y.all {
		c := &y.all[i]
		if i > 0 {
			if p := &y.all[i-1]; p.who == c.who && p.day == c.day && p.cell == c.cell {
				c.serial = p.serial + 1
			}
		}
		name := binary.BigEndian.AppendUint64(nil, c.who)
		name = binary.BigEndian.AppendUint64(name, uint64(c.day))
		name = binary.BigEndian.AppendUint32(name, uint32(c.cell))
		name = binary.BigEndian.AppendUint32(name, uint32(c.serial))
		_, _ = newStream(y.key, "songhua-gate-tally/1", string(name)).Read(b[:]) // it never fails
		c.rank = binary.BigEndian.Uint64(b[:])
	}
	if y.table.Bound == 0 {
		return
	}
	slices.SortStableFunc(y.all, func(a, b contribution) int {
		return cmp.Or(cmp.Compare(a.who, b.who), cmp.Compare(a.day, b.day), cmp.Compare(a.rank, b.rank))
	})
	kept, run := y.all[:0], int64(0)
	for i, c := range y.all {
		if i == 0 || y.all[i-1].who != c.who || y.all[i-1].day != c.day {
			run = 0
		}
		if run++; run <= y.table.Bound {
			kept = append(kept, c)
		}
	}
	y.all = kept
}

// group makes the cells of a grouping.
func (y *Tally) group(g Grouping) []Cell {
	t := y.table
	levels := make([]Level, len(g))
	size := 1
	for d, name := range g {
		levels[d], _ = t.Dimensions[d].level(name)
		size *= len(levels[d].Codes)
	}
	type part struct {
		cell   int
		who    uint64
		values []int64
	}
	parts := make([]part, len(y.all))
	for i, c := range y.all {
		parts[i] = part{who: c.who, values: c.values}
		rest := int(c.cell)
		stride := 1
		for d := len(levels) - 1; d >= 0; d-- {
			n := len(levels[d].Of)
			parts[i].cell += int(levels[d].Of[rest%n]) * stride
			stride *= len(levels[d].Codes)
			rest /= n
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Or(cmp.Compare(a.cell, b.cell), cmp.Compare(a.who, b.who)) })
	cells := make([]Cell, size)
	n := len(t.Measures)
	numbers := make([]int64, 2*n*size)
	for i := range cells {
		cells[i].Values, cells[i].Largest = numbers[2*n*i:][:n:n], numbers[2*n*i+n:][:n:n]
	}
	own := make([]int64, n)
	for i := range parts {
		p := &parts[i]
		c := &cells[p.cell]
		first := i == 0 || parts[i-1].cell != p.cell
		if first || parts[i-1].who != p.who {
			c.Contributors++
			clear(own)
		}
		for m := range t.Measures {
			t.Measures[m].join(&c.Values[m], p.values[m], first)
			own[m] += p.values[m]
			c.Largest[m] = max(c.Largest[m], own[m])
			if t.Measures[m].Kind == Distinct {
				c.Values[m] = c.Contributors
			}
		}
	}
	return cells
}

// join adds a contribution to a value.
func (m *Measure) join(to *int64, v int64, first bool) {
	switch {
	case m.Kind == Max && first:
		*to = v
	case m.Kind == Max:
		*to = max(*to, v)
	default:
		*to += v
	}
}
