package loop

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/scheduletest"
)

func priority(n int) func(*schedule.Workload) {
	return func(w *schedule.Workload) { w.Priority = n }
}

func tenant(name string) func(*schedule.Workload) {
	return func(w *schedule.Workload) { w.Tenant = name }
}

func hours(n int) func(*schedule.Workload) {
	return func(w *schedule.Workload) {
		w.Tasks[0].P50, w.Tasks[0].P95 = time.Duration(n)*time.Hour, time.Duration(n)*time.Hour
	}
}

// holds is work that runs until its mark, which is its name, is released.
func holds(name string, cpus int64, alter ...func(*schedule.Workload)) *schedule.Workload {
	return work(name, cpus, append([]func(*schedule.Workload){script(scheduletest.Script{Mark: name, Hold: true}), hours(8)}, alter...)...)
}

func TestAVictimStopsBeforeItsPlaceIsTaken(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	one := &alone{Memory: m, t: t, mark: "victim", all: []*scheduletest.Memory{m}}
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": one}))
	r.declare("here", 1, schedule.EngineAgent)
	victim := r.submit(holds("victim", 10, priority(10)))
	r.reaches(victim.ID, schedule.Running)
	urgent := r.submit(holds("urgent", 10, priority(50)))
	equal := r.submit(holds("equal", 10, priority(10)))
	if urgent.State != schedule.Queued || m.Alive("victim") != 1 {
		t.Fatal("it gives way before anybody has waited")
	}
	r.advance(31 * time.Second)
	got := r.reaches(urgent.ID, schedule.Running)
	if len(got.Decision.Preempts) != 1 || got.Decision.Preempts[0].Workload != victim.ID {
		t.Errorf("the decision says that %v gave way", got.Decision.Preempts)
	}
	if s := got.Decision.Scores; s[len(s)-1].Scorer != "disruption" || s[len(s)-1].Cost != got.Decision.Preempts[0].Cost {
		t.Errorf("scores %v", s)
	}
	back := r.reaches(victim.ID, schedule.Queued)
	if back.Reason == nil || back.Reason.Code != schedule.PreemptedBy || back.Reason.Args[0] != urgent.ID || back.TakenBack != 1 {
		t.Errorf("it gave way %d times because of %v", back.TakenBack, back.Reason)
	}
	if n := testutil.ToFloat64(r.metrics.preemptions.WithLabelValues(byPriority)); n != 1 {
		t.Errorf("%v gave way by the metric", n)
	}
	// It has its old place: before the one of its priority that came later.
	m.Release("urgent")
	r.reaches(victim.ID, schedule.Running)
	if got, _ := r.Get(t.Context(), equal.ID); got.State != schedule.Queued {
		t.Errorf("what came later is %s", got.State)
	}
}

func TestWhatEndsSoonIsWaitedFor(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}))
	r.declare("here", 1, schedule.EngineAgent)
	ends := r.submit(holds("ends", 10, priority(10), hours(1)))
	r.reaches(ends.ID, schedule.Running)
	r.advance(58 * time.Minute)
	urgent := r.submit(holds("urgent", 10, priority(50)))
	r.advance(31 * time.Second)
	r.until("the hold", func() bool {
		r.Scheduler.mu.Lock()
		defer r.Scheduler.mu.Unlock()
		h := r.roomFor(urgent.ID)
		return h != nil && h.from.Equal(noon.Add(time.Hour)) && len(h.victims) == 0
	})
	m.Release("ends")
	r.reaches(ends.ID, schedule.Succeeded)
	r.reaches(urgent.ID, schedule.Running)
}

