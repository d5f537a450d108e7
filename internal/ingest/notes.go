package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// notesPause is the least time between two writes of notes. However often a
// device changes a state, it is written at most this often, with its newest
// value, and only deliveries that carry a change wait for it.
const notesPause = 50 * time.Millisecond

// change is a state of a message that differs from the one before.
type change struct {
	StateChange
	source  *source
	device  *telemetry.Device // as it was when the state was checked
	message int32             // index in Messages
	refused telemetry.Reject  // without a Reason when it was kept
}

// runNotes makes states and units durable until ctx ends, then those that
// still wait. It is beside the committer so that a state costs no sample the
// time of a second fsync.
func (p *Pipeline) runNotes(ctx context.Context) error {
	var group []*Delivery
	var err error
	for {
		select {
		case <-ctx.Done():
			p.queue.close(ErrClosed)
			_, err = p.putGroup(context.WithoutCancel(ctx), group)
			return err
		case <-p.queue.notes.wake:
		}
		if group, err = p.putGroup(context.WithoutCancel(ctx), group); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(notesPause):
		}
	}
}

func (p *Pipeline) putGroup(ctx context.Context, reuse []*Delivery) ([]*Delivery, error) {
	group := p.queue.take(&p.queue.notes, reuse)
	if len(group) == 0 {
		return group, nil
	}
	begin := p.deps.Clock()
	err := p.putNotes(ctx, group)
	if err != nil {
		p.queue.fail(&p.queue.notes, err)
	}
	p.metrics.notes.Observe(p.deps.Clock().Sub(begin).Seconds())
	for _, d := range group {
		d.done <- err
	}
	return group, err
}

// putNotes makes the states and units of the deliveries durable, then
// remembers them, so that repetitions cost nothing.
func (p *Pipeline) putNotes(ctx context.Context, group []*Delivery) error {
	if err := p.putStates(ctx, group); err != nil {
		return fmt.Errorf("keep device states failed, none of them was acknowledged: %w", err)
	}
	units := map[string]string{}
	for _, d := range group {
		for metric, unit := range d.units {
			if _, named := units[metric]; !named {
				units[metric] = unit
			}
		}
	}
	if len(units) == 0 {
		return nil
	}
	if err := p.deps.Notes.PutUnits(ctx, units); err != nil {
		return fmt.Errorf("keep metric units: %w", err)
	}
	p.unitMu.Lock()
	defer p.unitMu.Unlock()
	for metric := range units {
		p.units[metric] = struct{}{}
	}
	return nil
}

// putStates writes the newest change of every state. What became of it is what
// became of the older ones too: they are history by then.
func (p *Pipeline) putStates(ctx context.Context, group []*Delivery) error {
	type key struct{ device, name string }
	at := map[key]int{}
	var newest []*change
	var changes []StateChange
	for _, d := range group {
		for i := range d.changes {
			c := &d.changes[i]
			k, known := at[key{c.Device, c.Name}]
			switch {
			case !known:
				at[key{c.Device, c.Name}] = len(changes)
				newest, changes = append(newest, c), append(changes, c.StateChange)
			case c.Time >= changes[k].Time:
				newest[k], changes[k] = c, c.StateChange
			}
		}
	}
	if len(changes) == 0 {
		return nil
	}
	refused, err := p.deps.Notes.PutStates(ctx, changes)
	if err != nil {
		return err
	}
	for i, c := range newest {
		if _, no := refused[i]; !no {
			c.remember()
		}
	}
	if len(refused) == 0 {
		return nil
	}
	for _, d := range group {
		for i := range d.changes {
			c := &d.changes[i]
			c.refused = refused[at[key{c.Device, c.Name}]]
		}
	}
	return nil
}

// remember notes a change that is durable, unless the device is another by now.
func (c *change) remember() {
	s := c.source
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.device.Load().Created.Equal(c.device.Created) {
		return
	}
	if s.states == nil {
		s.states = map[string]*state{}
	}
	if before := s.states[c.Name]; before != nil && before.time <= c.Time || before == nil && len(s.states) < telemetry.MaxStates {
		s.states[c.Name] = &state{c.Value, c.Time}
	}
}
