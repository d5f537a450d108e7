package plan

import (
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// Capacity is what a pool has and what of it is in use.
type Capacity struct {
	Facility, Pool string
	Nodes          int
	Capacity       schedule.Vector
	Leased         schedule.Vector
	// Free is what new work may have: without leases and without what
	// telemetry saw besides.
	Free schedule.Vector
	// WholeDevices are free as a whole, and Largest is the most that one node
	// has free in each dimension.
	WholeDevices int
	Largest      schedule.Vector
}

// Capacity of one pool; false when it is not there.
func (c *Cluster) Capacity(pool string, now time.Time) (Capacity, bool) {
	c.forget(now)
	i, ok := c.poolOf[pool]
	if !ok {
		return Capacity{}, false
	}
	return c.pools[i].capacity(), true
}

// Capacities of all pools, in the order in which they were set.
func (c *Cluster) Capacities(now time.Time) []Capacity {
	c.forget(now)
	all := make([]Capacity, len(c.pools))
	for i, p := range c.pools {
		all[i] = p.capacity()
	}
	return all
}

func (p *pool) capacity() Capacity {
	k := Capacity{Facility: p.def.Facility, Pool: p.def.ID, Nodes: len(p.nodes), Capacity: p.cap, Leased: p.used}
	for i := range p.nodes {
		n := &p.nodes[i]
		k.Free = k.Free.Add(n.free)
		k.WholeDevices += int(n.whole)
		for d := range k.Largest {
			k.Largest[d] = max(k.Largest[d], n.free[d])
		}
	}
	return k
}

// Draw is what a facility draws by plan, in watts: idle nodes and what is
// leased. False when it is not there.
func (c *Cluster) Draw(facility string) (int64, bool) {
	i, ok := c.facilityOf[facility]
	if !ok {
		return 0, false
	}
	return c.facilities[i].watts, true
}

// NodeFree is what a node that has a name may give to new members.
type NodeFree struct {
	Facility, Pool string
	Ready          bool // its facility takes new work
	Accelerator    *schedule.Accelerator
	Capacity, Free schedule.Vector
	WholeDevices   int
}

// NodesOf returns the named nodes of all pools of an engine.
func (c *Cluster) NodesOf(e schedule.Engine, now time.Time) map[string]NodeFree {
	c.forget(now)
	all := map[string]NodeFree{}
	for _, p := range c.pools {
		if p.def.Engine != e {
			continue
		}
		f := c.facilities[p.facility].def
		for id, slot := range p.slots {
			n := &p.nodes[slot]
			all[id] = NodeFree{f.ID, p.def.ID, f.State == schedule.Ready, p.def.Accelerator, n.cap, n.free, int(n.whole)}
		}
	}
	return all
}
