package web

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// delta is one value that differs between two JSON documents.
type delta struct {
	Path          string // names joined by dots; empty for the whole
	Before, After string
	Gone, New     bool // there is no After, or no Before
}

// maxShown bounds a value that people read, in characters.
const maxShown = 160

// difference returns the values that differ, by the order of their paths. What
// is no JSON counts as one text.
func difference(before, after string) []delta {
	was, is := leaves(before), leaves(after)
	paths := slices.Sorted(maps.Keys(was))
	for path := range is {
		if _, ok := was[path]; !ok {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	var all []delta
	for _, path := range paths {
		b, had := was[path]
		a, has := is[path]
		if b != a || had != has {
			all = append(all, delta{path, short(b), short(a), !has, !had})
		}
	}
	return all
}

func short(s string) string {
	if r := []rune(s); len(r) > maxShown {
		return string(r[:maxShown]) + "…"
	}
	return s
}

// leaves returns the values of a document that hold no others, by their paths.
func leaves(text string) map[string]string {
	all := map[string]string{}
	if text == "" {
		return all
	}
	var v any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return map[string]string{"": text}
	}
	collect(v, "", all)
	return all
}

func collect(v any, path string, into map[string]string) {
	join := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			collect(value, join(name), into)
		}
	case []any:
		for i, value := range v {
			collect(value, join(strconv.Itoa(i)), into)
		}
	case nil:
	case string:
		into[path] = v
	default:
		b, _ := json.Marshal(v) // a number or a truth value
		into[path] = string(b)
	}
}
