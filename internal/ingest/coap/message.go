package coap

import (
	"bytes"
	"encoding/binary"
)

// Message types (RFC 7252 section 3).
const (
	confirmable uint8 = iota
	nonConfirmable
	acknowledgement
	reset
)

// code is a method or response code: class and detail as 3 and 5 bits.
type code uint8

const (
	empty  code = 0
	get    code = 1
	post   code = 2
	del    code = 4
	maxReq code = 31 // 0.31: the last method code

	changed              code = 2<<5 | 4
	content              code = 2<<5 | 5
	continues            code = 2<<5 | 31
	badRequest           code = 4 << 5
	unauthorized         code = 4<<5 | 1
	badOption            code = 4<<5 | 2
	forbidden            code = 4<<5 | 3
	notFound             code = 4<<5 | 4
	methodNotAllowed     code = 4<<5 | 5
	incomplete           code = 4<<5 | 8
	tooLarge             code = 4<<5 | 13
	unsupportedFormat    code = 4<<5 | 15
	tooManyRequests      code = 4<<5 | 29
	unavailable          code = 5<<5 | 3
	proxyingNotSupported code = 5<<5 | 5
)

func (c code) class() uint8 { return uint8(c >> 5) }

// String returns the code as people write it: 2.04.
func (c code) String() string {
	return string([]byte{'0' + c.class(), '.', '0' + uint8(c&31)/10, '0' + uint8(c&31)%10})
}

// Option numbers (RFC 7252 section 5.10, RFC 7641, RFC 7959, RFC 7967, RFC 9175).
const (
	optUriHost       = 3
	optETag          = 4
	optObserve       = 6
	optUriPort       = 7
	optUriPath       = 11
	optContentFormat = 12
	optMaxAge        = 14
	optUriQuery      = 15
	optAccept        = 17
	optBlock2        = 23
	optBlock1        = 27
	optProxyURI      = 35
	optProxyScheme   = 39
	optSize1         = 60
	optNoResponse    = 258
	optRequestTag    = 292
)

// block is the value of a Block option (RFC 7959 section 2.2).
type block struct {
	num  uint32
	more bool
	szx  uint8
	set  bool
}

func (b block) size() int   { return 16 << b.szx }
func (b block) offset() int { return int(b.num) * b.size() }

func (b block) value() uint32 {
	v := b.num<<4 | uint32(b.szx)
	if b.more {
		v |= 8
	}
	return v
}

// message is a datagram taken apart. Its slices alias the datagram.
type message struct {
	kind    uint8
	code    code
	id      uint16
	token   []byte
	path    [maxSegments][]byte
	depth   int // segments of path
	secret  []byte
	about   []byte // kind of a V2X message in JSON
	format  int    // Content-Format; none is -1
	observe int    // none is -1
	block1  block
	block2  block
	size1   uint32
	tag     []byte // Request-Tag
	mute    uint8  // No-Response
	proxied bool
	// critical is an option that the sender insists on and that is not
	// understood; 0 when there is none.
	critical int
	payload  []byte
}

// maxSegments is how many path segments a message may have: more than any
// resource of the hub.
const maxSegments = 6

// parsing is how far a datagram could be read.
type parsing uint8

const (
	wellFormed parsing = iota
	malformed          // a CoAP header, but a message format error
	foreign            // not CoAP, version 1
)

// parse takes a datagram apart. The header's fields are set unless it is foreign.
func (m *message) parse(b []byte) parsing {
	*m = message{format: -1, observe: -1}
	if len(b) < 4 || b[0]>>6 != 1 {
		return foreign
	}
	m.kind, m.code, m.id = b[0]>>4&3, code(b[1]), binary.BigEndian.Uint16(b[2:])
	tkl := int(b[0] & 15)
	b = b[4:]
	if tkl > 8 || tkl > len(b) {
		return malformed
	}
	m.token, b = b[:tkl], b[tkl:]
	if m.code == empty {
		if tkl != 0 || len(b) != 0 {
			return malformed
		}
		return wellFormed
	}
	number := 0
	for len(b) > 0 {
		if b[0] == 0xff {
			if len(b) == 1 {
				return malformed
			}
			m.payload = b[1:]
			return wellFormed
		}
		delta, length, rest, ok := optionHeader(b)
		if !ok || length > len(rest) {
			return malformed
		}
		number += delta
		m.option(number, rest[:length])
		b = rest[length:]
	}
	return wellFormed
}

