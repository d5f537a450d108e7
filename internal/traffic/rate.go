package traffic

import (
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// rateWindow is what rates are of. A rate is wrong when it is in three windows in
// a row, so that what a link held back and gave out at once is not.
const (
	rateWindow = 10 * time.Second
	rateRow    = 3
	maxKinds   = 16
)

// rates count messages as they arrive, those that came before among them: a
// message that is told again is on the air again.
type rates struct {
	window    int64 // number since 1970
	counts    [maxKinds]uint32
	last      [maxKinds]uint32 // of the window before
	whole     bool             // the unit spoke in the window before
	complete  bool             // last is of a whole window
	due       bool             // last is not judged yet
	some      [maxKinds]uint8  // windows in a row that had any
	low, high [maxKinds]uint8
	above     [maxKinds]uint8
	regular   uint32 // kinds that came in a row of windows: others are sent now and then
}

func (r *rates) add(kind uint8, received time.Time) {
	switch n := received.Unix() / int64(rateWindow/time.Second); {
	case n == r.window+1:
		r.last, r.complete, r.due, r.whole = r.counts, r.whole, r.whole, true
		r.counts, r.window = [maxKinds]uint32{}, n
	case n > r.window:
		*r = rates{window: n}
	}
	r.counts[kind]++
}

// at are messages a second of the last window; nil when it was long ago.
func (r *rates) at(now time.Time) map[road.Kind]float64 {
	if !r.complete || now.Unix()/int64(rateWindow/time.Second) > r.window+1 {
		return nil
	}
	all := map[road.Kind]float64{}
	for kind, n := range r.last {
		if n > 0 {
			all[road.Kind(kinds[kind])] = float64(n) / rateWindow.Seconds()
		}
	}
	return all
}

// Expected is what a unit is configured to do, as far as anybody knows.
type Expected struct {
	At   *road.Position // where it was registered; nil: not known
	Beat time.Duration  // period of its heartbeat; 0: 60 s
	// Limits are the most messages a second that are wanted of it, by kind: 0 is off,
	// less is without bound.
	Limits map[road.Kind]float64
}

// Of units whose configuration nobody knows.
const (
	defaultBeat = time.Minute
	defaultSPAT = 10 // messages a second
	defaultMap  = 1
)

func (u *unit) expected(b *Board) (e Expected) {
	if b.cfg.Expect != nil {
		e = b.cfg.Expect(u.id)
	}
	if e.Beat <= 0 {
		e.Beat = defaultBeat
	}
	return e
}

// cap is how many messages of a kind a second the unit may send: what is wanted
// of it, or what it says that it is configured for, where that is less; false where
// there is no bound.
func (u *unit) cap(e *Expected, kind road.Kind) (float64, bool) {
	wanted, some := e.Limits[kind]
	has, said := u.status.Limits[string(kind)]
	some, said = some && wanted >= 0, said && has >= 0
	switch {
	case some && said:
		return min(wanted, has), true
	case some:
		return wanted, true
	}
	return has, said
}

// rate is how many messages of a kind a second should come: as the standard has it,
// but no more than the unit may send; false where nobody can say.
func (u *unit) rate(e *Expected, kind road.Kind) (float64, bool) {
	want := 0.0
	switch kind {
	case road.KindSPAT:
		want = defaultSPAT
	case road.KindMap:
		want = defaultMap
	default:
		return 0, false
	}
	if limit, ok := u.cap(e, kind); ok {
		want = min(want, limit)
	}
	return want, want > 0
}

// judgeRates compares the window that is over with what should have come.
func (u *unit) judgeRates(b *Board, a *Arrival, at time.Time) {
	r := &u.rates
	if !r.due {
		return
	}
	r.due = false
	e := u.expected(b)
	faulty, above := false, false
	for part, name := range kinds {
		kind, n := road.Kind(name), float64(r.last[part])
		if n > 0 {
			u.add(at, Cell{Series: RatePeak, Part: uint8(part)}, n/rateWindow.Seconds())
		}
		if row(&r.some[part], n > 0); r.some[part] >= rateRow {
			r.regular |= 1 << part
		}
		if want, ok := u.rate(&e, kind); ok && r.regular&(1<<part) != 0 {
			want *= rateWindow.Seconds()
			slack := max(1, want/10)
			row(&r.low[part], n < want-slack)
			row(&r.high[part], n > want+slack)
			if max(r.low[part], r.high[part]) >= rateRow {
				faulty = true
				u.find(b, a, at, CheckRate, 1, finding{kind: kind, is: n, want: want})
			}
		}
		if limit, ok := u.cap(&e, kind); ok {
			row(&r.above[part], n > limit*rateWindow.Seconds()*1.1+1)
			if r.above[part] >= rateRow {
				above = true
				f := finding{kind: kind, is: n / rateWindow.Seconds(), want: limit}
				u.find(b, a, at, CheckLimit, 1, f)
				said := checkTexts[CheckLimit].found(&f)
				u.deviates(kind, "limit", "", said.ZH, said.EN, a.Received)
			}
		}
	}
	if !faulty {
		u.sound(CheckRate, road.NodeID{})
	}
	if !above {
		u.sound(CheckLimit, road.NodeID{})
	}
}

// row counts how often in a row something is so.
func row(n *uint8, is bool) {
	if !is {
		*n = 0
	} else if *n < rateRow {
		*n++
	}
}
