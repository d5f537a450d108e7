package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Run forwards until ctx ends or it fails: when poison or the disk does. What is
// then under way is sent again by the next Run.
func (q *Queue) Run(ctx context.Context) error {
	all, within := errgroup.WithContext(ctx)
	all.Go(func() error {
		for within.Err() == nil {
			if err := q.forward(within); err != nil {
				return err
			}
		}
		return nil
	})
	all.Go(func() error { return q.look(within) })
	all.Go(func() error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			if err := q.save(); err != nil {
				return err
			}
			select {
			case <-within.Done():
				return nil
			case <-tick.C:
			}
		}
	})
	return errors.Join(all.Wait(), q.save())
}

// forward forwards until ctx ends, or the shards are to go back. Then requests
// that are under way are answered first: a connection that is cut says nothing of
// the server.
func (q *Queue) forward(ctx context.Context) error {
	all, sending := errgroup.WithContext(ctx)
	turn, cancel := context.WithCancel(sending)
	defer cancel()
	f := q.newForwarder(cancel)
	for i := range f.shards {
		all.Go(func() error { return f.shards[i].run(sending, turn) })
	}
	all.Go(func() error { return f.run(turn) })
	return errors.Join(all.Wait(), f.reader.close())
}

// forwarder divides what is read among shards.
type forwarder struct {
	q       *Queue
	reader  reader
	shards  []*shard
	batches uint64 // made so far
}

// newForwarder begins where the shards are, or goes back to what the server may
// have lost. turn ends the forwarder.
func (q *Queue) newForwarder(turn context.CancelFunc) *forwarder {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.watch.turn = turn
	q.goBack()
	f := &forwarder{q: q}
	from := q.done()
	for i := range q.lanes {
		// What is read again below is skipped: it is forwarded.
		q.lanes[i] = lane{done: q.doneOf(i), durable: q.lanes[i].durable}
		f.shards = append(f.shards, &shard{q: q, index: i, resume: q.lanes[i].done, in: make(chan *batch, 1), spare: make(chan *batch, 3)})
	}
	q.read = from
	q.pending.Store(int64(q.next - from))
	f.reader = reader{q: q, from: from, next: from}
	q.progress()
	return f
}

func (f *forwarder) run(ctx context.Context) error {
	for ctx.Err() == nil {
		first := f.reader.first
		h, body, err := f.reader.frame()
		switch {
		case errors.Is(err, errNothing):
			if err := f.idle(ctx); err != nil {
				return nil // the context ended
			}
			continue
		case err != nil:
			return err
		}
		if f.reader.first != first { // references mean other series now
			if err := f.flushAll(ctx); err != nil {
				return nil
			}
		}
		if err := f.divide(ctx, h, body); err != nil {
			return nil
		}
		f.q.advance(h.end())
		f.flushDue(false)
	}
	return nil
}

// idle waits until there is more, and hands over batches that waited long enough.
func (f *forwarder) idle(ctx context.Context) error {
	f.q.advance(f.reader.next)
	due := f.flushDue(f.q.hurry.Load() > 0)
	var timer <-chan time.Time
	if due > 0 {
		t := time.NewTimer(due)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.q.wake:
	case <-timer:
	}
	return nil
}

