package traffic

import (
	"fmt"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// unit is what is known of one roadside unit.
type unit struct {
	id string
	mu sync.Mutex

	windows map[int64]*window // open minutes, by number since 1970
	// shut are the minutes of the last day that are written: bit m%len of each
	// minute up to newest.
	shut   [int(oldest / time.Minute / 64)]uint64
	newest int64     // minute of the newest event
	event  time.Time // newest event time
	heard  time.Time // when it last said something live

	documents map[documentKey]string

	record []byte // of the message that is taken
	told   []byte // documents of it
}

func newUnit(id string) *unit {
	return &unit{id: id, windows: map[int64]*window{}, documents: map[documentKey]string{}}
}

// take gives the message to all who watch.
func (u *unit) take(b *Board, a *Arrival, record []byte) ([]byte, error) {
	at, err := eventTime(a)
	if err != nil {
		return record, err
	}
	w, err := u.window(minuteOf(at), a.Received)
	if err != nil {
		return record, err
	}
	if !w.first(a.Hash) {
		return record, nil
	}
	u.record, u.told = appendHead(record, u.id, a.Hash, w.minute), u.told[:0]
	if a.Live {
		u.heard = a.Received
	}
	u.count(a, at)
	u.record = append(appendEnd(u.record), u.told...)
	u.event = later(u.event, at)
	record, u.record = u.record, nil
	return record, nil
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
	w := u.windows[m]
	if w == nil || w.closing {
		if u.isShut(m) || w != nil {
			m, c, v = minuteOf(u.event), Cell{Series: Late}, 1
			if w = u.windows[m]; w == nil || w.closing {
				return
			}
		} else {
			w = u.open(m)
		}
	}
	w.add(c, v)
	u.record = appendCell(u.record, m, c, v)
}
