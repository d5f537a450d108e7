package dialect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/personal"
	"github.com/songhua-io/hub/internal/road"
)

// object is a JSON object with the names of shapes.yaml and values of its types:
// string, float64, bool, time.Time, object, []any.
type object map[string]any

// reader reads one message.
type reader struct {
	spelled  map[string]string
	findings []Finding
}

// ReadJSON reads a message of JSON that was received at a time. What is wrong but
// can be read is in the findings; an error is a *PersonalError, or says why
// nothing can be read.
func (s *Set) ReadJSON(r Route, data []byte, received time.Time) (*road.Message, []Finding, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		return nil, nil, fmt.Errorf("is no JSON: %w", err)
	}
	if d.More() {
		return nil, nil, fmt.Errorf("more follows the JSON")
	}
	if err := refuse(x); err != nil {
		return nil, nil, err
	}
	shape := s.shapes[r.Kind]
	if shape == nil {
		return nil, nil, fmt.Errorf("a message of kind %s has no form in JSON", r.Kind)
	}
	one := reader{spelled: r.Profile.spelled[r.Kind]}
	o, ok := one.read(shape, x, "").(object)
	if !ok {
		return nil, one.findings, fmt.Errorf("is no object")
	}
	m, err := message(r, o, received)
	return m, one.findings, err
}

// refuseText returns a *PersonalError where a text names a person.
func refuseText(s string) error {
	if k, masked, found := personal.Find(s); found {
		return &PersonalError{k, masked}
	}
	return nil
}

// refuse looks for people in all values, also of fields that nobody reads.
func refuse(x any) error {
	switch x := x.(type) {
	case string:
		return refuseText(x)
	case json.Number:
		return refuseText(x.String())
	case []any:
		for _, e := range x {
			if err := refuse(e); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, e := range x {
			if err := refuseText(name); err != nil {
				return err
			}
			if err := refuse(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) find(f Finding) {
	if len(r.findings) < maxFindings {
		r.findings = append(r.findings, f)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// read returns a value as its shape has it; nil when it cannot be read.
func (r *reader) read(s *shape, x any, path string) any {
	switch {
	case x == nil:
		return nil
	case s.of != nil:
		all, ok := x.([]any)
		if !ok {
			all = []any{x} // one alone
		}
		out := make([]any, 0, len(all))
		for _, e := range all {
			if v := r.read(s.of, e, path); v != nil {
				out = append(out, v)
			}
		}
		return out
	case s.fields != nil:
		return r.object(s, x, path)
	}
	v, ok := scalar(s.is, x)
	if !ok {
		r.find(Finding{Typed, path, typeOf(x), s.is})
	}
	return v
}

func (r *reader) object(s *shape, x any, path string) any {
	from, ok := x.(map[string]any)
	if !ok {
		r.find(Finding{Typed, path, typeOf(x), "object"})
		return nil
	}
	out := object{}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		v, is := from[name], name
		if s.fields[name] == nil {
			switch alias, standard := r.spelled[join(path, name)], s.lower[strings.ToLower(name)]; {
			case alias != "":
				is = alias
			case standard != "":
				is = standard
				r.find(Finding{Spelled, join(path, is), name, is})
			default:
				r.find(Finding{Code: Unknown, Path: join(path, name[:min(len(name), maxName)])})
				continue
			}
		}
		if v := r.read(s.fields[is], v, join(path, is)); v != nil {
			out[is] = v
		}
	}
	for _, name := range s.needed() {
		if out[name] == nil {
			r.find(Finding{Code: Missing, Path: join(path, name)})
		}
	}
	return out
}

// scalar converts a value to a type; what is read of another type than the right
// one is a finding.
func scalar(is string, x any) (v any, right bool) {
	text, isText := x.(string)
	number, isNumber := x.(json.Number)
	if !isText && isNumber {
		text = number.String()
	}
	switch is {
	case "id":
		return orNil(text, isText || isNumber), isText || isNumber
	case "text":
		return orNil(text, isText || isNumber), isText
	case "bool":
		b, ok := x.(bool)
		if !ok {
			return nil, false
		}
		return b, true
	case "time":
		return instant(text, isText, isNumber)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !isText && !isNumber {
		return nil, false
	}
	return f, isNumber && (is == "number" || f == float64(int64(f)))
}

func orNil(s string, ok bool) any {
	if !ok {
		return nil
	}
	return s
}

func instant(text string, isText, isNumber bool) (any, bool) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > 0 && ms < 1<<43 {
		return time.UnixMilli(ms).UTC(), isNumber
	}
	if isText {
		for _, form := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999", "2006-01-02T15:04:05.999"} {
			if t, err := time.Parse(form, text); err == nil {
				return t.UTC(), form == time.RFC3339Nano
			}
		}
	}
	return nil, false
}

func typeOf(x any) string {
	switch x.(type) {
	case string:
		return "text"
	case json.Number:
		return "number"
	case bool:
		return "bool"
	case []any:
		return "list"
	}
	return "object"
}
