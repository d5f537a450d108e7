package traffic

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// The events that the hub derives of the places of vehicles that sensors see,
// with their types (GB/T 29100).
const (
	eventStopped  = 903
	eventWrongWay = 904
	// Derived is the source of events that the hub derives.
	Derived = "derived"
)

// When a vehicle stands where it should not.
const (
	// stoppedFor is how long it stands without a reason that can be seen, before
	// that is an event.
	stoppedFor = 2 * time.Minute
	// stoppedWithin is how far along the link it may seem to move meanwhile, metres.
	stoppedWithin = 5.0
	// freeAhead is how far before it nobody stands: else it waits for them.
	freeAhead = 20.0
	// redReach is how far before the stop line one may wait for the light, with
	// others before it that the sensors do not see, in metres.
	redReach = 60.0
	// passing is how long ago another one has passed the detector at most, for one at
	// the stop line not to wait for what is behind that.
	passing = 15 * time.Second
	// unseen is how far apart two sights may be, for it to stand in between.
	unseen = 5 * time.Second
	// lightsKnown is how old the state of signals may be.
	lightsKnown = 5 * time.Second
)

// When a vehicle drives against the direction of a lane.
const (
	wrongHeading = 135.0 // degrees off the direction of the lane, at least
	wrongSpeed   = 3.0   // m/s, at least: others roll back, or park
	wrongSights  = 8     // more within a lane than twice those outside of one
	wrongMetres  = 30.0  // that it has come nearer to the begin of the link
	// wrongWithin is how many metres within the edges of the lane it is: traffic of
	// the other direction is beside.
	wrongWithin = 0.75
	wrongUnseen = 3 * time.Second
	// wrongStep is how far it may be from where it was, besides what the fastest
	// drive; else it is another one. Metres, and m/s.
	wrongStep, fastest = 5.0, 60.0
)

// Events of one kind on a link that are no further apart are one, in metres; one
// that moves is told of as often.
const (
	stoppedApart  = 15.0
	wrongWayApart = 300.0
	wrongWayMoves = 50.0
	// wrongWayRadius is how far around its place it is told of: as far as one
	// drives until it is found, so that two units tell of one.
	wrongWayRadius = 250.0
	retoldEvery    = time.Second
)

// oddity is what is odd about a vehicle on a link, as far as is known: that it
// stands, or that it drives against the direction.
type oddity struct {
	t     int64   // of its last sight, µs; 0: none
	since int64   // of its first one
	from  float32 // metres along the link, at the first sight
	at    float32 // and at the last one
	stood int64   // µs, without a reason that can be seen
	n     int16   // sights within a lane, less twice those outside of one
}

// stands watches one on a link that may stand where it should not.
func (u *unit) stands(b *Board, a *Arrival, p *road.Participant, t *track, spot *place) {
	o, now := &t.odd, p.At.UnixMicro()
	dt, slow := now-o.t, p.Speed < standing
	switch {
	case o.t != 0 && dt <= 0: // late
		return
	case o.t == 0 || dt > trackLife.Microseconds() || math.Abs(spot.along-float64(o.from)) > stoppedWithin:
		if *o = (oddity{}); slow {
			*o = oddity{t: now, since: now, from: float32(spot.along)}
		}
		return
	}
	o.t = now
	if !slow {
		return
	}
	counts := false
	if dt <= unseen.Microseconds() && !u.waits(spot, now) {
		if spot.link.lies(spot.x, spot.y, 0) == nil {
			o.stood = max(0, o.stood-dt)
			return
		}
		o.stood += dt
		counts = true
	}
	found := o.stood >= stoppedFor.Microseconds()
	if found || counts && u.events.derived() {
		u.derive(b, a, odd{kind: eventStopped, link: spot.link, along: spot.along, at: p.At, since: time.UnixMicro(o.since).UTC(), apart: stoppedApart, begins: found})
	}
}

// waits reports whether one who stands there has a reason that can be seen, or may
// have one: others who stand ahead, the light, or what is behind the stop line.
func (u *unit) waits(spot *place, now int64) bool {
	l := spot.link
	before := l.length - spot.along
	switch {
	case before < 0 || spot.along < 0 || l.kept.queue.ahead(now, before, freeAhead):
		return true
	case before > redReach:
		return false
	case !u.goes(l, spot, now):
		return true
	}
	return before <= freeAhead && now-l.kept.passed > passing.Microseconds()
}

