package loop

import (
	"context"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/plan"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// view is the cluster as it is now, for one's own use.
func (s *Scheduler) view() (*plan.Cluster, signal.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster.Clone(), s.signals
}

// Get returns a workload or a reservation.
func (s *Scheduler) Get(ctx context.Context, id string) (ledger.Record, error) {
	return s.ledger.Get(ctx, id)
}

// List returns workloads, the newest first; see ledger.List.
func (s *Scheduler) List(ctx context.Context, f ledger.Filter, before string, limit int) ([]ledger.Record, error) {
	return s.ledger.List(ctx, f, before, limit)
}

// Waiting returns up to limit workloads that are queued or deferred; see
// ledger.Waiting.
func (s *Scheduler) Waiting(ctx context.Context, state schedule.State, limit int) ([]ledger.Record, error) {
	return s.ledger.Waiting(ctx, state, limit)
}

// Declared returns what there is.
func (s *Scheduler) Declared(ctx context.Context) (ledger.Snapshot, error) {
	return s.ledger.Inventory(ctx)
}

// Events returns events after a sequence number, and what closes when there are
// more; see ledger.Events.
func (s *Scheduler) Events(ctx context.Context, since int64, limit int) ([]schedule.Event, <-chan struct{}, error) {
	return s.ledger.Events(ctx, since, limit)
}

// EventsOf returns events of a workload and its leases after a sequence number;
// see ledger.EventsOf.
func (s *Scheduler) EventsOf(ctx context.Context, id string, since int64, limit int) (events []schedule.Event, more bool, err error) {
	return s.ledger.EventsOf(ctx, id, since, limit)
}

// Capacities are what all pools have and what of it is in use.
func (s *Scheduler) Capacities() []plan.Capacity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster.Capacities(s.deps.Clock())
}

// NodesOf are the named nodes of an engine, with what they have free.
func (s *Scheduler) NodesOf(e schedule.Engine) map[string]plan.NodeFree {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster.NodesOf(e, s.deps.Clock())
}

// Uses is what is taken of every pool; see ledger.Uses.
func (s *Scheduler) Uses(ctx context.Context) ([]ledger.Use, error) { return s.ledger.Uses(ctx) }

// Region returns the division code of a facility; empty when there is no such.
func (s *Scheduler) Region(facility string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster.Region(facility)
}

// Ahead is how many wait at a priority or above.
func (s *Scheduler) Ahead(priority int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.Ahead(priority)
}

// Lease returns a lease that takes capacity, by its token.
func (s *Scheduler) Lease(ctx context.Context, token uint64) (schedule.Lease, error) {
	return s.ledger.Lease(ctx, token)
}

// Output is where the members of a lease write at its facility; empty where that
// is not known.
func (s *Scheduler) Output(l *schedule.Lease) string {
	for _, e := range s.cfg.Engines {
		if e.Facility == l.Facility && l.Workload != "" {
			return facility.Output(e.Directory, l.ID, "*")
		}
	}
	return ""
}

// Try decides about a workload and keeps nothing: where it would go now.
func (s *Scheduler) Try(w *schedule.Workload) schedule.Decision {
	c, signals := s.view()
	return c.Explain(w, s.deps.Clock(), signals)
}

// Explain says why a workload waits: why each pool cannot take it, and what
// would help. One that runs, or waits for its time, is explained by the decision that
// its record has.
func (s *Scheduler) Explain(ctx context.Context, id string) (ledger.Record, schedule.Decision, error) {
	r, err := s.ledger.Get(ctx, id)
	if err != nil || r.Workload == nil {
		return r, schedule.Decision{}, err
	}
	switch r.State {
	case schedule.Queued, schedule.Preempted:
		d := s.Try(r.Workload.Left(r.Worked))
		d.Assignments = nil
		if n := s.stopping(id); n > 0 {
			d.Reasons = slices.Insert(d.Reasons, 0, schedule.Because(schedule.WaitsForVictims, n))
		}
		if r.Reason != nil && len(d.Reasons) > 0 && d.Reasons[0].Code == schedule.Chosen {
			d.Reasons = []schedule.Reason{*r.Reason} // it has a place, and its turn has not come
		}
		return r, d, nil
	}
	if r.Decision == nil {
		return r, schedule.Decision{}, nil
	}
	return r, *r.Decision, nil
}

// Turn is where a workload stands in the queue, and when it is expected to
// begin: as many as are ahead, at the rate of the last hour.
type Turn struct {
	Rank     int
	P50, P90 time.Time // zero: nothing began in the last hour, or Never
	// Never says that no pool could take it even if nothing else ran.
	Never bool
}

// Turn returns the turn of a workload; false when it does not wait for capacity.
func (s *Scheduler) Turn(id string) (Turn, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rank, waits := s.queue.Rank(id)
	if !waits {
		return Turn{}, false
	}
	t := Turn{Rank: rank}
	if w := s.queue.Get(id); w != nil && !s.cluster.Fits(w) {
		t.Never = true
		return t, true
	}
	now := s.deps.Clock()
	for _, h := range s.held {
		if h.id == id {
			t.P50, t.P90 = h.from, h.from
			return t, true
		}
	}
	if n := s.starts.perHour(now); n > 0 {
		each := time.Hour / time.Duration(n)
		t.P50, t.P90 = now.Add(time.Duration(rank+1)*each), now.Add(2*time.Duration(rank+1)*each)
	}
	return t, true
}

// Signals returns all forecasts. They must not be changed.
func (s *Scheduler) Signals() signal.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signals
}
