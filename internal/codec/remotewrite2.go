package codec

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/songhua-io/hub/internal/telemetry"
)

// symbolTable finds the texts of a remote write 2 request by their number.
type symbolTable struct {
	request []byte
	ends    []uint32 // where each symbol begins and ends, two entries a symbol
}

func (t *symbolTable) len() int { return len(t.ends) / 2 }

// text returns symbol n; ok is false when there is none.
func (t *symbolTable) text(n uint64) (text []byte, ok bool) {
	if n >= uint64(t.len()) {
		return nil, false
	}
	from, to := t.ends[2*n], t.ends[2*n+1]
	return t.request[from:to:to], true
}

// decodeRemoteWrite2 reads a snappy-compressed Request of Prometheus remote
// write 2.0 (prompb/io/prometheus/write/v2/types.proto). Offsets in faults
// count bytes of the decompressed request.
func decodeRemoteWrite2(b *telemetry.Batch, in *Input) error {
	request, err := unsnap(b, RemoteWrite2, in)
	if err != nil {
		return err
	}
	symbols, err := readSymbols(request, in.MaxSamples)
	if err != nil {
		return err
	}
	s := remoteSeries{b: b, in: *in, format: RemoteWrite2, mark: markOf(b)}
	r := protoReader{p: request, format: RemoteWrite2}
	for r.next() {
		if !r.is(5, protowire.BytesType) {
			continue
		}
		if r.err = s.begin(r.start); r.err == nil {
			r.err = s.labels2(r.inner(), symbols)
		}
		if r.err == nil {
			r.err = s.values(r.inner(), 2, 3)
		}
	}
	if r.err != nil {
		s.mark.undo(b)
	}
	return r.err
}

// symbolsPerSample bounds the table of symbols, which costs memory of its own:
// more texts than this for each sample that may be sent is no honest request.
const symbolsPerSample = 16

func readSymbols(request []byte, maxSamples int) (*symbolTable, error) {
	t := &symbolTable{request: request}
	r := protoReader{p: request, format: RemoteWrite2}
	for r.next() {
		if !r.is(4, protowire.BytesType) {
			continue
		}
		if t.len() >= symbolsPerSample*maxSamples {
			return nil, &Error{RemoteWrite2, r.start, telemetry.ReasonTooLarge,
				fmt.Sprintf("the request holds more than %d symbols; send it in smaller pieces", t.len())}
		}
		t.ends = append(t.ends, uint32(r.start), uint32(r.start+len(r.bytes)))
	}
	return t, r.err
}

// labels2 reads the labels and the unit of a TimeSeries of remote write 2.0.
func (s *remoteSeries) labels2(r protoReader, symbols *symbolTable) error {
	var pending []byte // a label's name that waits for its value
	waiting := false
	ref := func(n uint64, at int) error {
		text, ok := symbols.text(n)
		if !ok {
			return r.malformed(at, "a label refers to symbol %d; the request has %d", n, symbols.len())
		}
		if waiting {
			s.label(pending, text)
		}
		pending, waiting = text, !waiting
		return nil
	}
	for r.next() {
		var err error
		switch {
		case r.is(1, protowire.BytesType):
			err = eachVarint(r.inner(), ref)
		case r.is(1, protowire.VarintType):
			err = ref(r.bits, r.start)
		case r.is(5, protowire.BytesType):
			err = s.metadata(r.inner(), symbols)
		}
		if err != nil {
			return err
		}
	}
	if r.err == nil && waiting {
		return r.malformed(r.at, "a series has a label name without a value")
	}
	s.end()
	return r.err
}

// eachVarint calls do for each number of a packed list.
func eachVarint(r protoReader, do func(n uint64, at int) error) error {
	for len(r.p) > 0 {
		n, size := protowire.ConsumeVarint(r.p)
		at := r.at
		if !r.take(size) {
			return r.err
		}
		if err := do(n, at); err != nil {
			return err
		}
	}
	return nil
}

// metadata reads the unit of a series.
func (s *remoteSeries) metadata(r protoReader, symbols *symbolTable) error {
	for r.next() {
		if !r.is(4, protowire.VarintType) {
			continue
		}
		unit, ok := symbols.text(r.bits)
		if !ok {
			return r.malformed(r.start, "a unit refers to symbol %d; the request has %d", r.bits, symbols.len())
		}
		s.unit = unit
	}
	return r.err
}
