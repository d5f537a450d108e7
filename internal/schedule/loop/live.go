package loop

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// Live is how live values come to the scheduler.
type Live struct {
	// Every is how often the series are asked.
	Every time.Duration `yaml:"every"`
}

// Check implements strict.Checker.
func (l Live) Check(path string) []strict.Error {
	return strict.AtLeast(path, "every", l.Every, time.Second)
}

// Observation is what telemetry saw in use at a node, or, without a node, in the
// whole of a pool.
type Observation struct {
	Pool, Node string
	Used       schedule.Vector
	At         time.Time
}

// Values are live values of pools and facilities, by id.
type Values struct {
	Pools      map[string]plan.Live
	Facilities map[string]plan.FacilityLive
}

// atOnce is how many live values are told before others may decide.
const atOnce = 256

// Observe tells what telemetry saw in use. It may only raise what counts as in
// use: see plan.Cluster.Observe.
func (s *Scheduler) Observe(all []Observation) {
	for some := range slices.Chunk(all, atOnce) {
		s.mu.Lock()
		for _, o := range some {
			if o.Node == "" {
				s.cluster.ObservePool(o.Pool, o.Used, o.At)
			} else {
				s.cluster.Observe(o.Pool, o.Node, 0, o.Used, o.At)
			}
		}
		s.changed() // less may be in use than was
		s.mu.Unlock()
	}
}

// SetLive tells live values of pools and facilities.
func (s *Scheduler) SetLive(v Values) {
	pools := make([]string, 0, len(v.Pools))
	for id := range v.Pools {
		pools = append(pools, id)
	}
	slices.Sort(pools)
	for some := range slices.Chunk(pools, atOnce) {
		s.mu.Lock()
		for _, id := range some {
			s.cluster.SetLive(id, v.Pools[id])
		}
		s.mu.Unlock()
	}
	if len(v.Facilities) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	eased := false
	for id, l := range v.Facilities {
		eased = s.cluster.SetFacilityLive(id, l) || eased
	}
	if eased {
		s.changed()
	}
}

// LiveOf are the live values of all facilities that have any.
func (s *Scheduler) LiveOf(facilities []schedule.Facility) map[string]plan.FacilityLive {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]plan.FacilityLive{}
	for i := range facilities {
		if l, ok := s.cluster.LiveOf(facilities[i].ID); ok && (!l.At.IsZero() || len(l.Stale) > 0) {
			all[facilities[i].ID] = l
		}
	}
	return all
}
