package codec

import (
	"encoding/binary"
	"math"

	"github.com/songhua-io/hub/internal/telemetry"
)

// AppendSenMLCBOR appends samples to dst as one SenML CBOR pack (RFC 8428 §6),
// which [Decode] turns back into the same samples. The first record carries
// the base time; later ones their distance to it where there is one. A unit
// stands where it changes. Tags are our extension: a map under the text label
// "tags", which other readers ignore.
//
// SenML takes times before 2^28 seconds (4 July 1978) as relative to the
// reader's clock; such times, of a device that has not set its clock, are
// written as that day so that the hub sees them for what they are: wrong.
// Metrics are to be SenML names (RFC 8428 §4.5.1), else the reader rejects
// them.
func AppendSenMLCBOR(dst []byte, samples []telemetry.Sample) []byte {
	dst = appendHead(dst, cborArray, uint64(len(samples)))
	var unit []byte
	var base int64
	for i := range samples {
		s := &samples[i]
		ms := max(s.Time, earliest)
		fields := uint64(2)
		newUnit := string(s.Unit) != string(unit)
		for _, more := range [...]bool{i == 0 || ms != base, newUnit, len(s.Tags) > 0} {
			if more {
				fields++
			}
		}
		dst = appendHead(dst, cborMap, fields)
		switch {
		case i == 0:
			base = ms
			dst = appendNumber(appendLabel(dst, senmlBT), float64(ms)/1000)
		case ms != base:
			dst = appendNumber(appendLabel(dst, senmlT), float64(ms-base)/1000)
		}
		if newUnit {
			unit = s.Unit
			dst = appendText(appendLabel(dst, senmlBU), unit)
		}
		dst = appendText(appendLabel(dst, senmlN), s.Metric)
		dst = appendNumber(appendLabel(dst, senmlV), s.Value)
		if len(s.Tags) > 0 {
			dst = appendTags(dst, s.Tags)
		}
	}
	return dst
}

// earliest is the first time in milliseconds that AppendSenMLCBOR writes: a
// second above the bound, out of reach of rounding.
const earliest = (relative + 1) * 1000

func appendLabel(dst []byte, f senmlField) []byte {
	for n, field := range cborLabels {
		if field == f {
			return append(dst, byte(n))
		}
	}
	for n, field := range cborBaseLabels {
		if field == f {
			return append(dst, cborNegative<<5|byte(n))
		}
	}
	return appendText(dst, []byte(senmlLabels[f]))
}

func appendTags(dst []byte, tags []telemetry.Tag) []byte {
	dst = appendLabel(dst, senmlTags)
	dst = appendHead(dst, cborMap, uint64(len(tags)))
	for _, t := range tags {
		dst = appendText(appendText(dst, t.Name), t.Value)
	}
	return dst
}

func appendText(dst, text []byte) []byte {
	return append(appendHead(dst, cborText, uint64(len(text))), text...)
}

// appendHead appends a head in its shortest form (RFC 8949 §4.2.1).
func appendHead(dst []byte, major byte, arg uint64) []byte {
	major <<= 5
	switch {
	case arg < 24:
		return append(dst, major|byte(arg))
	case arg <= math.MaxUint8:
		return append(dst, major|24, byte(arg))
	case arg <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(arg))
	case arg <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(arg))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), arg)
}

// appendNumber appends f as an integer where it is one, else as the shortest
// float that holds it exactly. NaN keeps its bits: some of them have a meaning
// (the staleness marker of Prometheus).
func appendNumber(dst []byte, f float64) []byte {
	switch {
	case f == math.Trunc(f) && math.Abs(f) < 1<<53 && !(f == 0 && math.Signbit(f)):
		if f < 0 {
			return appendHead(dst, cborNegative, uint64(-f)-1)
		}
		return appendHead(dst, cborUint, uint64(f))
	case float64(float32(f)) == f:
		return binary.BigEndian.AppendUint32(append(dst, cborSimple<<5|26), math.Float32bits(float32(f)))
	}
	return binary.BigEndian.AppendUint64(append(dst, cborSimple<<5|27), math.Float64bits(f))
}
