package loop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/drive"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/scheduletest"
)

// agents are facilities in memory, by id.
func agents(all map[string]facility.Engine) drive.Engines {
	return func(id string, kind schedule.Engine) facility.Engine {
		if e := all[id]; e != nil && kind == schedule.EngineAgent {
			return e
		}
		return nil
	}
}

func script(s scheduletest.Script) func(*schedule.Workload) {
	return func(w *schedule.Workload) { w.Payload = s.JSON() }
}

func quick(c *Config) { c.LostAfter = time.Millisecond }

// until waits for what becomes true.
func (r *running) until(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s has not come", what)
		}
	}
}

// free waits until nothing is taken any more.
func (r *running) free() {
	r.t.Helper()
	r.until("that nothing is taken", func() bool {
		all, err := r.Uses(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		n := 0
		for _, u := range all {
			n += u.Leases
		}
		return n == 0
	})
}

func TestWorkRunsAtItsEngineAndEnds(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}))
	r.declare("here", 2, schedule.EngineAgent)
	runs := r.submit(work("runs", 1, script(scheduletest.Script{Mark: "runs", Hold: true})))
	fails := r.submit(work("fails", 1, script(scheduletest.Script{Mark: "fails", Exit: 7})))
	r.reaches(runs.ID, schedule.Running)
	got := r.reaches(fails.ID, schedule.Failed)
	if got.Reason == nil || got.Reason.Code != schedule.ExitCode || got.Reason.Args[0] != "7" {
		t.Errorf("reason %+v, want exit code 7", got.Reason)
	}
	m.Release("runs")
	r.reaches(runs.ID, schedule.Succeeded)
	r.free()
	if m.Began("runs") != 1 || m.Began("fails") != 1 {
		t.Errorf("%d and %d runs, want 1 each", m.Began("runs"), m.Began("fails"))
	}
}

func TestACancelledWorkloadIsStopped(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}))
	r.declare("here", 1, schedule.EngineAgent)
	a := r.submit(work("runs", 1, script(scheduletest.Script{Mark: "runs", Hold: true})))
	r.reaches(a.ID, schedule.Running)
	if err := r.Cancel(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	r.free()
	if n := m.Alive("runs"); n != 0 {
		t.Errorf("%d members run after their capacity was freed", n)
	}
}

func TestAnEngineThatRefusesIsTheReason(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	m.Refuse(fmt.Errorf("no such partition: %w", facility.ErrRefused))
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}))
	r.declare("here", 1, schedule.EngineAgent)
	a := r.submit(work("w", 1, script(scheduletest.Script{Mark: "w"})))
	r.until("the refusal", func() bool {
		events, _, err := r.Events(t.Context(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Object == a.ID && e.To == string(schedule.Queued) && e.Reason != nil && e.Reason.Code == schedule.EngineRefused {
				return true
			}
		}
		return false
	})
	m.Refuse(nil)
	r.reaches(a.ID, schedule.Succeeded)
	if n := m.Began("w"); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
}

func TestAnEngineThatFailsIsAskedAgain(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	m.Refuse(errors.New("it is busy"))
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}))
	r.declare("here", 1, schedule.EngineAgent)
	a := r.submit(work("w", 1, script(scheduletest.Script{Mark: "w"})))
	bound := r.reaches(a.ID, schedule.Bound)
	m.Refuse(nil)
	ended := r.reaches(a.ID, schedule.Succeeded)
	if bound.Leases[0].Token != ended.Leases[0].Token || m.Began("w") != 1 {
		t.Errorf("%d runs, under %d and then %d, want one under the first", m.Began("w"), bound.Leases[0].Token, ended.Leases[0].Token)
	}
}

// deaf is an engine that never answers to Start, and says when it was asked.
type deaf struct {
	*scheduletest.Memory
	once  sync.Once
	asked chan struct{}
}

func (d *deaf) Start(ctx context.Context, _ facility.Work) error {
	d.once.Do(func() { close(d.asked) })
	<-ctx.Done()
	return ctx.Err()
}

