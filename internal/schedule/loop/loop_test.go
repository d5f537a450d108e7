package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/drive"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/signal"
	"github.com/songhua-io/hub/internal/telemetry"
)

// running is a scheduler that runs on a database, as the hub has it.
type running struct {
	*Scheduler
	t     testing.TB
	db    *records.DB
	stop  context.CancelFunc
	ended chan error

	mu  sync.Mutex
	now time.Time
}

// patience is how long anything may take on a machine that does much else.
const patience = 2 * time.Minute

var noon = time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)

func (r *running) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *running) advance(d time.Duration) {
	r.mu.Lock()
	r.now = r.now.Add(d)
	r.mu.Unlock()
	r.nudge()
}

func open(t testing.TB, path string, alter ...func(*Config)) *running {
	t.Helper()
	return openWith(t, path, nil, alter...)
}

func openWith(t testing.TB, path string, engines drive.Engines, alter ...func(*Config)) *running {
	t.Helper()
	db, err := records.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	for _, f := range alter {
		f(&cfg)
	}
	r := &running{t: t, db: db, ended: make(chan error, 1), now: noon}
	r.Scheduler, err = Open(t.Context(), cfg, Deps{Records: db, Log: slog.New(slog.DiscardHandler), Clock: r.clock, Metrics: prometheus.NewRegistry(), Engines: engines})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.ended <- r.Run(ctx) }()
	t.Cleanup(r.close)
	return r
}

func (r *running) close() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
	if err := r.db.Close(); err != nil {
		r.t.Error(err)
	}
}

// declare makes a facility with one pool of nodes with 10 CPUs each.
func (r *running) declare(id string, nodes int, engine ...schedule.Engine) {
	r.t.Helper()
	engine = append(engine, schedule.EngineNone)
	f := schedule.Facility{ID: id, Region: "220100", SecurityGrade: 2, MaxDataGrade: telemetry.General, GridZone: id, PUE: schedule.PUE{Constant: 1.2}, State: schedule.Ready}
	if _, err := r.PutFacility(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
	p := schedule.Pool{ID: id + "-cpu", Facility: id, Arch: "amd64", Engine: engine[0], Classes: []schedule.Class{{Count: nodes, Node: schedule.Node{CPUMilli: 10_000, MemoryMiB: 64_000}}}}
	if _, err := r.PutPool(r.t.Context(), p); err != nil {
		r.t.Fatal(err)
	}
}

func work(name string, cpus int64, alter ...func(*schedule.Workload)) *schedule.Workload {
	w := &schedule.Workload{Tenant: "default", Name: name, Gang: schedule.GangNone, Shape: schedule.AnyShape, Objective: schedule.Cheapest,
		Tasks: []schedule.Task{{Name: "main", Min: 1, Max: 1, Use: schedule.Vector{schedule.CPUMilli: cpus * 1000}, P50: time.Hour, P95: time.Hour}}}
	for _, f := range alter {
		f(w)
	}
	return w
}

func (r *running) submit(w *schedule.Workload) Answer {
	r.t.Helper()
	a := r.Submit(r.t.Context(), Submission{Workload: w})[0]
	if a.Err != nil {
		r.t.Fatal(a.Err)
	}
	return a
}

// reaches waits until a workload is in a state.
func (r *running) reaches(id string, want schedule.State) ledger.Record {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got, err := r.Get(r.t.Context(), id)
		if err != nil {
			r.t.Fatal(err)
		}
		if got.State == want {
			return got
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s is %s, want %s", id, got.State, want)
		}
		r.nudge()
		time.Sleep(time.Millisecond)
	}
}

// ends reports the end of a workload that runs.
func (r *running) finish(a Answer) {
	r.t.Helper()
	var reports []ledger.Report
	for _, g := range a.Grants {
		reports = append(reports, ledger.Report{Token: g.Token, To: schedule.Running}, ledger.Report{Token: g.Token, To: schedule.Succeeded})
	}
	if err := errors.Join(r.Report(r.t.Context(), reports...)...); err != nil {
		r.t.Fatal(err)
	}
}

func file(t testing.TB) string { return filepath.Join(t.TempDir(), "records.db") }

func TestWhatWaitsBeginsWhenCapacityIsFree(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 1)
	first := r.submit(work("first", 8))
	second := r.submit(work("second", 8))
	if first.State != schedule.Reserved || second.State != schedule.Queued || second.Decision.Reasons[0].Code != schedule.NoCapacityNow {
		t.Fatalf("%s, %s because %v", first.State, second.State, second.Decision.Reasons)
	}
	if turn, ok := r.Turn(second.ID); !ok || turn.Rank != 0 {
		t.Errorf("it stands at %v %v", turn, ok)
	}
	r.finish(first)
	r.reaches(first.ID, schedule.Succeeded)
	r.reaches(second.ID, schedule.Reserved)
}

