package roads

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/codec/v2x"
)

// Truth is what truly happened, as nobody on the road can see it.
type Truth struct {
	Flows  map[FlowKey]*Flow
	Events []TrueEvent
	Units  map[string]*TrueUnit
}

// TrueUnit is what a unit did, right and wrong.
type TrueUnit struct {
	Sent, Lost map[string]int // messages, by name
	// Changes are states in which a light was another than before, SkippedYellow
	// turns from green to red, and Conflicts times that both phases became green.
	Changes, SkippedYellow, Conflicts int
	PastEnd                           int // events told a minute or more after their end
}

// shown notes what the phases show.
func (u *TrueUnit) shown(before, now [2]v2x.LightState) {
	if before != now {
		u.Changes++
	}
	greens := func(l [2]v2x.LightState) bool {
		return l == [2]v2x.LightState{v2x.LightStateProtectedGreen, v2x.LightStateProtectedGreen}
	}
	for i := range now {
		if before[i] == v2x.LightStateProtectedGreen && now[i] == v2x.LightStateRed {
			u.SkippedYellow++
		}
	}
	if greens(now) && !greens(before) {
		u.Conflicts++
	}
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
}

// Write writes the truth as lines of JSON, by time and link, then by unit.
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
	for _, name := range slices.Sorted(maps.Keys(t.Units)) {
		u := t.Units[name]
		err := out.Encode(map[string]any{"unit": name, "sent": u.Sent, "lost": u.Lost, "light_changes": u.Changes, "skipped_yellow": u.SkippedYellow, "conflicts": u.Conflicts, "past_end": u.PastEnd})
		if err != nil {
			return err
		}
	}
	return nil
}
