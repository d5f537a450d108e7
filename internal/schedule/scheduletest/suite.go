// Package scheduletest says by tests what every engine of a facility promises.
// Run holds an engine against facility.Engine; Memory is an engine without a
// facility, for tests of those who drive one.
package scheduletest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
)

// Script is what a member does: it makes a mark, so that runs can be counted,
// and ends.
type Script struct {
	Mark string
	// Hold lets it run until Release.
	Hold bool
	Exit int
}

// Fixture is an engine under test, and what the test sees of its facility.
type Fixture struct {
	Engine facility.Engine
	// Reopen makes the engine anew, as after a restart: all that it has in
	// memory is gone. The one before is not used again.
	Reopen func() facility.Engine
	// Payload says a script in the words of the engine.
	Payload func(Script) json.RawMessage
	// Began counts how many members have made a mark, Alive those of them that
	// have not ended.
	Began, Alive func(mark string) int
	// Release lets those who hold go on.
	Release func(mark string)
	// Member has a place and resources that the facility can give; its task and
	// index are the suite's.
	Member facility.Member
	// Limits says that the engine ends a member that runs longer than its limit.
	Limits bool
}

// T is what the suite needs of a test, so that the suite can be tested.
type T interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// long is how long anything may take.
const long = 3 * time.Minute

// Run holds an engine against the contract. Each promise is a test of its own,
// with a fixture of its own.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) {
			f := open(t)
			if p.limits && !f.Limits {
				t.Skip("the engine has no limits")
			}
			p.check(newBench(t, f, long))
		})
	}
}

// promises are all that an engine must keep.
var promises = []struct {
	name   string
	limits bool
	check  func(*bench)
}{
	{name: "asked twice it runs once", check: onlyOnce},
	{name: "every member runs", check: everyMember},
	{name: "a lower token is refused", check: lowerToken},
	{name: "the exit code comes back", check: exitCodes},
	{name: "stop ends", check: stopEnds},
	{name: "what was stopped does not begin late", check: lateStart},
	{name: "what is held does not begin", check: held},
	{name: "what is held may be stopped", check: heldStopped},
	{name: "the beginning of Watch is complete", check: beginning},
	{name: "what runs longer than its limit ends", limits: true, check: limit},
}

// bench is one promise under test.
type bench struct {
	T
	Fixture
	patience time.Duration

	mu      sync.Mutex // what follows
	reports []facility.Report
}

func newBench(t T, f Fixture, patience time.Duration) *bench {
	b := &bench{T: t, Fixture: f, patience: patience}
	b.watch()
	return b
}

// watch follows the engine until the test ends, and returns when the beginning
// is complete.
func (b *bench) watch() {
	b.Helper()
	b.mu.Lock()
	b.reports = nil
	b.mu.Unlock()
	ctx, stop := context.WithCancel(context.WithoutCancel(b.Context()))
	ended := make(chan error, 1)
	go func() {
		ended <- b.Engine.Watch(ctx, func(r facility.Report) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.reports = append(b.reports, r)
		})
	}()
	b.Cleanup(func() {
		stop()
		<-ended
	})
	b.until("the beginning of Watch", func() bool { return b.complete() >= 0 })
}

// complete is where in the reports the beginning ends, -1 for not yet.
func (b *bench) complete() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.IndexFunc(b.reports, func(r facility.Report) bool { return r.Complete })
}

// last is the newest report about a lease.
func (b *bench) last(token uint64) facility.Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range slices.Backward(b.reports) {
		if r.Token == token && !r.Complete {
			return r
		}
	}
	return facility.Report{}
}

