package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// txn is changes that happen together: they are staged, and published when all
// of them hold. Capacity is taken while they are staged, and given back when
// they are not published. It lives under the writer's lock.
type txn struct {
	l       *Ledger
	now     time.Time
	last    counters
	staged  []*record
	lookup  map[uint64]*record // of staged, once they are many: a facility that is lost
	moved   []booking
	events  []schedule.Event
	changes []Change
	keys    []key
	things  map[thing]any // nil: removed
	session *session
}

// written is a version of a record, and the row that it goes to.
type written struct {
	*record
	to    *row
	lacks int
}

// booking is a part that was taken (1) or freed (-1).
type booking struct {
	token uint64
	part  *schedule.Assignment
	sign  int64
}

// thing names a row of the inventory.
type thing struct{ kind, id string }

// The names of objects: a letter and a number.
func workloadID(num uint64) string    { return name('w', num) }
func reservationID(num uint64) string { return name('r', num) }
func leaseID(token uint64) string     { return name('l', token) }

func name(letter byte, n uint64) string {
	return string(strconv.AppendUint(append(make([]byte, 0, 16), letter, '-'), n, 36))
}

func number(id string) (uint64, error) {
	if len(id) > 2 && (id[:2] == "w-" || id[:2] == "r-") {
		if n, err := strconv.ParseUint(id[2:], 36, 64); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("workload %q %w", id, ErrUnknown)
}

// Token returns the fencing token of a lease by its id; 0 when it is none.
func Token(id string) uint64 {
	if len(id) > 2 && id[:2] == "l-" {
		if n, err := strconv.ParseUint(id[2:], 36, 64); err == nil {
			return n
		}
	}
	return 0
}

// undo gives everything back.
func (t *txn) undo() {
	for _, m := range slices.Backward(t.moved) {
		t.l.book.add(m.token, m.part, -m.sign)
	}
}

// publish makes what is staged the state, and part of the next batch.
func (t *txn) publish() {
	l, b := t.l, t.l.next
	if len(t.staged)+len(t.things)+len(t.events) == 0 {
		return
	}
	t.session.some = true
	if len(t.events) > 0 {
		t.last.at = t.now
	}
	l.last, b.last = t.last, t.last
	for _, r := range t.staged {
		r.in = b
		l.live[r.num] = r
		w := b.records[r.num]
		if w == nil {
			w = &row{lacks: lacksOrigin | lacksDecision}
			b.records[r.num] = w
		}
		w.record = r
		if r.Version == 1 {
			w.lacks = lacksNothing
		} else if r.decided {
			w.lacks &^= lacksDecision
		}
		t.session.wrote = append(t.session.wrote, written{r, w, w.lacks})
		if !r.lives() {
			b.completed = append(b.completed, r)
		}
		t.changes = append(t.changes, Change{Record: &r.Record})
	}
	for id, v := range t.things {
		if b.things[id] = nil; v != nil {
			b.things[id] = encodeThing(v)
		}
		if id.kind == kindSpent {
			l.extras[id] = v
		}
	}
	for _, k := range t.keys {
		b.keys = k.append(b.keys)
		l.keys.put(k, t.now)
	}
	b.events = append(b.events, t.events...)
	l.index(t.changes)
	t.session.changes = append(t.session.changes, t.changes...)
}

// index follows leases. The caller holds mu, or is the only one.
func (l *Ledger) index(changes []Change) {
	for _, c := range changes {
		switch {
		case c.Lease == nil:
		case c.Lease.State == schedule.Released:
			delete(l.leases, c.Lease.Token)
		case c.From == "":
			l.leases[c.Lease.Token] = c.num
			l.expiry.push(c.Lease)
		case c.From == schedule.Fenced:
			l.expiry.push(c.Lease)
		}
	}
}

// lives reports whether a record may still change.
func (r *record) lives() bool {
	return r.Workload != nil && !r.State.Ended() || slices.ContainsFunc(r.Leases, func(l schedule.Lease) bool { return l.State.Takes() })
}

// find returns a version of a record that this transaction may change.
func (t *txn) find(num uint64) (*record, error) {
	if r := t.seek(num); r != nil {
		return r, nil
	}
	old := t.l.live[num]
	if old == nil {
		return nil, fmt.Errorf("workload %q %w, or has ended", workloadID(num), ErrUnknown)
	}
	r := &record{Record: old.Record, num: num, explained: old.explained, trail: old.trail}
	r.Leases, r.Done = slices.Clone(r.Leases), slices.Clone(r.Done)
	r.Version++
	t.stage(r)
	return r, nil
}

// few is how many staged records are looked through one by one.
const few = 16

func (t *txn) stage(r *record) {
	t.staged = append(t.staged, r)
	switch {
	case t.lookup != nil:
		t.lookup[r.num] = r
	case len(t.staged) > few:
		t.lookup = make(map[uint64]*record, 4*few)
		for _, r := range t.staged {
			t.lookup[r.num] = r
		}
	}
}

func (t *txn) seek(num uint64) *record {
	if t.lookup != nil {
		return t.lookup[num]
	}
	for _, r := range t.staged {
		if r.num == num {
			return r
		}
	}
	return nil
}

// add stages a new record.
func (t *txn) add() *record {
	t.last.num++
	r := &record{num: t.last.num}
	r.Version = 1
	t.stage(r)
	return r
}

func (t *txn) event(e schedule.Event) (seq int64) {
	t.last.seq++
	e.Seq, e.At = t.last.seq, t.now
	t.events = append(t.events, e)
	return e.Seq
}

// advance takes a workload to a state, if the state before allows it.
func (t *txn) advance(r *record, to schedule.State, why *schedule.Reason) error {
	if !r.State.MayBecome(to) {
		return fmt.Errorf("workload %q is %s, which %w: it cannot become %s", r.ID, r.State, ErrState, to)
	}
	t.refund(r, to)
	r.trail = r.trail.add(t.event(schedule.Event{Kind: schedule.OfWorkload, Object: r.ID, Tenant: r.Tenant, From: string(r.State), To: string(to), Reason: why}))
	if r.State == schedule.Running && to == schedule.Preempted {
		r.Worked += t.l.book.worked(r, t.now)
	}
	r.State, r.Since, r.Reason = to, t.now, why
	return nil
}

// turn takes a lease to a state, and its capacity with it.
func (t *txn) turn(r *record, i int, to schedule.LeaseState, why *schedule.Reason) error {
	l := &r.Leases[i]
	if !l.State.MayBecome(to) {
		return fmt.Errorf("lease %q is %s, which %w: it cannot become %s", l.ID, l.State, ErrState, to)
	}
	from := l.State
	l.State = to
	switch {
	case from == "":
		for p := range l.Parts {
			if err := t.l.book.take(l.Token, &l.Parts[p]); err != nil {
				return err
			}
			t.moved = append(t.moved, booking{l.Token, &l.Parts[p], 1})
		}
	case to == schedule.Released:
		for p := range l.Parts {
			t.l.book.free(l.Token, &l.Parts[p])
			t.moved = append(t.moved, booking{l.Token, &l.Parts[p], -1})
		}
	}
	region := ""
	if f := t.l.book.facilities[l.Facility]; f != nil {
		region = f.Region
	}
	r.trail = r.trail.add(t.event(schedule.Event{Kind: schedule.OfLease, Object: l.ID, Tenant: l.Tenant, Region: region, From: string(from), To: string(to), Reason: why, Lease: l.ID, Token: l.Token}))
	told := &t.session.leases
	*told = append(*told, *l)
	t.changes = append(t.changes, Change{Lease: &(*told)[len(*told)-1], From: from, num: r.num})
	return nil
}

// grant promises parts by leases, one for each facility, in the order of the
// parts.
func (t *txn) grant(r *record, parts []schedule.Assignment, expires time.Time) error {
	r.Leases = slices.DeleteFunc(r.Leases, func(l schedule.Lease) bool {
		return l.State == schedule.Released && !slices.Contains(r.Done, l.Token)
	})
	first := len(r.Leases)
	if first == 0 {
		one := new(promise)
		r.Leases = one.lease[:0]
		if r.Version == 1 {
			r.First.Grants = one.grant[:0]
		}
	}
	for at := range parts {
		facility := parts[at].Facility
		i := slices.IndexFunc(r.Leases[first:], func(l schedule.Lease) bool { return l.Facility == facility })
		if i < 0 {
			t.last.token++
			l := schedule.Lease{ID: leaseID(t.last.token), Tenant: r.Tenant, Facility: facility, Token: t.last.token, Created: t.now, Expires: expires}
			if r.Workload != nil {
				l.Workload = r.ID
			}
			i = len(r.Leases) - first
			r.Leases = append(r.Leases, l)
		}
		l := &r.Leases[first+i]
		if len(parts) == 1 {
			l.Parts = parts // nearly always, and it needs no memory of its own
		} else {
			l.Parts = append(l.Parts, parts[at])
		}
	}
	for i := first; i < len(r.Leases); i++ {
		if err := t.turn(r, i, schedule.Held, nil); err != nil {
			return err
		}
	}
	return nil
}

// disown ends what a workload is promised: nothing new begins under it. What an
// engine has goes on to take capacity until the engine says that it stopped.
func (t *txn) disown(r *record, stopped bool, why *schedule.Reason) error {
	for i := range r.Leases {
		to := schedule.Released
		switch r.Leases[i].State {
		case schedule.Held:
		case schedule.Committed:
			if !stopped {
				to = schedule.Fenced
			}
		default:
			continue
		}
		if err := t.turn(r, i, to, why); err != nil {
			return err
		}
	}
	return nil
}
