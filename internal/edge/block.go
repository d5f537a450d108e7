package edge

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/edge/uplink"
	"github.com/songhua-io/hub/internal/telemetry"
)

const (
	suffixSenMLCBOR = "telemetry/senml-cbor"
	suffixJSON      = "telemetry/json"

	// blockSamples bounds the samples of one message.
	blockSamples = 1000
	// minCompress is the payload from which compression pays.
	minCompress = 256

	blockZstd = 1 << 0
)

// encoder turns records into blocks for the spool. A block is one flag byte,
// the length of the topic suffix, the suffix, and the payload.
type encoder struct {
	limit int           // of a message before compression, in bytes
	zstd  *zstd.Encoder // nil when nothing is to be compressed
	cbor  []byte
	// samples are those of the records being encoded, so that the records of
	// one moment share messages.
	samples []telemetry.Sample
}

func newEncoder(limit int, compress bool) (*encoder, error) {
	e := &encoder{limit: limit}
	if !compress {
		return e, nil
	}
	var err error
	e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(128<<10), zstd.WithEncoderLevel(zstd.SpeedFastest))
	return e, err
}

// blocks encodes the records, in order: their samples together, then what is
// no sample.
func (e *encoder) blocks(records []source.Record) ([]spool.Block, error) {
	e.samples = e.samples[:0]
	for _, r := range records {
		e.samples = append(e.samples, r.Samples...)
	}
	var out []spool.Block
	for rest := e.samples; len(rest) > 0; {
		n := min(len(rest), blockSamples)
		out = e.appendSamples(out, rest[:n])
		rest = rest[n:]
	}
	var errs []error
	for _, r := range records {
		for _, s := range r.States {
			b, err := e.state(s)
			errs = append(errs, err)
			out = append(out, b)
		}
		for _, raw := range r.Raws {
			out = append(out, e.block(raw.Suffix, raw.Payload, spool.Block{}))
		}
	}
	return out, errors.Join(errs...)
}

// appendSamples makes one block, or several when long tags make it too large.
func (e *encoder) appendSamples(out []spool.Block, samples []telemetry.Sample) []spool.Block {
	e.cbor = codec.AppendSenMLCBOR(e.cbor[:0], samples)
	if half := len(samples) / 2; len(e.cbor) > e.limit && half > 0 {
		return e.appendSamples(e.appendSamples(out, samples[:half]), samples[half:])
	}
	b := spool.Block{Samples: uint32(len(samples)), From: samples[0].Time, To: samples[0].Time}
	for _, s := range samples {
		b.From, b.To = min(b.From, s.Time), max(b.To, s.Time)
	}
	return append(out, e.block(suffixSenMLCBOR, e.cbor, b))
}

// state makes a flat JSON message: strings update what is known of a device.
func (e *encoder) state(s telemetry.State) (spool.Block, error) {
	payload, err := json.Marshal(map[string]any{"ts": s.Time, string(s.Name): string(s.Value)})
	if err != nil {
		return spool.Block{}, fmt.Errorf("state %q: %w", s.Name, err)
	}
	return e.block(suffixJSON, payload, spool.Block{From: s.Time, To: s.Time}), nil
}

func (e *encoder) block(suffix string, payload []byte, b spool.Block) spool.Block {
	b.Data = append([]byte{0, byte(len(suffix))}, suffix...)
	if e.zstd != nil && len(payload) >= minCompress && suffix == suffixSenMLCBOR {
		b.Data[0] |= blockZstd
		b.Data = e.zstd.EncodeAll(payload, b.Data)
		return b
	}
	b.Data = append(b.Data, payload...)
	return b
}

// message reads a block back.
func message(b spool.Block) (uplink.Message, error) {
	data := b.Data
	if len(data) < 2 || len(data) < 2+int(data[1]) || data[0]&^blockZstd != 0 {
		return uplink.Message{}, fmt.Errorf("a block of %d B has no known head; it was written by another version", len(data))
	}
	end := 2 + int(data[1])
	return uplink.Message{Suffix: string(data[2:end]), Payload: data[end:], Zstd: data[0]&blockZstd != 0, Samples: b.Samples}, nil
}
