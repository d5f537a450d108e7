package dialect

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/road"
)

//go:embed shapes.yaml
var shapesText []byte

// shape is what a value looks like.
type shape struct {
	is     string // id, text, int, number, bool, time; empty for an object or a list
	must   bool
	fields map[string]*shape
	lower  map[string]string // names in lower case
	of     *shape            // of a list
}

// shapeOf reads a shape as shapes.yaml writes it.
func shapeOf(x any) (*shape, error) {
	s := &shape{}
	switch x := x.(type) {
	case string:
		s.is, s.must = strings.TrimSuffix(x, "!"), strings.HasSuffix(x, "!")
		if !slices.Contains([]string{"id", "text", "int", "number", "bool", "time"}, s.is) {
			return nil, fmt.Errorf("%q is no type", x)
		}
	case []any:
		if len(x) != 1 {
			return nil, fmt.Errorf("a list has one shape, and here are %d", len(x))
		}
		of, err := shapeOf(x[0])
		s.of = of
		return s, err
	case map[string]any:
		s.fields, s.lower = map[string]*shape{}, map[string]string{}
		for name, v := range x {
			f, err := shapeOf(v)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			s.fields[name], s.lower[strings.ToLower(name)] = f, name
		}
	default:
		return nil, fmt.Errorf("%v is no shape", x)
	}
	return s, nil
}

// readShapes reads shapes.yaml.
func readShapes() (map[road.Kind]*shape, error) {
	var doc json.RawMessage
	if errs := strict.Decode(shapesText, &doc); len(errs) > 0 {
		return nil, errs[0]
	}
	var all map[road.Kind]any
	if err := json.Unmarshal(doc, &all); err != nil {
		return nil, err
	}
	shapes := map[road.Kind]*shape{}
	for kind, x := range all {
		s, err := shapeOf(x)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		shapes[kind] = s
	}
	return shapes, nil
}

// needed are the fields that must be there, sorted.
func (s *shape) needed() (all []string) {
	for name, f := range s.fields {
		if f.must {
			all = append(all, name)
		}
	}
	sort.Strings(all)
	return all
}
