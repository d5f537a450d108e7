package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/songhua-io/hub/internal/records"
)

const (
	expireEvery = time.Second
	pruneEvery  = time.Minute
)

var errClosed = errors.New("the hub is shutting down")

// Run writes what changes, one batch after the other, and ends leases whose
// time is over, until ctx ends. What callers change while a batch is written is
// the next one. An error means that nothing can be written any more, and that
// nobody whose changes are lost was answered.
func (l *Ledger) Run(ctx context.Context) error {
	whole := context.WithoutCancel(ctx) // what has begun is finished
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	looked, more := l.deps.Clock(), false
	for {
		select {
		case <-ctx.Done():
			return l.finish(whole)
		case <-l.wake:
		case <-tick.C:
			l.tick()
		}
		if err := l.commit(whole); err != nil {
			return l.fail(err)
		}
		if now := l.deps.Clock(); more || now.Sub(looked) > pruneEvery {
			looked = now
			var err error
			if more, err = l.prune(whole, now); err != nil {
				return l.fail(err)
			}
			if more { // after what callers wait for
				l.nudge()
			}
		}
	}
}

// tick ends leases; what ends is of the next batch.
func (l *Ledger) tick() {
	l.mu.Lock()
	b, s := l.next, l.session()
	l.expire(s.begin, l.deps.Clock())
	s.applied()
	l.mu.Unlock()
	b.encode(s.wrote)
}

// commit writes the next batch, if it has anything.
func (l *Ledger) commit(ctx context.Context) error {
	l.gather()
	l.mu.Lock()
	b := l.next
	l.next, l.writing, l.old = newBatch(l.old), b, nil
	l.mu.Unlock()
	b.encoding.Wait()
	if !b.empty() || l.journal.due(l.deps.Clock()) {
		start := time.Now()
		for _, rider := range b.riders {
			ctx = records.Also(ctx, rider)
		}
		b.err = l.deps.Records.Tx(ctx, func(tx *sql.Tx) error { return l.save(ctx, tx, b) })
		l.metrics.commits.Observe(time.Since(start).Seconds())
	}
	if b.err != nil {
		b.err = fmt.Errorf("write %d workloads and %d events: %w", len(b.records), len(b.events), b.err)
		return b.err
	}
	l.settle(b)
	close(b.done)
	return nil
}

// gather lets callers that are on their way here share the commit: as long as
// more come, and not longer than gatherAtMost.
func (l *Ledger) gather() {
	for begin, had := time.Now(), int64(-1); time.Since(begin) < gatherAtMost; {
		l.mu.RLock()
		has := l.last.seq
		l.mu.RUnlock()
		if has == had {
			return
		}
		had = has
		runtime.Gosched()
	}
}

// gatherAtMost bounds what gathering adds to the time of an answer.
const gatherAtMost = 2 * time.Millisecond

func (b *batch) empty() bool {
	return len(b.records) == 0 && len(b.events) == 0 && len(b.things) == 0
}

// settle lets a batch go that is on disk.
func (l *Ledger) settle(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range b.completed {
		if l.live[r.num] == r {
			delete(l.live, r.num)
			l.past[r.num] = r
		}
	}
	for _, pack := range b.packed {
		for _, r := range pack {
			delete(l.past, r.num)
		}
	}
	l.events.add(b.events)
	for _, r := range b.records {
		documents.Put(r.doc)
	}
	l.old = b.spare()
}

// fail ends everybody who waits with an error.
func (l *Ledger) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	for _, b := range []*batch{l.writing, l.next} {
		select {
		case <-b.done:
		default:
			b.err = err
			close(b.done)
		}
	}
	l.events.end()
	return err
}

// finish writes what has changed and refuses what comes from here on.
func (l *Ledger) finish(ctx context.Context) error {
	l.mu.Lock()
	l.failed = errClosed
	l.mu.Unlock()
	err := l.commit(ctx)
	l.fail(errors.Join(err, errClosed)) //nolint:errcheck // it is what it was given
	return err
}