func (b *bench) until(what string, is func() bool) {
	b.Helper()
	deadline := time.Now().Add(b.patience)
	for !is() {
		if time.Now().After(deadline) {
			b.Fatalf("%s has not come", what)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// again makes the engine anew.
func (b *bench) again() {
	b.Engine = b.Reopen()
}

// work is a workload with a lease of a token, each of whose members does the
// script.
func (b *bench) work(workload string, token uint64, s Script, members int) facility.Work {
	w := facility.Work{Workload: workload, Name: s.Mark, Lease: "l-" + strconv.FormatUint(token, 36), Token: token, Payload: b.Payload(s)}
	for i := range members {
		m := b.Member
		m.Task, m.Index = "main", i
		w.Members = append(w.Members, m)
	}
	return w
}

func (b *bench) start(w facility.Work) {
	b.Helper()
	if err := b.Engine.Start(b.Context(), w); err != nil {
		b.Fatalf("start %s under token %d: %v", w.Workload, w.Token, err)
	}
}

func (b *bench) stop(w facility.Work) {
	b.Helper()
	if err := b.Engine.Stop(b.Context(), w); err != nil {
		b.Fatalf("stop %s under token %d: %v", w.Workload, w.Token, err)
	}
}

func (b *bench) fenced(w facility.Work) {
	b.Helper()
	if err := b.Engine.Start(b.Context(), w); !errors.Is(err, facility.ErrFenced) {
		b.Errorf("start %s under token %d: %v, want it fenced", w.Workload, w.Token, err)
	}
}

func (b *bench) began(mark string, n int) {
	b.Helper()
	b.until(fmt.Sprintf("run %d of %s", n, mark), func() bool { return b.Began(mark) >= n })
}

// ran checks how often something has run when nothing more of it can come.
func (b *bench) ran(mark string, n int) {
	b.Helper()
	if got := b.Began(mark); got != n {
		b.Errorf("%s ran %d times, want %d", mark, got, n)
	}
}

func (b *bench) reaches(w facility.Work, want facility.Progress) facility.Report {
	b.Helper()
	b.until(fmt.Sprintf("report %q of %s", want, w.Workload), func() bool {
		got := b.last(w.Token).State
		return got == want || got.Over()
	})
	got := b.last(w.Token)
	if got.State != want {
		b.Errorf("%s is %s (%s), want %s", w.Workload, got.State, got.Message, want)
	}
	return got
}

func onlyOnce(b *bench) {
	w := b.work("w-once", 101, Script{Mark: "once", Hold: true}, 1)
	var all sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		all.Go(func() { errs[i] = b.Engine.Start(b.Context(), w) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		b.Fatalf("start at once: %v", err)
	}
	b.began("once", 1)
	b.again()
	b.start(w)
	b.watch()
	b.Release("once")
	b.reaches(w, facility.Succeeded)
	b.start(w)
	b.ran("once", 1)
	// What comes after it is asked for, and runs: had it begun again, it would
	// have been seen by now.
	after := b.work("w-after-once", 102, Script{Mark: "after-once"}, 1)
	b.start(after)
	b.reaches(after, facility.Succeeded)
	b.ran("once", 1)
}

func everyMember(b *bench) {
	w := b.work("w-two", 111, Script{Mark: "two", Hold: true}, 2)
	b.start(w)
	b.began("two", 2)
	b.reaches(w, facility.Running)
	b.Release("two")
	b.reaches(w, facility.Succeeded)
	b.ran("two", 2)
}

func lowerToken(b *bench) {
	higher := b.work("w-fence", 122, Script{Mark: "higher"}, 1)
	lower := b.work("w-fence", 121, Script{Mark: "lower"}, 1)
	other := b.work("w-other", 120, Script{Mark: "other"}, 1)
	b.start(higher)
	b.fenced(lower)
	b.reaches(higher, facility.Succeeded)
	b.fenced(lower)
	b.again()
	b.fenced(lower)
	b.watch()
	b.start(other) // tokens are of workloads
	b.reaches(other, facility.Succeeded)
	b.ran("lower", 0)
}

func exitCodes(b *bench) {
	fails := b.work("w-fails", 131, Script{Mark: "fails", Exit: 3}, 1)
	works := b.work("w-works", 132, Script{Mark: "works"}, 1)
	b.start(fails)
	b.start(works)
	if r := b.reaches(fails, facility.Failed); r.ExitCode != 3 {
		b.Errorf("exit code %d, want 3", r.ExitCode)
	}
	if r := b.reaches(works, facility.Succeeded); r.ExitCode != 0 || r.Lease != works.Lease {
		b.Errorf("%+v, want exit code 0 of lease %s", r, works.Lease)
	}
}

func stopEnds(b *bench) {
	w := b.work("w-stop", 141, Script{Mark: "stop", Hold: true}, 2)
	b.start(w)
	b.began("stop", 2)
	b.stop(w)
	if n := b.Alive("stop"); n != 0 {
		b.Errorf("%d members run after Stop has returned", n)
	}
	b.stop(w)
	b.fenced(w)
	b.reaches(w, facility.Stopped)
	stray := b.work("w-stray", 142, Script{Mark: "stray", Hold: true}, 1)
	b.start(stray)
	b.began("stray", 1)
	b.stop(facility.Work{Lease: stray.Lease, Token: stray.Token})
	if n := b.Alive("stray"); n != 0 {
		b.Errorf("%d members of a lease that is known by its token only run after Stop has returned", n)
	}
}

func lateStart(b *bench) {
	w := b.work("w-late", 151, Script{Mark: "late"}, 1)
	b.stop(w)
	b.fenced(w)
	b.again()
	b.fenced(w)
	b.watch()
	next := b.work("w-late", 152, Script{Mark: "next"}, 1)
	b.start(next)
	b.reaches(next, facility.Succeeded)
	b.ran("late", 0)
}

// hold has work taken and not begun.
func (b *bench) hold(w facility.Work) {
	b.Helper()
	w.Hold = true
	b.start(w)
}

// stays checks that held work has not begun when what was asked for after it has
// ended.
func (b *bench) stays(w facility.Work, token uint64) {
	b.Helper()
	after := b.work("w-after-"+w.Workload, token, Script{Mark: w.Workload + "-after"}, 1)
	b.start(after)
	b.reaches(after, facility.Succeeded)
	b.ran(w.Name, 0)
	b.reaches(w, facility.Waiting)
}

func held(b *bench) {
	w := b.work("w-held", 181, Script{Mark: "held", Hold: true}, 2)
	b.hold(w)
	b.hold(w)
	b.stays(w, 182)
	b.again()
	b.watch()
	b.hold(w)
	b.stays(w, 183)
	b.start(w)
	b.began("held", 2)
	b.reaches(w, facility.Running)
	b.hold(w)
	b.reaches(w, facility.Running)
	b.Release("held")
	b.reaches(w, facility.Succeeded)
	b.start(w)
	b.hold(w)
	b.ran("held", 2)
}

func heldStopped(b *bench) {
	w := b.work("w-not-let-go", 191, Script{Mark: "not-let-go"}, 2)
	b.hold(w)
	b.reaches(w, facility.Waiting)
	b.stop(w)
	b.fenced(w)
	b.reaches(w, facility.Stopped)
	next := b.work("w-not-let-go", 192, Script{Mark: "let-go"}, 1)
	b.hold(next)
	b.again()
	b.watch()
	b.start(next) // held before a restart, begun after it
	b.reaches(next, facility.Succeeded)
	b.ran("not-let-go", 0)
	b.ran("let-go", 1)
}

func beginning(b *bench) {
	ended := b.work("w-ended", 161, Script{Mark: "ended", Exit: 4}, 1)
	runs := b.work("w-runs", 162, Script{Mark: "runs", Hold: true}, 1)
	b.start(ended)
	b.start(runs)
	b.reaches(ended, facility.Failed)
	b.reaches(runs, facility.Running)
	check := func(when string) {
		b.Helper()
		b.watch()
		n := b.complete()
		b.mu.Lock()
		first := slices.Clone(b.reports[:n])
		b.mu.Unlock()
		for token, want := range map[uint64]facility.Progress{ended.Token: facility.Failed, runs.Token: facility.Running} {
			if !slices.ContainsFunc(first, func(r facility.Report) bool { return r.Token == token && r.State == want }) {
				b.Errorf("%s: the beginning %+v has no %s of token %d", when, first, want, token)
			}
		}
	}
	check("watched again")
	b.again()
	check("after a restart")
	b.Release("runs")
	b.reaches(runs, facility.Succeeded)
}

func limit(b *bench) {
	w := b.work("w-limit", 171, Script{Mark: "limit", Hold: true}, 1)
	w.Members[0].Limit = time.Second
	b.start(w)
	if r := b.reaches(w, facility.Failed); !r.TimedOut {
		b.Errorf("%+v does not say that it ran longer than its limit", r)
	}
	if n := b.Alive("limit"); n != 0 {
		b.Errorf("%d members run after their limit", n)
	}
}

// Anywhere is a member that needs next to nothing of a pool of one node.
func Anywhere(id, pool string) facility.Member {
	return facility.Member{Assignment: schedule.Assignment{Facility: id, Pool: pool, Use: schedule.Vector{schedule.CPUMilli: 100, schedule.MemoryMiB: 16}}}
}