func TestARepeatedSubmissionTakesNothing(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 1)
	one := Submission{Workload: work("once", 4), Key: "k"}
	first := r.Submit(t.Context(), one)[0]
	again := r.Submit(t.Context(), one)[0]
	if first.Err != nil || again.Err != nil || again.ID != first.ID || !again.Repeated || again.Decision != nil {
		t.Fatalf("%+v and %+v", first, again)
	}
	if a := r.submit(work("other", 6)); a.State != schedule.Reserved {
		t.Errorf("the repetition has taken capacity: %v", a.Decision.Reasons)
	}
	one.Body[0] = 1
	if a := r.Submit(t.Context(), one)[0]; !errors.Is(a.Err, ledger.ErrConflict) {
		t.Errorf("another body under the same key: %v", a.Err)
	}
	if a := r.submit(work("rest", 1)); a.State != schedule.Queued {
		t.Errorf("10 of 10 CPUs are taken, and another has a place: %s", a.State)
	}
}

func TestPromisesOutliveTheHub(t *testing.T) {
	path := file(t)
	r := open(t, path)
	r.declare("a", 1)
	first, second := r.submit(work("first", 8)), r.submit(work("second", 8))
	later := r.submit(work("later", 1, func(w *schedule.Workload) { w.Window.Earliest = noon.Add(time.Hour) }))
	if later.State != schedule.Deferred {
		t.Fatal(later.State)
	}
	if _, err := r.PutSignal(t.Context(), carbon("a", noon, 1, 2)); err != nil {
		t.Fatal(err)
	}
	r.close()

	r = open(t, path)
	if a := r.submit(work("third", 8)); a.State != schedule.Queued {
		t.Errorf("what was promised is promised again: %s", a.State)
	}
	if r.Signals().Of(signal.Carbon, "a") == nil {
		t.Error("the forecast is forgotten")
	}
	r.finish(first)
	r.reaches(second.ID, schedule.Reserved)
	r.advance(61 * time.Minute)
	r.reaches(later.ID, schedule.Reserved)
}

func carbon(zone string, from time.Time, values ...float64) *signal.Series {
	s := &signal.Series{Kind: signal.Carbon, Zone: zone, Issued: from}
	for i, v := range values {
		at := from.Add(time.Duration(i) * time.Hour)
		s.Steps = append(s.Steps, signal.Step{Start: at, End: at.Add(time.Hour), Value: v, Low: v, High: v})
	}
	return s
}

// TestALargeGangIsNotStarved keeps capacity for who has waited longer than the
// patience, and lets pass what ends before it can begin.
func TestALargeGangIsNotStarved(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 2)
	var small []Answer
	for i := range 2 {
		small = append(small, r.submit(work(fmt.Sprint("small", i), 6, func(w *schedule.Workload) { w.Tasks[0].P50, w.Tasks[0].P95 = 2*time.Hour, 2*time.Hour })))
	}
	gang := r.submit(work("gang", 10, func(w *schedule.Workload) { w.Gang = schedule.GangAll; w.Tasks[0].Min, w.Tasks[0].Max = 2, 2 }))
	if gang.State != schedule.Queued {
		t.Fatal(gang.State)
	}
	if a := r.submit(work("before its patience ends", 1)); a.State != schedule.Reserved {
		t.Fatalf("%s: %v", a.State, a.Decision.Reasons)
	}
	r.advance(11 * time.Minute)
	deadline := time.Now().Add(patience)
	for { // the next pass keeps capacity for the gang
		r.Scheduler.mu.Lock()
		r.changed()
		held := slices.Clone(r.held)
		r.Scheduler.mu.Unlock()
		if len(held) > 0 {
			if held[0].id != gang.ID || !held[0].from.Equal(noon.Add(2*time.Hour)) {
				t.Fatalf("kept for %s from %s", held[0].id, held[0].from)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is kept for the gang")
		}
		time.Sleep(time.Millisecond)
	}
	long := r.submit(work("would delay it", 1, func(w *schedule.Workload) { w.Tasks[0].P50, w.Tasks[0].P95 = 3*time.Hour, 3*time.Hour }))
	if long.State != schedule.Queued {
		t.Fatalf("%s: %v", long.State, long.Decision.Reasons)
	}
	short := r.submit(work("ends before", 1))
	r.reaches(short.ID, schedule.Reserved)
	// It is older than the short one, and was tried before it.
	if got, _ := r.Get(t.Context(), long.ID); got.State != schedule.Queued {
		t.Fatalf("what would delay the gang is %s", got.State)
	}
	for _, a := range small {
		r.finish(a)
	}
	if got, _ := r.Get(t.Context(), gang.ID); got.State == schedule.Reserved {
		t.Fatal("the gang has begun beside what runs")
	}
}

