package codec

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/songhua-io/hub/internal/telemetry"
)

// The major types of CBOR (RFC 8949 §3.1).
const (
	cborUint = iota
	cborNegative
	cborBytes
	cborText
	cborArray
	cborMap
	cborTag
	cborSimple
)

const cborBreak = 0xff

// cborHead is the head of a data item: its type and its argument.
type cborHead struct {
	major      byte
	info       byte // additional information: how the argument is written
	indefinite bool
	arg        uint64
}

// cborScanner reads CBOR (RFC 8949) from front to back. Strings alias the
// payload, or the batch when they come in chunks.
type cborScanner struct {
	p []byte
	i int
	b *telemetry.Batch
}

func (s *cborScanner) fail(at int, format string, args ...any) error {
	return &Error{SenMLCBOR, at, telemetry.ReasonMalformed, fmt.Sprintf(format, args...)}
}

func (s *cborScanner) cut() error {
	return s.fail(len(s.p), "the data ends in the middle of an item")
}

// head reads the head of the next item.
func (s *cborScanner) head() (cborHead, error) {
	at := s.i
	if at >= len(s.p) {
		return cborHead{}, s.cut()
	}
	first := s.p[at]
	h := cborHead{major: first >> 5, info: first & 0x1f}
	s.i++
	switch {
	case h.info < 24:
		h.arg = uint64(h.info)
		return h, nil
	case h.info < 28:
		return h, s.argument(&h, at)
	case h.info < 31:
		return h, s.fail(at, "byte %#02x begins no CBOR item", first)
	}
	h.indefinite = true
	if h.major < cborBytes || h.major == cborTag {
		return h, s.fail(at, "byte %#02x begins no CBOR item", first)
	}
	if first == cborBreak {
		return h, s.fail(at, "a break stands where an item should begin")
	}
	return h, nil
}

// argument reads the 1, 2, 4 or 8 bytes of a head's argument.
func (s *cborScanner) argument(h *cborHead, at int) error {
	n := 1 << (h.info - 24)
	if len(s.p)-s.i < n {
		return s.cut()
	}
	for _, c := range s.p[s.i : s.i+n] {
		h.arg = h.arg<<8 | uint64(c)
	}
	s.i += n
	if h.major == cborSimple && n == 1 && h.arg < 32 {
		return s.fail(at, "simple value %d is written in two bytes", h.arg)
	}
	return nil
}

// items counts down the elements of an array or the pairs of a map.
type cborItems struct {
	left       uint64
	indefinite bool
}

func itemsOf(h cborHead) cborItems { return cborItems{h.arg, h.indefinite} }

// next reports whether another element follows, and reads the break of an
// indefinite array or map.
func (s *cborScanner) next(items *cborItems) (bool, error) {
	if items.indefinite {
		if s.i >= len(s.p) {
			return false, s.cut()
		}
		if s.p[s.i] == cborBreak {
			s.i++
			return false, nil
		}
		return true, nil
	}
	if items.left == 0 {
		return false, nil
	}
	items.left--
	return true, nil
}

// str reads the rest of a byte or text string whose head is h.
func (s *cborScanner) str(h cborHead) ([]byte, error) {
	if h.indefinite {
		return s.chunks(h)
	}
	if h.arg > uint64(len(s.p)-s.i) {
		return nil, s.cut()
	}
	at, end := s.i, s.i+int(h.arg)
	v := s.p[at:end:end]
	s.i = end
	if h.major == cborText && !utf8.Valid(v) {
		return nil, s.fail(at, "the text is not valid UTF-8")
	}
	return v, nil
}

// chunks joins the chunks of an indefinite string. It reads them twice: their
// total is known before they are joined, so each byte is copied once.
func (s *cborScanner) chunks(h cborHead) ([]byte, error) {
	start, total := s.i, 0
	for {
		chunk, more, err := s.chunk(h)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		total += len(chunk)
	}
	end := s.i
	joined := s.b.Bytes(total)[:0]
	for s.i = start; s.i < end; {
		chunk, _, err := s.chunk(h)
		if err != nil {
			return nil, err
		}
		joined = append(joined, chunk...)
	}
	return joined, nil
}

// chunk reads the next chunk of an indefinite string; more is false at its end.
func (s *cborScanner) chunk(h cborHead) (chunk []byte, more bool, err error) {
	items := itemsOf(h)
	if more, err = s.next(&items); err != nil || !more {
		return nil, false, err
	}
	at := s.i
	c, err := s.head()
	if err != nil {
		return nil, false, err
	}
	if c.major != h.major || c.indefinite {
		return nil, false, s.fail(at, "a string in chunks holds something that is no chunk of it")
	}
	chunk, err = s.str(c)
	return chunk, true, err
}

// skip reads the rest of any item whose head is h and drops it.
func (s *cborScanner) skip(h cborHead, depth int) error {
	if depth > maxDepth {
		return s.fail(s.i, "items nest deeper than %d levels", maxDepth)
	}
	switch h.major {
	case cborBytes, cborText:
		_, err := s.str(h)
		return err
	case cborTag:
		return s.skipNext(depth + 1)
	case cborArray, cborMap:
		return s.skipItems(h, depth)
	}
	return nil
}

