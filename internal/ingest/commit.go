package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/telemetry"
)

// lane is where deliveries wait for one of those that make them durable: the
// committer of a store, or the writer of notes. All that waits is made durable together:
// the fsync of one is the fsync of all.
type lane struct {
	waiting []*Delivery
	wake    chan struct{} // holds one token while waiting is not empty
}

func (l *lane) add(d *Delivery) {
	l.waiting = append(l.waiting, d)
	if len(l.waiting) == 1 {
		l.wake <- struct{}{}
	}
}

// queue is the way from the deliveries to the lanes.
type queue struct {
	most int

	mu      sync.Mutex
	points  [stores]lane
	notes   lane
	pending int // points that wait, or are in the commit under way
	end     error
}

func (q *queue) init(most int) {
	q.most = most
	for i := range stores {
		q.points[i].wake = make(chan struct{}, 1)
	}
	q.notes.wake = make(chan struct{}, 1)
}

// push adds a delivery to the lanes that it needs and returns how many answers
// come on its done, or says why it cannot be taken.
func (q *queue) push(d *Delivery) (lanes int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end != nil {
		return 0, q.end
	}
	if q.pending > 0 && q.pending+d.points() > q.most {
		return 0, ErrBusy
	}
	for i := range stores {
		if n := len(d.write[i].Points); n > 0 {
			q.pending += n
			q.points[i].add(d)
			lanes++
		}
	}
	if len(d.changes)+len(d.units) > 0 {
		q.notes.add(d)
		lanes++
	}
	return lanes, nil
}

// take returns all that waits in a lane and leaves room in reuse's memory for
// the next.
func (q *queue) take(l *lane, reuse []*Delivery) []*Delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	group := l.waiting
	clear(reuse)
	l.waiting = reuse[:0]
	return group
}

func (q *queue) committed(points int) {
	q.mu.Lock()
	q.pending -= points
	q.mu.Unlock()
}

// close refuses what comes from here on with err.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end == nil {
		q.end = err
	}
}

// fail closes the queue and answers all that waits in a lane with err.
func (q *queue) fail(l *lane, err error) {
	q.close(err)
	for _, d := range q.take(l, nil) {
		d.done <- err
	}
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending
}

// commit waits until the delivery's points, states and units are durable and
// notes which were refused. A delivery that has nothing to store does not wait.
func (p *Pipeline) commit(d *Delivery) error {
	if d.points()+len(d.changes)+len(d.units) == 0 {
		return nil
	}
	lanes, err := p.queue.push(d)
	if err != nil {
		if errors.Is(err, ErrBusy) {
			p.metrics.busy.Inc()
		}
		return err
	}
	// All always answer: they drain their lanes before they end. The delivery's
	// memory is theirs until then.
	for range lanes {
		if failed := <-d.done; failed != nil {
			err = failed
		}
	}
	if err != nil {
		return err
	}
	p.settle(d)
	d.repeated()
	d.settleStates()
	return nil
}

// points returns how many points the delivery has for all stores.
func (d *Delivery) points() int {
	return len(d.write[plainStore].Points) + len(d.write[sealedStore].Points)
}

// settle counts the accepted points of every message and turns the stores'
// refusals into rejects.
func (p *Pipeline) settle(d *Delivery) {
	for s := range stores {
		if len(d.samples[s]) == 0 {
			continue
		}
		point, refused := 0, d.write[s].Refused
		for _, i := range d.open {
			m := &d.Messages[i]
			for ; point < len(d.samples[s]) && int(d.samples[s][point]) < m.last; point++ {
				if len(refused) > 0 && refused[0].Index == point {
					m.Rejects = append(m.Rejects, refusedSample(&d.batch.Samples[d.samples[s][point]], refused[0].Reason))
					refused = refused[1:]
					continue
				}
				m.Accepted++
			}
		}
	}
}

func refusedSample(s *telemetry.Sample, reason telemetry.Reason) telemetry.Reject {
	return telemetry.Reject{
		Index: int(s.Index), Stage: telemetry.StageCommit, Reason: reason,
		Detail: fmt.Sprintf("%q at %s with value %v", clip(s.Metric), atTime(s.Time), s.Value),
	}
}

// Run makes durable what waits until ctx ends, then what still waits, and
// refuses the rest with ErrClosed. It returns an error when a write failed:
// nothing of that group was acknowledged and the process must end.
func (p *Pipeline) Run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return p.runCommits(ctx, plainStore) })
	if p.deps.Sealed != nil {
		all.Go(func() error { return p.runCommits(ctx, sealedStore) })
	}
	all.Go(func() error { return p.runNotes(ctx) })
	return all.Wait()
}

// runCommits commits to one store.
func (p *Pipeline) runCommits(ctx context.Context, store int) error {
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	var group []*Delivery
	var writes []*telemetry.Write
	var err error
	for {
		select {
		case <-ctx.Done():
			p.queue.close(ErrClosed)
			_, _, err = p.commitGroup(store, group, writes)
			return err
		case <-sweep.C:
			if store == plainStore {
				p.sweep(p.deps.Clock())
			}
		case <-p.queue.points[store].wake:
			if group, writes, err = p.commitGroup(store, group, writes); err != nil {
				return err
			}
		}
		p.holdings[store].giveBack()
	}
}

