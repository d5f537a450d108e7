package ledger

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/schedule"
)

var operations = flag.Int("ledger.operations", 100_000, "operations of the concurrent clients of TestNeverOverCommitted; CI asks for a million")

// model is what the ledger must be, written in another way: it keeps nothing but
// which leases there are, and adds up from nothing whatever changes.
type model struct {
	mu     sync.Mutex
	pools  map[string]schedule.Pool
	leases map[uint64]schedule.Lease // that take capacity
	lost   map[string]bool           // facilities
	states map[string]schedule.State
	token  uint64
	// over are nodes of which more is taken than there is, because capacity was
	// reduced, with how much: that may only fall.
	over   map[string]schedule.Vector
	faults []fault
	taken  int
}

// fault is what is wrong with a workload, a lease or a node.
type fault struct{ of, what string }

func newModel() *model {
	return &model{pools: map[string]schedule.Pool{}, leases: map[uint64]schedule.Lease{}, lost: map[string]bool{}, states: map[string]schedule.State{}, over: map[string]schedule.Vector{}}
}

func (m *model) fault(of, format string, args ...any) {
	if len(m.faults) < 10 {
		m.faults = append(m.faults, fault{of, fmt.Sprintf(format, args...)})
	}
}

// follow is told what the ledger applied.
func (m *model) follow(changes []Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	touched := map[string]bool{}
	for _, c := range changes {
		switch {
		case c.Facility != nil:
			m.lost[c.Facility.ID] = c.Facility.State == schedule.Lost
		case c.Pool != nil:
			m.pools[c.Pool.ID] = *c.Pool
			m.reduced(c.Pool.ID)
		case c.Lease != nil:
			m.lease(c, touched)
		case c.Record != nil && c.Record.Workload != nil:
			m.record(c.Record)
		}
	}
	for node := range touched {
		m.check(node)
	}
}

func (m *model) lease(c Change, touched map[string]bool) {
	l := *c.Lease
	if was := m.leases[l.Token].State; was != c.From {
		m.fault(l.ID, "it came from %q and was %q", c.From, was)
	}
	if c.From == "" {
		if l.Token <= m.token {
			m.fault(l.ID, "token %d after %d", l.Token, m.token)
		}
		m.token = l.Token
		m.taken++
	}
	m.leases[l.Token] = l
	if l.State == schedule.Released {
		delete(m.leases, l.Token)
	}
	for _, p := range l.Parts {
		touched[p.Pool+"/"+p.Node] = true
	}
}

func (m *model) record(r *Record) {
	live := map[member]uint64{}
	stopping := false
	for _, l := range r.Leases {
		stopping = stopping || l.State == schedule.Fenced && !m.lost[l.Facility]
		if l.State != schedule.Held && l.State != schedule.Committed {
			continue
		}
		for _, p := range l.Parts {
			k := member{p.Task, p.Index}
			if other, ok := live[k]; ok {
				m.fault(r.ID, "member %v has leases %d and %d", k, other, l.Token)
			}
			live[k] = l.Token
		}
	}
	promised := r.State == schedule.Reserved || r.State == schedule.Bound || r.State == schedule.Running
	if promised != (len(live) > 0) {
		m.fault(r.ID, "it is %s with %d members that have a lease", r.State, len(live))
	}
	if r.State == schedule.Preempted && !stopping {
		m.fault(r.ID, "it is taken back, has nothing to be stopped, and does not wait")
	}
	m.states[r.ID] = r.State
}

// sum is what is taken of a node, in all and by device.
func (m *model) sum(node string) (used schedule.Vector, devices [schedule.MaxDevices]int64) {
	for _, l := range m.leases {
		for _, p := range l.Parts {
			if p.Pool+"/"+p.Node == node {
				used = used.Add(p.Use)
				for _, d := range p.Devices {
					devices[d] += p.Use[schedule.AcceleratorMilli] / int64(len(p.Devices))
				}
			}
		}
	}
	return used, devices
}

