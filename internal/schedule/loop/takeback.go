package loop

import (
	"context"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

// takeBack takes a workload back that is reserved, bound or running: its leases
// are fenced, its engines stop it under its old tokens, and once they have said
// so its capacity is free and it is queued, or deferred until a time. So the
// next start, under a higher token, is after the end of this one. It returns
// when that is on disk; a crash at any step is made good by the next start of
// the hub, which finds the leases fenced. An error that is ledger.ErrState says
// that the workload has nothing to be taken back.
func (s *Scheduler) takeBack(ctx context.Context, id string, to schedule.State, until time.Time, why schedule.Reason) error {
	return s.takeAll(ctx, taking{id: id, to: to, until: until, why: why})
}

// taking is one workload that is taken back.
type taking struct {
	id      string
	version int64 // that was read; 0 for any
	to      schedule.State
	until   time.Time
	why     schedule.Reason
}

// takeAll takes workloads back, all or none.
func (s *Scheduler) takeAll(ctx context.Context, all ...taking) error {
	now := s.deps.Clock()
	moves := make([]ledger.Move, len(all))
	for i := range all {
		t := &all[i]
		switch {
		case t.to == schedule.Queued && t.until.IsZero():
		case t.to == schedule.Deferred && !t.until.IsZero():
		default:
			return fmt.Errorf("workload %q is taken back to %q until %v, which %w: queued, or deferred until a time", t.id, t.to, t.until, ledger.ErrInvalid)
		}
		moves[i] = ledger.Move{Workload: t.id, Version: t.version, To: schedule.Preempted, Reason: &t.why,
			Decision: &schedule.Decision{At: now, Until: t.until, Reasons: []schedule.Reason{t.why}}}
	}
	return s.ledger.Propose(context.WithoutCancel(ctx), ledger.Proposal{Moves: moves})[0].Err
}
