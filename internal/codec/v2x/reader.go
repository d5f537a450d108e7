package v2x

import (
	"encoding/binary"
	"fmt"
)

// reader reads unaligned PER (ITU-T X.691). The first fault stops it: all that
// is read afterwards is zero.
type reader struct {
	data    []byte
	pos     int // bits read
	end     int // bits there are
	unknown int // extensions that were skipped
	fault   *Error
}

// fail sets the fault, at the bit where the value begins.
func (r *reader) fail(name string, at int, format string, args ...any) {
	if r.fault == nil {
		r.fault = &Error{Path: name, Bit: at, Reason: fmt.Sprintf(format, args...)}
		r.end = r.pos
	}
}

// within says that the fault lies in a field.
func (r *reader) within(name string) { r.fault.within(name) }

// element says that the fault lies in an element.
func (r *reader) element(i int) { r.fault.element(i) }

// take reads up to 57 bits.
func (r *reader) take(n int) uint64 {
	from := r.pos
	if i := from >> 3; from+n <= r.end && i+8 <= len(r.data) {
		r.pos = from + n
		return binary.BigEndian.Uint64(r.data[i:]) << (uint(from) & 7) >> (uint(64-n) & 63)
	}
	return r.takeSlow(n)
}

// takeSlow reads near the end, where eight octets are no more.
func (r *reader) takeSlow(n int) uint64 {
	if n == 0 {
		return 0
	}
	if r.pos+n > r.end {
		r.fail("", r.pos, "ends after %d bits, %d too early", r.end, r.pos+n-r.end)
		return 0
	}
	var last [8]byte
	copy(last[:], r.data[r.pos>>3:])
	v := binary.BigEndian.Uint64(last[:]) << (r.pos & 7) >> (64 - n)
	r.pos += n
	return v
}

// named gives the fault of a plain field its name.
func (r *reader) named(name string) {
	if r.fault != nil && r.fault.Path == "" && !r.fault.named {
		r.fault.Path, r.fault.named = name, true
	}
}

func (r *reader) integer(name string, width int, least, span int64) int64 {
	// As take, which is not inlined: half of the time is spent here.
	from := r.pos
	if i := from >> 3; from+width <= r.end && i+8 <= len(r.data) {
		v := int64(binary.BigEndian.Uint64(r.data[i:]) << (uint(from) & 7) >> (uint(64-width) & 63))
		if v <= span {
			r.pos = from + width
			return least + v
		}
	}
	return r.integerSlow(name, width, least, span)
}

func (r *reader) integerSlow(name string, width int, least, span int64) int64 {
	at := r.pos
	v := int64(r.take(width))
	if v > span {
		r.fail(name, at, "%d is outside of %d to %d", least+v, least, least+span)
		return 0
	}
	if r.fault != nil {
		r.named(name)
		return 0
	}
	return least + v
}

func (r *reader) field(name string, width int) uint64 {
	v := r.take(width)
	if r.fault != nil {
		r.named(name)
	}
	return v
}

// enum reads one of n values; one of a later edition is n plus its index.
func (r *reader) enum(name string, width, n int, extensible bool) uint8 {
	at := r.pos
	if extensible && r.take(1) != 0 {
		i := r.small(name)
		if r.fault == nil && n+i > 255 {
			r.fail(name, at, "extension %d of an enumeration is more than a later edition can have", i)
		}
		if r.fault != nil {
			return 0
		}
		r.unknown++
		return uint8(n + i)
	}
	v := int(r.take(width))
	if v >= n {
		r.fail(name, at, "%d is none of %d values", v, n)
		return 0
	}
	if r.fault != nil {
		r.named(name)
	}
	return uint8(v)
}

// index reads which of n alternatives there is.
func (r *reader) index(width, n int) int {
	at := r.pos
	v := int(r.take(width))
	if v >= n {
		r.fail("", at, "alternative %d is none of %d", v, n)
	}
	return v
}

// bits reads a bit string that has n bits, or more in a later edition.
func (r *reader) bits(name string, n int) Bits {
	at := r.pos
	if r.field(name, 1) != 0 {
		n = r.length(name)
		if r.fault == nil && r.pos+n > r.end {
			r.fail(name, at, "ends after %d bits, %d too early", r.end, r.pos+n-r.end)
		}
		if r.fault != nil {
			return Bits{}
		}
		r.unknown++
	}
	kept := min(n, maxBits)
	b := Bits{V: r.field(name, kept), N: uint8(kept)}
	if r.fault == nil {
		r.pos += n - kept
	}
	return b
}

