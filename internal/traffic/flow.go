package traffic

import (
	"encoding/binary"
	"math/bits"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// How vehicles are counted.
const (
	// standing is below which speed a vehicle stands, in m/s: 5 km/h.
	standing = 5 / 3.6
	// usualLength is how long a vehicle is that does not say, in metres.
	usualLength = 4.5
	// speedStep is how wide a bucket of speeds is, in m/s. A quantile is off by
	// less than that. The last of the 256 buckets has all from 63.75 m/s.
	speedStep = 0.25
	// queueEvery is how often a minute queues are looked at.
	queueEvery = int64(time.Minute / instant)
)

// source is who tells of participants. What both tell of is counted twice, once
// for each, and labelled so.
type source uint8

const (
	bySensor  source = iota // of the unit
	byVehicle               // vehicles of themselves, heard by the unit or its sensors
)

// sourceOf is who tells: 1 and 2 of SourceType are a vehicle itself.
func sourceOf(p *road.Participant) source {
	if p.Self || p.Source == 1 || p.Source == 2 {
		return byVehicle
	}
	return bySensor
}

// special reports whether a vehicle is of police, fire or ambulance, or special
// in another way (BasicVehicleClass). It counts in totals, and in nothing that
// tells vehicles apart.
func special(class uint8) bool { return class == 1 || class >= 60 && class <= 69 }

// road takes what a message says of the road.
func (u *unit) road(b *Board, a *Arrival, at time.Time) error {
	switch m := a.Message; m.Kind {
	case road.KindMap:
		return u.chart(&b.cfg, m.Nodes, at)
	case road.KindBSM, road.KindRSM:
		u.participants(b, a, at)
	}
	return nil
}

func (u *unit) participants(b *Board, a *Arrival, at time.Time) {
	b.keys.turn(a.Received)
	b.keys.mu.RLock()
	defer b.keys.mu.RUnlock()
	var all, unmatched [2]int
	for i := range a.Message.Participants {
		p := &a.Message.Participants[i]
		s := sourceOf(p)
		all[s]++
		if p.Type != road.Unit && (apart(p.At, at) || !u.participant(b, a, s, p)) {
			unmatched[s]++
		}
	}
	for s, n := range unmatched {
		if n > 0 {
			u.add(at, Cell{Series: unmatchedBy[s]}, float64(n))
		}
	}
	if all[bySensor] > 0 {
		u.observed(at)
	}
}

// apart reports whether a sight is of another time than its message.
func apart(sight, message time.Time) bool {
	d := sight.Sub(message)
	return d > lateness || d < -lateness
}

// observed says that sensors look in this minute, so that nothing is a number on
// the links where they have seen somebody within a day. Others they may not see
// at all.
func (u *unit) observed(at time.Time) {
	w := u.at(minuteOf(at))
	if w == nil || w.closing || w.seenBy == u.net || u.net == nil {
		return
	}
	w.seenBy = u.net
	for i := range u.net.links {
		if l := &u.net.links[i]; !l.kept.sensed.IsZero() && at.Sub(l.kept.sensed) < oldest {
			u.observe(l, w, at)
		}
	}
}

// observe makes nothing a number on a link.
func (u *unit) observe(l *link, w *window, at time.Time) {
	if w.cells.has(l.cell(Occupancy, 1)) {
		return
	}
	u.add(at, l.cell(Occupancy, 1), float64(l.lanes)*float64(minuteMicros))
	u.add(at, l.cell(QueueMean, 1), float64(queueEvery))
	u.add(at, l.cell(QueueMax, 0), 0)
	for part := range vehicleKinds {
		u.add(at, l.cell(VehiclesBySensor, uint8(part)), 0)
	}
	for _, lane := range l.lane {
		u.add(at, l.cell(LaneVehicles, lane.id), 0)
	}
}

func (l *link) cell(s Series, part uint8) Cell { return Cell{s, part, l.from, l.to} }

// participant takes one sight of somebody; false when it is of nobody who is
// known to be on a link.
func (u *unit) participant(b *Board, a *Arrival, s source, p *road.Participant) bool {
	word, of := uint64(p.Track), uint64(ofTrack)
	if s == byVehicle && p.HasID {
		word, of = binary.BigEndian.Uint64(p.ID[:]), ofID
		if !u.saysID(b, a, word, p.At) {
			return false
		}
	} else if !p.HasTrack {
		return false
	}
	var spot place
	u.net.match(p, &spot)
	l, along, x, y := spot.link, spot.along, spot.x, spot.y
	watched := s == bySensor && p.Type == road.Motor && a.Live && !special(p.Class)
	if watched && spot.facing != nil {
		u.faces(b, a, p, word, &spot)
	}
	if l == nil {
		return false
	}
	now := p.At.UnixMicro()
	minute := now / minuteMicros
	if !u.takes(minute) {
		u.add(p.At, l.cell(participantsBy[s], 0), 1) // is late
		return true
	}
	t := u.tracks.of(b, word, l, of, now)
	if t == nil {
		u.limit(p.At, limitTracks)
		return true
	}
	front := along - l.detector
	if t.last != 0 && (now-t.last > trackLife.Microseconds() || front < -back && t.front.behind.t != 0 && now > t.front.behind.t) {
		t.again()
	}
	if now < t.start {
		return true
	}
	t.last = max(t.last, now)
	u.present(s, l, t, minute, p)
	if p.Type == road.Motor || p.Type == road.NonMotor {
		u.pass(s, l, t, p, sight{now, float32(front), float32(p.Speed)}, x, y)
	}
	if s == bySensor && p.Type == road.Motor && p.Speed < standing {
		if m, more := l.kept.queue.stands(now, l.length-along, lengthOf(p)); more > 0 {
			u.add(p.At, l.cell(QueueMax, 0), float64(m))
			u.add(p.At, l.cell(QueueMean, 0), float64(more))
		}
	}
	if watched && (p.Speed < standing || t.odd.t != 0) {
		u.stands(b, a, p, t, &spot)
	}
	return true
}

// present counts somebody, and the hazards that it tells of, once a minute.
func (u *unit) present(s source, l *link, t *track, minute int64, p *road.Participant) {
	said := t.said(minute)
	if *said&sighted == 0 {
		*said |= sighted
		u.add(p.At, l.cell(participantsBy[s], uint8(p.Type)), 1)
		if s == bySensor {
			l.kept.sensed = later(l.kept.sensed, p.At)
			u.observe(l, u.at(minute), p.At)
		}
	}
	if s != byVehicle || special(p.Class) {
		return
	}
	for fresh := p.Flags & hazardFlags &^ *said; fresh != 0; fresh &= fresh - 1 {
		u.hazard(p.At, l, uint8(bits.TrailingZeros16(fresh)), road.Position{Lat: p.Lat, Lon: p.Lon})
	}
	*said |= p.Flags & hazardFlags
}

// hazard counts that a vehicle on a link tells of a hazard, once a minute. kind is
// the place of its flag in Flags.
func (u *unit) hazard(at time.Time, l *link, kind uint8, _ road.Position) {
	u.add(at, l.cell(Hazards, kind), 1)
}

func lengthOf(p *road.Participant) float64 {
	if p.Length > 0 {
		return p.Length
	}
	return usualLength
}

// pass counts a vehicle that has passed the detector, and how long it was over
// it. What a later message knows better is counted anew, until its minute is
// written.
func (u *unit) pass(s source, l *link, t *track, p *road.Participant, front sight, x, y float64) {
	was := *t
	t.special = t.special || special(p.Class)
	passed := t.front.see(front)
	if t.front.behind.t != was.front.behind.t {
		t.kind = p.Type
		t.lane, t.hasLane = l.laneAt(x, y)
		t.hasLane = t.hasLane && !special(p.Class)
	}
	if passed && s == bySensor && p.Type == road.Motor {
		l.kept.passed = max(l.kept.passed, front.t)
	}
	if (passed || t.special != was.special) && !u.recount(s, l, &was, t) {
		*t = was
		return
	}
	if s != bySensor || p.Type != road.Motor || t.rear.behind.t != 0 && !passed && front.t > t.rear.behind.t {
		return
	}
	rear := front
	rear.x -= float32(lengthOf(p))
	t.rear.see(rear)
	if t.front.behind.t != 0 {
		u.over(l, t)
	}
}

// recount takes back what was counted of a track, and counts what is known of it
// now; false when it is too late for that.
func (u *unit) recount(s source, l *link, was, is *track) bool {
	before, v, counted := was.front.at()
	if counted && !u.takes(before/minuteMicros) {
		return false
	}
	now, w, ok := is.front.at()
	if !ok {
		return true
	}
	if !u.takes(now / minuteMicros) {
		if !counted {
			u.add(time.UnixMicro(now), l.cell(vehiclesBy[s], 0), 1) // is late
		}
		return !counted
	}
	if counted {
		u.passed(s, l, was, before, v, -1)
	}
	u.passed(s, l, is, now, w, 1)
	return true
}

// passed adds one that has passed, or takes it back. All numbers are whole, so
// that what is taken back leaves nothing.
func (u *unit) passed(s source, l *link, t *track, micros int64, speed int32, one float64) {
	at := time.UnixMicro(micros)
	if t.kind == road.NonMotor {
		u.add(at, l.cell(vehiclesBy[s], 1), one)
		return
	}
	u.add(at, l.cell(vehiclesBy[s], 0), one)
	u.add(at, l.cell(speedMeanBy[s], 0), one*float64(speed))
	u.add(at, l.cell(speedMeanBy[s], 1), one*1000)
	u.add(at, l.cell(speedBy[s], speedBucket(speed)), one)
	if s == bySensor {
		u.releasable(at, l, t.special, speed, one)
	}
	if t.hasLane && s == bySensor {
		u.add(at, l.cell(LaneVehicles, t.lane), one)
	}
}

func speedBucket(mm int32) uint8 { return uint8(min(max(float64(mm)/1000/speedStep, 0), 255)) }

// over adds to the time that vehicles were over the detector.
func (u *unit) over(l *link, t *track) {
	was, is := t.over, t.overDetector()
	if is == was {
		return
	}
	t.over = is
	first, last := is.from, max(was.until, is.until)
	if is.until == 0 || was.until > 0 && was.from < first {
		first = was.from
	}
	for m := first / minuteMicros; m <= last/minuteMicros; m++ {
		if d := is.in(m) - was.in(m); d != 0 && u.takes(m) {
			u.add(time.UnixMicro(m*minuteMicros), l.cell(Occupancy, 0), float64(d))
		}
	}
}

// What is bounded; the order stands in records.
const (
	limitTracks = iota
	limitIDs
	limitNodes
	limitLinks
)

var limits = []string{"tracks", "ids", "nodes", "links"}

// limit counts that something was left out because there is a bound.
func (u *unit) limit(at time.Time, what uint8) { u.add(at, Cell{Series: LimitHits, Part: what}, 1) }
