// Package release makes the files of a dataset's releases from a table of rows,
// keeps them immutable on disk, and hands them out. The same rows by the same
// recipe are the same bytes on every machine. Art. 32
package release

import (
	"fmt"

	"github.com/songhua-io/hub/internal/catalog"
)

// Table is the rows of a release, by column, in the order in which files have
// them.
type Table struct {
	Columns []Column
	Rows    int
}

// Column is an item of the dataset with its values: those of its type are in
// the slice for it, one for each row.
type Column struct {
	catalog.Item
	Numbers  []float64 // Number; neither NaN nor infinite where Absent is false
	Integers []int64   // Integer; of Instant milliseconds since 1970 in UTC
	Booleans []bool    // Boolean
	Strings  []string  // String; of Place a GeoJSON geometry, at most 7 decimals
	// Absent says by row that there is no value; nil: there is one in each. What
	// stands in the slice of values then is the zero value.
	Absent []bool
}

// Len is how many values the column has.
func (c *Column) Len() int {
	switch c.Type {
	case catalog.Integer, catalog.Instant:
		return len(c.Integers)
	case catalog.Boolean:
		return len(c.Booleans)
	case catalog.String, catalog.Place:
		return len(c.Strings)
	}
	return len(c.Numbers)
}

// Has reports whether a row has a value.
func (c *Column) Has(row int) bool { return c.Absent == nil || !c.Absent[row] }

// Check returns what is wrong with the shape of the table.
func (t *Table) Check() error {
	names := map[string]bool{}
	for i := range t.Columns {
		c := &t.Columns[i]
		switch {
		case c.Name == "" || names[c.Name]:
			return fmt.Errorf("column %d is named %q: names are not empty, and each is there once", i, c.Name)
		case c.Len() != t.Rows:
			return fmt.Errorf("column %s has %d values and the table %d rows", c.Name, c.Len(), t.Rows)
		case c.Absent != nil && len(c.Absent) != t.Rows:
			return fmt.Errorf("column %s says of %d rows whether they have a value, and the table has %d", c.Name, len(c.Absent), t.Rows)
		}
		names[c.Name] = true
	}
	return nil
}
