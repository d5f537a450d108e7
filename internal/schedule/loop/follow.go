package loop

import (
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

// applied takes what the ledger has applied, which calls it under its lock.
func (s *Scheduler) applied(changes []ledger.Change) {
	s.mu.applied(changes)
	s.driver.Follow(changes)
}

// leased is what is kept of a lease that takes capacity.
type leased struct {
	workload string // empty for a reservation
	live     bool
	parts    []schedule.Assignment
}

// follow keeps the cluster and what waits in step with the ledger. What a lease
// takes was taken when it was decided. The caller holds mu.
func (s *Scheduler) follow(n *news) {
	for i := range n.changes {
		c := &n.changes[i]
		switch {
		case c.Facility != nil:
			f := *c.Facility
			s.cluster.SetFacility(&f)
			s.tightenAt(f.ID)
			s.changed()
		case c.Pool != nil:
			p := *c.Pool
			if err := s.cluster.SetPool(&p); err != nil {
				s.deps.Log.Error("pool_not_planned_with", "pool", p.ID, "error", err)
			}
			s.resized = true
			s.tighten(p.ID)
			s.changed()
		case c.Removed != "":
			s.vacate(c.Removed)
			s.cluster.RemovePool(c.Removed)
			s.resized = true
		case c.Lease != nil && c.Lease.State == schedule.Released:
			s.give(c.Lease.Tenant, c.Lease.Parts)
			delete(s.leases, c.Lease.Token)
			s.changed()
		case c.Lease != nil:
			s.leases[c.Lease.Token] = leased{c.Lease.Workload, c.Lease.State.Live(), c.Lease.Parts}
			if s.cluster.Lost(c.Lease.Facility) { // else it is taken back, and nothing is lost
				s.seen.lease(c.Lease, c.From, s.deps.Clock())
			}
		case c.Spent != nil:
			s.spending.spent[c.Spent.Tenant] = *c.Spent
			s.changed()
		case c.Record != nil:
			s.run(c.Record)
			s.place(c.Record)
			s.seen.record(c.Record)
		}
	}
	s.became(n.moves, n.results)
}

// changed says that what waits may fit now. The caller holds mu.
func (s *Scheduler) changed() {
	s.dirty = true
	s.nudge()
}

// give frees parts in the cluster. The caller holds mu.
func (s *Scheduler) give(tenant string, parts []schedule.Assignment) {
	if len(parts) == 0 {
		return
	}
	s.shares.give(tenant, parts)
	if err := s.cluster.Give(parts); err != nil {
		// The ledger never frees what it has not promised, and everything that
		// it promises was taken here first.
		s.deps.Log.Error("cluster_out_of_step", "error", err)
	}
}

// take takes what was decided, so that the next decision knows of it. The
// caller holds mu.
func (s *Scheduler) take(tenant string, parts []schedule.Assignment) error {
	if err := s.cluster.Take(parts); err != nil {
		return err
	}
	s.shares.take(tenant, parts)
	for i := range parts {
		s.tighten(parts[i].Pool)
	}
	return nil
}

// place puts a workload where its state says: among those that wait for
// capacity or for a time, or nowhere. The caller holds mu.
func (s *Scheduler) place(r *ledger.Record) {
	if r.Workload == nil {
		return
	}
	s.awaits(r)
	if r.State != schedule.Queued {
		s.queue.Remove(r.ID)
		return
	}
	s.queue.Add(r.Workload.Left(r.Worked))
	s.changed()
}