func (m *model) capacity(node string) schedule.Vector {
	id, name, _ := strings.Cut(node, "/")
	for _, n := range m.pools[id].Nodes {
		if n.ID == name {
			return n.Capacity()
		}
	}
	return schedule.Vector{}
}

func (m *model) check(node string) {
	used, devices := m.sum(node)
	capacity := m.capacity(node)
	for i := range used {
		if used[i] < 0 || used[i] > max(capacity[i], m.over[node][i]) {
			m.fault(node, "%d of %d %s", used[i], capacity[i], schedule.DimensionNames[i])
		}
		if used[i] <= capacity[i] {
			continue
		}
		o := m.over[node]
		o[i] = used[i]
		m.over[node] = o
	}
	for d, n := range devices {
		if n < 0 || n > schedule.DeviceMilli {
			m.fault(node, "device %d is used by %d thousandths", d, n)
		}
	}
	if used.Within(capacity) {
		delete(m.over, node)
	}
}

// reduced notes what is over since a pool was declared anew.
func (m *model) reduced(pool string) {
	nodes := map[string]bool{}
	for _, l := range m.leases {
		for _, p := range l.Parts {
			if p.Pool == pool {
				nodes[p.Pool+"/"+p.Node] = true
			}
		}
	}
	for node := range nodes {
		delete(m.over, node)
		if used, _ := m.sum(node); !used.Within(m.capacity(node)) {
			m.over[node] = used
		}
	}
}

// client is one of many that act on what they saw some time ago.
type client struct {
	h      *hub
	rand   *rand.Rand
	shared *shared
}

// shared is what all clients have seen: workloads and tokens, many of them gone.
type shared struct {
	mu     sync.Mutex
	ids    []string
	tokens []uint64
	read   []Seen
}

func (s *shared) note(r Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = append(s.ids, r.ID)
	for _, g := range r.Grants {
		s.tokens = append(s.tokens, g.Token)
	}
	if n := len(s.ids); n > 200 {
		s.ids = slices.Clone(s.ids[n-100:])
	}
	if n := len(s.tokens); n > 200 {
		s.tokens = slices.Clone(s.tokens[n-100:])
	}
}

func (c *client) id() string {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	if len(c.shared.ids) == 0 {
		return "w-0"
	}
	return c.shared.ids[c.rand.IntN(len(c.shared.ids))]
}

func (c *client) recent() string {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	n := len(c.shared.ids)
	if n == 0 {
		return "w-0"
	}
	return c.shared.ids[n-1-c.rand.IntN(min(n, 10))]
}

// token is often one that is not live any more: agents lag.
func (c *client) token() uint64 {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	if len(c.shared.tokens) == 0 {
		return 1
	}
	return c.shared.tokens[c.rand.IntN(len(c.shared.tokens))]
}

const (
	modelFacilities = 3
	modelNodes      = 8
)

func (c *client) part(index int) schedule.Assignment {
	f := c.rand.IntN(modelFacilities)
	a := at(fmt.Sprintf("f%d", f), fmt.Sprintf("p%d", f), c.rand.IntN(modelNodes), index, 1+c.rand.Int64N(2))
	switch c.rand.IntN(4) {
	case 0:
		a.Devices, a.Use[schedule.AcceleratorMilli] = []uint8{uint8(c.rand.IntN(2))}, 100*(1+c.rand.Int64N(10))
	case 1:
		a.Devices, a.Use[schedule.AcceleratorMilli] = []uint8{1, 0}, 2000
	}
	return a
}

func (c *client) parts() []schedule.Assignment {
	all := make([]schedule.Assignment, 1+c.rand.IntN(3))
	for i := range all {
		all[i] = c.part(i)
	}
	return all
}

