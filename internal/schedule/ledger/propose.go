package ledger

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
	"unique"

	"github.com/songhua-io/hub/internal/schedule"
)

// Proposal is what somebody decided on a view of the ledger: its moves happen
// in their order, all of them or none.
type Proposal struct {
	// Read are the facilities and pools that the decision relied on. One that
	// was declared anew meanwhile makes the proposal stale; what was taken there
	// meanwhile does not, since capacity is checked by itself.
	Read  []Seen
	Moves []Move
}

// Seen is a version that was read, of a facility or of a pool.
type Seen struct {
	Facility, Pool string // one of them
	Version        int64
}

// Move takes one workload to a state.
type Move struct {
	// New is a workload that is submitted by this move; its id and time are the
	// ledger's to give. Otherwise Workload is the id of one that is there, and
	// Version the one that was read; 0 for any.
	New      *schedule.Workload
	Workload string
	Version  int64
	// Key, when it is not empty, makes New happen once: for seven days the same
	// tenant and key with the same body get the same receipt. Body is a digest.
	Key  string
	Body [32]byte

	// To is where it goes. Preempted takes it back: it is queued again, or deferred
	// until Decision says, once nothing of it is at an engine any more.
	To schedule.State
	// Decision is kept as the explanation, and goes back with Get. Its assignments are promised: they
	// go with Reserved, or with the state that the workload has, for members
	// that nothing is promised to. The record keeps them and the first reason: they
	// are not to be changed, nor to lie in the memory of something large.
	Decision *schedule.Decision
	Reason   *schedule.Reason
	Expires  time.Time // of what is promised; zero: never
	// Stopped says that the engines of a workload that is taken back have
	// nothing of it any more. Without it what they have goes on to take
	// capacity, fenced, until they report.
	Stopped bool

	explained []byte // the document of Decision
}

// Result is what became of a proposal: a receipt for each move, or why nothing
// happened. A *Refused error says what did not fit.
type Result struct {
	Receipts []Receipt
	Err      error
}

// Submit proposes each move by itself, in their order.
func (l *Ledger) Submit(ctx context.Context, moves ...Move) []Result {
	memory := singles.Get().(*[]Proposal)
	all := (*memory)[:0]
	for i := range moves {
		all = append(all, Proposal{Moves: moves[i : i+1]})
	}
	results := l.Propose(ctx, all...)
	clear(all)
	*memory = all
	singles.Put(memory)
	return results
}

// singles is memory for proposals of one move each.
var singles = sync.Pool{New: func() any { return new([]Proposal) }}

// piece is how many proposals of one call are applied without others between
// them, so that a long batch does not hold up everybody.
const piece = 256

// Propose applies proposals in their order; they are the ledger's until it
// returns. It returns when all that it did is on disk. An error of the ledger itself is that of every result.
func (l *Ledger) Propose(ctx context.Context, proposals ...Proposal) []Result {
	results := make([]Result, len(proposals))
	moves := 0
	for i := range proposals {
		moves += len(proposals[i].Moves)
	}
	receipts := make([]Receipt, 0, moves) // of all
	for at := 0; at < len(proposals); at += piece {
		end := min(at+piece, len(proposals))
		explain(proposals[at:end])
		err := l.write(ctx, func(begin func() *txn) {
			for i := at; i < end; i++ {
				t := begin()
				had := len(receipts)
				all, err := t.propose(&proposals[i], receipts)
				if err != nil {
					t.undo()
					results[i].Err = err
					continue
				}
				t.publish()
				receipts, results[i].Receipts = all, all[had:len(all):len(all)]
			}
		})
		if err == nil {
			err = l.again(ctx, results[at:end])
		}
		if err != nil {
			for i := at; i < len(results); i++ {
				results[i] = Result{Err: err}
			}
			break
		}
	}
	l.metrics.count(results)
	return results
}

// explain writes the documents of decisions, while nobody waits for it.
func explain(proposals []Proposal) {
	doc := documents.Get().(*document)
	defer documents.Put(doc)
	for i := range proposals {
		for j := range proposals[i].Moves {
			if m := &proposals[i].Moves[j]; m.Decision != nil {
				doc.decision = *m.Decision
				doc.decision.Assignments, doc.decision.Planned = nil, nil // the record has them
				doc.bytes = appendDoc(decisionForm, doc.bytes[:0], &doc.decision)
				m.explained = bytes.Clone(doc.bytes)
			}
		}
	}
	doc.decision = schedule.Decision{}
}

