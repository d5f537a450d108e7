package v2x

import "fmt"

// writer writes unaligned PER (ITU-T X.691). The first fault stops it.
type writer struct {
	data  []byte
	acc   uint64 // bits that are no whole octet yet, the last lowest
	n     int    // of them
	fault *Error
}

func (w *writer) fail(name, format string, args ...any) {
	if w.fault == nil {
		w.fault = &Error{Path: name, named: true, Bit: 8*len(w.data) + w.n, Reason: fmt.Sprintf(format, args...)}
	}
}

func (w *writer) within(name string) { w.fault.within(name) }
func (w *writer) element(i int)      { w.fault.element(i) }

// put writes up to 56 bits.
func (w *writer) put(v uint64, n int) {
	w.acc = w.acc<<n | v&(1<<n-1)
	w.n += n
	for w.n >= 8 {
		w.n -= 8
		w.data = append(w.data, byte(w.acc>>w.n))
	}
}

// finish fills the last octet with zeros.
func (w *writer) finish() {
	if w.n > 0 {
		w.put(0, 8-w.n)
	}
}

func (w *writer) flag(set bool) {
	if set {
		w.put(1, 1)
	} else {
		w.put(0, 1)
	}
}

func (w *writer) integer(name string, v int64, width int, least, span int64) {
	if v < least || v > least+span {
		w.fail(name, "%d is outside of %d to %d", v, least, least+span)
	}
	w.put(uint64(v-least), width)
}

func (w *writer) field(name string, v uint64, width int) {
	if v>>width != 0 {
		w.fail(name, "has more than %d bits", width)
	}
	w.put(v, width)
}

func (w *writer) enum(name string, v uint8, width, n int, extensible bool) {
	later := int(v) >= n
	if extensible {
		w.flag(later)
	}
	switch {
	case !later:
		w.put(uint64(v), width)
	case extensible:
		w.small(int(v) - n)
	default:
		w.fail(name, "%d is none of %d values", v, n)
	}
}

func (w *writer) index(i uint, width, n int) {
	if i >= uint(n) {
		w.fail("", "no alternative is set")
	}
	w.put(uint64(i), width)
}

func (w *writer) bits(name string, b Bits, n int) {
	switch {
	case int(b.N) == n:
		w.put(0, 1)
	case b.N <= maxBits:
		w.put(1, 1)
		w.length(int(b.N))
	default:
		w.fail(name, "%d bits are more than %d", b.N, maxBits)
		return
	}
	w.put(b.V, int(b.N))
}

func (w *writer) count(n, width, lo, hi int) {
	if n < lo || n > hi {
		w.fail("", "%d elements are not %d to %d", n, lo, hi)
	}
	w.put(uint64(n-lo), width)
}

func (w *writer) octets(b []byte) {
	for _, c := range b {
		w.put(uint64(c), 8)
	}
}

func (w *writer) octetString(name string, b []byte, width, lo, hi int) {
	if len(b) < lo || len(b) > hi {
		w.fail(name, "%d octets are not %d to %d", len(b), lo, hi)
	}
	w.put(uint64(len(b)-lo), width)
	w.octets(b)
}

func (w *writer) ia5String(name string, b []byte, width, lo, hi int) {
	if len(b) < lo || len(b) > hi {
		w.fail(name, "%d characters are not %d to %d", len(b), lo, hi)
	}
	w.put(uint64(len(b)-lo), width)
	for _, c := range b {
		if c > 127 {
			w.fail(name, "%q is not of IA5 (ASCII)", b)
		}
		w.put(uint64(c), 7)
	}
}

// small writes a normally small number.
func (w *writer) small(n int) {
	if n < 64 {
		w.put(uint64(n), 7)
		return
	}
	octets := 1
	for n>>(8*octets) != 0 {
		octets++
	}
	w.put(1, 1)
	w.length(octets)
	w.put(uint64(n), 8*octets)
}

func (w *writer) length(n int) {
	if n < 128 {
		w.put(uint64(n), 8)
		return
	}
	w.put(uint64(n)|1<<15, 16)
}

func (w *writer) other(o *Other) {
	if len(o.Raw) >= 1<<14 {
		w.fail(extensions, "%d octets are 16K or more", len(o.Raw))
		return
	}
	w.put(1, 1)
	w.small(int(o.Index))
	w.length(len(o.Raw))
	w.octets(o.Raw)
}