func (c *client) act(ctx context.Context) error {
	switch n := c.rand.IntN(100); {
	case n < 35:
		return c.submit(ctx)
	case n < 42:
		return c.propose(ctx)
	case n < 45:
		return c.h.Submit(ctx, Move{Workload: c.recent(), To: schedule.Preempted, Stopped: c.rand.IntN(4) == 0})[0].Err
	case n < 75:
		states := []schedule.State{schedule.Bound, schedule.Running, schedule.Succeeded, schedule.Succeeded, schedule.Failed, schedule.Queued}
		return c.h.Report(ctx, Report{Token: c.token(), To: states[c.rand.IntN(len(states))]})[0]
	case n < 82:
		return c.h.Cancel(ctx, c.id())
	case n < 88:
		return c.h.Release(ctx, c.token())
	case n < 92:
		r, err := c.h.Reserve(ctx, Reservation{Tenant: "default", Parts: c.parts(), Expires: time.Now().Add(time.Hour)})
		if err == nil {
			c.shared.note(r)
		}
		return err
	case n < 94:
		return c.h.Renew(ctx, c.token(), time.Now().Add(time.Duration(c.rand.IntN(100))*time.Millisecond))
	case n < 96:
		return c.h.Commit(ctx, c.token(), time.Time{})
	case n < 97:
		return c.redeclare(ctx)
	case n < 98:
		return c.h.Expire(ctx, time.Now())
	case n < 99 && c.rand.IntN(4) == 0:
		return c.h.Fence(ctx, fmt.Sprintf("f%d", c.rand.IntN(modelFacilities)))
	case n < 99:
		return c.look(ctx)
	}
	return c.comeBack(ctx)
}

// look sees what is live now, for a while.
func (c *client) look(ctx context.Context) error {
	s, err := c.h.Snapshot(ctx)
	var old []Move // that wait too long: a snapshot is of what lives
	for i, r := range s.Records {
		if r.State == schedule.Queued && i < len(s.Records)-300 {
			old = append(old, Move{Workload: r.ID, To: schedule.Cancelled})
		} else {
			c.shared.note(r.receipt(0))
		}
	}
	for _, r := range c.h.Submit(ctx, old...) {
		err = errors.Join(err, r.Err)
	}
	return err
}

func (c *client) submit(ctx context.Context) error {
	parts := c.parts()
	w := workload("w", len(parts))
	w.Gang = []schedule.Gang{schedule.GangNone, schedule.GangAll, schedule.GangMinimum}[c.rand.IntN(3)]
	move := Move{New: &w, To: schedule.Reserved, Decision: decided(parts...)}
	if c.rand.IntN(4) == 0 {
		move.To, move.Decision = schedule.Queued, nil
	}
	if c.rand.IntN(3) == 0 {
		move.Key = fmt.Sprint(c.rand.IntN(1000))
		move.Body[0] = byte(c.rand.IntN(2))
	}
	r := c.h.Submit(ctx, move)[0]
	if r.Err == nil {
		c.shared.note(r.Receipts[0])
	}
	return r.Err
}

// propose moves several workloads at once, by an old view.
func (c *client) propose(ctx context.Context) error {
	var p Proposal
	c.shared.mu.Lock()
	if c.rand.IntN(2) == 0 && len(c.shared.read) > 0 {
		p.Read = []Seen{c.shared.read[c.rand.IntN(len(c.shared.read))]}
	}
	c.shared.mu.Unlock()
	for range 1 + c.rand.IntN(3) {
		m := Move{Workload: c.id(), Version: c.rand.Int64N(4), To: []schedule.State{schedule.Reserved, schedule.Queued, schedule.Preempted, schedule.Running}[c.rand.IntN(4)], Stopped: c.rand.IntN(2) == 0}
		if hasLeases(m.To) {
			m.Decision = decided(c.parts()...)
		}
		p.Moves = append(p.Moves, m)
	}
	if c.rand.IntN(2) == 0 { // a planner that forgot what it decided just now
		p = Proposal{Moves: []Move{{Workload: c.recent(), To: []schedule.State{schedule.Reserved, schedule.Running}[c.rand.IntN(2)], Decision: decided(c.part(0))}}}
	}
	r := c.h.Propose(ctx, p)[0]
	for _, receipt := range r.Receipts {
		c.shared.note(receipt)
	}
	return r.Err
}

