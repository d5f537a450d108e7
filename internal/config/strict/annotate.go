package strict

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Annotate writes the struct that into points to as YAML, with the comment of
// every key above it. docs maps "<import path>.<Type>.<Field>" to the comment
// ([github.com/songhua-io/hub/internal/config/structdoc] makes it). An empty
// list or map of structs is followed by one element with its defaults,
// commented out, so that a reader sees every key there is.
func Annotate(into any, docs map[string]string) []byte {
	a := annotator{docs: docs}
	a.structure(reflect.ValueOf(into).Elem(), "")
	return []byte(a.out.String())
}

type annotator struct {
	docs map[string]string
	out  strings.Builder
}

func (a *annotator) line(prefix, format string, args ...any) {
	a.out.WriteString(strings.TrimRight(prefix+fmt.Sprintf(format, args...), " ") + "\n")
}

func (a *annotator) structure(v reflect.Value, prefix string) {
	for i, f := range fieldsOf(v) {
		doc := a.docs[f.doc]
		if top := prefix == ""; top && i > 0 && (doc != "" || !isScalar(f.value.Type())) {
			a.out.WriteByte('\n')
		}
		for l := range strings.Lines(doc) {
			a.line(prefix, "# %s", strings.TrimRight(l, "\n"))
		}
		a.field(f, prefix)
	}
}

func (a *annotator) field(f field, prefix string) {
	v := f.value
	if v.Kind() == reflect.Pointer && !isScalar(v.Type()) {
		if v.IsNil() {
			a.example(f.key, newElement(v.Type().Elem()), prefix)
			return
		}
		v = v.Elem()
	}
	switch {
	case isScalar(v.Type()):
		a.line(prefix, "%s: %s", f.key, scalarText(v))
	case v.Kind() == reflect.Struct:
		a.line(prefix, "%s:", f.key)
		a.structure(v, prefix+"  ")
	case v.Kind() == reflect.Map:
		a.mapping(f.key, v, prefix)
	default:
		a.list(f.key, v, prefix)
	}
}

// example writes a key that is unset by default, commented out.
func (a *annotator) example(key string, v reflect.Value, prefix string) {
	a.line(prefix, "# %s:", key)
	a.structure(v, prefix+"#   ")
}

func (a *annotator) mapping(key string, v reflect.Value, prefix string) {
	if v.Len() > 0 {
		a.line(prefix, "%s:", key)
		for _, k := range sortedKeys(v) {
			a.element(quoted(k.String())+":", v.MapIndex(k), prefix+"  ")
		}
		return
	}
	a.line(prefix, "%s: {}", key)
	if elem := newElement(v.Type().Elem()); elem.Kind() == reflect.Struct {
		a.line(prefix, "#   name:")
		a.structure(elem, prefix+"#     ")
	}
}

func (a *annotator) list(key string, v reflect.Value, prefix string) {
	if v.Len() > 0 {
		a.line(prefix, "%s:", key)
		for i := range v.Len() {
			a.element("-", v.Index(i), prefix+"  ")
		}
		return
	}
	a.line(prefix, "%s: []", key)
	if elem := newElement(v.Type().Elem()); elem.Kind() == reflect.Struct && !isScalar(elem.Type()) {
		a.line(prefix, "#   -")
		a.structure(elem, prefix+"#     ")
	}
}

// element writes one entry of a list or map behind its mark.
func (a *annotator) element(mark string, v reflect.Value, prefix string) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if isScalar(v.Type()) {
		a.line(prefix, "%s %s", mark, scalarText(v))
		return
	}
	a.line(prefix, "%s", mark)
	a.structure(v, prefix+"  ")
}

// scalarText writes a value as YAML that reads back to the same value.
func scalarText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return durationText(x)
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		if err != nil {
			panic(fmt.Sprintf("strict: a default of the type %s has no text: %v", v.Type(), err))
		}
		return quoted(string(text))
	}
	if v.Kind() == reflect.String {
		return quoted(v.String())
	}
	return fmt.Sprint(v.Interface())
}

func quoted(s string) string {
	out, err := yaml.Marshal(s)
	if err != nil || s == "" || strings.Contains(s, "\n") {
		return fmt.Sprintf("%q", s)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// durationText writes 1h0m0s as 1h.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
