package traffic

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// unit is what is known of one roadside unit.
type unit struct {
	id string
	mu sync.Mutex

	windows map[int64]*window // open minutes, by number since 1970
	recent  *window           // of windows, that of the last message
	spare   *window           // empty, for the next minute
	// shut are the minutes of the last day that are written: bit m%len of each
	// minute up to newest.
	shut    [int(oldest / time.Minute / 64)]uint64
	newest  int64     // minute of the newest event
	event   time.Time // newest event time
	own     time.Time // newest time of the unit's clock
	theirs  time.Time // newest time of the clocks of vehicles
	relayed time.Time // when it last passed on what a vehicle said
	heard   time.Time // when it last said something live

	documents map[documentKey]string

	health
	signals    map[road.NodeID]*signal
	maps       map[road.NodeID]*mapped
	events     events
	faults     map[faultKey]*fault
	evidence   evidence
	deviations map[deviationKey]*Deviation
	deviating  int // fields that deviated, not told yet

	number uint32 // in saidIDs, from 1
	nodes  []charted
	net    *net // of nodes; nil before there is one
	tracks tracks

	record []byte // of the message that is taken
	told   []byte // documents of it
}

func newUnit(id string) *unit {
	return &unit{id: id, windows: map[int64]*window{}, documents: map[documentKey]string{}, health: health{status: noStatus(), offBy: math.NaN()}}
}

// take gives the message to all who watch.
func (u *unit) take(b *Board, a *Arrival, record []byte) ([]byte, error) {
	u.hear(a)
	at, err := eventTime(a)
	if err != nil {
		u.unresolved(a)
		return record, err
	}
	at = u.toldAt(a, at)
	w, err := u.window(minuteOf(at), a.Received)
	if err != nil {
		return record, err
	}
	if w.full() {
		return record, &Refused{TooMany, fmt.Sprintf("the minute of %s has had %d messages of this unit already; let the unit send less", at.UTC().Format(time.RFC3339), maxSeen)}
	}
	if a.Again && u.delivered(a.Delivery) || !w.first(a.Hash) {
		return record, nil
	}
	u.record, u.told = appendHead(record, u.id, a.Hash, w.minute), u.told[:0]
	if err := u.road(b, a, at); err != nil {
		return record, err
	}
	u.begin(b, a, at)
	u.count(a, at)
	u.watch(b, a, at)
	u.record = append(appendEnd(u.record), u.told...)
	if a.Delivery != 0 && w.first(a.Delivery) { // a message that adds nothing
		u.record = appendEnd(appendHead(u.record, u.id, a.Delivery, w.minute))
	}
	u.passes(a, at)
	record, u.record = u.record, nil
	return record, nil
}

// delivered reports whether a minute that is open has counted a delivery.
func (u *unit) delivered(hash uint64) bool {
	for _, w := range u.windows {
		if hash != 0 && w.seen.has(hash) {
			return true
		}
	}
	return false
}

// eventTime is when what a message says was so. Participants and signals must
// have a time; what stands still takes that of its arrival.
func eventTime(a *Arrival) (time.Time, error) {
	m := a.Message
	switch {
	case !m.At.IsZero():
		return m.At, nil
	case m.Kind == road.KindBSM || m.Kind == road.KindRSM || m.Kind == road.KindSPAT:
		return time.Time{}, &Refused{TimeUnresolved, fmt.Sprintf("a message of kind %s has no time, or none near %s, when it came; let the unit's clock be set", m.Kind, a.Received.UTC().Format(time.RFC3339))}
	}
	return a.Received, nil
}

// passes notes the time that a message gives. The clocks of the unit and of the
// vehicles that it hears may differ; an event has a time of its own.
func (u *unit) passes(a *Arrival, at time.Time) {
	u.event = later(u.event, at)
	switch {
	case a.Message.At.IsZero() || a.Message.Kind == road.KindRSI:
	case a.Message.Kind == road.KindBSM:
		u.theirs, u.relayed = later(u.theirs, at), later(u.relayed, a.Received)
	default:
		u.own = later(u.own, at)
	}
}

// reached is the time that all clocks are past that the unit tells of. Where no
// vehicle passes, that is its own.
func (u *unit) reached() time.Time {
	quiet := !u.own.IsZero() && u.heard.Sub(u.relayed) > lateness
	if u.theirs.IsZero() || quiet || !u.own.IsZero() && u.own.Before(u.theirs) {
		return u.own
	}
	return u.theirs
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// count adds that a message came.
func (u *unit) count(a *Arrival, at time.Time) {
	u.add(at, Cell{Series: Messages, Part: partOf(a.Message.Kind)}, 1)
	u.add(at, Cell{Series: Bytes}, float64(len(a.Raw)))
}

// add adds to a number of the minute of a time, and tells it in the record. What
// belongs to a minute that is closed is counted as late.
func (u *unit) add(at time.Time, c Cell, v float64) {
	m := minuteOf(at)
	w := u.at(m)
	if w == nil || w.closing {
		if u.isShut(m) || w != nil {
			m, c, v = minuteOf(u.event), Cell{Series: Late}, 1
			if w = u.at(m); w == nil || w.closing {
				return
			}
		} else {
			w = u.open(m)
		}
	}
	w.add(c, v)
	u.record = appendCell(u.record, m, c, v)
}
