package v2x

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Framed is how roadside units in the field pack frames for a platform:
//
//	rsu id, 8 octets │ ms since 1970 UTC, 8 octets, little endian │
//	count, 1 octet (BSM only) │ per message: length, 2 octets, little endian │ frame
type Framed struct {
	RSU  [8]byte // the name that the unit gives itself
	At   time.Time
	rest []byte
	left int // messages; -1: until the octets end
}

// ReadFramed reads the head of an uplink; counted says that the count of
// messages is there, as in uplinks of BSM. The frames are in the memory of data.
func ReadFramed(data []byte, counted bool) (f Framed, err error) {
	const head = 16
	need := head
	if counted {
		need++
	}
	if len(data) < need {
		return f, fmt.Errorf("%d octets are too few for the head of an uplink, %d", len(data), need)
	}
	f.RSU = [8]byte(data)
	ms := binary.LittleEndian.Uint64(data[8:])
	if ms > 1<<43 { // the year 2248
		return f, fmt.Errorf("the time %d is no number of milliseconds since 1970", ms)
	}
	f.At = time.UnixMilli(int64(ms)).UTC()
	f.rest, f.left = data[need:], -1
	if counted {
		f.left = int(data[head])
	}
	return f, nil
}

// Next returns the next frame, or nil after the last one. It does not look into
// frames.
func (f *Framed) Next() ([]byte, error) {
	if f.left == 0 || f.left < 0 && len(f.rest) == 0 {
		return nil, nil
	}
	if len(f.rest) < 2 {
		return nil, fmt.Errorf("the uplink ends where the length of a message should be")
	}
	n := int(binary.LittleEndian.Uint16(f.rest))
	if n == 0 || n > len(f.rest)-2 {
		return nil, fmt.Errorf("a message of %d octets, and %d are left", n, len(f.rest)-2)
	}
	frame := f.rest[2 : 2+n]
	f.rest = f.rest[2+n:]
	if f.left > 0 {
		f.left--
	}
	return frame, nil
}

// Trailing is how many octets are left behind the last frame.
func (f *Framed) Trailing() int { return len(f.rest) }
