// Package codec turns bytes that devices send into samples. It is pure: no
// I/O, no clock, no state beyond what the caller holds.
package codec

import (
	"fmt"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Format is a way to write telemetry down.
type Format uint8

// The formats. Auto decides by the first byte of the payload.
const (
	Auto Format = iota
	SenML
	SenMLCBOR
	JSON
	Influx
	Sparkplug
	RemoteWrite
	RemoteWrite2
	OTLP
	OTLPJSON
	// V2XFrame is frames of LTE-V2X in UPER, one behind the other.
	V2XFrame
	// V2XFramed is an uplink of a roadside unit: a head with the time, and frames.
	V2XFramed
	// V2X is what a roadside unit says in either form, or in JSON.
	V2X
	// Traffic is what a minute of V2X messages comes to; nobody sends it.
	Traffic
)

// Formats is how many formats there are.
const Formats = int(Traffic) + 1

// Road reports whether messages of the format are V2X: what they say goes to the
// minutes of their roadside unit, and their bytes are kept nowhere.
func (f Format) Road() bool { return f >= V2XFrame && f <= V2X }

// Input is a message to decode and what it is read against.
type Input struct {
	Payload []byte
	// Device is the id of the device that sends; SenML names may begin with it.
	Device string
	// Now is the hub's clock in milliseconds since the Unix epoch: the base of
	// relative times and the time of samples that carry none.
	Now int64
	// MaxSamples bounds the samples of one message; 0 means DefaultMaxSamples.
	MaxSamples int
	// MaxDecoded bounds the bytes that a compressed payload may unfold to
	// (remote write); 0 means DefaultMaxDecoded.
	MaxDecoded int
	// MaxName bounds the bytes of a metric's, a state's and a tag's name,
	// MaxTags the tags of a sample, MaxValue the bytes of a tag's value. They
	// hold before a name is joined or a tag copied, so that a message costs
	// memory in proportion to its length. 0 means the defaults below.
	MaxName, MaxTags, MaxValue int
	// Precision is the unit of line protocol timestamps; 0 means nanoseconds.
	Precision time.Duration
}

// What bounds a message where the caller sets no bound of its own.
const (
	DefaultMaxSamples = 100_000
	DefaultMaxDecoded = 32 << 20
	DefaultMaxName    = 256
	DefaultMaxTags    = 32
	DefaultMaxValue   = 1024
)

// bound sets the defaults of the bounds that are not set.
func (in *Input) bound() {
	orDefault(&in.MaxSamples, DefaultMaxSamples)
	orDefault(&in.MaxDecoded, DefaultMaxDecoded)
	orDefault(&in.MaxName, DefaultMaxName)
	orDefault(&in.MaxTags, DefaultMaxTags)
	orDefault(&in.MaxValue, DefaultMaxValue)
}

func orDefault(bound *int, most int) {
	if *bound == 0 {
		*bound = most
	}
}

// Error says why a message, or a record of it, could not be read.
type Error struct {
	Format Format
	Offset int // byte in the payload where the fault was seen
	Reason telemetry.Reason
	Detail string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: byte %d: %s", e.Format, e.Offset, e.Detail)
}

var formatNames = [...]string{"auto", "senml", "senml-cbor", "json", "influx", "sparkplug", "remote-write-1", "remote-write-2", "otlp", "otlp-json", "v2x-uper", "v2x-framed", "v2x", "traffic"}

// String returns the name that stands in MQTT topics and in metrics.
func (f Format) String() string { return formatNames[f] }

// FromSuffix returns the format that the last level of a telemetry topic names.
func FromSuffix(s []byte) (Format, bool) {
	switch string(s) {
	case "senml":
		return SenML, true
	case "senml-cbor":
		return SenMLCBOR, true
	case "json":
		return JSON, true
	case "influx":
		return Influx, true
	}
	return Auto, false
}

// V2XFromSuffix returns the format that the last level of a V2X topic names.
func V2XFromSuffix(s string) (Format, bool) {
	switch s {
	case "uper":
		return V2XFrame, true
	case "framed":
		return V2XFramed, true
	}
	return Auto, false
}

// V2XFromMediaType returns the format of V2X messages with an HTTP Content-Type
// without parameters; the bytes tell what the type does not.
func V2XFromMediaType(s string) (Format, bool) {
	switch strings.ToLower(s) {
	case "", "application/octet-stream", "application/x-www-form-urlencoded", "application/json":
		return V2X, true
	case "application/vnd.songhua.v2x.uper":
		return V2XFrame, true
	case "application/vnd.songhua.v2x.framed":
		return V2XFramed, true
	}
	return Auto, false
}

// V2XFromContentFormat returns the format of V2X messages with a CoAP
// Content-Format number.
func V2XFromContentFormat(n int) (Format, bool) { return V2X, n == 42 || n == 50 }

// FromMediaType returns the format of an HTTP Content-Type without parameters;
// an empty type, application/octet-stream and curl's form default mean Auto.
func FromMediaType(s string) (Format, bool) {
	switch strings.ToLower(s) {
	case "", "application/octet-stream", "application/x-www-form-urlencoded":
		return Auto, true
	case "application/senml+json":
		return SenML, true
	case "application/senml+cbor":
		return SenMLCBOR, true
	case "application/json":
		return JSON, true
	case "text/plain":
		return Influx, true
	}
	return Auto, false
}

// FromContentFormat returns the format of a CoAP Content-Format number.
func FromContentFormat(n int) (Format, bool) {
	switch n {
	case 110:
		return SenML, true
	case 112:
		return SenMLCBOR, true
	case 50:
		return JSON, true
	case 0:
		return Influx, true
	case 42:
		return Auto, true
	}
	return Auto, false
}

// Detect returns the format that the first byte of a payload stands for:
// '[' SenML JSON, '{' flat JSON, a CBOR array SenML CBOR, else line protocol.
func Detect(p []byte) Format {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t' || p[0] == '\r' || p[0] == '\n') {
		p = p[1:]
	}
	switch {
	case len(p) == 0:
		return Influx
	case p[0] == '[':
		return SenML
	case p[0] == '{':
		return JSON
	case p[0] >= 0x80 && p[0] <= 0x9f:
		return SenMLCBOR
	}
	return Influx
}

// Decode reads one message of a stateless format and adds its samples, states
// and unreadable records to b. It returns an *Error, and leaves b as it was,
// when the message as a whole cannot be read. Sparkplug needs the state of its
// session and is read by [Session].
func Decode(b *telemetry.Batch, f Format, in Input) error {
	if f == Auto {
		f = Detect(in.Payload)
	}
	in.bound()
	switch f {
	case SenML:
		return decodeSenML(b, &in)
	case SenMLCBOR:
		return decodeSenMLCBOR(b, &in)
	case JSON:
		return decodeJSON(b, &in)
	case Influx:
		return decodeInflux(b, &in)
	case RemoteWrite:
		return decodeRemoteWrite(b, &in)
	case RemoteWrite2:
		return decodeRemoteWrite2(b, &in)
	case OTLP, OTLPJSON:
		return decodeOTLP(b, f, &in)
	}
	return &Error{Format: f, Reason: telemetry.ReasonUnsupported, Detail: "no stateless decoder"}
}
