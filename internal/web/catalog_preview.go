package web

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/road"
)

// Bounds of what is shown of a release.
const (
	previewRows  = 10
	previewLines = 6
	keptPreviews = 200
	maxMarks     = 400
)

// preview is what is shown of the rows of a release.
type preview struct {
	Columns []catalog.Item
	Rows    [][]string
	Total   int
	// Charted is the item that is drawn, by Key; the lines are those of Names, out
	// of Kinds.
	Charted catalog.Item
	Key     catalog.Item
	Plot    *plot
	Kinds   int
	Low     float64
	High    float64
	From    time.Time
	To      time.Time
	// Others are further items that can be drawn.
	Others []catalog.Item

	marks []mark
}

// mark is a place of a row.
type mark struct{ line []road.Position }

type previewKey struct {
	dataset string
	version int64
	item    string
}

// previewOf is what is shown of a release. It is made once.
func (p *pages) previewOf(ctx context.Context, dataset string, version int64, item string) (*preview, error) {
	if p.Catalogue.Rows == nil {
		return nil, nil
	}
	key := previewKey{dataset, version, item}
	p.shelf.mu.Lock()
	kept, ok := p.shelf.previews[key]
	p.shelf.mu.Unlock()
	if ok {
		return kept, nil
	}
	table, err := p.Catalogue.Rows(ctx, dataset, version)
	if err != nil || table == nil {
		return nil, err
	}
	made := newPreview(table, item)
	p.shelf.mu.Lock()
	defer p.shelf.mu.Unlock()
	if len(p.shelf.previews) >= keptPreviews || p.shelf.previews == nil {
		p.shelf.previews = map[previewKey]*preview{}
	}
	p.shelf.previews[key] = made
	return made, nil
}

func newPreview(t *release.Table, item string) *preview {
	p := &preview{Total: t.Rows}
	for i := range t.Columns {
		p.Columns = append(p.Columns, t.Columns[i].Item)
	}
	for row := range min(t.Rows, previewRows) {
		var cells []string
		for i := range t.Columns {
			cells = append(cells, cell(&t.Columns[i], row))
		}
		p.Rows = append(p.Rows, cells)
	}
	p.chart(t, item)
	p.place(t)
	return p
}

// cell is a value as people read it; empty where there is none.
func cell(c *release.Column, row int) string {
	if !c.Has(row) {
		return ""
	}
	switch c.Type {
	case catalog.Integer:
		return grouped(strconv.FormatInt(c.Integers[row], 10))
	case catalog.Instant:
		return stamp(time.UnixMilli(c.Integers[row]))
	case catalog.Boolean:
		return strconv.FormatBool(c.Booleans[row])
	case catalog.String:
		return c.Strings[row]
	case catalog.Place:
		s := c.Strings[row]
		if r := []rune(s); len(r) > 60 {
			s = string(r[:60]) + "…"
		}
		return s
	}
	return grouped(strconv.FormatFloat(c.Numbers[row], 'g', 7, 64))
}

// number is a value that can be drawn.
func numberAt(c *release.Column, row int) float64 {
	switch {
	case !c.Has(row):
		return math.NaN()
	case c.Type == catalog.Integer:
		return float64(c.Integers[row])
	}
	return c.Numbers[row]
}

// chart draws one item over time, a line for each combination of texts: rows with
// the same ones differ in time alone.
func (p *preview) chart(t *release.Table, item string) {
	var at, value *release.Column
	var keys []*release.Column
	for i := range t.Columns {
		c := &t.Columns[i]
		switch {
		case c.Type == catalog.Instant:
			at = cmp.Or(at, c)
		case c.Type == catalog.String:
			keys = append(keys, c)
		case c.Type == catalog.Number || c.Type == catalog.Integer:
			p.Others = append(p.Others, c.Item)
			if c.Name == item || value == nil {
				value = c
			}
		}
	}
	if at == nil || value == nil {
		p.Others = nil
		return
	}
	p.Charted = value.Item
	if keys = varied(keys, t.Rows); len(keys) > 0 {
		p.Key = keys[0].Item
	}
	names, lines := seriesOf(t.Rows, at, keys, value)
	p.Kinds = len(names)
	names, lines = names[:min(len(names), previewLines)], lines[:min(len(lines), previewLines)]
	p.Low, p.High = math.Inf(1), math.Inf(-1)
	for _, l := range lines {
		for i, v := range l.values {
			if !math.IsNaN(v) {
				p.Low, p.High = min(p.Low, v), max(p.High, v)
			}
			if p.From.IsZero() || l.at[i].Before(p.From) {
				p.From = l.at[i]
			}
			if l.at[i].After(p.To) {
				p.To = l.at[i]
			}
		}
	}
	p.Plot = draw(names, lines)
}

