// Package ledger keeps what is promised: facilities and pools with what is
// taken of them, workloads, reservations, leases, and every transition as an
// event. It decides nothing. Art. 13
//
// There is one writer. What is proposed is checked against the state as it is
// at that moment, and happens whole or not at all: no node, device or facility
// is ever promised beyond what it has, whoever asks at the same time and however
// old their view is. A caller is answered when what it changed is on disk; those
// who come together share a commit. Readers see nothing that is not on disk.
// After a failed commit nobody is answered, and Run ends.
package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/schedule"
)

// What callers did wrong, or came too late for.
var (
	ErrUnknown   = errors.New("is not known")
	ErrInvalid   = errors.New("is not valid")
	ErrConflict  = errors.New("was used for another request")
	ErrStale     = errors.New("has changed since it was read")
	ErrState     = errors.New("does not allow that")
	ErrFenced    = errors.New("is not live: nothing may run under it")
	ErrInUse     = errors.New("is in use")
	ErrFull      = errors.New("is full")
	ErrCompacted = errors.New("are not kept any more")
)

// Config bounds the ledger.
type Config struct {
	// MaxLive is how many workloads and reservations may be live at once.
	MaxLive int `yaml:"max_live"`
	// MaxKeys is how many idempotency keys of the last seven days are kept in
	// memory, about 100 bytes each.
	MaxKeys int `yaml:"max_keys"`
	// MaxEvents is how many events are kept for those who watch.
	MaxEvents int `yaml:"max_events"`
	// Grace is how long leases live at least after the hub was down.
	Grace time.Duration `yaml:"grace"`
	// Keep is how long workloads that ended are kept, at least seven days.
	Keep time.Duration `yaml:"keep"`
}

// DefaultConfig returns the bounds of a hub without a config file.
func DefaultConfig() Config {
	return Config{MaxLive: 2_000_000, MaxKeys: 5_000_000, MaxEvents: 5_000_000, Grace: 5 * time.Minute, Keep: 30 * 24 * time.Hour}
}

// Check returns every bound that makes no sense.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		strict.AtLeast(path, "max_live", c.MaxLive, 1),
		strict.AtLeast(path, "max_keys", c.MaxKeys, 1),
		strict.AtLeast(path, "max_events", c.MaxEvents, 1000),
		strict.AtLeast(path, "grace", c.Grace, time.Second),
		strict.AtLeast(path, "keep", c.Keep, keysLife),
	)
}

// Deps are what a ledger works with. All are required but Applied.
type Deps struct {
	Records *records.DB
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
	// Applied is told of changes in their order, those of one call together,
	// before they are on disk: an index of free places follows by it. It runs
	// under the writer's lock, must be quick, keep nothing of the slice and of the
	// leases in it but copies, and call nothing of the ledger.
	Applied func([]Change)
}

// Change is a part of what was applied; one of its fields is set.
type Change struct {
	Facility *schedule.Facility // declared
	Pool     *schedule.Pool     // declared; what is taken there stays taken, by the ids of nodes
	Removed  string             // a pool that is gone
	Gone     string             // a facility that is gone
	// Lease came to its state from From. Its parts are taken when From is empty,
	// and free when its state is Released.
	Lease *schedule.Lease
	From  schedule.LeaseState
	// Record came to its state.
	Record *Record
	// Spent is what a tenant has spent by now.
	Spent *schedule.Spent

	num uint64 // of the record that has the lease
}

// Record is a workload with its leases, or a reservation of a scheduler that
// keeps its own queue. What it points to is shared by all readers.
type Record struct {
	ID      string
	Tenant  string
	Version int64 // rises with every change
	// Workload is nil for a reservation, and State empty.
	Workload *schedule.Workload
	State    schedule.State
	Since    time.Time // it is in this state
	// Decision is the last one, in Get and List; its assignments are the parts of
	// the leases.
	Decision *schedule.Decision
	Until    time.Time // the last decision defers it so long; zero: it does not
	// Planned is where it is to run after that, or when it goes on after a pause:
	// Decision.Planned of the last decision, in Snapshot as well.
	Planned []schedule.Assignment
	// Worked is what of the work was done when it was taken back, at speed 1 and
	// without what its checkpoints lose; see schedule.Workload.Splits.
	Worked time.Duration
	Reason *schedule.Reason // of the last transition
	// Leases of the last decision, and those before that still take capacity.
	Leases []schedule.Lease
	Done   []uint64 // tokens of those leases whose work has succeeded
	// TakenBack is how often it was pre-empted.
	TakenBack int
	// Charged is what it has taken from the budget of its tenant.
	Charged Charge
	First   Receipt // what its caller was answered
}