func (s *cborScanner) skipItems(h cborHead, depth int) error {
	for items := itemsOf(h); ; {
		more, err := s.next(&items)
		if err != nil || !more {
			return err
		}
		if err = s.skipNext(depth + 1); err == nil && h.major == cborMap {
			err = s.skipNext(depth + 1)
		}
		if err != nil {
			return err
		}
	}
}

func (s *cborScanner) skipNext(depth int) error {
	h, err := s.head()
	if err != nil {
		return err
	}
	return s.skip(h, depth)
}

// cborNumber is what stood where a number may stand.
type cborNumber struct {
	value float64
	fault string // why it is no number that can be taken; empty when it is one
}

// number reads the rest of an item whose head is h as a number (RFC 8428 §6):
// an integer, a float, a decimal fraction (tag 4) or an epoch time (tag 1).
func (s *cborScanner) number(h cborHead, depth int) (cborNumber, error) {
	switch {
	case h.major == cborUint:
		return cborNumber{value: float64(h.arg)}, nil
	case h.major == cborNegative:
		return cborNumber{value: negative(h.arg)}, nil
	case h.major == cborSimple && h.info >= 25:
		return cborNumber{value: cborFloat(h)}, nil
	case h.major == cborTag && h.arg == 1 && depth < maxDepth:
		inner, err := s.head()
		if err != nil {
			return cborNumber{}, err
		}
		return s.number(inner, depth+1)
	case h.major == cborTag && h.arg == 4:
		return s.fraction(depth)
	case h.major == cborTag && (h.arg == 2 || h.arg == 3):
		return cborNumber{fault: "is a bignum; write it as a float"}, s.skip(h, depth)
	}
	return cborNumber{fault: "is no number"}, s.skip(h, depth)
}

// negative returns -1-n.
func negative(n uint64) float64 {
	if n == math.MaxUint64 {
		return -0x1p64
	}
	return -float64(n + 1)
}

func cborFloat(h cborHead) float64 {
	switch h.info {
	case 25:
		return halfFloat(uint16(h.arg))
	case 26:
		return float64(math.Float32frombits(uint32(h.arg)))
	}
	return math.Float64frombits(h.arg)
}

// halfFloat returns the value of a half-precision float (IEEE 754 binary16).
func halfFloat(bits uint16) float64 {
	exp, mantissa := int(bits>>10&0x1f), float64(bits&0x3ff)
	var f float64
	switch exp {
	case 0:
		f = math.Ldexp(mantissa, -24)
	case 31:
		f = math.Inf(1)
		if mantissa != 0 {
			f = math.NaN()
		}
	default:
		f = math.Ldexp(mantissa+1024, exp-25)
	}
	if bits&0x8000 != 0 {
		return math.Copysign(f, -1)
	}
	return f
}

// fraction reads the content of tag 4: an array of exponent and mantissa,
// both integers (RFC 8949 §3.4.4).
func (s *cborScanner) fraction(depth int) (cborNumber, error) {
	h, err := s.head()
	if err != nil {
		return cborNumber{}, err
	}
	const fault = "is a decimal fraction that is no array of two integers"
	if h.major != cborArray || h.indefinite || h.arg != 2 {
		return cborNumber{fault: fault}, s.skip(h, depth+1)
	}
	var parts [2]cborHead
	whole := true
	for i := range parts {
		if parts[i], err = s.head(); err == nil && parts[i].major > cborNegative {
			whole = false
			err = s.skip(parts[i], depth+2)
		}
		if err != nil {
			return cborNumber{}, err
		}
	}
	if !whole {
		return cborNumber{fault: fault}, nil
	}
	return scaled(parts[0], parts[1]), nil
}

// scaled returns mantissa times ten to the exponent, rounded once.
func scaled(exponent, mantissa cborHead) cborNumber {
	if exponent.arg > 1<<20 {
		return cborNumber{fault: "is a decimal fraction with an absurd exponent"}
	}
	exp := int(exponent.arg)
	if exponent.major == cborNegative {
		exp = -1 - exp
	}
	sign, n := 1.0, mantissa.arg
	if mantissa.major == cborNegative {
		sign = -1
		if n++; n == 0 {
			return cborNumber{fault: "is a decimal fraction beyond 64 bits"}
		}
	}
	if f, exact := decimal(n, exp); exact {
		return cborNumber{value: sign * f}
	}
	var digits [48]byte
	text := strconv.AppendUint(digits[:0], n, 10)
	text = strconv.AppendInt(append(text, 'e'), int64(exp), 10)
	f, err := strconv.ParseFloat(unsafe.String(&text[0], len(text)), 64)
	if err != nil {
		return cborNumber{fault: "is beyond what a 64-bit float can hold"}
	}
	return cborNumber{value: sign * f}
}
