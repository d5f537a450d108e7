package loop

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// hold is capacity that is kept for the workload that has waited longest: when
// what runs ends as planned, it begins at From in these pools. Others may begin
// there before, if they end by then (EASY backfilling; Lifka 1995).
type hold struct {
	id       string
	priority int
	from     time.Time
	pools    map[string]bool
}

// inTheWay reports whether a decision would delay who is waited for. What has a
// higher priority may.
func (h *hold) inTheWay(w *schedule.Workload, d *schedule.Decision) bool {
	if w.Priority > h.priority {
		return false
	}
	return slices.ContainsFunc(d.Assignments, func(a schedule.Assignment) bool {
		return h.pools[a.Pool] && a.End.After(h.from)
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
	h := &hold{id: w.ID, priority: w.Priority, from: later(ends[n].at, now), pools: map[string]bool{}}
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
		if !l.State.Live() || len(l.Parts) == 0 {
			continue
		}
		last := slices.MaxFunc(l.Parts, func(a, b schedule.Assignment) int { return a.End.Compare(b.End) })
		all = append(all, ending{last.End, l.Parts})
	}
	slices.SortFunc(all, func(a, b ending) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.parts[0].Pool, b.parts[0].Pool), cmp.Compare(a.parts[0].Slot, b.parts[0].Slot))
	})
	return all
}
