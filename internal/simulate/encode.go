package simulate

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// Format is how a device writes its readings down.
type Format uint8

// The formats.
const (
	SenML     Format = iota // RFC 8428 section 5
	SenMLCBOR               // RFC 8428 section 6
	JSON                    // flat JSON
	Influx                  // InfluxDB line protocol, times in nanoseconds
)

// suffix is the last level of the telemetry topic.
func (f Format) suffix() string {
	return [...]string{"senml", "senml-cbor", "json", "influx"}[f]
}

// contentFormat is the CoAP Content-Format number.
func (f Format) contentFormat() uint16 { return [...]uint16{110, 112, 50, 0}[f] }

// mediaType is the Content-Type of HTTP.
func (f Format) mediaType() string {
	return [...]string{"application/senml+json", "application/senml+cbor", "application/json", "text/plain"}[f]
}

// Message is a payload and how many readings it carries.
type Message struct {
	Payload  []byte
	Readings int
	Topic    string // of MQTT; empty: that of telemetry
}

// Encode writes readings, which are in time order, as messages of at most
// limit readings each. Flat JSON has one time per message.
func (f Format) Encode(device string, rs []Reading, limit int) ([]Message, error) {
	var out []Message
	for len(rs) > 0 {
		n := min(limit, len(rs))
		if f == JSON {
			n = 1
			for n < len(rs) && rs[n].Time == rs[0].Time {
				n++
			}
		}
		p, err := f.one(device, rs[:n])
		if err != nil {
			return nil, fmt.Errorf("encode %d readings of %s as %s: %w", n, device, f.suffix(), err)
		}
		out = append(out, Message{Payload: p, Readings: n})
		rs = rs[n:]
	}
	return out, nil
}

func (f Format) one(device string, rs []Reading) ([]byte, error) {
	switch f {
	case SenML:
		return json.Marshal(records(device, rs))
	case SenMLCBOR:
		return cbor.Marshal(records(device, rs))
	case JSON:
		return flat(rs)
	}
	return lines(rs), nil
}

// record is a SenML record; the integer keys are the CBOR labels of RFC 8428
// table 6.
type record struct {
	BaseName string  `json:"bn,omitempty" cbor:"-2,keyasint,omitempty"`
	BaseTime float64 `json:"bt,omitempty" cbor:"-3,keyasint,omitempty"`
	Name     string  `json:"n" cbor:"0,keyasint"`
	Unit     string  `json:"u,omitempty" cbor:"1,keyasint,omitempty"`
	Value    float64 `json:"v" cbor:"2,keyasint"`
	Time     float64 `json:"t,omitempty" cbor:"6,keyasint,omitempty"`
}

func records(device string, rs []Reading) []record {
	out := make([]record, len(rs))
	for i, r := range rs {
		out[i] = record{Name: r.Metric, Unit: r.Unit, Value: r.Value, Time: float64(r.Time-rs[0].Time) / 1000}
	}
	out[0].BaseName, out[0].BaseTime = device+":", float64(rs[0].Time)/1000
	return out
}

func flat(rs []Reading) ([]byte, error) {
	m := make(map[string]any, len(rs)+1)
	m["ts"] = rs[0].Time
	for _, r := range rs {
		if r.Tag != (Tag{}) {
			return nil, fmt.Errorf("flat JSON labels whole messages, not %s{%s}", r.Metric, r.Tag.Name)
		}
		m[r.Metric] = r.Value
	}
	return json.Marshal(m)
}

// lines puts readings whose metric begins alike and whose tag and time are the
// same on one line: gpu,gpu=0 utilization_percent=3,temperature_celsius=35.
func lines(rs []Reading) []byte {
	var b []byte
	for i, r := range rs {
		name, field, _ := strings.Cut(r.Metric, "_")
		if i > 0 {
			before, _, _ := strings.Cut(rs[i-1].Metric, "_")
			if before == name && rs[i-1].Tag == r.Tag && rs[i-1].Time == r.Time {
				b = appendField(append(b, ','), field, r.Value)
				continue
			}
			b = appendTime(b, rs[i-1].Time)
		}
		b = append(b, name...)
		if r.Tag != (Tag{}) {
			b = fmt.Appendf(b, ",%s=%s", r.Tag.Name, r.Tag.Value)
		}
		b = appendField(append(b, ' '), field, r.Value)
	}
	return appendTime(b, rs[len(rs)-1].Time)
}

func appendField(b []byte, field string, v float64) []byte {
	b = append(append(b, field...), '=')
	return strconv.AppendFloat(b, v, 'f', -1, 64)
}

func appendTime(b []byte, ms int64) []byte {
	return append(strconv.AppendInt(append(b, ' '), ms*1e6, 10), '\n')
}
