package edge

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/telemetry"
)

// linger is how long the first record of a block waits for others.
const linger = 20 * time.Millisecond

// batcher puts the records of all sources into the spool: those of one moment
// share blocks and one fsync.
type batcher struct {
	spool   *spool.Spool
	encoder *encoder
	in      chan *waiting
	log     *slog.Logger
	// refused counts samples that the spool did not take, and what is too large
	// for a message.
	refused atomic.Uint64
}

// waiting is a record whose source waits until it is on disk.
type waiting struct {
	record source.Record
	done   chan error
}

func newBatcher(s *spool.Spool, e *encoder, log *slog.Logger) *batcher {
	return &batcher{spool: s, encoder: e, in: make(chan *waiting), log: log}
}

// put is the [source.Put] of every source.
func (b *batcher) put(ctx context.Context, r source.Record) error {
	w := &waiting{b.fitting(r), make(chan error, 1)}
	select {
	case b.in <- w:
		return <-w.done
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fitting leaves out what would make a message that the hub does not read: it
// would never be acknowledged and hold up everything behind it.
func (b *batcher) fitting(r source.Record) source.Record {
	large := func(what string, n int) bool {
		if n <= maxPayload {
			return false
		}
		b.refused.Add(1)
		b.log.Error("message_too_large", "what", what, "bytes", n, "limit", maxPayload)
		return true
	}
	r.States = slices.DeleteFunc(slices.Clone(r.States), func(s telemetry.State) bool {
		return large("state", len(s.Name)+len(s.Value))
	})
	r.Raws = slices.DeleteFunc(slices.Clone(r.Raws), func(raw source.Raw) bool { return large(raw.Suffix, len(raw.Payload)) })
	r.Samples = slices.DeleteFunc(slices.Clone(r.Samples), func(s telemetry.Sample) bool {
		n := len(s.Metric) + len(s.Unit)
		for _, t := range s.Tags {
			n += len(t.Name) + len(t.Value)
		}
		return large("sample", n)
	})
	return r
}

// run works until the input is closed, which its sources' owner does once they
// ended.
func (b *batcher) run() {
	var group []*waiting
	for first := range b.in {
		group = b.collect(append(group[:0], first))
		err := b.flush(group)
		for _, w := range group {
			if err != nil {
				b.refused.Add(uint64(len(w.record.Samples)))
			}
			w.done <- err
		}
	}
}

// collect adds what comes within the linger, up to a block's worth.
func (b *batcher) collect(group []*waiting) []*waiting {
	timer := time.NewTimer(linger)
	defer timer.Stop()
	samples := len(group[0].record.Samples)
	for samples < blockSamples && len(group) < blockSamples {
		select {
		case w, ok := <-b.in:
			if !ok {
				return group
			}
			group = append(group, w)
			samples += len(w.record.Samples)
		case <-timer.C:
			return group
		}
	}
	return group
}

func (b *batcher) flush(group []*waiting) error {
	records := make([]source.Record, len(group))
	for i, w := range group {
		records[i] = w.record
	}
	blocks, err := b.encoder.blocks(records)
	if err != nil || len(blocks) == 0 {
		return err
	}
	_, err = b.spool.Append(blocks...)
	return err
}
