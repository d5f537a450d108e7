package plan

import (
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// Price is what a unit of each resource is worth to others for one step, in yuan.
type Price [schedule.Dimensions]float64

// Prices are those of capacity that many want at once: what it costs the others
// when somebody takes it.
type Prices struct {
	From  time.Time          // of the first step
	Until time.Time          // after it they count for nothing
	Of    map[string][]Price // by pool and step; pools that are not there are free
}

// prices are Prices as sums from the first step on.
type prices struct {
	first int64
	until time.Time
	sums  map[string][]Price
}

// SetPrices tells what capacity is worth from now on. It counts in what a
// placement costs, and in which start deferrable work chooses; what is not
// deferrable never waits for it.
func (c *Cluster) SetPrices(all Prices) {
	p := &prices{first: stepOf(all.From), until: all.Until, sums: make(map[string][]Price, len(all.Of))}
	for pool, of := range all.Of {
		sums := make([]Price, len(of)+1)
		for t, price := range of {
			for d, yuan := range price {
				sums[t+1][d] = sums[t][d] + yuan
			}
		}
		p.sums[pool] = sums
	}
	c.prices = p
}

// scarcity is what a use of a pool is worth to others, by the prices that count
// now.
func (c *Cluster) scarcity(p *pool, use schedule.Vector, now, begin time.Time, hours float64) (yuan float64) {
	sums := c.prices.sums[p.def.ID]
	if len(sums) == 0 || now.After(c.prices.until) {
		return 0
	}
	last := int64(len(sums) - 1)
	end := begin.Add(time.Duration(hours * float64(time.Hour)))
	from := min(max(stepOf(begin)-c.prices.first, 0), last)
	to := min(max(stepAfter(end)-c.prices.first, 0), last)
	for d, n := range use {
		if n > 0 {
			yuan += float64(n) * (sums[to][d] - sums[from][d])
		}
	}
	return yuan
}

// addScarcity adds to each start of an option what its capacity is worth.
func (s *shift) addScarcity(o *option) {
	use := sizeOf(s.w)
	for j := range o.cost {
		if o.cost[j] < never64 {
			o.cost[j] += s.c.scarcity(s.c.pools[o.pool], use, s.now, s.starts[j], s.hours)
		}
	}
}

// sizeOf is what all members of a workload take together.
func sizeOf(w *schedule.Workload) (use schedule.Vector) {
	for i := range w.Tasks {
		use = use.Add(w.Tasks[i].Need().Times(int64(w.Tasks[i].Max)))
	}
	return use
}
