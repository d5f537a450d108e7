package strict

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// field is one key of a struct.
type field struct {
	key string
	// doc is where the field's comment is found: import path, type and field.
	doc   string
	value reflect.Value
}

// fieldsOf lists the keys of a struct value, in the order of declaration.
func fieldsOf(v reflect.Value) []field {
	var fields []field
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if f.Type.Kind() == reflect.Struct && !isScalar(f.Type) && (opts == "inline" || f.Anonymous && name == "") {
			fields = append(fields, fieldsOf(v.Field(i))...)
			continue
		}
		if name == "" {
			name = snake(f.Name)
		}
		fields = append(fields, field{name, t.PkgPath() + "." + t.Name() + "." + f.Name, v.Field(i)})
	}
	return fields
}

// snake turns MaxAge into max_age and TLSCert into tls_cert.
func snake(name string) string {
	var b strings.Builder
	rs := []rune(name)
	for i, r := range rs {
		if unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// suggestion names the known key that is nearest to the unknown one, or all.
func suggestion(key string, fields []field) string {
	best, at := len(key)/3+2, ""
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
		if n := Distance(strings.ToLower(key), f.key); n < best {
			best, at = n, f.key
		}
	}
	if at != "" {
		return fmt.Sprintf("did you mean %q?", at)
	}
	return "known here: " + strings.Join(names, ", ")
}

func sampleKey(fields []field) string {
	if len(fields) == 0 {
		return "none"
	}
	return fields[0].key + ": …"
}

// Distance is the number of letters to insert, delete, replace or swap with
// their neighbour to turn a into b (restricted Damerau-Levenshtein).
func Distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
