package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// The control packet types, section 2.1.2.
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typePubrec      = 5
	typePubrel      = 6
	typePubcomp     = 7
	typeSubscribe   = 8
	typeSuback      = 9
	typeUnsubscribe = 10
	typeUnsuback    = 11
	typePingreq     = 12
	typePingresp    = 13
	typeDisconnect  = 14
	typeAuth        = 15
)

// frame splits the first packet off p: its first byte and what follows the
// remaining length. size is 0 while the packet is incomplete; need is then its
// size as far as known, else 0.
func frame(p []byte, limit int) (head byte, body []byte, size, need int, err error) {
	if len(p) < 2 {
		return 0, nil, 0, 0, nil
	}
	length, n := int(p[1]), 2
	if length >= 0x80 {
		length, n, err = longLength(p[1:])
		if n == 0 || err != nil {
			return 0, nil, 0, 0, err
		}
	}
	size = n + length
	if size > limit {
		return 0, nil, 0, 0, &fault{codePacketTooLarge, "the packet is larger than the hub accepts [MQTT-3.1.2-24]"}
	}
	if len(p) < size {
		return 0, nil, 0, size, nil
	}
	return p[0], p[n:size], size, 0, nil
}

// longLength reads a remaining length of two to four bytes and returns it with
// the size of the fixed header; 0 when bytes are missing.
func longLength(p []byte) (length, header int, err error) {
	for i := range 4 {
		if i >= len(p) {
			return 0, 0, nil
		}
		length |= int(p[i]&0x7f) << (7 * i)
		if p[i] < 0x80 {
			if p[i] == 0 {
				return 0, 0, malformed("MQTT-1.5.5-1", "the remaining length is longer than it need be")
			}
			return length, i + 2, nil
		}
	}
	return 0, 0, malformed("MQTT-1.5.5-1", "the remaining length has more than four bytes")
}

// reader reads the fields of a packet. After the first failure it returns
// zeros; fault tells of it.
type reader struct {
	p   []byte
	err error
}

func (r *reader) fail(clause, text string) {
	if r.err == nil {
		r.err = malformed(clause, "%s", text)
	}
	r.p = nil
}

func (r *reader) byte() byte {
	if len(r.p) < 1 {
		r.fail("MQTT-4.13.1-1", "the packet ends too early")
		return 0
	}
	b := r.p[0]
	r.p = r.p[1:]
	return b
}

func (r *reader) uint16() uint16 {
	if len(r.p) < 2 {
		r.fail("MQTT-4.13.1-1", "the packet ends too early")
		return 0
	}
	v := binary.BigEndian.Uint16(r.p)
	r.p = r.p[2:]
	return v
}

func (r *reader) uint32() uint32 {
	if len(r.p) < 4 {
		r.fail("MQTT-4.13.1-1", "the packet ends too early")
		return 0
	}
	v := binary.BigEndian.Uint32(r.p)
	r.p = r.p[4:]
	return v
}

func (r *reader) varint() int {
	if len(r.p) > 0 && r.p[0] < 0x80 {
		return int(r.byte())
	}
	v, n, err := longLength(r.p)
	if err != nil || n == 0 {
		r.fail("MQTT-1.5.5-1", "a variable byte integer is cut off or too long")
		return 0
	}
	r.p = r.p[n-1:]
	return v
}

func (r *reader) binary() []byte {
	n := int(r.uint16())
	if len(r.p) < n {
		r.fail("MQTT-4.13.1-1", "a field is longer than its packet")
		return nil
	}
	b := r.p[:n]
	r.p = r.p[n:]
	return b
}

func (r *reader) text() []byte {
	b := r.binary()
	if !validText(b) {
		r.fail("MQTT-1.5.4-1", "a string is not UTF-8, or has a NUL")
		return nil
	}
	return b
}

// validText reports whether b is UTF-8 without surrogates and without NUL.
// [MQTT-1.5.4-1] [MQTT-1.5.4-2]
func validText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

func (r *reader) end() error {
	if r.err == nil && len(r.p) > 0 {
		r.fail("MQTT-4.13.1-1", "the packet goes on after its last field")
	}
	return r.err
}

func appendLength(p []byte, n int) []byte {
	for n >= 0x80 {
		p = append(p, byte(n)|0x80)
		n >>= 7
	}
	return append(p, byte(n))
}

func appendText[T string | []byte](p []byte, s T) []byte {
	p = binary.BigEndian.AppendUint16(p, uint16(len(s)))
	return append(p, s...)
}

// appendPacket adds a packet whose body is at hand.
func appendPacket(p []byte, head byte, body []byte) []byte {
	p = append(p, head)
	p = appendLength(p, len(body))
	return append(p, body...)
}
