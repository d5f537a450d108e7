package plan

import (
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// Live are values of a pool that change while it runs.
type Live struct {
	// Wait is how long work lies in the engine's own queue before it starts.
	Wait time.Duration
	// FailuresPerHour of one node; zero: FailuresPerHour, the constant.
	FailuresPerHour float64
	// OutdoorC is the outdoor temperature; nil: not known.
	OutdoorC *float64
	// At is the time of the oldest of them, which all count for LiveBound. Without
	// it none of them is known.
	At    time.Time
	Stale []Stale
}

// Stale is a live value that is too old to count, so that what was declared does.
type Stale struct {
	Name string
	At   time.Time // of the last one; zero: none ever came
}

// FacilityLive are values of a facility that change while it runs. They count
// until others are told: who tells them tells of their end.
type FacilityLive struct {
	PUE    float64 // total energy over the energy of computing; 0: not known
	PowerW int64   // that its pools draw; 0: not known
	InletC float64 // the warmest; 0: not known. For people: failures follow from it elsewhere
	At     time.Time
	Stale  []Stale
}

// SetLive tells live values of a pool. They count for LiveBound.
func (c *Cluster) SetLive(poolID string, l Live) {
	i, ok := c.poolOf[poolID]
	if !ok {
		return
	}
	c.told = true
	p := c.own(i)
	same := p.live.Wait == l.Wait && p.live.FailuresPerHour == l.FailuresPerHour && p.live.At.IsZero() == l.At.IsZero() && equal(p.live.OutdoorC, l.OutdoorC)
	old := p.live.At
	p.live = l
	if !same || l.At.Sub(old) > LiveBound { // it may have ended meanwhile
		c.poolChanged(i)
	}
}

func equal(a, b *float64) bool { return a == b || a != nil && b != nil && *a == *b }

// SetFacilityLive tells live values of a facility. Power that was measured may
// only raise what counts against its cap: what is beyond the plan of this moment
// counts beside it, and beside what is leased later. It reports whether work may
// fit now that did not.
func (c *Cluster) SetFacilityLive(id string, l FacilityLive) (eased bool) {
	i, ok := c.facilityOf[id]
	if !ok {
		return false
	}
	c.told = true
	f := &c.facilities[i]
	was, pue := f.beyond, f.live.PUE
	f.live, f.beyond = l, 0
	if l.PowerW > 0 {
		f.beyond = max(0, l.PowerW-f.watts)
	}
	if f.live.PUE != pue {
		c.facilityChanged(i)
	}
	if f.beyond != was {
		c.changes++
		c.usedChanged(i)
	}
	return f.beyond < was
}

// LiveOf are the live values of a facility as they were told.
func (c *Cluster) LiveOf(id string) (FacilityLive, bool) {
	i, ok := c.facilityOf[id]
	if !ok {
		return FacilityLive{}, false
	}
	return c.facilities[i].live, true
}

// draw is what counts against the cap of a facility, in watts: its plan, and what
// was measured beyond.
func (f *facility) draw() int64 { return f.watts + f.beyond }

// ObservePool tells what telemetry saw in use in the whole of a pool, as Observe
// does of a node. It does not say at which nodes: what is beyond the leases
// counts at all of them, in proportion to what is not leased there.
func (c *Cluster) ObservePool(id string, used schedule.Vector, at time.Time) bool {
	i, ok := c.poolOf[id]
	if !ok {
		return false
	}
	p := c.pools[i]
	room := schedule.Vector{}
	for s := range p.nodes {
		room = room.Add(p.nodes[s].unleased())
	}
	for s := range p.nodes {
		n := &p.nodes[s]
		seen, has := n.used, n.unleased()
		for d := range used {
			if beyond := used[d] - p.used[d]; beyond > 0 && room[d] > 0 {
				seen[d] += int64(math.Ceil(float64(min(beyond, room[d])) / float64(room[d]) * float64(has[d])))
			}
		}
		c.Observe(id, "", s, seen, at)
		p = c.pools[i] // Observe may have made it its own
	}
	return true
}

// unleased is what of a node is not leased.
func (n *node) unleased() (v schedule.Vector) {
	for d := range v {
		v[d] = max(0, n.cap[d]-n.used[d])
	}
	return v
}

// lives are the live values of a pool that still count.
func (p *pool) lives(now time.Time) (wait time.Duration, risk, outdoor float64, age time.Duration) {
	risk, outdoor = FailuresPerHour, math.NaN()
	if p.live.At.IsZero() || now.Sub(p.live.At) > LiveBound {
		return 0, risk, outdoor, 0
	}
	if p.live.FailuresPerHour > 0 {
		risk = p.live.FailuresPerHour
	}
	if p.live.OutdoorC != nil {
		outdoor = *p.live.OutdoorC
	}
	return p.live.Wait, risk, outdoor, now.Sub(p.live.At)
}

// maxLapsed bounds how many stale values one decision names.
const maxLapsed = 5

// lapsed says which live values of the places that were chosen are too old to
// count.
func (c *Cluster) lapsed(parts []schedule.Assignment, now time.Time) (out []schedule.Reason) {
	var named []string
	say := func(name string, at time.Time) {
		if len(out) == maxLapsed || slices.Contains(named, name) {
			return
		}
		named = append(named, name)
		if at.IsZero() {
			out = append(out, schedule.Because(schedule.LiveValueMissing, name))
			return
		}
		out = append(out, schedule.Because(schedule.LiveValueStale, name, now.Sub(at).Round(time.Second)))
	}
	for i := range parts {
		j, ok := c.poolOf[parts[i].Pool]
		if !ok || len(out) == maxLapsed {
			continue
		}
		p := c.pools[j]
		for _, s := range c.facilities[p.facility].live.Stale {
			say(p.def.Facility+"."+s.Name, s.At)
		}
		for _, s := range p.live.Stale {
			say(p.def.ID+"."+s.Name, s.At)
		}
		if !p.live.At.IsZero() && now.Sub(p.live.At) > LiveBound {
			say(p.def.ID, p.live.At)
		}
		if slot := parts[i].Slot; slot >= 0 && slot < len(p.seenAt) && p.seenAt[slot] != 0 {
			if at := time.Unix(0, p.seenAt[slot]); now.Sub(at) > LiveBound {
				name := p.name(slot)
				if name == "" {
					name = "used"
				}
				say(p.def.ID+"."+name, at)
			}
		}
	}
	return out
}