func TestAQueueUsesNoMoreThanItMay(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 2)
	q := schedule.Queue{ID: "research", Tenants: []string{"default"}, Weight: 1, Nominal: schedule.Vector{schedule.CPUMilli: 8000}}
	if _, err := r.PutQueue(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	first := r.submit(work("first", 6))
	second := r.submit(work("second", 6))
	if second.State != schedule.Queued || second.Decision.Reasons[0].Code != schedule.QuotaExceeded {
		t.Fatalf("%s: %v", second.State, second.Decision.Reasons)
	}
	other := r.submit(work("of another", 6, func(w *schedule.Workload) { w.Tenant = "other" }))
	if other.State != schedule.Reserved {
		t.Errorf("%s: %v", other.State, other.Decision.Reasons)
	}
	r.finish(first)
	r.reaches(second.ID, schedule.Reserved)
}

// TestTheTenantWithLessComesFirst serves by dominant share.
func TestTheTenantWithLessComesFirst(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 1)
	full := r.submit(work("full", 10))
	rich1 := r.submit(work("rich1", 5, func(w *schedule.Workload) { w.Tenant = "rich" }))
	rich2 := r.submit(work("rich2", 5, func(w *schedule.Workload) { w.Tenant = "rich" }))
	poor := r.submit(work("poor", 5, func(w *schedule.Workload) { w.Tenant = "poor" }))
	r.finish(full)
	r.reaches(rich1.ID, schedule.Reserved)
	r.reaches(poor.ID, schedule.Reserved)
	if got, _ := r.Get(t.Context(), rich2.ID); got.State != schedule.Queued {
		t.Errorf("rich2 is %s", got.State)
	}
}

func TestAReservationIsPromisedOrRefusedWithReasons(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 1)
	got, _, err := r.Reserve(t.Context(), Reservation{Wanted: work("", 6), TTL: time.Minute, Key: "k"})
	if err != nil || len(got.Grants) != 1 {
		t.Fatal(got, err)
	}
	again, _, err := r.Reserve(t.Context(), Reservation{Wanted: work("", 6), TTL: time.Minute, Key: "k"})
	if err != nil || again.Grants == nil || again.Grants[0].Token != got.Grants[0].Token {
		t.Fatalf("the same key: %+v, %v", again, err)
	}
	refused, why, err := r.Reserve(t.Context(), Reservation{Wanted: work("", 6), TTL: time.Minute})
	if err != nil || len(refused.Grants) != 0 || len(why.Refused) != 1 || why.Refused[0].Reason.Code != schedule.NoCapacityNow {
		t.Fatalf("%+v, %+v, %v", refused, why, err)
	}
	if err := r.Release(t.Context(), got.Grants[0].Token); err != nil {
		t.Fatal(err)
	}
	if a := r.submit(work("all", 10)); a.State != schedule.Reserved {
		t.Errorf("what was released is not free: %s", a.State)
	}
}

func TestALostFacilitysWorkBeginsElsewhere(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 1)
	first := r.submit(work("first", 8))
	if err := errors.Join(r.Report(t.Context(), ledger.Report{Token: first.Grants[0].Token, To: schedule.Running})...); err != nil {
		t.Fatal(err)
	}
	r.declare("b", 1)
	lost := schedule.Facility{ID: "a", Region: "220100", SecurityGrade: 2, MaxDataGrade: telemetry.General, PUE: schedule.PUE{Constant: 1.2}, State: schedule.Lost}
	if _, err := r.PutFacility(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	got := r.reaches(first.ID, schedule.Reserved)
	if i := slices.IndexFunc(got.Leases, func(l schedule.Lease) bool { return l.State.Live() }); i < 0 || got.Leases[i].Facility != "b" || got.Leases[i].Token <= first.Grants[0].Token {
		t.Errorf("%+v", got.Leases)
	}
	if errs := r.Report(t.Context(), ledger.Report{Token: first.Grants[0].Token, To: schedule.Running}); !errors.Is(errs[0], ledger.ErrFenced) {
		t.Errorf("the old token still counts: %v", errs)
	}
}

// TestNothingIsPromisedTwice submits and ends from many callers, and finds in
// the end that the cluster is as the ledger says.
func TestNothingIsPromisedTwice(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 4)
	r.declare("b", 4)
	var all sync.WaitGroup
	for c := range 8 {
		all.Go(func() {
			for i := range 100 {
				a := r.Submit(t.Context(), Submission{Workload: work(fmt.Sprint(c, "-", i), int64(1+(c+i)%7)), Key: fmt.Sprint(c, "-", i/2)})[0]
				if a.Err == nil && a.State == schedule.Reserved && !a.Repeated {
					r.Report(t.Context(), ledger.Report{Token: a.Grants[0].Token, To: schedule.Running}, ledger.Report{Token: a.Grants[0].Token, To: schedule.Succeeded})
				} else if a.Err == nil && i%3 == 0 {
					_ = r.Cancel(t.Context(), a.ID) // it may have ended
				}
			}
		})
	}
	all.Wait()
	// What still waits may be given a place between two looks.
	r.until("that the planner has leased what the ledger has", func() bool {
		uses, err := r.ledger.Uses(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, k := range r.Capacities() {
			if k.Leased != uses[i].Used {
				t.Logf("%s: the planner has %v leased, the ledger %v", k.Pool, k.Leased, uses[i].Used)
				return false
			}
		}
		return true
	})
}
