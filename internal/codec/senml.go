package codec

import (
	"encoding/base64"
	"fmt"
	"math"
	"strings"

	"github.com/songhua-io/hub/internal/telemetry"
)

// senmlField is a label of RFC 8428 Table 2, or "tags", our extension.
type senmlField uint8

// The fields, grouped by the type of their value: numbers, texts, others.
const (
	senmlBT senmlField = iota
	senmlBV
	senmlBS
	senmlBVer
	senmlV
	senmlS
	senmlT
	senmlUT
	senmlBN
	senmlBU
	senmlN
	senmlU
	senmlVS
	senmlVD
	senmlVB
	senmlTags
	senmlUnknown

	senmlNumbers   = senmlBN // fields below are numbers
	senmlFirstText = senmlBN
	senmlTexts     = senmlVB // fields below are numbers or texts
)

const (
	senmlBase   = 1<<senmlBT | 1<<senmlBV | 1<<senmlBS | 1<<senmlBVer | 1<<senmlBN | 1<<senmlBU
	senmlValues = 1<<senmlV | 1<<senmlVS | 1<<senmlVD | 1<<senmlVB
)

var senmlLabels = [...]string{"bt", "bv", "bs", "bver", "v", "s", "t", "ut", "bn", "bu", "n", "u", "vs", "vd", "vb", "tags"}

// senmlLabel returns the field that a text label names.
func senmlLabel(key []byte) senmlField {
	switch string(key) {
	case "n":
		return senmlN
	case "v":
		return senmlV
	case "t":
		return senmlT
	case "u":
		return senmlU
	case "bn":
		return senmlBN
	case "bt":
		return senmlBT
	case "bu":
		return senmlBU
	case "bv":
		return senmlBV
	case "bs":
		return senmlBS
	case "bver":
		return senmlBVer
	case "s":
		return senmlS
	case "ut":
		return senmlUT
	case "vs":
		return senmlVS
	case "vd":
		return senmlVD
	case "vb":
		return senmlVB
	case "tags":
		return senmlTags
	}
	return senmlUnknown
}

// senmlRecord is one record as it stands in the message. A value is there when
// the bit of its field is set.
type senmlRecord struct {
	at     int // byte where the record begins
	set    uint32
	number [senmlNumbers]float64
	text   [senmlTexts - senmlFirstText][]byte
	truth  bool
	tags   []telemetry.Tag

	// The first fault of the record; empty when there is none.
	fault   string
	reason  telemetry.Reason
	faultAt int
}

func (r *senmlRecord) has(f senmlField) bool { return r.set&(1<<f) != 0 }

func (r *senmlRecord) blame(at int, reason telemetry.Reason, fault string) {
	if r.fault == "" {
		r.fault, r.reason, r.faultAt = fault, reason, at
	}
}

// senmlPack resolves the records of one pack (RFC 8428 §4.6), whatever they
// are written in.
type senmlPack struct {
	b      *telemetry.Batch
	in     Input
	format Format
	mark   mark
	index  int

	baseName, baseUnit           []byte
	baseTime, baseValue, baseSum float64
	version                      float64
	// ownBase is true when the base name is exactly the device's own prefix,
	// so that the name of a record is its metric.
	ownBase bool
	record  senmlRecord
}

// begin fills what a pack starts with in place: a literal of it would be built
// elsewhere and copied, half a kilobyte for each message.
func (p *senmlPack) begin(b *telemetry.Batch, in *Input, f Format) {
	p.b, p.in, p.format, p.mark = b, *in, f, markOf(b)
}

// next returns the record to fill for what begins at byte at.
func (p *senmlPack) next(at int) *senmlRecord {
	r := &p.record
	r.at, r.set, r.tags, r.fault = at, 0, nil, ""
	return r
}

func (p *senmlPack) fail(at int, reason telemetry.Reason, format string, args ...any) error {
	return &Error{p.format, at, reason, fmt.Sprintf(format, args...)}
}

// wrong notes a fault of one field: of its record only, or, when later records
// depend on the field, of the whole pack.
func (p *senmlPack) wrong(r *senmlRecord, f senmlField, at int, reason telemetry.Reason, detail string) error {
	if 1<<f&senmlBase != 0 {
		return p.fail(at, reason, "%s", detail)
	}
	r.blame(at, reason, detail)
	return nil
}

