package strict

import (
	"encoding/json"
	"fmt"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// Bounds of a value that is kept as it is.
const (
	maxRawNodes = 10_000
	maxRawDepth = 64
)

var rawType = reflect.TypeFor[json.RawMessage]()

// raw reads a value of any shape as JSON.
func (d *decoder) raw(n *yaml.Node, v reflect.Value, path string) {
	r := raw{decoder: d, left: maxRawNodes}
	value, ok := r.read(n, path, 0)
	if !ok {
		return
	}
	text, err := json.Marshal(value)
	if err != nil {
		d.fail(n, path, "has no form in JSON: %v", err)
		return
	}
	v.SetBytes(text)
}

type raw struct {
	*decoder
	left int // nodes that may still be read
}

// read returns a node as encoding/json has it; false after a fault.
func (r *raw) read(n *yaml.Node, path string, depth int) (any, bool) {
	n = resolve(n)
	r.lines[path] = n.Line
	if r.left--; r.left < 0 || depth > maxRawDepth {
		if r.left >= -1 {
			r.fail(n, path, "is larger than %d values or deeper than %d levels; make it smaller", maxRawNodes, maxRawDepth)
		}
		r.left = -1
		return nil, false
	}
	switch n.Kind {
	case yaml.MappingNode:
		return r.object(n, path, depth)
	case yaml.SequenceNode:
		all, good := make([]any, 0, len(n.Content)), true
		for i, item := range n.Content {
			v, ok := r.read(item, fmt.Sprintf("%s[%d]", path, i), depth+1)
			all, good = append(all, v), good && ok
		}
		return all, good
	}
	return r.scalar(n, path)
}

func (r *raw) object(n *yaml.Node, path string, depth int) (any, bool) {
	all, faults := make(map[string]any, len(n.Content)/2), len(r.errs)
	good := true
	r.pairs(n, path, func(key, val *yaml.Node) {
		v, ok := r.read(val, join(path, key.Value), depth+1)
		all[key.Value], good = v, good && ok
	})
	return all, good && faults == len(r.errs)
}

// scalar reads one word by the rules of JSON: what is neither null, a truth
// value nor a number is a text.
func (r *raw) scalar(n *yaml.Node, path string) (any, bool) {
	switch n.Tag {
	case "!!null":
		return nil, true
	case "!!bool":
		return n.Value == "true", true
	case "!!int", "!!float":
		if number := json.Number(n.Value); json.Valid([]byte(n.Value)) {
			return number, true
		}
		var f float64
		if err := n.Decode(&f); err != nil {
			r.fail(n, path, "%.60q is no number that JSON has; write digits, or quote it", n.Value)
			return nil, false
		}
		return f, true
	}
	return n.Value, true
}