// redeclare declares a pool with more or less, and nodes in another order.
func (c *client) redeclare(ctx context.Context) error {
	f := c.rand.IntN(modelFacilities)
	p := pool(fmt.Sprintf("p%d", f), fmt.Sprintf("f%d", f), modelNodes)
	c.rand.Shuffle(len(p.Nodes), func(i, j int) { p.Nodes[i], p.Nodes[j] = p.Nodes[j], p.Nodes[i] })
	p.Nodes = p.Nodes[:c.rand.IntN(modelNodes+1)]
	for i := range p.Nodes {
		p.Nodes[i].CPUMilli = 1000 * (2 + c.rand.Int64N(3))
	}
	if c.rand.IntN(3) > 0 {
		p = pool(p.ID, p.Facility, modelNodes)
	}
	v, err := c.h.PutPool(ctx, p)
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	c.shared.read = append(c.shared.read, Seen{Pool: p.ID, Version: v})
	if n := len(c.shared.read); n > 8 {
		c.shared.read = slices.Clone(c.shared.read[n-4:])
	}
	return err
}

func (c *client) comeBack(ctx context.Context) error {
	id := fmt.Sprintf("f%d", c.rand.IntN(modelFacilities))
	bit := c.rand.Uint64N(2)
	stop, err := c.h.Reconcile(ctx, id, func(token uint64) bool { return token%2 == bit })
	for _, l := range stop {
		err = errors.Join(err, c.h.Release(ctx, l.Token))
	}
	_, put := c.h.PutFacility(ctx, facility(id))
	return errors.Join(err, put)
}

// expected are the errors of clients that know less than the ledger.
func expected(err error) bool {
	var r *Refused
	return err == nil || errors.As(err, &r) || slices.ContainsFunc([]error{ErrUnknown, ErrInvalid, ErrConflict, ErrStale, ErrState, ErrFenced, ErrInUse},
		func(e error) bool { return errors.Is(err, e) })
}

