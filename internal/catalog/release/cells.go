package release

import (
	"context"
	"io"
	"slices"
	"strconv"

	"github.com/songhua-io/hub/internal/catalog"
)

// MaxExact is the largest integer that readers of JSON who know no integers but
// floating point numbers read as it is (RFC 8259, 6).
const MaxExact = 1<<53 - 1

// appender writes the value of one row; it is there.
type appender func(b []byte, row int) []byte

// inCSV writes values of a column as fields.
func inCSV(c *Column) appender {
	switch c.Type {
	case catalog.String, catalog.Place:
		return func(b []byte, row int) []byte { return appendField(b, c.Strings[row]) }
	case catalog.Instant:
		i := &instants{}
		return func(b []byte, row int) []byte { return i.append(b, c.Integers[row]) }
	case catalog.Integer:
		return func(b []byte, row int) []byte { return strconv.AppendInt(b, c.Integers[row], 10) }
	}
	return inJSON(c)
}

// inJSON writes values of a column as JSON. Integers are strings in all rows
// where one of them is beyond MaxExact.
func inJSON(c *Column) appender {
	switch c.Type {
	case catalog.Boolean:
		return func(b []byte, row int) []byte { return strconv.AppendBool(b, c.Booleans[row]) }
	case catalog.String:
		return func(b []byte, row int) []byte { return appendString(b, c.Strings[row]) }
	case catalog.Place:
		return func(b []byte, row int) []byte { return append(b, c.Strings[row]...) }
	case catalog.Instant:
		i := &instants{}
		return func(b []byte, row int) []byte { return append(i.append(append(b, '"'), c.Integers[row]), '"') }
	case catalog.Integer:
		if c.large() {
			return func(b []byte, row int) []byte {
				return append(strconv.AppendInt(append(b, '"'), c.Integers[row], 10), '"')
			}
		}
		return func(b []byte, row int) []byte { return strconv.AppendInt(b, c.Integers[row], 10) }
	}
	return func(b []byte, row int) []byte { return appendNumber(b, c.Numbers[row]) }
}

// large reports whether an integer is one that not every reader of JSON can read.
func (c *Column) large() bool {
	return c.Type == catalog.Integer && slices.ContainsFunc(c.Integers, func(v int64) bool { return v > MaxExact || v < -MaxExact })
}

// part is a column that a file has, with what stands before its values.
type part struct {
	before string
	column *Column
	value  appender
}

// members are the columns as members of a JSON object.
func members(columns []*Column) []part {
	all := make([]part, len(columns))
	for i, c := range columns {
		before := "," + string(appendString(nil, c.Name)) + ":"
		if i == 0 {
			before = before[1:]
		}
		all[i] = part{before, c, inJSON(c)}
	}
	return all
}

// append writes one row of parts.
func appendParts(b []byte, parts []part, row int, none string) []byte {
	for i := range parts {
		p := &parts[i]
		b = append(b, p.before...)
		if p.column.Has(row) {
			b = p.value(b, row)
		} else {
			b = append(b, none...)
		}
	}
	return b
}

// some is how many bytes are written at once.
const some = 128 << 10

// rows writes all rows of a table as one says how, some at a time.
func rows(ctx context.Context, w io.Writer, n int, row func(b []byte, row int) []byte) error {
	b := make([]byte, 0, some+some/4)
	for i := range n {
		b = row(b, i)
		if len(b) < some && i < n-1 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	return nil
}

func writeCSV(ctx context.Context, t *Table, w io.Writer) error {
	parts := make([]part, len(t.Columns))
	head := []byte{}
	for i := range t.Columns {
		c := &t.Columns[i]
		parts[i] = part{",", c, inCSV(c)}
		head = appendField(append(head, ','), c.Name)
	}
	if len(parts) > 0 {
		parts[0].before, head = "", head[1:]
	}
	if _, err := w.Write(append(head, '\r', '\n')); err != nil {
		return err
	}
	return rows(ctx, w, t.Rows, func(b []byte, row int) []byte {
		return append(appendParts(b, parts, row, ""), '\r', '\n')
	})
}

func writeNDJSON(ctx context.Context, t *Table, w io.Writer) error {
	all := members(t.columns(nil))
	return rows(ctx, w, t.Rows, func(b []byte, row int) []byte {
		return append(appendParts(append(b, '{'), all, row, "null"), '}', '\n')
	})
}

// writeGeoJSON writes a FeatureCollection of RFC 7946: the first column of places
// is the geometry, and what else there is are properties.
func writeGeoJSON(ctx context.Context, t *Table, w io.Writer) error {
	place := t.place()
	all := members(t.columns(place))
	if _, err := io.WriteString(w, `{"type":"FeatureCollection","features":[`); err != nil {
		return err
	}
	err := rows(ctx, w, t.Rows, func(b []byte, row int) []byte {
		if row > 0 {
			b = append(b, ',')
		}
		b = append(b, "\n"+`{"type":"Feature","geometry":`...)
		if place.Has(row) {
			b = append(b, place.Strings[row]...)
		} else {
			b = append(b, "null"...)
		}
		b = append(b, `,"properties":{`...)
		return append(appendParts(b, all, row, "null"), "}}"...)
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "\n]}\n")
	return err
}

// place is the first column of places; nil: there is none.
func (t *Table) place() *Column {
	i := slices.IndexFunc(t.Columns, func(c Column) bool { return c.Type == catalog.Place })
	if i < 0 {
		return nil
	}
	return &t.Columns[i]
}

// columns are all columns but one.
func (t *Table) columns(but *Column) (all []*Column) {
	for i := range t.Columns {
		if c := &t.Columns[i]; c != but {
			all = append(all, c)
		}
	}
	return all
}
