package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// The forms of documents. They are read only.
var (
	facilityForm = formOf[schedule.Facility]()
	poolForm     = formOf[schedule.Pool]()
	tenantForm   = formOf[schedule.Tenant]()
	queueForm    = formOf[schedule.Queue]()
	signalForm   = formOf[signal.Series]()
	spentForm    = formOf[schedule.Spent]()
	recordForm   = formOf[kept]()
	decisionForm = formOf[schedule.Decision]()
	eventForm    = formOf[schedule.Event]()
	networkForm  = formOf[schedule.Network]()
)

func encodeThing(v any) []byte {
	switch v := v.(type) {
	case schedule.Facility:
		return appendDoc(facilityForm, nil, &v)
	case schedule.Pool:
		return appendDoc(poolForm, nil, &v)
	case schedule.Tenant:
		return appendDoc(tenantForm, nil, &v)
	case schedule.Queue:
		return appendDoc(queueForm, nil, &v)
	case signal.Series:
		return appendDoc(signalForm, nil, &v)
	case schedule.Spent:
		return appendDoc(spentForm, nil, &v)
	case schedule.Network:
		return appendDoc(networkForm, nil, &v)
	}
	panic(fmt.Sprintf("ledger: %T is no thing of the inventory", v))
}

// encode writes versions of records into a batch. Later ones count, in any
// order of the calls.
func (b *batch) encode(all []written) {
	for _, w := range all {
		doc := documents.Get().(*document)
		doc.write(w.record, w.lacks)
		w.to.mu.Lock()
		if w.Version > w.to.version {
			w.to.version, w.to.doc, doc = w.Version, doc, w.to.doc
		}
		w.to.mu.Unlock()
		if doc != nil {
			documents.Put(doc)
		}
	}
}

// document is memory for writing one.
type document struct {
	bytes    []byte
	kept     kept
	decision schedule.Decision
}

// documents are those of records until they are on disk.
var documents = sync.Pool{New: func() any { return new(document) }}

// What a document lacks: it is as in the version before.
const (
	lacksNothing = 0
	lacksOrigin  = 1 << iota // tenant, workload and first receipt
	lacksDecision
)

// write makes it that of a record.
func (d *document) write(r *record, lacks int) {
	d.bytes = d.append(d.bytes[:0], r, lacks)
}

func (d *document) append(b []byte, r *record, lacks int) []byte {
	k := &d.kept
	*k = kept{Record: r.Record, Decision: r.explained, Trail: r.trail, Lacks: lacks}
	if lacks&lacksOrigin != 0 {
		k.Record.Tenant, k.Record.Workload, k.Record.First = "", nil, Receipt{}
	}
	if lacks&lacksDecision != 0 {
		k.Decision = nil
	}
	b = appendDoc(recordForm, b, k)
	*k = kept{} // it holds on to nothing
	return b
}

func parseRecord(num uint64, doc []byte) (*record, error) {
	var k kept
	if err := parseDoc(recordForm, doc, &k); err != nil {
		return nil, fmt.Errorf("record %d: %w", num, err)
	}
	return k.record(num), nil
}

// record adds what follows from the rest.
func (k *kept) record(num uint64) *record {
	r := &record{num: num, Record: k.Record, explained: k.Decision, trail: k.Trail}
	r.ID = reservationID(num)
	if r.Workload != nil {
		r.ID = workloadID(num)
		r.Workload.ID = r.ID
	}
	r.First.ID = r.ID
	for i := range r.Leases {
		l := &r.Leases[i]
		l.ID, l.Tenant = leaseID(l.Token), r.Tenant
		if r.Workload != nil {
			l.Workload = r.ID
		}
	}
	for i := range r.First.Grants {
		r.First.Grants[i].Lease = leaseID(r.First.Grants[i].Token)
	}
	return r
}

// save writes a batch.
func (l *Ledger) save(ctx context.Context, tx *sql.Tx, b *batch) error {
	if err := b.saveThings(ctx, tx); err != nil {
		return err
	}
	all := l.statements
	s := all.within(ctx, tx)
	if err := l.saveJournal(ctx, &s, b, l.deps.Clock()); err != nil {
		return err
	}
	at := records.Millis(b.last.at)
	if len(b.keys) > 0 {
		if _, err := s.keys.ExecContext(ctx, b.last.seq, at, b.keys); err != nil {
			return err
		}
	}
	if len(b.events) == 0 {
		return nil
	}
	all.events = appendEvents(all.events[:0], b.events)
	_, err := s.commits.ExecContext(ctx, b.last.seq, b.events[0].Seq, at, int64(b.last.num), int64(b.last.token), all.squeeze(all.events))
	return err
}