// Receipt is the answer to who submitted a workload or asked for a reservation.
type Receipt struct {
	ID    string // of the workload; empty for a reservation
	State schedule.State
	Seq   int64 // of its last event
	// Repeated says that the same request was answered before, so: nothing
	// happened.
	Repeated bool
	Grants   []Grant
}

// Grant names a lease.
type Grant struct {
	Lease    string
	Facility string
	Token    uint64
	Expires  time.Time // zero: when it is released
}

// Ledger is all of it in memory, and on disk. All methods may be called from any
// goroutine; those that change something return when it is on disk, which takes
// Run.
type Ledger struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	wake    chan struct{} // holds one token while Run has something to do

	statements *statements
	journal    journal

	mu      sync.RWMutex // what follows; the writer is who holds it for writing
	book    *book
	extras  map[thing]any // tenants and queues
	live    map[uint64]*record
	past    map[uint64]*record // ended, and in no pack yet
	leases  map[uint64]uint64  // records by the tokens of leases that take capacity
	keys    keys
	expiry  expiries
	expired time.Time // when Expire looked last
	last    counters
	events  tail
	next    *batch
	writing *batch // the one before; nil: none yet
	scratch txn
	changes []Change         // memory for those of a session
	told    []schedule.Lease // memory for those of a session
	old     *batch           // memory for the next batch; nil: none
	failed  error            // of Run: nothing is taken any more
}

// record is one version of a record; another replaces it.
type record struct {
	Record
	num uint64
	in  *batch // that writes it; nil: none, it was read
	// explained is the document of the decision, which nobody but people reads.
	explained []byte
	trail     trail
	decided   bool // by this version
}

// origin is the memory of what all versions of a workload share, and promise that
// of what nearly all that run have: one lease. The collector visits each object
// that lives, and those up to 512 bytes at less cost.
type origin struct {
	workload schedule.Workload
	trail    [trailAtFirst]byte
}

type promise struct {
	lease [1]schedule.Lease
	grant [1]Grant
}

// kept is a record on disk, or what of it changed.
type kept struct {
	Record   Record
	Decision []byte
	Trail    []byte
	Lacks    int
}

// counters are the last numbers given; none is given twice.
type counters struct {
	seq   int64
	num   uint64
	token uint64
	at    time.Time // of the last event; later ones are not before it
}

// batch is what one commit writes; done closes when it is on disk, or err says
// why it is not.
type batch struct {
	records   map[uint64]*row
	things    map[thing][]byte // nil: removed
	events    []schedule.Event
	keys      []byte
	last      counters
	encoding  sync.WaitGroup // callers that still write documents into it
	done      chan struct{}
	err       error
	riders    []func(*sql.Tx) error // what callers want to be written with it, such as the audit
	completed []*record             // those that do not live any more when it is on disk
	packed    [][]*record           // those that leave memory when it is on disk
}

// row is the newest version of a record in a batch.
type row struct {
	*record     // the newest; under the ledger's mu, as is
	lacks   int // what no version of it in the batch says

	mu      sync.Mutex // what follows
	version int64
	doc     *document // of documents, and goes back there
}

// newBatch takes the memory of one that is on disk; nil: there is none.
func newBatch(old *batch) *batch {
	if old == nil {
		return &batch{records: map[uint64]*row{}, things: map[thing][]byte{}, done: make(chan struct{})}
	}
	return &batch{records: old.records, things: old.things, events: old.events, keys: old.keys, completed: old.completed, done: make(chan struct{})}
}

// spareAtMost bounds the memory that one batch leaves to another, in records.
const spareAtMost = 4096

