package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/songhua-io/hub/internal/schedule"
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

// form is how the values of one type are written. It is made once for each type,
// by reflection; a value is then read and written at its address.
type form struct {
	wire int
	// zero reports whether a field with the value is left out.
	zero func(unsafe.Pointer) bool
	put  func([]byte, unsafe.Pointer) []byte
	// get reads the whole of data, or for varints and fixed values its number.
	get func(data []byte, number uint64, to unsafe.Pointer) error
}

type field struct {
	key    uint64
	head   string // the key as it is written
	offset uintptr
	form   *form
	kind   reflect.Kind // of those that putFields knows by itself
}

var timeType = reflect.TypeFor[time.Time]()

// derived are fields that follow from the rest, and are not written.
var derived = map[reflect.Type][]string{
	reflect.TypeFor[schedule.Lease]():    {"ID", "Workload", "Tenant"},
	reflect.TypeFor[schedule.Workload](): {"ID"},
	reflect.TypeFor[Receipt]():           {"ID", "Repeated"},
	reflect.TypeFor[Grant]():             {"Lease"},
	reflect.TypeFor[Record]():            {"ID", "Decision"},
}

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
	case reflect.Int:
		*f = signed[int]()
	case reflect.Int8:
		*f = signed[int8]()
	case reflect.Int16:
		*f = signed[int16]()
	case reflect.Int32:
		*f = signed[int32]()
	case reflect.Int64:
		*f = signed[int64]()
	case reflect.Uint:
		*f = unsigned[uint]()
	case reflect.Uint8:
		*f = unsigned[uint8]()
	case reflect.Uint16:
		*f = unsigned[uint16]()
	case reflect.Uint32:
		*f = unsigned[uint32]()
	case reflect.Uint64:
		*f = unsigned[uint64]()
	case reflect.Float64:
		*f = floatForm()
	case reflect.String:
		*f = textForm()
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

// plain is a form by the address of a value of a type.
func plain[T any](wire int, zero func(T) bool, put func([]byte, T) []byte, get func([]byte, uint64) T) form {
	return form{wire,
		func(p unsafe.Pointer) bool { return zero(*(*T)(p)) },
		func(b []byte, p unsafe.Pointer) []byte { return put(b, *(*T)(p)) },
		func(data []byte, n uint64, to unsafe.Pointer) error { *(*T)(to) = get(data, n); return nil }}
}

func signed[T int | int8 | int16 | int32 | int64]() form {
	return plain(asVarint, func(v T) bool { return v == 0 }, func(b []byte, v T) []byte { return binary.AppendVarint(b, int64(v)) },
		func(_ []byte, n uint64) T { return T(zigzag(n)) })
}

func unsigned[T uint | uint8 | uint16 | uint32 | uint64]() form {
	return plain(asVarint, func(v T) bool { return v == 0 }, func(b []byte, v T) []byte { return binary.AppendUvarint(b, uint64(v)) },
		func(_ []byte, n uint64) T { return T(n) })
}

func zigzag(n uint64) int64 { return int64(n>>1) ^ -int64(n&1) }

func boolForm() form {
	return plain(asVarint, func(v bool) bool { return !v }, func(b []byte, v bool) []byte {
		if v {
			return append(b, 1)
		}
		return append(b, 0)
	}, func(_ []byte, n uint64) bool { return n != 0 })
}

func floatForm() form {
	return plain(asFixed, func(v float64) bool { return math.Float64bits(v) == 0 },
		func(b []byte, v float64) []byte { return binary.LittleEndian.AppendUint64(b, math.Float64bits(v)) },
		func(_ []byte, n uint64) float64 { return math.Float64frombits(n) })
}

func textForm() form {
	return plain(asBytes, func(v string) bool { return v == "" }, func(b []byte, v string) []byte { return append(b, v...) },
		func(data []byte, _ uint64) string { return string(data) })
}