// What is kept for whom others give way nobody takes, but for a higher priority.
func TestNobodySlipsInWhileAVictimStops(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	let := make(chan struct{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": &slow{m, let}}))
	r.declare("here", 1, schedule.EngineAgent)
	victim := r.submit(holds("victim", 6, priority(10)))
	r.reaches(victim.ID, schedule.Running)
	urgent := r.submit(holds("urgent", 8, priority(50)))
	r.advance(31 * time.Second)
	r.reaches(victim.ID, schedule.Preempted)
	if _, d, err := r.Explain(t.Context(), urgent.ID); err != nil || d.Reasons[0].Code != schedule.WaitsForVictims {
		t.Errorf("it waits because of %v (%v)", d.Reasons, err)
	}
	late := r.submit(holds("late", 3, priority(50)))
	if late.State != schedule.Queued {
		t.Errorf("what came later is %s beside a victim that stops", late.State)
	}
	higher := r.submit(holds("higher", 1, priority(60)))
	if higher.State != schedule.Reserved {
		t.Errorf("a higher priority is %s", higher.State)
	}
	close(let)
	r.reaches(urgent.ID, schedule.Running)
}

func TestAnEngineThatDoesNotStopItsWorkLeadsToAnotherChoice(t *testing.T) {
	near, far := scheduletest.NewMemory(scheduletest.Faults{}), scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"near": &slow{near, make(chan struct{})}, "far": far}))
	r.declare("near", 1, schedule.EngineAgent)
	first := r.submit(holds("first", 10, priority(10)))
	r.reaches(first.ID, schedule.Running)
	r.declare("far", 1, schedule.EngineAgent)
	second := r.submit(holds("second", 10, priority(11)))
	r.reaches(second.ID, schedule.Running)
	urgent := r.submit(holds("urgent", 10, priority(50)))
	r.advance(31 * time.Second)
	r.reaches(first.ID, schedule.Preempted)
	r.advance(4 * time.Minute)
	if got, _ := r.Get(t.Context(), second.ID); got.State != schedule.Running {
		t.Fatalf("the second is %s while the first stops", got.State)
	}
	is := func(a Answer) schedule.State {
		got, err := r.Get(t.Context(), a.ID)
		if err != nil {
			t.Fatal(err)
		}
		return got.State
	}
	r.until("another choice", func() bool {
		if is(urgent) == schedule.Queued && is(second) == schedule.Running { // a promise must not expire while it is kept
			r.advance(time.Minute)
		}
		return far.Alive("urgent") == 1
	})
	r.reaches(urgent.ID, schedule.Running)
	if got, _ := r.Get(t.Context(), first.ID); got.State != schedule.Preempted {
		t.Errorf("the first is %s, and its engine has not stopped it", got.State)
	}
}

func TestACrashInTheMiddleOfAPreemption(t *testing.T) {
	m, path := scheduletest.NewMemory(scheduletest.Faults{}), file(t)
	r := openWith(t, path, agents(map[string]facility.Engine{"here": &slow{m, make(chan struct{})}}))
	r.declare("here", 1, schedule.EngineAgent)
	victim := r.submit(holds("victim", 10, priority(10)))
	r.reaches(victim.ID, schedule.Running)
	urgent := r.submit(holds("urgent", 10, priority(50)))
	r.advance(31 * time.Second)
	r.reaches(victim.ID, schedule.Preempted)
	r.close()

	one := &alone{Memory: m, t: t, mark: "victim", all: []*scheduletest.Memory{m}}
	r = openWith(t, path, agents(map[string]facility.Engine{"here": one}))
	r.reaches(urgent.ID, schedule.Running)
	r.reaches(victim.ID, schedule.Queued)
	m.Release("urgent")
	r.reaches(victim.ID, schedule.Running)
	m.Release("victim")
	r.reaches(victim.ID, schedule.Succeeded)
	r.free()
	if m.Began("victim") != 2 || m.Began("urgent") != 1 {
		t.Errorf("%d and %d runs, want 2 and 1", m.Began("victim"), m.Began("urgent"))
	}
}

