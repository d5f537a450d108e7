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
	// Incidents are those on the road, whoever tells of them.
	Incidents []*Incident
	Units     map[string]*TrueUnit
	// Passed, if set, is told of each vehicle that passes the detector of a link.
	Passed func(Passage)
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
	// Edge are those of them that passed within EdgeTime of where the minute begins
	// or ends.
	Edge int
	// Connected are those of them that send BSM.
	Connected int
	// Occupied is how long vehicles were over the detector: while their front was
	// behind it, and by less than they are long.
	Occupied time.Duration
	// QueueMax and QueueSum are of the queues at every fifth second, in metres: of
	// those that are slower than Standing, with no more than QueueGap free before
	// the first and between two, the rear of the last from the stop line.
	QueueMax, QueueSum float64
}

// What the truth is measured by.
const (
	EdgeTime = Tick
	Standing = 5 / 3.6 // m/s
	QueueGap = 10.0    // metres
	// QueueEvery is how often queues are measured.
	QueueEvery = 5 * time.Second
)

// TrueEvent is an event that a unit told of.
type TrueEvent struct {
	Unit       string
	ID         int
	Type       int
	Start, End time.Time
}

// Incident is something that a vehicle does on a link where it should not.
type Incident struct {
	Unit     string // at the end of the link
	Type     int    // GB/T 29100: 903 it stands, 904 it drives against the direction
	From, To uint16
	// Start and End are when it began to stand, or to be seen, and when it drove on,
	// or was gone; End is zero until then.
	Start, End time.Time
	Lat, Lon   float64 // at the start
}

func (t *Truth) flow(l *link, at time.Time) *Flow {
	k := FlowKey{l.from.id, l.to.id, at.Unix() / 60}
	f := t.Flows[k]
	if f == nil {
		f = &Flow{}
		t.Flows[k] = f
	}
	return f
}

// moved tells of a vehicle that has moved on in the tick that ends now, at an even
// speed.
func (t *Truth) moved(now time.Time, l *link, c *vehicle, before float64) {
	at := l.length - Detector
	if c.s < at || before >= at+c.length {
		return
	}
	begin := now.Add(-Tick)
	reached := func(s float64) time.Time { // within the tick
		if c.s <= before {
			return now
		}
		share := min(1, max(0, (s-before)/(c.s-before)))
		return begin.Add(time.Duration(share * float64(Tick)))
	}
	from, until := begin, now
	if before < at {
		from = reached(at)
		f := t.flow(l, from)
		f.Vehicles++
		f.SpeedSum += c.v
		if t.Passed != nil {
			t.Passed(Passage{From: l.from.id, To: l.to.id, At: from, Vehicle: c.number, Speed: c.v})
		}
		if c.connected {
			f.Connected++
		}
		if in := from.Sub(from.Truncate(time.Minute)); in < EdgeTime || in >= time.Minute-EdgeTime {
			f.Edge++
		}
	}
	if c.s >= at+c.length {
		until = reached(at + c.length)
	}
	t.flow(l, begin).Occupied += until.Sub(from)
}

// queues measures the queue of a link, every fifth second.
func (t *Truth) queues(now time.Time, l *link) {
	if now.UnixNano()%int64(QueueEvery) != 0 {
		return
	}
	end := 0.0
	for _, c := range l.cars {
		front := l.length - c.s
		if c.v >= Standing || front > seen {
			continue
		}
		if front-end > QueueGap {
			break
		}
		end = front + c.length
	}
	if end > 0 {
		f := t.flow(l, now)
		f.QueueMax = max(f.QueueMax, end)
		f.QueueSum += end
	}
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
		line := map[string]any{"minute": time.Unix(k.Minute*60, 0).UTC(), "from": k.From, "to": k.To, "vehicles": f.Vehicles,
			"occupancy": f.Occupied.Seconds() / 60, "queue_max": f.QueueMax, "queue_mean": f.QueueSum / float64(time.Minute/QueueEvery)}
		if f.Vehicles > 0 {
			line["mean_speed"] = f.SpeedSum / float64(f.Vehicles)
		}
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	for _, e := range t.Events {
		if err := out.Encode(map[string]any{"unit": e.Unit, "event": e.ID, "type": e.Type, "start": e.Start, "end": e.End}); err != nil {
			return err
		}
	}
	for _, i := range t.Incidents {
		line := map[string]any{"unit": i.Unit, "incident": i.Type, "from": i.From, "to": i.To, "start": i.Start, "lat": i.Lat, "lon": i.Lon}
		if !i.End.IsZero() {
			line["end"] = i.End
		}
		if err := out.Encode(line); err != nil {
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