func TestACrashBetweenBoundAndStart(t *testing.T) {
	m, path := scheduletest.NewMemory(scheduletest.Faults{}), file(t)
	d := &deaf{Memory: m, asked: make(chan struct{})}
	r := openWith(t, path, agents(map[string]facility.Engine{"here": d}))
	r.declare("here", 1, schedule.EngineAgent)
	a := r.submit(work("w", 1, script(scheduletest.Script{Mark: "w"})))
	<-d.asked
	first := r.reaches(a.ID, schedule.Bound).Leases[0]
	r.close()

	r = openWith(t, path, agents(map[string]facility.Engine{"here": m}))
	ended := r.reaches(a.ID, schedule.Succeeded)
	late := facility.Work{Workload: a.ID, Lease: first.ID, Token: first.Token, Payload: scheduletest.Script{Mark: "w"}.JSON(), Members: make([]facility.Member, 1)}
	if err := m.Start(t.Context(), late); !errors.Is(err, facility.ErrFenced) {
		t.Errorf("the request of before the crash: %v, want it fenced", err)
	}
	if m.Began("w") != 1 || ended.Leases[0].Token == first.Token {
		t.Errorf("%d runs under token %d after %d, want one under another", m.Began("w"), ended.Leases[0].Token, first.Token)
	}
}

func TestARestartOfTheHubFindsWhatRuns(t *testing.T) {
	m, path := scheduletest.NewMemory(scheduletest.Faults{}), file(t)
	engines := agents(map[string]facility.Engine{"here": m})
	r := openWith(t, path, engines)
	r.declare("here", 1, schedule.EngineAgent)
	runs := r.submit(work("runs", 1, script(scheduletest.Script{Mark: "runs", Hold: true})))
	ends := r.submit(work("ends", 1, script(scheduletest.Script{Mark: "ends", Hold: true})))
	r.reaches(runs.ID, schedule.Running)
	r.reaches(ends.ID, schedule.Running)
	r.close()
	m.Release("ends")
	stray := facility.Work{Workload: "w-stray", Lease: "l-stray", Token: 1 << 40, Payload: scheduletest.Script{Mark: "stray", Hold: true}.JSON(), Members: make([]facility.Member, 1)}
	if err := m.Start(t.Context(), stray); err != nil {
		t.Fatal(err)
	}

	r = openWith(t, path, engines)
	r.reaches(ends.ID, schedule.Succeeded)
	r.until("the end of what the ledger does not know", func() bool { return m.Alive("stray") == 0 })
	m.Release("runs")
	r.reaches(runs.ID, schedule.Succeeded)
	r.free()
	if m.Began("runs") != 1 || m.Began("ends") != 1 {
		t.Errorf("%d and %d runs, want 1 each", m.Began("runs"), m.Began("ends"))
	}
}

func TestAnEngineThatForgotIsAskedAnew(t *testing.T) {
	m, path := scheduletest.NewMemory(scheduletest.Faults{}), file(t)
	engines := agents(map[string]facility.Engine{"here": m})
	r := openWith(t, path, engines)
	r.declare("here", 1, schedule.EngineAgent)
	a := r.submit(work("w", 1, script(scheduletest.Script{Mark: "w", Hold: true})))
	first := r.reaches(a.ID, schedule.Running).Leases[0].Token
	r.close()
	m.Forget()
	m.Release("w")
	r = openWith(t, path, engines)
	if got := r.reaches(a.ID, schedule.Succeeded).Leases[0].Token; got == first {
		t.Errorf("token %d again", got)
	}
}