// again fills the receipts of requests that were repeated, once what they were
// answered is on disk.
func (l *Ledger) again(ctx context.Context, results []Result) error {
	for _, r := range results {
		for i := range r.Receipts {
			if r.Receipts[i].Seq != 0 {
				continue
			}
			was, err := l.Get(ctx, r.Receipts[i].ID)
			if err != nil {
				return err
			}
			r.Receipts[i] = was.First
			r.Receipts[i].Repeated = true
		}
	}
	return nil
}

// propose adds receipts to those of proposals before it.
func (t *txn) propose(p *Proposal, receipts []Receipt) ([]Receipt, error) {
	for _, s := range p.Read {
		if err := t.l.book.fresh(s); err != nil {
			return nil, err
		}
	}
	for i := range p.Moves {
		m := &p.Moves[i]
		if m.New != nil && m.Key != "" {
			was, err := t.repeated(m.New.Tenant, m.Key, m.Body)
			if err != nil {
				return nil, err
			}
			if was != 0 {
				receipts = append(receipts, Receipt{ID: workloadID(was)})
				continue
			}
		}
		r, err := t.move(m)
		if err == nil && m.To == schedule.Preempted {
			err = t.takenBack(r)
		}
		if err != nil {
			return nil, err
		}
		receipts = append(receipts, r.receipt(t.last.seq))
		if m.New != nil {
			r.First = receipts[len(receipts)-1]
		}
		if m.New != nil && m.Key != "" {
			t.keys = append(t.keys, newKey(m.New.Tenant, m.Key, m.Body, r.num))
		}
	}
	return receipts, nil
}

// repeated returns the number of what was made under a key before, 0 for none.
func (t *txn) repeated(tenant, name string, body [32]byte) (uint64, error) {
	k := newKey(tenant, name, body, 0)
	was, ok := t.l.keys.get(k.name)
	for i := range t.keys {
		if t.keys[i].name == k.name {
			was, ok = t.keys[i], true
		}
	}
	switch {
	case !ok && t.l.keys.len() >= t.l.cfg.MaxKeys:
		return 0, fmt.Errorf("the store of idempotency keys %w (%d in seven days): raise schedule.max_keys", ErrFull, t.l.cfg.MaxKeys)
	case ok && was.body != k.body:
		return 0, fmt.Errorf("idempotency key %q %w by tenant %q; take a new key", name, ErrConflict, tenant)
	}
	return was.num, nil
}

func (b *book) fresh(s Seen) error {
	if s.Pool != "" {
		if p := b.pools[s.Pool]; p == nil || p.Version != s.Version {
			return fmt.Errorf("pool %q, version %d, %w: decide again", s.Pool, s.Version, ErrStale)
		}
		return nil
	}
	if f := b.facilities[s.Facility]; f == nil || f.Version != s.Version {
		return fmt.Errorf("facility %q, version %d, %w: decide again", s.Facility, s.Version, ErrStale)
	}
	return nil
}

// receipt says what a record is promised, in the memory of its first one when it
// is that.
func (r *Record) receipt(seq int64) Receipt {
	a := Receipt{ID: r.ID, State: r.State, Seq: seq}
	if r.First.Seq == 0 {
		a.Grants = r.First.Grants[:0]
	}
	for _, l := range r.Leases {
		if l.State.Live() {
			a.Grants = append(a.Grants, Grant{l.ID, l.Facility, l.Token, l.Expires})
		}
	}
	return a
}

func (t *txn) move(m *Move) (*record, error) {
	r, err := t.subject(m)
	if err != nil {
		return nil, err
	}
	if m.To != r.State {
		if err := t.advance(r, m.To, m.Reason); err != nil {
			return nil, err
		}
	} else if m.To == schedule.Deferred && m.Decision != nil {
		t.replan(r, m)
	}
	if !hasLeases(m.To) {
		if err := t.disown(r, m.Stopped, m.Reason); err != nil {
			return nil, err
		}
	}
	if m.Decision == nil {
		if m.To == schedule.Reserved {
			return nil, fmt.Errorf("workload %q: %s without a decision %w", r.ID, m.To, ErrInvalid)
		}
		return r, nil
	}
	r.explained, r.decided, r.Until, r.Planned = m.explained, true, m.Decision.Until, m.Decision.Planned
	parts := m.Decision.Assignments
	if len(parts) == 0 && m.To != schedule.Reserved {
		return r, nil
	}
	if !hasLeases(m.To) {
		return nil, fmt.Errorf("workload %q: %d assignments for one that is %s %w", r.ID, len(parts), m.To, ErrInvalid)
	}
	if err := r.takes(parts); err != nil {
		return nil, err
	}
	t.charge(r, m.Decision)
	return r, t.grant(r, parts, m.Expires)
}