func TestAQueueTakesBackWhatItHasAClaimTo(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}))
	r.declare("here", 4, schedule.EngineAgent)
	for _, id := range []string{"lab", "shop"} {
		q := schedule.Queue{ID: id, Tenants: []string{id}, Weight: 1, Nominal: schedule.Vector{schedule.CPUMilli: 20_000}, Borrow: schedule.Vector{-1, -1, -1, -1, -1}}
		if _, err := r.PutQueue(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	var lab []Answer
	for i := range 4 {
		a := r.submit(holds(fmt.Sprint("lab", i), 10, tenant("lab"), priority(90)))
		r.reaches(a.ID, schedule.Running)
		lab = append(lab, a)
		r.advance(10 * time.Minute)
	}
	var shop []Answer
	for i := range 3 {
		shop = append(shop, r.submit(holds(fmt.Sprint("shop", i), 10, tenant("shop"))))
	}
	r.until("the second of the shop", func() bool {
		r.advance(31 * time.Second)
		r.settled()
		return m.Alive("shop0") == 1 && m.Alive("shop1") == 1
	})
	got := r.reaches(lab[3].ID, schedule.Queued)
	if got.Reason == nil || got.Reason.Code != schedule.ReclaimedBy || got.Reason.Args[1] != "shop" {
		t.Errorf("the youngest waits because of %v", got.Reason)
	}
	r.reaches(lab[2].ID, schedule.Queued)
	for range 10 { // no more than the claim, and nobody takes it back
		r.advance(time.Minute)
		r.preempt(t.Context())
	}
	for i, a := range slices.Concat(lab[:2], shop[:2]) {
		if got, _ := r.Get(t.Context(), a.ID); got.State != schedule.Running || got.TakenBack != 0 {
			t.Errorf("%d is %s, and was taken back %d times", i, got.State, got.TakenBack)
		}
	}
	if n := testutil.ToFloat64(r.metrics.preemptions.WithLabelValues(byClaim)); n != 2 {
		t.Errorf("%v gave way by the metric, want 2", n)
	}
}

func TestNobodyGivesWayWhereThatIsOff(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}), func(c *Config) { c.Preempt.Enabled = false })
	r.declare("here", 1, schedule.EngineAgent)
	a := r.submit(holds("victim", 10))
	r.reaches(a.ID, schedule.Running)
	r.submit(holds("urgent", 10, priority(50)))
	for range 5 {
		r.advance(time.Hour)
		r.pass(t.Context())
		r.preempt(t.Context())
	}
	if got, _ := r.Get(t.Context(), a.ID); got.State != schedule.Running {
		t.Errorf("it is %s", got.State)
	}
}

func TestOnlySoManyGiveWayInAMinute(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}), func(c *Config) { c.Preempt.PerMinute, c.Preempt.After = 2, 0 })
	r.declare("here", 4, schedule.EngineAgent)
	for i := range 4 {
		r.reaches(r.submit(holds(fmt.Sprint("low", i), 10)).ID, schedule.Running)
	}
	for i := range 4 {
		r.submit(holds(fmt.Sprint("high", i), 10, priority(50)))
	}
	alive := func() (n int) {
		for i := range 4 {
			n += m.Alive(fmt.Sprint("high", i))
		}
		return n
	}
	r.until("the first two", func() bool {
		r.nudge()
		return alive() == 2
	})
	for range 20 {
		r.advance(2 * time.Second)
		r.preempt(t.Context())
	}
	if n := alive(); n != 2 {
		t.Errorf("%d in the first minute", n)
	}
	r.until("the others", func() bool {
		r.advance(20 * time.Second)
		r.settled()
		return alive() == 4
	})
}

