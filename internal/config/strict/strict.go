// Package strict reads YAML into structs that already hold their defaults, and
// names every fault of the file at once: the key path, the line, the value and
// the way out. It also writes such structs back as YAML with their comments.
//
// A key is the yaml tag of the field, or the field's name in snake_case. Fields
// may be strings, booleans, integers, floats, time.Duration, [Bytes], anything
// that reads itself from text (encoding.TextUnmarshaler), and structs,
// pointers, lists and string-keyed maps of these; a json.RawMessage takes a value
// of any shape and holds it as JSON. An anonymous struct field,
// or one tagged ",inline", adds its keys to its parent; a field tagged "-" is
// not read. A list in the file replaces the default list, a map adds to it.
package strict

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Error is one fault of a config.
type Error struct {
	// Path is the key path, such as "sources.modbus[1].unit"; empty when the
	// file as a whole is meant.
	Path string
	// Line counts from 1; 0 when the fault is a key that is not in the file.
	Line int
	// Msg names the value and the way out.
	Msg string
}

func (e Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	return b.String() + e.Msg
}

// Checker is implemented by config structs, on the value or the pointer, whose
// values must agree with each other or lie within bounds. Check is called once
// everything is read, for every value in the tree, with the path of the value;
// it returns errors built by [Fault], whose lines Decode fills in.
type Checker interface{ Check(path string) []Error }

// Defaulter is implemented, on the pointer, by structs that stand in lists and
// maps: SetDefaults runs on each new element before its keys are read.
type Defaulter interface{ SetDefaults() }

// Fault makes an error of the key beneath path; an empty key means path itself.
func Fault(path, key, format string, args ...any) Error {
	return Error{Path: join(path, key), Msg: fmt.Sprintf(format, args...)}
}

// Decode reads one YAML document into the struct that into points to, and
// returns every fault in the order of the file; nil when there is none. Keys
// that are absent keep the value that into already has.
func Decode(data []byte, into any) []Error {
	d := decoder{lines: map[string]int{}}
	target := reflect.ValueOf(into).Elem()
	switch root, err := parse(data); {
	case err != nil:
		return []Error{syntaxError(err)}
	case root != nil:
		d.value(root, target, "")
	}
	d.check(target, "")
	slices.SortStableFunc(d.errs, func(a, b Error) int { return cmp.Compare(a.Line, b.Line) })
	return d.errs
}

// parse returns the document's top node; nil when the file is empty.
func parse(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("yaml: line %d: a second document begins; a config is one document, remove what follows `---`", second.Line)
	}
	root := resolve(doc.Content[0])
	if isNull(root) {
		return nil, nil
	}
	return root, nil
}

func syntaxError(err error) Error {
	e := Error{Msg: strings.TrimPrefix(err.Error(), "yaml: ")}
	if n, _ := fmt.Sscanf(e.Msg, "line %d: ", &e.Line); n == 1 {
		_, e.Msg, _ = strings.Cut(e.Msg, ": ")
	}
	e.Msg = "not valid YAML: " + e.Msg
	return e
}

type decoder struct {
	lines map[string]int // key path to the line of the key, or of the list's element
	errs  []Error
}

func (d *decoder) fail(n *yaml.Node, path, format string, args ...any) {
	d.errs = append(d.errs, Error{path, n.Line, fmt.Sprintf(format, args...)})
}

// value reads one node into v.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	n = resolve(n)
	d.lines[path] = n.Line
	if isNull(n) && v.Kind() != reflect.Pointer {
		if path != "" {
			d.fail(n, path, "has no value; give one or remove the key")
		}
		return
	}
	switch {
	case v.Type() == rawType:
		d.raw(n, v, path)
	case isScalar(v.Type()):
		d.scalar(n, v, path)
	case v.Kind() == reflect.Pointer:
		d.pointer(n, v, path)
	case v.Kind() == reflect.Struct:
		d.structure(n, v, path)
	case v.Kind() == reflect.Map:
		d.mapping(n, v, path)
	case v.Kind() == reflect.Slice:
		d.list(n, v, path)
	default:
		panic(fmt.Sprintf("strict: %s has the type %s, which no config may have", path, v.Type()))
	}
}

