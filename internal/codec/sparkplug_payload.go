package codec

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/songhua-io/hub/internal/telemetry"
)

// The data types of Sparkplug B (Sparkplug 3.0 §6.4.16).
const (
	sparkInt8     = 1
	sparkInt16    = 2
	sparkInt32    = 3
	sparkInt64    = 4
	sparkUInt8    = 5
	sparkUInt16   = 6
	sparkUInt32   = 7
	sparkUInt64   = 8
	sparkFloat    = 9
	sparkDouble   = 10
	sparkBoolean  = 11
	sparkString   = 12
	sparkDateTime = 13
	sparkText     = 14
	sparkUUID     = 15
)

// The fields in which a metric's value stands (sparkplug_b.proto).
const (
	sparkIntValue = 10 + iota
	sparkLongValue
	sparkFloatValue
	sparkDoubleValue
	sparkBooleanValue
	sparkStringValue
	_              // bytes
	_              // data set
	_              // template
	sparkLastValue // an extension
)

// sparkKinds are how the values stand on the wire, by their fields.
var sparkKinds = [...]protowire.Type{protowire.VarintType, protowire.VarintType, protowire.Fixed32Type, protowire.Fixed64Type,
	protowire.VarintType, protowire.BytesType, protowire.BytesType, protowire.BytesType, protowire.BytesType, protowire.BytesType}

// sparkplugPayload is a Payload of sparkplug_b.proto without its metrics.
type sparkplugPayload struct {
	time            uint64 // milliseconds since the Unix epoch
	seq, bdSeq      uint64
	hasTime, hasSeq bool
	hasBDSeq        bool
}

// sparkplugValue is a Metric of sparkplug_b.proto.
type sparkplugValue struct {
	at          int // byte of the payload where it begins
	name, unit  []byte
	alias, time uint64
	datatype    uint64
	hasAlias    bool
	hasTime     bool
	isNull      bool
	field       protowire.Number // the field of the value; 0 when there is none
	bits        uint64
	text        []byte
}

// readSparkplug reads a whole payload before any of it takes effect. Its
// metrics are read again when they do: two bytes make one, so a list of them
// would cost many times the message.
func readSparkplug(payload []byte, maxMetrics int) (p sparkplugPayload, err error) {
	metrics := 0
	r := protoReader{p: payload, format: Sparkplug}
	for r.next() {
		switch {
		case r.is(1, protowire.VarintType):
			p.time, p.hasTime = r.bits, true
		case r.is(3, protowire.VarintType):
			p.seq, p.hasSeq = r.bits&0xff, true
		case r.is(2, protowire.BytesType):
			if metrics++; metrics > maxMetrics {
				return p, tooManyMetrics(r.start, maxMetrics)
			}
			m, err := readSparkplugMetric(r.inner())
			if err != nil {
				return p, err
			}
			if string(m.name) == "bdSeq" {
				p.bdSeq, p.hasBDSeq = m.bits, true
			}
		}
	}
	return p, r.err
}

func readSparkplugMetric(r protoReader) (m sparkplugValue, err error) {
	m.at = r.at
	for r.next() {
		switch {
		case r.is(1, protowire.BytesType):
			m.name = r.bytes
		case r.is(2, protowire.VarintType):
			m.alias, m.hasAlias = r.bits, true
		case r.is(3, protowire.VarintType):
			m.time, m.hasTime = r.bits, true
		case r.is(4, protowire.VarintType):
			m.datatype = r.bits
		case r.is(7, protowire.VarintType):
			m.isNull = r.bits != 0
		case r.is(9, protowire.BytesType):
			if m.unit, err = readEngUnit(r.inner()); err != nil {
				return m, err
			}
		case r.field >= sparkIntValue && r.field <= sparkLastValue && r.kind == sparkKinds[r.field-sparkIntValue]:
			m.field, m.bits, m.text = r.field, r.bits, r.bytes
		}
	}
	return m, r.err
}

// readEngUnit returns the property engUnit of a PropertySet: the keys and the
// values are two lists side by side.
func readEngUnit(r protoReader) (unit []byte, err error) {
	keys, values, wanted := 0, 0, -1
	for pass := r; pass.next(); {
		if pass.is(1, protowire.BytesType) {
			if string(pass.bytes) == "engUnit" {
				wanted = keys
			}
			keys++
		}
	}
	for r.next() {
		if !r.is(2, protowire.BytesType) {
			continue
		}
		if values == wanted {
			for v := r.inner(); v.next(); {
				if v.is(8, protowire.BytesType) {
					unit = v.bytes
				}
			}
		}
		values++
	}
	return unit, r.err
}