// hasLeases reports whether capacity is promised in a state.
func hasLeases(s schedule.State) bool {
	return s == schedule.Reserved || s == schedule.Bound || s == schedule.Running
}

// subject returns the record that a move is about, a new one or one that is
// there.
func (t *txn) subject(m *Move) (*record, error) {
	if m.New == nil {
		num, err := number(m.Workload)
		if err != nil {
			return nil, err
		}
		r, err := t.find(num)
		switch {
		case err != nil:
			return nil, err
		case r.Workload == nil:
			return nil, fmt.Errorf("workload %q %w: it is a reservation", m.Workload, ErrUnknown)
		case r.State.Ended():
			return nil, fmt.Errorf("workload %q is %s, which %w: it has ended", r.ID, r.State, ErrState)
		case m.Version != 0 && m.Version != r.Version-1:
			return nil, fmt.Errorf("workload %q, version %d, %w: it has version %d", m.Workload, m.Version, ErrStale, r.Version-1)
		}
		return r, nil
	}
	if len(t.l.live) >= t.l.cfg.MaxLive {
		return nil, fmt.Errorf("the ledger %w: %d workloads have not ended; wait, cancel some, or raise schedule.max_live", ErrFull, t.l.cfg.MaxLive)
	}
	r := t.add()
	o := &origin{workload: *m.New}
	w := &o.workload
	w.ID, w.Tenant, w.Submitted = workloadID(r.num), unique.Make(w.Tenant).Value(), t.now
	r.ID, r.Tenant, r.Workload, r.trail = w.ID, w.Tenant, w, o.trail[:0]
	return r, t.advance(r, schedule.Submitted, nil)
}

// member is one member of a task.
type member struct {
	task  string
	index int
}

// takes reports why parts may not be promised to a workload: a member that it
// does not have or that has a place already, or a gang that is not complete.
func (r *record) takes(parts []schedule.Assignment) error {
	if len(parts) == 0 {
		return fmt.Errorf("workload %q: a decision without assignments %w", r.ID, ErrInvalid)
	}
	places := make(map[member]bool, len(parts))
	for _, l := range r.Leases {
		if l.State.Live() || slices.Contains(r.Done, l.Token) {
			for _, p := range l.Parts {
				places[member{p.Task, p.Index}] = true
			}
		}
	}
	for _, p := range parts {
		i := slices.IndexFunc(r.Workload.Tasks, func(t schedule.Task) bool { return t.Name == p.Task })
		if i < 0 || p.Index < 0 || p.Index >= r.Workload.Tasks[i].Max {
			return fmt.Errorf("workload %q: task %q, member %d %w: it has none such", r.ID, p.Task, p.Index, ErrInvalid)
		}
		m := member{p.Task, p.Index}
		if places[m] {
			return fmt.Errorf("workload %q: task %q, member %d %w: it has a place", r.ID, p.Task, p.Index, ErrStale)
		}
		places[m] = true
	}
	least := r.least()
	for i := range r.Workload.Tasks {
		t := &r.Workload.Tasks[i]
		n := 0
		for m := range places {
			if m.task == t.Name {
				n++
			}
		}
		if n < least(t) {
			return fmt.Errorf("workload %q: %d places for task %q %w: gang %q needs %d", r.ID, n, t.Name, ErrInvalid, r.Workload.Gang, least(t))
		}
	}
	return nil
}

// least returns how many members of a task must have a place at once.
func (r *record) least() func(*schedule.Task) int {
	switch r.Workload.Gang {
	case schedule.GangAll:
		return func(t *schedule.Task) int { return t.Max }
	case schedule.GangMinimum:
		return func(t *schedule.Task) int { return t.Min }
	}
	return func(*schedule.Task) int { return 0 }
}

// Cancel ends a workload for its owner.
func (l *Ledger) Cancel(ctx context.Context, id string) error {
	why := schedule.Because(schedule.CancelledByCaller)
	return l.Propose(ctx, Proposal{Moves: []Move{{Workload: id, To: schedule.Cancelled, Reason: &why}}})[0].Err
}