// repeated notes that a field stands twice in its record.
func (p *senmlPack) repeated(r *senmlRecord, f senmlField, at int) error {
	return p.wrong(r, f, at, telemetry.ReasonMalformed, "field "+senmlLabels[f]+" stands twice in one record")
}

// unknown refuses labels that must be understood (RFC 8428 §4.4); all others
// are ignored.
func (p *senmlPack) unknown(key []byte, at int) error {
	if len(key) > 0 && key[len(key)-1] == '_' {
		return p.fail(at, telemetry.ReasonUnsupported,
			"field %q must be understood (its name ends with _) and is not; leave it out", clip(key))
	}
	return nil
}

// add resolves a record and adds what it holds to the batch.
func (p *senmlPack) add(r *senmlRecord) error {
	if r.set&senmlBase != 0 {
		if err := p.rebase(r); err != nil {
			return err
		}
	}
	// A record of base fields alone only sets them (RFC 8428 §5.1.6).
	if r.fault == "" && (r.set == 0 || r.set&^senmlBase != 0) {
		p.resolve(r)
	}
	if r.fault != "" {
		p.reject(r)
	}
	p.index++
	return p.mark.checkCount(p.b, p.format, p.in.MaxSamples, r.at)
}

func (p *senmlPack) reject(r *senmlRecord) {
	rejectAt(p.b, p.index, r.faultAt, r.reason, r.fault)
	if r.reason == telemetry.ReasonForeignName {
		p.b.Rejects[len(p.b.Rejects)-1].Stage = telemetry.StageIdentify
	}
}

// rebase takes over the base fields of a record: they hold for it and all that
// follow.
func (p *senmlPack) rebase(r *senmlRecord) error {
	if r.has(senmlBVer) {
		v := r.number[senmlBVer]
		if v > 10 || v != math.Trunc(v) || v < 1 {
			return p.fail(r.at, telemetry.ReasonUnsupported, "bver is %v; versions 1 to 10 of SenML are read (RFC 8428 is 10)", v)
		}
		if p.version != 0 && p.version != v {
			return p.fail(r.at, telemetry.ReasonMalformed, "bver changes from %v to %v within one pack", p.version, v)
		}
		p.version = v
	}
	if r.has(senmlBN) {
		p.baseName = r.text[senmlBN-senmlFirstText]
		rest, own := p.ownName(p.baseName)
		p.ownBase = own && len(rest) == 0 && senmlNameFault(p.baseName) < 0
	}
	if r.has(senmlBU) {
		p.baseUnit = r.text[senmlBU-senmlFirstText]
	}
	if r.has(senmlBT) {
		p.baseTime = r.number[senmlBT]
	}
	if r.has(senmlBV) {
		p.baseValue = r.number[senmlBV]
	}
	if r.has(senmlBS) {
		p.baseSum = r.number[senmlBS]
	}
	return nil
}