// sparkplugMessage adds the metrics of one message to a batch.
type sparkplugMessage struct {
	session *Session
	b       *telemetry.Batch
	in      Input
	topic   SparkplugTopic
	payload sparkplugPayload
	tags    []telemetry.Tag
	rebirth bool // it names an alias that no birth announced
}

func (m *sparkplugMessage) birth() bool { return m.topic.Type == NBirth || m.topic.Type == DBirth }

func (m *sparkplugMessage) read() {
	if m.topic.Device != "" {
		mark := m.b.Mark()
		m.b.AddTag([]byte("sparkplug_device"), []byte(m.topic.Device))
		m.tags = m.b.EndTags(mark)
	}
	if m.birth() {
		// The session keeps the name, not the topic it stands in.
		m.topic.Device = strings.Clone(m.topic.Device)
	}
	r := protoReader{p: m.in.Payload, format: Sparkplug}
	for i := 0; r.next(); {
		if !r.is(2, protowire.BytesType) {
			continue
		}
		// It was read before, without a fault.
		v, _ := readSparkplugMetric(r.inner())
		m.value(i, &v)
		i++
	}
}

// value announces a metric, when it is born, and adds what it holds.
func (m *sparkplugMessage) value(i int, v *sparkplugValue) {
	if n := len(v.name); n > m.in.MaxName {
		rejectAt(m.b, i, v.at, telemetry.ReasonMetricInvalid, m.in.longName(v.name, n))
		return
	}
	if len(v.unit) > m.in.MaxName {
		v.unit = nil
	}
	if m.birth() {
		m.announce(i, v)
	}
	m.metric(i, v)
}

// announce remembers what a birth says of a metric. The memory outlives the
// message, so names are copied.
func (m *sparkplugMessage) announce(i int, v *sparkplugValue) {
	if len(v.name) == 0 || !m.session.born {
		return
	}
	known := &sparkplugMetric{
		key:  sparkplugName{m.topic.Device, string(v.name)},
		name: bytes.Clone(v.name), unit: bytes.Clone(v.unit),
		datatype: v.datatype, alias: v.alias, aliased: v.hasAlias,
	}
	if !m.session.announce(known) {
		rejectAt(m.b, i, v.at, telemetry.ReasonSeriesLimit, "the edge node announces more metrics than are kept for one node; data that names this one by its alias cannot be read")
	}
}

// find completes a value with what its birth announced; a fault says why
// nobody knows what it is.
func (m *sparkplugMessage) find(v *sparkplugValue) (fault string) {
	known := m.session.byName[sparkplugName{m.topic.Device, string(v.name)}]
	if len(v.name) == 0 {
		if !v.hasAlias {
			return "the metric has neither a name nor an alias"
		}
		known = m.session.alias[v.alias]
		if known == nil || known.key.device != m.topic.Device {
			return "no birth has announced what its alias stands for; the edge node must be born again (Node Control/Rebirth)"
		}
	}
	if known == nil {
		return ""
	}
	v.name = known.name
	if v.datatype == 0 {
		v.datatype = known.datatype
	}
	if len(v.unit) == 0 {
		v.unit = known.unit
	}
	return ""
}

// control reports whether a metric belongs to the protocol, not to telemetry.
func control(name []byte) bool {
	s := string(name)
	return s == "bdSeq" || len(s) > 13 && s[:13] == "Node Control/" || len(s) > 15 && s[:15] == "Device Control/"
}

// metric adds one metric of the message.
func (m *sparkplugMessage) metric(i int, v *sparkplugValue) {
	if fault := m.find(v); fault != "" {
		m.rebirth = m.rebirth || v.hasAlias
		rejectAt(m.b, i, v.at, telemetry.ReasonMalformed, sparkplugWho(v)+fault)
		return
	}
	if v.isNull || control(v.name) {
		return
	}
	ms, ok := m.time(v)
	if !ok {
		rejectAt(m.b, i, v.at, telemetry.ReasonMalformed, sparkplugWho(v)+"the time is out of range")
		return
	}
	switch v.datatype {
	case sparkString, sparkText, sparkUUID:
		if v.field != sparkStringValue {
			break
		}
		if n := len(m.topic.Device) + 1 + len(v.name); m.topic.Device != "" && n > m.in.MaxName {
			rejectAt(m.b, i, v.at, telemetry.ReasonMetricInvalid, m.in.longName([]byte(m.topic.Device), n))
			return
		}
		m.b.States = append(m.b.States, telemetry.State{Name: m.stateName(v.name), Value: v.text, Time: ms})
		return
	}
	value, fault, reason := v.number()
	if fault != "" {
		rejectAt(m.b, i, v.at, reason, sparkplugWho(v)+fault)
		return
	}
	unit := v.unit
	if v.datatype == sparkDateTime && len(unit) == 0 {
		unit = []byte("s")
	}
	m.b.Samples = append(m.b.Samples, telemetry.Sample{
		Metric: v.name, Tags: m.tags, Unit: unit, Time: ms, Value: value, Index: int32(i),
	})
}

