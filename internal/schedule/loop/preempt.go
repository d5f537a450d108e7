package loop

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// Preempt says when work gives way to other work: to a higher priority, or to
// who has a claim to what was borrowed.
type Preempt struct {
	// Enabled lets work give way; without it everything runs to its end.
	Enabled bool `yaml:"enabled"`
	// After is how long work waits before other work gives way to it.
	After time.Duration `yaml:"after"`
	// Soon is how near the planned end of work must be for it to be waited for
	// rather than taken back.
	Soon time.Duration `yaml:"soon"`
	// PerMinute bounds how many workloads give way in a minute, at all facilities
	// together.
	PerMinute int `yaml:"per_minute"`
	// Spare is after how often a workload that gave way is spared, if any other can
	// give way; 0 for never.
	Spare int `yaml:"spare"`
}

// DefaultPreempt returns the settings of a hub without a config file.
func DefaultPreempt() Preempt {
	return Preempt{Enabled: true, After: 30 * time.Second, Soon: 2 * time.Minute, PerMinute: 60, Spare: 3}
}

// Check implements strict.Checker.
func (c Preempt) Check(path string) []strict.Error {
	return slices.Concat(
		strict.AtLeast(path, "after", c.After, 0),
		strict.AtLeast(path, "soon", c.Soon, 0),
		strict.AtLeast(path, "per_minute", c.PerMinute, 1),
		strict.AtLeast(path, "spare", c.Spare, 0),
	)
}

// Pre-emption is decided here and nowhere else, for one workload after the
// other, on all that is held at all facilities:
//
//	Walk ─► has no place ─► want ─► after a while: plan.Preempt ─► hold
//	                                                                 │
//	placed ◄─ Walk ◄─ capacity is free ◄─ engines stop ◄─ takeAll ◄──┘
//
// What gives way is kept by a hold for whom it gives way to. What has a higher
// priority may take it nevertheless, unless it is a claim that is made good.
// Nothing goes round in circles: a workload gives way to a higher priority, but
// between queues only while its own uses more than its nominal amounts; or to a
// queue that stays within its own.
type preempting struct {
	running map[string]*ledger.Record // that hold something, by id
	levels  map[int]int               // how many of them have a priority
	wants   []*schedule.Workload      // that wait and may have others give way, in their turn
	next    map[string]time.Time      // when such is looked at again
	minute  time.Time                 // in which so many gave way
	gave    int
}

func newPreempting() preempting {
	return preempting{running: map[string]*ledger.Record{}, levels: map[int]int{}, next: map[string]time.Time{}}
}

// maxWants bounds who waits and may have others give way at once.
const maxWants = 64

// run follows which workloads hold something. The caller holds mu.
func (p *preempting) run(r *ledger.Record) {
	if r.Workload == nil {
		return
	}
	old := p.running[r.ID]
	switch r.State {
	case schedule.Reserved, schedule.Bound, schedule.Running:
		if p.running[r.ID] = r; old == nil {
			p.levels[r.Workload.Priority]++
		}
		return
	}
	if old == nil {
		return
	}
	delete(p.running, r.ID)
	if p.levels[r.Workload.Priority]--; p.levels[r.Workload.Priority] == 0 {
		delete(p.levels, r.Workload.Priority)
	}
}

// want notes that a workload has no place, although it has the turn and the
// share. The caller holds mu.
func (s *Scheduler) want(w *schedule.Workload, d *schedule.Decision) {
	if !s.cfg.Preempt.Enabled || len(s.wants) == maxWants || s.roomFor(w.ID) != nil || len(d.Reasons) == 0 {
		return
	}
	switch d.Reasons[0].Code {
	case schedule.QuotaExceeded, schedule.BudgetExceeded, schedule.TenantBudget, schedule.HeldForGang, schedule.BehindOthers:
		return
	}
	lower := false
	for priority := range s.levels {
		lower = lower || priority < w.Priority
	}
	if lower || s.shares.claims(w) {
		s.wants = append(s.wants, w)
	}
}

// preempt lets work give way to one that has waited long enough. It is one at a
// time, so that what waits is not kept from being tried.
func (s *Scheduler) preempt(ctx context.Context) {
	now := s.deps.Clock()
	for _, w := range s.wanting(now) {
		r, err := s.ledger.Get(context.WithoutCancel(ctx), w.ID)
		if err != nil || r.State != schedule.Queued {
			continue
		}
		if from := r.Since.Add(s.cfg.Preempt.After); from.After(now) {
			s.later(w.ID, from)
			continue
		}
		s.makeRoom(ctx, w, now)
		return
	}
}

