package gate

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Table is what is to be published, before the gate: every cell of the base,
// which is the product of the leaves of all dimensions, and the groupings in
// which it is published. Values are integers in the unit of their measure, so
// that nothing depends on how a machine adds.
type Table struct {
	Dataset    string
	Version    int64
	Dimensions []Dimension
	Measures   []Measure
	Groupings  []Grouping
	// Bound is how often one contributor is counted in all of a day's base cells
	// at most, as the Tally saw to it; 0 says that nobody saw to it.
	Bound int64
	// Zone is how many seconds the days of the data, by which bounds and budgets go,
	// are ahead of those of UTC.
	Zone int64 `json:",omitzero"`
	// Cells are the base, the last dimension counting fastest.
	Cells []Cell
	// Totals are, by grouping, the cells of that grouping where more is known of
	// them than follows from the base: how many distinct contributors there are,
	// and what does not add up. Values of counts, sums and means are not read.
	// Nil, or without Values, where nothing is known.
	Totals [][]Cell
}

// Dimension is one way in which cells are told apart: time, space, or a further
// category. Its levels are partitions of the leaves; they need not be nested.
type Dimension struct {
	Name   string
	Time   bool // leaves have Start and End; there is exactly one such dimension
	Leaves []Leaf
	Levels []Level
}

// Leaf is the finest that a dimension tells apart.
type Leaf struct {
	Code string
	// Start and End bound a bin of time, in Unix seconds.
	Start, End int64
	// Path is where the leaf lies, as a line; exclusion zones look at it.
	Path []Point
}

// Point is a place in millionths of a degree.
type Point struct{ Lon, Lat int32 }

// Level joins leaves: Of has the index into Codes, by leaf.
type Level struct {
	Name  string
	Codes []string
	Of    []int32
	// Length is how long each code is, in the dimension of time. A code is
	// published once all of its time has passed and is in the table; 0 asks for
	// no certain length.
	Length time.Duration
}

// Grouping names a level of each dimension.
type Grouping []string

// Each and All are levels that every dimension has.
const (
	Each = "each"
	All  = "all"
)

// Kind says how the values of a measure relate to those of smaller cells.
type Kind string

// The kinds.
const (
	Count    Kind = "count"    // contributions; they add up
	Sum      Kind = "sum"      // they add up
	Mean     Kind = "mean"     // its value is the sum, published divided by the measure Of
	Distinct Kind = "distinct" // distinct contributors; they do not add up
	Max      Kind = "max"
	Quantile Kind = "quantile"
)

// Measure is one number of every cell.
type Measure struct {
	Name string
	Unit string // UCUM
	Kind Kind
	// Of is the count by which the sum of a mean is divided, by name.
	Of string
	// Mille is which quantile, in thousandths.
	Mille int64
	// Round is the step to which published values are rounded, half up; 0 and 1
	// leave them as they are.
	Round int64
	// Cap is the largest single contribution to a sum, as the Tally saw to it;
	// only noise asks for it.
	Cap int64
}

// Cell is what is known of a cell. Values are by measure.
type Cell struct {
	Values []int64
	// Contributors are at least so many distinct ones.
	Contributors int64
	// Largest is at most what the largest contributor gave to each measure; nil
	// where that is not known.
	Largest []int64
	// Special is how many contributors, among those counted, may not be seen at
	// all: police, ambulances, convoys. The Tally leaves them out; a cell that
	// still holds one is withheld.
	Special int64
	// Grown says that contributions were only added: whatever any earlier table has of
	// the cell is still in it.
	Grown bool `json:"-"`
	// Told has a bit for each part of the cell's time from which contributions are in
	// it, as the source divides it; 0 where it does not.
	Told uint64 `json:"-"`
	// Changed is how many contributors gave something else than in any version before,
	// at least; 0 where that is not known.
	Changed int64
}

const maxCells = 1 << 24 // of the base

// additive reports whether the values of smaller cells add up to those of a
// larger one.
func (k Kind) additive() bool { return k == Count || k == Sum || k == Mean }

// sums reports whether one contributor may have given most of a value: a mean tells
// its sum, beside the count.
func (k Kind) sums() bool { return k == Sum || k == Mean }