// divide adds the samples of a frame to the batches of their shards. It waits
// while those have enough to do.
func (f *forwarder) divide(ctx context.Context, h head, body []byte) error {
	r := &f.reader
	skipped, unknown := uint64(0), uint64(0)
	rest, err := r.define(body)
	course, number := startOf(h), h.first
	for ; err == nil && number < h.end(); number++ {
		var ref uint32
		var p telemetry.Point
		if ref, p.Time, p.Value, rest = course.nextSample(rest); rest == nil {
			err = errDamaged
			break
		}
		if int(ref) >= len(r.series) || r.series[ref].labels == nil {
			unknown++
			continue
		}
		s := &r.series[ref]
		sh := f.shards[s.lane]
		if number < sh.resume {
			if number >= r.from {
				skipped++
			}
			continue
		}
		if sh.building == nil {
			f.batches++
			sh.begin(f.batches, number, h.at)
		}
		sh.building.add(s, p)
		if sh.building.n == f.q.cfg.BatchSamples {
			if err := sh.flush(ctx); err != nil {
				return err
			}
		}
	}
	f.q.pending.Add(-int64(skipped))
	if err != nil {
		f.q.lose(number, h.end()-number, r.file.Name(), r.at, "a frame cannot be read")
	}
	if unknown > 0 {
		f.q.lose(h.first, unknown, r.file.Name(), r.at, "the labels of series stood in a damaged frame")
	}
	return nil
}

// flushDue hands over the batches that waited long enough, or all, to shards
// that have nothing to do, and returns when the next one is due; 0 when none is.
func (f *forwarder) flushDue(all bool) (next time.Duration) {
	for _, sh := range f.shards {
		if sh.building == nil {
			continue
		}
		wait := f.q.cfg.BatchWait - time.Since(sh.building.begun)
		if all || wait <= 0 {
			sh.offer()
		} else if next == 0 || wait < next {
			next = wait
		}
	}
	return next
}

