package plan

import (
	"math"

	"github.com/songhua-io/hub/internal/schedule"
)

// Fits reports whether a workload could be placed if nothing else ran and every
// facility took work, as far as is plain to see: as many members of each task as
// must begin together find a place when the others are left out of account. What
// does not fit waits for ever, or until something else is declared.
func (c *Cluster) Fits(w *schedule.Workload) bool {
	for i := range w.Tasks {
		t := &w.Tasks[i]
		least := 1
		switch w.Gang {
		case schedule.GangAll:
			least = t.Max
		case schedule.GangMinimum:
			least = max(t.Min, 1)
		}
		if !c.holds(w, t, least) {
			return false
		}
	}
	return true
}

// holds reports whether so many members find a place, in one facility where the
// shape asks for that.
func (c *Cluster) holds(w *schedule.Workload, t *schedule.Task, least int) bool {
	n := needOf(t)
	found := 0
	for i := range c.facilities {
		f := &c.facilities[i]
		open := *f.def
		open.State = schedule.Ready
		if c.admits(w, &open) != passed {
			continue
		}
		if w.Shape == schedule.OneFacility {
			found = 0
		}
		here := 0
		for _, j := range f.pools {
			p := c.pools[j]
			if suits(w, t, p.def) != passed || !n.use.Within(p.largest) {
				continue
			}
			here += p.emptyFor(&n, least-found-here, c.spare(f, p.def.Watts(n.use)))
			if found+here >= least {
				return true
			}
		}
		if w.Shape == schedule.OnePerFacility {
			here = min(here, 1)
		}
		found += here
	}
	return found >= least
}

// spare is how many members of so many watts the cap of a facility allows when
// nothing runs.
func (c *Cluster) spare(f *facility, watts int64) int {
	if f.def.PowerCapW == 0 || watts == 0 {
		return math.MaxInt
	}
	left := f.def.PowerCapW
	for _, i := range f.pools {
		left -= c.pools[i].def.IdleWatts()
	}
	return int(max(0, left) / watts)
}

// emptyFor is how many members the nodes of a pool hold when they are empty, up
// to enough.
func (p *pool) emptyFor(n *need, enough, most int) (found int) {
	for i := range p.nodes {
		if found >= enough || found >= most {
			break
		}
		node := &p.nodes[i]
		fit := most
		for d, use := range n.use {
			if use > 0 {
				fit = min(fit, int(node.cap[d]/use))
			}
		}
		if n.count > int(node.devices) {
			fit = 0
		}
		found += fit
	}
	return min(found, most)
}
