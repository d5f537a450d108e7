package edge

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/spool"
)

// linger is how long the first record of a block waits for others.
const linger = 20 * time.Millisecond

// batcher puts the records of all sources into the spool: those of one moment
// share blocks and one fsync.
type batcher struct {
	spool   *spool.Spool
	encoder *encoder
	in      chan *waiting
	// done is closed by the sources' owner once they ended.
	done chan struct{}
	// refused counts samples that the spool did not take.
	refused atomic.Uint64
}

// waiting is a record whose source waits until it is on disk.
type waiting struct {
	record source.Record
	done   chan error
}

func newBatcher(s *spool.Spool, e *encoder) *batcher {
	return &batcher{spool: s, encoder: e, in: make(chan *waiting), done: make(chan struct{})}
}

// errEnded is returned to what puts a record after all sources ended.
var errEnded = errors.New("the agent has ended")

// put is the [source.Put] of every source.
func (b *batcher) put(ctx context.Context, r source.Record) error {
	w := &waiting{r, make(chan error, 1)}
	select {
	case b.in <- w:
		return <-w.done
	case <-ctx.Done():
		return ctx.Err()
	case <-b.done:
		return errEnded
	}
}

// run works until done is closed. Whoever it took a record from has its answer
// by then.
func (b *batcher) run() {
	var group []*waiting
	for {
		select {
		case first := <-b.in:
			group = b.collect(append(group[:0], first))
		case <-b.done:
			return
		}
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
		case w := <-b.in:
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
