package traffic

import (
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// clockOff is how far the time of a unit may be from that of the hub: what a
// mobile link and a queue take is no fault of the clock.
const clockOff = 2 * time.Second

// offsets are how far the times of payloads are from those of their arrival, of
// live messages.
type offsets struct {
	last   [15]time.Duration
	n      int
	median time.Duration
	minute int64
	sum    time.Duration // not told yet
	most   time.Duration
	untold int
}

// tellsTime reports whether the time of a message is that of the unit's own
// clock. That of BSM is each vehicle's, that of a map or an event is of whole
// minutes or of something else.
func tellsTime(m *road.Message) bool {
	switch m.Kind {
	case road.KindSPAT: // without milliseconds it is of whole minutes, too
		return m.At.Second() != 0 || m.At.Nanosecond() != 0
	case road.KindRSM, road.KindHeartbeat, road.KindBase, road.KindRunning, road.KindDiagnostic, road.KindAnswer:
		return !m.At.IsZero()
	}
	return false
}

// offset follows the clock of the unit.
func (u *unit) offset(b *Board, a *Arrival, at time.Time) {
	if !tellsTime(a.Message) {
		return
	}
	o := &u.offsets
	if m := minuteOf(at); m != o.minute {
		o.tell(u, at)
		o.minute = m
	}
	d := a.Message.At.Sub(a.Received)
	o.last[o.n%len(o.last)] = d
	o.n++
	o.sum += d
	o.most = max(o.most, d.Abs())
	o.untold++
	if o.n%len(o.last) != 0 {
		return
	}
	o.tell(u, at)
	sorted := o.last
	slices.Sort(sorted[:])
	o.median = sorted[len(sorted)/2]
	if o.median.Abs() > clockOff {
		u.find(b, a, at, CheckClock, 1, finding{is: o.median.Seconds(), want: clockOff.Seconds()})
	} else {
		u.sound(CheckClock, road.NodeID{})
	}
}

// tell adds what came since to the minute of the newest.
func (o *offsets) tell(u *unit, at time.Time) {
	if o.untold == 0 {
		return
	}
	if minuteOf(at) != o.minute {
		at = time.Unix(o.minute*60, 0)
	}
	u.add(at, Cell{Series: ClockOffset, Part: 0}, o.sum.Seconds())
	u.add(at, Cell{Series: ClockOffset, Part: 1}, float64(o.untold))
	u.add(at, Cell{Series: ClockOffsetMax}, o.most.Seconds())
	o.sum, o.most, o.untold = 0, 0, 0
}

// now is the median, of the few that came at first, too.
func (o *offsets) now() time.Duration {
	if o.n >= len(o.last) || o.n == 0 {
		return o.median
	}
	some := slices.Clone(o.last[:o.n])
	slices.Sort(some)
	return some[len(some)/2]
}

// beats follow the heartbeat.
type beats struct {
	last  time.Time
	times [3]time.Duration // from one to the next
	n     int
	wrong bool
}

// period is the median of the last ones; 0 until three came.
func (h *beats) period() time.Duration {
	if h.n < len(h.times) {
		return 0
	}
	sorted := h.times
	slices.Sort(sorted[:])
	return sorted[len(sorted)/2]
}

// beat compares the period of the heartbeat with the configured one. One long
// pause proves nothing: the link may have been down.
func (u *unit) beat(b *Board, a *Arrival, at time.Time) {
	h := &u.beats
	d := at.Sub(h.last)
	if h.last.IsZero() || d < 0 {
		h.last = at
		return
	}
	if d < time.Second { // told twice
		return
	}
	h.last = at
	h.times[h.n%len(h.times)] = d
	h.n++
	u.add(at, Cell{Series: BeatPeriod, Part: 0}, d.Seconds())
	u.add(at, Cell{Series: BeatPeriod, Part: 1}, 1)
	is, want := h.period(), u.expected(b).Beat
	if is == 0 {
		return
	}
	if is >= want/2 && is <= want*3/2 {
		h.wrong = false
		u.sound(CheckBeat, road.NodeID{})
		return
	}
	n := int64(1)
	if !h.wrong {
		n = int64(len(h.times))
	}
	h.wrong = true
	f := finding{is: math.Round(is.Seconds()), want: want.Seconds()}
	u.find(b, a, at, CheckBeat, n, f)
	said := checkTexts[CheckBeat].found(&f)
	u.deviates(road.KindHeartbeat, "period", "", said.ZH, said.EN, a.Received)
}
