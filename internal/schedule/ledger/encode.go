package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"reflect"
	"slices"
	"time"
)

// A document is a struct as pairs of key and value, without the fields that are
// zero. A key is a hash of the field's name and how the value is written, so
// that fields may be added, moved and removed: what a reader does not know it
// passes over. Integers are varints, times are Unix nanoseconds, and everything
// else has its length before it. The same value gives the same bytes.

// How a value is written, in the low bits of its key.
const (
	asVarint = iota
	asFixed  // 8 bytes
	asBytes  // a length, then as many
	wireBits = 2
)

var errDocument = errors.New("the document is damaged")

// form is how the values of one type are written.
type form struct {
	wire int
	put  func([]byte, reflect.Value) []byte
	// get reads the whole of data, or for varints and fixed values its number.
	get func(data []byte, number uint64, v reflect.Value) error
}

type field struct {
	key   uint64
	index int
	form  *form
}

var timeType = reflect.TypeFor[time.Time]()

// forms are those of all types within one; they are complete before anybody
// reads them.
type forms map[reflect.Type]*form

func formOf[T any]() *form { return forms{}.of(reflect.TypeFor[T]()) }

func (fs forms) of(t reflect.Type) *form {
	if f := fs[t]; f != nil {
		return f
	}
	f := &form{}
	fs[t] = f
	if t == timeType {
		*f = timeForm()
		return f
	}
	switch t.Kind() {
	case reflect.Bool:
		*f = boolForm()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		*f = form{asVarint, func(b []byte, v reflect.Value) []byte { return binary.AppendVarint(b, v.Int()) },
			func(_ []byte, n uint64, v reflect.Value) error { v.SetInt(int64(n>>1) ^ -int64(n&1)); return nil }}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		*f = form{asVarint, func(b []byte, v reflect.Value) []byte { return binary.AppendUvarint(b, v.Uint()) },
			func(_ []byte, n uint64, v reflect.Value) error { v.SetUint(n); return nil }}
	case reflect.Float64:
		*f = form{asFixed, func(b []byte, v reflect.Value) []byte {
			return binary.LittleEndian.AppendUint64(b, math.Float64bits(v.Float()))
		}, func(_ []byte, n uint64, v reflect.Value) error { v.SetFloat(math.Float64frombits(n)); return nil }}
	case reflect.String:
		*f = form{asBytes, func(b []byte, v reflect.Value) []byte { return append(b, v.String()...) },
			func(data []byte, _ uint64, v reflect.Value) error { v.SetString(string(data)); return nil }}
	case reflect.Slice:
		*f = fs.slice(t)
	case reflect.Array:
		*f = fs.array(t)
	case reflect.Map:
		*f = fs.table(t)
	case reflect.Pointer:
		*f = fs.pointer(t)
	case reflect.Struct:
		*f = fs.structure(t)
	default:
		panic(fmt.Sprintf("ledger: no document can hold a %v", t))
	}
	return f
}

func boolForm() form {
	return form{asVarint, func(b []byte, v reflect.Value) []byte {
		if v.Bool() {
			return append(b, 1)
		}
		return append(b, 0)
	}, func(_ []byte, n uint64, v reflect.Value) error { v.SetBool(n != 0); return nil }}
}

func timeForm() form {
	return form{asVarint, func(b []byte, v reflect.Value) []byte {
		return binary.AppendVarint(b, v.Addr().Interface().(*time.Time).UnixNano())
	}, func(_ []byte, n uint64, v reflect.Value) error {
		*v.Addr().Interface().(*time.Time) = time.Unix(0, int64(n>>1)^-int64(n&1)).UTC()
		return nil
	}}
}

// one writes a value among others, and next reads it.
func (f *form) one(b []byte, v reflect.Value) []byte {
	if f.wire != asBytes {
		return f.put(b, v)
	}
	at := len(b)
	b = f.put(append(b, 0), v)
	n := len(b) - at - 1
	if n < 0x80 {
		b[at] = byte(n)
		return b
	}
	var head [binary.MaxVarintLen64]byte
	size := binary.PutUvarint(head[:], uint64(n))
	return slices.Replace(b, at, at+1, head[:size]...)
}

func (f *form) next(data []byte, v reflect.Value) ([]byte, error) {
	value, number, rest, err := read(data, f.wire)
	if err != nil {
		return nil, err
	}
	return rest, f.get(value, number, v)
}

func read(data []byte, wire int) (value []byte, number uint64, rest []byte, err error) {
	if wire == asFixed {
		if len(data) < 8 {
			return nil, 0, nil, errDocument
		}
		return nil, binary.LittleEndian.Uint64(data), data[8:], nil
	}
	n, size := binary.Uvarint(data)
	if size <= 0 || wire == asBytes && n > uint64(len(data)-size) {
		return nil, 0, nil, errDocument
	}
	data = data[size:]
	if wire == asBytes {
		return data[:n], 0, data[n:], nil
	}
	return nil, n, data, nil
}

