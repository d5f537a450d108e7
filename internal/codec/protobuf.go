package codec

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/songhua-io/hub/internal/telemetry"
)

// protoReader reads the fields of one protobuf message in place. It stops at
// the first fault.
type protoReader struct {
	p      []byte
	at     int // byte of p[0] in the whole message
	format Format

	// The current field.
	field protowire.Number
	kind  protowire.Type
	bits  uint64 // of a number
	bytes []byte // of a message, text or packed list
	start int    // byte of bytes[0], or of the field, in the whole message

	err error
}

// next reads the next field; false at the end and at a fault.
func (r *protoReader) next() bool {
	if len(r.p) == 0 || r.err != nil {
		return false
	}
	field, kind, n := protowire.ConsumeTag(r.p)
	if n < 0 {
		return r.broken()
	}
	r.field, r.kind = field, kind
	return r.take(n) && r.value()
}

// value reads what belongs to the current field's tag.
func (r *protoReader) value() bool {
	r.start = r.at
	n := -1
	switch r.kind {
	case protowire.VarintType:
		r.bits, n = protowire.ConsumeVarint(r.p)
	case protowire.Fixed32Type:
		var v uint32
		v, n = protowire.ConsumeFixed32(r.p)
		r.bits = uint64(v)
	case protowire.Fixed64Type:
		r.bits, n = protowire.ConsumeFixed64(r.p)
	case protowire.BytesType:
		r.bytes, n = protowire.ConsumeBytes(r.p)
		r.start = r.at + n - len(r.bytes)
	case protowire.StartGroupType:
		n = protowire.ConsumeFieldValue(r.field, r.kind, r.p)
	}
	return r.take(n)
}

func (r *protoReader) take(n int) bool {
	if n < 0 {
		return r.broken()
	}
	r.p, r.at = r.p[n:], r.at+n
	return true
}

func (r *protoReader) broken() bool {
	r.err = &Error{r.format, r.at, telemetry.ReasonMalformed, "the protobuf message is cut off or broken here"}
	return false
}

// is reports whether the current field is the one numbered n and of the kind
// it should have. A field of another kind is ignored, as protobuf does.
func (r *protoReader) is(n protowire.Number, kind protowire.Type) bool {
	return r.field == n && r.kind == kind
}

// inner returns a reader of the message that the current field holds.
func (r *protoReader) inner() protoReader {
	return protoReader{p: r.bytes, at: r.start, format: r.format}
}

func (r *protoReader) float64() float64 { return math.Float64frombits(r.bits) }

func (r *protoReader) malformed(at int, format string, args ...any) error {
	return &Error{r.format, at, telemetry.ReasonMalformed, fmt.Sprintf(format, args...)}
}
