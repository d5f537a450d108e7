package traffic

import (
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// What a countdown may be off, on average, and what it looks ahead at most.
const (
	countdownError = 3 * time.Second
	countdownAhead = time.Hour
)

// outlook is what a phase announced of the end of its light: once a second, the
// last half minute before it changes.
type outlook struct {
	end, early, late time.Time // announced last; zero: not
	ends             [32]int64 // nanoseconds since 1970
	n                int
	next             time.Time // when to note the next one
}

// see notes what a state announces of the light that holds.
func (o *outlook) see(x *road.Phase, now time.Time) {
	o.end, o.early, o.late = time.Time{}, time.Time{}, time.Time{}
	for i := range x.States {
		s := &x.States[i]
		if s.Light != x.Light {
			continue
		}
		if ahead := s.End.Sub(now); !s.End.IsZero() && ahead >= 0 && ahead < countdownAhead {
			o.end, o.early, o.late = s.End, s.MinEnd, s.MaxEnd
		}
		break
	}
	if o.end.IsZero() || now.Before(o.next) {
		return
	}
	o.next = now.Add(time.Second)
	o.ends[o.n%len(o.ends)] = o.end.UnixNano()
	o.n++
}

// errors are how far what was announced was off, when the light changes.
func (o *outlook) errors(changed time.Time) (sum, most time.Duration, n int) {
	n = min(o.n, len(o.ends))
	for _, end := range o.ends[:n] {
		d := time.Duration(end - changed.UnixNano()).Abs()
		sum, most = sum+d, max(most, d)
	}
	return sum, most, n
}

// foreseen reports whether a change lies between the earliest and the latest end
// that were announced last.
func (o *outlook) foreseen(changed time.Time) bool {
	return !o.early.IsZero() && !o.late.IsZero() && !changed.Before(o.early.Add(-time.Second)) && !changed.After(o.late.Add(time.Second))
}

// countdown compares what was announced with the change of a light.
func (u *unit) countdown(b *Board, a *Arrival, s *signal, p *phase, now time.Time) {
	sum, most, n := p.outlook.errors(now)
	foreseen := p.outlook.foreseen(now)
	p.outlook = outlook{}
	if n == 0 {
		return
	}
	node, id := nodeCell(s.node), uint32(p.id)
	u.add(now, Cell{SignalCountdown, 0, node, id}, sum.Seconds())
	u.add(now, Cell{SignalCountdown, 1, node, id}, float64(n))
	u.add(now, Cell{SignalCountdownMax, 0, node, id}, most.Seconds())
	if mean := sum / time.Duration(n); mean > countdownError && !foreseen {
		u.find(b, a, now, CheckCountdown, 1, finding{node: s.node, phase: p.id, is: mean.Seconds(), want: countdownError.Seconds()})
	}
}
