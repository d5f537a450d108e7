package ingest

import (
	"math"

	"github.com/songhua-io/hub/internal/telemetry"
)

// lateBefore is the time before which samples of a delivery are late, in ms.
func (p *Pipeline) lateBefore(d *Delivery) int64 {
	if p.deps.Late == nil {
		return math.MinInt64
	}
	return d.now.Add(-p.deps.Late.LateAfter()).UnixMilli()
}

// tellLate tells of the samples that came late and are durable.
func (p *Pipeline) tellLate(d *Delivery) {
	for _, k := range d.late {
		s := &d.batch.Samples[k]
		p.deps.Late.CameLate(s.Metric, s.Time)
	}
}

// past is the hour of a sample of a message in Deps.Past's time.
type past struct {
	message int32
	at      int64 // ms
}

// pastBefore is the time before which samples of a delivery are of the past, in ms.
func (p *Pipeline) pastBefore(d *Delivery) int64 {
	if p.deps.Past == nil {
		return math.MinInt64
	}
	return p.deps.Past.Before(d.now)
}

// isPast takes note of a sample of the past, unless the one before was of the same
// message and hour.
func (d *Delivery) isPast(message int32, at int64) {
	if n := len(d.past) - 1; n >= 0 && d.past[n].message == message && d.past[n].at/hour == at/hour {
		return
	}
	d.past = append(d.past, past{message, at})
}

const hour = 3_600_000 // ms

// tellPast tells of the samples of the past that are durable.
func (p *Pipeline) tellPast(d *Delivery) error {
	if len(d.past) == 0 {
		return nil
	}
	for _, s := range d.past {
		p.deps.Past.Came(d.Messages[s.message].Device, s.at)
	}
	return p.deps.Past.Keep()
}

// repeated counts what a store had already, or refused for another value. A
// delivery of history is history as a whole.
func (d *Delivery) repeated() {
	if len(d.open) > 0 && d.Messages[d.open[0]].History {
		return
	}
	for s := range stores {
		w := &d.write[s]
		if len(d.samples[s]) == 0 || len(w.Repeated)+len(w.Refused) == 0 { // the hub's own points are of no device
			continue
		}
		count := func(point int, in func(*telemetry.Arrivals) *uint64) {
			at := int(d.samples[s][point])
			for _, i := range d.open {
				if m := &d.Messages[i]; m.first <= at && at < m.last {
					m.source.mu.Lock()
					*in(&m.source.arrivals)++
					m.source.mu.Unlock()
					return
				}
			}
		}
		for _, point := range w.Repeated {
			count(point, func(a *telemetry.Arrivals) *uint64 { return &a.Repeated })
		}
		for _, r := range w.Refused {
			if r.Reason == telemetry.ReasonConflict {
				count(r.Index, func(a *telemetry.Arrivals) *uint64 { return &a.Conflicts })
			}
		}
	}
}

// Arrivals calls yield for every device that sent something since the hub
// started, until yield returns false.
func (p *Pipeline) Arrivals(yield func(device string, a *telemetry.Arrivals) bool) {
	for _, s := range p.all() {
		s.mu.Lock()
		a := s.arrivals
		s.mu.Unlock()
		if a.Samples+a.Refused > 0 && !yield(s.id, &a) {
			return
		}
	}
}
