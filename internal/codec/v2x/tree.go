package v2x

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A value tree is a frame as JSON: a SEQUENCE is an object, a CHOICE an object
// with the one alternative, ENUMERATED a name, BIT STRING a string of 0 and 1,
// OCTET STRING lower-case hex, INTEGER the number on the wire. What is of a later
// edition is named ext:<index>, and a message of one
// {"msgFrameExt": {"messageId": 16, "name": "CLPMM", "raw": "<hex>"}}.

// AppendTree appends the frame as a value tree. With si, numbers that measure
// something are in SI units (degrees for angles), null when not available; such a
// tree cannot be read back.
func (f *MessageFrame) AppendTree(to []byte, si bool) []byte {
	return appendTree(to, reflect.ValueOf(f).Elem(), si)
}

type (
	optional interface{ optional() }
	listed   interface{ names() []string }
	fixed    interface{ width() int }
	measured interface{ SI() (float64, bool) }
)

func (Opt[T]) optional() {}

// Text is characters of IA5 (ASCII).
type Text []byte

var (
	bitsType = reflect.TypeFor[Bits]()
	textType = reflect.TypeFor[Text]()
)

// isChoice tells a CHOICE from a SEQUENCE.
func isChoice(t reflect.Type) bool { return t.NumField() > 0 && t.Field(0).Name == "Alt" }

func appendTree(to []byte, v reflect.Value, si bool) []byte {
	x := v.Interface()
	if m, ok := x.(measured); ok && si {
		n, known := m.SI()
		if !known {
			return append(to, "null"...)
		}
		return strconv.AppendFloat(to, math.Round(n*1e9)/1e9, 'f', -1, 64)
	}
	switch x := x.(type) {
	case listed:
		return quoted(to, enumName(x.names(), uint8(v.Uint())))
	case fixed:
		return appendBits(to, v.Uint(), x.width())
	}
	switch v.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(to, v.Int(), 10)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return strconv.AppendUint(to, v.Uint(), 10)
	case reflect.Array:
		b := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(b), v)
		return quoted(to, hex.EncodeToString(b))
	case reflect.Slice:
		if v.Type() == textType {
			return quoted(to, string(v.Bytes()))
		}
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Type().Elem().PkgPath() == "" {
			return quoted(to, hex.EncodeToString(v.Bytes()))
		}
		to = append(to, '[')
		for i := range v.Len() {
			to = separate(to, i)
			to = appendTree(to, v.Index(i), si)
		}
		return append(to, ']')
	}
	switch t := v.Type(); {
	case t.ConvertibleTo(bitsType):
		b := v.Convert(bitsType).Interface().(Bits)
		return appendBits(to, b.V, int(b.N))
	case isChoice(t):
		return appendChoice(to, v, si)
	}
	to = append(to, '{')
	n := 0
	for i := range v.NumField() {
		f := v.Field(i)
		if _, ok := f.Interface().(optional); ok {
			if !f.Field(1).Bool() {
				continue
			}
			f = f.Field(0)
		}
		to = separate(to, n)
		n++
		to = append(quoted(to, v.Type().Field(i).Tag.Get("v2x")), ": "...)
		to = appendTree(to, f, si)
	}
	return append(to, '}')
}

func appendChoice(to []byte, v reflect.Value, si bool) []byte {
	alt := int(v.Field(0).Uint())
	if alt == 0 {
		return append(to, "null"...)
	}
	name, f := v.Type().Field(alt).Tag.Get("v2x"), v.Field(alt)
	o, other := f.Interface().(Other)
	to = append(to, '{')
	if !other {
		to = append(quoted(to, name), ": "...)
		return append(appendTree(to, f, si), '}')
	}
	if frame, ok := v.Addr().Interface().(*MessageFrame); ok {
		if l, ok := frame.Later(); ok {
			return fmt.Appendf(to, `"msgFrameExt": {"messageId": %d, "name": %q, "raw": "%x"}}`, l.MessageID, l.Name(), l.Raw)
		}
	}
	return fmt.Appendf(to, `"ext:%d": "%x"}`, o.Index, o.Raw)
}

