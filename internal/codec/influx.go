package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// influxReader reads line protocol from front to back, one line after the
// other. A fault ends its line only.
type influxReader struct {
	p     []byte
	i     int
	b     *telemetry.Batch
	in    Input
	index int

	// The fault of the current line; empty when there is none.
	fault  string
	reason telemetry.Reason
}

// decodeInflux reads InfluxDB line protocol (v2, docs.influxdata.com
// "Line protocol"). Each line that is neither empty nor a comment is a record.
func decodeInflux(b *telemetry.Batch, in *Input) error {
	var r influxReader
	r.p, r.b, r.in = in.Payload, b, *in
	m := markOf(b)
	for r.nextLine() {
		start, line := r.i, markOf(b)
		if !r.line() {
			line.keepRejects(b)
			rejectAt(b, r.index, r.i, r.reason, r.fault)
			r.i = lineEnd(r.p, start, r.i)
		}
		r.index++
		if err := m.checkCount(b, Influx, in.MaxSamples, start); err != nil {
			m.undo(b)
			return err
		}
	}
	return nil
}

// blame notes a fault at byte at and returns false.
func (r *influxReader) blame(at int, format string, args ...any) bool {
	return r.refuse(at, telemetry.ReasonMalformed, fmt.Sprintf(format, args...))
}

// refuse is blame for faults of another kind than the syntax.
func (r *influxReader) refuse(at int, reason telemetry.Reason, fault string) bool {
	r.i, r.reason, r.fault = at, reason, fault
	return false
}

// nextLine skips empty lines and comments.
func (r *influxReader) nextLine() bool {
	for r.i < len(r.p) {
		switch r.p[r.i] {
		case ' ', '\t', '\r', '\n':
			r.i++
		case '#':
			r.i = nextNewline(r.p, r.i)
		default:
			return true
		}
	}
	return false
}

func nextNewline(p []byte, i int) int {
	if n := bytes.IndexByte(p[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(p)
}

// lineEnd returns the end of a faulty line that begins at start: the first
// newline behind the fault that stands in no quoted field value, or, when
// quotes do not match, the first newline behind start.
func lineEnd(p []byte, start, fault int) int {
	quoted, fields := false, false
	for i := start; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\\':
			i++
		case c == ' ':
			fields = true
		case c == '"' && fields && (quoted || p[i-1] == '='):
			quoted = !quoted
		case c == '\n' && !quoted:
			if i >= fault {
				return i
			}
		}
	}
	if quoted {
		return nextNewline(p, start)
	}
	return len(p)
}

// line reads one line; false when it is at fault.
func (r *influxReader) line() bool {
	m := r.b.Mark()
	measurement := r.name(endsMeasurement)
	switch {
	case len(measurement) == 0:
		return r.blame(r.i, "the line has no measurement before its %s", r.here())
	case len(measurement) > r.in.MaxName:
		return r.refuse(r.i, telemetry.ReasonMetricInvalid, r.in.longName(measurement, len(measurement)))
	}
	for r.at(',') {
		if !r.tag() {
			return false
		}
	}
	tags := r.b.EndTags(m)
	if !r.in.tagsFit(tags) {
		reason, fault := r.in.tagFault(tags)
		return r.refuse(r.i, reason, fault)
	}
	if !r.at(' ') {
		return r.blame(r.i, "expected a space and fields, found %s", r.here())
	}
	r.spaces()
	first, firstState := len(r.b.Samples), len(r.b.States)
	for more := true; more; more = r.at(',') {
		if !r.field(measurement, tags) {
			return false
		}
	}
	ms, ok := r.timestamp()
	for i := range r.b.Samples[first:] {
		r.b.Samples[first+i].Time = ms
	}
	for i := range r.b.States[firstState:] {
		r.b.States[firstState+i].Time = ms
	}
	return ok
}

// at reads the byte c if it stands here.
func (r *influxReader) at(c byte) bool {
	if r.i < len(r.p) && r.p[r.i] == c {
		r.i++
		return true
	}
	return false
}

func (r *influxReader) spaces() {
	for r.i < len(r.p) && r.p[r.i] == ' ' {
		r.i++
	}
}

