package loop

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// shares is what each queue uses of everything. A tenant without a queue of its
// own draws on the one that names none, or on itself alone.
type shares struct {
	total   schedule.Vector
	queues  []schedule.Queue
	weights map[string]int64 // of tenants
	used    map[string]schedule.Vector
}

func newShares() shares {
	return shares{weights: map[string]int64{}, used: map[string]schedule.Vector{}}
}

func (s *shares) declare(tenants []schedule.Tenant, queues []schedule.Queue) {
	s.queues = queues
	clear(s.weights)
	for _, t := range tenants {
		s.weights[t.ID] = t.Weight
	}
}

// measure follows what there is. The caller holds mu.
func (s *Scheduler) measure(now time.Time) {
	if s.resized {
		s.resized = false
		s.shares.measure(s.cluster.Capacities(now))
	}
}

func (s *shares) measure(all []plan.Capacity) {
	s.total = schedule.Vector{}
	for _, c := range all {
		s.total = s.total.Add(c.Capacity)
	}
}

func sum(parts []schedule.Assignment) (v schedule.Vector) {
	for i := range parts {
		v = v.Add(parts[i].Use)
	}
	return v
}

func (s *shares) take(tenant string, parts []schedule.Assignment) {
	s.used[tenant] = s.used[tenant].Add(sum(parts))
}

func (s *shares) give(tenant string, parts []schedule.Assignment) {
	v := s.used[tenant].Sub(sum(parts))
	if v.IsZero() {
		delete(s.used, tenant)
		return
	}
	s.used[tenant] = v
}

// queue returns the queue of a tenant; nil when it has none.
func (s *shares) queue(tenant string) *schedule.Queue {
	var rest *schedule.Queue
	for i := range s.queues {
		q := &s.queues[i]
		if slices.Contains(q.Tenants, tenant) {
			return q
		}
		if len(q.Tenants) == 0 {
			rest = q
		}
	}
	return rest
}

// usedBy is what the tenants of a queue use together.
func (s *shares) usedBy(q *schedule.Queue) (v schedule.Vector) {
	for tenant, used := range s.used {
		if s.queue(tenant) == q {
			v = v.Add(used)
		}
	}
	return v
}

// of is the dominant share of a tenant's queue over its weight: the largest
// share of any resource that it uses (DRF; Ghodsi et al. 2011). What a queue has
// a claim to counts for nothing until it is used up.
func (s *shares) of(tenant string) float64 {
	used, weight := s.used[tenant], max(s.weights[tenant], 1)
	if q := s.queue(tenant); q != nil {
		used, weight = s.usedBy(q).Sub(q.Nominal), q.Weight
	}
	share := 0.0
	for i, n := range used {
		if n > 0 && s.total[i] > 0 {
			share = max(share, float64(n)/float64(s.total[i]))
		}
	}
	return share / float64(weight)
}

// over reports that a queue may not use as much more. A resource that a queue
// says nothing of is not bounded.
func (s *shares) over(tenant string, parts []schedule.Assignment) (queue, dimension string, over bool) {
	q := s.queue(tenant)
	if q == nil {
		return "", "", false
	}
	used := s.usedBy(q).Add(sum(parts))
	for i, n := range used {
		if (q.Nominal[i] > 0 || q.Borrow[i] > 0) && q.Borrow[i] >= 0 && n > q.Nominal[i]+q.Borrow[i] {
			return q.ID, schedule.DimensionNames[i], true
		}
	}
	return "", "", false
}

// beyond is how much of what each tenant uses is more than its share: of its
// queue the nominal amounts; without such a part of all there is, by weight among
// the queues and tenants that use something. Tenants within theirs are not in it.
func (s *shares) beyond() map[string]float64 {
	together := map[*schedule.Queue]schedule.Vector{}
	var all int64
	for tenant, used := range s.used {
		q := s.queue(tenant)
		if q == nil {
			all += max(s.weights[tenant], 1)
			continue
		}
		if _, ok := together[q]; !ok {
			all += q.Weight
		}
		together[q] = together[q].Add(used)
	}
	found := map[string]float64{}
	for tenant, used := range s.used {
		weight, claim := max(s.weights[tenant], 1), schedule.Vector{}
		if q := s.queue(tenant); q != nil {
			used, weight, claim = together[q], q.Weight, q.Nominal
		}
		most := 0.0
		for d, n := range used {
			has := float64(claim[d])
			if claim.IsZero() {
				has = float64(s.total[d]) * float64(weight) / float64(all)
			}
			if n > 0 && s.total[d] > 0 && (claim.IsZero() || claim[d] > 0) {
				most = max(most, (float64(n)-has)/float64(n))
			}
		}
		if most > 0 {
			found[tenant] = most
		}
	}
	return found
}
