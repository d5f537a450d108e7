package load

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Format is how samples are written.
type Format byte

// The formats, by the names that stand in topics.
const (
	SenML     Format = iota // senml: RFC 8428 JSON
	SenMLCBOR               // senml-cbor
	Influx                  // influx: line protocol
)

// String returns the last level of the telemetry topic.
func (f Format) String() string { return [...]string{"senml", "senml-cbor", "influx"}[f] }

// ParseFormat returns the format that s names.
func ParseFormat(s string) (Format, error) {
	for f := SenML; f <= Influx; f++ {
		if f.String() == s {
			return f, nil
		}
	}
	return 0, fmt.Errorf("format %q is not one of senml, senml-cbor, influx", s)
}

// Sequence is the endless row of messages of one device. Sample k of the
// device is of metric k modulo Metrics, lies k divided by Metrics milliseconds
// after Start, and has the value 1,000,000,000 + k: each is known from its
// number. A message is a template in which digits are replaced, so that the
// sender costs little next to what it measures.
type Sequence struct {
	device  string
	samples int
	metrics int
	format  Format
	start   int64 // ms
	forms   []form
	buf     []byte
}

// form is a message with holes: one per metric group.
type form struct {
	text   []byte
	times  []int // offsets of timestamps
	values []int // offsets of values, one a sample
}

// NewSequence returns the row of messages of a device.
func NewSequence(cfg Config, device string) *Sequence {
	s := &Sequence{device: device, samples: cfg.Samples, metrics: cfg.Metrics, format: cfg.Format, start: cfg.Start.UnixMilli()}
	for g := range s.metrics / s.samples {
		s.forms = append(s.forms, s.form(g*s.samples))
	}
	return s
}

const firstValue = 1_000_000_000

// Sample returns sample j of message n.
func (s *Sequence) Sample(n, j int) Sample {
	k := n*s.samples + j
	return Sample{Device: s.device, Metric: metricName(k % s.metrics), Time: s.start + int64(k/s.metrics), Value: float64(firstValue + k)}
}

func metricName(i int) string { return fmt.Sprintf("load_%02d", i) }

// Size is the length of every message.
func (s *Sequence) Size() int { return len(s.forms[0].text) }

// Message returns message n; it is valid until the next call.
func (s *Sequence) Message(n int) []byte {
	s.buf = s.Append(s.buf[:0], n)
	return s.buf
}

// Append adds message n to p.
func (s *Sequence) Append(p []byte, n int) []byte {
	f := &s.forms[n%len(s.forms)]
	at := len(p)
	p = append(p, f.text...)
	m := p[at:]
	k := n * s.samples
	ms := s.start + int64(k/s.metrics)
	for _, o := range f.times {
		s.putTime(m[o:], ms)
	}
	for j, o := range f.values {
		s.putValue(m[o:], firstValue+k+j)
	}
	return p
}

func (s *Sequence) putTime(p []byte, ms int64) {
	switch s.format {
	case SenML:
		putDigits(p[:10], uint64(ms/1000))
		putDigits(p[11:14], uint64(ms%1000))
	case Influx:
		putDigits(p[:13], uint64(ms))
	case SenMLCBOR:
		binary.BigEndian.PutUint64(p, math.Float64bits(float64(ms)/1000))
	}
}

func (s *Sequence) putValue(p []byte, v int) {
	if s.format == SenMLCBOR {
		binary.BigEndian.PutUint64(p, uint64(v))
		return
	}
	putDigits(p[:10], uint64(v))
}

func putDigits(p []byte, v uint64) {
	for i := len(p) - 1; i >= 0; i-- {
		p[i] = byte('0' + v%10)
		v /= 10
	}
}

// form writes the message whose first metric is number first.
func (s *Sequence) form(first int) form {
	var f form
	switch s.format {
	case SenML:
		s.formJSON(&f, first)
	case Influx:
		s.formLines(&f, first)
	case SenMLCBOR:
		s.formCBOR(&f, first)
	}
	return f
}

func (s *Sequence) formJSON(f *form, first int) {
	f.text = append(f.text, '[')
	for j := range s.samples {
		if j == 0 {
			f.text = append(f.text, `{"bt":`...)
			f.times = append(f.times, len(f.text))
			f.text = append(f.text, `0000000000.000,`...)
		} else {
			f.text = append(f.text, `,{`...)
		}
		f.text = fmt.Appendf(f.text, `"n":"%s","v":`, metricName(first+j))
		f.values = append(f.values, len(f.text))
		f.text = append(f.text, `0000000000}`...)
	}
	f.text = append(f.text, ']')
}

func (s *Sequence) formLines(f *form, first int) {
	for j := range s.samples {
		if j > 0 {
			f.text = append(f.text, '\n')
		}
		f.text = fmt.Appendf(f.text, "%s value=", metricName(first+j))
		f.values = append(f.values, len(f.text))
		f.text = append(f.text, "0000000000 "...)
		f.times = append(f.times, len(f.text))
		f.text = append(f.text, "0000000000000000000"...)
	}
}

// formCBOR writes an array of maps with the integer labels of RFC 8428,
// section 6: bt -3, n 0, v 2.
func (s *Sequence) formCBOR(f *form, first int) {
	f.text = append(f.text, 0x98, byte(s.samples))
	for j := range s.samples {
		if j == 0 {
			f.text = append(f.text, 0xa3, 0x22, 0xfb)
			f.times = append(f.times, len(f.text))
			f.text = append(f.text, make([]byte, 8)...)
		} else {
			f.text = append(f.text, 0xa2)
		}
		name := metricName(first + j)
		f.text = append(f.text, 0x00, 0x60|byte(len(name)))
		f.text = append(f.text, name...)
		f.text = append(f.text, 0x02, 0x1b)
		f.values = append(f.values, len(f.text))
		f.text = append(f.text, make([]byte, 8)...)
	}
}