// wanting are those to be looked at now, in their turn.
func (s *Scheduler) wanting(now time.Time) (all []*schedule.Workload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lapse(now)
	for id := range s.next {
		if !s.queue.Has(id) {
			delete(s.next, id)
		}
	}
	for _, w := range s.wants {
		if s.queue.Has(w.ID) && s.roomFor(w.ID) == nil && !s.next[w.ID].After(now) {
			all = append(all, w)
		}
	}
	return all
}

// later lets a workload be looked at again at a time.
func (s *Scheduler) later(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next[id] = at
}

// inVain is how much longer a workload to which nobody can give way waits until
// that is looked at again: it takes a search of all that is held.
const inVain = 10

// makeRoom decides who gives way to a workload, keeps what that frees for it, and
// takes back. The search is on a view, so that nobody waits for it; what was
// decided happens as a whole, and only if nobody who gives way has changed.
func (s *Scheduler) makeRoom(ctx context.Context, w *schedule.Workload, now time.Time) {
	s.mu.Lock()
	view, signals := s.cluster.Clone(), s.signals
	shares := shares{queues: s.shares.queues} // which are replaced, never changed
	records, coming := s.holders(), s.coming(shares.name(w.Tenant)).Add(least(w))
	s.mu.Unlock()
	rivals := shares.rivals(records)
	claim := shares.claim(w, rivals, coming)
	claim.Soon, claim.Spare = s.cfg.Preempt.Soon, s.cfg.Preempt.Spare
	s.later(w.ID, now.Add(max(s.cfg.Preempt.After, time.Second)))
	p, ok := view.Preempt(w, now, signals, rivals, claim)
	if !ok {
		s.later(w.ID, now.Add(max(inVain*s.cfg.Preempt.After, time.Second)))
		return
	}
	h := &hold{id: w.ID, w: w, priority: w.Priority, from: p.From, nodes: map[node]bool{}, preempts: true, victims: p.Victims, until: p.From.Add(s.cfg.LostAfter)}
	all := make([]taking, len(p.Victims))
	for i, v := range p.Victims {
		r := records[p.Rivals[i]]
		for _, l := range r.Leases {
			if l.State.Takes() {
				h.tokens = append(h.tokens, l.Token)
			}
		}
		all[i] = taking{id: v.Workload, version: r.Version, to: schedule.Queued, why: schedule.Because(schedule.PreemptedBy, w.ID)}
		if v.Priority >= w.Priority {
			all[i].why = schedule.Because(schedule.ReclaimedBy, w.ID, claim.Queue)
			h.priority = schedule.MaxPriority
		}
	}
	if !s.reserve(w, &p, records, h, now) || len(all) == 0 {
		return
	}
	if err := s.takeAll(ctx, all...); err != nil {
		s.mu.Lock()
		s.drop(h)
		s.mu.Unlock()
		if errors.Is(err, ledger.ErrStale) || errors.Is(err, ledger.ErrState) || errors.Is(err, ledger.ErrUnknown) {
			s.later(w.ID, now) // somebody ended meanwhile, or went on
			return
		}
		s.deps.Log.Error("nothing_gives_way", "workload", w.ID, "error", err)
		return
	}
	for _, t := range all {
		s.metrics.preempted(t.why.Code)
	}
	s.deps.Log.Info("work_gives_way", "workload", w.ID, "priority", w.Priority, "victims", len(all))
}

// reserve keeps what is to be freed, unless the workload does not need it any
// more, may not have it, or would not fit there as things are now.
func (s *Scheduler) reserve(w *schedule.Workload, p *plan.Preemption, records []*ledger.Record, h *hold, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p.Victims) == 0 && !p.From.After(now) {
		s.changed() // it has a place now
		return false
	}
	if !s.queue.Has(w.ID) || s.roomFor(w.ID) != nil {
		return false
	}
	d := s.placeWithout(w, records, slices.Concat(p.Rivals, p.Soon), now)
	if len(d.Assignments) == 0 || s.obstacle(w, &d, now) != nil {
		return false
	}
	if now.Sub(s.minute) >= time.Minute || now.Before(s.minute) {
		s.minute, s.gave = now, 0
	}
	if s.gave > 0 && s.gave+len(p.Victims) > s.cfg.Preempt.PerMinute {
		return false
	}
	s.gave += len(p.Victims)
	for _, a := range d.Assignments {
		h.nodes[node{a.Pool, a.Slot}] = true
	}
	s.held = append(s.held, h)
	return true
}