// varied are the texts that tell rows apart; the first where none does.
func varied(keys []*release.Column, rows int) (all []*release.Column) {
	for _, c := range keys {
		for row := 1; row < rows; row++ {
			if c.Strings[row] != c.Strings[0] {
				all = append(all, c)
				break
			}
		}
	}
	if len(all) == 0 && len(keys) > 0 {
		return keys[:1]
	}
	return all
}

// seriesOf splits rows into lines in order of time, those with most values first.
func seriesOf(rows int, at *release.Column, keys []*release.Column, value *release.Column) (names []string, lines []points) {
	by := map[string]int{}
	for row := range rows {
		if !at.Has(row) {
			continue
		}
		var texts []string
		for _, key := range keys {
			if key.Has(row) {
				texts = append(texts, key.Strings[row])
			}
		}
		name := strings.Join(texts, " · ")
		i, known := by[name]
		if !known {
			if len(names) == 2000 {
				continue
			}
			i = len(names)
			by[name], names, lines = i, append(names, name), append(lines, points{})
		}
		lines[i].at = append(lines[i].at, time.UnixMilli(at.Integers[row]))
		lines[i].values = append(lines[i].values, numberAt(value, row))
	}
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
		lines[i].sort()
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lines[b].known(), lines[a].known()) })
	sortedNames, sortedLines := make([]string, len(names)), make([]points, len(names))
	for n, i := range order {
		sortedNames[n], sortedLines[n] = names[i], lines[i]
	}
	return sortedNames, sortedLines
}

func (s *points) known() (n int) {
	for _, v := range s.values {
		if !math.IsNaN(v) {
			n++
		}
	}
	return n
}

func (s *points) sort() {
	if slices.IsSortedFunc(s.at, time.Time.Compare) {
		return
	}
	order := make([]int, len(s.at))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return s.at[a].Compare(s.at[b]) })
	at, values := make([]time.Time, len(order)), make([]float64, len(order))
	for n, i := range order {
		at[n], values[n] = s.at[i], s.values[i]
	}
	s.at, s.values = at, values
}

// place finds where rows are.
func (p *preview) place(t *release.Table) {
	seen := map[string]bool{}
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Type != catalog.Place {
			continue
		}
		for row := range t.Rows {
			if !c.Has(row) || seen[c.Strings[row]] {
				continue
			}
			seen[c.Strings[row]] = true
			if line := positions(c.Strings[row]); len(line) > 0 && len(p.marks) < maxMarks {
				p.marks = append(p.marks, mark{line})
			}
		}
		return
	}
}

// positions are those of a point or a line of GeoJSON.
func positions(geometry string) (line []road.Position) {
	var g struct {
		Type        string          `json:"type"`
		Coordinates json.RawMessage `json:"coordinates"`
	}
	if json.Unmarshal([]byte(geometry), &g) != nil {
		return nil
	}
	var all [][]float64
	switch g.Type {
	case "Point":
		var one []float64
		if json.Unmarshal(g.Coordinates, &one) != nil {
			return nil
		}
		all = [][]float64{one}
	case "LineString":
		if json.Unmarshal(g.Coordinates, &all) != nil {
			return nil
		}
	}
	for _, c := range all {
		if len(c) < 2 {
			return nil
		}
		line = append(line, road.Position{Lon: c[0], Lat: c[1]})
	}
	return line
}
