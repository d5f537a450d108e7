package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/catalog"
)

// checkValues returns the first value that files cannot have, with its column and
// row; the shape is [Table.Check]'s.
func (t *Table) checkValues() error {
	for i := range t.Columns {
		c := &t.Columns[i]
		check := valueCheck(c)
		if check == nil {
			continue
		}
		for row := range t.Rows {
			if !c.Has(row) {
				continue
			}
			if wrong := check(row); wrong != "" {
				return fmt.Errorf("column %s, row %d: %s", c.Name, row, wrong)
			}
		}
	}
	return nil
}

// valueCheck returns what says what is wrong with a value; nil: nothing can be.
func valueCheck(c *Column) func(row int) string {
	switch c.Type {
	case catalog.Boolean, catalog.Integer:
		return nil
	case catalog.Instant:
		return func(row int) string {
			if ms := c.Integers[row]; ms < firstInstant || ms > lastInstant {
				return fmt.Sprintf("%d ms since 1970 lies outside of the years 1 to 9999, which RFC 3339 can say", ms)
			}
			return ""
		}
	case catalog.String:
		return func(row int) string { return c.checkText(c.Strings[row]) }
	case catalog.Place:
		good := map[string]bool{}
		return func(row int) string {
			s := c.Strings[row]
			if good[s] {
				return ""
			}
			wrong := checkPlace(s)
			if wrong == "" && len(good) < manyValues {
				good[s] = true
			}
			return wrong
		}
	}
	return func(row int) string {
		if v := c.Numbers[row]; math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprintf("%v is no number that JSON can say; say that there is no value", v)
		}
		return ""
	}
}

func (c *Column) checkText(s string) string {
	switch {
	case !utf8.ValidString(s):
		return fmt.Sprintf("%.100q is not UTF-8", s)
	case c.Length > 0 && utf8.RuneCountInString(s) > c.Length:
		return fmt.Sprintf("%.100q is longer than the %d characters that the dataset declares", s, c.Length)
	}
	return ""
}

// geometries are the types of RFC 7946 and how deep their coordinates are nested.
var geometries = map[string]int{"Point": 1, "MultiPoint": 2, "LineString": 2, "MultiLineString": 3, "Polygon": 3, "MultiPolygon": 4}

// checkPlace refuses what is no geometry of RFC 7946 written without white space.
func checkPlace(s string) string {
	var g struct {
		Type        string          `json:"type"`
		Coordinates json.RawMessage `json:"coordinates"`
	}
	d := json.NewDecoder(strings.NewReader(s))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil || d.More() {
		return fmt.Sprintf("%.100q is no GeoJSON geometry of type and coordinates", s)
	}
	depth, known := geometries[g.Type]
	if !known {
		return fmt.Sprintf("%.50q is no type of geometry of RFC 7946", g.Type)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(s)); err != nil || compact.String() != s {
		return fmt.Sprintf("%.100q has white space; write it without", s)
	}
	var coordinates any
	if err := json.Unmarshal(g.Coordinates, &coordinates); err != nil || !positions(coordinates, depth) {
		return fmt.Sprintf("%.100q has coordinates that are none of a %s: longitude within 180 and latitude within 90 degrees", s, g.Type)
	}
	return ""
}

// positions reports whether v is lists, so deep, of longitude, latitude and
// perhaps height.
func positions(v any, depth int) bool {
	list, ok := v.([]any)
	if !ok {
		return false
	}
	if depth > 1 {
		return !slices.ContainsFunc(list, func(v any) bool { return !positions(v, depth-1) })
	}
	if len(list) < 2 || len(list) > 3 {
		return false
	}
	for i, v := range list {
		n, ok := v.(float64)
		if !ok || i == 0 && math.Abs(n) > 180 || i == 1 && math.Abs(n) > 90 {
			return false
		}
	}
	return true
}
