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

// lane is where deliveries wait for one of the two that make them durable: the
// committer, or the writer of notes. All that waits is made durable together:
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

// queue is the way from the deliveries to both lanes.
type queue struct {
	most int

	mu      sync.Mutex
	points  lane
	notes   lane
	pending int // points that wait, or are in the commit under way
	end     error
}

func (q *queue) init(most int) {
	q.most = most
	q.points.wake, q.notes.wake = make(chan struct{}, 1), make(chan struct{}, 1)
}

// push adds a delivery to the lanes that it needs and returns how many answers
// come on its done, or says why it cannot be taken.
func (q *queue) push(d *Delivery) (lanes int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end != nil {
		return 0, q.end
	}
	if q.pending > 0 && q.pending+len(d.write.Points) > q.most {
		return 0, ErrBusy
	}
	if len(d.write.Points) > 0 {
		q.pending += len(d.write.Points)
		q.points.add(d)
		lanes++
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
	if len(d.write.Points)+len(d.changes)+len(d.units) == 0 {
		return nil
	}
	lanes, err := p.queue.push(d)
	if err != nil {
		if errors.Is(err, ErrBusy) {
			p.metrics.busy.Inc()
		}
		return err
	}
	// Both always answer: they drain their lanes before they end. The delivery's
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
	d.settleStates()
	return nil
}

// settle counts the accepted points of every message and turns the store's
// refusals into rejects.
func (p *Pipeline) settle(d *Delivery) {
	point, refusal := 0, 0
	for _, i := range d.open {
		m := &d.Messages[i]
		for ; point < len(d.samples) && int(d.samples[point]) < m.last; point++ {
			if refusal < len(d.write.Refused) && d.write.Refused[refusal].Index == point {
				m.Rejects = append(m.Rejects, refused(d, point, d.write.Refused[refusal].Reason))
				refusal++
				continue
			}
			m.Accepted++
		}
	}
}

func refused(d *Delivery, point int, reason telemetry.Reason) telemetry.Reject {
	s := &d.batch.Samples[d.samples[point]]
	return telemetry.Reject{
		Index: int(s.Index), Stage: telemetry.StageCommit, Reason: reason,
		Detail: fmt.Sprintf("%q at %s with value %v", clip(s.Metric), atTime(s.Time), s.Value),
	}
}

// Run makes durable what waits until ctx ends, then what still waits, and
// refuses the rest with ErrClosed. It returns an error when a write failed:
// nothing of that group was acknowledged and the process must end.
func (p *Pipeline) Run(ctx context.Context) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return p.runCommits(ctx) })
	both.Go(func() error { return p.runNotes(ctx) })
	return both.Wait()
}

func (p *Pipeline) runCommits(ctx context.Context) error {
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	var group []*Delivery
	var writes []*telemetry.Write
	var err error
	for {
		select {
		case <-ctx.Done():
			p.queue.close(ErrClosed)
			_, _, err = p.commitGroup(group, writes)
			return err
		case <-sweep.C:
			p.sweep(p.deps.Clock())
		case <-p.queue.points.wake:
			if group, writes, err = p.commitGroup(group, writes); err != nil {
				return err
			}
		}
		p.holdings.giveBack()
	}
}

func (p *Pipeline) commitGroup(reuse []*Delivery, writes []*telemetry.Write) ([]*Delivery, []*telemetry.Write, error) {
	group := p.queue.take(&p.queue.points, reuse)
	if len(group) == 0 {
		return group, writes, nil
	}
	begin := p.deps.Clock()
	writes = writes[:0]
	points := 0
	for _, d := range group {
		points += len(d.write.Points)
		writes = append(writes, &d.write)
	}
	err := p.deps.Store.Commit(writes)
	if err != nil {
		err = fmt.Errorf("commit of %d samples failed, none of them was acknowledged: %w", points, err)
		p.queue.fail(&p.queue.points, err)
	}
	p.metrics.commit.Observe(p.deps.Clock().Sub(begin).Seconds())
	p.metrics.groups.Observe(float64(points))
	for _, d := range group {
		d.done <- err
	}
	p.queue.committed(points)
	return group, writes, err
}

// Write stores points of the hub's own (its metrics, ends of series) on the
// same way as everybody's, and returns when they are durable.
func (p *Pipeline) Write(points []telemetry.Point) error {
	d := &Delivery{write: telemetry.Write{Points: points}, done: make(chan error, 2)}
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
	round := p.holdings.flights.begin()
	defer p.holdings.flights.end(round)
	var points []telemetry.Point
	for _, e := range all {
		if points = p.appendEnd(points, e); len(points) < endsAtOnce {
			continue
		}
		if err := p.Write(points); err != nil {
			return err
		}
		points = points[:0]
	}
	return p.Write(points)
}

// appendEnd adds the stale markers of one ending.
func (p *Pipeline) appendEnd(points []telemetry.Point, e Ending) []telemetry.Point {
	p.mu.RLock()
	src := p.sources[e.Device]
	p.mu.RUnlock()
	if src == nil || src.received.Load() == 0 {
		return points
	}
	src.mu.Lock()
	defer src.mu.Unlock()
	at := src.event.Load() + 1
	src.seriesOf(e.Unit, func(id telemetry.SeriesID) {
		points = append(points, telemetry.Point{Series: id, Time: at, Value: telemetry.StaleMarker()})
	})
	return points
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
		if heard := s.heard.Load(); heard != 0 && heard <= idle {
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
