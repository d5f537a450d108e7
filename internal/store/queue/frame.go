package queue

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"github.com/songhua-io/hub/internal/telemetry"
)

// A frame is what one commit wrote, or a part of it: the labels of series that
// its segment had not named before, then samples. Frames are read without those
// before them but for the labels, so that damage costs what it hit.
// docs/formats/queue.md describes the bytes.
const (
	// frameHeader is length of the body, samples, number of the first sample,
	// time of the commit, checksum of the body, checksum of the header.
	frameHeader = 4 + 4 + 8 + 8 + 4 + 4
	// A frame ends with the sample that brings it to one of these.
	frameSamples = 1 << 16
	frameBytes   = 1 << 20
	// maxFrame is more than a frame can have: one sample may bring the labels of
	// its series.
	maxFrame = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("damaged frame")

// head is the header of a frame.
type head struct {
	length  int
	samples uint32
	first   uint64 // number of the first sample
	at      int64  // time of the commit, ms since the Unix epoch
	sum     uint32 // of the body
}

// end is the number behind the last sample.
func (h head) end() uint64 { return h.first + uint64(h.samples) }

func putHead(b []byte, h head, body []byte) {
	le := binary.LittleEndian
	le.PutUint32(b, uint32(len(body)))
	le.PutUint32(b[4:], h.samples)
	le.PutUint64(b[8:], h.first)
	le.PutUint64(b[16:], uint64(h.at))
	le.PutUint32(b[24:], crc32.Checksum(body, castagnoli))
	le.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
}

func parseHead(b []byte) (head, bool) {
	le := binary.LittleEndian
	h := head{length: int(le.Uint32(b)), samples: le.Uint32(b[4:]), first: le.Uint64(b[8:]), at: int64(le.Uint64(b[16:])), sum: le.Uint32(b[24:])}
	return h, h.length <= maxFrame && h.samples > 0 && le.Uint32(b[28:]) == crc32.Checksum(b[:28], castagnoli)
}

// The byte that a sample begins with.
const (
	kindMask = 0x0f // how the value stands: decimals of a whole number, or one of
	float32s = 13   // 4 bytes
	float64s = 15   // 8 bytes

	refMask  = 0x30
	refSame  = 0x00
	refNext  = 0x10 // the reference behind that of the sample before
	refDelta = 0x20 // a varint follows

	timeMask  = 0xc0
	timeSame  = 0x00
	timeStep  = 0x40 // as far from the sample before as that one from its own
	timeDelta = 0x80 // a varint follows

	// decimals are how many a value has at most to stand as a whole number.
	decimals = 6
)

var pow10 = [decimals + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6}

// course is what the next sample of a frame is told from.
type course struct {
	ref  uint32
	time int64
	step int64
}

func startOf(h head) course { return course{ref: math.MaxUint32, time: h.at} }

// appendSample adds a sample of the series ref.
func (c *course) appendSample(dst []byte, ref uint32, t int64, v float64) []byte {
	at := len(dst)
	dst = append(dst, 0)
	var control byte
	switch ref {
	case c.ref:
	case c.ref + 1:
		control = refNext
	default:
		control = refDelta
		dst = binary.AppendVarint(dst, int64(ref)-int64(c.ref))
	}
	switch step := t - c.time; {
	case step == 0:
	case step == c.step:
		control |= timeStep
	default:
		control |= timeDelta
		dst = binary.AppendVarint(dst, step)
		c.step = step
	}
	c.ref, c.time = ref, t
	if m, kind, ok := decimal(v); ok {
		control |= kind
		dst = binary.AppendVarint(dst, m)
	} else if bits, narrow := math.Float64bits(v), float32(v); math.Float64bits(float64(narrow)) == bits {
		control |= float32s
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(narrow))
	} else {
		control |= float64s
		dst = binary.LittleEndian.AppendUint64(dst, bits)
	}
	dst[at] = control
	return dst
}

