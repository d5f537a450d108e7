package plan

import (
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// FreeStep is what of a pool is expected to be free for a time.
type FreeStep struct {
	Start, End time.Time
	// Free is by plan: without what is leased and does not end before, and what
	// deferred work is to use.
	Free schedule.Vector
	// Low, Median and High are what a forecast of the pool's free share makes of
	// its capacity, where one holds then; nil otherwise.
	Low, Median, High *schedule.Vector
}

// MaxAhead is how far capacity is forecast.
const MaxAhead = 7 * 24 * time.Hour

// Forecast says what of a pool will be free until a time, in steps of at least a
// quarter of an hour; false when it is not there. The first step is what is free
// now, by telemetry too; steps that say the same are one.
func (c *Cluster) Forecast(id string, now, until time.Time, signals signal.Set) ([]FreeStep, bool) {
	c.forget(now)
	i, ok := c.poolOf[id]
	if !ok {
		return nil, false
	}
	p := c.pools[i]
	shares := signals.Of(signal.Free, id)
	first := FreeStep{Start: now, End: earlier(until, now.Truncate(step).Add(step)), Free: p.capacity().Free}
	first.quantiles(p, shares, now)
	all := []FreeStep{first}
	for at := first.End; at.Before(until); at = at.Add(step) {
		s := FreeStep{Start: at, End: earlier(until, at.Add(step)), Free: p.left(at, at.Add(step))}
		s.quantiles(p, shares, at)
		if last := &all[len(all)-1]; last.same(&s) {
			last.End = s.End
			continue
		}
		all = append(all, s)
	}
	return all, true
}

// left is what is free all through [from, to), by plan.
func (p *pool) left(from, to time.Time) (v schedule.Vector) {
	use := p.busiest(stepOf(from), stepAfter(to))
	for d := range v {
		v[d] = max(0, p.cap[d]-use[d])
	}
	return v
}

func (s *FreeStep) quantiles(p *pool, shares *signal.Series, at time.Time) {
	f, known := shares.At(at)
	if !known {
		return
	}
	of := func(share float64) *schedule.Vector {
		v := p.share(share)
		return &v
	}
	s.Low, s.Median, s.High = of(f.Low), of(f.Value), of(f.High)
}

// share is so much of the capacity of a pool, rounded down.
func (p *pool) share(share float64) (v schedule.Vector) {
	for d := range v {
		v[d] = int64(share * float64(p.cap[d]))
	}
	return v
}

func (s *FreeStep) same(o *FreeStep) bool {
	both := func(a, b *schedule.Vector) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
	return s.Free == o.Free && both(s.Low, o.Low) && both(s.Median, o.Median) && both(s.High, o.High)
}

// cautious is at most what the low quantile of a forecast of free capacity leaves
// of a pool all through [from, to). Without one that counts, or where it says
// nothing, free stays as it is.
func (c *Cluster) cautious(p *pool, free schedule.Vector, from, to, now time.Time) schedule.Vector {
	shares := c.signals.Of(signal.Free, p.def.ID)
	if shares.Stale(now) {
		return free
	}
	low, known := shares.Least(from, to)
	if !known {
		return free
	}
	least := p.share(low)
	for d := range free {
		free[d] = min(free[d], least[d])
	}
	return free
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
