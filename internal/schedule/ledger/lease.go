package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// Report is what an engine says of the work under a lease.
type Report struct {
	Token uint64
	// To is Bound: the engine is about to be asked, and must have been promised
	// before it is; Running; Succeeded or Failed: it ended; Queued: the engine
	// refused it, and nothing of it is there.
	To     schedule.State
	Reason *schedule.Reason
}

// Report takes what engines say, each by itself, in its order. Reports may come
// twice and late. A report about a lease that is not live gives ErrFenced: what
// runs under it must be stopped. One that says that the work under a fenced
// lease ended frees its capacity and does nothing else.
func (l *Ledger) Report(ctx context.Context, reports ...Report) []error {
	errs := make([]error, len(reports))
	err := l.write(ctx, func(begin func() *txn) {
		for i, r := range reports {
			t := begin()
			if errs[i] = t.report(r); errs[i] != nil {
				t.undo()
				continue
			}
			t.publish()
		}
	})
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

// lease returns a record that has a lease that takes capacity, and which it is.
func (t *txn) lease(token uint64) (*record, int, error) {
	num, ok := t.l.leases[token]
	if !ok {
		return nil, 0, fmt.Errorf("lease %q, token %d, %w", leaseID(token), token, ErrFenced)
	}
	r, err := t.find(num)
	if err != nil {
		return nil, 0, err
	}
	return r, slices.IndexFunc(r.Leases, func(l schedule.Lease) bool { return l.Token == token }), nil
}

func (t *txn) report(p Report) error {
	if !slices.Contains([]schedule.State{schedule.Bound, schedule.Running, schedule.Succeeded, schedule.Failed, schedule.Queued}, p.To) {
		return fmt.Errorf("a report of state %q %w", p.To, ErrInvalid)
	}
	r, i, err := t.lease(p.Token)
	if err != nil {
		return err
	}
	ends := p.To != schedule.Bound && p.To != schedule.Running
	switch {
	case r.Workload == nil:
		return fmt.Errorf("lease %q %w: it is of a reservation, whose owner commits and releases it", r.Leases[i].ID, ErrInvalid)
	case r.Leases[i].State == schedule.Fenced && ends:
		return t.stopped(r, i, p.Reason)
	case r.Leases[i].State == schedule.Fenced:
		return fmt.Errorf("lease %q, token %d, %w", r.Leases[i].ID, p.Token, ErrFenced)
	case ends:
		return t.end(r, i, p)
	}
	return t.begin(r, i, p)
}

// begin commits a lease, and takes its workload to where that leads.
func (t *txn) begin(r *record, i int, p Report) error {
	if r.Leases[i].State == schedule.Held {
		if err := t.turn(r, i, schedule.Committed, p.Reason); err != nil {
			return err
		}
		r.Leases[i].Expires = time.Time{}
	}
	held := slices.ContainsFunc(r.Leases, func(l schedule.Lease) bool { return l.State == schedule.Held })
	if r.State == schedule.Reserved && (!held || p.To == schedule.Running) {
		if err := t.advance(r, schedule.Bound, p.Reason); err != nil {
			return err
		}
	}
	if r.State == schedule.Bound && p.To == schedule.Running {
		return t.advance(r, schedule.Running, p.Reason)
	}
	return nil
}

// end frees a lease whose work is over, and ends its workload when nothing of
// it remains, or when it failed.
func (t *txn) end(r *record, i int, p Report) error {
	if err := t.turn(r, i, schedule.Released, p.Reason); err != nil {
		return err
	}
	to := p.To
	others := slices.ContainsFunc(r.Leases, func(l schedule.Lease) bool { return l.State.Live() })
	if to == schedule.Queued && r.Workload.Gang == schedule.GangNone && others {
		return nil // the rest goes on; these members have no place
	}
	if to == schedule.Succeeded {
		r.Done = append(r.Done, p.Token)
		if others {
			return nil
		}
		if !r.complete() {
			to = schedule.Queued
		}
	} else if err := t.disown(r, false, p.Reason); err != nil {
		return err
	}
	if to == schedule.Queued && r.Workload.Gang == schedule.GangAll {
		r.Done = nil // a gang begins together
	}
	if r.State == schedule.Reserved && to == schedule.Succeeded {
		if err := t.advance(r, schedule.Bound, p.Reason); err != nil {
			return err
		}
	}
	return t.advance(r, to, p.Reason)
}

// complete reports whether as many members of every task have succeeded as
// must run.
func (r *record) complete() bool {
	done := map[string]int{}
	for _, l := range r.Leases {
		if slices.Contains(r.Done, l.Token) {
			for _, p := range l.Parts {
				done[p.Task]++
			}
		}
	}
	return !slices.ContainsFunc(r.Workload.Tasks, func(t schedule.Task) bool { return done[t.Name] < t.Min })
}

// Answered returns what was answered to a request with a key before; false when
// there was none. Another request under the same key is ErrConflict.
func (l *Ledger) Answered(ctx context.Context, tenant, key string, body [32]byte) (Receipt, bool, error) {
	k := newKey(tenant, key, body, 0)
	l.mu.RLock()
	was, ok := l.keys.get(k.name)
	r := l.live[was.num]
	l.mu.RUnlock()
	switch {
	case !ok:
		return Receipt{}, false, nil
	case was.body != k.body:
		return Receipt{}, false, fmt.Errorf("idempotency key %q %w by tenant %q; take a new key", key, ErrConflict, tenant)
	}
	id := reservationID(was.num)
	if r != nil {
		id = r.ID
	}
	got, err := l.Get(ctx, id)
	got.First.Repeated = true
	return got.First, err == nil, err
}

// Reservation is capacity for a scheduler that keeps its own queue.
type Reservation struct {
	Tenant  string
	Key     string // as of Move
	Body    [32]byte
	Read    []Seen
	Parts   []schedule.Assignment
	Expires time.Time
}

// Reserve promises capacity: one lease for each facility of the parts.
func (l *Ledger) Reserve(ctx context.Context, q Reservation) (Receipt, error) {
	var receipt Receipt
	err := l.one(ctx, func(t *txn) error {
		for _, s := range q.Read {
			if err := t.l.book.fresh(s); err != nil {
				return err
			}
		}
		if q.Key != "" {
			was, err := t.repeated(q.Tenant, q.Key, q.Body)
			if err != nil {
				return err
			}
			if was != 0 {
				receipt.ID = reservationID(was)
				return nil
			}
		}
		r, err := t.reserve(q)
		if err != nil {
			return err
		}
		receipt = r.First
		return nil
	})
	if err != nil {
		return Receipt{}, err
	}
	results := []Result{{Receipts: []Receipt{receipt}}}
	err = l.again(ctx, results)
	return results[0].Receipts[0], err
}

func (t *txn) reserve(q Reservation) (*record, error) {
	switch {
	case len(t.l.live) >= t.l.cfg.MaxLive:
		return nil, fmt.Errorf("the ledger %w: %d workloads and reservations are live; wait, release some, or raise schedule.max_live", ErrFull, t.l.cfg.MaxLive)
	case len(q.Parts) == 0:
		return nil, fmt.Errorf("a reservation of nothing %w", ErrInvalid)
	case !q.Expires.IsZero() && !q.Expires.After(t.now):
		return nil, fmt.Errorf("expiry %s %w: it is past", q.Expires.UTC().Format(time.RFC3339), ErrInvalid)
	}
	r := t.add()
	r.ID, r.Tenant, r.Since = reservationID(r.num), q.Tenant, t.now
	if err := t.grant(r, q.Parts, q.Expires); err != nil {
		return nil, err
	}
	r.First = r.receipt(t.last.seq)
	if q.Key != "" {
		t.keys = append(t.keys, newKey(q.Tenant, q.Key, q.Body, r.num))
	}
	return r, nil
}

// Renew lets a live lease end later, or earlier.
func (l *Ledger) Renew(ctx context.Context, token uint64, expires time.Time) error {
	return l.one(ctx, func(t *txn) error { return t.renew(token, expires) })
}

func (t *txn) renew(token uint64, expires time.Time) error {
	r, i, err := t.lease(token)
	if err != nil {
		return err
	}
	lease := &r.Leases[i]
	if !lease.State.Live() {
		return fmt.Errorf("lease %q, token %d, %w", lease.ID, token, ErrFenced)
	}
	lease.Expires = expires.Round(0).UTC()
	t.l.expiry.push(lease)
	return nil
}

// Commit says that the owner of a reservation uses it, until expires; zero:
// until it is released.
func (l *Ledger) Commit(ctx context.Context, token uint64, expires time.Time) error {
	return l.one(ctx, func(t *txn) error {
		r, i, err := t.owned(token)
		if err != nil {
			return err
		}
		if r.Leases[i].State == schedule.Held {
			if err := t.turn(r, i, schedule.Committed, nil); err != nil {
				return err
			}
		}
		return t.renew(token, expires)
	})
}

func (t *txn) owned(token uint64) (*record, int, error) {
	r, i, err := t.lease(token)
	if err == nil && r.Workload != nil {
		err = fmt.Errorf("lease %q %w: it is of workload %q, whose engine reports", r.Leases[i].ID, ErrInvalid, r.ID)
	}
	return r, i, err
}

// Release gives a reservation back, or says that nothing runs under a fenced
// lease any more. One that takes no capacity any more is no error.
func (l *Ledger) Release(ctx context.Context, token uint64) error {
	return l.one(ctx, func(t *txn) error {
		if _, ok := l.leases[token]; !ok && token > 0 && token <= l.last.token {
			return nil
		}
		r, i, err := t.lease(token)
		if err != nil {
			return err
		}
		if r.Workload != nil && r.Leases[i].State != schedule.Fenced {
			return fmt.Errorf("lease %q %w: it is of workload %q; cancel that", r.Leases[i].ID, ErrInUse, r.ID)
		}
		return t.stopped(r, i, nil)
	})
}

// expiries is a heap of when leases end, the earliest first. Entries of leases
// that were renewed or released meanwhile are passed over.
type expiries []expiring

// expiring has no pointers: the collector passes over it.
type expiring struct {
	at    int64 // Unix nanoseconds
	token uint64
}

func (e *expiries) push(l *schedule.Lease) {
	if l.Expires.IsZero() {
		return
	}
	*e = append(*e, expiring{l.Expires.UnixNano(), l.Token})
	for i := len(*e) - 1; i > 0 && (*e)[i].at < (*e)[(i-1)/2].at; i = (i - 1) / 2 {
		(*e)[i], (*e)[(i-1)/2] = (*e)[(i-1)/2], (*e)[i]
	}
}

func (e *expiries) pop() expiring {
	first, last := (*e)[0], len(*e)-1
	(*e)[0] = (*e)[last]
	*e = (*e)[:last]
	e.sink(0)
	return first
}

// sink takes an entry down to its place.
func (e *expiries) sink(i int) {
	for all := *e; 2*i+1 < len(all); {
		least := 2*i + 1
		if least+1 < len(all) && all[least+1].at < all[least].at {
			least++
		}
		if all[i].at <= all[least].at {
			return
		}
		all[i], all[least] = all[least], all[i]
		i = least
	}
}

// order makes a heap of entries in any order.
func (e *expiries) order() {
	for i := len(*e)/2 - 1; i >= 0; i-- {
		e.sink(i)
	}
}

// lapse is how long nobody may look at expiries before it counts as an outage:
// the hub was down, the machine slept, or the clock jumped.
const lapse = 30 * time.Second

// Expire ends leases whose time is over. After an outage they get the grace
// period first: their owners could not renew them.
func (l *Ledger) Expire(ctx context.Context, now time.Time) error {
	return l.write(ctx, func(begin func() *txn) { l.expire(begin, now) })
}

func (l *Ledger) expire(begin func() *txn, now time.Time) {
	now = now.Round(0).UTC()
	if now.Sub(l.expired) > lapse {
		l.grace(now)
	}
	l.expired = now
	l.thin()
	for len(l.expiry) > 0 && l.expiry[0].at <= now.UnixNano() {
		e := l.expiry.pop()
		t := begin()
		if err := t.expire(e); err != nil {
			t.undo()
			l.deps.Log.Error("lease not expired", "lease", leaseID(e.token), "error", err)
			continue
		}
		t.publish()
	}
}

// thin drops entries of leases that were renewed or are gone, when they are
// many.
func (l *Ledger) thin() {
	if len(l.expiry) <= 2*len(l.leases)+1024 {
		return
	}
	l.expiry = slices.DeleteFunc(l.expiry, func(e expiring) bool {
		lease := l.lease(e.token)
		return lease == nil || lease.Expires.UnixNano() > e.at
	})
	l.expiry.order()
}

// lease returns a lease that takes capacity, nil when there is none. The caller
// holds mu.
func (l *Ledger) lease(token uint64) *schedule.Lease {
	num, ok := l.leases[token]
	if !ok {
		return nil
	}
	all := l.live[num].Leases
	return &all[slices.IndexFunc(all, func(l schedule.Lease) bool { return l.Token == token })]
}

// grace lets every lease that would end within the grace period live to its
// end.
func (l *Ledger) grace(now time.Time) {
	least := now.Add(l.cfg.Grace).UnixNano()
	for i := range l.expiry {
		l.expiry[i].at = max(l.expiry[i].at, least)
	}
	l.expiry.order()
}

func (t *txn) expire(e expiring) error {
	lease := t.l.lease(e.token)
	if lease == nil || !lease.State.Live() || lease.Expires.IsZero() || lease.Expires.UnixNano() > e.at {
		return nil // released, fenced, committed or renewed meanwhile
	}
	r, i, err := t.lease(e.token)
	if err != nil {
		return err
	}
	why := schedule.Because(schedule.LeaseExpired)
	if r.Workload == nil {
		return t.turn(r, i, schedule.Released, &why)
	}
	if err := t.disown(r, false, &why); err != nil {
		return err
	}
	return t.advance(r, schedule.Expired, &why)
}
