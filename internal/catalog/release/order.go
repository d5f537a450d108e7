package release

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/catalog"
)

// Ordered returns the table with its rows in the order of the key columns. It
// is the same table where they are so already. Two rows with one key are an
// error: nobody could tell which of them a correction is about.
func (t *Table) Ordered(key []string) (*Table, error) {
	k, err := t.key(key)
	if err != nil {
		return nil, err
	}
	in := true
	for row := 1; row < t.Rows && in; row++ {
		in = k.compare(row-1, k, row) < 0
	}
	if in {
		return t, nil
	}
	order := k.order(t.Rows)
	for i := 1; i < len(order); i++ {
		if k.compare(order[i-1], k, order[i]) == 0 {
			return nil, fmt.Errorf("rows %d and %d have the same key: %s; add a key column that tells them apart", order[i-1], order[i], k.text(order[i]))
		}
	}
	return t.in(order), nil
}

// keys are columns by which rows are told apart.
type keys []*Column

// order are the numbers of rows in the order of the columns.
func (k keys) order(rows int) []int {
	order := make([]int, rows)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return k.compare(a, k, b) })
	return order
}

func (t *Table) key(names []string) (keys, error) {
	if len(names) == 0 {
		return nil, fmt.Errorf("a release needs a key: name the columns that tell its rows apart, such as time and device")
	}
	var k keys
	for _, name := range names {
		c := t.Column(name)
		if c == nil {
			return nil, fmt.Errorf("key column %.70q is none of the table", name)
		}
		k = append(k, c)
	}
	return k, nil
}

// Column returns a column by its name; nil: there is none.
func (t *Table) Column(name string) *Column {
	i := slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &t.Columns[i]
}

// compare orders a row and one of a table with the same key columns.
func (k keys) compare(row int, other keys, of int) int {
	for i, c := range k {
		if d := c.compare(row, other[i], of); d != 0 {
			return d
		}
	}
	return 0
}

// compare orders two values of columns of one type; none comes before any.
func (c *Column) compare(row int, other *Column, of int) int {
	has, had := c.Has(row), other.Has(of)
	switch {
	case has != had && had:
		return -1
	case has != had:
		return 1
	case !has:
		return 0
	}
	switch c.Type {
	case catalog.Integer, catalog.Instant:
		return cmp.Compare(c.Integers[row], other.Integers[of])
	case catalog.Boolean:
		return number(c.Booleans[row]) - number(other.Booleans[of])
	case catalog.String, catalog.Place:
		return strings.Compare(c.Strings[row], other.Strings[of])
	}
	return cmp.Compare(c.Numbers[row], other.Numbers[of])
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// text is a key for people.
func (k keys) text(row int) string {
	var all []string
	for _, c := range k {
		all = append(all, c.Name+" "+string(c.json(row)))
	}
	return strings.Join(all, ", ")
}

// json is the value of a row as JSON.
func (c *Column) json(row int) []byte {
	if !c.Has(row) {
		return []byte("null")
	}
	return inJSON(c)(nil, row)
}

// in is the table with some of its rows, or all, in another order.
func (t *Table) in(order []int) *Table {
	sorted := &Table{Rows: len(order), Columns: slices.Clone(t.Columns)}
	for i := range sorted.Columns {
		c := &sorted.Columns[i]
		c.Numbers, c.Integers, c.Booleans = picked(c.Numbers, order), picked(c.Integers, order), picked(c.Booleans, order)
		c.Strings, c.Absent = picked(c.Strings, order), picked(c.Absent, order)
	}
	return sorted
}

func picked[T any](from []T, order []int) []T {
	if from == nil {
		return nil
	}
	all := make([]T, len(order))
	for i, row := range order {
		all[i] = from[row]
	}
	return all
}
