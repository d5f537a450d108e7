package ledger

import (
	"context"
	"fmt"
	"slices"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// The kinds of things in the inventory.
const (
	kindFacility = "facility"
	kindPool     = "pool"
	kindTenant   = "tenant"
	kindQueue    = "queue"
	kindSignal   = "signal"
	kindSpent    = "spent"
	kindNetwork  = "network"
)

// checked is what checks itself.
type checked interface {
	Check(path string) []strict.Error
}

func check(v checked) error {
	if errs := v.Check(""); len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrInvalid, errs[0])
	}
	return nil
}

// current reports that a version is not the one that was read; 0 is any, and -1
// that there is none yet.
func current(kind, id string, read, is int64) error {
	if read == 0 || read == is || read == -1 && is == 0 {
		return nil
	}
	return fmt.Errorf("%s %q, version %d, %w: it has version %d", kind, id, read, ErrStale, is)
}

// PutFacility declares a facility, or declares it anew, and returns its version.
// Its Version is the one that was read: 0 for any, -1 for none yet. A facility
// whose state comes to Lost is fenced.
func (l *Ledger) PutFacility(ctx context.Context, f schedule.Facility) (version int64, err error) {
	if err := check(f); err != nil {
		return 0, err
	}
	err = l.one(ctx, func(t *txn) error {
		version, err = t.putFacility(f)
		return err
	})
	return version, err
}

func (t *txn) putFacility(f schedule.Facility) (int64, error) {
	old := schedule.Facility{}
	if s := t.l.book.facilities[f.ID]; s != nil {
		old = s.Facility
	}
	if err := current(kindFacility, f.ID, f.Version, old.Version); err != nil {
		return 0, err
	}
	t.event(schedule.Event{Kind: schedule.OfFacility, Object: f.ID, Region: f.Region, From: string(old.State), To: string(f.State)})
	f.Version = t.last.seq
	t.changes = append(t.changes, Change{Facility: &f})
	if f.State == schedule.Lost && old.State != schedule.Lost {
		if err := t.fence(f.ID); err != nil {
			return 0, err
		}
	}
	t.l.book.putFacility(f)
	t.put(kindFacility, f.ID, f)
	return f.Version, nil
}

// Fence says that a facility is lost. What its engines have goes on to take
// capacity, fenced; what they do not have is free; the work is queued again.
func (l *Ledger) Fence(ctx context.Context, facility string) error {
	return l.one(ctx, func(t *txn) error {
		s := l.book.facilities[facility]
		if s == nil {
			return fmt.Errorf("facility %q %w", facility, ErrUnknown)
		}
		f := s.Facility
		f.State, f.Version = schedule.Lost, 0
		_, err := t.putFacility(f)
		return err
	})
}

func (t *txn) fence(facility string) error {
	why := schedule.Because(schedule.FacilityLost, facility)
	for _, num := range t.l.recordsAt(facility, schedule.LeaseState.Live) {
		r, err := t.find(num)
		if err != nil {
			return err
		}
		if err := t.lose(r, facility, &why); err != nil {
			return err
		}
	}
	return t.unheard(facility)
}

// recordsAt are the numbers of records with leases in a facility whose state
// satisfies want, the oldest first.
func (l *Ledger) recordsAt(facility string, want func(schedule.LeaseState) bool) []uint64 {
	seen := map[uint64]bool{}
	for _, num := range l.leases {
		for i := range l.live[num].Leases {
			if lease := &l.live[num].Leases[i]; lease.Facility == facility && want(lease.State) {
				seen[num] = true
			}
		}
	}
	all := make([]uint64, 0, len(seen))
	for num := range seen {
		all = append(all, num)
	}
	slices.Sort(all)
	return all
}

// lose takes from a record what it has in a facility that is lost. Members
// without a gang lose their own place only.
func (t *txn) lose(r *record, facility string, why *schedule.Reason) error {
	elsewhere := false
	for i := range r.Leases {
		l := &r.Leases[i]
		switch {
		case l.Facility != facility:
			elsewhere = elsewhere || l.State.Live()
			continue
		case !l.State.Live():
			continue
		}
		to := schedule.Fenced
		if l.State == schedule.Held && r.Workload != nil {
			to = schedule.Released // no engine has been asked
		}
		if err := t.turn(r, i, to, why); err != nil {
			return err
		}
	}
	if r.Workload == nil || elsewhere && r.Workload.Gang == schedule.GangNone {
		return nil
	}
	if err := t.disown(r, false, why); err != nil {
		return err
	}
	if r.Workload.Gang == schedule.GangAll {
		r.Done = nil
	}
	return t.advance(r, schedule.Queued, why)
}

