package loop

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// hold is capacity that is kept for a workload: for the one that has waited
// longest, in pools where it begins at From, when what runs ends as planned; or
// for one to which others give way, at the nodes where it begins when they have
// stopped. Others may begin there before, if they end by From (EASY backfilling;
// Lifka 1995).
type hold struct {
	id       string
	priority int
	from     time.Time
	pools    map[string]bool
	nodes    map[node]bool
	queue    string
	// borrows says that the queue of who has waited longest has no claim to that:
	// work of another that has one passes.
	borrows bool

	// Of one to which others give way.
	w        *schedule.Workload
	preempts bool
	victims  []schedule.Victim
	tokens   []uint64  // of their leases
	until    time.Time // for so long they are waited for
}

// node is one node of a pool.
type node struct {
	pool string
	slot int
}

// roomFor is what is kept for a workload to which others give way; nil when they
// do not. The caller holds mu.
func (s *Scheduler) roomFor(id string) *hold {
	for _, h := range s.held {
		if h.preempts && h.id == id {
			return h
		}
	}
	return nil
}

// starves reports whether something is kept for who waits longest. The caller
// holds mu.
func (s *Scheduler) starves() bool {
	return slices.ContainsFunc(s.held, func(h *hold) bool { return !h.preempts })
}

// lapse lets go what is kept for who does not wait any more, or has waited for
// those who give way as long as they are waited for: an engine that does not
// stop its work leads to another choice. The caller holds mu.
func (s *Scheduler) lapse(now time.Time) {
	n := len(s.held)
	s.held = slices.DeleteFunc(s.held, func(h *hold) bool { return h.preempts && (!s.queue.Has(h.id) || now.After(h.until)) })
	if len(s.held) < n {
		s.changed()
	}
}

// settleHold lets go what was kept for a workload that was tried when all of it
// was free, and did not fit. The caller holds mu.
func (s *Scheduler) settleHold(id string, now time.Time) {
	h := s.roomFor(id)
	if h == nil || now.Before(h.from) || s.left(h) > 0 {
		return
	}
	s.drop(h)
}

// left is how many leases of those who give way still take capacity. The caller
// holds mu.
func (s *Scheduler) left(h *hold) (n int) {
	for _, token := range h.tokens {
		if _, ok := s.leases[token]; ok {
			n++
		}
	}
	return n
}

// stopping is how many workloads that give way to another have not stopped yet.
func (s *Scheduler) stopping(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, n := s.roomFor(id), 0
	if h == nil {
		return 0
	}
	for _, v := range h.victims {
		if slices.ContainsFunc(h.tokens, func(token uint64) bool {
			l, ok := s.leases[token]
			return ok && l.workload == v.Workload
		}) {
			n++
		}
	}
	return n
}

// drop lets go what is kept. The caller holds mu.
func (s *Scheduler) drop(h *hold) {
	s.held = slices.DeleteFunc(s.held, func(o *hold) bool { return o == h })
	s.changed()
}

// inTheWay reports whether a decision would delay who is waited for. What has a
// higher priority may.
func (h *hold) inTheWay(w *schedule.Workload, d *schedule.Decision) bool {
	if w.Priority > h.priority {
		return false
	}
	if h.preempts && w.ID != "" && w.Tenant == h.w.Tenant && w.Priority == h.w.Priority && w.Submitted.Before(h.w.Submitted) {
		return false // it came back, and is tried before
	}
	return slices.ContainsFunc(d.Assignments, func(a schedule.Assignment) bool {
		return (h.pools[a.Pool] || h.nodes[node{a.Pool, a.Slot}]) && a.End.After(h.from)
	})
}

// keep finds when and where a workload can begin if nothing else does; nil when
// it fits nowhere even then. The caller holds mu.
func (s *Scheduler) keep(w *schedule.Workload, now time.Time) *hold {
	ends := s.ends()
	// With the first n leases ended, does it fit? More freed capacity never
	// takes a place away.
	var at schedule.Decision
	n := sort.Search(len(ends), func(n int) bool {
		c := s.cluster.Clone()
		for _, e := range ends[:n+1] {
			if c.Give(e.parts) != nil {
				return false
			}
		}
		d := c.Place(w, now, s.signals)
		if len(d.Assignments) > 0 {
			at = d
		}
		return len(d.Assignments) > 0
	})
	if n == len(ends) || len(at.Assignments) == 0 {
		return nil
	}
	h := &hold{id: w.ID, priority: w.Priority, from: later(ends[n].at, now), queue: s.shares.name(w.Tenant), borrows: !s.shares.claims(w), pools: map[string]bool{}}
	for _, a := range at.Assignments {
		h.pools[a.Pool] = true
	}
	return h
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ending is the parts of a lease that end at a time.
type ending struct {
	at    time.Time
	parts []schedule.Assignment
}

// ends are the live leases in the order in which they are planned to end.
func (s *Scheduler) ends() []ending {
	all := make([]ending, 0, len(s.leases))
	for _, l := range s.leases {
		if !l.live || len(l.parts) == 0 {
			continue
		}
		last := slices.MaxFunc(l.parts, func(a, b schedule.Assignment) int { return a.End.Compare(b.End) })
		all = append(all, ending{last.End, l.parts})
	}
	slices.SortFunc(all, func(a, b ending) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.parts[0].Pool, b.parts[0].Pool), cmp.Compare(a.parts[0].Slot, b.parts[0].Slot))
	})
	return all
}
