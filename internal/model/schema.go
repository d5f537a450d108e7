package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Bounds of a schema. With every reference written out it has at most
// maxSchemaNodes values, so that a check takes time by the size of what is
// checked and not by the cunning of the schema.
const (
	maxSchemaBytes = 64 << 10
	maxSchemaNodes = 5000
	maxSchemaDepth = 48
)

// schemaURL names a schema to its compiler; nothing is there.
const schemaURL = "songhua:///schema"

// nowhere refuses to fetch: a schema is whole in itself.
type nowhere struct{}

// Load implements jsonschema.URLLoader.
func (nowhere) Load(url string) (any, error) {
	return nil, fmt.Errorf("%q is not fetched; a schema stands for itself and refers to #/$defs/NAME only", url)
}

func checkSchema(text json.RawMessage) error {
	_, err := compileSchema(text)
	return err
}

// compileSchema reads a JSON Schema (2020-12 unless it names another draft).
func compileSchema(text json.RawMessage) (*jsonschema.Schema, error) {
	if len(text) > maxSchemaBytes {
		return nil, fmt.Errorf("the schema has %d bytes; at most %d are allowed", len(text), maxSchemaBytes)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("the schema is no JSON: %w", err)
	}
	if _, isObject := doc.(map[string]any); !isObject {
		if _, isBool := doc.(bool); !isBool {
			return nil, fmt.Errorf("%.40s is no JSON Schema; write {type: object, properties: …}, or {} for anything", text)
		}
	}
	if err := measure(doc); err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(nowhere{})
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, fmt.Errorf("the schema cannot be used: %w", err)
	}
	s, err := c.Compile(schemaURL)
	var invalid *jsonschema.SchemaValidationError
	var leaves *jsonschema.ValidationError
	if errors.As(err, &invalid) && errors.As(invalid.Err, &leaves) {
		return nil, fmt.Errorf("is no correct JSON Schema: %s", strings.Join(explain(leaves), "; "))
	}
	if err != nil {
		return nil, fmt.Errorf("is no correct JSON Schema: %s", strings.ReplaceAll(err.Error(), schemaURL, ""))
	}
	return s, nil
}

// ruler measures a schema as if every reference were written out.
type ruler struct {
	defs  map[string]any // by reference
	sizes map[string]int
	open  []string // references on the way to where it is
}

func measure(doc any) error {
	r := &ruler{defs: map[string]any{}, sizes: map[string]int{}}
	if root, ok := doc.(map[string]any); ok {
		for _, key := range []string{"$defs", "definitions"} {
			defs, _ := root[key].(map[string]any)
			for name, v := range defs {
				r.defs["#/"+key+"/"+name] = v
			}
		}
	}
	_, err := r.size(doc, 0)
	for _, ref := range slices.Sorted(maps.Keys(r.defs)) {
		if err == nil {
			_, err = r.follow(ref, 0) // what nothing refers to is compiled too
		}
	}
	return err
}

func (r *ruler) size(v any, depth int) (int, error) {
	if depth > maxSchemaDepth {
		return 0, fmt.Errorf("the schema is deeper than %d levels; make it flatter", maxSchemaDepth)
	}
	total := 1
	add := func(v any) error {
		n, err := r.size(v, depth+1)
		if total += n; err == nil && total > maxSchemaNodes {
			err = fmt.Errorf("the schema has more than %d values when its references are written out; make it smaller", maxSchemaNodes)
		}
		return err
	}
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if err := r.key(key, inner); err != nil {
				return 0, err
			}
			ref, isRef := inner.(string)
			switch {
			case key == "$ref" && isRef:
				n, err := r.follow(ref, depth)
				if err != nil {
					return 0, err
				}
				total += n
			case depth == 0 && (key == "$defs" || key == "definitions"), slices.Contains([]string{"const", "enum", "default", "examples"}, key):
			default:
				if err := add(inner); err != nil {
					return 0, err
				}
			}
		}
	case []any:
		for _, inner := range v {
			if err := add(inner); err != nil {
				return 0, err
			}
		}
	case json.Number:
		return 1, finite(v)
	}
	if total > maxSchemaNodes {
		return 0, fmt.Errorf("the schema has more than %d values when its references are written out; make it smaller", maxSchemaNodes)
	}
	return total, nil
}

// key refuses the keywords that lead elsewhere.
func (r *ruler) key(key string, v any) error {
	_, isText := v.(string)
	if isText && slices.Contains([]string{"$id", "id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"}, key) {
		return fmt.Errorf("%s is not taken; a schema stands for itself and refers to #/$defs/NAME only", key)
	}
	return nil
}

func (r *ruler) follow(ref string, depth int) (int, error) {
	if n, known := r.sizes[ref]; known {
		return n, nil
	}
	def, ok := r.defs[ref]
	switch {
	case !ok:
		return 0, fmt.Errorf("$ref %.80q leads nowhere; refer to #/$defs/NAME of the same schema", ref)
	case slices.Contains(r.open, ref):
		return 0, fmt.Errorf("$ref %.80q leads back to itself; a schema without end is not taken", ref)
	}
	r.open = append(r.open, ref)
	n, err := r.size(def, depth+1)
	r.open = r.open[:len(r.open)-1]
	r.sizes[ref] = n
	return n, err
}

func finite(n json.Number) error {
	if _, err := strconv.ParseFloat(n.String(), 64); err != nil {
		return fmt.Errorf("%.40s is no number that a computer holds", n)
	}
	return nil
}

// accepts reports what of a JSON value a schema does not take, or ErrInvalid
// with every fault by its key path beneath at.
func accepts(s *jsonschema.Schema, at string, value json.RawMessage) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return fmt.Errorf("%s %w: %.40q is no JSON value", at, ErrInvalid, value)
	}
	if err := allFinite(v); err != nil {
		return fmt.Errorf("%s %w: %w", at, ErrInvalid, err)
	}
	err = s.Validate(v)
	var faults *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &faults):
		return fmt.Errorf("%s %w: %w", at, ErrInvalid, err)
	}
	all := explain(faults)
	for i := range all {
		all[i] = at + all[i]
	}
	return fmt.Errorf("%s %w: %s", at, ErrInvalid, strings.Join(all, "; "))
}

func allFinite(v any) error {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := allFinite(v[key]); err != nil {
				return err
			}
		}
	case []any:
		for _, inner := range v {
			if err := allFinite(inner); err != nil {
				return err
			}
		}
	case json.Number:
		return finite(v)
	}
	return nil
}

// explain lists the innermost faults, each with its key path, at most ten.
func explain(e *jsonschema.ValidationError) []string {
	const most = 10
	printer := message.NewPrinter(language.English)
	var all []string
	var walk func(*jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		for _, cause := range e.Causes {
			walk(cause)
		}
		if len(e.Causes) == 0 {
			all = append(all, keyPath(e.InstanceLocation)+": "+e.ErrorKind.LocalizedString(printer))
		}
	}
	walk(e)
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > most {
		all = append(all[:most], fmt.Sprintf("and %d more", len(all)-most))
	}
	return all
}

func keyPath(location []string) string {
	var b strings.Builder
	for _, key := range location {
		if _, err := strconv.Atoi(key); err == nil {
			b.WriteString("[" + key + "]")
			continue
		}
		b.WriteString("." + key)
	}
	return b.String()
}
