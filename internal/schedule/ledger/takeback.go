package ledger

import (
	"slices"

	"github.com/songhua-io/hub/internal/schedule"
)

// takenBack counts that a workload came to Preempted, unless it pauses as it was
// planned. A gang begins together, so that of one that is taken back nothing is
// done.
func (t *txn) takenBack(r *record) error {
	if r.Reason == nil || r.Reason.Code != schedule.PausedForHours {
		r.TakenBack++
	}
	if r.Workload.Gang == schedule.GangAll {
		r.Done = nil
	}
	return t.goOn(r, "")
}

// stopped frees a lease under which nothing runs any more.
func (t *txn) stopped(r *record, i int, why *schedule.Reason) error {
	if err := t.turn(r, i, schedule.Released, why); err != nil {
		return err
	}
	return t.goOn(r, "")
}

// goOn lets a workload that was taken back wait for its next start, when nothing
// of it runs any more: until then it is Preempted, which nobody places. Lost is
// a facility that is lost as of now; empty for none.
func (t *txn) goOn(r *record, lost string) error {
	if r.State != schedule.Preempted || t.stopping(r, lost) {
		return nil
	}
	to := schedule.Queued
	if r.Until.After(t.now) {
		to = schedule.Deferred
	}
	return t.advance(r, to, r.Reason)
}

// stopping reports whether an engine is still to say that it has stopped
// something of a workload. A facility that is lost cannot: what runs there is
// stopped when it comes back, as all that is fenced.
func (t *txn) stopping(r *record, lost string) bool {
	return slices.ContainsFunc(r.Leases, func(l schedule.Lease) bool {
		if l.State != schedule.Fenced || l.Facility == lost {
			return false
		}
		s := t.l.book.facilities[l.Facility]
		return s != nil && s.State != schedule.Lost
	})
}

// unheard lets go on what waited for a facility that is lost to stop it.
func (t *txn) unheard(facility string) error {
	fenced := func(s schedule.LeaseState) bool { return s == schedule.Fenced }
	for _, num := range t.l.recordsAt(facility, fenced) {
		if t.l.live[num].State != schedule.Preempted {
			continue
		}
		r, err := t.find(num)
		if err != nil {
			return err
		}
		if err := t.goOn(r, facility); err != nil {
			return err
		}
	}
	return nil
}
