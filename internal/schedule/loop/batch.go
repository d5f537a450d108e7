package loop

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/optimise"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// Batch says when what waits is decided all at once.
type Batch struct {
	// Least is how many workloads must wait, for capacity or for better hours, to be
	// decided at once as soon as there are so many.
	Least int `yaml:"least"`
	// Every is how often all that wait are decided at once, however few.
	Every time.Duration `yaml:"every"`
	// Budget is how long one search may take.
	Budget time.Duration `yaml:"budget"`
}

// DefaultBatch returns the settings of a hub without a config file.
func DefaultBatch() Batch {
	return Batch{Least: 50, Every: 5 * time.Minute, Budget: time.Second}
}

// Check implements strict.Checker.
func (b Batch) Check(path string) []strict.Error {
	errs := slices.Concat(
		strict.AtLeast(path, "every", b.Every, time.Second),
		strict.AtLeast(path, "budget", b.Budget, time.Millisecond),
	)
	if b.Least < 2 {
		errs = append(errs, strict.Fault(path, "least", "%d is below 2: one workload is decided by itself", b.Least))
	}
	return errs
}

// mostJobs is how many workloads are decided at once; those of the highest
// priority and the longest wait come first.
const mostJobs = 5000

// batches decides about all that wait, again and again, until ctx ends.
func (s *Scheduler) batches(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, seen := s.deps.Clock(), 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, n := s.deps.Clock(), s.waitingNow()
		// Of many that wait, most are as they were a moment ago.
		if long := n >= s.cfg.Batch.Least && n > seen+seen/10; n < 2 || !long && now.Sub(last) < s.cfg.Batch.Every {
			seen = min(seen, n)
			continue
		}
		s.batch(ctx)
		last, seen = now, s.waitingNow()
	}
}

// waitingNow is how many workloads wait.
func (s *Scheduler) waitingNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.Len() + s.deferred.Len()
}

// batch decides about all that wait: the search is on a clone, while others
// decide; then each slot that it found is tried as things are by then.
func (s *Scheduler) batch(ctx context.Context) {
	if found := s.search(ctx); found != nil && ctx.Err() == nil {
		s.adopt(ctx, found)
	}
}

// search looks for slots within the budget; nil when nobody has a choice.
func (s *Scheduler) search(ctx context.Context) *plan.Together {
	s.mu.Lock()
	now, on, signals, jobs := s.deps.Clock(), s.cluster.Clone(), s.signals, s.jobs()
	for _, w := range jobs {
		on.Unplan(s.booked.of[w.ID])
	}
	s.mu.Unlock()
	if len(jobs) < 2 {
		return nil
	}
	var until time.Time // counts from when all is laid out
	found := on.Together(jobs, now, signals, optimise.Limits{Stop: func() bool {
		if until.IsZero() {
			until = s.deps.Clock().Add(s.cfg.Batch.Budget)
		}
		return ctx.Err() != nil || !s.deps.Clock().Before(until)
	}})
	return &found
}

// adopt moves what waits to the slots that were found.
func (s *Scheduler) adopt(ctx context.Context, found *plan.Together) {
	s.mu.Lock()
	moves := s.apply(found)
	s.mu.Unlock()
	if len(moves) > 0 {
		s.settle(moves, s.promise(ctx, moves))
	}
}

// jobs are what is decided at once: what waits for capacity, and what is deferred
// and could be at another time. The caller holds mu.
func (s *Scheduler) jobs() []*schedule.Workload {
	var all []*schedule.Workload
	s.queue.Each(func(w *schedule.Workload) { all = append(all, w) })
	for _, d := range s.deferred.heap {
		if d.w.Window.Deferrable {
			all = append(all, d.w)
		}
	}
	slices.SortFunc(all, func(a, b *schedule.Workload) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Submitted.Compare(b.Submitted), cmp.Compare(a.ID, b.ID))
	})
	return all[:min(len(all), mostJobs)]
}

// apply takes over the prices, and tries the slots. What is deferred leaves its
// booking before, so that it is in nobody's way; where its slot is gone, it stays
// where it was, or is planned anew. The caller holds mu.
func (s *Scheduler) apply(found *plan.Together) (moves []move) {
	now := s.deps.Clock()
	s.cluster.SetPrices(plan.Prices{From: found.From, Until: now.Add(2 * s.cfg.Batch.Every), Of: found.Prices})
	slots := slices.DeleteFunc(slices.Clone(found.Slots), func(slot plan.Slot) bool { return !s.moves(slot, now) })
	slices.SortStableFunc(slots, func(a, b plan.Slot) int { return a.Start.Compare(b.Start) })
	old := make([][]schedule.Assignment, len(slots))
	for i, slot := range slots {
		old[i] = s.booked.of[slot.Workload.ID]
		s.book(slot.Workload.ID, nil)
	}
	for i, slot := range slots {
		m, ok := s.takeSlot(slot, found, now)
		switch {
		case ok:
			moves = append(moves, m)
		case len(old[i]) > 0:
			s.book(slot.Workload.ID, old[i])
			s.replans.add(slot.Workload.ID, schedule.PlaceChanged)
		}
	}
	s.nudge()
	return moves
}

// moves reports whether a slot is another than what a workload has. What is not
// deferrable waits for capacity, and is not made to wait for hours. The caller
// holds mu.
func (s *Scheduler) moves(slot plan.Slot, now time.Time) bool {
	w := slot.Workload
	d, parts := s.deferred.of[w.ID], s.booked.of[w.ID]
	switch {
	case slot.Start.IsZero(), slot.Start.After(now) && !w.Window.Deferrable:
		return false
	case s.queue.Has(w.ID):
		return true
	case d == nil || d.w != w:
		return false // it has left, or is another by now
	}
	return len(parts) == 0 || !parts[0].Start.Equal(slot.Start) || !slices.Contains(slot.Pools, parts[0].Pool)
}

// takeSlot decides about a workload as its slot says, by how things are now;
// false where it does not fit any more. The caller holds mu.
func (s *Scheduler) takeSlot(slot plan.Slot, found *plan.Together, now time.Time) (m move, ok bool) {
	w := slot.Workload
	d, ok := s.cluster.PlaceAt(slot, now, s.signals)
	if !ok {
		return m, false
	}
	d.Bound, d.Gap = found.Bound, found.Gap
	d.Reasons = append(d.Reasons, schedule.Because(schedule.PlannedTogether, len(found.Slots)-1, slot.Start.UTC().Format(time.RFC3339),
		strconv.FormatFloat(found.Bound, 'f', 2, 64), strconv.FormatFloat(100*found.Gap, 'f', 2, 64)))
	next, to := s.accept(w, d, now)
	if to == schedule.Queued {
		return m, false
	}
	s.queue.Remove(w.ID)
	s.deferred.remove(w.ID) // until the ledger has it
	m = s.move(w.Tenant, next, to, now)
	m.Workload = w.ID
	return m, true
}