// Reconcile says which of the fenced leases of a facility its engine still has,
// when it comes back. What it does not have is free. What it has goes on under
// its lease, unless the work has begun elsewhere, was promised elsewhere, or is
// not wanted any more: such leases stay fenced and are returned, to be stopped
// and then released. So no work runs twice, and none is stopped for nothing. What
// was taken back and has nothing left to be stopped waits for its next start.
func (l *Ledger) Reconcile(ctx context.Context, facility string, has func(token uint64) bool) (stop []schedule.Lease, err error) {
	err = l.one(ctx, func(t *txn) error {
		if l.book.facilities[facility] == nil {
			return fmt.Errorf("facility %q %w", facility, ErrUnknown)
		}
		fenced := func(s schedule.LeaseState) bool { return s == schedule.Fenced }
		for _, num := range l.recordsAt(facility, fenced) {
			r, err := t.find(num)
			if err != nil {
				return err
			}
			if err := t.reconcile(r, facility, has); err != nil {
				return err
			}
			for _, lease := range r.Leases {
				if lease.Facility == facility && lease.State == schedule.Fenced {
					stop = append(stop, lease)
				}
			}
		}
		return nil
	})
	return stop, err
}

func (t *txn) reconcile(r *record, facility string, has func(uint64) bool) error {
	for i := range r.Leases {
		l := &r.Leases[i]
		if l.Facility != facility || l.State != schedule.Fenced {
			continue
		}
		to := schedule.Released
		if has(l.Token) {
			if !r.adoptable(i) {
				continue
			}
			to = schedule.Committed
		}
		if err := t.turn(r, i, to, nil); err != nil {
			return err
		}
		if to == schedule.Committed && r.Workload != nil {
			if err := t.resume(r); err != nil {
				return err
			}
		}
	}
	return t.goOn(r, "")
}

// adoptable reports whether a fenced lease may be live again: nobody else has
// its members, and a gang has lost nothing else.
func (r *record) adoptable(i int) bool {
	if r.Workload == nil {
		return true
	}
	waits := r.State == schedule.Queued || r.State == schedule.Deferred
	if !waits && !(hasLeases(r.State) && r.Workload.Gang == schedule.GangNone) {
		return false
	}
	taken := map[member]bool{}
	for j, l := range r.Leases {
		others := j != i && (l.State.Live() || slices.Contains(r.Done, l.Token))
		if j != i && l.State == schedule.Fenced && r.Workload.Gang != schedule.GangNone {
			return false // the gang is torn
		}
		for _, p := range l.Parts {
			if others {
				taken[member{p.Task, p.Index}] = true
			}
		}
	}
	if waits && r.Workload.Gang != schedule.GangNone && r.short(i) {
		return false
	}
	return !slices.ContainsFunc(r.Leases[i].Parts, func(p schedule.Assignment) bool { return taken[member{p.Task, p.Index}] })
}

// short reports whether the gang needs more members than one lease has.
func (r *record) short(i int) bool {
	n := map[string]int{}
	for _, p := range r.Leases[i].Parts {
		n[p.Task]++
	}
	least := r.least()
	return slices.ContainsFunc(r.Workload.Tasks, func(t schedule.Task) bool { return n[t.Name] < least(&t) })
}