func (f *forwarder) flushAll(ctx context.Context) error {
	for _, sh := range f.shards {
		if sh.building != nil {
			if err := sh.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// advance notes how far the reader is.
func (q *Queue) advance(to uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if to > q.read { // or those who wait would wake the reader for nothing, again and again
		q.read = to
		q.progress()
	}
}

// progress tells those who wait, and removes what is no longer needed. q.mu is
// held.
func (q *Queue) progress() {
	if q.hurry.Load() > 0 {
		close(q.moved)
		q.moved = make(chan struct{})
	}
	if len(q.segments) > 1 && q.segments[0].end <= q.read {
		q.dropDone()
	}
	if q.full.Load() != nil {
		q.measure()
	}
}

// batch is what one request carries.
type batch struct {
	number  uint64
	begun   time.Time
	n       int
	series  []Series
	counts  []int // points of each
	slots   []uint32
	points  []telemetry.Point // as they came
	ordered []telemetry.Point // by series
}

func (b *batch) add(s *reading, p telemetry.Point) {
	if s.batch != b.number {
		s.batch, s.slot = b.number, uint32(len(b.series))
		b.series, b.counts = append(b.series, Series{Labels: s.labels}), append(b.counts, 0)
	}
	b.counts[s.slot]++
	b.slots, b.points = append(b.slots, s.slot), append(b.points, p)
	b.n++
}

// order gives each series its points.
func (b *batch) order() {
	if cap(b.ordered) < b.n {
		b.ordered = make([]telemetry.Point, b.n)
	}
	b.ordered = b.ordered[:b.n]
	at := 0
	for i := range b.series {
		b.series[i].Points = b.ordered[at : at : at+b.counts[i]]
		at += b.counts[i]
	}
	for i, slot := range b.slots {
		b.series[slot].Points = append(b.series[slot].Points, b.points[i])
	}
}

func (b *batch) reset() {
	clear(b.series)
	b.series, b.counts, b.slots, b.points, b.n = b.series[:0], b.counts[:0], b.slots[:0], b.points[:0], 0
}

// shard sends batches one after another.
type shard struct {
	q        *Queue
	index    int
	resume   uint64 // samples below are forwarded
	building *batch // the reader's
	in       chan *batch
	spare    chan *batch
}

func (sh *shard) begin(number, first uint64, at int64) {
	select {
	case sh.building = <-sh.spare:
	default:
		sh.building = new(batch)
	}
	sh.building.number, sh.building.begun = number, time.Now()
	sh.q.mu.Lock()
	defer sh.q.mu.Unlock()
	l := &sh.q.lanes[sh.index]
	l.under = append(l.under, mark{first, at})
}

func (sh *shard) flush(ctx context.Context) error {
	sh.building.order()
	select {
	case sh.in <- sh.building:
		sh.building = nil
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// offer hands the batch over if the shard has nothing to do; it wakes the reader
// when it is done.
func (sh *shard) offer() {
	if len(sh.in) == cap(sh.in) {
		return
	}
	sh.building.order()
	sh.in <- sh.building // the reader alone sends
	sh.building = nil
}

// run sends until turn ends; a request that is under way then goes on, until ctx
// ends.
func (sh *shard) run(ctx, turn context.Context) error {
	for {
		select {
		case <-turn.Done():
			return nil
		case b := <-sh.in:
			if err := sh.send(ctx, turn, b); err != nil {
				return err
			}
			if turn.Err() != nil {
				return nil
			}
		}
	}
}

// send returns when the batch is there, or what is not is poison's, or turn ended.
func (sh *shard) send(ctx, turn context.Context, b *batch) error {
	q := sh.q
	var pause backoff.Backoff
	for {
		begin := time.Now()
		err := q.to.Send(ctx, b.series)
		q.metrics.send.Observe(time.Since(begin).Seconds())
		var refused *Refused
		switch {
		case err == nil, errors.As(err, &refused):
			poisoned, err := sh.refuse(b, refused)
			if err != nil {
				return err
			}
			q.metrics.sent.Add(float64(b.n - poisoned))
			sh.done(b)
			return nil
		case ctx.Err() != nil:
			return nil
		}
		wait := pause.Next()
		if later := (*Later)(nil); errors.As(err, &later) && later.After > 0 {
			wait = later.After + rand.N(later.After/8+1)
		}
		q.stumble(err, wait)
		if !q.sleep(turn, wait) {
			return nil
		}
	}
}

// refuse hands over what the destination will never take.
func (sh *shard) refuse(b *batch, refused *Refused) (n int, err error) {
	if refused == nil || len(refused.Points) == 0 {
		return 0, nil
	}
	all := make([]Poisoned, 0, len(refused.Points))
	for _, r := range refused.Points {
		if r.Series < 0 || r.Series >= len(b.series) || r.Point < 0 || r.Point >= len(b.series[r.Series].Points) {
			return 0, fmt.Errorf("the engine's client refused point %d of series %d, which its batch has not", r.Point, r.Series)
		}
		s := &b.series[r.Series]
		all = append(all, Poisoned{s.Labels, s.Points[r.Point], r.Reason, r.Detail})
	}
	if err := sh.q.poison(all); err != nil {
		return 0, fmt.Errorf("keep what the engine refused: %w", err)
	}
	for i := range all {
		sh.q.metrics.refused.WithLabelValues(string(all[i].Reason)).Inc()
	}
	return len(all), nil
}

// done notes that the shard's oldest batch is forwarded.
func (sh *shard) done(b *batch) {
	q := sh.q
	q.pending.Add(-int64(b.n))
	b.reset()
	select {
	case sh.spare <- b:
	default:
	}
	q.mu.Lock()
	l := &q.lanes[sh.index]
	l.under = append(l.under[:0], l.under[1:]...)
	if q.trouble.err != nil {
		q.log.Info("engine_takes_again", "after_seconds", time.Since(q.trouble.since).Seconds())
		q.trouble = trouble{}
	}
	q.progress()
	q.mu.Unlock()
	q.signal()
}

// stumble notes that the destination does not take what is sent.
func (q *Queue) stumble(err error, wait time.Duration) {
	q.metrics.retries.Inc()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.trouble.err == nil {
		q.trouble.since = q.now()
		q.log.Warn("engine_does_not_take", "error", err, "again_after_seconds", wait.Seconds(), "way_out", "samples are kept in the queue and sent when it does; see that the engine runs and is reached")
	}
	q.trouble.err = err
}
