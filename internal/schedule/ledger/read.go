package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// newest returns the batch after which all that is in memory is on disk; nil
// when it is. The caller holds mu.
func (l *Ledger) newest() *batch {
	if l.next.empty() {
		return l.writing
	}
	return l.next
}

// Get returns a workload or a reservation, also one that has ended, as it is on
// disk.
func (l *Ledger) Get(ctx context.Context, id string) (Record, error) {
	r, err := l.find(ctx, id)
	if err != nil {
		return Record{}, err
	}
	return r.whole()
}

func (l *Ledger) find(ctx context.Context, id string) (*record, error) {
	num, err := number(id)
	if err != nil {
		return nil, err
	}
	l.mu.RLock()
	r := l.live[num]
	if r == nil {
		r = l.past[num]
	}
	l.mu.RUnlock()
	if r == nil {
		if r, err = l.packed(ctx, num); err != nil {
			return nil, err
		}
		if r == nil {
			return nil, fmt.Errorf("workload %q %w", id, ErrUnknown)
		}
	} else if err := l.await(ctx, r.in); err != nil {
		return nil, err
	}
	if r.ID != id {
		return nil, fmt.Errorf("workload %q %w", id, ErrUnknown)
	}
	return r, nil
}

// whole returns the record with its decision.
func (r *record) whole() (Record, error) {
	is := r.Record
	if len(r.explained) == 0 {
		return is, nil
	}
	is.Decision = &schedule.Decision{}
	if err := parseDoc(decisionForm, r.explained, is.Decision); err != nil {
		return Record{}, fmt.Errorf("decision of %s: %w", r.ID, err)
	}
	is.Decision.Planned = r.Planned
	for _, l := range r.Leases {
		if l.State != schedule.Fenced {
			is.Decision.Assignments = append(is.Decision.Assignments, l.Parts...)
		}
	}
	return is, nil
}

// Lease returns a lease that takes capacity, by its token.
func (l *Ledger) Lease(ctx context.Context, token uint64) (schedule.Lease, error) {
	l.mu.RLock()
	var found schedule.Lease
	var in *batch
	if one := l.lease(token); one != nil {
		found, in = *one, l.live[l.leases[token]].in
	}
	l.mu.RUnlock()
	if found.Token == 0 {
		return found, fmt.Errorf("lease %q, token %d, %w, or has ended", leaseID(token), token, ErrUnknown)
	}
	return found, l.await(ctx, in)
}

// Filter narrows a list; empty fields let everything through.
type Filter struct {
	Tenant string
	State  schedule.State
}

// List returns up to limit workloads and reservations, the newest first, that
// are older than the id before; empty begins with the newest.
func (l *Ledger) List(ctx context.Context, f Filter, before string, limit int) ([]Record, error) {
	below := uint64(math.MaxInt64)
	if before != "" {
		var err error
		if below, err = number(before); err != nil {
			return nil, err
		}
	}
	var found []*record
	l.mu.RLock()
	for _, some := range []map[uint64]*record{l.live, l.past} {
		for num, r := range some {
			if num < below && (f.Tenant == "" || r.Tenant == f.Tenant) && (f.State == "" || r.State == f.State) {
				found = append(found, r)
			}
		}
	}
	l.mu.RUnlock()
	if f.State == "" || f.State.Ended() {
		packed, err := l.listPacks(ctx, f, below, limit)
		if err != nil {
			return nil, err
		}
		found = append(found, packed...) // one that has gone there meanwhile comes first as it was
	}
	slices.SortStableFunc(found, func(a, b *record) int { return cmp.Compare(b.num, a.num) })
	found = slices.CompactFunc(found, func(a, b *record) bool { return a.num == b.num })
	return l.page(ctx, found[:min(len(found), limit)])
}