func TestALostFacilityComesBackAndNothingRunsTwice(t *testing.T) {
	near, far := scheduletest.NewMemory(scheduletest.Faults{}), scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"near": near, "far": far}), quick)
	r.declare("near", 1, schedule.EngineAgent)
	stays := r.submit(work("stays", 8, script(scheduletest.Script{Mark: "stays", Hold: true})))
	moves := r.submit(work("moves", 1, script(scheduletest.Script{Mark: "moves", Hold: true})))
	r.reaches(stays.ID, schedule.Running)
	r.reaches(moves.ID, schedule.Running)
	near.Cut()
	r.reaches(stays.ID, schedule.Queued)
	r.reaches(moves.ID, schedule.Queued)
	// Only the small one finds another place.
	all, err := r.Declared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f, p := all.Facilities[0], all.Pools[0]
	if f.State != schedule.Lost {
		t.Errorf("the facility is %s, want lost", f.State)
	}
	f.ID, f.State, f.Version = "far", schedule.Ready, 0
	p.ID, p.Facility, p.Version = "far-cpu", "far", 0
	p.Classes = []schedule.Class{{Count: 1, Node: schedule.Node{CPUMilli: 1000, MemoryMiB: 1000}}}
	if _, err := r.PutFacility(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if _, err := r.PutPool(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	r.reaches(moves.ID, schedule.Running)
	near.Mend()
	r.reaches(stays.ID, schedule.Running)
	r.until("the end of what runs elsewhere", func() bool { return near.Alive("moves") == 0 })
	near.Release("stays")
	far.Release("moves")
	r.reaches(stays.ID, schedule.Succeeded)
	r.reaches(moves.ID, schedule.Succeeded)
	r.free()
	if near.Began("stays") != 1 || far.Began("stays") != 0 || near.Began("moves") != 1 || far.Began("moves") != 1 {
		t.Errorf("runs: stays %d and %d, moves %d and %d", near.Began("stays"), far.Began("stays"), near.Began("moves"), far.Began("moves"))
	}
	all, err = r.Declared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all.Facilities {
		if f.State != schedule.Ready {
			t.Errorf("%s is %s, want ready", f.ID, f.State)
		}
	}
}

func TestAReportThatComesLateChangesNothing(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}), quick)
	r.declare("here", 1, schedule.EngineAgent)
	a := r.submit(work("w", 1, script(scheduletest.Script{Mark: "w", Hold: true})))
	r.reaches(a.ID, schedule.Running)
	m.Cut()
	r.reaches(a.ID, schedule.Queued)
	m.Release("w") // it ends while nobody sees it
	m.Mend()
	r.reaches(a.ID, schedule.Succeeded)
	if n := m.Began("w"); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
	r.free()
}

func TestAPoolWithoutAnEngineIsItsOwners(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}))
	r.declare("here", 1)
	a := r.submit(work("w", 1, script(scheduletest.Script{Mark: "w"})))
	r.finish(a)
	r.reaches(a.ID, schedule.Succeeded)
	if n := m.Began("w"); n != 0 {
		t.Errorf("%d runs, want none", n)
	}
}

func TestEnginesThatCannotBeReachedAreFaults(t *testing.T) {
	good := Engine{Facility: "changchun", Kind: "slurm", URL: "unix:///run/slurmrestd", Directory: "/home/hub"}
	for want, alter := range map[string]func(*Engine){
		"":           func(*Engine) {},
		"facility":   func(e *Engine) { e.Facility = "../changchun" },
		"kind":       func(e *Engine) { e.Kind = "pbs" },
		"url":        func(e *Engine) { e.URL = "slurm.example" },
		"token_file": func(e *Engine) { e.URL, e.User = "https://slurm.example:6820", "hub" },
		"directory":  func(e *Engine) { e.Directory = "work" },
		"poll":       func(e *Engine) { e.Poll = -time.Second },
	} {
		e := good
		alter(&e)
		errs := e.Check("schedule.engines[0]")
		switch {
		case want == "" && len(errs) > 0:
			t.Errorf("a good one: %v", errs)
		case want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), "schedule.engines[0]."+want)):
			t.Errorf("%s: %v", want, errs)
		}
	}
	c := DefaultConfig()
	if c.Engines = []Engine{good, good}; len(c.Check("schedule")) != 1 {
		t.Errorf("two of one facility: %v", c.Check("schedule"))
	}
	c = DefaultConfig()
	c.Hold = c.LostAfter
	if errs := c.Check("schedule"); len(errs) != 1 || !strings.Contains(errs[0].Error(), "schedule.lost_after") {
		t.Errorf("promises that expire before their facility is lost: %v", errs)
	}
}

func TestWhatRunsLongerThanItsLimitIsEndedAndSaysSo(t *testing.T) {
	m := scheduletest.NewMemory(scheduletest.Faults{})
	r := openWith(t, file(t), agents(map[string]facility.Engine{"here": m}))
	r.declare("here", 2, schedule.EngineAgent)
	long := r.submit(work("long", 1, script(scheduletest.Script{Mark: "long", Hold: true}), func(w *schedule.Workload) { w.Tasks[0].Limit = 50 * time.Millisecond }))
	free := r.submit(work("free", 1, script(scheduletest.Script{Mark: "free", Hold: true})))
	got := r.reaches(long.ID, schedule.Failed)
	if got.Reason == nil || got.Reason.Code != schedule.TimeLimit || got.Reason.Text().ZH != "运行超过时限 50ms，已被终止" {
		t.Errorf("reason %+v, want its limit", got.Reason)
	}
	r.reaches(free.ID, schedule.Running)
}