func separate(to []byte, n int) []byte {
	if n > 0 {
		return append(to, ", "...)
	}
	return to
}

func quoted(to []byte, s string) []byte {
	b, _ := json.Marshal(s) //nolint:errcheck // a string
	return append(to, b...)
}

func appendBits(to []byte, v uint64, n int) []byte {
	to = append(to, '"')
	for i := n - 1; i >= 0; i-- {
		to = append(to, '0'+byte(v>>i&1))
	}
	return append(to, '"')
}

// ReadTree reads a value tree into f, which must be empty. An error names the
// path.
func (f *MessageFrame) ReadTree(tree []byte) error {
	d := json.NewDecoder(bytes.NewReader(tree))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("there is more than one value")
	}
	if fault := readTree(reflect.ValueOf(f).Elem(), x); fault != nil {
		return fmt.Errorf("%s: %s", strings.TrimPrefix(fault.path, "."), fault.reason)
	}
	return nil
}

// mismatch is what is wrong with a tree, and where.
type mismatch struct{ path, reason string }

func mismatched(format string, args ...any) *mismatch {
	return &mismatch{reason: fmt.Sprintf(format, args...)}
}

func (m *mismatch) in(path string) *mismatch {
	if m != nil {
		m.path = path + m.path
	}
	return m
}

func readTree(v reflect.Value, x any) *mismatch {
	switch of := v.Interface().(type) {
	case listed:
		return readEnum(v, of.names(), x)
	case fixed:
		b, fault := readBits(x)
		if fault == nil && int(b.N) != of.width() {
			fault = mismatched("%d bits are not %d", b.N, of.width())
		}
		v.SetUint(b.V)
		return fault
	}
	switch v.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return readNumber(v, x)
	case reflect.Array:
		b, fault := readHex(x)
		if fault == nil && len(b) != v.Len() {
			fault = mismatched("%d octets are not %d", len(b), v.Len())
		}
		reflect.Copy(v, reflect.ValueOf(b))
		return fault
	case reflect.Slice:
		return readList(v, x)
	}
	switch t := v.Type(); {
	case t.ConvertibleTo(bitsType):
		b, fault := readBits(x)
		v.Set(reflect.ValueOf(b).Convert(t))
		return fault
	case isChoice(t):
		return readChoice(v, x)
	}
	return readSequence(v, x)
}

func readSequence(v reflect.Value, x any) *mismatch {
	object, ok := x.(map[string]any)
	if !ok {
		return mismatched("%v is no object", x)
	}
	read := 0
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Tag.Get("v2x"), v.Field(i)
		is, there := object[name]
		if _, ok := f.Interface().(optional); ok {
			f.Field(1).SetBool(there)
			f = f.Field(0)
		} else if !there {
			return mismatched("%s is missing", name)
		}
		if !there {
			continue
		}
		read++
		if fault := readTree(f, is); fault != nil {
			return fault.in("." + name)
		}
	}
	if read < len(object) {
		for name := range object {
			if !slices.ContainsFunc(reflect.VisibleFields(v.Type()), func(f reflect.StructField) bool { return f.Tag.Get("v2x") == name }) {
				return mismatched("%s is no field of it", name)
			}
		}
	}
	return nil
}

func readChoice(v reflect.Value, x any) *mismatch {
	object, ok := x.(map[string]any)
	if !ok || len(object) != 1 {
		return mismatched("%v is no object with one alternative", x)
	}
	for name, is := range object {
		for i := 1; i < v.NumField(); i++ {
			if v.Type().Field(i).Tag.Get("v2x") == name {
				v.Field(0).SetUint(uint64(i))
				return readTree(v.Field(i), is).in("." + name)
			}
		}
		last := v.Field(v.NumField() - 1)
		if _, extensible := last.Interface().(Other); !extensible {
			return mismatched("%s is none of its alternatives", name)
		}
		v.Field(0).SetUint(uint64(v.NumField() - 1))
		o, fault := readOther(v, name, is)
		last.Set(reflect.ValueOf(o))
		return fault.in("." + name)
	}
	return nil
}

