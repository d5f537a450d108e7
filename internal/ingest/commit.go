package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// queue is where deliveries wait for the committer. Everything that waits is
// committed together: the fsync of one is the fsync of all.
type queue struct {
	most int

	mu      sync.Mutex
	waiting []*Delivery
	pending int // points of waiting, or in the commit under way
	end     error
	wake    chan struct{} // holds one token while waiting is not empty
}

func (q *queue) init(most int) { q.most, q.wake = most, make(chan struct{}, 1) }

// push adds a delivery, or says why it cannot be taken.
func (q *queue) push(d *Delivery) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end != nil {
		return q.end
	}
	if q.pending > 0 && q.pending+len(d.write.Points) > q.most {
		return ErrBusy
	}
	q.pending += len(d.write.Points)
	q.waiting = append(q.waiting, d)
	if len(q.waiting) == 1 {
		q.wake <- struct{}{}
	}
	return nil
}

// take returns all that waits and leaves room in reuse's memory for the next.
func (q *queue) take(reuse []*Delivery) []*Delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	group := q.waiting
	clear(reuse)
	q.waiting = reuse[:0]
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
	q.end = err
	q.mu.Unlock()
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending
}

// commit waits until the delivery's points are durable and notes which were
// refused. A delivery that has nothing to store does not wait.
func (p *Pipeline) commit(d *Delivery) error {
	if len(d.write.Points) == 0 && len(d.changes) == 0 && len(d.units) == 0 {
		return nil
	}
	if err := p.queue.push(d); err != nil {
		if errors.Is(err, ErrBusy) {
			p.metrics.busy.Inc()
		}
		return err
	}
	// The committer always answers: it drains the queue before it ends.
	if err := <-d.done; err != nil {
		return err
	}
	p.settle(d)
	return nil
}

// settle counts the accepted points of every message and turns the store's
// refusals into rejects.
func (p *Pipeline) settle(d *Delivery) {
	point, refusal := 0, 0
	for i := range d.Messages {
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

// Run commits what waits until ctx ends, then what still waits, and refuses
// the rest with ErrClosed. It returns an error when a commit failed: nothing
// of that group was acknowledged and the process must end.
func (p *Pipeline) Run(ctx context.Context) error {
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	var group []*Delivery
	var writes []*telemetry.Write
	for {
		select {
		case <-ctx.Done():
			p.queue.close(ErrClosed)
			_, _, err := p.commitGroup(context.WithoutCancel(ctx), group, writes)
			return err
		case <-sweep.C:
			p.sweep()
		case <-p.queue.wake:
			var err error
			if group, writes, err = p.commitGroup(ctx, group, writes); err != nil {
				return err
			}
		}
	}
}

func (p *Pipeline) commitGroup(ctx context.Context, reuse []*Delivery, writes []*telemetry.Write) ([]*Delivery, []*telemetry.Write, error) {
	group := p.queue.take(reuse)
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
	err := p.putNotes(ctx, group)
	if err == nil {
		err = p.deps.Store.Commit(writes)
	}
	if err != nil {
		err = fmt.Errorf("commit of %d samples failed, none of them was acknowledged: %w", points, err)
		p.queue.close(err)
		for _, d := range p.queue.take(nil) {
			d.done <- err
		}
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
	d := &Delivery{write: telemetry.Write{Points: points}, done: make(chan error, 1)}
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

// sweep forgets devices that were removed, and gives back the series of those
// that were silent for a day.
func (p *Pipeline) sweep() {
	idle := p.deps.Clock().Add(-24 * time.Hour).UnixMilli()
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, s := range p.sources {
		removed := p.deps.Directory.Device(id) == nil
		if !removed && s.heard.Load() > idle {
			continue
		}
		s.mu.Lock()
		p.release(s)
		s.mu.Unlock()
		if removed {
			delete(p.sources, id)
		}
	}
}
