package ingest

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/telemetry"
)

// maxStateBytes bounds the value of a state.
const maxStateBytes = 4096

// noteStates collects the states of a message that differ from what the device
// reported before.
func (p *Pipeline) noteStates(d *Delivery, at int) {
	m := &d.Messages[at]
	src := m.source
	for k := m.states; k < m.statesEnd; k++ {
		s := &d.batch.States[k]
		if r := p.checkState(src, s, d.now.UnixMilli()); r.Reason != "" {
			m.Rejects = append(m.Rejects, r)
			continue
		}
		m.Accepted++
		src.mu.Lock()
		before, known := src.states[string(s.Name)]
		src.mu.Unlock()
		if known && (before.time > s.Time || before.value == string(s.Value)) {
			continue
		}
		d.changes = append(d.changes, StateChange{Device: src.id, Name: string(s.Name), Value: string(s.Value), Time: s.Time})
		d.changeOf = append(d.changeOf, int32(at))
	}
}

func (p *Pipeline) checkState(src *source, s *telemetry.State, now int64) telemetry.Reject {
	refuse := func(reason telemetry.Reason, format string, args ...any) telemetry.Reject {
		return telemetry.Reject{Index: -1, Stage: telemetry.StageValidate, Reason: reason, Detail: fmt.Sprintf(format, args...)}
	}
	src.mu.Lock()
	_, known := src.states[string(s.Name)]
	n := len(src.states)
	src.mu.Unlock()
	switch {
	case !validName(s.Name, p.cfg.MaxNameBytes):
		return refuse(telemetry.ReasonMetricInvalid, "state %q: a name has 1 to %d bytes of UTF-8 without control characters", clip(s.Name), p.cfg.MaxNameBytes)
	case len(s.Value) > maxStateBytes || !utf8.Valid(s.Value):
		return refuse(telemetry.ReasonLabelInvalid, "state %q: the value is not UTF-8 of at most %d bytes", clip(s.Name), maxStateBytes)
	case !known && n >= maxStates:
		return refuse(telemetry.ReasonSeriesLimit, "device %q has %d states, as many as it may; refused %q", src.id, maxStates, clip(s.Name))
	case s.Time > now+p.cfg.FutureSkew.Milliseconds():
		return refuse(telemetry.ReasonTimeFuture, "state %q at %s", clip(s.Name), atTime(s.Time))
	}
	return telemetry.Reject{}
}

// putNotes makes the states and units of the deliveries durable, then
// remembers them, so that repetitions cost nothing.
func (p *Pipeline) putNotes(ctx context.Context, group []*Delivery) error {
	var changes []StateChange
	var units map[string]string
	for _, d := range group {
		changes = append(changes, d.changes...)
		for metric, unit := range d.units {
			if units == nil {
				units = map[string]string{}
			}
			units[metric] = unit
		}
	}
	if len(changes) > 0 {
		refused, err := p.deps.Notes.PutStates(ctx, changes)
		if err != nil {
			return fmt.Errorf("keep device states: %w", err)
		}
		refuseStates(group, refused)
		p.rememberStates(changes)
	}
	if len(units) > 0 {
		if err := p.deps.Notes.PutUnits(ctx, units); err != nil {
			return fmt.Errorf("keep metric units: %w", err)
		}
		p.unitMu.Lock()
		for metric, unit := range units {
			p.units[metric] = unit
		}
		p.unitMu.Unlock()
	}
	return nil
}

// refuseStates tells the messages which of their states were not kept. Indexes
// count the changes of all deliveries in their order.
func refuseStates(group []*Delivery, refused map[int]error) {
	if len(refused) == 0 {
		return
	}
	i := 0
	for _, d := range group {
		for k := range d.changes {
			if err, no := refused[i]; no {
				m := &d.Messages[d.changeOf[k]]
				m.Accepted--
				m.Rejects = append(m.Rejects, telemetry.Reject{Index: -1, Stage: telemetry.StageCommit, Reason: telemetry.ReasonSeriesLimit, Detail: err.Error()})
			}
			i++
		}
	}
}

func (p *Pipeline) rememberStates(changes []StateChange) {
	for _, c := range changes {
		p.mu.RLock()
		src := p.sources[c.Device]
		p.mu.RUnlock()
		if src == nil {
			continue
		}
		src.mu.Lock()
		if src.states == nil {
			src.states = map[string]state{}
		}
		if before, ok := src.states[c.Name]; ok && before.time <= c.Time || !ok && len(src.states) < maxStates {
			src.states[c.Name] = state{c.Value, c.Time}
		}
		src.mu.Unlock()
	}
}