// optionHeader reads delta and length of an option (RFC 7252 section 3.1).
func optionHeader(b []byte) (delta, length int, rest []byte, ok bool) {
	delta, length = int(b[0]>>4), int(b[0]&15)
	b = b[1:]
	if delta, b, ok = extend(delta, b); !ok {
		return 0, 0, nil, false
	}
	if length, b, ok = extend(length, b); !ok {
		return 0, 0, nil, false
	}
	return delta, length, b, true
}

func extend(n int, b []byte) (int, []byte, bool) {
	switch {
	case n < 13:
		return n, b, true
	case n == 13 && len(b) >= 1:
		return int(b[0]) + 13, b[1:], true
	case n == 14 && len(b) >= 2:
		return int(binary.BigEndian.Uint16(b)) + 269, b[2:], true
	}
	return 0, nil, false
}

// option notes one option. Elective ones that mean nothing here are skipped.
func (m *message) option(number int, v []byte) {
	switch number {
	case optUriPath:
		if m.depth < maxSegments {
			m.path[m.depth] = v
		}
		m.depth++
	case optUriQuery:
		const token, kind = "token=", "kind="
		if s, ok := bytes.CutPrefix(v, []byte(token)); ok && len(s) > 0 {
			m.secret = s
		} else if s, ok := bytes.CutPrefix(v, []byte(kind)); ok {
			m.about = s
		}
	case optObserve:
		m.observe = int(number32(v))
	case optContentFormat:
		m.format = int(number32(v))
	case optBlock1:
		m.block1 = m.blockOf(number, v)
	case optBlock2:
		m.block2 = m.blockOf(number, v)
	case optSize1:
		m.size1 = number32(v)
	case optRequestTag:
		m.tag = v
	case optNoResponse:
		m.mute = uint8(number32(v))
	case optProxyURI, optProxyScheme:
		m.proxied = true
	case optUriHost, optUriPort, optAccept:
	default:
		if number&1 == 1 {
			m.critical = number
		}
	}
}

func (m *message) blockOf(number int, v []byte) block {
	n := number32(v)
	if len(v) > 3 || n&7 == 7 {
		m.critical = number // a block size that UDP does not have
		return block{}
	}
	return block{num: n >> 4, more: n&8 != 0, szx: uint8(n & 7), set: true}
}

func number32(v []byte) uint32 {
	var n uint32
	for _, c := range v[:min(len(v), 4)] {
		n = n<<8 | uint32(c)
	}
	return n
}

// answer is what a request is answered with.
type answer struct {
	code     code
	format   int // Content-Format; none is -1
	maxAge   uint32
	etag     uint64 // 0: none
	observe  uint32
	observed bool // the answer carries observe
	block1   block
	block2   block
	size1    uint32
	payload  []byte
}

// appendTo writes the answer as a message of the given type, id and token.
func (a *answer) appendTo(b []byte, kind uint8, id uint16, token []byte) []byte {
	b = append(b, 1<<6|kind<<4|uint8(len(token)), byte(a.code), byte(id>>8), byte(id))
	b = append(b, token...)
	last := 0
	if a.etag != 0 {
		b, last = binary.BigEndian.AppendUint64(append(b, optETag<<4|8), a.etag), optETag
	}
	if a.observed {
		b, last = appendOption(b, last, optObserve, a.observe)
	}
	if a.format >= 0 {
		b, last = appendOption(b, last, optContentFormat, uint32(a.format))
	}
	if a.maxAge > 0 {
		b, last = appendOption(b, last, optMaxAge, a.maxAge)
	}
	if a.block2.set {
		b, last = appendOption(b, last, optBlock2, a.block2.value())
	}
	if a.block1.set {
		b, last = appendOption(b, last, optBlock1, a.block1.value())
	}
	if a.size1 > 0 {
		b, _ = appendOption(b, last, optSize1, a.size1)
	}
	if len(a.payload) > 0 {
		b = append(append(b, 0xff), a.payload...)
	}
	return b
}

// appendOption writes an option with a number as its value, in the fewest bytes.
func appendOption(b []byte, last, number int, v uint32) ([]byte, int) {
	length := 0
	for n := v; n > 0; n >>= 8 {
		length++
	}
	if delta := number - last; delta < 13 {
		b = append(b, byte(delta<<4|length))
	} else {
		b = append(b, byte(13<<4|length), byte(delta-13))
	}
	for i := length - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b, number
}

// appendEmpty writes a message without a code: an acknowledgement or a reset.
func appendEmpty(b []byte, kind uint8, id uint16) []byte {
	return append(b, 1<<6|kind<<4, 0, byte(id>>8), byte(id))
}