// page waits until all of it is on disk.
func (l *Ledger) page(ctx context.Context, found []*record) ([]Record, error) {
	all := make([]Record, len(found))
	for i, r := range found {
		if err := l.await(ctx, r.in); err != nil { // none: it was read from disk
			return nil, err
		}
		var err error
		if all[i], err = r.whole(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Snapshot is all that lives at one moment, as it is on disk.
type Snapshot struct {
	Seq        int64 // of the last event
	Facilities []schedule.Facility
	Pools      []schedule.Pool
	Tenants    []schedule.Tenant
	Queues     []schedule.Queue
	Signals    []signal.Series
	Spent      []schedule.Spent
	Network    *schedule.Network // nil: none was declared
	Records    []Record          // in the order in which they came
}

// Inventory is Snapshot without Records: what was declared.
func (l *Ledger) Inventory(ctx context.Context) (Snapshot, error) {
	l.mu.RLock()
	b, s := l.newest(), l.inventory()
	l.mu.RUnlock()
	return s, l.await(ctx, b)
}

// inventory copies what is declared. The caller holds mu.
func (l *Ledger) inventory() Snapshot {
	s := Snapshot{Seq: l.last.seq}
	for _, f := range l.book.facilities {
		s.Facilities = append(s.Facilities, f.Facility)
	}
	for _, p := range l.book.pools {
		s.Pools = append(s.Pools, p.Pool)
	}
	for _, v := range l.extras {
		switch v := v.(type) {
		case schedule.Tenant:
			s.Tenants = append(s.Tenants, v)
		case schedule.Queue:
			s.Queues = append(s.Queues, v)
		case signal.Series:
			s.Signals = append(s.Signals, v)
		case schedule.Spent:
			s.Spent = append(s.Spent, v)
		case schedule.Network:
			s.Network = &v
		}
	}
	slices.SortFunc(s.Facilities, func(a, b schedule.Facility) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Pools, func(a, b schedule.Pool) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Tenants, func(a, b schedule.Tenant) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Spent, func(a, b schedule.Spent) int { return cmp.Compare(a.Tenant, b.Tenant) })
	slices.SortFunc(s.Queues, func(a, b schedule.Queue) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

// Snapshot returns all that lives. Watch from its Seq follows without a gap.
func (l *Ledger) Snapshot(ctx context.Context) (Snapshot, error) {
	l.mu.RLock()
	b, s := l.newest(), l.inventory()
	found := make([]*record, 0, len(l.live))
	for _, r := range l.live {
		if r.lives() {
			found = append(found, r)
		}
	}
	l.mu.RUnlock()
	slices.SortFunc(found, func(a, b *record) int { return cmp.Compare(a.num, b.num) })
	for _, r := range found {
		s.Records = append(s.Records, r.Record)
	}
	return s, l.await(ctx, b)
}

// Waiting returns up to limit workloads that wait in a state, or in any when it
// is empty, in the order in which they are served: by priority, and those of one
// priority as they came.
func (l *Ledger) Waiting(ctx context.Context, state schedule.State, limit int) ([]Record, error) {
	var found []*record
	l.mu.RLock()
	for _, r := range l.live {
		if r.Workload != nil && !r.State.Ended() && !hasLeases(r.State) && (state == "" || r.State == state) {
			found = append(found, r)
		}
	}
	l.mu.RUnlock()
	slices.SortFunc(found, func(a, b *record) int {
		return cmp.Or(cmp.Compare(b.Workload.Priority, a.Workload.Priority), cmp.Compare(a.num, b.num))
	})
	return l.page(ctx, found[:min(len(found), limit)])
}

// Use is what is taken of a pool.
type Use struct {
	Pool, Facility string
	Capacity, Used schedule.Vector
	Leases         int
	// Over says that more is taken than there is: capacity was reduced.
	Over bool
}

// Uses returns what is taken of every pool, in the order of their ids, as it is
// on disk.
func (l *Ledger) Uses(ctx context.Context) ([]Use, error) {
	l.mu.RLock()
	b := l.newest()
	all := make([]Use, 0, len(l.book.pools))
	for _, p := range l.book.pools {
		u := Use{Pool: p.ID, Facility: p.Facility, Leases: len(p.held), Over: p.over()}
		for i := range p.slots {
			u.Capacity, u.Used = u.Capacity.Add(p.slots[i].capacity), u.Used.Add(p.slots[i].used)
		}
		all = append(all, u)
	}
	l.mu.RUnlock()
	slices.SortFunc(all, func(a, b Use) int { return cmp.Compare(a.Pool, b.Pool) })
	return all, l.await(ctx, b)
}

// Events returns up to limit events after a sequence number, the oldest first,
// and what closes when there are more. ErrCompacted says that some after it are
// not kept any more, or that the number was never given: read a Snapshot and go
// on from there.
func (l *Ledger) Events(ctx context.Context, since int64, limit int) ([]schedule.Event, <-chan struct{}, error) {
	l.mu.RLock()
	oldest, last, more, ended := l.events.oldest, l.events.last, l.events.more, l.events.ended
	recent, ok := l.events.after(since, limit)
	l.mu.RUnlock()
	switch {
	case since < oldest-1 || since > last:
		return nil, nil, fmt.Errorf("events after %d %w: those from %d to %d are; read a snapshot", since, ErrCompacted, oldest, last)
	case since == last && ended:
		return nil, nil, errClosed
	case since == last:
		return nil, more, nil
	}
	if ok {
		return recent, more, nil
	}
	all, err := l.older(ctx, since, limit)
	if err == nil && (len(all) == 0 || all[0].Seq != since+1) {
		err = fmt.Errorf("events after %d %w: read a snapshot", since, ErrCompacted)
	}
	return all, more, err
}

// older reads events from disk.
func (l *Ledger) older(ctx context.Context, since int64, limit int) (all []schedule.Event, err error) {
	err = l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var first int64
		var doc sql.RawBytes
		if err := rows.Scan(&first, &doc); err != nil || len(all) >= limit {
			return err
		}
		events, err := parseEvents(first, doc)
		all = append(all, events[min(max(0, since+1-first), int64(len(events))):]...)
		return err
	}, "SELECT first, events FROM schedule_commits WHERE seq > ? ORDER BY seq LIMIT ?", since, limit)
	return all[:min(len(all), limit)], err
}

// watched is how many events Watch reads at once.
const watched = 1000

// Watch yields every event after a sequence number as it comes to disk, until
// ctx ends. The last it yields is an error: of Events, or of ctx.
func (l *Ledger) Watch(ctx context.Context, since int64) iter.Seq2[schedule.Event, error] {
	return func(yield func(schedule.Event, error) bool) {
		for {
			events, more, err := l.Events(ctx, since, watched)
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
				since = e.Seq
			}
			if err == nil && len(events) == 0 {
				select {
				case <-more:
				case <-ctx.Done():
					err = ctx.Err()
				}
			}
			if err != nil {
				yield(schedule.Event{}, err)
				return
			}
		}
	}
}