func (fs forms) slice(t reflect.Type) form {
	if t.Elem().Kind() == reflect.Uint8 {
		return form{asBytes, func(b []byte, v reflect.Value) []byte { return append(b, v.Bytes()...) },
			func(data []byte, _ uint64, v reflect.Value) error { v.SetBytes(slices.Clone(data)); return nil }}
	}
	elem := fs.of(t.Elem())
	return form{asBytes, func(b []byte, v reflect.Value) []byte {
		b = binary.AppendUvarint(b, uint64(v.Len()))
		for i := range v.Len() {
			b = elem.one(b, v.Index(i))
		}
		return b
	}, func(data []byte, _ uint64, v reflect.Value) error {
		n, size := binary.Uvarint(data)
		if size <= 0 || n > uint64(len(data)) {
			return errDocument
		}
		data = data[size:]
		v.Set(reflect.MakeSlice(t, int(n), int(n)))
		for i := range int(n) {
			var err error
			if data, err = elem.next(data, v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}}
}

func (fs forms) array(t reflect.Type) form {
	elem := fs.of(t.Elem())
	return form{asBytes, func(b []byte, v reflect.Value) []byte {
		for i := range v.Len() {
			b = elem.one(b, v.Index(i))
		}
		return b
	}, func(data []byte, _ uint64, v reflect.Value) error {
		for i := 0; i < v.Len() && len(data) > 0; i++ {
			var err error
			if data, err = elem.next(data, v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}}
}

// table is a map by strings, in their order.
func (fs forms) table(t reflect.Type) form {
	key, elem := fs.of(t.Key()), fs.of(t.Elem())
	return form{asBytes, func(b []byte, v reflect.Value) []byte {
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int {
			if a.String() < b.String() {
				return -1
			}
			return 1
		})
		for _, k := range keys {
			b = elem.one(key.one(b, k), v.MapIndex(k))
		}
		return b
	}, func(data []byte, _ uint64, v reflect.Value) error {
		v.Set(reflect.MakeMap(t))
		for len(data) > 0 {
			k, e := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
			var err error
			if data, err = key.next(data, k); err != nil {
				return err
			}
			if data, err = elem.next(data, e); err != nil {
				return err
			}
			v.SetMapIndex(k, e)
		}
		return nil
	}}
}

func (fs forms) pointer(t reflect.Type) form {
	elem := fs.of(t.Elem())
	return form{asBytes, func(b []byte, v reflect.Value) []byte { return elem.one(b, v.Elem()) },
		func(data []byte, _ uint64, v reflect.Value) error {
			v.Set(reflect.New(t.Elem()))
			_, err := elem.next(data, v.Elem())
			return err
		}}
}

func (fs forms) structure(t reflect.Type) form {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Tag.Get("doc") == "-" {
			continue
		}
		h := fnv.New32a()
		h.Write([]byte(f.Name)) //nolint:errcheck // it cannot fail
		form := fs.of(f.Type)
		key := uint64(h.Sum32()&0x7ffff)<<wireBits | uint64(form.wire)
		if slices.ContainsFunc(fields, func(o field) bool { return o.key>>wireBits == key>>wireBits }) {
			panic(fmt.Sprintf("ledger: the key of field %s of %v is that of another; give it another name", f.Name, t))
		}
		fields = append(fields, field{key: key, index: i, form: form})
	}
	return form{asBytes, func(b []byte, v reflect.Value) []byte { return putFields(b, v, fields) },
		func(data []byte, _ uint64, v reflect.Value) error { return getFields(data, v, fields) }}
}

func putFields(b []byte, v reflect.Value, fields []field) []byte {
	for i := range fields {
		f := &fields[i]
		x := v.Field(f.index)
		if empty(x) {
			continue
		}
		b = f.form.one(binary.AppendUvarint(b, f.key), x)
	}
	return b
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.String:
		return v.Len() == 0
	}
	return v.IsZero()
}

func getFields(data []byte, v reflect.Value, fields []field) error {
	at := 0 // fields come in the order of the struct, unless it has changed
	for len(data) > 0 {
		key, size := binary.Uvarint(data)
		if size <= 0 || key&(1<<wireBits-1) > asBytes {
			return errDocument
		}
		value, number, rest, err := read(data[size:], int(key&(1<<wireBits-1)))
		if err != nil {
			return err
		}
		data = rest
		for i := range fields {
			f := &fields[(at+i)%len(fields)]
			if f.key == key {
				if err := f.form.get(value, number, v.Field(f.index)); err != nil {
					return err
				}
				at += i + 1
				break
			}
		}
	}
	return nil
}

// appendDoc appends the document of *v, and parseDoc reads it into *v, which is
// zero.
func appendDoc[T any](f *form, b []byte, v *T) []byte {
	return f.put(b, valueOf(v))
}

func parseDoc[T any](f *form, data []byte, v *T) error {
	return f.get(data, 0, valueOf(v))
}

func valueOf[T any](v *T) reflect.Value { return reflect.ValueOf(v).Elem() }