// spare takes what another batch can use. Nobody reads it any more.
func (b *batch) spare() (old *batch) {
	if len(b.records) <= spareAtMost && len(b.events) <= 4*spareAtMost {
		clear(b.records)
		clear(b.things)
		clear(b.events)
		clear(b.completed)
		old = &batch{records: b.records, things: b.things, events: b.events[:0], keys: b.keys[:0], completed: b.completed[:0]}
	}
	b.records, b.things, b.events, b.keys, b.completed, b.packed = nil, nil, nil, nil, nil, nil
	return old
}

// Open reads what lives.
func Open(ctx context.Context, cfg Config, deps Deps) (*Ledger, error) {
	if deps.Applied == nil {
		deps.Applied = func([]Change) {}
	}
	l := &Ledger{
		cfg: cfg, deps: deps, wake: make(chan struct{}, 1),
		book: newBook(), extras: map[thing]any{}, live: map[uint64]*record{}, past: map[uint64]*record{}, journal: newJournal(), leases: map[uint64]uint64{}, keys: newKeys(), next: newBatch(nil),
	}
	if err := l.load(ctx); err != nil {
		return nil, fmt.Errorf("read the ledger of capacity: %w", err)
	}
	l.expired = deps.Clock()
	l.grace(l.expired)
	l.metrics = newMetrics(deps.Metrics, l)
	return l, nil
}

// nudge wakes Run.
func (l *Ledger) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// await waits until a batch is on disk; nil is.
func (l *Ledger) await(ctx context.Context, b *batch) error {
	if b == nil {
		return nil
	}
	select {
	case <-b.done:
		return b.err
	default:
	}
	l.nudge()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// session is what one call publishes into a batch.
type session struct {
	l       *Ledger
	now     time.Time
	wrote   []written
	changes []Change
	leases  []schedule.Lease // as they were at each change: changes point here, or to what it grew from
	some    bool
}

// session begins one. The caller holds mu.
func (l *Ledger) session() session {
	return session{l: l, now: l.now(), changes: l.changes[:0], leases: l.told[:0]}
}

// applied tells of what was published. The caller holds mu.
func (s *session) applied() {
	if len(s.changes) > 0 {
		s.l.deps.Applied(s.changes)
	}
	clear(s.changes)
	clear(s.leases)
	s.l.changes, s.l.told = nil, nil
	if len(s.changes) <= 4*spareAtMost {
		s.l.changes, s.l.told = s.changes, s.leases
	}
}

// write lets f change things as transactions of its own, and waits until they
// are on disk.
func (l *Ledger) write(ctx context.Context, f func(begin func() *txn)) error {
	l.mu.Lock()
	if l.failed != nil {
		defer l.mu.Unlock()
		return l.failed
	}
	b := l.next
	b.encoding.Add(1)
	s := l.session()
	f(s.begin)
	s.applied()
	if s.some {
		b.riders = append(b.riders, records.Riders(ctx)...)
	}
	l.mu.Unlock()
	b.encode(s.wrote)
	b.encoding.Done()
	if !s.some {
		return nil
	}
	return l.await(ctx, b)
}

// begin returns a transaction. There is one at a time, and one at all: nothing
// of it outlives it.
func (s *session) begin() *txn {
	t := &s.l.scratch
	clear(t.staged)
	clear(t.changes)
	*t = txn{l: s.l, session: s, now: s.now, last: s.l.last,
		staged: t.staged[:0], moved: t.moved[:0], events: t.events[:0], changes: t.changes[:0], keys: t.keys[:0]}
	return t
}

// one is write for one transaction.
func (l *Ledger) one(ctx context.Context, f func(t *txn) error) error {
	var refused error
	err := l.write(ctx, func(begin func() *txn) {
		t := begin()
		if refused = f(t); refused != nil {
			t.undo()
			return
		}
		t.publish()
	})
	return cmp.Or(refused, err)
}

// now is the time of what happens now: the clock's, and never before what
// happened last.
func (l *Ledger) now() time.Time {
	now := l.deps.Clock().Round(0).UTC()
	if now.Before(l.last.at) {
		return l.last.at
	}
	return now
}