// Check tells all that is wrong with a table.
func (t *Table) check() error {
	if t.Dataset == "" {
		return fmt.Errorf("table: dataset is empty; name the dataset")
	}
	size, times := 1, 0
	for i := range t.Dimensions {
		d := &t.Dimensions[i]
		if err := d.check(); err != nil {
			return fmt.Errorf("table %s: dimension %q: %w", t.Dataset, d.Name, err)
		}
		if d.Time {
			times++
		}
		if size *= len(d.Leaves); size > maxCells {
			return fmt.Errorf("table %s: more than %d cells; publish it in parts", t.Dataset, maxCells)
		}
	}
	if times != 1 || len(t.Dimensions) > 8 {
		return fmt.Errorf("table %s: %d dimensions, %d of them of time; it takes one of time, and up to 8", t.Dataset, len(t.Dimensions), times)
	}
	if len(t.Cells) != size {
		return fmt.Errorf("table %s: %d cells; its dimensions make %d, and empty cells are cells", t.Dataset, len(t.Cells), size)
	}
	if err := t.checkMeasures(); err != nil {
		return err
	}
	if len(t.Groupings) == 0 {
		return fmt.Errorf("table %s: no grouping; name the levels to publish", t.Dataset)
	}
	for i, g := range t.Groupings {
		if len(g) != len(t.Dimensions) {
			return fmt.Errorf("table %s: grouping %v names %d levels of %d dimensions", t.Dataset, g, len(g), len(t.Dimensions))
		}
		for d, name := range g {
			if _, ok := t.Dimensions[d].level(name); !ok {
				return fmt.Errorf("table %s: dimension %q has no level %q", t.Dataset, t.Dimensions[d].Name, name)
			}
		}
		if slices.ContainsFunc(t.Groupings[:i], func(o Grouping) bool { return slices.Equal(o, g) }) {
			return fmt.Errorf("table %s: grouping %v is named twice", t.Dataset, g)
		}
	}
	return t.checkCells()
}

func (t *Table) checkMeasures() error {
	for i, m := range t.Measures {
		fault := ""
		switch m.Kind {
		case Count, Sum, Distinct, Max:
		case Mean:
			if o := t.measure(m.Of); o < 0 || t.Measures[o].Kind != Count {
				fault = fmt.Sprintf("is a mean of %q, which is no count", m.Of)
			}
		case Quantile:
			if m.Mille < 1 || m.Mille > 999 {
				fault = fmt.Sprintf("is the quantile of %d thousandths; use 1 to 999", m.Mille)
			}
		default:
			fault = fmt.Sprintf("has the unknown kind %q", m.Kind)
		}
		if m.Round < 0 || m.Cap < 0 {
			fault = "has a negative step or cap"
		}
		if t.measure(m.Name) != i {
			fault = "is named twice"
		}
		if fault != "" {
			return fmt.Errorf("table %s: measure %q %s", t.Dataset, m.Name, fault)
		}
	}
	if len(t.Measures) == 0 || t.Bound < 0 || len(t.Totals) != 0 && len(t.Totals) != len(t.Groupings) {
		return fmt.Errorf("table %s: it takes a measure, a bound of 0 or more, and totals for all groupings or none", t.Dataset)
	}
	return nil
}

func (t *Table) checkCells() error {
	sums := make([]int64, len(t.Measures))
	for i := range t.Cells {
		c := &t.Cells[i]
		if err := t.checkCell(c); err != nil {
			return fmt.Errorf("table %s: cell %v: %w", t.Dataset, t.codes(i), err)
		}
		for m, v := range c.Values {
			if !t.Measures[m].Kind.additive() {
				continue
			}
			if v < 0 {
				return fmt.Errorf("table %s: cell %v: %q is %d; what adds up cannot be negative", t.Dataset, t.codes(i), t.Measures[m].Name, v)
			}
			if sums[m] > math.MaxInt64/256-v {
				return fmt.Errorf("table %s: %q adds up to more than %d; use a larger unit", t.Dataset, t.Measures[m].Name, int64(math.MaxInt64/256))
			}
			sums[m] += v
		}
	}
	for g := range t.Totals {
		for i := range t.Totals[g] {
			if t.Totals[g][i].Values == nil {
				continue // nothing is known of it
			}
			if err := t.checkCell(&t.Totals[g][i]); err != nil {
				return fmt.Errorf("table %s: total %d of %v: %w", t.Dataset, i, t.Groupings[g], err)
			}
		}
	}
	return nil
}

func (t *Table) checkCell(c *Cell) error {
	if len(c.Values) != len(t.Measures) || c.Largest != nil && len(c.Largest) != len(t.Measures) {
		return fmt.Errorf("%d values and %d largest of %d measures", len(c.Values), len(c.Largest), len(t.Measures))
	}
	if c.Contributors < 0 || c.Special < 0 || c.Changed < 0 || len(c.Largest) > 0 && slices.Min(c.Largest) < 0 {
		return fmt.Errorf("a number of contributors, or what the largest gave, is negative")
	}
	return nil
}

func (d *Dimension) check() error {
	if len(d.Leaves) == 0 {
		return fmt.Errorf("no leaves")
	}
	seen := make(map[string]bool, len(d.Leaves))
	for i, l := range d.Leaves {
		if seen[l.Code] {
			return fmt.Errorf("leaf %q is named twice", l.Code)
		}
		seen[l.Code] = true
		if !d.Time {
			continue
		}
		if l.End <= l.Start || i > 0 && l.Start < d.Leaves[i-1].End {
			return fmt.Errorf("bin %q does not begin after the one before and end after its start", l.Code)
		}
	}
	for _, l := range d.Levels {
		if l.Name == Each || l.Name == All || len(l.Of) != len(d.Leaves) || l.Length < 0 {
			return fmt.Errorf("level %q: it has a reserved name, a negative length, or %d of %d leaves", l.Name, len(l.Of), len(d.Leaves))
		}
		for _, code := range l.Of {
			if code < 0 || int(code) >= len(l.Codes) {
				return fmt.Errorf("level %q: %d is no index of its %d codes", l.Name, code, len(l.Codes))
			}
		}
	}
	return nil
}

