package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// timeline is by how much a use changes at which step, in order. Its size is that
// of the steps at which something changes, however much does.
type timeline []delta

// delta is a change of use.
type delta struct {
	at  int64 // Unix time over step
	use schedule.Vector
}

// search is the index of the first delta at or after a step.
func (t timeline) search(at int64) (int, bool) {
	return slices.BinarySearchFunc(t, at, func(x delta, at int64) int { return cmp.Compare(x.at, at) })
}

func (t *timeline) add(at int64, use schedule.Vector) {
	i, ok := t.search(at)
	if !ok {
		*t = slices.Insert(*t, i, delta{at: at})
	}
	if x := &(*t)[i]; x.use.Add(use).IsZero() {
		*t = slices.Delete(*t, i, i+1)
	} else {
		x.use = x.use.Add(use)
	}
}

// busiest is the most that is in use of each resource in any step of [from, to),
// as far as is known: what is leased and has not ended by plan, and what is
// booked.
func (p *pool) busiest(from, to int64) (most schedule.Vector) {
	u := p.usage(from)
	most = u.use
	for u.next() < to {
		u.advance()
		most = most.Max(u.use)
	}
	return most
}

// usage goes along what a pool will have in use.
type usage struct {
	p             *pool
	at            int64 // step
	use, booked   schedule.Vector
	ends, planned int // the next of each
}

// usage is that of the step at.
func (p *pool) usage(at int64) usage {
	u := usage{p: p, at: at, use: p.used}
	for u.next() <= at {
		u.advance()
	}
	return u
}

const noStep = int64(1) << 62

// next is the step at which the use changes.
func (u *usage) next() int64 {
	at := noStep
	if u.ends < len(u.p.ends) {
		at = u.p.ends[u.ends].at
	}
	if u.planned < len(u.p.planned) {
		at = min(at, u.p.planned[u.planned].at)
	}
	return at
}

// advance goes to the next step.
func (u *usage) advance() {
	at := u.next()
	u.at = max(u.at, at)
	if u.ends < len(u.p.ends) && u.p.ends[u.ends].at == at {
		u.use = u.use.Sub(u.p.ends[u.ends].use)
		u.ends++
	}
	if u.planned < len(u.p.planned) && u.p.planned[u.planned].at == at {
		u.use = u.use.Add(u.p.planned[u.planned].use)
		u.booked = u.booked.Add(u.p.planned[u.planned].use)
		u.planned++
	}
}

// Plan counts what a deferred workload is to use, by Decision.Planned, against
// what later ones are deferred to. It holds nothing: what starts at once may take
// it. A part of a pool that is not there counts for nothing.
func (c *Cluster) Plan(parts []schedule.Assignment) { c.book(parts, 1) }

// Unplan takes back what Plan counted. It must be asked before a pool is removed:
// what was counted there is forgotten with it.
func (c *Cluster) Unplan(parts []schedule.Assignment) { c.book(parts, -1) }

func (c *Cluster) book(parts []schedule.Assignment, sign int64) {
	for i := range parts {
		a := &parts[i]
		j, ok := c.poolOf[a.Pool]
		if !ok || !a.End.After(a.Start) {
			continue
		}
		p := c.own(j)
		p.planned.add(stepOf(a.Start), a.Use.Times(sign))
		p.planned.add(stepAfter(a.End), a.Use.Times(-sign))
	}
}

// Overbooked returns between which times more is leased and planned in a pool
// than it has: what is planned there meanwhile should be planned anew. A pool
// whose facility takes no new work has nothing.
func (c *Cluster) Overbooked(pool string, now time.Time) (from, to time.Time, over bool) {
	i, ok := c.poolOf[pool]
	if !ok {
		return from, to, false
	}
	p := c.pools[i]
	if c.facilities[p.facility].def.State != schedule.Ready {
		return now, now.AddDate(1000, 0, 0), len(p.planned) > 0
	}
	for u := p.usage(stepOf(now)); u.next() < noStep; u.advance() {
		if u.booked.IsZero() || u.use.Within(p.cap) {
			continue
		}
		if !over {
			from, over = timeOf(max(u.at, stepOf(now))), true
		}
		to = timeOf(u.next())
	}
	return from, to, over
}

func timeOf(at int64) time.Time { return time.Unix(at*int64(step/time.Second), 0).UTC() }
