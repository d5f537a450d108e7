package codec

import (
	"fmt"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/songhua-io/hub/internal/telemetry"
)

// remoteSeries is one time series of a remote write request: its labels, and
// how to read its values.
type remoteSeries struct {
	b      *telemetry.Batch
	in     Input
	format Format
	mark   mark
	index  int // of the next value in the request
	series int // begun so far

	metric, unit []byte
	tags         []telemetry.Tag
	first        int // mark of the series' tags

	// Why no value of the series can be stored; empty when they can.
	fault  string
	reason telemetry.Reason
}

// decodeRemoteWrite reads a snappy-compressed WriteRequest of Prometheus
// remote write 1.0 (prompb/remote.proto). Offsets in faults count bytes of the
// decompressed request.
func decodeRemoteWrite(b *telemetry.Batch, in *Input) error {
	request, err := unsnap(b, RemoteWrite, in)
	if err != nil {
		return err
	}
	s := remoteSeries{b: b, in: *in, format: RemoteWrite, mark: markOf(b)}
	r := protoReader{p: request, format: RemoteWrite}
	for r.next() {
		if !r.is(1, protowire.BytesType) {
			continue
		}
		if r.err = s.begin(r.start); r.err == nil {
			r.err = s.labels1(r.inner())
		}
		if r.err == nil {
			r.err = s.values(r.inner(), 2, 4)
		}
	}
	if r.err != nil {
		s.mark.undo(b)
	}
	return r.err
}

// DecodedLen returns the bytes that a remote write request unfolds to, at most
// most. The number stands in the head of the snappy block; it is checked
// against what a block of that length can hold.
func DecodedLen(f Format, payload []byte, most int) (int, error) {
	n, err := snappy.DecodedLen(payload)
	if err != nil {
		return 0, &Error{f, 0, telemetry.ReasonMalformed, "the body is no snappy block; remote write compresses each request as one"}
	}
	if n > most {
		return 0, &Error{f, 0, telemetry.ReasonDecompression,
			fmt.Sprintf("the body unfolds to %d bytes, more than the %d allowed; send fewer samples in a request", n, most)}
	}
	// Snappy's densest element makes 64 bytes of 3.
	if n/22 > len(payload) {
		return 0, &Error{f, 0, telemetry.ReasonMalformed,
			fmt.Sprintf("the snappy block promises %d bytes in %d, which no block can hold", n, len(payload))}
	}
	return n, nil
}

// unsnap decompresses a snappy block into the batch's memory.
func unsnap(b *telemetry.Batch, f Format, in *Input) ([]byte, error) {
	n, err := DecodedLen(f, in.Payload, in.MaxDecoded)
	if err != nil {
		return nil, err
	}
	request, err := snappy.Decode(b.Bytes(n), in.Payload)
	if err != nil {
		return nil, &Error{f, 0, telemetry.ReasonMalformed, "the snappy block is damaged"}
	}
	return request, nil
}

// begin prepares for the labels of a series that begins at byte at. Series
// without a value are bounded too: their labels cost memory all the same.
func (s *remoteSeries) begin(at int) error {
	if s.series++; s.series > s.in.MaxSamples {
		return &Error{s.format, at, telemetry.ReasonTooLarge,
			fmt.Sprintf("the request holds more than %d series; send it in smaller pieces", s.in.MaxSamples)}
	}
	s.metric, s.unit, s.first = nil, nil, s.b.Mark()
	return nil
}

// end takes the labels that were read as those of the series.
func (s *remoteSeries) end() {
	s.tags = s.b.EndTags(s.first)
	s.reason, s.fault = s.in.tagFault(s.tags)
	switch n := len(s.metric); {
	case len(s.tags) > s.in.MaxTags:
		s.fault = fmt.Sprintf("the series has more than %d labels besides __name__", s.in.MaxTags)
	case n == 0:
		s.reason, s.fault = telemetry.ReasonMetricInvalid, "the series has no label __name__"
	case n > s.in.MaxName:
		s.reason, s.fault = telemetry.ReasonMetricInvalid, s.in.longName(s.metric, n)
	}
}

// labels1 reads the labels of a TimeSeries of remote write 1.0.
func (s *remoteSeries) labels1(r protoReader) error {
	for r.next() {
		if !r.is(1, protowire.BytesType) {
			continue
		}
		var name, value []byte
		label := r.inner()
		for label.next() {
			switch {
			case label.is(1, protowire.BytesType):
				name = label.bytes
			case label.is(2, protowire.BytesType):
				value = label.bytes
			}
		}
		if label.err != nil {
			return label.err
		}
		s.label(name, value)
	}
	s.end()
	return r.err
}

// label takes over one label. An empty value is no label in Prometheus. Of
// too many, one too many is kept, for which the series is refused.
func (s *remoteSeries) label(name, value []byte) {
	switch {
	case string(name) == "__name__":
		s.metric = value
	case len(value) > 0 && s.b.Mark()-s.first <= s.in.MaxTags:
		s.b.AddTag(name, value)
	}
}

// values reads the samples and histograms of a series, which stand in the
// fields of these numbers. Exemplars are ignored.
func (s *remoteSeries) values(r protoReader, samples, histograms protowire.Number) error {
	for r.next() {
		switch {
		case r.is(samples, protowire.BytesType):
			if err := s.sample(r.inner()); err != nil {
				return err
			}
		case r.is(histograms, protowire.BytesType):
			rejectAt(s.b, s.index, r.start, telemetry.ReasonUnsupported, fmt.Sprintf(
				"series %q holds a native histogram, which is not stored; send classic histograms (send_native_histograms: false)", clip(s.metric)))
		default:
			continue
		}
		s.index++
		if err := s.mark.checkCount(s.b, s.format, s.in.MaxSamples, r.start); err != nil {
			return err
		}
	}
	return r.err
}

// sample reads a Sample: the same fields in both versions of the protocol.
func (s *remoteSeries) sample(r protoReader) error {
	v := telemetry.Sample{Metric: s.metric, Tags: s.tags, Unit: s.unit, Index: int32(s.index)}
	at := r.at
	for r.next() {
		switch {
		case r.is(1, protowire.Fixed64Type):
			v.Value = r.float64()
		case r.is(2, protowire.VarintType):
			v.Time = int64(r.bits)
		}
	}
	switch {
	case r.err != nil:
		return r.err
	case s.fault != "":
		rejectAt(s.b, s.index, at, s.reason, s.fault)
	case v.Time > maxTime || v.Time < -maxTime:
		rejectAt(s.b, s.index, at, telemetry.ReasonMalformed, "the time is out of range")
	default:
		s.b.Samples = append(s.b.Samples, v)
	}
	return nil
}
