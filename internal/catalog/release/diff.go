package release

import (
	"encoding/json"
	"fmt"
	"slices"
)

// MaxExamples bounds the rows that a list of changes shows.
const MaxExamples = 30

// Changes are what is different between two versions of a dataset's rows.
type Changes struct {
	// Added, Removed and Changed count rows, by their key; Same those that are equal.
	Added   int64 `json:"added"`
	Removed int64 `json:"removed"`
	Changed int64 `json:"changed"`
	Same    int64 `json:"same"`
	// Items counts by column the rows that have another value in it.
	Items map[string]int64 `json:"items,omitempty"`
	// NewItems and GoneItems are columns that only one of them has; one of another
	// type is both.
	NewItems  []string `json:"new_items,omitempty"`
	GoneItems []string `json:"gone_items,omitempty"`
	// Examples are the first rows of each kind, MaxExamples of all.
	Examples []Example `json:"examples,omitempty"`
}

// Example is a row that is different: its key, and the values before and after
// of the columns that differ.
type Example struct {
	Kind   string                     `json:"kind"` // added, removed or changed
	Key    map[string]json.RawMessage `json:"key"`
	Before map[string]json.RawMessage `json:"before,omitempty"`
	After  map[string]json.RawMessage `json:"after,omitempty"`
}

// The kinds of examples; each has its share of MaxExamples.
const (
	added   = "added"
	removed = "removed"
	changed = "changed"
)

// Diff compares two tables row by row, by the key columns. Both are walked once,
// in the order of the key.
func Diff(old, new *Table, key []string) (*Changes, error) {
	before, err := old.Ordered(key)
	if err != nil {
		return nil, fmt.Errorf("the version before: %w", err)
	}
	after, err := new.Ordered(key)
	if err != nil {
		return nil, fmt.Errorf("the new version: %w", err)
	}
	d := &differ{before: before, after: after, counts: map[string]int64{}}
	d.was, _ = before.key(key)
	d.is, _ = after.key(key)
	for i, c := range d.was {
		if c.Type != d.is[i].Type {
			return nil, fmt.Errorf("key column %s was of type %s and is of type %s: rows cannot be told apart by it", c.Name, c.Type, d.is[i].Type)
		}
	}
	d.columns(key)
	d.walk()
	return &d.Changes, nil
}

type differ struct {
	Changes
	before, after *Table
	was, is       keys
	shared        []pair
	counts        map[string]int64 // of examples, by kind
}

// pair is a column that both tables have.
type pair struct{ before, after *Column }

// columns finds what both tables have besides the key.
func (d *differ) columns(key []string) {
	for i := range d.after.Columns {
		c := &d.after.Columns[i]
		was := d.before.Column(c.Name)
		switch {
		case was == nil || was.Type != c.Type:
			d.NewItems = append(d.NewItems, c.Name)
		case !slices.Contains(key, c.Name):
			d.shared = append(d.shared, pair{was, c})
		}
	}
	for i := range d.before.Columns {
		c := &d.before.Columns[i]
		if is := d.after.Column(c.Name); is == nil || is.Type != c.Type {
			d.GoneItems = append(d.GoneItems, c.Name)
		}
	}
}

func (d *differ) walk() {
	i, j := 0, 0
	for i < d.before.Rows || j < d.after.Rows {
		order := 0
		switch {
		case i == d.before.Rows:
			order = 1
		case j == d.after.Rows:
			order = -1
		default:
			order = d.was.compare(i, d.is, j)
		}
		switch {
		case order < 0:
			d.Removed++
			d.example(removed, d.was, i, func(e *Example) { e.Before = d.before.values(i, d.was) })
			i++
		case order > 0:
			d.Added++
			d.example(added, d.is, j, func(e *Example) { e.After = d.after.values(j, d.is) })
			j++
		default:
			d.same(i, j)
			i, j = i+1, j+1
		}
	}
}

// same compares two rows with one key.
func (d *differ) same(i, j int) {
	var differing []pair
	for _, p := range d.shared {
		if p.before.compare(i, p.after, j) != 0 {
			differing = append(differing, p)
		}
	}
	if differing == nil {
		d.Same++
		return
	}
	d.Changed++
	if d.Items == nil {
		d.Items = map[string]int64{}
	}
	for _, p := range differing {
		d.Items[p.after.Name]++
	}
	d.example(changed, d.is, j, func(e *Example) {
		e.Before, e.After = map[string]json.RawMessage{}, map[string]json.RawMessage{}
		for _, p := range differing {
			e.Before[p.before.Name], e.After[p.after.Name] = p.before.json(i), p.after.json(j)
		}
	})
}

// example keeps a row where there is room for one of its kind.
func (d *differ) example(kind string, k keys, row int, values func(*Example)) {
	const each = MaxExamples / 3
	if d.counts[kind] >= each {
		return
	}
	d.counts[kind]++
	e := Example{Kind: kind, Key: map[string]json.RawMessage{}}
	for _, c := range k {
		e.Key[c.Name] = c.json(row)
	}
	values(&e)
	d.Examples = append(d.Examples, e)
}

// values are those of a row besides its key.
func (t *Table) values(row int, k keys) map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	for i := range t.Columns {
		if c := &t.Columns[i]; !slices.Contains(k, c) {
			all[c.Name] = c.json(row)
		}
	}
	return all
}