func storm(t *testing.T, h *hub, clients, operations int, seed uint64) {
	for f := range modelFacilities {
		h.declare(t, fmt.Sprintf("f%d", f), fmt.Sprintf("p%d", f), modelNodes)
	}
	var left atomic.Int64
	left.Store(int64(operations))
	s := &shared{}
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			c := &client{h: h, rand: rand.New(rand.NewPCG(seed, uint64(i))), shared: s}
			for left.Add(-1) >= 0 {
				if err := c.act(context.Background()); !expected(err) {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// Whatever concurrent clients do on stale views, and lagging agents report: no
// node and no device is over-committed, no member has two live leases, and a
// restart finds the same.
func TestNeverOverCommitted(t *testing.T) {
	n := *operations
	if testing.Short() && n == 100_000 {
		n = 10_000
	}
	path := filepath.Join(t.TempDir(), "r.db")
	m := newModel()
	h := prepare(t, path, func(c *Config, d *Deps) { d.Applied = m.follow }).run()
	storm(t, h, 256, n, 1)
	// Leases that were renewed to end soon must not do so between what is compared
	// and the end of the ledger.
	if err := h.Expire(t.Context(), time.Now().Add(lapse/2)); err != nil {
		t.Fatal(err)
	}
	before := h.everything(t)
	h.close(t)
	if m.taken < n/50 {
		t.Errorf("only %d leases in %d operations: the clients do not compete", m.taken, n)
	}
	h = open(t, path)
	for _, f := range m.faults {
		t.Errorf("%s: %s%s", f.of, f.what, h.told(t, f.of))
	}
	if diff := cmp.Diff(before, h.everything(t), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("a restart finds something else:\n%s", diff)
	}
	m.compare(t, h)
	replayed(t, h)
	t.Logf("%d leases, %d events", m.taken, before.Seq)
}

// told is what happened to a workload, one event a line; empty for what is none.
func (h *hub) told(tb testing.TB, id string) string {
	tb.Helper()
	if !strings.HasPrefix(id, "w-") {
		return ""
	}
	events, _, err := h.EventsOf(tb.Context(), id, 0, 100)
	if err != nil {
		return fmt.Sprintf("\n\tits events: %v", err)
	}
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "\n\t%d %s: %q to %q", e.Seq, e.Object, e.From, e.To)
		if e.Reason != nil {
			fmt.Fprintf(&b, ", %s", e.Reason.Code)
		}
	}
	return b.String()
}

// all is what a restart must find again.
type all struct {
	Snapshot
	Uses  []Use
	Token uint64
	Nodes map[string]schedule.Vector
	Watts map[string]int64
}

func (h *hub) everything(tb testing.TB) all {
	tb.Helper()
	s, err := h.Snapshot(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	uses, err := h.Uses(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	a := all{Snapshot: s, Uses: uses, Token: h.last.token, Nodes: map[string]schedule.Vector{}, Watts: map[string]int64{}}
	for id, p := range h.book.pools {
		for name, i := range p.names {
			if !p.slots[i].used.IsZero() {
				a.Nodes[id+"/"+name] = p.slots[i].used
			}
		}
	}
	for id, f := range h.book.facilities {
		a.Watts[id] = f.drawW
	}
	return a
}

// compare compares what is taken of every node with the model.
func (m *model) compare(t *testing.T, h *hub) {
	t.Helper()
	nodes := map[string]schedule.Vector{}
	for _, l := range m.leases {
		for _, p := range l.Parts {
			nodes[p.Pool+"/"+p.Node] = nodes[p.Pool+"/"+p.Node].Add(p.Use)
		}
	}
	if diff := cmp.Diff(nodes, h.everything(t).Nodes); diff != "" {
		t.Errorf("the model and the ledger (-model +ledger):\n%s", diff)
	}
}

// replayed checks that the events, one after the other, lead to the states that
// are there.
func replayed(t *testing.T, h *hub) {
	t.Helper()
	states, last := map[string]string{}, int64(0)
	for since := int64(0); ; {
		events, _, err := h.Events(t.Context(), since, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			if e.Seq != last+1 {
				t.Fatalf("event %d after %d", e.Seq, last)
			}
			if was := states[e.Object]; was != e.From && e.Kind != schedule.OfPool {
				t.Fatalf("event %d: %s comes from %q and was %q", e.Seq, e.Object, e.From, was)
			}
			states[e.Object], last, since = e.To, e.Seq, e.Seq
		}
	}
	s, err := h.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Seq != last {
		t.Errorf("the last event is %d and the snapshot's %d", last, s.Seq)
	}
	lives := map[string]bool{}
	for _, r := range s.Records {
		lives[r.ID] = true
		if r.Workload != nil && states[r.ID] != string(r.State) {
			t.Errorf("%s is %s, by its events %s", r.ID, r.State, states[r.ID])
		}
		for _, l := range r.Leases {
			if l.State != schedule.Released && states[l.ID] != string(l.State) {
				t.Errorf("%s is %s, by its events %s", l.ID, l.State, states[l.ID])
			}
		}
	}
	for id, state := range states {
		if strings.HasPrefix(id, "w-") && !schedule.State(state).Ended() && !lives[id] {
			t.Errorf("%s is %s by its events and not there", id, state)
		}
	}
}

// One client at a time, with every answer compared by a model of one node that
// fits in ten lines.
func TestTheBookIsRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBook()
		b.putFacility(facility("f"))
		b.putPool(pool("p", "f", 1), nil)
		cpus, devices := int64(0), [2]int64{}
		var held []schedule.Assignment
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(held) > 0 && rapid.Bool().Draw(t, "free") {
				n := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				a := held[n]
				held = slices.Delete(held, n, n+1)
				b.free(1, &a)
				cpus -= a.Use[schedule.CPUMilli]
				for _, d := range a.Devices {
					devices[d] -= a.Use[schedule.AcceleratorMilli] / int64(len(a.Devices))
				}
				continue
			}
			a := at("f", "p", 0, i, rapid.Int64Range(0, 5).Draw(t, "cpus"))
			a.Devices = [][]uint8{nil, {0}, {1}, {0, 1}}[rapid.IntRange(0, 3).Draw(t, "devices")]
			share := rapid.Int64Range(1, 1000).Draw(t, "milli")
			if len(a.Devices) == 2 {
				share = 1000
			}
			a.Use[schedule.AcceleratorMilli] = share * int64(len(a.Devices))
			fits := cpus+a.Use[schedule.CPUMilli] <= 4000
			for _, d := range a.Devices {
				fits = fits && devices[d]+share <= 1000
			}
			if err := b.take(1, &a); (err == nil) != fits {
				t.Fatalf("%v with %d mCPU and devices %v taken: %v", a, cpus, devices, err)
			}
			if !fits {
				continue
			}
			held = append(held, a)
			cpus += a.Use[schedule.CPUMilli]
			for _, d := range a.Devices {
				devices[d] += share
			}
		}
	})
}