// goes reports whether it is known that all lights let one go.
func (u *unit) goes(l *link, spot *place, now int64) bool {
	s, lane := u.signals[nodeOf(l.to)], l.lies(spot.x, spot.y, 0)
	if s == nil || lane == nil || len(lane.phases) == 0 || time.UnixMicro(now).Sub(s.at).Abs() > lightsKnown {
		return false
	}
	return !slices.ContainsFunc(lane.phases, func(id uint8) bool {
		i := slices.IndexFunc(s.phases, func(p *phase) bool { return p.id == id })
		return i < 0 || !green.has(s.phases[i].light)
	})
}

// faces watches one who drives where a link comes from.
func (u *unit) faces(b *Board, a *Arrival, p *road.Participant, word uint64, spot *place) {
	l := spot.facing
	if !(p.Speed >= wrongSpeed) || spot.back < 0 || spot.back > l.length || spot.link != nil && spot.link.lies(spot.x, spot.y, 0) != nil {
		return
	}
	lane := l.lies(spot.x, spot.y, wrongWithin)
	t := u.tracks.of(b, word, l, ofFacing, p.At.UnixMicro())
	if t == nil {
		u.limit(p.At, limitTracks)
		return
	}
	o, now := &t.odd, p.At.UnixMicro()
	dt := now - o.t
	if o.t != 0 && dt <= 0 { // late
		return
	}
	t.last = now
	step := float64(o.at) - spot.back
	if o.t == 0 || dt > wrongUnseen.Microseconds() || step < -wrongStep || step > wrongStep+fastest*float64(dt)/1e6 {
		*o = oddity{since: now, from: float32(spot.back)}
	}
	o.t, o.at = now, float32(spot.back)
	if lane == nil {
		if o.n -= 2; o.n <= 0 {
			*o = oddity{}
		}
		return
	}
	if o.n < math.MaxInt16 {
		o.n++
	}
	if o.n >= wrongSights && float64(o.from)-spot.back >= wrongMetres {
		u.derive(b, a, odd{kind: eventWrongWay, link: l, along: spot.back, at: p.At, since: time.UnixMicro(o.since).UTC(), apart: wrongWayApart, moves: wrongWayMoves, radius: wrongWayRadius, begins: true})
	}
}

// odd is something that vehicles on a link do.
type odd struct {
	kind   int
	link   *link
	along  float64
	at     time.Time
	since  time.Time
	apart  float64 // metres within which it is the same
	moves  float64 // metres after which its place is another one; 0: it does not move
	radius float64
	begins bool // it is an event, if it is none yet
}

// derived reports whether some event that is going on is derived.
func (e *events) derived() bool {
	for _, x := range e.going {
		if x.derived {
			return true
		}
	}
	return false
}

// derive tells of an event as units tell of theirs. What the unit itself tells of
// there is not told again.
func (u *unit) derive(b *Board, a *Arrival, o odd) {
	at := coarse(u.net.on(o.link, o.along))
	on := road.EventLink{From: nodeOf(o.link.from), To: nodeOf(o.link.to)}
	var x *event
	for _, other := range u.events.going {
		switch d := metres(other.place, at); {
		case other.e.Type != o.kind || !other.going(a.Received):
		case !other.derived && d <= nearBy:
			return
		case other.derived && d <= o.apart && slices.ContainsFunc(other.e.Links, func(l road.EventLink) bool { return l.From == on.From && l.To == on.To }):
			x = other
		}
	}
	e := road.Event{Type: o.kind, Source: Derived, At: at, Radius: math.NaN(), Start: o.since, Priority: -1, Confidence: math.NaN()}
	if o.radius > 0 {
		e.Radius = o.radius
	}
	if x == nil {
		if !o.begins {
			return
		}
		e.ID = fmt.Sprintf("%s-%d-%s-%s-%d", Derived, o.kind, NodeName(on.From), NodeName(on.To), int(o.along)/10*10)
		if old := u.events.going[e.ID]; old != nil { // it is over, and nobody has looked
			u.end(b, e.ID, old)
		}
		if x = u.starts(b, a, &e, e.ID, o.at); x == nil {
			return
		}
		x.derived = true
	} else if a.Received.Sub(x.heard) < retoldEvery {
		return
	} else if e.ID, e.Start = x.e.ID, x.e.Start; o.moves == 0 || metres(x.place, at) < o.moves {
		e.At = x.e.At
	}
	e.Links = []road.EventLink{on}
	u.retold(b, a, &e, e.ID, x, o.at)
}

// coarse is a place to about a metre.
func coarse(p road.Position) road.Position {
	return road.Position{Lat: math.Round(p.Lat*1e5) / 1e5, Lon: math.Round(p.Lon*1e5) / 1e5}
}
