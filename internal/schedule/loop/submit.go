package loop

import (
	"context"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// Submission is a workload that somebody wants to run.
type Submission struct {
	Workload *schedule.Workload // its id and time are the ledger's to give
	// Key makes the submission happen once, by the digest of its Body: see
	// ledger.Move.
	Key  string
	Body [32]byte
}

// Answer is what became of a submission.
type Answer struct {
	ledger.Receipt
	// Decision is nil for a submission that was repeated; the record has it.
	Decision *schedule.Decision
	Err      error
}

// Submit decides about workloads in their order, and returns when what it
// promised is on disk.
func (s *Scheduler) Submit(ctx context.Context, all ...Submission) []Answer {
	moves := make([]move, len(all))
	answers := make([]Answer, len(all))
	now := s.deps.Clock()
	s.mu.Lock()
	for i := range all {
		w := all[i].Workload
		s.demand.add(w, now)
		d, to := s.decide(w, now)
		answers[i].Decision = d
		moves[i] = s.move(w.Tenant, d, to, now)
		moves[i].New, moves[i].Key, moves[i].Body = w, all[i].Key, all[i].Body
	}
	s.mu.Unlock()
	for i, r := range s.promise(ctx, moves) {
		answers[i].Err = r.Err
		if r.Err == nil {
			answers[i].Receipt = r.Receipts[0]
		}
		if r.Err != nil || r.Receipts[0].Repeated {
			answers[i].Decision = nil
		}
	}
	return answers
}

// decide says where a workload goes, and takes it. The caller holds mu.
func (s *Scheduler) decide(w *schedule.Workload, now time.Time) (*schedule.Decision, schedule.State) {
	return s.accept(w, s.cluster.Place(w, now, s.signals), now)
}

// accept takes what a decision is about, and says where the workload goes. The
// caller holds mu.
func (s *Scheduler) accept(w *schedule.Workload, d schedule.Decision, now time.Time) (*schedule.Decision, schedule.State) {
	if len(d.Assignments) == 0 {
		if !d.Until.IsZero() {
			s.plan(d.Planned)
			return &d, schedule.Deferred
		}
		if w.ID == "" && !s.cluster.Fits(w) { // said once, when it comes
			d.Reasons = append(d.Reasons, schedule.Because(schedule.NeverFits))
		}
		return &d, schedule.Queued
	}
	why := s.obstacle(w, &d, now)
	if why == nil && s.take(w.Tenant, d.Assignments) != nil {
		b := schedule.Because(schedule.BehindOthers, s.queue.Len()) // cannot be: what Place finds, Take takes
		why = &b
	}
	if why != nil {
		return &schedule.Decision{At: now, Reasons: []schedule.Reason{*why}}, schedule.Queued
	}
	s.plan(d.Planned)
	if h := s.roomFor(w.ID); h != nil && len(h.victims) > 0 {
		d = plan.Disrupted(d, h.victims)
	}
	s.spending.decide(w.Tenant, &d, 1)
	return &d, schedule.Reserved
}

// obstacle is why a workload waits although it has a place: its turn has not
// come, its queue has used its share, its tenant has spent its budget, or the
// place is kept for another. The caller holds mu.
func (s *Scheduler) obstacle(w *schedule.Workload, d *schedule.Decision, now time.Time) *schedule.Reason {
	why := func(code schedule.Code, args ...any) *schedule.Reason {
		r := schedule.Because(code, args...)
		return &r
	}
	if w.ID == "" && s.dirty {
		if ahead := s.queue.Ahead(w.Priority); ahead > 0 {
			return why(schedule.BehindOthers, ahead)
		}
	}
	if q, dimension, over := s.shares.over(w.Tenant, d.Assignments); over {
		return why(schedule.QuotaExceeded, q, dimension)
	}
	if over := s.spending.over(w.Tenant, d, now); over != nil {
		return over
	}
	for _, h := range s.held {
		if h.id != w.ID && h.inTheWay(w, d) && !(h.borrows && h.queue != s.shares.name(w.Tenant) && s.shares.claims(w)) {
			return why(schedule.HeldForGang, h.id)
		}
	}
	return nil
}

// move is a decision as the ledger takes it, and whose it is.
type move struct {
	ledger.Move
	tenant string
}

func (s *Scheduler) move(tenant string, d *schedule.Decision, to schedule.State, now time.Time) move {
	m := move{tenant: tenant, Move: ledger.Move{To: to, Decision: d}}
	if len(d.Reasons) > 0 {
		m.Reason = &d.Reasons[0]
	}
	if to == schedule.Reserved {
		m.Expires = now.Add(s.cfg.Hold)
	}
	return m
}

// promise proposes moves to the ledger, each by itself, and gives back what it
// refused, and what was a repetition.
func (s *Scheduler) promise(ctx context.Context, moves []move) []ledger.Result {
	proposed := make([]ledger.Move, len(moves))
	for i := range moves {
		proposed[i] = moves[i].Move
	}
	// Once proposed, a move may happen, and its caller must know what became of it.
	results := s.ledger.Submit(context.WithoutCancel(ctx), proposed...)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.deps.Clock()
	for i, r := range results {
		m := &moves[i]
		if m.Decision != nil {
			s.unplan(m.Decision.Planned)
		}
		if m.To == schedule.Reserved {
			s.spending.decide(m.tenant, m.Decision, -1)
		}
		happened := r.Err == nil && !r.Receipts[0].Repeated
		switch {
		case happened:
			s.metrics.decided(m.To)
			if m.To == schedule.Reserved {
				s.starts.add(now)
			}
		case m.To == schedule.Reserved:
			s.give(m.tenant, m.Decision.Assignments)
			s.changed()
		}
	}
	return results
}