// One member has at most one live lease, in every history that clients can see:
// the histories of a lock.
func TestExactlyOneLiveLeasePerMemberIsLinearizable(t *testing.T) {
	const members, clients, rounds = 4, 12, 120
	h := open(t, filepath.Join(t.TempDir(), "r.db"))
	h.declare(t, "f", "p", 4)
	var ids []string
	for range members {
		w := workload("w", 1)
		ids = append(ids, h.Submit(t.Context(), Move{New: &w, To: schedule.Queued})[0].Receipts[0].ID)
	}
	var mu sync.Mutex
	var history []porcupine.Operation
	start := time.Now()
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(c)))
			seen := map[int]uint64{}
			for range rounds {
				m := r.IntN(members)
				op := porcupine.Operation{ClientId: c, Call: int64(time.Since(start))}
				if token := seen[m]; token != 0 && r.IntN(2) == 0 {
					err := h.Report(context.Background(), Report{Token: token, To: schedule.Queued})[0]
					op.Input, op.Output = lock{m, token}, err == nil
					delete(seen, m)
				} else {
					got := h.Propose(context.Background(), Proposal{Moves: []Move{{Workload: ids[m], To: schedule.Reserved, Decision: decided(at("f", "p", m, 0, 1))}}})[0]
					op.Input, op.Output = lock{m, 0}, uint64(0)
					if got.Err == nil {
						op.Output = got.Receipts[0].Grants[0].Token
						seen[m] = got.Receipts[0].Grants[0].Token
					}
				}
				op.Return = int64(time.Since(start))
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if got := porcupine.CheckOperations(lockModel, history); !got {
		t.Errorf("a history of %d operations is none of a lock", len(history))
	}
	// The check itself sees a second lease.
	for i, op := range history {
		if op.Output == uint64(0) {
			history[i].Output = uint64(1 << 40)
			break
		}
	}
	if porcupine.CheckOperations(lockModel, history) {
		t.Error("a history with two leases passed")
	}
}

// lock is an operation on a member: to take it (0), or to give its token back.
type lock struct {
	member int
	token  uint64
}

// lockModel is one lock for each member; its state is who has it, and the last
// token that was given.
var lockModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[int][]porcupine.Operation{}
		for _, op := range history {
			parts[op.Input.(lock).member] = append(parts[op.Input.(lock).member], op)
		}
		return slices.Collect(maps.Values(parts))
	},
	Init: func() any { return [2]uint64{} },
	Step: func(state, input, output any) (bool, any) {
		s, in := state.([2]uint64), input.(lock)
		if in.token == 0 {
			token := output.(uint64)
			if token == 0 {
				return s[0] != 0, s
			}
			return s[0] == 0 && token > s[1], [2]uint64{token, token}
		}
		if output.(bool) {
			return s[0] == in.token, [2]uint64{0, s[1]}
		}
		return s[0] != in.token, s
	},
}
