package drive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/scheduletest"
)

// world is a ledger, a driver, and facilities in memory, under a clock that
// jumps when everybody waits.
type world struct {
	*Driver
	t      *testing.T
	ledger *ledger.Ledger
	rooms  map[string]*scheduletest.Memory
	begun  time.Time
}

// deaf is an engine that never answers who asks it to start.
type deaf struct{ *scheduletest.Memory }

func (deaf) Start(ctx context.Context, _ facility.Work) error {
	<-ctx.Done()
	return ctx.Err()
}

// unable is an engine that can begin nothing.
type unable struct{ *scheduletest.Memory }

func (u unable) Watch(ctx context.Context, report func(facility.Report)) error {
	return u.Memory.Watch(ctx, func(r facility.Report) {
		if r.State == facility.Running {
			r.State, r.ExitCode, r.NotBegun, r.Message = facility.Failed, 1, true, "ErrImagePull of gone"
		}
		report(r)
	})
}

const dark, patience = 5 * time.Minute, 10 * time.Minute

// run makes a world of facilities with one node of four CPUs each.
func run(t *testing.T, ids []string, test func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		db, err := records.Open(t.Context(), filepath.Join(t.TempDir(), "r.db"))
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, rooms: map[string]*scheduletest.Memory{}, begun: time.Now()}
		for _, id := range ids {
			w.rooms[id] = scheduletest.NewMemory(scheduletest.Faults{})
		}
		w.Driver = New(Deps{
			Ledger: func() *ledger.Ledger { return w.ledger }, Dark: dark, Patience: patience, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
			Engines: func(id string, _ schedule.Engine) facility.Engine {
				switch m := w.rooms[id]; {
				case m == nil:
					return nil
				case id == "deaf":
					return deaf{m}
				case id == "unable":
					return unable{m}
				default:
					return m
				}
			},
		})
		w.ledger, err = ledger.Open(t.Context(), ledger.DefaultConfig(), ledger.Deps{Records: db, Log: slog.New(slog.DiscardHandler), Clock: time.Now, Metrics: prometheus.NewRegistry(), Applied: w.Follow})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		var all sync.WaitGroup
		for _, one := range []func(context.Context) error{w.ledger.Run, w.Run} {
			all.Go(func() {
				if err := one(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		defer func() {
			stop()
			all.Wait()
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}()
		for _, id := range ids {
			w.declare(id, schedule.Ready)
		}
		test(w)
	})
}

func (w *world) declare(id string, state schedule.FacilityState) {
	w.t.Helper()
	if _, err := w.ledger.PutFacility(w.t.Context(), schedule.Facility{ID: id, Region: "220100", SecurityGrade: 2, PUE: schedule.PUE{Constant: 1.2}, State: state}); err != nil {
		w.t.Fatal(err)
	}
	p := schedule.Pool{ID: id + "-cpu", Facility: id, Arch: "amd64", Engine: schedule.EngineAgent, Nodes: []schedule.Node{{ID: "n", CPUMilli: 4000, MemoryMiB: 4000}}}
	if _, err := w.ledger.PutPool(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
}

// submit promises one CPU in each of the facilities to a workload that runs
// until it is released.
func (w *world) submit(name string, gang schedule.Gang, at ...string) string {
	w.t.Helper()
	x := schedule.Workload{Tenant: "default", Name: name, Gang: gang, Shape: schedule.AnyShape, Payload: scheduletest.Script{Mark: name, Hold: true}.JSON(),
		Tasks: []schedule.Task{{Name: "main", Min: len(at), Max: len(at), Use: schedule.Vector{schedule.CPUMilli: 1000}, P50: time.Hour, P95: time.Hour}}}
	d := &schedule.Decision{}
	for i, id := range at {
		d.Assignments = append(d.Assignments, schedule.Assignment{Task: "main", Index: i, Facility: id, Pool: id + "-cpu", Node: "n", Use: schedule.Vector{schedule.CPUMilli: 1000}})
	}
	r := w.ledger.Submit(w.t.Context(), ledger.Move{New: &x, To: schedule.Reserved, Decision: d, Expires: time.Now().Add(time.Hour)})[0]
	if r.Err != nil {
		w.t.Fatal(r.Err)
	}
	return r.Receipts[0].ID
}

// pass lets time go by, and everybody do what is due then.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) record(id string) ledger.Record {
	w.t.Helper()
	r, err := w.ledger.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) is(id string, want schedule.State) {
	w.t.Helper()
	if got := w.record(id); got.State != want {
		w.t.Errorf("after %v %s is %s (%v), want %s", time.Since(w.begun), id, got.State, got.Reason, want)
	}
}

func (w *world) stands(id string, want schedule.FacilityState) {
	w.t.Helper()
	all, err := w.ledger.Inventory(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range all.Facilities {
		if f.ID == id && f.State != want {
			w.t.Errorf("after %v %s is %s, want %s", time.Since(w.begun), id, f.State, want)
		}
	}
}

func TestAFacilityIsLostWhenItWasDarkForSoLongAndNotBefore(t *testing.T) {
	run(t, []string{"a"}, func(w *world) {
		id := w.submit("w", schedule.GangNone, "a")
		w.pass(time.Second)
		w.is(id, schedule.Running)
		w.rooms["a"].Cut()
		w.pass(dark - 2*time.Second)
		w.stands("a", schedule.Ready)
		w.is(id, schedule.Running)
		w.pass(4 * time.Second)
		w.stands("a", schedule.Lost)
		w.is(id, schedule.Queued)
		w.rooms["a"].Mend()
		w.pass(2 * time.Minute)
		w.stands("a", schedule.Ready)
		w.is(id, schedule.Running)
		if n := w.rooms["a"].Began("w"); n != 1 {
			t.Errorf("it began %d times", n)
		}
	})
}

func TestALookAwayIsNoLoss(t *testing.T) {
	run(t, []string{"a"}, func(w *world) {
		id := w.submit("w", schedule.GangNone, "a")
		w.pass(time.Second)
		for range 5 { // together longer than dark
			w.rooms["a"].Cut()
			w.pass(dark / 2)
			w.rooms["a"].Mend()
			w.pass(2 * time.Minute) // the pauses between looks grow to one
			w.stands("a", schedule.Ready)
			w.is(id, schedule.Running)
		}
	})
}

func TestAFacilityComesBackAsItWas(t *testing.T) {
	run(t, []string{"a"}, func(w *world) {
		w.declare("a", schedule.Cordoned)
		w.pass(time.Second)
		w.rooms["a"].Cut()
		w.pass(dark + time.Minute)
		w.stands("a", schedule.Lost)
		w.rooms["a"].Mend()
		w.pass(2 * time.Minute)
		w.stands("a", schedule.Cordoned)
	})
}

func TestWhatCannotBeginSaysWhy(t *testing.T) {
	run(t, []string{"unable"}, func(w *world) {
		id := w.submit("w", schedule.GangNone, "unable")
		w.pass(time.Minute)
		w.is(id, schedule.Failed)
		if r := w.record(id).Reason; r == nil || r.Code != schedule.NotBegun || r.Text().EN != "the engine could not begin it: ErrImagePull of gone" {
			t.Errorf("reason %v", r)
		}
	})
}

func TestAnEngineThatFailsForTooLongIsGivenUp(t *testing.T) {
	run(t, []string{"a"}, func(w *world) {
		w.rooms["a"].Refuse(errors.New("it is busy"))
		id := w.submit("w", schedule.GangNone, "a")
		w.pass(patience - time.Minute)
		w.is(id, schedule.Bound)
		for range 10 { // the pause before the next try is up to minutes long
			if w.pass(time.Minute); w.record(id).State == schedule.Queued {
				break
			}
		}
		w.is(id, schedule.Queued)
		if r := w.record(id).Reason; r == nil || r.Code != schedule.EngineRefused {
			t.Errorf("reason %v", r)
		}
	})
}

// TestPatienceBeginsAnewWithEachStep: a gang that waited long for its last part
// is not given up because the first request to begin it fails.
func TestPatienceBeginsAnewWithEachStep(t *testing.T) {
	run(t, []string{"a", "b"}, func(w *world) {
		w.rooms["b"].Refuse(errors.New("it is busy"))
		id := w.submit("w", schedule.GangAll, "a", "b")
		w.pass(patience - 2*time.Minute)
		w.is(id, schedule.Bound)
		w.rooms["a"].Refuse(errors.New("it is busy"))
		w.rooms["b"].Refuse(nil)
		w.pass(patience - 2*time.Minute)
		w.is(id, schedule.Running) // b has begun; a has it, and will
		w.rooms["a"].Refuse(nil)
		w.pass(2 * time.Minute)
		if a, b := w.rooms["a"].Alive("w"), w.rooms["b"].Alive("w"); a != 1 || b != 1 {
			t.Errorf("%d and %d members run", a, b)
		}
	})
}

func TestAWorkloadThatIsRefusedEverywhereWaitsLongerEachTime(t *testing.T) {
	run(t, []string{"a"}, func(w *world) {
		w.rooms["a"].Refuse(fmt.Errorf("no: %w", facility.ErrRefused))
		id := w.submit("w", schedule.GangNone, "a")
		var took []time.Duration
		for range 4 {
			began := time.Now()
			for w.record(id).State != schedule.Queued {
				w.pass(100 * time.Millisecond)
			}
			took = append(took, time.Since(began))
			d := &schedule.Decision{Assignments: []schedule.Assignment{{Task: "main", Facility: "a", Pool: "a-cpu", Node: "n", Use: schedule.Vector{schedule.CPUMilli: 1000}}}}
			if r := w.ledger.Submit(w.t.Context(), ledger.Move{Workload: id, To: schedule.Reserved, Decision: d, Expires: time.Now().Add(time.Hour)})[0]; r.Err != nil {
				w.t.Fatal(r.Err)
			}
		}
		if took[0] > time.Second || took[3] <= took[1] || took[3] > 2*time.Minute {
			t.Errorf("it waited %v", took)
		}
	})
}

func TestAFacilityThatIsNotDeclaredAnyMoreIsNotWatched(t *testing.T) {
	run(t, []string{"a", "b"}, func(w *world) {
		w.pass(time.Second)
		if err := w.ledger.RemovePool(w.t.Context(), "a-cpu"); err != nil {
			w.t.Fatal(err)
		}
		if err := w.ledger.RemoveFacility(w.t.Context(), "a"); err != nil {
			w.t.Fatal(err)
		}
		w.rooms["a"].Cut()
		w.pass(time.Hour)
		w.mu.Lock()
		if w.sites["a"] != nil || len(w.facilities) != 1 || len(w.kinds) != 1 {
			t.Errorf("it knows of sites %v, facilities %v and pools %v still", w.sites, w.facilities, w.kinds)
		}
		w.mu.Unlock()
		w.rooms["a"].Mend()
		w.declare("a", schedule.Ready) // and anew
		id := w.submit("w", schedule.GangNone, "a")
		w.pass(time.Second)
		w.is(id, schedule.Running)
	})
}

// TestWhatWasAskedIsCountedByHowItEnded: a hub that ends is no engine that
// failed.
func TestWhatWasAskedIsCountedByHowItEnded(t *testing.T) {
	var calls *prometheus.CounterVec
	run(t, []string{"a", "b", "c", "deaf"}, func(w *world) {
		calls = w.calls
		w.submit("unheard", schedule.GangNone, "deaf")
		w.submit("one", schedule.GangNone, "a")
		w.submit("gang", schedule.GangAll, "a", "b")
		w.rooms["c"].Refuse(fmt.Errorf("no: %w", facility.ErrRefused))
		w.submit("no", schedule.GangNone, "c")
		w.pass(patient / 2)
	})
	for labels, want := range map[[2]string]float64{{"start", "done"}: 3, {"hold", "done"}: 2, {"start", "refused"}: 1, {"stop", "done"}: 1, {"start", "failed"}: 0, {"hold", "failed"}: 0} {
		if got := testutil.ToFloat64(calls.WithLabelValues(labels[0], labels[1])); got != want {
			t.Errorf("%v: %v, want %v", labels, got, want)
		}
	}
}

// TestAClockThatJumpsLosesNothing: the machine sleeps for a day, and everything
// is there afterwards.
func TestAClockThatJumpsLosesNothing(t *testing.T) {
	run(t, []string{"a", "b"}, func(w *world) {
		alone, gang := w.submit("alone", schedule.GangNone, "a"), w.submit("gang", schedule.GangAll, "a", "b")
		w.pass(time.Second)
		w.pass(24 * time.Hour)
		for _, id := range []string{alone, gang} {
			w.is(id, schedule.Running)
		}
		for _, m := range w.rooms {
			m.Release("alone")
			m.Release("gang")
		}
		w.pass(time.Second)
		for _, id := range []string{alone, gang} {
			w.is(id, schedule.Succeeded)
		}
	})
}