// level makes any level of a dimension, the reserved ones too.
func (d *Dimension) level(name string) (Level, bool) {
	switch name {
	case Each:
		l := Level{Name: Each, Codes: make([]string, len(d.Leaves)), Of: make([]int32, len(d.Leaves))}
		for i := range d.Leaves {
			l.Codes[i], l.Of[i] = d.Leaves[i].Code, int32(i)
		}
		return l, true
	case All:
		return Level{Name: All, Codes: []string{All}, Of: make([]int32, len(d.Leaves))}, true
	}
	i := slices.IndexFunc(d.Levels, func(l Level) bool { return l.Name == name })
	if i < 0 {
		return Level{}, false
	}
	return d.Levels[i], true
}

func (t *Table) measure(name string) int {
	return slices.IndexFunc(t.Measures, func(m Measure) bool { return m.Name == name })
}

// codes are those of a cell of the base.
func (t *Table) codes(cell int) []string {
	all := make([]string, len(t.Dimensions))
	for d := len(t.Dimensions) - 1; d >= 0; d-- {
		n := len(t.Dimensions[d].Leaves)
		all[d] = t.Dimensions[d].Leaves[cell%n].Code
		cell /= n
	}
	return all
}

// keep is the table with some leaves only, by dimension. What was known of a
// total that loses a leaf is known no longer.
func (t *Table) keep(kept [][]int32) *Table {
	out := *t
	out.Dimensions = slices.Clone(t.Dimensions)
	for d := range out.Dimensions {
		dim := &out.Dimensions[d]
		dim.Leaves = pick(dim.Leaves, kept[d])
		dim.Levels = slices.Clone(dim.Levels)
		for l := range dim.Levels {
			dim.Levels[l].Of = pick(dim.Levels[l].Of, kept[d])
		}
	}
	out.Cells = product(t.Cells, t.shape(), kept)
	out.Totals = make([][]Cell, len(t.Totals))
	for g := range t.Totals {
		if len(t.Totals[g]) > 0 {
			out.Totals[g] = t.keepTotals(g, kept)
		}
	}
	return &out
}

// keepTotals is what remains known of the totals of a grouping.
func (t *Table) keepTotals(g int, kept [][]int32) []Cell {
	shape := make([]int, len(kept))
	codes := make([][]int32, len(kept)) // that remain, by dimension
	whole := make([][]bool, len(kept))  // whether the code keeps all leaves
	for d, name := range t.Groupings[g] {
		l, _ := t.Dimensions[d].level(name)
		shape[d] = len(l.Codes)
		lost := make([]bool, len(l.Codes))
		at := 0
		for leaf, code := range l.Of {
			if at < len(kept[d]) && int(kept[d][at]) == leaf {
				at++
			} else {
				lost[code] = true
			}
		}
		if name == Each {
			codes[d] = kept[d]
		} else {
			codes[d] = upTo(len(l.Codes))
		}
		for _, c := range codes[d] {
			whole[d] = append(whole[d], !lost[c])
		}
	}
	out := product(t.Totals[g], shape, codes)
	each(len(out), codes, func(i int, at []int) {
		for d := range at {
			if !whole[d][at[d]] {
				out[i] = Cell{}
			}
		}
	})
	return out
}

func (t *Table) shape() []int {
	all := make([]int, len(t.Dimensions))
	for d := range all {
		all[d] = len(t.Dimensions[d].Leaves)
	}
	return all
}

// product picks from an array of a shape the cells with certain indices.
func product[T any](all []T, shape []int, kept [][]int32) []T {
	size := 1
	for _, k := range kept {
		size *= len(k)
	}
	out := make([]T, size)
	each(size, kept, func(i int, at []int) {
		from := 0
		for d := range kept {
			from = from*shape[d] + int(kept[d][at[d]])
		}
		out[i] = all[from]
	})
	return out
}

// each calls do with every index of a product, the last counting fastest.
func each(size int, of [][]int32, do func(i int, at []int)) {
	at := make([]int, len(of))
	for i := range size {
		do(i, at)
		for d := len(of) - 1; d >= 0; d-- {
			if at[d]++; at[d] < len(of[d]) {
				break
			}
			at[d] = 0
		}
	}
}

func pick[T any](all []T, which []int32) []T {
	out := make([]T, len(which))
	for i, w := range which {
		out[i] = all[w]
	}
	return out
}

func upTo(n int) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = int32(i)
	}
	return all
}
