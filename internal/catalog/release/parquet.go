package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/songhua-io/hub/internal/catalog"
)

const (
	// groupRows is how many rows a row group has; what is kept of one before it is
	// written bounds the memory of writing.
	groupRows = 1 << 18
	// valueRows is how many values are handed over at once.
	valueRows = 1 << 12
	// manyValues is how many different values a column has for which a dictionary
	// is longer than the values themselves.
	manyValues = 1 << 16
)

// ordered is a group of columns in the order in which they were given;
// parquet.Group has them by name.
type ordered struct {
	parquet.Group
	names []string
}

// Fields implements parquet.Node.
func (o ordered) Fields() []parquet.Field {
	byName := map[string]parquet.Field{}
	for _, f := range o.Group.Fields() {
		byName[f.Name()] = f
	}
	all := make([]parquet.Field, len(o.names))
	for i, name := range o.names {
		all[i] = byName[name]
	}
	return all
}

// schema is that of the files of a table. All columns are optional, so that the
// schema does not depend on whether a value is missing this time.
func schema(t *Table) *parquet.Schema {
	o := ordered{parquet.Group{}, nil}
	for i := range t.Columns {
		c := &t.Columns[i]
		o.names = append(o.names, c.Name)
		o.Group[c.Name] = parquet.Optional(node(c))
	}
	return parquet.NewSchema("release", o)
}

// node is the type of a column with the encoding that suits its values.
func node(c *Column) parquet.Node {
	switch c.Type {
	case catalog.Boolean:
		return parquet.Leaf(parquet.BooleanType)
	case catalog.Instant:
		return parquet.Encoded(parquet.Timestamp(parquet.Millisecond), &parquet.DeltaBinaryPacked)
	case catalog.Integer:
		if few(c.Integers) {
			return parquet.Encoded(parquet.Leaf(parquet.Int64Type), &parquet.RLEDictionary)
		}
		return parquet.Encoded(parquet.Leaf(parquet.Int64Type), &parquet.DeltaBinaryPacked)
	case catalog.String, catalog.Place:
		n := parquet.String()
		if c.Type == catalog.Place {
			n = parquet.JSON()
		}
		if few(c.Strings) {
			return parquet.Encoded(n, &parquet.RLEDictionary)
		}
		return parquet.Encoded(n, &parquet.DeltaLengthByteArray)
	}
	if few(c.Numbers) {
		return parquet.Encoded(parquet.Leaf(parquet.DoubleType), &parquet.RLEDictionary)
	}
	return parquet.Encoded(parquet.Leaf(parquet.DoubleType), &parquet.ByteStreamSplit)
}

// few reports whether values repeat so often that a dictionary shortens them.
func few[T comparable](values []T) bool {
	seen := map[T]struct{}{}
	for _, v := range values {
		if seen[v] = struct{}{}; len(seen) > manyValues {
			return false
		}
	}
	return len(seen) <= len(values)/4+1
}

// writeParquet writes the table in row groups. Nothing in the file depends on
// the machine, the time or the version of the library, as far as the library
// does not write other bytes; the golden test tells when it does.
func writeParquet(ctx context.Context, t *Table, w io.Writer) error {
	out := parquet.NewWriter(w, schema(t), parquet.CreatedBy("songhua-hub", "1", "release"), parquet.DataPageStatistics(false),
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault, Concurrency: 1}), parquet.MaxRowsPerRowGroup(math.MaxInt64))
	values := make([]parquet.Value, 0, valueRows)
	for from := 0; from < t.Rows; from += groupRows {
		to := min(from+groupRows, t.Rows)
		for i, column := range out.ColumnWriters() {
			if err := writeChunk(ctx, column, &t.Columns[i], i, from, to, values); err != nil {
				return err
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return out.Close()
}

func writeChunk(ctx context.Context, w *parquet.ColumnWriter, c *Column, index, from, to int, values []parquet.Value) error {
	value := valueOf(c)
	for ; from < to; from += valueRows {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		values = values[:0]
		for row := from; row < min(from+valueRows, to); row++ {
			v := parquet.Value{}
			defined := 0
			if c.Has(row) {
				v, defined = value(row), 1
			}
			values = append(values, v.Level(0, defined, index))
		}
		if _, err := w.WriteRowValues(values); err != nil {
			return err
		}
	}
	return nil
}

func valueOf(c *Column) func(row int) parquet.Value {
	switch c.Type {
	case catalog.Boolean:
		return func(row int) parquet.Value { return parquet.BooleanValue(c.Booleans[row]) }
	case catalog.Integer, catalog.Instant:
		return func(row int) parquet.Value { return parquet.Int64Value(c.Integers[row]) }
	case catalog.String, catalog.Place:
		// The library copies what it keeps, and changes nothing.
		return func(row int) parquet.Value {
			return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(c.Strings[row]), len(c.Strings[row])))
		}
	}
	return func(row int) parquet.Value { return parquet.DoubleValue(c.Numbers[row]) }
}