func (p *Pipeline) commitGroup(store int, reuse []*Delivery, writes []*telemetry.Write) ([]*Delivery, []*telemetry.Write, error) {
	group := p.queue.take(&p.queue.points[store], reuse)
	if len(group) == 0 {
		return group, writes, nil
	}
	begin := p.deps.Clock()
	writes = writes[:0]
	points := 0
	for _, d := range group {
		points += len(d.write[store].Points)
		writes = append(writes, &d.write[store])
	}
	err, failed := p.holdings[store].store.Commit(writes), error(nil)
	switch {
	case errors.Is(err, ErrBusy):
		p.deps.Log.Error("store_full", "samples", points, "error", err)
		err = errFull
	case err != nil:
		err = fmt.Errorf("commit of %d samples failed, none of them was acknowledged: %w", points, err)
		p.queue.fail(&p.queue.points[store], err)
		failed = err
	}
	p.metrics.commit.Observe(p.deps.Clock().Sub(begin).Seconds())
	p.metrics.groups.Observe(float64(points))
	for _, d := range group {
		d.done <- err
	}
	p.queue.committed(points)
	return group, writes, failed
}

// Write stores points of the hub's own (its metrics, ends of series) on the
// same way as everybody's, and returns when they are durable.
func (p *Pipeline) Write(points []telemetry.Point) error {
	return p.write([stores][]telemetry.Point{plainStore: points})
}

// WriteGraded is Write for points of which some are sealed: of grade important or
// core, with ids of the store for those.
func (p *Pipeline) WriteGraded(points, sealed []telemetry.Point) error {
	return p.write([stores][]telemetry.Point{plainStore: points, sealedStore: sealed})
}

// Record is Write for what follows from samples, which may be other than what is
// stored already: it returns how many points were not taken for that, and how many
// are fresh: taken, and not stored already as far as the store can tell.
func (p *Pipeline) Record(points []telemetry.Point) (fresh, conflicts int, err error) {
	d := &Delivery{done: make(chan error, stores+1)}
	d.write[plainStore].Points = points
	if err := p.commit(d); err != nil {
		return 0, 0, err
	}
	w := &d.write[plainStore]
	for _, r := range w.Refused {
		if r.Reason == telemetry.ReasonConflict {
			conflicts++
		}
	}
	return len(points) - len(w.Refused) - len(w.Repeated), conflicts, nil
}

func (p *Pipeline) write(points [stores][]telemetry.Point) error {
	if err := p.noRoom(); err != nil {
		return err
	}
	d := &Delivery{done: make(chan error, stores+1)}
	for i := range stores {
		d.write[i].Points = points[i]
	}
	return p.commit(d)
}

// Ending is a device whose series end.
type Ending struct {
	Device string
	// Unit narrows it to the series of a unit behind the device: those that
	// carry it in the tag sparkplug_device. Empty means all.
	Unit string
}

// endsAtOnce is how many series are ended by one commit at most.
const endsAtOnce = 1 << 18

// End ends series that devices reported live since the hub started, just after
// the device's newest sample: readers see that it is gone. A marker at the time
// of the ending could take the place of a sample that comes later, for the
// device goes on to measure while it is offline. All endings share commits, so
// that thousands of devices that drop together cost the disk as much as one.
func (p *Pipeline) End(all ...Ending) error {
	round := p.flights.begin()
	defer p.flights.end(round)
	var points [stores][]telemetry.Point
	for _, e := range all {
		p.appendEnd(&points, e)
		if len(points[plainStore])+len(points[sealedStore]) < endsAtOnce {
			continue
		}
		if err := p.write(points); err != nil {
			return err
		}
		points = [stores][]telemetry.Point{}
	}
	return p.write(points)
}

// appendEnd adds the stale markers of one ending.
func (p *Pipeline) appendEnd(points *[stores][]telemetry.Point, e Ending) {
	p.mu.RLock()
	src := p.sources[e.Device]
	p.mu.RUnlock()
	if src == nil || src.received.Load() == 0 {
		return
	}
	src.mu.Lock()
	defer src.mu.Unlock()
	at := src.event.Load() + 1
	src.seriesOf(e.Unit, func(store int, id telemetry.SeriesID) {
		points[store] = append(points[store], telemetry.Point{Series: id, Time: at, Value: telemetry.StaleMarker()})
	})
}

// sweep forgets devices that were removed, and releases the series of those
// that were silent for a day. One that was never answered is not silent: its
// first message may be under way.
func (p *Pipeline) sweep(now time.Time) {
	idle := now.Add(-24 * time.Hour).UnixMilli()
	for _, s := range p.all() {
		if p.deps.Directory.Device(s.id) == nil {
			p.forget(s)
			continue
		}
		if heard := max(s.heard.Load(), s.brought.Load()); heard != 0 && heard <= idle {
			s.mu.Lock()
			p.release(s)
			s.mu.Unlock()
		}
	}
}

// forget ends the memory of a device that was removed. Its series are released
// before another memory of the same device can claim them.
func (p *Pipeline) forget(s *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deps.Directory.Device(s.id) != nil {
		return // it was added again
	}
	s.gone = true
	p.release(s)
	delete(p.sources, s.id)
}

func (p *Pipeline) all() []*source {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Collect(maps.Values(p.sources))
}
