package traffic

import (
	"fmt"
	"slices"
	"time"
)

// window is a minute of a unit that is open.
type window struct {
	minute  int64
	cells   map[Cell]float64
	seen    map[uint64]struct{} // hashes of the messages that were counted
	touched time.Time           // when something came for it last
	// late says that the unit was past the minute when it opened: more of its
	// history may follow in any order, so that it closes by silence alone.
	late    bool
	closing bool
}

func minuteOf(t time.Time) int64 {
	s := t.Unix()
	if s < 0 {
		return (s - 59) / 60
	}
	return s / 60
}

// first notes a message, and reports whether it had not come before.
func (w *window) first(hash uint64) bool {
	if _, there := w.seen[hash]; there {
		return false
	}
	w.seen[hash] = struct{}{}
	return true
}

// add adds to a cell in the way of its series.
func (w *window) add(c Cell, v float64) {
	old, there := w.cells[c]
	switch d := definition(c.Series); {
	case !there || d.Form == Last:
		w.cells[c] = v
	case d.Form == Max:
		w.cells[c] = max(old, v)
	default:
		w.cells[c] = old + v
	}
}

// window opens the minute, unless it is written or too old.
func (u *unit) window(m int64, now time.Time) (*window, error) {
	w := u.windows[m]
	if w == nil && !u.isShut(m) && m > minuteOf(now)-int64(oldest/time.Minute) {
		w = u.open(m)
	}
	if w == nil || w.closing {
		return nil, &Refused{WindowClosed, fmt.Sprintf("the minute of %s is over for this unit: its numbers are written, or it is more than %s ago", time.Unix(m*60, 0).UTC().Format(time.RFC3339), oldest)}
	}
	w.touched = now
	return w, nil
}

func (u *unit) open(m int64) *window {
	w := &window{minute: m, cells: map[Cell]float64{}, seen: map[uint64]struct{}{}, late: u.past(m)}
	u.windows[m] = w
	if m > u.newest {
		u.forgetShut(m)
		u.newest = m
	}
	return w
}

// past reports whether the unit's time is beyond a minute and what may be late.
func (u *unit) past(m int64) bool {
	return !u.event.Before(time.Unix((m+1)*60, 0).Add(lateness))
}

// shutBit is where the minute stands in shut.
func (u *unit) shutBit(m int64) (word *uint64, bit uint64) {
	i := uint64(m) % uint64(len(u.shut)*64)
	return &u.shut[i/64], 1 << (i % 64)
}

// isShut reports whether a minute is written; one that is too old for the bits is.
func (u *unit) isShut(m int64) bool {
	if m <= u.newest-int64(len(u.shut)*64) {
		return true
	}
	word, bit := u.shutBit(m)
	return m <= u.newest && *word&bit != 0
}

// forgetShut takes back the bits of the minutes between newest and m: they
// stood for those of the day before.
func (u *unit) forgetShut(m int64) {
	for i := max(u.newest+1, m-int64(len(u.shut)*64)+1); i <= m; i++ {
		word, bit := u.shutBit(i)
		*word &^= bit
	}
}

// Minute is what a unit's minute of event time comes to.
type Minute struct {
	Unit   string
	Start  time.Time
	minute int64
	// Samples have the time of the end of the minute.
	Samples []Sample
}

// closing returns the minutes that are over.
func (u *unit) closing(now time.Time) (all []Minute) {
	for m, w := range u.windows {
		if !w.closing && (w.late || !u.past(m)) && now.Before(w.touched.Add(silence)) {
			continue
		}
		w.closing = true
		all = append(all, Minute{Unit: u.id, Start: time.Unix(m*60, 0).UTC(), minute: m, Samples: w.samples()})
	}
	slices.SortFunc(all, func(a, b Minute) int { return a.Start.Compare(b.Start) })
	return all
}

// written forgets a minute and does not let it open again.
func (u *unit) written(m int64) {
	delete(u.windows, m)
	if m > u.newest {
		u.forgetShut(m)
		u.newest = m
	}
	if m > u.newest-int64(len(u.shut)*64) {
		word, bit := u.shutBit(m)
		*word |= bit
	}
}
