package loop

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// few is how many deferred workloads are planned anew before others decide.
const few = 4

// replans are deferred workloads that are to be planned anew.
type replans struct {
	why   map[string]schedule.Code // by workload
	order []string                 // those that have gone meanwhile are passed over
	// tight are pools in which more may be planned than there is room for.
	tight map[string]bool
	stale map[signal.Key]bool // forecasts that are out of date
}

func newReplans() replans {
	return replans{why: map[string]schedule.Code{}, tight: map[string]bool{}, stale: map[signal.Key]bool{}}
}

// add lets a workload be planned anew, if it is deferred then.
func (r *replans) add(id string, why schedule.Code) {
	if r.why[id] == "" {
		r.order = append(r.order, id)
		r.why[id] = why
	}
}

// next takes out the first; empty when there is none.
func (r *replans) next() (id string, why schedule.Code) {
	for len(r.order) > 0 {
		id, r.order = r.order[0], r.order[1:]
		if why = r.why[id]; why != "" {
			delete(r.why, id)
			return id, why
		}
	}
	return "", ""
}

// reissue lets all that a forecast may change be planned anew: what is planned in
// its zone, and what would rather go there now. Those that take most come first,
// since they find a place least easily. The caller holds mu.
func (s *Scheduler) reissue(kind signal.Kind) {
	all := make([]*deferral, 0, len(s.deferred.heap))
	for _, d := range s.deferred.heap {
		if d.w.Window.Deferrable && (kind != signal.Carbon || d.w.Objective.CarbonPrice > 0) {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, largest)
	for _, d := range all {
		s.replans.add(d.w.ID, schedule.ForecastChanged)
	}
	s.nudge()
}

// largest compares by how long workloads take, the longest first.
func largest(a, b *deferral) int {
	return cmp.Or(cmp.Compare(length(b.w), length(a.w)), cmp.Compare(a.w.ID, b.w.ID))
}

func length(w *schedule.Workload) (most time.Duration) {
	for i := range w.Tasks {
		most = max(most, w.Tasks[i].P95)
	}
	return most
}

// age lets what waits for a forecast that is out of date now be planned anew. The
// caller holds mu.
func (s *Scheduler) age(now time.Time) {
	for key, series := range s.signals {
		stale := series.Stale(now)
		if stale && !s.replans.stale[key] {
			s.reissue(key.Kind)
		}
		s.replans.stale[key] = stale
	}
}

// tighten notes a pool that may have less than is planned there. The caller holds
// mu.
func (s *Scheduler) tighten(pool string) {
	if len(s.booked.at[pool]) > 0 {
		s.replans.tight[pool] = true
		s.nudge()
	}
}

// tightenAt is tighten for all pools of a facility. The caller holds mu.
func (s *Scheduler) tightenAt(facility string) {
	for pool, all := range s.booked.at {
		for id := range all {
			if slices.ContainsFunc(s.booked.of[id], func(a schedule.Assignment) bool { return a.Pool == pool && a.Facility == facility }) {
				s.tighten(pool)
			}
			break
		}
	}
}

// vacate forgets what is planned in a pool that is to be removed, and lets it be
// planned anew. The caller holds mu.
func (s *Scheduler) vacate(pool string) {
	for _, id := range slices.Sorted(maps.Keys(s.booked.at[pool])) {
		s.book(id, nil)
		s.replans.add(id, schedule.PlaceChanged)
	}
	s.nudge()
}

// relieve finds who is planned where there is no room any more. The caller holds
// mu.
func (s *Scheduler) relieve(now time.Time) {
	for pool := range s.replans.tight {
		from, to, over := s.cluster.Overbooked(pool, now)
		if !over {
			continue
		}
		var all []*deferral
		for id := range s.booked.at[pool] {
			if d := s.deferred.of[id]; d != nil && s.inPool(id, pool, from, to) {
				all = append(all, d)
			}
		}
		// The shortest find another place most easily.
		slices.SortFunc(all, func(a, b *deferral) int { return largest(b, a) })
		for _, d := range all {
			s.replans.add(d.w.ID, schedule.PlaceChanged)
		}
	}
	clear(s.replans.tight)
}

// inPool reports whether a workload is planned in a pool at a time.
func (s *Scheduler) inPool(id, pool string, from, to time.Time) bool {
	return slices.ContainsFunc(s.booked.of[id], func(a schedule.Assignment) bool {
		return a.Pool == pool && a.Start.Before(to) && a.End.After(from)
	})
}

// replan plans anew what is to be, a few at a time: others decide meanwhile.
func (s *Scheduler) replan(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		var moves []move
		for more && len(moves) < together && ctx.Err() == nil {
			s.mu.Lock()
			now := s.deps.Clock()
			s.age(now)
			s.relieve(now)
			for range few {
				var m *move
				if m, more = s.replanNext(now); m != nil {
					moves = append(moves, *m)
				}
			}
			s.mu.Unlock()
		}
		if len(moves) > 0 && !s.settle(moves, s.promise(ctx, moves)) {
			return
		}
	}
}

// replanNext plans one workload anew; nil when it stays. The caller holds mu.
func (s *Scheduler) replanNext(now time.Time) (m *move, more bool) {
	id, why := s.replans.next()
	d := s.deferred.of[id]
	if d == nil {
		return nil, id != ""
	}
	parts := s.booked.of[id]
	if why == schedule.PlaceChanged && len(parts) > 0 && !s.crowded(parts, now) {
		return nil, true // others have made room
	}
	s.book(id, nil)
	decision, moves := s.cluster.Replan(d.w, parts, now, s.signals)
	if !moves || len(decision.Planned) > 0 && samePlan(decision.Planned, parts) && len(decision.Assignments) == 0 {
		s.book(id, parts)
		return nil, true
	}
	if !decision.Until.IsZero() {
		decision.Reasons = append([]schedule.Reason{moved(why, parts, d.until, decision.Until)}, decision.Reasons...)
	}
	next, to := s.accept(d.w, decision, now)
	one := s.move(d.w.Tenant, next, to, now)
	one.Workload = id
	s.deferred.remove(id) // until the ledger has it
	return &one, true
}

func moved(why schedule.Code, parts []schedule.Assignment, from, to time.Time) schedule.Reason {
	at := []any{from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339)}
	if why == schedule.PlaceChanged {
		pool := ""
		if len(parts) > 0 {
			pool = parts[0].Pool
		}
		at = append([]any{pool}, at...)
	}
	return schedule.Because(why, at...)
}

// crowded reports whether more is planned than there is room for where parts are.
func (s *Scheduler) crowded(parts []schedule.Assignment, now time.Time) bool {
	return slices.ContainsFunc(parts, func(a schedule.Assignment) bool {
		from, to, over := s.cluster.Overbooked(a.Pool, now)
		return over && a.Start.Before(to) && a.End.After(from)
	})
}

func samePlan(a, b []schedule.Assignment) bool {
	return slices.EqualFunc(a, b, func(a, b schedule.Assignment) bool {
		return a.Pool == b.Pool && a.Start.Equal(b.Start) && a.End.Equal(b.End)
	})
}
