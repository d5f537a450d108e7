package loop

import (
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// Forecast says what of pools will be free until a time; pools that are not there
// are left out.
func (s *Scheduler) Forecast(pools []string, until time.Time) map[string][]plan.FreeStep {
	now := s.deps.Clock()
	c, signals := s.view()
	all := make(map[string][]plan.FreeStep, len(pools))
	for _, id := range pools {
		if steps, ok := c.Forecast(id, now, until, signals); ok {
			all[id] = steps
		}
	}
	return all
}

// PoolSeries is what a pool has now and is to have free later.
type PoolSeries struct {
	plan.Capacity
	Region string
	Ahead  []schedule.Vector // free by plan, for each time that was asked for
}

// PoolSeries of up to limit pools, and of what is free so long from now.
func (s *Scheduler) PoolSeries(limit int, ahead []time.Duration) []PoolSeries {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.deps.Clock()
	times := make([]time.Time, len(ahead))
	for i, d := range ahead {
		times[i] = now.Add(d)
	}
	all := s.cluster.Capacities(now)
	out := make([]PoolSeries, 0, min(limit, len(all)))
	for _, c := range all[:min(limit, len(all))] {
		out = append(out, PoolSeries{c, s.cluster.Region(c.Facility), s.cluster.FreeAt(c.Pool, times)})
	}
	return out
}
