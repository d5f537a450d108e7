package loop

import (
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

// experience is what the scheduler itself sees of pools: how long what they have
// was promised takes to begin there, and what is lost. Pools that are gone are
// forgotten with it in a day.
type experience struct {
	began time.Time
	bound map[string]bound // workloads that an engine has and that have not begun
	waits map[string]*waited
	lost  map[string]*losses
}

// bound is since when engines have a workload, and where.
type bound struct {
	since time.Time
	pools []string
}

// waited is the mean of how long work waited at a pool; newer ones count more.
type waited struct {
	mean time.Duration
	at   time.Time
}

// newerCounts is the share of the newest in the mean.
const newerCounts = 0.3

// losses are members that were lost with their node or facility, by hour of the
// last day.
type losses struct {
	hours [24]int
	at    int64 // the hour of the newest
}

func newExperience(now time.Time) experience {
	return experience{began: now, bound: map[string]bound{}, waits: map[string]*waited{}, lost: map[string]*losses{}}
}

// record follows a workload from its binding to its beginning.
func (e *experience) record(r *ledger.Record) {
	if r.Workload == nil {
		return
	}
	switch r.State {
	case schedule.Bound:
		e.bound[r.ID] = bound{r.Since, poolsOf(r.Leases)}
		return
	case schedule.Running:
		if b, ok := e.bound[r.ID]; ok {
			for _, p := range b.pools {
				e.wait(p, r.Since.Sub(b.since), r.Since)
			}
		}
	}
	delete(e.bound, r.ID)
}

func poolsOf(leases []schedule.Lease) (all []string) {
	seen := map[string]bool{}
	for i := range leases {
		for j := range leases[i].Parts {
			if p := leases[i].Parts[j].Pool; leases[i].State.Live() && !seen[p] {
				seen[p] = true
				all = append(all, p)
			}
		}
	}
	return all
}

func (e *experience) wait(pool string, took time.Duration, now time.Time) {
	w := e.waits[pool]
	if w == nil {
		e.waits[pool] = &waited{mean: took, at: now}
		return
	}
	w.mean, w.at = w.mean+time.Duration(newerCounts*float64(took-w.mean)), now
}

// lease counts what is lost: a lease that is fenced takes its members with it.
func (e *experience) lease(l *schedule.Lease, from schedule.LeaseState, now time.Time) {
	if l.State != schedule.Fenced || from == schedule.Fenced || l.Workload == "" {
		return
	}
	for i := range l.Parts {
		one := e.lost[l.Parts[i].Pool]
		if one == nil {
			one = &losses{}
			e.lost[l.Parts[i].Pool] = one
		}
		one.move(now)
		one.hours[one.at%24]++
	}
}

func (l *losses) move(now time.Time) {
	h := now.Unix() / 3600
	if h-l.at >= 24 {
		clear(l.hours[:])
		l.at = h
	}
	for ; l.at < h; l.at++ {
		l.hours[(l.at+1)%24] = 0
	}
}

// Experience is what the scheduler itself has seen of a pool.
type Experience struct {
	// Wait is how long work lies there before it begins, as of WaitAt; a zero time:
	// nothing began there and nothing waits.
	Wait   time.Duration
	WaitAt time.Time
	// Lost members in the last Over, which is a day at most.
	Lost int
	Over time.Duration
}

// Experience is what the scheduler has seen of all pools by itself.
func (s *Scheduler) Experience() map[string]Experience {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.of(s.deps.Clock())
}

func (e *experience) of(now time.Time) map[string]Experience {
	all := map[string]Experience{}
	for pool, w := range e.waits {
		if now.Sub(w.at) > 24*time.Hour {
			delete(e.waits, pool)
			continue
		}
		all[pool] = Experience{Wait: w.mean, WaitAt: w.at}
	}
	type sum struct {
		of time.Duration
		n  int
	}
	lying := map[string]sum{}
	for _, b := range e.bound {
		for _, p := range b.pools {
			s := lying[p]
			lying[p] = sum{s.of + now.Sub(b.since), s.n + 1}
		}
	}
	for pool, s := range lying { // what still waits there waits at least so long
		x := all[pool]
		if mean := s.of / time.Duration(s.n); mean > x.Wait || x.WaitAt.IsZero() {
			x.Wait, x.WaitAt = max(mean, 0), now
		}
		all[pool] = x
	}
	over := min(now.Sub(e.began), 24*time.Hour)
	for pool, l := range e.lost {
		l.move(now)
		x := all[pool]
		for _, n := range l.hours {
			x.Lost += n
		}
		x.Over = over
		if x.Lost == 0 {
			delete(e.lost, pool)
			continue
		}
		all[pool] = x
	}
	return all
}