// decimal returns the whole number and the decimals that v is, bit by bit, when
// that is the shorter form. Devices measure decimals.
func decimal(v float64) (m int64, places byte, ok bool) {
	const exact, short = 1 << 53, 1 << 41
	if !(v > -short && v < short) {
		return 0, 0, false
	}
	bits := math.Float64bits(v)
	if m = int64(v); math.Float64bits(float64(m)) == bits {
		return m, 0, true
	}
	scaled := v * pow10[decimals]
	if !(scaled > -exact && scaled < exact) {
		return 0, 0, false
	}
	m = int64(math.RoundToEven(scaled))
	if math.Float64bits(float64(m)/pow10[decimals]) != bits {
		return 0, 0, false
	}
	for places = decimals; m%10 == 0; places-- {
		m /= 10
	}
	return m, places, m > -short && m < short
}

// nextSample reads what appendSample wrote, and returns the rest; nil when b
// holds no sample.
func (c *course) nextSample(b []byte) (ref uint32, t int64, v float64, rest []byte) {
	if len(b) == 0 {
		return 0, 0, 0, nil
	}
	control := b[0]
	b = b[1:]
	switch control & refMask {
	case refSame:
	case refNext:
		c.ref++
	case refDelta:
		d, n := binary.Varint(b)
		if n <= 0 {
			return 0, 0, 0, nil
		}
		c.ref, b = uint32(int64(c.ref)+d), b[n:]
	default:
		return 0, 0, 0, nil
	}
	switch control & timeMask {
	case timeSame:
	case timeStep:
		c.time += c.step
	case timeDelta:
		d, n := binary.Varint(b)
		if n <= 0 {
			return 0, 0, 0, nil
		}
		c.step, b = d, b[n:]
		c.time += d
	default:
		return 0, 0, 0, nil
	}
	switch kind := control & kindMask; {
	case kind <= decimals:
		m, n := binary.Varint(b)
		if n <= 0 {
			return 0, 0, 0, nil
		}
		v, b = float64(m)/pow10[kind], b[n:]
	case kind == float32s && len(b) >= 4:
		v, b = float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), b[4:]
	case kind == float64s && len(b) >= 8:
		v, b = math.Float64frombits(binary.LittleEndian.Uint64(b)), b[8:]
	default:
		return 0, 0, 0, nil
	}
	return c.ref, c.time, v, b
}

// How a label of a definition stands to that of the same place in the one
// before, of the same frame.
const (
	labelSame  = 0
	labelValue = 1 // another value of the same name
	labelBoth  = 2
)

// appendLabels adds the labels of a series, told from those of the one before.
func appendLabels(dst []byte, before, labels []telemetry.Label) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(labels)))
	for i, l := range labels {
		switch {
		case i < len(before) && before[i] == l:
			dst = append(dst, labelSame)
		case i < len(before) && before[i].Name == l.Name:
			dst = appendText(append(dst, labelValue), l.Value)
		default:
			dst = appendText(appendText(append(dst, labelBoth), l.Name), l.Value)
		}
	}
	return dst
}

func appendNumber(dst []byte, n uint32) []byte { return binary.AppendUvarint(dst, uint64(n)) }

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// nextLabels reads what appendLabels wrote; what is the same as before shares
// its memory.
func nextLabels(b []byte, before []telemetry.Label) (labels []telemetry.Label, rest []byte, err error) {
	n, b, err := nextNumber(b)
	if err != nil || n > uint64(len(b)) {
		return nil, nil, errDamaged
	}
	labels = make([]telemetry.Label, n)
	for i := range labels {
		if len(b) == 0 {
			return nil, nil, errDamaged
		}
		how := b[0]
		b = b[1:]
		if how != labelBoth {
			if i >= len(before) || how > labelBoth {
				return nil, nil, errDamaged
			}
			labels[i] = before[i]
		} else if labels[i].Name, b, err = nextText(b); err != nil {
			return nil, nil, err
		}
		if how != labelSame {
			if labels[i].Value, b, err = nextText(b); err != nil {
				return nil, nil, err
			}
		}
	}
	return labels, b, nil
}

func nextText(b []byte) (string, []byte, error) {
	n, b, err := nextNumber(b)
	if err != nil || n > uint64(len(b)) {
		return "", nil, errDamaged
	}
	return string(b[:n]), b[n:], nil
}

func nextNumber(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errDamaged
	}
	return v, b[n:], nil
}
