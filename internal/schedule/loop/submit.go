package loop

import (
	"context"
	"slices"
	"sync"
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
// promised is on disk. Those who call at the same time are decided about
// together, in the order in which they came.
func (s *Scheduler) Submit(ctx context.Context, all ...Submission) []Answer {
	c := spare.Get().(*call)
	answers := make([]Answer, len(all))
	c.all, c.answers = all, answers
	if s.intake.join(c) || <-c.next {
		s.lead(ctx, s.intake.take())
		<-c.next
	}
	c.all, c.answers = nil, nil // nobody else has it any more
	spare.Put(c)
	return answers
}

// spare are calls that nobody waits for.
var spare = sync.Pool{New: func() any { return &call{next: make(chan bool, 1)} }}

// call is one call of Submit.
type call struct {
	all     []Submission
	answers []Answer
	// next is told true when the call is to lead those that wait, once at most, and
	// false when it is answered.
	next chan bool
}

// intake lets those who call at the same time share the locks: one of them leads,
// and the others wait for their answers. So a lock is not handed from one caller
// to the next for each submission, which takes longer than to decide.
type intake struct {
	mu      sync.Mutex
	waiting []*call
	led     bool // somebody leads, or has been told to
}

// most is how many submissions are decided about before others may have the
// cluster: while the next are decided, these are written. Half of the callers that
// are usual, so that it is not all of them who wait for one commit.
const most = 32

// join adds a call, and reports whether it leads.
func (in *intake) join(c *call) (leads bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.waiting = append(in.waiting, c)
	leads, in.led = !in.led, true
	return leads
}

// take returns calls that wait, the oldest first, and lets another caller lead
// those that come later.
func (in *intake) take() (calls []*call) {
	in.mu.Lock()
	defer in.mu.Unlock()
	n, sum := 0, 0
	for n < len(in.waiting) && (n == 0 || sum+len(in.waiting[n].all) <= most) {
		sum += len(in.waiting[n].all)
		n++
	}
	calls = slices.Clone(in.waiting[:n])
	in.waiting = append(in.waiting[:0], in.waiting[n:]...)
	return calls
}

// leave lets another caller lead, if any waits.
func (in *intake) leave() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.led = len(in.waiting) > 0; in.led {
		in.waiting[0].next <- true
	}
}

// decided is memory for what was decided until it is promised.
var decided = sync.Pool{New: func() any { return new([]move) }}

// lead decides about calls, and answers them when what was promised is on disk.
func (s *Scheduler) lead(ctx context.Context, calls []*call) {
	memory := decided.Get().(*[]move)
	moves := (*memory)[:0]
	now := s.deps.Clock()
	s.mu.Lock()
	for _, c := range calls {
		for i := range c.all {
			w := c.all[i].Workload
			s.demand.add(w, now)
			d, to := s.decide(w, now)
			c.answers[i].Decision = d
			m := s.move(w.Tenant, d, to, now)
			m.New, m.Key, m.Body = w, c.all[i].Key, c.all[i].Body
			moves = append(moves, m)
		}
	}
	s.mu.Unlock()
	s.intake.leave()
	results := s.promise(ctx, moves)
	clear(moves)
	*memory = moves
	decided.Put(memory)
	for _, c := range calls {
		for i := range c.answers {
			c.answers[i].take(results[0])
			results = results[1:]
		}
		c.next <- false
	}
}

func (a *Answer) take(r ledger.Result) {
	a.Err = r.Err
	if r.Err == nil {
		a.Receipt = r.Receipts[0]
	}
	if r.Err != nil || r.Receipts[0].Repeated {
		a.Decision = nil
	}
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

// proposed is memory for moves while the ledger has them.
var proposed = sync.Pool{New: func() any { return new([]ledger.Move) }}

// promise proposes moves to the ledger, each by itself, and gives back what it
// refused, and what was a repetition.
func (s *Scheduler) promise(ctx context.Context, moves []move) []ledger.Result {
	memory := proposed.Get().(*[]ledger.Move)
	all := (*memory)[:0]
	for i := range moves {
		all = append(all, moves[i].Move)
	}
	// Once proposed, a move may happen, and its caller must know what became of it.
	results := s.ledger.Submit(context.WithoutCancel(ctx), all...)
	clear(all)
	*memory = all
	proposed.Put(memory)
	s.mu.promised(moves, results)
	return results
}

// became takes what the ledger made of moves. The caller holds mu.
func (s *Scheduler) became(moves []move, results []ledger.Result) {
	now := s.deps.Clock()
	for i := range moves {
		m, r := &moves[i], &results[i]
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
}
