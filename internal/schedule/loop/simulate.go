package loop

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/plan"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// MaxSimulated bounds how many workloads one simulation places.
const MaxSimulated = 10_000

// Scenario is what would be otherwise.
type Scenario struct {
	Facilities []schedule.Facility // added, or replaced
	Pools      []schedule.Pool     // added, or replaced
	Remove     []string            // pools that would be gone
	States     map[string]schedule.FacilityState
	Signals    []*signal.Series
	// Workloads come besides those that wait, before and after.
	Workloads []*schedule.Workload
}

// Outlook is what would become of all that waits, and what the facilities
// would be used for.
type Outlook struct {
	Placed, Deferred, Waiting int
	// Displaced are leases whose pool would be gone.
	Displaced                 int
	EnergyKWh, CarbonKg, Cost float64
	Facilities                []Utilisation // by id
}

// Utilisation is how much of a facility is leased.
type Utilisation struct {
	Facility         string
	Capacity, Leased schedule.Vector
}

// Simulate says what would become of what waits, as things are and as they
// would be. Nothing is kept or promised. Quotas and what is held for a gang are
// left out of account.
func (s *Scheduler) Simulate(ctx context.Context, x Scenario) (before, after Outlook, err error) {
	now := s.deps.Clock()
	s.mu.Lock()
	as, signals := s.cluster.Clone(), s.signals
	waiting := s.waiting()
	leases := slices.Collect(maps.Values(s.leases))
	s.mu.Unlock()
	waiting = append(waiting, x.Workloads...)
	if len(waiting) > MaxSimulated {
		return before, after, fmt.Errorf("%d workloads wait or are given; a simulation places at most %d", len(waiting), MaxSimulated)
	}
	would := as.Clone()
	if err := x.change(would); err != nil {
		return before, after, err
	}
	other := maps.Clone(signals)
	for _, one := range x.Signals {
		other[signal.Key{Kind: one.Kind, Zone: one.Zone}] = one
	}
	if before, err = outlook(ctx, as, signals, waiting, now); err != nil {
		return before, after, err
	}
	if after, err = outlook(ctx, would, other, waiting, now); err != nil {
		return before, after, err
	}
	for i := range leases {
		if slices.ContainsFunc(leases[i].parts, func(a schedule.Assignment) bool { return slices.Contains(x.Remove, a.Pool) }) {
			after.Displaced++
		}
	}
	return before, after, nil
}

// waiting is all that waits for capacity or for its time, in the order of
// priority and age. The caller holds mu.
func (s *Scheduler) waiting() []*schedule.Workload {
	all := make([]*schedule.Workload, 0, s.queue.Len()+s.deferred.Len())
	s.queue.Each(func(w *schedule.Workload) { all = append(all, w) })
	for _, d := range s.deferred.heap {
		all = append(all, d.w)
	}
	slices.SortFunc(all, func(a, b *schedule.Workload) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Submitted.Compare(b.Submitted), cmp.Compare(a.ID, b.ID))
	})
	return all
}

func (x Scenario) change(c *plan.Cluster) error {
	for i := range x.Facilities {
		c.SetFacility(&x.Facilities[i])
	}
	for i := range x.Pools {
		if err := c.SetPool(&x.Pools[i]); err != nil {
			return err
		}
	}
	for _, id := range x.Remove {
		c.RemovePool(id)
	}
	for id, state := range x.States {
		c.SetState(id, state)
	}
	return nil
}

func outlook(ctx context.Context, c *plan.Cluster, signals signal.Set, all []*schedule.Workload, now time.Time) (o Outlook, err error) {
	for _, w := range all {
		if ctx.Err() != nil {
			return o, ctx.Err()
		}
		d := c.Place(w, now, signals)
		switch {
		case len(d.Assignments) > 0 && c.Take(d.Assignments) == nil:
			o.Placed++
			o.EnergyKWh += d.EnergyKWh
			o.CarbonKg += d.CarbonKg
			o.Cost += d.Cost
		case !d.Until.IsZero():
			o.Deferred++
		default:
			o.Waiting++
		}
	}
	sums := map[string]*Utilisation{}
	for _, p := range c.Capacities(now) {
		u := sums[p.Facility]
		if u == nil {
			u = &Utilisation{Facility: p.Facility}
			sums[p.Facility] = u
		}
		u.Capacity, u.Leased = u.Capacity.Add(p.Capacity), u.Leased.Add(p.Leased)
	}
	for _, id := range slices.Sorted(maps.Keys(sums)) {
		o.Facilities = append(o.Facilities, *sums[id])
	}
	return o, nil
}