func (b *batch) saveThings(ctx context.Context, tx *sql.Tx) error {
	for id, doc := range b.things {
		query, args := "INSERT INTO schedule_inventory (kind, id, doc) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET doc = excluded.doc", []any{id.kind, id.id, doc}
		if doc == nil {
			query, args = "DELETE FROM schedule_inventory WHERE kind = ? AND id = ?", args[:2]
		}
		if _, err := tx.ExecContext(ctx, query, args...); err != nil {
			return err
		}
	}
	return nil
}

// appendEvents leaves out what follows from the rest: the number of all but the
// first, and names of leases.
func appendEvents(b []byte, all []schedule.Event) []byte {
	var e schedule.Event
	for i := range all {
		e = all[i]
		e.Seq = 0
		if e.Kind == schedule.OfLease {
			e.Object, e.Lease = "", ""
		}
		b = eventForm.one(b, unsafe.Pointer(&e))
	}
	return b
}

func parseEvents(first int64, doc []byte) (all []schedule.Event, err error) {
	if doc, err = unsqueeze(doc); err != nil {
		return nil, fmt.Errorf("events from %d: %w", first, err)
	}
	for len(doc) > 0 {
		e := schedule.Event{}
		if doc, err = eventForm.next(doc, unsafe.Pointer(&e)); err != nil {
			return nil, fmt.Errorf("event %d: %w", first+int64(len(all)), err)
		}
		e.Seq = first + int64(len(all))
		if e.Kind == schedule.OfLease {
			e.Lease = leaseID(e.Token)
			e.Object = e.Lease
		}
		all = append(all, e)
	}
	return all, nil
}

// load reads what lives.
func (l *Ledger) load(ctx context.Context) (err error) {
	if l.statements, err = compile(ctx, l.deps.Records); err != nil {
		return err
	}
	if err := l.loadCounters(ctx); err != nil {
		return err
	}
	if err := l.loadInventory(ctx); err != nil {
		return err
	}
	both, ctx := errgroup.WithContext(ctx) // they share nothing
	both.Go(func() error { return l.loadRecords(ctx) })
	both.Go(func() error { return l.loadKeys(ctx) })
	return both.Wait()
}

// count returns a number that a query gives, as a hint of size.
func (l *Ledger) count(ctx context.Context, query string) (n int64, err error) {
	err = l.deps.Records.Each(ctx, func(rows *sql.Rows) error { return rows.Scan(&n) }, query)
	return n, err
}

func (l *Ledger) loadCounters(ctx context.Context) error {
	err := l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var num, token, at int64
		err := rows.Scan(&l.last.seq, &num, &token, &at)
		l.last.num, l.last.token, l.last.at = uint64(num), uint64(token), records.Time(at)
		return err
	}, "SELECT seq, num, token, at FROM schedule_commits ORDER BY seq DESC LIMIT 1")
	if err != nil {
		return err
	}
	l.events = newTail(l.last.seq)
	return l.deps.Records.Each(ctx, func(rows *sql.Rows) error { return rows.Scan(&l.events.oldest) },
		"SELECT first FROM schedule_commits ORDER BY seq LIMIT 1")
}

func (l *Ledger) loadInventory(ctx context.Context) error {
	return l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var id thing
		var doc sql.RawBytes
		if err := rows.Scan(&id.kind, &id.id, &doc); err != nil {
			return err
		}
		if err := l.loadThing(id, doc); err != nil {
			return fmt.Errorf("%s %q: %w", id.kind, id.id, err)
		}
		return nil
	}, "SELECT kind, id, doc FROM schedule_inventory ORDER BY kind, id") // facilities before their pools
}

func (l *Ledger) loadThing(id thing, doc []byte) error {
	switch id.kind {
	case kindFacility:
		var f schedule.Facility
		err := parseDoc(facilityForm, doc, &f)
		l.book.putFacility(f)
		return err
	case kindPool:
		var p schedule.Pool
		if err := parseDoc(poolForm, doc, &p); err != nil {
			return err
		}
		l.book.putPool(p, nil)
		return nil
	case kindTenant:
		var t schedule.Tenant
		err := parseDoc(tenantForm, doc, &t)
		l.extras[id] = t
		return err
	case kindQueue:
		var q schedule.Queue
		err := parseDoc(queueForm, doc, &q)
		l.extras[id] = q
		return err
	case kindSpent:
		var s schedule.Spent
		err := parseDoc(spentForm, doc, &s)
		l.extras[id] = s
		return err
	case kindNetwork:
		var n schedule.Network
		err := parseDoc(networkForm, doc, &n)
		l.extras[id] = n
		return err
	case kindSignal:
		var s signal.Series
		err := parseDoc(signalForm, doc, &s)
		l.extras[id] = s
		return err
	}
	return fmt.Errorf("the kind %w", ErrUnknown)
}