// readOther reads an alternative of a later edition.
func readOther(of reflect.Value, name string, x any) (o Other, fault *mismatch) {
	later, ok := x.(map[string]any)
	if _, frame := of.Addr().Interface().(*MessageFrame); frame && name == "msgFrameExt" && ok {
		var id uint16
		if fault := readNumber(reflect.ValueOf(&id).Elem(), later["messageId"]); fault != nil {
			return o, fault.in(".messageId")
		}
		raw, fault := readHex(later["raw"])
		w := writer{}
		w.put(uint64(id), 16)
		w.length(len(raw))
		w.octets(raw)
		return Other{Raw: w.data}, fault.in(".raw")
	}
	index, err := strconv.ParseUint(strings.TrimPrefix(name, "ext:"), 10, 32)
	if err != nil || !strings.HasPrefix(name, "ext:") {
		return o, mismatched("is none of its alternatives")
	}
	o.Index = uint32(index)
	o.Raw, fault = readHex(x)
	return o, fault
}

func readEnum(v reflect.Value, names []string, x any) *mismatch {
	s, _ := x.(string)
	if i := slices.Index(names, s); i >= 0 {
		v.SetUint(uint64(i))
		return nil
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(s, "ext:")); err == nil && strings.HasPrefix(s, "ext:") && n >= 0 && n+len(names) < 256 {
		v.SetUint(uint64(n + len(names)))
		return nil
	}
	return mismatched("%v is none of its names", x)
}

func readNumber(v reflect.Value, x any) *mismatch {
	n, ok := x.(json.Number)
	i, err := strconv.ParseInt(n.String(), 10, 64)
	if !ok || err != nil {
		return mismatched("%v is no whole number", x)
	}
	if v.CanInt() {
		v.SetInt(i)
		if v.Int() != i {
			return mismatched("%d is too large", i)
		}
		return nil
	}
	v.SetUint(uint64(i))
	if i < 0 || v.Uint() != uint64(i) {
		return mismatched("%d is outside of its range", i)
	}
	return nil
}

func readList(v reflect.Value, x any) *mismatch {
	if v.Type() == textType {
		s, ok := x.(string)
		if !ok {
			return mismatched("%v is no string", x)
		}
		v.SetBytes([]byte(s))
		return nil
	}
	if v.Type().Elem().Kind() == reflect.Uint8 && v.Type().Elem().PkgPath() == "" {
		b, fault := readHex(x)
		v.SetBytes(b)
		return fault
	}
	all, ok := x.([]any)
	if !ok {
		return mismatched("%v is no list", x)
	}
	v.Set(reflect.MakeSlice(v.Type(), len(all), len(all)))
	for i := range all {
		if fault := readTree(v.Index(i), all[i]); fault != nil {
			return fault.in(fmt.Sprintf("[%d]", i))
		}
	}
	return nil
}

func readHex(x any) ([]byte, *mismatch) {
	s, ok := x.(string)
	b, err := hex.DecodeString(s)
	if !ok || err != nil {
		return nil, mismatched("%v is no hex", x)
	}
	return b, nil
}

func readBits(x any) (b Bits, fault *mismatch) {
	s, ok := x.(string)
	if !ok || len(s) > maxBits || strings.Trim(s, "01") != "" {
		return b, mismatched("%v is no string of at most %d bits, 0 and 1", x, maxBits)
	}
	for i := range len(s) {
		b.V = b.V<<1 | uint64(s[i]-'0')
	}
	b.N = uint8(len(s))
	return b, nil
}