func bytesForm() form {
	return plain(asBytes, func(v []byte) bool { return len(v) == 0 }, func(b, v []byte) []byte { return append(b, v...) },
		func(data []byte, _ uint64) []byte { return bytes.Clone(data) })
}

func timeForm() form {
	return plain(asVarint, time.Time.IsZero, func(b []byte, v time.Time) []byte { return binary.AppendVarint(b, v.UnixNano()) },
		func(_ []byte, n uint64) time.Time { return time.Unix(0, zigzag(n)).UTC() })
}

// one writes a value among others, and next reads it.
func (f *form) one(b []byte, p unsafe.Pointer) []byte {
	if f.wire != asBytes {
		return f.put(b, p)
	}
	at := len(b)
	b = f.put(append(b, 0), p)
	n := len(b) - at - 1
	if n < 0x80 {
		b[at] = byte(n)
		return b
	}
	var head [binary.MaxVarintLen64]byte
	size := binary.PutUvarint(head[:], uint64(n))
	return slices.Replace(b, at, at+1, head[:size]...)
}

func (f *form) next(data []byte, to unsafe.Pointer) ([]byte, error) {
	value, number, rest, err := read(data, f.wire)
	if err != nil {
		return nil, err
	}
	return rest, f.get(value, number, to)
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

// header is that of any slice.
type header struct {
	first    unsafe.Pointer
	len, cap int
}

func (fs forms) slice(t reflect.Type) form {
	if t.Elem().Kind() == reflect.Uint8 {
		return bytesForm()
	}
	elem, size := fs.of(t.Elem()), t.Elem().Size()
	return form{asBytes, func(p unsafe.Pointer) bool { return (*header)(p).len == 0 },
		func(b []byte, p unsafe.Pointer) []byte {
			h := (*header)(p)
			b = binary.AppendUvarint(b, uint64(h.len))
			for i := range h.len {
				b = elem.one(b, unsafe.Add(h.first, uintptr(i)*size))
			}
			return b
		}, func(data []byte, _ uint64, to unsafe.Pointer) error {
			n, read := binary.Uvarint(data)
			if read <= 0 || n > uint64(len(data)) {
				return errDocument
			}
			data = data[read:]
			reflect.NewAt(t, to).Elem().Set(reflect.MakeSlice(t, int(n), int(n)))
			first := (*header)(to).first
			for i := range int(n) {
				var err error
				if data, err = elem.next(data, unsafe.Add(first, uintptr(i)*size)); err != nil {
					return err
				}
			}
			return nil
		}}
}

func (fs forms) array(t reflect.Type) form {
	elem, size, n := fs.of(t.Elem()), t.Elem().Size(), t.Len()
	return form{asBytes, func(p unsafe.Pointer) bool {
		for i := range n {
			if !elem.zero(unsafe.Add(p, uintptr(i)*size)) {
				return false
			}
		}
		return true
	}, func(b []byte, p unsafe.Pointer) []byte {
		for i := range n {
			b = elem.one(b, unsafe.Add(p, uintptr(i)*size))
		}
		return b
	}, func(data []byte, _ uint64, to unsafe.Pointer) error {
		for i := 0; i < n && len(data) > 0; i++ {
			var err error
			if data, err = elem.next(data, unsafe.Add(to, uintptr(i)*size)); err != nil {
				return err
			}
		}
		return nil
	}}
}

// table is a map by strings, in their order.
func (fs forms) table(t reflect.Type) form {
	key, elem := fs.of(t.Key()), fs.of(t.Elem())
	return form{asBytes, func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().Len() == 0 },
		func(b []byte, p unsafe.Pointer) []byte {
			m := reflect.NewAt(t, p).Elem()
			keys := m.MapKeys()
			slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
			for _, k := range keys {
				at, v := reflect.New(t.Key()), reflect.New(t.Elem())
				at.Elem().Set(k)
				v.Elem().Set(m.MapIndex(k))
				b = elem.one(key.one(b, at.UnsafePointer()), v.UnsafePointer())
			}
			return b
		}, func(data []byte, _ uint64, to unsafe.Pointer) error {
			m := reflect.MakeMap(t)
			reflect.NewAt(t, to).Elem().Set(m)
			for len(data) > 0 {
				k, v := reflect.New(t.Key()), reflect.New(t.Elem())
				var err error
				if data, err = key.next(data, k.UnsafePointer()); err != nil {
					return err
				}
				if data, err = elem.next(data, v.UnsafePointer()); err != nil {
					return err
				}
				m.SetMapIndex(k.Elem(), v.Elem())
			}
			return nil
		}}
}

