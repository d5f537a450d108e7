package loop

import (
	"context"
	"errors"
	"slices"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/queue"
)

// together is how many promises a pass makes before it lets others decide.
const together = 256

// pass tries what waits: first what was deferred until now, then the queue,
// when something changed since it was tried. What is to pause does before, and
// what is to be planned anew is after.
func (s *Scheduler) pass(ctx context.Context) {
	s.pause(ctx)
	s.try(ctx)
	s.replan(ctx)
}

func (s *Scheduler) try(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		moves, more := s.wanted()
		s.mu.Unlock()
		if len(moves) == 0 {
			return
		}
		results := s.promise(ctx, moves)
		if !s.settle(moves, results) || !more {
			return
		}
	}
}

// wanted decides about what waits. More says that it did not get to the end.
// The caller holds mu.
func (s *Scheduler) wanted() (moves []move, more bool) {
	now := s.deps.Clock()
	if moves, more = s.begin(now); more {
		return moves, true
	}
	if s.spending.turned(now) {
		s.dirty = true // who has spent its budget may go on
	}
	if !s.dirty || len(moves) > 0 {
		return moves, s.dirty
	}
	s.dirty, s.wants = false, s.wants[:0]
	s.held = slices.DeleteFunc(s.held, func(h *hold) bool { return !h.preempts })
	if s.queue.Len() == 0 {
		return nil, false
	}
	s.measure(now)
	s.queue.Walk(s.shares.of, func(w *schedule.Workload) queue.Outcome {
		if len(moves) == together {
			s.dirty, more = true, true
			return queue.Stop
		}
		d, to := s.decide(w, now)
		if to == schedule.Queued {
			s.settleHold(w.ID, now)
			s.want(w, d)
			if !s.starves() && now.Sub(w.Submitted) > s.cfg.Patience {
				if h := s.keep(w, now); h != nil {
					s.held = append(s.held, h)
				}
			}
			return queue.Stays
		}
		m := s.move(w.Tenant, d, to, now)
		m.Workload = w.ID
		moves = append(moves, m)
		return queue.Left
	})
	return moves, more
}

// settle puts back what the ledger refused, and reports whether it still works.
func (s *Scheduler) settle(moves []move, results []ledger.Result) (works bool) {
	for i, r := range results {
		var refused *ledger.Refused
		switch {
		case r.Err == nil, errors.Is(r.Err, ledger.ErrUnknown), errors.Is(r.Err, ledger.ErrState):
			// It left, or was cancelled meanwhile.
		case errors.Is(r.Err, ledger.ErrStale), errors.As(r.Err, &refused):
			s.again(moves[i].Workload)
		default:
			s.deps.Log.Error("nothing_more_is_promised", "error", r.Err)
			return false
		}
	}
	return true
}

// again lets a workload wait that the ledger still has waiting.
func (s *Scheduler) again(id string) {
	r, err := s.ledger.Get(context.Background(), id)
	if err != nil {
		s.deps.Log.Error("workload_not_tried_again", "workload", id, "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place(&r)
}
