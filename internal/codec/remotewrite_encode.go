package codec

import (
	"encoding/binary"
	"math"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"
)

// RemoteWriteEncoder writes a remote write 1 request. The zero value is ready;
// Begin, then Sample for each value, series after series, then Bytes.
type RemoteWriteEncoder struct {
	request, series, packed []byte
}

// Begin begins a series of these labels, as pairs of name and value, __name__
// among them.
func (e *RemoteWriteEncoder) Begin(labels ...string) {
	e.end()
	for i := 0; i+1 < len(labels); i += 2 {
		name, value := labels[i], labels[i+1]
		size := protowire.SizeTag(1) + protowire.SizeBytes(len(name)) + protowire.SizeTag(2) + protowire.SizeBytes(len(value))
		e.series = protowire.AppendTag(e.series, 1, protowire.BytesType)
		e.series = protowire.AppendVarint(e.series, uint64(size))
		e.series = protowire.AppendTag(e.series, 1, protowire.BytesType)
		e.series = protowire.AppendString(e.series, name)
		e.series = protowire.AppendTag(e.series, 2, protowire.BytesType)
		e.series = protowire.AppendString(e.series, value)
	}
}

// Sample adds a value at a time in milliseconds to the series.
func (e *RemoteWriteEncoder) Sample(ms int64, v float64) {
	size := 1 + 8 + 1 + protowire.SizeVarint(uint64(ms))
	e.series = append(e.series, 2<<3|byte(protowire.BytesType), byte(size), 1<<3|byte(protowire.Fixed64Type)) // below 128
	e.series = binary.LittleEndian.AppendUint64(e.series, math.Float64bits(v))
	e.series = append(e.series, 2<<3|byte(protowire.VarintType))
	e.series = protowire.AppendVarint(e.series, uint64(ms))
}

func (e *RemoteWriteEncoder) end() {
	if len(e.series) > 0 {
		e.request = protowire.AppendTag(e.request, 1, protowire.BytesType)
		e.request = protowire.AppendBytes(e.request, e.series)
		e.series = e.series[:0]
	}
}

// Bytes returns the request, compressed as it is sent, and begins a new one. It is
// valid until the next Bytes.
func (e *RemoteWriteEncoder) Bytes() []byte {
	e.end()
	e.packed = snappy.Encode(e.packed[:cap(e.packed)], e.request)
	e.request = e.request[:0]
	return e.packed
}