func (fs forms) pointer(t reflect.Type) form {
	elem := fs.of(t.Elem())
	return form{asBytes, func(p unsafe.Pointer) bool { return *(*unsafe.Pointer)(p) == nil },
		func(b []byte, p unsafe.Pointer) []byte { return elem.one(b, *(*unsafe.Pointer)(p)) },
		func(data []byte, _ uint64, to unsafe.Pointer) error {
			v := reflect.New(t.Elem())
			reflect.NewAt(t, to).Elem().Set(v)
			_, err := elem.next(data, v.UnsafePointer())
			return err
		}}
}

func (fs forms) structure(t reflect.Type) form {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		if slices.Contains(derived[t], f.Name) {
			continue
		}
		h := fnv.New32a()
		h.Write([]byte(f.Name)) //nolint:errcheck // it cannot fail
		form := fs.of(f.Type)
		key := uint64(h.Sum32()&0x7ffff)<<wireBits | uint64(form.wire)
		if slices.ContainsFunc(fields, func(o field) bool { return o.key>>wireBits == key>>wireBits }) {
			panic(fmt.Sprintf("ledger: the key of field %s of %v is that of another; give it another name", f.Name, t))
		}
		fields = append(fields, field{key: key, head: string(binary.AppendUvarint(nil, key)), offset: f.Offset, form: form, kind: f.Type.Kind()})
	}
	return form{asBytes,
		func(p unsafe.Pointer) bool {
			return !slices.ContainsFunc(fields, func(f field) bool { return !f.form.zero(unsafe.Add(p, f.offset)) })
		},
		func(b []byte, p unsafe.Pointer) []byte { return putFields(b, p, fields) },
		func(data []byte, _ uint64, to unsafe.Pointer) error { return getFields(data, to, fields) }}
}

func putFields(b []byte, p unsafe.Pointer, fields []field) []byte {
	for i := range fields {
		f := &fields[i]
		at := unsafe.Add(p, f.offset)
		switch f.kind { // most fields are of these, and a call for each costs more than the rest
		case reflect.String:
			if v := *(*string)(at); v != "" {
				b = binary.AppendUvarint(append(b, f.head...), uint64(len(v)))
				b = append(b, v...)
			}
		case reflect.Float64:
			if v := *(*uint64)(at); v != 0 {
				b = binary.LittleEndian.AppendUint64(append(b, f.head...), v)
			}
		case reflect.Int:
			if v := *(*int)(at); v != 0 {
				b = binary.AppendVarint(append(b, f.head...), int64(v))
			}
		case reflect.Int64:
			if v := *(*int64)(at); v != 0 {
				b = binary.AppendVarint(append(b, f.head...), v)
			}
		case reflect.Slice:
			if (*header)(at).len > 0 {
				b = f.form.one(append(b, f.head...), at)
			}
		default:
			if !f.form.zero(at) {
				b = f.form.one(append(b, f.head...), at)
			}
		}
	}
	return b
}

func getFields(data []byte, to unsafe.Pointer, fields []field) error {
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
				if err := f.form.get(value, number, unsafe.Add(to, f.offset)); err != nil {
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
func appendDoc[T any](f *form, b []byte, v *T) []byte { return f.put(b, unsafe.Pointer(v)) }

func parseDoc[T any](f *form, data []byte, v *T) error { return f.get(data, 0, unsafe.Pointer(v)) }
