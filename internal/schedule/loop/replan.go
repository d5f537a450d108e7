package loop

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/plan"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

const (
	// few is how many deferred workloads are planned anew before others decide.
	few = 2
	// roundEvery is how often what is deferred and does not join a batch is planned
	// anew, when something that is deferred is new.
	roundEvery = time.Hour
)

// replans are deferred workloads that are to be planned anew.
type replans struct {
	why   map[string]schedule.Code // by workload
	order []string                 // those that have gone meanwhile are passed over
	// out are those of a round that are not booked until their turn comes, with
	// where they were; taken is how many of the order were looked at for that.
	out   map[string][]schedule.Assignment
	taken int
	fresh bool      // something was deferred since the last round
	round time.Time // the last
	// tight are pools in which more may be planned than there is room for.
	tight map[string]bool
	stale map[signal.Key]bool // forecasts that are out of date
}

func newReplans() replans {
	return replans{why: map[string]schedule.Code{}, out: map[string][]schedule.Assignment{}, tight: map[string]bool{}, stale: map[signal.Key]bool{}}
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
		r.taken = max(0, r.taken-1)
		if why = r.why[id]; why != "" {
			delete(r.why, id)
			return id, why
		}
	}
	return "", ""
}

// reissue begins a round over all that a forecast may change: what is planned in
// its zone, and what would rather go there now. The caller holds mu.
func (s *Scheduler) reissue(kind signal.Kind) {
	s.rearrange(schedule.ForecastChanged, func(w *schedule.Workload) bool { return kind != signal.Carbon || w.Objective.CarbonPrice > 0 })
}

// rearrange begins a round over what is deferred: all of it is taken out, and
// finds its place again in an order that is better than that in which it came.
// The caller holds mu.
func (s *Scheduler) rearrange(why schedule.Code, which func(*schedule.Workload) bool) {
	all := make([]*schedule.Workload, 0, s.deferred.Len())
	for _, d := range s.deferred.heap {
		if d.w.Window.Deferrable && which(d.w) {
			all = append(all, d.w)
		}
	}
	slices.SortFunc(all, plan.Order(s.deps.Clock()))
	for _, w := range all {
		s.replans.add(w.ID, why)
	}
	s.nudge()
}

// age begins a round when a forecast is out of date, and that of the hour. The
// caller holds mu.
func (s *Scheduler) age(now time.Time) {
	for _, series := range s.signals.Sorted() {
		key, stale := signal.Key{Kind: series.Kind, Zone: series.Zone}, series.Stale(now)
		if stale && !s.replans.stale[key] {
			s.reissue(key.Kind)
		}
		s.replans.stale[key] = stale
	}
	if r := &s.replans; r.fresh && len(r.order) == 0 && now.Sub(r.round) >= roundEvery {
		first := r.round.IsZero()
		if r.round = now; !first {
			r.fresh = false
			s.rearrange(schedule.Rearranged, func(w *schedule.Workload) bool { return !plan.Joins(w) })
		}
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
	for pool := range s.booked.at {
		if s.cluster.FacilityOf(pool) == facility {
			s.tighten(pool)
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
	for _, pool := range slices.Sorted(maps.Keys(s.replans.tight)) {
		from, to, over := s.cluster.Overbooked(pool, now)
		if !over {
			continue
		}
		var all []*deferral
		for id := range s.booked.at[pool] {
			if d := s.deferred.of[id]; d != nil && plannedIn(s.booked.of[id], pool, from, to) {
				all = append(all, d)
			}
		}
		// Those that may wait longest find another place most easily.
		slices.SortFunc(all, func(a, b *deferral) int {
			return cmp.Or(cmp.Compare(s.slack(b), s.slack(a)), cmp.Compare(a.w.ID, b.w.ID))
		})
		for _, d := range all {
			s.replans.add(d.w.ID, schedule.PlaceChanged)
		}
	}
	clear(s.replans.tight)
}

// plannedIn reports whether parts are planned in a pool at a time.
func plannedIn(parts []schedule.Assignment, pool string, from, to time.Time) bool {
	return slices.ContainsFunc(parts, func(a schedule.Assignment) bool { return a.Pool == pool && a.Start.Before(to) && a.End.After(from) })
}

// slack is how much later than planned a workload may end.
func (s *Scheduler) slack(d *deferral) time.Duration {
	parts := s.booked.of[d.w.ID]
	if d.w.Window.Deadline.IsZero() || len(parts) == 0 {
		return 1 << 62
	}
	return d.w.Window.Deadline.Sub(parts[len(parts)-1].End)
}

// replan plans anew what is to be, a few at a time: others decide meanwhile.
func (s *Scheduler) replan(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		var moves []move
		for more && len(moves) < together && ctx.Err() == nil {
			moves, more = s.replanFew(moves)
		}
		if len(moves) > 0 && !s.settle(moves, s.promise(ctx, moves)) {
			return
		}
	}
}

func (s *Scheduler) replanFew(moves []move) (all []move, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.deps.Clock()
	s.age(now)
	s.relieve(now)
	if s.takeOut() {
		return moves, true
	}
	for range few {
		var m *move
		if m, more = s.replanNext(now); m != nil {
			moves = append(moves, *m)
		}
	}
	return moves, more
}

// takeOut takes some of those out whose turn in a round is to come, and reports
// whether it did. The caller holds mu.
func (s *Scheduler) takeOut() (some bool) {
	r := &s.replans
	for n := 0; r.taken < len(r.order) && n < together; r.taken++ {
		id := r.order[r.taken]
		parts := s.booked.of[id]
		if r.why[id] == schedule.PlaceChanged || s.deferred.of[id] == nil || len(parts) == 0 {
			continue
		}
		s.book(id, nil)
		r.out[id] = parts
		n, some = n+1, true
	}
	return some
}

// replanNext plans one workload anew; nil when it stays. The caller holds mu.
func (s *Scheduler) replanNext(now time.Time) (m *move, more bool) {
	id, why := s.replans.next()
	parts := s.booked.of[id]
	if out := s.replans.out[id]; out != nil {
		delete(s.replans.out, id)
		parts = out
	}
	d := s.deferred.of[id]
	if d == nil {
		return nil, id != ""
	}
	if why == schedule.PlaceChanged && len(parts) > 0 && !s.crowded(parts, now) {
		return nil, true // others have made room
	}
	s.book(id, nil)
	decision, moves := s.cluster.Replan(d.w, parts, now, s.signals)
	nowhere := len(decision.Assignments) == 0 && decision.Until.IsZero()
	if !moves || samePlan(&decision, parts) || nowhere && why != schedule.PlaceChanged && len(parts) > 0 {
		s.book(id, parts)
		if nowhere && moves {
			s.tighten(parts[0].Pool) // others make room for it again
		}
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

// samePlan reports whether a decision is to wait for what is planned.
func samePlan(d *schedule.Decision, parts []schedule.Assignment) bool {
	return len(d.Assignments) == 0 && len(parts) > 0 && slices.EqualFunc(d.Planned, parts, func(a, b schedule.Assignment) bool {
		return a.Pool == b.Pool && a.Start.Equal(b.Start) && a.End.Equal(b.End)
	})
}