// here names what stands at the current byte.
func (r *influxReader) here() string {
	switch {
	case r.i >= len(r.p):
		return "the end"
	case r.p[r.i] == '\n' || r.p[r.i] == '\r':
		return "the end of the line"
	}
	return fmt.Sprintf("%q", r.p[r.i])
}

// Classes of bytes within names: what ends the name, and what a backslash
// takes its meaning from.
const (
	endsMeasurement = 1 << iota
	endsKey
	endsTagValue
)

var influxBytes = [256]uint8{
	',':  endsMeasurement | endsKey | endsTagValue,
	' ':  endsMeasurement | endsKey | endsTagValue,
	'=':  endsKey | endsTagValue,
	'\n': endsMeasurement | endsKey | endsTagValue,
	'\r': endsMeasurement | endsKey | endsTagValue,
}

// name reads a measurement, key or tag value up to an unescaped byte of the
// class. A backslash before such a byte takes its meaning away; before any
// other it is a backslash.
func (r *influxReader) name(class uint8) []byte {
	start, escaped := r.i, false
	i := start
	for ; i < len(r.p); i++ {
		c := r.p[i]
		if influxBytes[c]&class != 0 {
			break
		}
		if c == '\\' && i+1 < len(r.p) && escapable(r.p[i+1], class) {
			escaped = true
			i++
		}
	}
	r.i = i
	raw := r.p[start:i:i]
	if !escaped {
		return raw
	}
	out := r.b.Bytes(len(raw))[:0]
	for j := 0; j < len(raw); j++ {
		if raw[j] == '\\' && j+1 < len(raw) && escapable(raw[j+1], class) {
			j++
		}
		out = append(out, raw[j])
	}
	return out
}

func escapable(c byte, class uint8) bool {
	return c != '\n' && c != '\r' && influxBytes[c]&class != 0
}

// tag reads one tag behind its comma.
func (r *influxReader) tag() bool {
	at := r.i
	key := r.name(endsKey)
	switch {
	case len(key) == 0:
		return r.blame(at, "a tag has no name")
	case !r.at('='):
		return r.blame(at, "tag %q has no value", clip(key))
	}
	at = r.i
	value := r.name(endsTagValue)
	if len(value) == 0 {
		return r.blame(at, "tag %q has an empty value; leave the tag out", clip(key))
	}
	r.b.AddTag(key, value)
	return true
}

// field reads one field and adds its sample or state.
func (r *influxReader) field(measurement []byte, tags []telemetry.Tag) bool {
	at := r.i
	key := r.name(endsKey)
	switch {
	case len(key) == 0:
		return r.blame(at, "expected a field, found %s", r.here())
	case !r.at('='):
		return r.blame(at, "field %q has no value", clip(key))
	}
	name := measurement
	if string(key) != "value" {
		if n := len(measurement) + 1 + len(key); n > r.in.MaxName {
			return r.refuse(at, telemetry.ReasonMetricInvalid, r.in.longName(measurement, n))
		}
		name = joinName(r.b, measurement, key)
	}
	if r.i < len(r.p) && r.p[r.i] == '"' {
		text, ok := r.quoted()
		r.b.States = append(r.b.States, telemetry.State{Name: name, Value: text})
		return ok
	}
	v, ok := r.value(key)
	r.b.Samples = append(r.b.Samples, telemetry.Sample{Metric: name, Tags: tags, Value: v, Index: int32(r.index)})
	return ok
}

// quoted reads a string field. A backslash escapes a quote and itself.
func (r *influxReader) quoted() ([]byte, bool) {
	start, escaped := r.i+1, false
	for i := start; i < len(r.p); i++ {
		switch r.p[i] {
		case '"':
			r.i = i + 1
			raw := r.p[start:i:i]
			if escaped {
				raw = r.unquote(raw)
			}
			return raw, true
		case '\\':
			escaped = true
			i++
		}
	}
	return nil, r.blame(start-1, "the string has no closing quote")
}

func (r *influxReader) unquote(raw []byte) []byte {
	out := r.b.Bytes(len(raw))[:0]
	for i := 0; i < len(raw); i++ {
		if raw[i] == '\\' && i+1 < len(raw) && (raw[i+1] == '"' || raw[i+1] == '\\') {
			i++
		}
		out = append(out, raw[i])
	}
	return out
}

