package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/schedule"
)

// hub is a ledger that runs, as the hub has it.
type hub struct {
	*Ledger
	db    *records.DB
	stop  context.CancelFunc
	ended chan error // of Run
}

func (h *hub) close(tb testing.TB) {
	h.stop()
	<-h.ended
	if err := h.db.Close(); err != nil {
		tb.Error(err)
	}
}

func prepare(tb testing.TB, path string, alter ...func(*Config, *Deps)) *hub {
	tb.Helper()
	db, err := records.Open(context.Background(), path)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := DefaultConfig()
	deps := Deps{Records: db, Log: slog.New(slog.DiscardHandler), Clock: time.Now, Metrics: prometheus.NewRegistry()}
	for _, f := range alter {
		f(&cfg, &deps)
	}
	l, err := Open(context.Background(), cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	if _, measures := tb.(*testing.B); !measures {
		l.journal.reach = 16 << 10 // so that tests see what is carried on
	}
	return &hub{Ledger: l, db: db, ended: make(chan error, 1)}
}

func (h *hub) run() *hub {
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	go func() { h.ended <- h.Run(ctx) }()
	return h
}

// open opens a ledger and runs it until the test ends.
func open(tb testing.TB, path string, alter ...func(*Config, *Deps)) *hub {
	tb.Helper()
	h := prepare(tb, path, alter...).run()
	tb.Cleanup(func() { h.close(tb) })
	return h
}

func facility(id string) schedule.Facility {
	return schedule.Facility{ID: id, Region: "220100", SecurityGrade: 2, PUE: schedule.PUE{Constant: 1.2}, State: schedule.Ready}
}

// workload is one task "main" of so many members, of 1 CPU each.
func workload(name string, members int) schedule.Workload {
	return schedule.Workload{Tenant: "default", Name: name, Gang: schedule.GangAll, Shape: schedule.AnyShape, Objective: schedule.Balanced,
		Tasks: []schedule.Task{{Name: "main", Min: members, Max: members, Use: schedule.Vector{schedule.CPUMilli: 1000, schedule.MemoryMiB: 2048}, P50: time.Hour, P95: 2 * time.Hour}}}
}

// pool has nodes n0, n1, … of 4 CPUs, 16 GiB and two devices each.
func pool(id, facility string, nodes int) schedule.Pool {
	p := schedule.Pool{ID: id, Facility: facility, Arch: "amd64", Engine: schedule.EngineAgent,
		Accelerator: &schedule.Accelerator{Vendor: "nvidia", Model: "A100", Shareable: true}}
	for i := range nodes {
		p.Nodes = append(p.Nodes, schedule.Node{ID: fmt.Sprintf("n%d", i), CPUMilli: 4000, MemoryMiB: 16384, Accelerators: 2})
	}
	return p
}

// small is a ledger with facility f and its pool p of two nodes.
func small(tb testing.TB, alter ...func(*Config, *Deps)) *hub {
	tb.Helper()
	h := open(tb, filepath.Join(tb.TempDir(), "r.db"), alter...)
	h.declare(tb, "f", "p", 2)
	return h
}

func (h *hub) declare(tb testing.TB, f, p string, nodes int) {
	tb.Helper()
	if _, err := h.PutFacility(tb.Context(), facility(f)); err != nil {
		tb.Fatal(err)
	}
	if _, err := h.PutPool(tb.Context(), pool(p, f, nodes)); err != nil {
		tb.Fatal(err)
	}
}

// at is the place of a member: so many CPUs of a node.
func at(f, p string, node, member int, cpus int64) schedule.Assignment {
	return schedule.Assignment{Task: "main", Index: member, Facility: f, Pool: p, Node: fmt.Sprintf("n%d", node), Slot: node,
		Use: schedule.Vector{schedule.CPUMilli: cpus * 1000}}
}

func decided(parts ...schedule.Assignment) *schedule.Decision {
	return &schedule.Decision{Assignments: parts, Cost: 1}
}

// submit reserves parts for a new workload of as many members.
func (h *hub) submit(tb testing.TB, parts ...schedule.Assignment) Receipt {
	tb.Helper()
	w := workload("w", len(parts))
	r := h.Submit(tb.Context(), Move{New: &w, To: schedule.Reserved, Decision: decided(parts...)})[0]
	if r.Err != nil {
		tb.Fatal(r.Err)
	}
	return r.Receipts[0]
}

func (h *hub) report(tb testing.TB, token uint64, states ...schedule.State) {
	tb.Helper()
	for _, s := range states {
		if err := h.Report(tb.Context(), Report{Token: token, To: s})[0]; err != nil {
			tb.Fatal(err)
		}
	}
}

func (h *hub) expect(tb testing.TB, id string, state schedule.State, leases ...schedule.LeaseState) {
	tb.Helper()
	r, err := h.Get(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	var have []schedule.LeaseState
	for _, l := range r.Leases {
		have = append(have, l.State)
	}
	if r.State != state || !slices.Equal(have, leases) {
		tb.Errorf("%s is %s with leases %v; want %s with %v", id, r.State, have, state, leases)
	}
}

func (h *hub) used(tb testing.TB, pool string) int64 {
	tb.Helper()
	all, err := h.Uses(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	i := slices.IndexFunc(all, func(u Use) bool { return u.Pool == pool })
	return all[i].Used[schedule.CPUMilli] / 1000
}

func wants(tb testing.TB, err, want error) {
	tb.Helper()
	if !errors.Is(err, want) {
		tb.Errorf("got error %v, want one that %v", err, want)
	}
}

func refused(tb testing.TB, err error, want schedule.Code) {
	tb.Helper()
	var r *Refused
	if !errors.As(err, &r) || r.Reason.Code != want {
		tb.Errorf("got %v, want a refusal because of %s", err, want)
	}
}

// clock is moved by hand.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(1_800_000_000 * int64(time.Second))
	return c
}

func (c *clock) get() time.Time       { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *clock) pass(d time.Duration) { c.nanos.Add(int64(d)) }

// What runs goes on to take capacity until its engine says that it stopped.
func TestCancelledWorkIsFencedUntilItStopped(t *testing.T) {
	h := small(t)
	for _, stopped := range []func(token uint64) error{
		func(token uint64) error { return h.Report(t.Context(), Report{Token: token, To: schedule.Failed})[0] },
		func(token uint64) error { return h.Release(t.Context(), token) },
	} {
		r := h.submit(t, at("f", "p", 0, 0, 3))
		token := r.Grants[0].Token
		h.report(t, token, schedule.Running)
		wants(t, h.Release(t.Context(), token), ErrInUse)
		if err := h.Cancel(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		h.expect(t, r.ID, schedule.Cancelled, schedule.Fenced)
		wants(t, h.Report(t.Context(), Report{Token: token, To: schedule.Running})[0], ErrFenced)
		if n := h.used(t, "p"); n != 3 {
			t.Errorf("%d CPUs are taken while it stops", n)
		}
		if err := stopped(token); err != nil {
			t.Fatal(err)
		}
		h.expect(t, r.ID, schedule.Cancelled, schedule.Released)
		if n := h.used(t, "p"); n != 0 {
			t.Errorf("%d CPUs are taken when it stopped", n)
		}
	}
}

func TestTheLifeOfAWorkload(t *testing.T) {
	h := small(t)
	r := h.submit(t, at("f", "p", 0, 0, 3))
	h.expect(t, r.ID, schedule.Reserved, schedule.Held)
	token := r.Grants[0].Token
	h.report(t, token, schedule.Bound, schedule.Bound)
	h.expect(t, r.ID, schedule.Bound, schedule.Committed)
	h.report(t, token, schedule.Running, schedule.Bound, schedule.Running)
	h.expect(t, r.ID, schedule.Running, schedule.Committed)
	if n := h.used(t, "p"); n != 3 {
		t.Errorf("%d CPUs are taken", n)
	}
	h.report(t, token, schedule.Succeeded)
	h.expect(t, r.ID, schedule.Succeeded, schedule.Released)
	if w, err := h.Get(t.Context(), r.ID); err != nil || w.Decision == nil || w.Decision.Cost != 1 || !cmp.Equal(w.Decision.Assignments, []schedule.Assignment{at("f", "p", 0, 0, 3)}) {
		t.Errorf("the decision is %+v, %v", w.Decision, err)
	}
	wants(t, h.Report(t.Context(), Report{Token: token, To: schedule.Running})[0], ErrFenced)
	wants(t, h.Cancel(t.Context(), r.ID), ErrUnknown)
	if n := h.used(t, "p"); n != 0 {
		t.Errorf("%d CPUs are taken after the end", n)
	}
	var said []string
	for e, err := range h.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == schedule.OfWorkload || e.Kind == schedule.OfLease {
			said = append(said, fmt.Sprintf("%s %s", e.Kind, e.To))
		}
		if e.To == string(schedule.Succeeded) {
			break
		}
	}
	want := "workload submitted, workload reserved, lease held, lease committed, workload bound, workload running, lease released, workload succeeded"
	if got := strings.Join(said, ", "); got != want {
		t.Errorf("events: %s\nwant:   %s", got, want)
	}
}

// Two deployments are scheduled at the same time on the same view, in which
// there is room for one of them. https://github.com/karmada-io/karmada/issues/6783
func TestTwoDeploymentsRaceKarmada6783(t *testing.T) {
	h := small(t)
	view, err := h.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := []Seen{{Facility: "f", Version: view.Facilities[0].Version}, {Pool: "p", Version: view.Pools[0].Version}}
	for round := range 50 {
		results := make([]Result, 2)
		var both sync.WaitGroup
		for i := range results {
			both.Go(func() {
				w := workload(fmt.Sprintf("deployment-%d", i), 2)
				results[i] = h.Propose(t.Context(), Proposal{Read: read, Moves: []Move{{New: &w, To: schedule.Reserved,
					Decision: decided(at("f", "p", 0, 0, 3), at("f", "p", 1, 1, 3))}}})[0]
			})
		}
		both.Wait()
		won := slices.IndexFunc(results, func(r Result) bool { return r.Err == nil })
		if won < 0 || results[1-won].Err == nil {
			t.Fatalf("round %d: %v, %v", round, results[0].Err, results[1].Err)
		}
		refused(t, results[1-won].Err, schedule.NoCapacityNow)
		if n := h.used(t, "p"); n != 6 {
			t.Fatalf("round %d: %d CPUs are taken, not 6", round, n)
		}
		if err := h.Cancel(t.Context(), results[won].Receipts[0].ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAProposalHappensWholeOrNotAtAll(t *testing.T) {
	h := small(t)
	old := h.submit(t, at("f", "p", 0, 0, 4))
	before, _ := h.Snapshot(t.Context())
	w := workload("gang", 2)
	// The second move takes back what stands in the way of the first part only.
	r := h.Propose(t.Context(), Proposal{Moves: []Move{
		{Workload: old.ID, To: schedule.Preempted},
		{New: &w, To: schedule.Reserved, Decision: decided(at("f", "p", 0, 0, 4), at("f", "p", 1, 1, 5))},
	}})[0]
	refused(t, r.Err, schedule.NoCapacityNow)
	after, _ := h.Snapshot(t.Context())
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("a refused proposal changed something:\n%s", diff)
	}
	if n := h.used(t, "p"); n != 4 {
		t.Errorf("%d CPUs are taken", n)
	}
	r = h.Propose(t.Context(), Proposal{Moves: []Move{
		{Workload: old.ID, To: schedule.Preempted},
		{New: &w, To: schedule.Reserved, Decision: decided(at("f", "p", 0, 0, 4), at("f", "p", 1, 1, 4))},
	}})[0]
	if r.Err != nil || len(r.Receipts[1].Grants) != 1 {
		t.Errorf("%+v", r)
	}
	h.expect(t, old.ID, schedule.Queued, schedule.Released)
}

// What is taken back waits for its next start when nothing of it runs any more,
// and not before.
func TestWhatIsTakenBackWaitsUntilItHasStopped(t *testing.T) {
	until := time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		decision *schedule.Decision
		end      func(*hub, Receipt) error
		want     schedule.State
		lease    schedule.LeaseState
	}{
		"released": {nil, func(h *hub, r Receipt) error { return h.Release(t.Context(), r.Grants[0].Token) }, schedule.Queued, schedule.Released},
		"reported": {nil, func(h *hub, r Receipt) error {
			return h.Report(t.Context(), Report{Token: r.Grants[0].Token, To: schedule.Succeeded})[0]
		}, schedule.Queued, schedule.Released},
		"until": {&schedule.Decision{Until: until}, func(h *hub, r Receipt) error { return h.Release(t.Context(), r.Grants[0].Token) }, schedule.Deferred, schedule.Released},
		"lost":  {nil, func(h *hub, _ Receipt) error { return h.Fence(t.Context(), "f") }, schedule.Queued, schedule.Fenced},
		"gone from its engine": {nil, func(h *hub, _ Receipt) error {
			_, err := h.Reconcile(t.Context(), "f", func(uint64) bool { return false })
			return err
		}, schedule.Queued, schedule.Released},
		"gone from its engine, until": {&schedule.Decision{Until: until}, func(h *hub, _ Receipt) error {
			_, err := h.Reconcile(t.Context(), "f", func(uint64) bool { return false })
			return err
		}, schedule.Deferred, schedule.Released},
		"still at its engine": {nil, func(h *hub, r Receipt) error {
			stop, err := h.Reconcile(t.Context(), "f", func(uint64) bool { return true })
			if len(stop) != 1 || stop[0].Token != r.Grants[0].Token {
				t.Errorf("to be stopped: %v", stop)
			}
			return err
		}, schedule.Preempted, schedule.Fenced},
		"cancelled": {nil, func(h *hub, r Receipt) error { return h.Cancel(t.Context(), r.ID) }, schedule.Cancelled, schedule.Fenced},
	} {
		t.Run(name, func(t *testing.T) {
			h := small(t)
			r := h.submit(t, at("f", "p", 0, 0, 4))
			if err := h.Report(t.Context(), Report{Token: r.Grants[0].Token, To: schedule.Running})[0]; err != nil {
				t.Fatal(err)
			}
			why := schedule.Because(schedule.PreemptedBy, "w-9")
			if got := h.Submit(t.Context(), Move{Workload: r.ID, To: schedule.Preempted, Reason: &why, Decision: c.decision})[0]; got.Err != nil {
				t.Fatal(got.Err)
			}
			h.expect(t, r.ID, schedule.Preempted, schedule.Fenced)
			if n := h.used(t, "p"); n != 4 {
				t.Errorf("%d CPUs are taken while it stops, want 4", n)
			}
			if err := c.end(h, r); err != nil {
				t.Fatal(err)
			}
			h.expect(t, r.ID, c.want, c.lease)
			got, err := h.Get(t.Context(), r.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got.TakenBack != 1 || c.want != schedule.Cancelled && (got.Reason == nil || got.Reason.Code != schedule.PreemptedBy) {
				t.Errorf("taken back %d times, because of %v", got.TakenBack, got.Reason)
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	h := small(t)
	gpu := func(milli int64, devices ...uint8) schedule.Assignment {
		a := at("f", "p", 0, 0, 1)
		a.Use[schedule.AcceleratorMilli], a.Devices = milli, devices
		return a
	}
	try := func(parts ...schedule.Assignment) error {
		w := workload("w", len(parts))
		return h.Submit(t.Context(), Move{New: &w, To: schedule.Reserved, Decision: decided(parts...)})[0].Err
	}
	wants(t, try(gpu(500)), ErrInvalid)
	wants(t, try(gpu(0, 1)), ErrInvalid)
	wants(t, try(gpu(2000, 1, 1)), ErrInvalid)
	wants(t, try(gpu(1000, 0, 1)), ErrInvalid)
	wants(t, try(gpu(500, 2)), ErrStale)
	wants(t, try(at("f", "p", 9, 0, 1)), ErrStale)
	wants(t, try(at("f", "p", 0, 0, -1)), ErrInvalid)
	wants(t, try(at("f", "p", 0, 0, 1), at("f", "p", 0, 0, 1)), ErrStale)
	wants(t, try(at("f", "p", 0, 7, 1)), ErrInvalid)
	refused(t, try(at("g", "p", 0, 0, 1)), schedule.NoPool)
	if err := try(gpu(600, 1)); err != nil {
		t.Fatal(err)
	}
	refused(t, try(gpu(600, 1)), schedule.NoCapacityNow)
	if err := try(gpu(600, 0)); err != nil {
		t.Error(err)
	}
	// A gang of two with one place, and a decision on a pool as it was.
	w := workload("w", 2)
	wants(t, h.Submit(t.Context(), Move{New: &w, To: schedule.Reserved, Decision: decided(at("f", "p", 0, 0, 1))})[0].Err, ErrInvalid)
	r := h.Propose(t.Context(), Proposal{Read: []Seen{{Pool: "p", Version: 1}}, Moves: []Move{{New: &w, To: schedule.Queued}}})[0]
	wants(t, r.Err, ErrStale)
	f := facility("f")
	f.State = schedule.Cordoned
	if _, err := h.PutFacility(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	refused(t, try(at("f", "p", 1, 0, 1)), schedule.FacilityNotReady)
	for _, to := range []schedule.State{schedule.Submitted, schedule.Running, schedule.Bound, schedule.Succeeded, "nonsense"} {
		if err := h.Submit(t.Context(), Move{New: &w, To: to})[0].Err; to != schedule.Submitted && !errors.Is(err, ErrState) {
			t.Errorf("submitted as %s: %v", to, err)
		}
	}
}

func TestAFacilityDrawsAtMostItsCap(t *testing.T) {
	h := small(t)
	f := facility("f")
	f.PowerCapW = 200 + 8 // two idle nodes, and two CPUs
	if _, err := h.PutFacility(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	first := h.submit(t, at("f", "p", 0, 0, 2))
	w := workload("w", 1)
	more := Move{New: &w, To: schedule.Reserved, Decision: decided(at("f", "p", 1, 0, 1))}
	refused(t, h.Submit(t.Context(), more)[0].Err, schedule.PowerCap)
	if err := h.Cancel(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if err := h.Submit(t.Context(), more)[0].Err; err != nil {
		t.Error(err)
	}
}

// A pool is declared anew with its nodes in another order, and with less than is
// taken: what is taken stays where it is.
func TestCapacityThatIsReduced(t *testing.T) {
	h := small(t)
	a, b := h.submit(t, at("f", "p", 0, 0, 4)), h.submit(t, at("f", "p", 1, 0, 1))
	less := pool("p", "f", 2)
	less.Nodes[0], less.Nodes[1] = less.Nodes[1], less.Nodes[0]
	less.Nodes[1].CPUMilli = 2000 // n0
	since := h.last.seq
	if _, err := h.PutPool(t.Context(), less); err != nil {
		t.Fatal(err)
	}
	events, _, err := h.Events(t.Context(), since, 10)
	if err != nil || len(events) != 1 || events[0].Reason == nil || events[0].Reason.Code != schedule.CapacityReduced {
		t.Errorf("%v, %v", events, err)
	}
	w := workload("w", 1)
	n1 := at("f", "p", 1, 0, 3)
	n1.Slot = 0
	refused(t, h.Submit(t.Context(), Move{New: &w, To: schedule.Reserved, Decision: decided(at("f", "p", 0, 0, 1))})[0].Err, schedule.NoCapacityNow)
	if r := h.Submit(t.Context(), Move{New: &w, To: schedule.Reserved, Decision: decided(n1)})[0]; r.Err != nil {
		t.Error(r.Err)
	}
	if _, err := h.PutPool(t.Context(), schedule.Pool{ID: "p", Facility: "f", Arch: "amd64", Engine: schedule.EngineAgent}); err != nil {
		t.Fatal(err)
	}
	wants(t, h.RemovePool(t.Context(), "p"), ErrInUse)
	if n := h.used(t, "p"); n != 8 {
		t.Errorf("%d CPUs are taken of a pool without nodes", n)
	}
	for _, id := range []string{a.ID, b.ID} {
		if err := h.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.used(t, "p"); n != 3 {
		t.Errorf("%d CPUs are taken", n)
	}
}

func TestALostFacilityComesBack(t *testing.T) {
	h := small(t)
	h.declare(t, "g", "q", 2)
	stays, moves, ended, unbound := h.submit(t, at("f", "p", 0, 0, 1)), h.submit(t, at("f", "p", 0, 0, 1)), h.submit(t, at("f", "p", 1, 0, 1)), h.submit(t, at("f", "p", 1, 0, 1))
	for _, r := range []Receipt{stays, moves, ended} {
		h.report(t, r.Grants[0].Token, schedule.Bound, schedule.Running)
	}
	if err := h.Fence(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	h.expect(t, unbound.ID, schedule.Queued, schedule.Released)
	h.expect(t, stays.ID, schedule.Queued, schedule.Fenced)
	if n := h.used(t, "p"); n != 3 {
		t.Errorf("%d CPUs are taken of the lost facility", n)
	}
	wants(t, h.Report(t.Context(), Report{Token: moves.Grants[0].Token, To: schedule.Running})[0], ErrFenced)
	again := h.Propose(t.Context(), Proposal{Moves: []Move{{Workload: moves.ID, To: schedule.Reserved, Decision: decided(at("g", "q", 0, 0, 1))}}})[0]
	if again.Err != nil {
		t.Fatal(again.Err)
	}
	if again.Receipts[0].Grants[0].Token <= moves.Grants[0].Token {
		t.Error("the token did not rise")
	}
	stop, err := h.Reconcile(t.Context(), "f", func(token uint64) bool { return token != ended.Grants[0].Token })
	if err != nil || len(stop) != 1 || stop[0].Token != moves.Grants[0].Token {
		t.Fatalf("to be stopped: %v, %v", stop, err)
	}
	h.expect(t, stays.ID, schedule.Running, schedule.Committed)
	h.expect(t, ended.ID, schedule.Queued, schedule.Released)
	h.expect(t, moves.ID, schedule.Reserved, schedule.Fenced, schedule.Held)
	if err := h.Release(t.Context(), moves.Grants[0].Token); err != nil {
		t.Fatal(err)
	}
	if p, q := h.used(t, "p"), h.used(t, "q"); p != 1 || q != 1 {
		t.Errorf("%d and %d CPUs are taken", p, q)
	}
	h.report(t, stays.Grants[0].Token, schedule.Succeeded)
}

// Members without a gang: the rest goes on when one facility is lost, and what
// was lost gets another place.
func TestMembersWithoutAGangLoseOnlyTheirOwnPlace(t *testing.T) {
	h := small(t)
	h.declare(t, "g", "q", 1)
	w := workload("w", 3)
	w.Gang = schedule.GangNone
	r := h.Submit(t.Context(), Move{New: &w, To: schedule.Reserved, Decision: decided(at("f", "p", 0, 0, 1), at("g", "q", 0, 1, 1))})[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	id, f, g := r.Receipts[0].ID, r.Receipts[0].Grants[0].Token, r.Receipts[0].Grants[1].Token
	h.report(t, f, schedule.Bound)
	h.report(t, g, schedule.Running)
	if err := h.Fence(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	h.expect(t, id, schedule.Running, schedule.Committed, schedule.Fenced)
	more := h.Propose(t.Context(), Proposal{Moves: []Move{{Workload: id, To: schedule.Running, Decision: decided(at("f", "p", 1, 1, 1), at("f", "p", 1, 2, 1))}}})[0]
	if more.Err != nil {
		t.Fatal(more.Err)
	}
	h.report(t, f, schedule.Succeeded)
	h.expect(t, id, schedule.Running, schedule.Released, schedule.Fenced, schedule.Held)
	h.report(t, more.Receipts[0].Grants[1].Token, schedule.Running, schedule.Succeeded)
	h.expect(t, id, schedule.Succeeded, schedule.Released, schedule.Fenced, schedule.Released)
	if n := h.used(t, "q"); n != 1 {
		t.Errorf("%d CPUs are taken where the facility is lost", n)
	}
	if _, err := h.Reconcile(t.Context(), "g", func(uint64) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if n := h.used(t, "q"); n != 0 {
		t.Errorf("%d CPUs are taken when it is back", n)
	}
}

func TestTheSamePostTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	h := prepare(t, path).run()
	h.declare(t, "f", "p", 2)
	post := func(key, body string, cpus int64) Result {
		w := workload("w", 1)
		return h.Submit(t.Context(), Move{New: &w, Key: key, Body: sha256.Sum256([]byte(body)), To: schedule.Reserved, Decision: decided(at("f", "p", 0, 0, cpus))})[0]
	}
	// Many at once, in any order: one happens, all get its answer.
	results := make([]Result, 32)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() { results[i] = post("k", "same", 3) })
	}
	all.Wait()
	happened := 0
	same := cmpopts.IgnoreFields(Receipt{}, "Repeated")
	for _, r := range results {
		if r.Err != nil || !cmp.Equal(r.Receipts, results[0].Receipts, same) {
			t.Fatalf("%+v, and %+v", r, results[0])
		}
		if !r.Receipts[0].Repeated {
			happened++
		}
	}
	if happened != 1 {
		t.Errorf("%d of the same posts happened", happened)
	}
	wants(t, post("k", "other", 1).Err, ErrConflict)
	token := results[0].Receipts[0].Grants[0].Token
	h.report(t, token, schedule.Running, schedule.Succeeded) // the answer stays what it was
	h.close(t)
	h = open(t, path)
	if r := post("k", "same", 3); r.Err != nil || !cmp.Equal(r.Receipts, results[0].Receipts, same) {
		t.Errorf("after a restart: %+v, and before %+v", r, results[0])
	}
	wants(t, post("k", "other", 1).Err, ErrConflict)
	q := Reservation{Tenant: "default", Key: "r", Body: [32]byte{1}, Parts: []schedule.Assignment{at("f", "p", 1, 0, 2)}, Expires: time.Now().Add(time.Hour)}
	first, err := h.Reserve(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Release(t.Context(), first.Grants[0].Token); err != nil {
		t.Fatal(err)
	}
	if second, err := h.Reserve(t.Context(), q); err != nil || !cmp.Equal(first, second, same) {
		t.Errorf("%+v, %v; first %+v", second, err, first)
	}
	if n := h.used(t, "p"); n != 0 {
		t.Errorf("%d CPUs are taken", n)
	}
}

func TestKeysHoldSevenDays(t *testing.T) {
	now := newClock()
	h := small(t, func(c *Config, d *Deps) { c.MaxKeys, d.Clock = 2, now.get })
	post := func(key string) Result {
		w := workload("w", 1)
		return h.Submit(t.Context(), Move{New: &w, Key: key, To: schedule.Queued})[0]
	}
	first := post("a")
	post("b")
	wants(t, post("c").Err, ErrFull)
	now.pass(keysLife - time.Second)
	if _, err := h.prune(t.Context(), now.get()); err != nil {
		t.Fatal(err)
	}
	if r := post("a"); r.Err != nil || r.Receipts[0].ID != first.Receipts[0].ID {
		t.Errorf("%+v", r)
	}
	now.pass(2 * time.Second)
	if _, err := h.prune(t.Context(), now.get()); err != nil {
		t.Fatal(err)
	}
	if r := post("a"); r.Err != nil || r.Receipts[0].ID == first.Receipts[0].ID {
		t.Errorf("%+v", r)
	}
}

func TestReservations(t *testing.T) {
	h := small(t)
	q := Reservation{Tenant: "default", Parts: []schedule.Assignment{at("f", "p", 0, 0, 3)}, Expires: time.Now().Add(time.Hour)}
	r, err := h.Reserve(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Reserve(t.Context(), q)
	refused(t, err, schedule.NoCapacityNow)
	token := r.Grants[0].Token
	wants(t, h.Report(t.Context(), Report{Token: token, To: schedule.Running})[0], ErrInvalid)
	if err := h.Renew(t.Context(), token, time.Now().Add(2*time.Hour)); err != nil {
		t.Error(err)
	}
	if err := h.Commit(t.Context(), token, time.Time{}); err != nil {
		t.Error(err)
	}
	h.expect(t, r.ID, "", schedule.Committed)
	for range 2 {
		if err := h.Release(t.Context(), token); err != nil {
			t.Error(err)
		}
	}
	h.expect(t, r.ID, "", schedule.Released)
	wants(t, h.Renew(t.Context(), token, time.Now()), ErrFenced)
	wants(t, h.Release(t.Context(), token+100), ErrFenced)
}

func TestLeasesEndAndAnOutageSparesThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	now := newClock()
	clock := func(_ *Config, d *Deps) { d.Clock = now.get }
	h := prepare(t, path, clock).run()
	h.declare(t, "f", "p", 4)
	reserve := func(node int, life time.Duration) (id string) {
		t.Helper()
		w := workload("w", 1)
		r := h.Submit(t.Context(), Move{New: &w, To: schedule.Reserved, Decision: decided(at("f", "p", node, 0, 1)), Expires: now.get().Add(life)})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r.Receipts[0].ID
	}
	pass := func(d time.Duration) { // second by second, as Run does
		t.Helper()
		for range d / (10 * time.Second) {
			now.pass(10 * time.Second)
			if err := h.Expire(t.Context(), now.get()); err != nil {
				t.Fatal(err)
			}
		}
	}
	short, long := reserve(0, time.Minute), reserve(1, time.Hour)
	pass(50 * time.Second)
	h.expect(t, short, schedule.Reserved, schedule.Held)
	pass(10 * time.Second)
	h.expect(t, short, schedule.Expired, schedule.Released)
	h.expect(t, long, schedule.Reserved, schedule.Held)

	h.close(t)
	now.pass(3 * time.Hour) // the hub is down
	h = open(t, path, clock)
	pass(4*time.Minute + 50*time.Second)
	h.expect(t, long, schedule.Reserved, schedule.Held)
	fresh := reserve(2, time.Minute)
	pass(10 * time.Second)
	h.expect(t, long, schedule.Expired, schedule.Released)
	pass(time.Minute)
	h.expect(t, fresh, schedule.Expired, schedule.Released)

	jumped := reserve(3, time.Minute)
	now.pass(365 * 24 * time.Hour) // the clock jumps, or the machine slept
	pass(10 * time.Second)
	h.expect(t, jumped, schedule.Reserved, schedule.Held)
	now.pass(-2 * 365 * 24 * time.Hour) // and back, beyond where it was
	pass(20 * time.Second)
	h.expect(t, jumped, schedule.Reserved, schedule.Held)
	events, _, err := h.Events(t.Context(), 0, 1000)
	if err != nil || !slices.IsSortedFunc(events, func(a, b schedule.Event) int { return a.At.Compare(b.At) }) {
		t.Errorf("times of events run backwards, or %v", err)
	}
}

func TestRunEndsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, filepath.Join(t.TempDir(), "r.db"), func(c *Config, _ *Deps) { c.Grace = time.Second }).run()
		defer h.close(t)
		h.declare(t, "f", "p", 1)
		r, err := h.Reserve(t.Context(), Reservation{Tenant: "default", Parts: []schedule.Assignment{at("f", "p", 0, 0, 1)}, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Second)
		h.expect(t, r.ID, "", schedule.Held)
		time.Sleep(3 * time.Second)
		h.expect(t, r.ID, "", schedule.Released)
	})
}

func TestWatchersResumeAndAreToldWhatIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	h := prepare(t, path, func(c *Config, _ *Deps) { c.MaxEvents = 1000 }).run()
	h.declare(t, "f", "p", 1)
	h.submit(t, at("f", "p", 0, 0, 1))
	h.close(t)
	h = open(t, path, func(c *Config, _ *Deps) { c.MaxEvents = 1000 })
	var seen []int64
	go func() {
		w := workload("w", 1)
		for range 700 {
			h.Submit(context.Background(), Move{New: &w, To: schedule.Queued})
		}
	}()
	for since := int64(0); since < 1400; { // it comes again after every seven
		n := 0
		for e, err := range h.Watch(t.Context(), since) {
			if err != nil {
				t.Fatal(err)
			}
			seen, since, n = append(seen, e.Seq), e.Seq, n+1
			if n == 7 || since >= 1400 {
				break
			}
		}
	}
	for i, seq := range seen {
		if seq != int64(i+1) {
			t.Fatalf("event %d came as number %d", seq, i+1)
		}
	}
	if _, err := h.prune(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, since := range []int64{0, 1, 1_000_000} {
		_, _, err := h.Events(t.Context(), since, 10)
		wants(t, err, ErrCompacted)
	}
	s, err := h.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e, more, err := h.Events(t.Context(), s.Seq, 10); err != nil || len(e) != 0 || more == nil {
		t.Errorf("after the snapshot: %v, %v", e, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range h.Watch(ctx, s.Seq) {
		wants(t, err, context.Canceled)
	}
}

func TestListsPageOverWhatLivesAndWhatEnded(t *testing.T) {
	h := small(t)
	var want []string
	for i := range 30 {
		w := workload("w", 1)
		w.Tenant, w.Priority = []string{"a", "b"}[i%2], i%3
		id := h.Submit(t.Context(), Move{New: &w, To: schedule.Queued})[0].Receipts[0].ID
		if i%5 == 0 {
			if err := h.Cancel(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		want = append([]string{id}, want...)
	}
	var got []string
	for before := ""; ; before = got[len(got)-1] {
		page, err := h.List(t.Context(), Filter{}, before, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			got = append(got, r.ID)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	count := func(f Filter) int {
		page, err := h.List(t.Context(), f, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		return len(page)
	}
	if a, b, c := count(Filter{Tenant: "a"}), count(Filter{State: schedule.Cancelled}), count(Filter{Tenant: "b", State: schedule.Queued}); a != 15 || b != 6 || c != 12 {
		t.Errorf("%d of tenant a, %d cancelled, %d of b queued", a, b, c)
	}
	queue, err := h.Waiting(t.Context(), "", 100_000)
	if err != nil || len(queue) != 24 || !slices.IsSortedFunc(queue, func(a, b Record) int { return b.Workload.Priority - a.Workload.Priority }) {
		t.Errorf("%d wait, %v", len(queue), err)
	}
}

func TestTenantsAndQueuesAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	h := prepare(t, path).run()
	v, err := h.PutTenant(t.Context(), schedule.Tenant{ID: "a", Weight: 3, Budget: schedule.Budget{Money: 100}})
	if err != nil || v != 1 {
		t.Fatal(v, err)
	}
	if _, err := h.PutQueue(t.Context(), schedule.Queue{ID: "q", Tenants: []string{"a"}, Weight: 1, Nominal: schedule.Vector{1000}}); err != nil {
		t.Fatal(err)
	}
	_, err = h.PutTenant(t.Context(), schedule.Tenant{ID: "a", Weight: 4, Version: 7})
	wants(t, err, ErrStale)
	_, err = h.PutTenant(t.Context(), schedule.Tenant{ID: "a", Weight: 0})
	wants(t, err, ErrInvalid)
	before, _ := h.Snapshot(t.Context())
	h.close(t)
	h = open(t, path)
	after, _ := h.Snapshot(t.Context())
	if diff := cmp.Diff(before, after); diff != "" || len(after.Tenants) != 1 || len(after.Queues) != 1 {
		t.Errorf("%s%+v", diff, after)
	}
	wants(t, h.RemoveQueue(t.Context(), "other"), ErrUnknown)
	if err := h.RemoveQueue(t.Context(), "q"); err != nil {
		t.Error(err)
	}
}

// A proposal and an outage of many workloads look each of them up once.
func TestManyWorkloadsInOneTransaction(t *testing.T) {
	h := open(t, filepath.Join(t.TempDir(), "r.db"))
	h.declare(t, "f", "p", 200)
	var p Proposal
	for i := range 200 {
		w := workload("w", 1)
		p.Moves = append(p.Moves, Move{New: &w, To: schedule.Reserved, Decision: decided(at("f", "p", i, 0, 4))})
	}
	r := h.Propose(t.Context(), p)[0]
	if r.Err != nil || len(r.Receipts) != 200 {
		t.Fatalf("%d receipts, %v", len(r.Receipts), r.Err)
	}
	for _, a := range r.Receipts {
		h.report(t, a.Grants[0].Token, schedule.Running)
	}
	if err := h.Fence(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	queue, err := h.Waiting(t.Context(), "", 100_000)
	if err != nil || len(queue) != 200 {
		t.Errorf("%d wait, %v", len(queue), err)
	}
	back := Proposal{}
	for _, w := range queue {
		back.Moves = append(back.Moves, Move{Workload: w.ID, Version: w.Version, To: schedule.Deferred}, Move{Workload: w.ID, To: schedule.Cancelled})
	}
	if r := h.Propose(t.Context(), back)[0]; r.Err != nil {
		t.Error(r.Err)
	}
	if _, err := h.Reconcile(t.Context(), "f", func(uint64) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if n := h.used(t, "p"); n != 0 {
		t.Errorf("%d CPUs are taken", n)
	}
}
