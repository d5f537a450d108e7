package loop

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/scheduletest"
)

// slow is an engine that stops nothing before it is let.
type slow struct {
	*scheduletest.Memory
	let chan struct{}
}

func (e *slow) Stop(ctx context.Context, w facility.Work) error {
	select {
	case <-e.let:
		return e.Memory.Stop(ctx, w)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// alone is an engine that says when work begins while other work of the same
// mark runs at any of the engines.
type alone struct {
	*scheduletest.Memory
	t    *testing.T
	mark string
	all  []*scheduletest.Memory
	mu   sync.Mutex
}

func (e *alone) Start(ctx context.Context, w facility.Work) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.all {
		if n := m.Alive(e.mark); n > 0 {
			e.t.Errorf("%d members run while token %d begins", n, w.Token)
		}
	}
	return e.Memory.Start(ctx, w)
}

var because = schedule.Because(schedule.PreemptedBy, "w-other")

func TestWhatIsTakenBackStopsBeforeItBeginsAgain(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": &alone{Memory: m, t: t, mark: "w", all: []*scheduletest.Memory{m}}}))
	r.declare("here", 2, schedule.EngineAgent)
	a := r.submit(work("w", 6, script(scheduletest.Script{Mark: "w", Hold: true})))
	first := r.reaches(a.ID, schedule.Running).Leases[0]
	if err := r.takeBack(t.Context(), a.ID, schedule.Queued, time.Time{}, because); err != nil {
		t.Fatal(err)
	}
	r.until("the second start", func() bool { return m.Began("w") == 2 })
	again := r.reaches(a.ID, schedule.Running)
	if l := again.Leases[len(again.Leases)-1]; l.Token <= first.Token || again.TakenBack != 1 {
		t.Errorf("token %d after %d, taken back %d times", l.Token, first.Token, again.TakenBack)
	}
	if x := r.Experience()["here-cpu"]; x.Lost != 0 {
		t.Errorf("%d members count as lost, and none was", x.Lost)
	}
	m.Release("w")
	r.reaches(a.ID, schedule.Succeeded)
	r.free()
}

func TestWhatIsTakenBackUntilAnHourBeginsThen(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}))
	r.declare("here", 1, schedule.EngineAgent)
	a := r.submit(work("w", 6, script(scheduletest.Script{Mark: "w", Hold: true})))
	r.reaches(a.ID, schedule.Running)
	until := noon.Add(2 * time.Hour)
	if err := r.takeBack(t.Context(), a.ID, schedule.Deferred, until, because); err != nil {
		t.Fatal(err)
	}
	got := r.reaches(a.ID, schedule.Deferred)
	if !got.Until.Equal(until) || got.Reason == nil || got.Reason.Code != schedule.PreemptedBy {
		t.Errorf("deferred until %v because of %v", got.Until, got.Reason)
	}
	if m.Alive("w") != 0 {
		t.Error("it runs while it is deferred")
	}
	r.free()
	r.advance(2 * time.Hour)
	r.reaches(a.ID, schedule.Running)
	if n := m.Began("w"); n != 2 {
		t.Errorf("%d runs, want 2", n)
	}
}

func TestACrashWhileWorkIsTakenBack(t *testing.T) {
	m, path := scheduletest.NewMemory(scheduletest.Faults{}), file(t)
	r := openWith(t, path, agents(map[string]facility.Engine{"here": &slow{m, make(chan struct{})}}))
	r.declare("here", 2, schedule.EngineAgent)
	a := r.submit(work("w", 6, script(scheduletest.Script{Mark: "w", Hold: true})))
	r.reaches(a.ID, schedule.Running)
	if err := r.takeBack(t.Context(), a.ID, schedule.Queued, time.Time{}, because); err != nil {
		t.Fatal(err)
	}
	if got := r.reaches(a.ID, schedule.Preempted); got.Leases[0].State != schedule.Fenced {
		t.Errorf("its lease is %s, want it fenced", got.Leases[0].State)
	}
	r.close()

	one := &alone{Memory: m, t: t, mark: "w", all: []*scheduletest.Memory{m}}
	r = openWith(t, path, agents(map[string]facility.Engine{"here": one}))
	r.until("the second start", func() bool { return m.Began("w") == 2 })
	m.Release("w")
	r.reaches(a.ID, schedule.Succeeded)
	r.free()
}

func TestWhatALostFacilityDoesNotStopBeginsElsewhere(t *testing.T) {
	near, far := scheduletest.NewMemory(scheduletest.Faults{}), scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"near": &slow{near, make(chan struct{})}, "far": far}), quick)
	r.declare("near", 1, schedule.EngineAgent)
	a := r.submit(work("w", 6, script(scheduletest.Script{Mark: "w", Hold: true})))
	r.reaches(a.ID, schedule.Running)
	r.declare("far", 1, schedule.EngineAgent)
	if err := r.takeBack(t.Context(), a.ID, schedule.Queued, time.Time{}, because); err != nil {
		t.Fatal(err)
	}
	r.reaches(a.ID, schedule.Preempted)
	near.Cut()
	r.until("the start elsewhere", func() bool { return far.Began("w") == 1 })
}

func TestOnlyWhatHasBegunIsTakenBack(t *testing.T) {
	r := open(t, file(t))
	r.declare("here", 1)
	waits := r.submit(work("waits", 99))
	if err := r.takeBack(t.Context(), waits.ID, schedule.Queued, time.Time{}, because); !errors.Is(err, ledger.ErrState) {
		t.Errorf("a queued one: %v", err)
	}
	a := r.submit(work("w", 1))
	for _, err := range []error{
		r.takeBack(t.Context(), a.ID, schedule.Deferred, time.Time{}, because),
		r.takeBack(t.Context(), a.ID, schedule.Running, time.Time{}, because),
	} {
		if !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("to nowhere: %v", err)
		}
	}
	// What is reserved only has nothing to stop: it waits at once.
	if err := r.takeBack(t.Context(), a.ID, schedule.Deferred, noon.Add(time.Hour), because); err != nil {
		t.Fatal(err)
	}
	r.reaches(a.ID, schedule.Deferred)
	r.free()
}