// value reads a number or boolean up to the next comma, space or line end.
func (r *influxReader) value(key []byte) (float64, bool) {
	start := r.i
	n := scanNumber(r.p, start, false)
	end := start
	for end < len(r.p) && influxBytes[r.p[end]]&endsMeasurement == 0 {
		end++
	}
	text := r.p[start:end]
	r.i = end
	if n.valid && n.end == end {
		if n.overflow {
			return 0, r.refuse(start, telemetry.ReasonNotFinite, fmt.Sprintf("field %q is beyond what a 64-bit float can hold", clip(key)))
		}
		return n.value, true
	}
	if n.valid && n.end == end-1 {
		if whole, ok := influxInteger(text); ok {
			return whole, true
		}
	}
	switch string(text) {
	case "t", "T", "true", "True", "TRUE":
		return 1, true
	case "f", "F", "false", "False", "FALSE":
		return 0, true
	}
	if len(text) == 0 {
		return 0, r.blame(start, "field %q has no value", clip(key))
	}
	return 0, r.blame(start, "field %q: %q is no number, integer (12i), unsigned (12u), boolean or string in quotes", clip(key), clip(text))
}

// influxInteger reads 12i and 12u, each within 64 bits.
func influxInteger(text []byte) (float64, bool) {
	last := len(text) - 1
	suffix, negative := text[last], text[0] == '-'
	body := text[:last]
	if negative || text[0] == '+' {
		body = body[1:]
	}
	n, ok := parseUint(body)
	most := uint64(1) << 63
	switch {
	case !ok:
		return 0, false
	case suffix == 'u':
		return float64(n), !negative
	case suffix != 'i' || n > most || n == most && !negative:
		return 0, false
	case negative:
		return -float64(n), true
	}
	return float64(n), true
}

// timestamp reads the end of the line and the time before it, if any.
func (r *influxReader) timestamp() (ms int64, ok bool) {
	ms = r.in.Now
	if spaced := r.at(' '); spaced {
		r.spaces()
		start := r.i
		for r.i < len(r.p) && influxBytes[r.p[r.i]]&endsMeasurement == 0 {
			r.i++
		}
		if text := r.p[start:r.i]; len(text) > 0 {
			if ms, ok = unitsToMillis(text, r.in.Precision); !ok {
				return 0, r.blame(start, "timestamp %q is no whole number of %s, or out of range", clip(text), precisionName(r.in.Precision))
			}
		}
		r.spaces()
	}
	r.at('\r')
	if r.i < len(r.p) && r.p[r.i] != '\n' {
		return 0, r.blame(r.i, "expected the end of the line, found %s", r.here())
	}
	return ms, true
}

// unitsToMillis reads a whole number of units and returns milliseconds,
// rounded down.
func unitsToMillis(text []byte, unit time.Duration) (ms int64, ok bool) {
	negative := text[0] == '-'
	if negative {
		text = text[1:]
	}
	n, ok := parseUint(text)
	if !ok || n > 1<<63-1 {
		return 0, false
	}
	whole := int64(n)
	if negative {
		whole = -whole
	}
	unit = max(unit, time.Nanosecond)
	if unit >= time.Millisecond {
		factor := int64(unit / time.Millisecond)
		ms = whole * factor
		return ms, whole <= maxTime/factor && whole >= -maxTime/factor
	}
	per := int64(time.Millisecond / unit)
	ms = whole / per
	if whole%per < 0 {
		ms--
	}
	return ms, ms <= maxTime && ms >= -maxTime
}

func precisionName(unit time.Duration) string {
	switch unit {
	case time.Microsecond:
		return "microseconds"
	case time.Millisecond:
		return "milliseconds"
	case time.Second:
		return "seconds"
	case 0, time.Nanosecond:
		return "nanoseconds"
	}
	return unit.String() + " units"
}

// parseUint reads digits only; ok is false beyond 64 bits.
func parseUint(p []byte) (n uint64, ok bool) {
	i := 0
	for ; i < 16 && i+8 <= len(p); i += 8 { // which no 64 bits overflow
		eight, ok := eightDigits(binary.LittleEndian.Uint64(p[i:]))
		if !ok {
			return 0, false
		}
		n = n*1e8 + eight
	}
	for _, c := range p[i:] {
		if c -= '0'; c > 9 || n > (1<<64-1-uint64(c))/10 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	return n, len(p) > 0
}