// resume takes a workload that waits back to Running.
func (t *txn) resume(r *record) error {
	for _, to := range []schedule.State{schedule.Reserved, schedule.Bound, schedule.Running} {
		if r.State.MayBecome(to) && r.State != schedule.Running {
			if err := t.advance(r, to, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// RemoveFacility forgets a facility that has no pools.
func (l *Ledger) RemoveFacility(ctx context.Context, id string) error {
	return l.one(ctx, func(t *txn) error {
		s := l.book.facilities[id]
		if s == nil {
			return fmt.Errorf("facility %q %w", id, ErrUnknown)
		}
		for _, p := range l.book.pools {
			if p.Facility == id {
				return fmt.Errorf("facility %q %w by pool %q: remove its pools first", id, ErrInUse, p.ID)
			}
		}
		t.event(schedule.Event{Kind: schedule.OfFacility, Object: id, Region: s.Region, From: string(s.State)})
		delete(l.book.facilities, id)
		t.remove(kindFacility, id)
		return nil
	})
}

// PutPool declares a pool, or declares it anew, and returns its version, as
// PutFacility does. Where less is declared than is taken, what is taken stays;
// nothing is added, and the event says capacity_reduced.
func (l *Ledger) PutPool(ctx context.Context, p schedule.Pool) (version int64, err error) {
	if err := check(p); err != nil {
		return 0, err
	}
	err = l.one(ctx, func(t *txn) error {
		old := schedule.Pool{}
		if o := l.book.pools[p.ID]; o != nil {
			old = o.Pool
		}
		s := l.book.facilities[p.Facility]
		switch {
		case s == nil:
			return fmt.Errorf("facility %q of pool %q %w: declare it first", p.Facility, p.ID, ErrUnknown)
		case old.Facility != "" && old.Facility != p.Facility:
			return fmt.Errorf("pool %q %w: it is of facility %q; remove it there first", p.ID, ErrInUse, old.Facility)
		}
		if err := current(kindPool, p.ID, p.Version, old.Version); err != nil {
			return err
		}
		e := schedule.Event{Kind: schedule.OfPool, Object: p.ID, Region: s.Region, To: declared}
		if old.ID != "" {
			e.From = declared
		}
		p.Version = t.last.seq + 1
		l.book.putPool(p, l.parts)
		if l.book.pools[p.ID].over() {
			why := schedule.Because(schedule.CapacityReduced, p.ID)
			e.Reason = &why
		}
		t.event(e)
		version = p.Version
		t.put(kindPool, p.ID, p)
		t.changes = append(t.changes, Change{Pool: &p})
		return nil
	})
	return version, err
}

// declared is the state of a pool that is there.
const declared = "declared"

// parts calls each for the parts of a lease that takes capacity.
func (l *Ledger) parts(token uint64, each func(*schedule.Assignment)) {
	lease := l.lease(token)
	for i := range lease.Parts {
		each(&lease.Parts[i])
	}
}

// RemovePool forgets a pool of which nothing is taken.
func (l *Ledger) RemovePool(ctx context.Context, id string) error {
	return l.one(ctx, func(t *txn) error {
		p := l.book.pools[id]
		switch {
		case p == nil:
			return fmt.Errorf("pool %q %w", id, ErrUnknown)
		case len(p.held) > 0:
			return fmt.Errorf("pool %q %w by %d leases: drain its facility, or wait until they end", id, ErrInUse, len(p.held))
		}
		t.event(schedule.Event{Kind: schedule.OfPool, Object: id, Region: p.site.Region, From: declared})
		l.book.removePool(id)
		t.remove(kindPool, id)
		return nil
	})
}

// PutTenant keeps a tenant and returns its version, as PutFacility does.
func (l *Ledger) PutTenant(ctx context.Context, v schedule.Tenant) (int64, error) {
	return putExtra(ctx, l, kindTenant, v.ID, v, func(t *schedule.Tenant) *int64 { return &t.Version })
}

// PutQueue keeps a queue and returns its version, as PutFacility does.
func (l *Ledger) PutQueue(ctx context.Context, v schedule.Queue) (int64, error) {
	return putExtra(ctx, l, kindQueue, v.ID, v, func(q *schedule.Queue) *int64 { return &q.Version })
}

// PutNetwork keeps the network, of which there is one, and returns its version,
// as PutFacility does.
func (l *Ledger) PutNetwork(ctx context.Context, v schedule.Network) (int64, error) {
	return putExtra(ctx, l, kindNetwork, kindNetwork, v, func(n *schedule.Network) *int64 { return &n.Version })
}

func putExtra[T checked](ctx context.Context, l *Ledger, kind, id string, v T, version func(*T) *int64) (int64, error) {
	if err := check(v); err != nil {
		return 0, err
	}
	err := l.one(ctx, func(t *txn) error {
		var is int64
		if old, ok := l.extras[thing{kind, id}].(T); ok {
			is = *version(&old)
		}
		if err := current(kind, id, *version(&v), is); err != nil {
			return err
		}
		*version(&v) = is + 1
		t.put(kind, id, v)
		l.extras[thing{kind, id}] = v
		return nil
	})
	return *version(&v), err
}

// PutSignal keeps a forecast in place of the one of its kind and zone.
func (l *Ledger) PutSignal(ctx context.Context, s signal.Series) error {
	if err := check(s); err != nil {
		return err
	}
	return l.one(ctx, func(t *txn) error {
		id := string(s.Kind) + "/" + s.Zone
		t.put(kindSignal, id, s)
		l.extras[thing{kindSignal, id}] = s
		return nil
	})
}

// RemoveTenant forgets a tenant; its workloads stay.
func (l *Ledger) RemoveTenant(ctx context.Context, id string) error {
	return l.removeExtra(ctx, kindTenant, id)
}

// RemoveQueue forgets a queue.
func (l *Ledger) RemoveQueue(ctx context.Context, id string) error {
	return l.removeExtra(ctx, kindQueue, id)
}

func (l *Ledger) removeExtra(ctx context.Context, kind, id string) error {
	return l.one(ctx, func(t *txn) error {
		if _, ok := l.extras[thing{kind, id}]; !ok {
			return fmt.Errorf("%s %q %w", kind, id, ErrUnknown)
		}
		delete(l.extras, thing{kind, id})
		t.remove(kind, id)
		return nil
	})
}

func (t *txn) put(kind, id string, v any) {
	if t.things == nil {
		t.things = map[thing]any{}
	}
	t.things[thing{kind, id}] = v
}

func (t *txn) remove(kind, id string) {
	t.put(kind, id, nil)
	switch kind {
	case kindFacility:
		t.changes = append(t.changes, Change{Gone: id})
	case kindPool:
		t.changes = append(t.changes, Change{Removed: id})
	}
}
