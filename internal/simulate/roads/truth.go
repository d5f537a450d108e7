package roads

import (
	"encoding/json"
	"io"
	"slices"
	"time"
)

// Truth is what truly happened, as nobody on the road can see it.
type Truth struct {
	Flows  map[FlowKey]*Flow
	Events []TrueEvent
	// Passed, if set, is told of each vehicle that passes the detector of a link.
	Passed func(Passage)
}

// Passage is a vehicle at the detector of a link.
type Passage struct {
	From, To uint16
	At       time.Time
	Vehicle  int
	Speed    float64 // m/s
}

// FlowKey names a link in a minute.
type FlowKey struct {
	From, To uint16
	Minute   int64 // of Unix time
}

// Flow is what passed the detector of a link in a minute.
type Flow struct {
	Vehicles int
	SpeedSum float64 // m/s, when they passed
}

// TrueEvent is an event that a unit told of.
type TrueEvent struct {
	Unit       string
	ID         int
	Type       int
	Start, End time.Time
}

// passed counts a vehicle that has passed the detector in this tick.
func (t *Truth) passed(now time.Time, l *link, c *vehicle, before float64) {
	at := l.length - Detector
	if before >= at || c.s < at {
		return
	}
	k := FlowKey{l.from.id, l.to.id, now.Unix() / 60}
	f := t.Flows[k]
	if f == nil {
		f = &Flow{}
		t.Flows[k] = f
	}
	f.Vehicles++
	f.SpeedSum += c.v
	if t.Passed != nil {
		t.Passed(Passage{From: l.from.id, To: l.to.id, At: now, Vehicle: c.number, Speed: c.v})
	}
}

// Write writes the truth as lines of JSON, by time and link.
func (t *Truth) Write(to io.Writer) error {
	keys := make([]FlowKey, 0, len(t.Flows))
	for k := range t.Flows {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b FlowKey) int {
		return int(min(1, max(-1, (a.Minute-b.Minute)<<32+int64(a.From)<<16-int64(b.From)<<16+int64(a.To)-int64(b.To))))
	})
	out := json.NewEncoder(to)
	for _, k := range keys {
		f := t.Flows[k]
		err := out.Encode(map[string]any{"minute": time.Unix(k.Minute*60, 0).UTC(), "from": k.From, "to": k.To, "vehicles": f.Vehicles, "mean_speed": f.SpeedSum / float64(f.Vehicles)})
		if err != nil {
			return err
		}
	}
	for _, e := range t.Events {
		if err := out.Encode(map[string]any{"unit": e.Unit, "event": e.ID, "type": e.Type, "start": e.Start, "end": e.End}); err != nil {
			return err
		}
	}
	return nil
}
