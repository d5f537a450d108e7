package drive

import (
	"slices"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

// gather takes which leases of a gang begin together. The caller holds mu.
func (d *Driver) gather(r *ledger.Record) {
	if r.Workload == nil || r.Workload.Gang == schedule.GangNone {
		return
	}
	live := 0
	for i := range r.Leases {
		if r.Leases[i].State.Live() {
			live++
		}
	}
	_, was := d.gangs[r.ID]
	switch {
	case live > 1:
		d.gangs[r.ID] = slices.DeleteFunc(slices.Clone(r.Leases), func(l schedule.Lease) bool { return !l.State.Live() })
	case !was:
		return
	default:
		delete(d.gangs, r.ID) // what remains is by itself
		for i := range r.Leases {
			d.poke(&r.Leases[i])
		}
	}
	d.stir(r.ID)
}

// stir looks at all leases of a gang anew. The caller holds mu.
func (d *Driver) stir(workload string) {
	all := d.gangs[workload]
	for i := range all {
		d.poke(&all[i])
	}
}

func (d *Driver) poke(l *schedule.Lease) {
	if s := d.sites[l.Facility]; s != nil && s.items[l.Token] != nil {
		s.due(s.items[l.Token])
	}
}

// together reports whether an item begins together with what is at another
// engine. The caller holds mu.
func (d *Driver) together(i *item) bool {
	return len(i.halves) > 1 || len(d.gangs[i.lease.Workload]) > 1
}

// complete reports whether all that begins together with an item is taken, and
// can be asked to begin. A part that its owner runs is taken when its owner says
// so. What has begun goes on to begin as long as nothing of it is given up. The
// caller holds mu.
func (d *Driver) complete(i *item) bool {
	begun, ready := false, true
	for _, l := range d.gangs[i.lease.Workload] {
		s := d.sites[l.Facility]
		if s == nil || s.items[l.Token] == nil {
			ready = ready && l.State == schedule.Committed
			continue
		}
		other := s.items[l.Token]
		if other.end != nil {
			return false
		}
		begun = begun || slices.ContainsFunc(other.halves, func(h half) bool { return h.begun })
		ready = ready && s.open && other.taken()
	}
	return begun || ready
}
