package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
)

// Cut is how much of a release somebody gets who may not have all of it: nothing
// of a field that is empty narrows it. The same cut of the same release is the
// same bytes on every machine.
type Cut struct {
	// Items are the columns that stay, in the order of the release.
	Items []string `json:"items,omitempty"`
	// Area is a prefix of division codes: rows of which anything was measured
	// elsewhere are left out.
	Area string `json:"area,omitempty"`
	// From and To bound the time: rows that begin before or end after are left out.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

// CutTransform names how cuts are made. It changes when the same cut of a release
// comes to other bytes.
const CutTransform = "songhua-cut/1"

// Outside says that nothing of a release lies within a scope.
type Outside struct{ ZH, EN string }

func (e *Outside) Error() string { return e.EN }

// Narrow is the cut of a release that a scope comes to: the items that it has, a
// prefix of division codes, and a time whose end is not in it; the zero value of
// each but the items narrows nothing. It is nil where the scope has all of the
// release, and an *Outside where it has nothing.
func (m *Manifest) Narrow(items []string, area string, from, to time.Time) (*Cut, error) {
	c := &Cut{}
	for i := range m.Columns {
		if slices.Contains(items, m.Columns[i].Name) {
			c.Items = append(c.Items, m.Columns[i].Name)
		}
	}
	if !to.IsZero() && !to.After(m.Period.From) || !from.Before(m.Period.To) {
		return nil, &Outside{fmt.Sprintf("数据集 %s 第 %d 版的时段（%s 至 %s）不在授权时段之内。", m.Dataset, m.Version, clock(m.Period.From), clock(m.Period.To)),
			fmt.Sprintf("Release %d of dataset %s is of %s to %s, which lies outside of the time that is granted.", m.Version, m.Dataset, clock(m.Period.From), clock(m.Period.To))}
	}
	switch len(c.Items) {
	case 0:
		return nil, &Outside{fmt.Sprintf("数据集 %s 第 %d 版没有所授权的信息项。", m.Dataset, m.Version), fmt.Sprintf("Release %d of dataset %s has none of the items that are granted.", m.Version, m.Dataset)}
	case len(m.Columns):
		c.Items = nil
	}
	if !strings.HasPrefix(m.Region(), area) {
		c.Area = area
	}
	if from.After(m.Period.From) {
		c.From = from.UTC()
	}
	if !to.IsZero() && to.Before(m.Period.To) {
		c.To = to.UTC()
	}
	if c.Items == nil && c.Area == "" && c.From.IsZero() && c.To.IsZero() {
		return nil, nil
	}
	return c, nil
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (c *Cut) has(item string) bool { return c.Items == nil || slices.Contains(c.Items, item) }

// cut is the manifest of a cut, as far as it is known before its rows are: files
// have names and types. What is said of the whole release is left out: its report
// of the privacy gate, its inputs, and what it changed.
func (m *Manifest) cut(c *Cut) *Manifest {
	out := &Manifest{
		Format: m.Format, Dataset: m.Dataset, Code: m.Code, Title: m.Title, Version: m.Version, Period: m.Period, Made: m.Made, Grade: m.Grade, Share: m.Share, Open: m.Open,
		Licence: m.Licence, Key: []string{}, Replaces: m.Replaces, Reason: m.Reason, Recipe: Recipe{Transform: Transform{ID: CutTransform}}, Cut: c,
	}
	if !c.From.IsZero() {
		out.Period.From = c.From
	}
	if !c.To.IsZero() {
		out.Period.To = c.To
	}
	t := &Table{}
	for i, item := range m.Items() {
		if c.has(item.Name) {
			info := m.Columns[i]
			info.JSON = "" // whether integers are large depends on the rows
			out.Columns = append(out.Columns, info)
			t.Columns = append(t.Columns, Column{Item: item})
		}
	}
	if !slices.ContainsFunc(m.Key, func(name string) bool { return !c.has(name) }) {
		out.Key = slices.Clone(m.Key)
	}
	for _, f := range forms(t) {
		out.Files = append(out.Files, File{Name: f.name, MediaType: f.media})
	}
	return out
}

// Stretch says of rows that follow each other in a release where what they say
// was measured, and of how much time each is.
type Stretch struct {
	Rows int
	// Regions are the division codes of all that went into them.
	Regions []string
	Bin     time.Duration
	// Key are the values of the first columns of the key, which are texts, in the
	// first of them; empty for none. It proves that rows are those that are meant.
	Key []string
}

// within reports whether all that rows say was measured in an area.
func (s *Stretch) within(area string) bool {
	return len(s.Regions) > 0 && !slices.ContainsFunc(s.Regions, func(code string) bool { return !strings.HasPrefix(code, area) })
}

// selection is which rows of a release are taken; nil: all.
type selection struct {
	take []bool
	n    int
}

func (s *selection) has(row int) bool { return s == nil || s.take[row] }

func (s *selection) of(all int) int {
	if s == nil {
		return all
	}
	return s.n
}

// selects decides which rows a cut takes, by where they were measured and when.
func (c *Cut) selects(f *columnar, m *Manifest, where func() ([]Stretch, error)) (*selection, error) {
	timed := !c.From.IsZero() || !c.To.IsZero()
	if c.Area == "" && !timed {
		return nil, nil
	}
	all, err := where()
	if err != nil {
		return nil, fmt.Errorf("where the rows of release %s were measured: %w", of(m.Dataset, m.Version), err)
	}
	var times *Column
	if timed {
		i := m.times()
		if i < 0 {
			return nil, fmt.Errorf("release %s %w by time: no column of it is one; apply without `from` and `to`", of(m.Dataset, m.Version), ErrNoCut)
		}
		if times, err = f.column(i, nil); err != nil {
			return nil, err
		}
	}
	told := 0
	for i := range all {
		told += all[i].Rows
	}
	if told != f.rows {
		return nil, fmt.Errorf("release %s %w: of its %d rows it is known of %d where they were measured", of(m.Dataset, m.Version), ErrNoCut, f.rows, told)
	}
	if err := f.aligned(m, all); err != nil {
		return nil, err
	}
	s := &selection{take: make([]bool, f.rows)}
	row := 0
	for i := range all {
		st := &all[i]
		here := c.Area == "" || st.within(c.Area)
		for range st.Rows {
			if here && (times == nil || times.Has(row) && c.spans(times.Integers[row], st.Bin)) {
				s.take[row] = true
				s.n++
			}
			row++
		}
	}
	return s, nil
}

// aligned compares the keys of stretches with the first rows of each.
func (f *columnar) aligned(m *Manifest, all []Stretch) error {
	for k, name := range m.Key {
		var c *Column
		row := 0
		for i := range all {
			if k < len(all[i].Key) && all[i].Rows > 0 {
				if c == nil {
					var err error
					if c, err = f.column(slices.IndexFunc(m.Columns, func(c ColumnInfo) bool { return c.Name == name }), nil); err != nil {
						return err
					}
				}
				if c.Type != catalog.String || c.Strings[row] != all[i].Key[k] {
					return fmt.Errorf("release %s %w: its row %d is not of %s %.70q, as is known of where it was measured", of(m.Dataset, m.Version), ErrNoCut, row, name, all[i].Key[k])
				}
			}
			row += all[i].Rows
		}
	}
	return nil
}

// ErrNoCut says that a release cannot be cut to a scope.
var ErrNoCut = errors.New("cannot be cut")

// spans reports whether a row that begins at a time, in ms, and lasts a bin lies
// within the time of the cut.
func (c *Cut) spans(ms int64, bin time.Duration) bool {
	begin := time.UnixMilli(ms)
	if !c.From.IsZero() && begin.Before(c.From) {
		return false
	}
	return c.To.IsZero() || begin.Before(c.To) && !begin.Add(bin).After(c.To)
}

// times is the column that says when rows begin; -1: there is none. One that tells
// rows apart comes before any other.
func (m *Manifest) times() int {
	found := -1
	for i := range m.Columns {
		if m.Columns[i].Type != catalog.Instant {
			continue
		}
		if m.isKey(m.Columns[i].Name) {
			return i
		}
		if found < 0 {
			found = i
		}
	}
	return found
}

// cutTable reads the rows of a cut. It holds the columns that stay, of the rows
// that stay, and one column more.
func (s *Store) cutTable(ctx context.Context, m *Manifest, c *Cut) (t *Table, err error) {
	content, err := s.Open(m.Dataset, m.Version, ParquetFile)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	r := content.ReadSeekCloser.(*reader)
	f, err := openParquet(r, r.kept.Size, m.Items())
	if err != nil {
		return nil, err
	}
	take, err := c.selects(f, m, func() ([]Stretch, error) { return s.deps.Cuts.Where(ctx, m.Dataset, m.Version) })
	if err != nil {
		return nil, err
	}
	t = &Table{Rows: take.of(f.rows)}
	for i := range m.Columns {
		if !c.has(m.Columns[i].Name) {
			continue
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		column, err := f.column(i, take)
		if err != nil {
			return nil, err
		}
		t.Columns = append(t.Columns, *column)
	}
	if t, err = c.leave(ctx, t, f, m, take); err != nil {
		return nil, err
	}
	return t, t.Check()
}

// leave leaves out rows that have no measured value that stays, and one that does
// not: that they are there says that something else was measured.
func (c *Cut) leave(ctx context.Context, t *Table, f *columnar, m *Manifest, take *selection) (*Table, error) {
	bare, some := make([]bool, t.Rows), false
	measures := 0
	for i := range t.Columns {
		if column := &t.Columns[i]; measured(column, m) {
			for row := range bare {
				bare[row] = (measures == 0 || bare[row]) && !column.Has(row)
			}
			measures++
		}
	}
	if measures == 0 || !slices.Contains(bare, true) {
		return t, nil
	}
	left := make([]bool, t.Rows)
	for i, item := range f.items {
		if c.has(item.Name) || !measured(&Column{Item: item}, m) {
			continue
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		other, err := f.column(i, take)
		if err != nil {
			return nil, err
		}
		for row := range left {
			left[row] = left[row] || bare[row] && other.Has(row)
			some = some || left[row]
		}
	}
	if !some {
		return t, nil
	}
	var order []int
	for row := range left {
		if !left[row] {
			order = append(order, row)
		}
	}
	return t.in(order), nil
}

// measured reports whether a column has values that were measured, and not what
// tells rows apart or describes them.
func measured(c *Column, m *Manifest) bool {
	return (c.Type == catalog.Number || c.Type == catalog.Integer || c.Type == catalog.Boolean) && !m.isKey(c.Name)
}

// inOrder is the table in the order of its release's rows: by the key or, in a cut
// that lacks some of it, by all columns, so that the order tells nothing of those
// that it lacks.
func (m *Manifest) inOrder(t *Table) (*Table, error) {
	if m.Cut == nil || len(m.Key) > 0 {
		return t.Ordered(m.Key)
	}
	var k keys
	for i := range t.Columns {
		k = append(k, &t.Columns[i])
	}
	return t.in(k.order(t.Rows)), nil
}