// count reads the size of a list whose elements have least bits, and fails
// before anything is made for elements that cannot be there.
func (r *reader) count(width, lo, hi, least int) int {
	at := r.pos
	n := lo + int(r.take(width))
	switch {
	case r.fault != nil:
		return 0
	case n > hi:
		r.fail("", at, "%d elements are more than %d", n, hi)
		return 0
	case n*least > r.end-r.pos:
		r.fail("", at, "%d elements take at least %d bits, and %d are left", n, n*least, r.end-r.pos)
		return 0
	}
	return n
}

func (r *reader) octets(name string, to []byte) {
	for i := range to {
		to[i] = byte(r.take(8))
	}
	r.named(name)
}

// room reads the size of a string whose units have so many bits.
func (r *reader) room(name string, width, lo, hi, unit int) int {
	at := r.pos
	n := lo + int(r.take(width))
	switch {
	case r.fault != nil:
		r.named(name)
		return 0
	case n > hi:
		r.fail(name, at, "%d is longer than %d", n, hi)
		return 0
	case n*unit > r.end-r.pos:
		r.fail(name, at, "is %d bits long, and %d are left", n*unit, r.end-r.pos)
		return 0
	}
	return n
}

func (r *reader) octetString(name string, to []byte, width, lo, hi int) []byte {
	to = resize(to, r.room(name, width, lo, hi, 8))
	r.octets(name, to)
	return to
}

func (r *reader) ia5String(name string, to []byte, width, lo, hi int) []byte {
	to = resize(to, r.room(name, width, lo, hi, 7))
	for i := range to {
		to[i] = byte(r.take(7))
	}
	return to
}

// small reads a normally small number (X.691, 11.6).
func (r *reader) small(name string) int {
	if r.take(1) == 0 {
		v := int(r.take(6))
		r.named(name)
		return v
	}
	at := r.pos
	n := r.length(name)
	if n < 1 || n > 4 {
		r.fail(name, at, "a number of %d octets is none that a later edition can have", n)
	}
	if r.fault != nil {
		return 0
	}
	v := int(r.take(8 * n))
	r.named(name)
	return v
}

// length reads a length determinant (X.691, 11.9) below 16K.
func (r *reader) length(name string) int {
	at := r.pos
	if r.take(1) == 0 {
		n := int(r.take(7))
		r.named(name)
		return n
	}
	if r.take(1) == 0 {
		n := int(r.take(14))
		r.named(name)
		return n
	}
	r.fail(name, at, "is in fragments of 16K or longer, which no frame has")
	return 0
}

// open returns where an open type ends, and its octets lie.
func (r *reader) open(name string) (octets int) {
	n := r.length(name)
	if r.fault == nil && 8*n > r.end-r.pos {
		r.fail(name, r.pos, "is %d octets long, and %d bits are left", n, r.end-r.pos)
	}
	if r.fault != nil {
		return 0
	}
	return n
}

const extensions = "(extensions)"

// skipAdditions skips what a later edition has added to a sequence.
func (r *reader) skipAdditions() {
	if r.fault != nil {
		return
	}
	n := 1
	if r.take(1) == 0 {
		n += int(r.take(6))
	} else {
		n = r.length(extensions)
	}
	r.named(extensions)
	at := r.pos
	if r.fault == nil && n > r.end-r.pos {
		r.fail(extensions, at, "%d of them take at least as many bits, and %d are left", n, r.end-r.pos)
	}
	if r.fault != nil {
		return
	}
	r.pos += n
	before := r.unknown
	for i := range n {
		if bit := at + i; r.data[bit>>3]>>(7-bit&7)&1 == 0 {
			continue
		}
		r.pos += 8 * r.open(extensions)
		if r.fault != nil {
			return
		}
		r.unknown++
	}
	r.unknown = max(r.unknown, before+1) // it is of a later edition, even with nothing added
}

// other keeps an alternative of a later edition as it is.
func (r *reader) other(o *Other) {
	o.Index = uint32(r.small(extensions))
	n := r.open(extensions)
	o.Raw = resize(o.Raw, n)
	r.octets(extensions, o.Raw)
	r.unknown++
}

// resize returns a slice of n elements that keeps what memory s has.
func resize[S ~[]E, E any](s S, n int) S {
	if n <= cap(s) {
		return s[:n]
	}
	return append(s[:cap(s)], make(S, n-cap(s))...)
}
