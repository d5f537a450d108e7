package traffic

import (
	"fmt"
	"slices"
	"time"
)

// window is a minute of a unit that is open.
type window struct {
	minute  int64
	cells   cells
	seen    hashes    // of the messages that were counted
	touched time.Time // when something came for it last
	// late says that the unit was past the minute when it opened: more of its
	// history may follow in any order, so that it closes by silence alone.
	late    bool
	closing bool
	seenBy  *net // the map whose links sensors have seen in it
}

func minuteOf(t time.Time) int64 {
	s := t.Unix()
	if s < 0 {
		return (s - 59) / 60
	}
	return s / 60
}

// first notes a message, and reports whether it had not come before.
func (w *window) first(hash uint64) bool { return w.seen.add(hash) }

// full says that the minute takes no more messages.
func (w *window) full() bool { return w.seen.n >= maxSeen }

// add adds to a cell in the way of its series.
func (w *window) add(c Cell, v float64) {
	if c.Series == 0 {
		return
	}
	e := w.cells.place(c)
	switch d := definition(c.Series); {
	case e.Series == 0:
		e.Cell, e.v = c, v
	case d.Form == Last:
		e.v = v
	case d.Form == Max:
		e.v = max(e.v, v)
	default:
		e.v += v
	}
}

// at is the window of a minute, nil when none is open or closing. What comes now
// is mostly of the minute of what came before.
func (u *unit) at(m int64) *window {
	if w := u.recent; w != nil && w.minute == m {
		return w
	}
	w := u.windows[m]
	if w != nil {
		u.recent = w
	}
	return w
}

// takes reports whether a minute is open.
func (u *unit) takes(m int64) bool {
	w := u.at(m)
	return w != nil && !w.closing || w == nil && !u.isShut(m)
}

// window opens the minute, unless it is written or too old, or so far ahead that
// the minutes of now would be too old for a unit that has seen it.
func (u *unit) window(m int64, now time.Time) (*window, error) {
	if m > minuteOf(now)+int64(ahead/time.Minute) {
		return nil, &Refused{TimeUnresolved, fmt.Sprintf("its time, %s, is more than %s after it came; let the unit's clock be set", time.Unix(m*60, 0).UTC().Format(time.RFC3339), ahead)}
	}
	w := u.at(m)
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
	w := u.spare // with the room that a minute needs
	if w == nil {
		w = &window{}
	}
	u.spare = nil
	*w = window{minute: m, cells: w.cells, seen: w.seen, late: u.past(m)}
	u.windows[m] = w
	if m > u.newest {
		u.forgetShut(m)
		u.newest = m
	}
	return w
}

// past reports whether the unit's time is beyond a minute and what may be late.
func (u *unit) past(m int64) bool {
	return !u.reached().Before(time.Unix((m+1)*60, 0).Add(lateness))
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
	// Passages are those of all links of the unit's map, the empty ones too.
	Passages []Passages
}

// closing returns the minutes that are over.
func (u *unit) closing(now time.Time) (all []Minute) {
	for m, w := range u.windows {
		if !w.closing && (w.late || !u.past(m)) && now.Before(w.touched.Add(silence)) {
			continue
		}
		if w.closing = true; !w.late {
			u.keepNumbers(w)
		}
		all = append(all, Minute{Unit: u.id, Start: time.Unix(m*60, 0).UTC(), minute: m, Samples: w.samples(), Passages: u.passagesOf(w)})
	}
	slices.SortFunc(all, func(a, b Minute) int { return a.Start.Compare(b.Start) })
	return all
}

// written forgets a minute and does not let it open again.
func (u *unit) written(m int64) {
	if w := u.windows[m]; w != nil {
		delete(u.windows, m)
		w.cells.clear()
		w.seen.clear()
		u.spare, u.recent = w, nil
	}
	if len(u.windows) == 0 { // it has fallen silent
		u.tracks = tracks{}
	}
	if m > u.newest {
		u.forgetShut(m)
		u.newest = m
	}
	if m > u.newest-int64(len(u.shut)*64) {
		word, bit := u.shutBit(m)
		*word |= bit
	}
}