// readParquet reads the rows of a file as columns that are as the items say.
func readParquet(r io.ReaderAt, size int64, items []catalog.Item) (*Table, error) {
	f, err := openParquet(r, size, items)
	if err != nil {
		return nil, err
	}
	t := &Table{Rows: f.rows}
	for i := range items {
		c, err := f.column(i, nil)
		if err != nil {
			return nil, err
		}
		t.Columns = append(t.Columns, *c)
	}
	return t, t.Check()
}

// columnar is an open file of Parquet, read column by column.
type columnar struct {
	file  *parquet.File
	items []catalog.Item
	rows  int
}

// openParquet opens a file whose columns are as the items say.
func openParquet(r io.ReaderAt, size int64, items []catalog.Item) (_ *columnar, err error) {
	defer foreign(&err)
	f, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	if found := len(f.Root().Columns()); found != len(items) {
		return nil, fmt.Errorf("the file has %d columns, and %d were written", found, len(items))
	}
	for i, item := range items {
		if is := f.Root().Columns()[i].Name(); is != item.Name {
			return nil, fmt.Errorf("column %d of the file is %q, and %q was written", i, is, item.Name)
		}
	}
	return &columnar{f, items, int(f.NumRows())}, nil
}

// foreign makes an error of a panic: the library panics on files that are none of
// its own.
func foreign(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the file is no Parquet of a release: %v", p)
	}
}

// column reads a column, of the rows that are taken; nil: of all.
func (f *columnar) column(i int, take *selection) (c *Column, err error) {
	defer foreign(&err)
	c = &Column{Item: f.items[i]}
	c.room(take.of(f.rows))
	row := 0
	for _, group := range f.file.RowGroups() {
		if row, err = readChunk(group.ColumnChunks()[i], c, take, row); err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
	}
	return c, nil
}

// room makes room for so many values.
func (c *Column) room(n int) {
	switch c.Type {
	case catalog.Boolean:
		c.Booleans = make([]bool, 0, n)
	case catalog.Integer, catalog.Instant:
		c.Integers = make([]int64, 0, n)
	case catalog.String, catalog.Place:
		c.Strings = make([]string, 0, n)
	default:
		c.Numbers = make([]float64, 0, n)
	}
}

// readChunk adds the values of a chunk that are taken; it begins with row, and
// returns the one after it.
func readChunk(chunk parquet.ColumnChunk, c *Column, take *selection, row int) (_ int, err error) {
	pages := chunk.Pages()
	defer func() { err = errors.Join(err, pages.Close()) }()
	kept := map[string]string{}
	values := make([]parquet.Value, valueRows)
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return row, nil
		}
		if err != nil {
			return row, err
		}
		in := page.Values()
		for {
			n, err := in.ReadValues(values)
			for _, v := range values[:n] {
				if take.has(row) {
					c.add(v, kept)
				}
				row++
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return row, err
			}
		}
		parquet.Release(page)
	}
}

// add adds a value of the file. Texts that come again are kept once.
func (c *Column) add(v parquet.Value, kept map[string]string) {
	if v.IsNull() {
		if c.Absent == nil {
			c.Absent = make([]bool, c.Len(), max(cap(c.Numbers), cap(c.Integers), cap(c.Booleans), cap(c.Strings)))
		}
	}
	if c.Absent != nil {
		c.Absent = append(c.Absent, v.IsNull())
	}
	switch c.Type {
	case catalog.Boolean:
		c.Booleans = append(c.Booleans, !v.IsNull() && v.Boolean())
	case catalog.Integer, catalog.Instant:
		c.Integers = append(c.Integers, zeroOr(v, parquet.Value.Int64))
	case catalog.String, catalog.Place:
		c.Strings = append(c.Strings, c.text(v, kept))
	default:
		c.Numbers = append(c.Numbers, zeroOr(v, parquet.Value.Double))
	}
}

func zeroOr[T any](v parquet.Value, of func(parquet.Value) T) (zero T) {
	if v.IsNull() {
		return zero
	}
	return of(v)
}

func (c *Column) text(v parquet.Value, kept map[string]string) string {
	if v.IsNull() {
		return ""
	}
	b := v.ByteArray()
	if s, ok := kept[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(kept) < manyValues {
		kept[s] = s
	}
	return s
}
