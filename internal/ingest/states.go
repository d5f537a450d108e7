package ingest

import (
	"fmt"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/telemetry"
)

// noteStates collects the states of a message that differ from what the device
// reported before.
func (p *Pipeline) noteStates(d *Delivery, at int32) {
	m := &d.Messages[at]
	src := m.source
	for k := m.states; k < m.statesEnd; k++ {
		s := &d.batch.States[k]
		if m.withhold {
			m.Rejects = append(m.Rejects, telemetry.Reject{Index: -1, Stage: telemetry.StageGrade, Reason: telemetry.ReasonGradeUnsupported,
				Detail: fmt.Sprintf("state %q: texts are kept in the database, which is not encrypted, and device %q reports data of a grade above general; report numbers", clip(s.Name), m.Device)})
			continue
		}
		if r := p.checkState(src, s, d.now.UnixMilli()); r.Reason != "" {
			m.Rejects = append(m.Rejects, r)
			continue
		}
		m.Accepted++
		if !src.changes(s) {
			continue
		}
		d.changes = append(d.changes, change{
			StateChange: StateChange{Device: src.id, Name: string(s.Name), Value: string(s.Value), Time: s.Time},
			source:      src, device: src.device.Load(), message: at,
		})
	}
}

// changes reports whether a state is another than the device had at that time.
// A value that is repeated is as new as its last report.
func (src *source) changes(s *telemetry.State) bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	before := src.states[string(s.Name)]
	switch {
	case before == nil:
		return true
	case before.time > s.Time:
		return false
	case before.value == string(s.Value):
		before.time = s.Time
		return false
	}
	return true
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
	case !validName(s.Name, telemetry.MaxStateName):
		return refuse(telemetry.ReasonStateInvalid, "state %q: a name has 1 to %d bytes of UTF-8 without control characters", clip(s.Name), telemetry.MaxStateName)
	case len(s.Value) > telemetry.MaxStateValue || !utf8.Valid(s.Value):
		return refuse(telemetry.ReasonStateInvalid, "state %q: the value is not UTF-8 of at most %d bytes", clip(s.Name), telemetry.MaxStateValue)
	case !known && n >= telemetry.MaxStates:
		return refuse(telemetry.ReasonStateLimit, "device %q has %d states, as many as it may; refused %q", src.id, telemetry.MaxStates, clip(s.Name))
	case s.Time > now+p.cfg.FutureSkew.Milliseconds():
		return refuse(telemetry.ReasonTimeFuture, "state %q at %s", clip(s.Name), atTime(s.Time))
	}
	return telemetry.Reject{}
}

// settleStates turns the changes that were not kept into rejects.
func (d *Delivery) settleStates() {
	for i := range d.changes {
		c := &d.changes[i]
		if c.refused.Reason == "" {
			continue
		}
		m := &d.Messages[c.message]
		m.Accepted--
		m.Rejects = append(m.Rejects, telemetry.Reject{Index: -1, Stage: telemetry.StageCommit, Reason: c.refused.Reason, Detail: c.refused.Detail})
	}
}