// resolve adds a record without faults of its own.
func (p *senmlPack) resolve(r *senmlRecord) {
	values := r.set & senmlValues
	switch {
	case values == 0 && !r.has(senmlS):
		r.blame(r.at, telemetry.ReasonMalformed, "the record has no value: none of v, vb, vs, vd and s")
		return
	case values&(values-1) != 0:
		r.blame(r.at, telemetry.ReasonMalformed, "the record has several values: only one of v, vb, vs and vd may stand in it")
		return
	}
	metric := p.metric(r)
	ms, inRange := p.time(r)
	if !inRange {
		r.blame(r.at, telemetry.ReasonMalformed, "the time is out of range")
	}
	if !p.in.tagsFit(r.tags) {
		reason, fault := p.in.tagFault(r.tags)
		r.blame(r.at, reason, fault)
	}
	if r.has(senmlVD) {
		p.data(r)
	}
	if r.fault != "" {
		return
	}
	unit := p.baseUnit
	if r.has(senmlU) {
		unit = r.text[senmlU-senmlFirstText]
	}
	if len(unit) > p.in.MaxName {
		unit = nil // ingest knows no unit as long either
	}
	s := telemetry.Sample{Metric: metric, Tags: r.tags, Unit: unit, Time: ms, Index: int32(p.index)}
	switch {
	case r.has(senmlVS):
		p.b.States = append(p.b.States, telemetry.State{Name: metric, Value: r.text[senmlVS-senmlFirstText], Time: ms})
	case r.has(senmlVD):
		p.b.States = append(p.b.States, telemetry.State{Name: metric, Value: r.text[senmlVD-senmlFirstText], Time: ms})
	case r.has(senmlVB):
		if r.truth {
			s.Value = 1
		}
		p.b.Samples = append(p.b.Samples, s)
	case r.has(senmlV):
		s.Value = plus(p.baseValue, r.number[senmlV])
		p.b.Samples = append(p.b.Samples, s)
	}
	if r.has(senmlS) {
		s.Metric, s.Unit = p.suffixed(metric, sumSuffix), p.suffixed(unit, ".s")
		s.Value = plus(p.baseSum, r.number[senmlS])
		p.b.Samples = append(p.b.Samples, s)
	}
}

// maxData bounds the characters of a vd: what ingest keeps of one state.
const maxData = 4096

// data makes vd what RFC 8428 §4.3 has it in text: base64url without padding.
// In CBOR the octets themselves stand in the message (§6).
func (p *senmlPack) data(r *senmlRecord) {
	vd := &r.text[senmlVD-senmlFirstText]
	n := len(*vd)
	if p.format == SenMLCBOR {
		n = base64.RawURLEncoding.EncodedLen(n)
	}
	switch {
	case n > maxData:
		r.blame(r.at, telemetry.ReasonLabelInvalid, fmt.Sprintf("vd has %d characters of base64url; at most %d are kept", n, maxData))
	case p.format == SenMLCBOR:
		text := p.b.Bytes(n)
		base64.RawURLEncoding.Encode(text, *vd)
		*vd = text
	case !isBase64URL(*vd):
		r.blame(r.at, telemetry.ReasonMalformed, fmt.Sprintf("vd %q is no base64url without padding (A-Z a-z 0-9 - _)", clip(*vd)))
	}
}

// isBase64URL reports whether text is what RFC 4648 §5 makes of some octets,
// without padding.
func isBase64URL(text []byte) bool {
	for _, c := range text {
		if nameBytes[c] != 1 && c != '-' && c != '_' {
			return false
		}
	}
	return len(text)%4 != 1
}

// plus adds a base value. Without one the bits stay as sent: an addition would
// lose the sign of zero and the meaning of a NaN.
func plus(base, v float64) float64 {
	if base == 0 {
		return v
	}
	return base + v
}

// sumSuffix ends the metric of a sum: a series of its own beside the values.
const sumSuffix = "_sum"

// suffixed returns text with a suffix; what is empty stays so.
func (p *senmlPack) suffixed(text []byte, suffix string) []byte {
	if len(text) == 0 {
		return nil
	}
	joined := p.b.Bytes(len(text) + len(suffix))
	copy(joined[copy(joined, text):], suffix)
	return joined
}

// relative is the bound in seconds below which a time is meant relative to
// the receiver's clock (RFC 8428 §4.5.3).
const relative = 1 << 28

// time resolves a record's time to milliseconds since the Unix epoch.
func (p *senmlPack) time(r *senmlRecord) (ms int64, inRange bool) {
	seconds := p.baseTime
	if r.has(senmlT) {
		seconds += r.number[senmlT]
	}
	ms, inRange = roundMillis(seconds * 1000)
	if seconds < relative {
		ms += p.in.Now
	}
	return ms, inRange
}

// longestPrefix is what may stand before a metric that is as long as it may
// be: the device's id, also as a urn.
const longestPrefix = 128

// metric resolves a record's name (RFC 8428 §4.5.1), takes the device's own
// prefix off it and refuses what is longer than a name may be.
func (p *senmlPack) metric(r *senmlRecord) []byte {
	metric := p.resolved(r)
	n := len(metric)
	if r.has(senmlS) {
		n += len(sumSuffix)
	}
	if n > p.in.MaxName {
		r.blame(r.at, telemetry.ReasonMetricInvalid, p.in.longName(metric, n))
	}
	return metric
}