// With random arrivals, every workload that gives way does so to a higher
// priority, or to a claim that is made good, and it comes to an end: nobody goes
// round in circles. Nothing is over-committed, and no work runs beside itself.
func TestPreemptionsComeToAnEnd(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { arrivals(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func arrivals(t *testing.T, random *rand.Rand) {
	a, b := scheduletest.NewMemory(scheduletest.Faults{}), scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"a": a, "b": b}))
	r.declare("a", 3, schedule.EngineAgent)
	r.declare("b", 2, schedule.EngineAgent)
	nominal := map[string]int64{"lab": 20_000, "shop": 12_000, "guest": 0}
	for id, n := range nominal {
		q := schedule.Queue{ID: id, Tenants: []string{id}, Weight: 1, Nominal: schedule.Vector{schedule.CPUMilli: n}, Borrow: schedule.Vector{-1, -1, -1, -1, -1}}
		if _, err := r.PutQueue(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]*schedule.Workload{}
	for i := range 60 {
		w := holds(fmt.Sprint("w", i), 1+random.Int64N(8), priority(10*random.IntN(4)), tenant([]string{"lab", "shop", "guest", "free", "free2"}[random.IntN(5)]))
		if random.IntN(4) == 0 {
			w.Gang = schedule.GangAll
			w.Tasks[0].Min, w.Tasks[0].Max = 2, 2
		}
		all[r.submit(w).ID] = w
		r.advance(time.Duration(random.IntN(60)) * time.Second)
		if random.IntN(2) == 0 {
			r.settled()
			r.preempt(t.Context())
		}
	}
	count := func() float64 {
		return testutil.ToFloat64(r.metrics.preemptions.WithLabelValues(byPriority)) + testutil.ToFloat64(r.metrics.preemptions.WithLabelValues(byClaim))
	}
	// All have arrived: it comes to rest, where nobody gives way for an hour.
	for last, quiet := count(), 0; quiet < 60; {
		r.advance(time.Minute)
		r.settled()
		r.pass(t.Context())
		r.preempt(t.Context())
		n := count()
		if quiet++; n != last {
			last, quiet = n, 0
		}
		if n > float64(4*len(all)) {
			t.Fatalf("%v gave way for %d workloads: they go round in circles", n, len(all))
		}
	}
	if count() == 0 {
		t.Error("nobody gave way: the test looks at nothing")
	}
	events, _, err := r.Events(t.Context(), 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]int64{} // CPUs, by tenant
	for _, e := range events {
		w := all[e.Object]
		if w == nil {
			continue
		}
		uses := least(w)[schedule.CPUMilli]
		if e.To == string(schedule.Preempted) {
			by := all[e.Reason.Args[0]]
			borrows := used[w.Tenant] > nominal[w.Tenant]
			fair := by.Tenant == w.Tenant || named(by) == named(w) && named(w) == "" || borrows
			switch {
			case e.Reason.Code == schedule.PreemptedBy && w.Priority < by.Priority && fair:
			case e.Reason.Code == schedule.ReclaimedBy && named(w) != named(by) && borrows && used[by.Tenant]+least(by)[schedule.CPUMilli] <= nominal[by.Tenant]:
			default:
				t.Errorf("%s of priority %d, tenant %s, which uses %d, gave way to %s of priority %d, tenant %s, which uses %d: %s",
					w.Name, w.Priority, w.Tenant, used[w.Tenant], by.Name, by.Priority, by.Tenant, used[by.Tenant], e.Reason.Code)
			}
		}
		holds := func(s string) bool { return slices.Contains([]string{"reserved", "bound", "running"}, s) }
		switch {
		case holds(e.To) && !holds(e.From):
			used[w.Tenant] += uses
		case holds(e.From) && !holds(e.To):
			used[w.Tenant] -= uses
		}
	}
	for _, k := range r.Capacities() {
		if !k.Leased.Within(k.Capacity) {
			t.Errorf("%s is over-committed: %v of %v", k.Pool, k.Leased, k.Capacity)
		}
	}
	for _, w := range all {
		if n := a.Alive(w.Name) + b.Alive(w.Name); n > w.Members() {
			t.Errorf("%s has %d members that run", w.Name, n)
		}
	}
}

// named is the queue of a workload's tenant.
func named(w *schedule.Workload) string {
	if slices.Contains([]string{"lab", "shop", "guest"}, w.Tenant) {
		return w.Tenant
	}
	return ""
}

// settled waits until nothing stops any more, and all that is promised runs.
func (r *running) settled() {
	r.t.Helper()
	r.until("rest", func() bool {
		s, err := r.ledger.Snapshot(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range s.Records {
			switch s.Records[i].State {
			case schedule.Preempted, schedule.Reserved, schedule.Bound:
				return false
			}
		}
		return true
	})
}