func (l *Ledger) loadRecords(ctx context.Context) error {
	n, err := l.count(ctx, "SELECT count(*) FROM schedule_live")
	if err != nil {
		return err
	}
	l.live, l.leases, l.expiry = make(map[uint64]*record, n), make(map[uint64]uint64, n), make(expiries, 0, n)
	var all []*pile
	var parsing errgroup.Group
	last := &pile{}
	err = l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var num int64
		var doc sql.RawBytes
		if err := rows.Scan(&num, &doc); err != nil {
			return err
		}
		last.nums, last.docs = append(last.nums, uint64(num)), append(last.docs, slices.Clone(doc))
		if len(last.nums) == piled {
			all = append(all, last)
			parsing.Go(last.parse)
			last = &pile{}
		}
		return nil
	}, "SELECT num, doc FROM schedule_live ORDER BY num")
	all = append(all, last)
	if err := errors.Join(err, last.parse(), parsing.Wait()); err != nil {
		return err
	}
	for _, p := range all {
		for _, r := range p.records {
			l.live[r.num] = r
			l.journal.rows.add(r.num)
		}
	}
	if err := l.replay(ctx, l.live); err != nil {
		return err
	}
	for _, r := range l.live {
		l.hold(r)
	}
	return nil
}

// piled is how many rows are parsed at once.
const piled = 1000

// pile is some rows, which are read while others are parsed.
type pile struct {
	nums    []uint64
	docs    [][]byte
	records []*record
}

func (p *pile) parse() error {
	p.records = make([]*record, len(p.nums))
	for i, num := range p.nums {
		var err error
		if p.records[i], err = parseRecord(num, p.docs[i]); err != nil {
			return err
		}
	}
	p.docs = nil
	return nil
}

// hold takes what a record takes.
func (l *Ledger) hold(r *record) {
	for i := range r.Leases {
		lease := &r.Leases[i]
		if !lease.State.Takes() {
			continue
		}
		l.leases[lease.Token] = r.num
		if lease.State.Live() {
			l.expiry.push(lease)
		}
		for p := range lease.Parts {
			l.book.add(lease.Token, &lease.Parts[p], 1)
		}
	}
}

func (l *Ledger) loadKeys(ctx context.Context) error {
	n, err := l.count(ctx, "SELECT coalesce(sum(length(keys)), 0) FROM schedule_keys")
	if err != nil {
		return err
	}
	l.keys.used = make(map[digest]use, n/keyBytes)
	return l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var at int64
		var all sql.RawBytes
		if err := rows.Scan(&at, &all); err != nil {
			return err
		}
		for ; len(all) >= keyBytes; all = all[keyBytes:] {
			l.keys.put(parseKey(all), records.Time(at))
		}
		return nil
	}, "SELECT at, keys FROM schedule_keys WHERE at >= ? ORDER BY seq", records.Millis(l.deps.Clock().Add(-keysLife)))
}

// How many rows of a table one transaction deletes at most: callers wait
// meanwhile.
const (
	pruned      = 500
	prunedPacks = 32 // of up to 64 workloads
)

// prune deletes a piece of what is older than it is kept, and reports whether
// there may be more.
func (l *Ledger) prune(ctx context.Context, now time.Time) (more bool, err error) {
	l.mu.Lock()
	more = l.keys.forget(now.Add(-keysLife))
	before := l.last.seq - int64(l.cfg.MaxEvents)
	l.mu.Unlock()
	for _, d := range []struct {
		query string
		until int64
		limit int64
	}{
		{"DELETE FROM schedule_commits WHERE seq IN (SELECT seq FROM schedule_commits WHERE seq <= ? ORDER BY seq LIMIT ?)", before, pruned},
		{"DELETE FROM schedule_keys WHERE seq IN (SELECT seq FROM schedule_keys WHERE at < ? ORDER BY seq LIMIT ?)", records.Millis(now.Add(-keysLife)), pruned},
		{"DELETE FROM schedule_packs WHERE (block, first) IN (SELECT block, first FROM schedule_packs WHERE ended < ? ORDER BY ended LIMIT ?)", records.Millis(now.Add(-l.cfg.Keep)), prunedPacks},
		{"DELETE FROM schedule_pack_tenants WHERE (block, tenant) IN (SELECT block, tenant FROM schedule_pack_tenants WHERE block < (SELECT coalesce(min(block), ?) FROM schedule_packs) ORDER BY block LIMIT ?)", 0, pruned},
	} {
		n, err := l.delete(ctx, d.query, d.until, d.limit)
		if err != nil {
			return false, fmt.Errorf("delete what is not kept any more: %w", err)
		}
		more = more || n == d.limit
	}
	return more, l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var oldest int64
		err := rows.Scan(&oldest)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.events.oldest = oldest
		return err
	}, "SELECT first FROM schedule_commits ORDER BY seq LIMIT 1")
}

func (l *Ledger) delete(ctx context.Context, query string, until, limit int64) (n int64, err error) {
	err = l.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, query, until, limit)
		if err == nil {
			n, err = res.RowsAffected()
		}
		return err
	})
	return n, err
}