func (p *senmlPack) resolved(r *senmlRecord) []byte {
	var name []byte
	if r.has(senmlN) {
		name = r.text[senmlN-senmlFirstText]
	}
	if p.ownBase && len(name) > 0 && strangeByte(name) < 0 {
		return name
	}
	if len(p.baseName) > 0 {
		if n := len(p.baseName) + len(name); n > p.in.MaxName+longestPrefix {
			r.blame(r.at, telemetry.ReasonMetricInvalid, p.in.longName(p.baseName, n))
			return nil
		}
		joined := p.b.Bytes(len(p.baseName) + len(name))
		copy(joined[copy(joined, p.baseName):], name)
		name = joined
	}
	if at := senmlNameFault(name); at >= 0 {
		r.blame(r.at, telemetry.ReasonMetricInvalid, nameDetail(name, at))
		return nil
	}
	return p.strip(r, name)
}

func nameDetail(name []byte, at int) string {
	if len(name) == 0 {
		return "the record has no name: neither bn nor n"
	}
	return fmt.Sprintf("name %q: byte %d is not allowed; names begin with a letter or digit and go on with A-Z a-z 0-9 - : . / _", clip(name), at)
}

// strip takes the device's prefix off a name. A name under a base name or a
// urn:dev: name (RFC 9039) that is not the device's is somebody else's.
func (p *senmlPack) strip(r *senmlRecord, name []byte) []byte {
	id := p.in.Device
	if id == "" {
		return name
	}
	rest, own := p.ownName(name)
	switch {
	case own && len(rest) > 0:
		return rest
	case own || string(name) == id:
		r.blame(r.at, telemetry.ReasonMetricInvalid, fmt.Sprintf("name %q is the device's own and names no metric; send %s:<metric>", clip(name), id))
		return nil
	}
	urn := strings.HasPrefix(string(name[:min(len(name), len(urnDev))]), urnDev)
	if urn || len(p.baseName) > 0 && indexSeparator(name) >= 0 {
		r.blame(r.at, telemetry.ReasonForeignName, fmt.Sprintf("name %q is not under the device %s; send <metric> or %s:<metric>", clip(name), id, id))
		return nil
	}
	return name
}

const urnDev = "urn:dev:"

// ownName returns what follows the device's id and a separator in a name, also
// where the id stands in the form urn:dev:<type>:<id>.
func (p *senmlPack) ownName(name []byte) (rest []byte, own bool) {
	if rest, own = cutDevice(name, p.in.Device); own {
		return rest, true
	}
	if len(name) > len(urnDev) && string(name[:len(urnDev)]) == urnDev {
		name = name[len(urnDev):]
		if i := indexSeparator(name); i >= 0 {
			return cutDevice(name[i+1:], p.in.Device)
		}
	}
	return nil, false
}

func cutDevice(name []byte, id string) (rest []byte, ok bool) {
	n := len(id)
	if n == 0 || len(name) <= n || name[n] != ':' && name[n] != '/' || string(name[:n]) != id {
		return nil, false
	}
	return name[n+1:], true
}

func indexSeparator(name []byte) int {
	for i, c := range name {
		if c == ':' || c == '/' {
			return i
		}
	}
	return -1
}

// nameBytes are the bytes of a SenML name: 1 anywhere, 2 not at its beginning.
var nameBytes = func() (t [256]uint8) {
	for c := range t {
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9':
			t[c] = 1
		case strings.IndexByte("-:./_", byte(c)) >= 0:
			t[c] = 2
		}
	}
	return t
}()

// senmlNameFault returns the byte at which a name breaks RFC 8428 §4.5.1, -1
// when it does not.
func senmlNameFault(name []byte) int {
	if len(name) == 0 || nameBytes[name[0]] != 1 {
		return 0
	}
	return strangeByte(name)
}

// strangeByte returns the first byte that no SenML name may hold, else -1.
func strangeByte(name []byte) int {
	for i, c := range name {
		if nameBytes[c] == 0 {
			return i
		}
	}
	return -1
}
