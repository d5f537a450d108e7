package loop

import (
	"container/heap"
	"context"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

// deferral is a workload that waits for its time, or one that runs until it
// pauses.
type deferral struct {
	w     *schedule.Workload // what is left of it
	until time.Time
	at    int // in the heap; -1 when it is out
}

// deferrals is a heap, the earliest first, with its workloads by id.
type deferrals struct {
	heap []*deferral
	of   map[string]*deferral
}

func newDeferrals() deferrals { return deferrals{of: map[string]*deferral{}} }

// Len is for container/heap.
func (d *deferrals) Len() int { return len(d.heap) }

// Less is for container/heap.
func (d *deferrals) Less(i, j int) bool { return d.heap[i].until.Before(d.heap[j].until) }

// Swap is for container/heap.
func (d *deferrals) Swap(i, j int) {
	d.heap[i], d.heap[j] = d.heap[j], d.heap[i]
	d.heap[i].at, d.heap[j].at = i, j
}

// Push is for container/heap.
func (d *deferrals) Push(x any) {
	one := x.(*deferral)
	one.at = len(d.heap)
	d.heap = append(d.heap, one)
}

// Pop is for container/heap.
func (d *deferrals) Pop() any {
	last := d.heap[len(d.heap)-1]
	d.heap = d.heap[:len(d.heap)-1]
	last.at = -1
	return last
}

// put lets a workload wait until a time.
func (d *deferrals) put(w *schedule.Workload, until time.Time) {
	if one := d.of[w.ID]; one != nil {
		one.w, one.until = w, until
		heap.Fix(d, one.at)
		return
	}
	one := &deferral{w: w, until: until}
	d.of[w.ID] = one
	heap.Push(d, one)
}

func (d *deferrals) remove(id string) {
	if one := d.of[id]; one != nil {
		delete(d.of, id)
		heap.Remove(d, one.at)
	}
}

// due takes out the first whose time has come; nil when none has.
func (d *deferrals) due(now time.Time) *schedule.Workload {
	if len(d.heap) == 0 || d.heap[0].until.After(now) {
		return nil
	}
	one := heap.Pop(d).(*deferral)
	delete(d.of, one.w.ID)
	return one.w
}

// bookings are what is planned of each workload, counted in the cluster.
type bookings struct {
	of map[string][]schedule.Assignment
	at map[string]map[string]bool // workloads by pool
	// decided are those that the ledger does not have yet, by their first part:
	// what it applies of them is counted already.
	decided map[*schedule.Assignment]bool
}

func newBookings() bookings {
	return bookings{of: map[string][]schedule.Assignment{}, at: map[string]map[string]bool{}, decided: map[*schedule.Assignment]bool{}}
}

// plan counts what was decided, until the ledger has it or refuses it: the next
// decision must know of it. The caller holds mu.
func (s *Scheduler) plan(parts []schedule.Assignment) {
	if len(parts) > 0 {
		s.cluster.Plan(parts)
		s.booked.decided[&parts[0]] = true
	}
}

// unplan takes back what the ledger did not apply. The caller holds mu.
func (s *Scheduler) unplan(parts []schedule.Assignment) {
	if len(parts) > 0 && s.booked.decided[&parts[0]] {
		delete(s.booked.decided, &parts[0])
		s.cluster.Unplan(parts)
	}
}

// book counts what is planned of a workload, and nothing else of it. The caller
// holds mu.
func (s *Scheduler) book(id string, parts []schedule.Assignment) {
	b := &s.booked
	old := b.of[id]
	if len(old) > 0 && len(parts) > 0 && &old[0] == &parts[0] {
		return
	}
	s.cluster.Unplan(old)
	for i := range old {
		if all := b.at[old[i].Pool]; all != nil {
			delete(all, id)
			if len(all) == 0 {
				delete(b.at, old[i].Pool)
			}
		}
	}
	if len(parts) == 0 {
		delete(b.of, id)
		return
	}
	if b.decided[&parts[0]] {
		delete(b.decided, &parts[0])
	} else {
		s.cluster.Plan(parts)
	}
	b.of[id] = parts
	for i := range parts {
		all := b.at[parts[i].Pool]
		if all == nil {
			all = map[string]bool{}
			b.at[parts[i].Pool] = all
		}
		all[id] = true
	}
}

// awaits puts a workload among those that wait for their time, or that run until
// they pause, with what is planned of it. The caller holds mu.
func (s *Scheduler) awaits(r *ledger.Record) {
	switch r.State {
	case schedule.Deferred:
		s.pausing.remove(r.ID)
		if !r.Until.IsZero() {
			s.deferred.put(r.Workload.Left(r.Worked), r.Until)
			s.replans.fresh = true
		}
	case schedule.Reserved, schedule.Bound, schedule.Running:
		s.deferred.remove(r.ID)
		if at := pauses(r); !at.IsZero() {
			s.pausing.put(r.Workload, at)
		} else {
			s.pausing.remove(r.ID)
		}
	default:
		s.deferred.remove(r.ID)
		s.pausing.remove(r.ID)
		if r.State != schedule.Preempted { // which waits for its engine to stop it
			s.book(r.ID, nil)
			delete(s.replans.out, r.ID)
			return
		}
	}
	delete(s.replans.out, r.ID)
	s.book(r.ID, r.Planned)
}

// pauses is when what runs of a workload is to pause; zero: it does not.
func pauses(r *ledger.Record) (at time.Time) {
	if len(r.Planned) == 0 || !r.Workload.Splits() {
		return at
	}
	for _, l := range r.Leases {
		if l.State.Live() {
			for _, p := range l.Parts {
				at = p.End
			}
		}
	}
	return at
}

// begin decides about those whose time has come. The caller holds mu.
func (s *Scheduler) begin(now time.Time) (moves []move, more bool) {
	for len(moves) < together {
		w := s.deferred.due(now)
		if w == nil {
			return moves, false
		}
		s.book(w.ID, nil) // it is not in its own way
		moves = append(moves, s.moveOf(w, now))
	}
	return moves, true
}

// moveOf decides about a workload that is there.
func (s *Scheduler) moveOf(w *schedule.Workload, now time.Time) move {
	d, to := s.decide(w, now)
	m := s.move(w.Tenant, d, to, now)
	m.Workload = w.ID
	return m
}

// pause takes back what has come to the end of its segment: its engine stops it,
// and it is deferred until the next.
func (s *Scheduler) pause(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		moves := s.paused(s.deps.Clock())
		s.mu.Unlock()
		if len(moves) == 0 || !s.settle(moves, s.promise(ctx, moves)) {
			return
		}
	}
}

// paused says what is to be taken back. The caller holds mu.
func (s *Scheduler) paused(now time.Time) (moves []move) {
	for len(moves) < together {
		w := s.pausing.due(now)
		if w == nil {
			break
		}
		next := s.booked.of[w.ID]
		if len(next) == 0 {
			continue // it runs to its end
		}
		until := next[0].Start
		why := schedule.Because(schedule.PausedForHours, until.UTC().Format(time.RFC3339))
		d := schedule.Decision{At: now, Until: until, Planned: next, ExpectedWait: until.Sub(now), Reasons: []schedule.Reason{why}}
		d.EnergyKWh, d.CarbonKg, d.Cost = s.cluster.Estimate(next, now, s.signals)
		moves = append(moves, move{tenant: w.Tenant, Move: ledger.Move{Workload: w.ID, To: schedule.Preempted, Decision: &d, Reason: &why}})
	}
	return moves
}