// placeWithout is where a workload would go without some of those who hold
// something; nowhere when any of them has changed. The caller holds mu.
func (s *Scheduler) placeWithout(w *schedule.Workload, records []*ledger.Record, out []int, now time.Time) (d schedule.Decision) {
	var parts []schedule.Assignment
	for _, i := range out {
		r := records[i]
		if s.running[r.ID] != r {
			return d
		}
		parts = append(parts, holding(r)...)
	}
	err := s.cluster.Give(parts)
	if err == nil {
		d = s.cluster.Place(w, now, s.signals)
		err = s.cluster.Restore(parts)
	}
	if err != nil {
		s.deps.Log.Error("cluster_out_of_step", "error", err)
	}
	return d
}

// holding is the parts that a workload holds.
func holding(r *ledger.Record) (parts []schedule.Assignment) {
	for _, l := range r.Leases {
		if l.State.Live() {
			parts = append(parts, l.Parts...)
		}
	}
	return parts
}

// holders are those who hold something. The caller holds mu.
func (s *Scheduler) holders() []*ledger.Record {
	all := make([]*ledger.Record, 0, len(s.running))
	for _, r := range s.running {
		all = append(all, r)
	}
	return all
}

// coming is what others make room for, for work of a queue. The caller holds mu.
func (s *Scheduler) coming(queue string) (v schedule.Vector) {
	for _, h := range s.held {
		if h.preempts && s.shares.name(h.w.Tenant) == queue {
			v = v.Add(least(h.w))
		}
	}
	return v
}

// rivals are those who hold something, as the planner takes them. It sorts them
// by their ids.
func (s *shares) rivals(records []*ledger.Record) []plan.Rival {
	slices.SortFunc(records, func(a, b *ledger.Record) int { return cmp.Compare(a.ID, b.ID) })
	queues := map[string]string{}
	all := make([]plan.Rival, len(records))
	for i, r := range records {
		q, ok := queues[r.Tenant]
		if !ok {
			q = s.name(r.Tenant)
			queues[r.Tenant] = q
		}
		all[i] = plan.Rival{Workload: r.Workload, Queue: q, TakenBack: r.TakenBack, Parts: holding(r)}
		if r.State == schedule.Running {
			all[i].Since = r.Since
		}
	}
	return all
}

// name is the queue of a tenant; empty when it has none.
func (s *shares) name(tenant string) string {
	if q := s.queue(tenant); q != nil {
		return q.ID
	}
	return ""
}

// least is what the members of a workload need that must run.
func least(w *schedule.Workload) (v schedule.Vector) {
	for i := range w.Tasks {
		t := &w.Tasks[i]
		n := t.Min
		if w.Gang == schedule.GangAll {
			n = t.Max
		}
		v = v.Add(t.Need().Times(int64(n)))
	}
	return v
}

// claims reports whether the queue of a workload has a claim to what it needs.
func (s *shares) claims(w *schedule.Workload) bool {
	q := s.queue(w.Tenant)
	return q != nil && within(q, s.usedBy(q), least(w))
}

// within reports whether a queue has a claim to more than it uses: to some of
// that by name, and it stays within all that it names.
func within(q *schedule.Queue, used, more schedule.Vector) (named bool) {
	for d, n := range q.Nominal {
		if n > 0 && used[d]+more[d] > n {
			return false
		}
		named = named || n > 0 && more[d] > 0
	}
	return named
}

// claim says whom a workload may take from. What gives way already is not
// used any more, and what is coming to its queue, with itself, is. What a queue
// uses of a resource that it does not name is not borrowed, unless it names none
// at all.
func (s *shares) claim(w *schedule.Workload, rivals []plan.Rival, coming schedule.Vector) plan.Claim {
	c := plan.Claim{Queue: s.name(w.Tenant), Over: map[string]schedule.Vector{}}
	used := map[string]schedule.Vector{}
	for i := range rivals {
		used[rivals[i].Queue] = used[rivals[i].Queue].Add(sum(rivals[i].Parts))
	}
	c.Over[""] = used[""]
	for i := range s.queues {
		q := &s.queues[i]
		if q.ID == c.Queue {
			c.Reclaims = within(q, used[q.ID], coming)
		}
		over := used[q.ID].Sub(q.Nominal)
		for d, n := range q.Nominal {
			if n == 0 && !q.Nominal.IsZero() {
				over[d] = 0
			}
		}
		c.Over[q.ID] = over
	}
	return c
}