// stateName puts the device behind the node before the name: states have no tags.
func (m *sparkplugMessage) stateName(name []byte) []byte {
	if m.topic.Device == "" {
		return name
	}
	joined := m.b.Bytes(len(m.topic.Device) + 1 + len(name))
	n := copy(joined, m.topic.Device)
	joined[n] = '/'
	copy(joined[n+1:], name)
	return joined
}

// time is the metric's own, else the payload's, else the hub's.
func (m *sparkplugMessage) time(v *sparkplugValue) (ms int64, ok bool) {
	switch {
	case v.hasTime:
		return int64(v.time), v.time <= maxTime
	case m.payload.hasTime:
		return int64(m.payload.time), m.payload.time <= maxTime
	}
	return m.in.Now, true
}

// number returns the value of a metric whose type is a number or a boolean.
// Signed integers stand in unsigned fields as two's complement.
func (v *sparkplugValue) number() (f float64, fault string, reason telemetry.Reason) {
	integer := v.field == sparkIntValue || v.field == sparkLongValue
	switch {
	case v.field == 0:
		return 0, "it has no value and is not marked as null", telemetry.ReasonMalformed
	case v.datatype == 0:
		return 0, "its data type is not known: neither the message nor a birth names it", telemetry.ReasonMalformed
	case v.datatype > sparkUUID:
		return 0, "its data type (" + sparkplugTypeName(v.datatype) + ") is not stored; send numbers, booleans or strings", telemetry.ReasonUnsupported
	case v.datatype == sparkFloat && v.field == sparkFloatValue:
		return float64(math.Float32frombits(uint32(v.bits))), "", ""
	case v.datatype == sparkDouble && v.field == sparkDoubleValue:
		return math.Float64frombits(v.bits), "", ""
	case v.datatype == sparkBoolean && v.field == sparkBooleanValue:
		if v.bits != 0 {
			return 1, "", ""
		}
		return 0, "", ""
	case v.datatype == sparkDateTime && v.field == sparkLongValue:
		return float64(int64(v.bits)) / 1000, "", ""
	case v.datatype <= sparkUInt64 && integer:
		return sparkplugInteger(v.datatype, v.bits), "", ""
	}
	return 0, "its value is not of its data type (" + sparkplugTypeName(v.datatype) + ")", telemetry.ReasonMalformed
}

func sparkplugInteger(datatype, bits uint64) float64 {
	switch datatype {
	case sparkInt8:
		return float64(int8(bits))
	case sparkInt16:
		return float64(int16(bits))
	case sparkInt32:
		return float64(int32(bits))
	case sparkInt64:
		return float64(int64(bits))
	case sparkUInt8:
		return float64(uint8(bits))
	case sparkUInt16:
		return float64(uint16(bits))
	case sparkUInt32:
		return float64(uint32(bits))
	}
	return float64(bits)
}

func tooManyMetrics(at, most int) error {
	return &Error{Sparkplug, at, telemetry.ReasonTooLarge, fmt.Sprintf("the message holds more than %d metrics; send it in smaller pieces", most)}
}

// sparkplugWho names a metric at the head of a fault.
func sparkplugWho(v *sparkplugValue) string {
	if len(v.name) == 0 {
		return fmt.Sprintf("metric with alias %d: ", v.alias)
	}
	return fmt.Sprintf("metric %q: ", clip(v.name))
}

var sparkplugTypes = [...]string{"Unknown", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64",
	"Float", "Double", "Boolean", "String", "DateTime", "Text", "UUID", "DataSet", "Bytes", "File", "Template",
	"PropertySet", "PropertySetList"}

func sparkplugTypeName(datatype uint64) string {
	switch {
	case datatype < uint64(len(sparkplugTypes)):
		return sparkplugTypes[datatype]
	case datatype <= 34:
		return "an array"
	}
	return fmt.Sprintf("number %d", datatype)
}