func (d *decoder) pointer(n *yaml.Node, v reflect.Value, path string) {
	if isNull(n) {
		v.SetZero()
		return
	}
	if v.IsNil() {
		v.Set(newElement(v.Type().Elem()).Addr())
	}
	d.value(n, v.Elem(), path)
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	fields := fieldsOf(v)
	if !d.wantMapping(n, path, "such as "+sampleKey(fields)) {
		return
	}
	d.pairs(n, path, func(key, val *yaml.Node) {
		for _, f := range fields {
			if f.key == key.Value {
				d.value(val, f.value, join(path, f.key))
				d.lines[join(path, f.key)] = key.Line
				return
			}
		}
		d.fail(key, join(path, key.Value), "unknown key; %s", suggestion(key.Value, fields))
	})
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if !d.wantMapping(n, path, "such as name: value") {
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	d.pairs(n, path, func(key, val *yaml.Node) {
		elem := newElement(v.Type().Elem())
		d.value(val, elem, join(path, key.Value))
		d.lines[join(path, key.Value)] = key.Line
		name := reflect.New(v.Type().Key()).Elem()
		name.SetString(key.Value)
		v.SetMapIndex(name, elem)
	})
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, path, "%s is no list; write [a, b] or lines that begin with -", describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(n.Content)))
	for i, item := range n.Content {
		elem := newElement(v.Type().Elem())
		d.value(item, elem, fmt.Sprintf("%s[%d]", path, i))
		v.Set(reflect.Append(v, elem))
	}
}

// pairs calls f for each key that stands in the mapping for the first time.
func (d *decoder) pairs(n *yaml.Node, path string, f func(key, val *yaml.Node)) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if line, ok := first[key.Value]; ok {
			d.fail(key, join(path, key.Value), "stands here twice, first in line %d; remove one", line)
			continue
		}
		first[key.Value] = key.Line
		f(key, val)
	}
}

func (d *decoder) wantMapping(n *yaml.Node, path, example string) bool {
	if n.Kind == yaml.MappingNode {
		return true
	}
	d.fail(n, path, "%s is no group of keys; write keys beneath it, %s", describe(n), example)
	return false
}

// newElement returns a settable value of a list, map or pointer, with its own
// defaults.
func newElement(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	if s, ok := p.Interface().(Defaulter); ok {
		s.SetDefaults()
	}
	return p.Elem()
}

// check asks every Checker in the tree, and keeps quiet about keys that could
// not be read or that hold some that could not.
func (d *decoder) check(v reflect.Value, path string) {
	unread := d.errs
	walk(v, path, func(v reflect.Value, path string) {
		c, ok := v.Interface().(Checker)
		if !ok && v.CanAddr() {
			c, ok = v.Addr().Interface().(Checker)
		}
		if !ok {
			return
		}
		for _, e := range c.Check(path) {
			if slices.ContainsFunc(unread, func(o Error) bool { return within(o.Path, e.Path) }) {
				continue
			}
			e.Line = d.lineOf(e.Path)
			d.errs = append(d.errs, e)
		}
	})
}

// lineOf returns the line of the key, or of the nearest key around it.
func (d *decoder) lineOf(path string) int {
	for path != "" {
		if line, ok := d.lines[path]; ok {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 0
}

// walk visits v and every struct, pointer, list and map element within it,
// outer before inner.
func walk(v reflect.Value, path string, visit func(reflect.Value, string)) {
	if v.Kind() == reflect.Pointer {
		if !v.IsNil() {
			walk(v.Elem(), path, visit)
		}
		return
	}
	visit(v, path)
	switch {
	case isScalar(v.Type()), v.Type() == rawType:
	case v.Kind() == reflect.Struct:
		for _, f := range fieldsOf(v) {
			walk(f.value, join(path, f.key), visit)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
		}
	case v.Kind() == reflect.Map:
		for _, k := range sortedKeys(v) {
			walk(v.MapIndex(k), join(path, k.String()), visit)
		}
	}
}

func sortedKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	return keys
}

// within reports whether path is outer or lies beneath it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

func join(path, key string) string {
	switch {
	case path == "":
		return key
	case key == "":
		return path
	}
	return path + "." + key
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a group of keys"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%.60q", n.Value)
}

// PathAt is the key path of what stands on a line of a document, such as
// "groups[0].rules[1].expr"; empty when nothing does, or it cannot be read.
func PathAt(data []byte, line int) string {
	root, err := parse(data)
	if err != nil || root == nil {
		return ""
	}
	best := ""
	var visit func(n *yaml.Node, path string)
	visit = func(n *yaml.Node, path string) {
		if n.Line == line {
			best = path // the deepest is visited last
		}
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				key := join(path, n.Content[i].Value)
				if n.Content[i].Line == line {
					best = key
				}
				visit(n.Content[i+1], key)
			}
		case yaml.SequenceNode:
			for i, e := range n.Content {
				visit(e, fmt.Sprintf("%s[%d]", path, i))
			}
		}
	}
	visit(root, "")
	return best
}
