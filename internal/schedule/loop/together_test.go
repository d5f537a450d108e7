package loop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/scheduletest"
)

// rooms are facilities in memory, each with an engine.
type rooms map[string]*scheduletest.Memory

func newRooms(ids ...string) rooms {
	all := rooms{}
	for _, id := range ids {
		all[id] = scheduletest.NewMemory(scheduletest.Faults{})
	}
	return all
}

func (m rooms) engines() map[string]facility.Engine {
	all := map[string]facility.Engine{}
	for id, e := range m {
		all[id] = e
	}
	return all
}

// began is how many members have begun in all.
func (m rooms) began(mark string) (n int) {
	for _, e := range m {
		n += e.Began(mark)
	}
	return n
}

func (m rooms) release(mark string) {
	for _, e := range m {
		e.Release(mark)
	}
}

// three is a gang of three members in three facilities.
func three(alter ...func(*schedule.Workload)) *schedule.Workload {
	return work("gang", 1, append([]func(*schedule.Workload){script(scheduletest.Script{Mark: "gang", Hold: true}), func(w *schedule.Workload) {
		w.Gang, w.Shape = schedule.GangAll, schedule.OnePerFacility
		w.Tasks[0].Min, w.Tasks[0].Max = 3, 3
	}}, alter...)...)
}

// turned waits for an event that takes a workload to a state for a reason.
func (r *running) turned(id string, to schedule.State, why schedule.Code) {
	r.t.Helper()
	r.until(fmt.Sprintf("that %s is %s because of %s", id, to, why), func() bool {
		events, _, err := r.Events(r.t.Context(), 0, 10_000)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range events {
			if e.Object == id && e.To == string(to) && e.Reason != nil && e.Reason.Code == why {
				return true
			}
		}
		return false
	})
}

// tokens are those of the leases that are live.
func (r *running) tokens(id string) map[uint64]bool {
	r.t.Helper()
	got, err := r.Get(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[uint64]bool{}
	for _, l := range got.Leases {
		if l.State.Live() {
			all[l.Token] = true
		}
	}
	return all
}

func TestAGangOfWhichOneEngineRefusesNeverBegins(t *testing.T) {
	for _, gang := range []schedule.Gang{schedule.GangAll, schedule.GangMinimum} {
		t.Run(string(gang), func(t *testing.T) {
			all := newRooms("a", "b", "c")
			all["c"].Refuse(fmt.Errorf("closed: %w", facility.ErrRefused))
			r := openWith(t, file(t), agents(all.engines()))
			for id := range all {
				r.declare(id, 1, schedule.EngineAgent)
			}
			w := r.submit(three(func(w *schedule.Workload) { w.Gang = gang }))
			first := r.tokens(w.ID)
			r.turned(w.ID, schedule.Queued, schedule.EngineRefused)
			r.until("other leases", func() bool {
				for token := range r.tokens(w.ID) {
					if !first[token] {
						return true
					}
				}
				return false
			})
			if n := all.began("gang"); n != 0 {
				t.Errorf("%d members began while one engine refused", n)
			}
			all["c"].Refuse(nil)
			r.reaches(w.ID, schedule.Running)
			r.until("all members", func() bool { return all.began("gang") == 3 })
			all.release("gang")
			r.reaches(w.ID, schedule.Succeeded)
			r.free()
			if n := all.began("gang"); n != 3 {
				t.Errorf("%d members began, want each once", n)
			}
		})
	}
}

func TestAGangOfWhichOneFacilityIsLostNeverBegins(t *testing.T) {
	all := newRooms("a", "b", "c", "d")
	all["c"].Refuse(errors.New("it is busy"))
	r := openWith(t, file(t), agents(all.engines()), quick)
	for _, id := range []string{"a", "b", "c"} {
		r.declare(id, 1, schedule.EngineAgent)
	}
	w := r.submit(three())
	held := func(m *scheduletest.Memory) bool { return m.Held("gang") == 1 }
	r.until("what waits for the third", func() bool { return held(all["a"]) && held(all["b"]) })
	all["c"].Cut()
	r.turned(w.ID, schedule.Queued, schedule.FacilityLost)
	r.until("the end of what was held", func() bool { return !held(all["a"]) && !held(all["b"]) })
	if n := all.began("gang"); n != 0 {
		t.Errorf("%d members began while one facility was lost", n)
	}
	r.declare("d", 1, schedule.EngineAgent)
	r.until("all members elsewhere", func() bool { return all.began("gang") == 3 })
	all["c"].Refuse(nil)
	all["c"].Mend()
	all.release("gang")
	r.reaches(w.ID, schedule.Succeeded)
	r.free()
	if n := all.began("gang"); n != 3 || all["c"].Began("gang") != 0 {
		t.Errorf("%d members began, want each once, and none in the facility that was lost", n)
	}
}

// timid is an engine that takes work, never begins it, and says when it was asked
// to.
type timid struct {
	*scheduletest.Memory
	once  sync.Once
	asked chan struct{}
}

func (d *timid) Start(ctx context.Context, w facility.Work) error {
	if w.Hold {
		return d.Memory.Start(ctx, w)
	}
	d.once.Do(func() { close(d.asked) })
	<-ctx.Done()
	return ctx.Err()
}

// TestACrashBetweenTakenAndBegun kills the hub when all engines have taken a
// gang, and so many of them have begun it.
func TestACrashBetweenTakenAndBegun(t *testing.T) {
	for name, begun := range map[string][]string{"nothing has begun": nil, "one has begun": {"b"}} {
		t.Run(name, func(t *testing.T) {
			all, path := newRooms("a", "b", "c"), file(t)
			engines, asked := all.engines(), []chan struct{}{}
			for id, m := range all {
				if len(begun) == 0 || id != begun[0] {
					d := &timid{Memory: m, asked: make(chan struct{})}
					engines[id] = d
					asked = append(asked, d.asked)
				}
			}
			r := openWith(t, path, agents(engines))
			for id := range all {
				r.declare(id, 1, schedule.EngineAgent)
			}
			w := r.submit(three())
			for _, c := range asked {
				<-c
			}
			r.until("those that begin", func() bool { return all.began("gang") == len(begun) })
			before := r.tokens(w.ID)
			r.close()

			r = openWith(t, path, agents(all.engines()))
			r.until("all members", func() bool { return all.began("gang") == 3 })
			if after := r.tokens(w.ID); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("leases %v, want %v as before the crash", after, before)
			}
			all.release("gang")
			r.reaches(w.ID, schedule.Succeeded)
			r.free()
			if n := all.began("gang"); n != 3 {
				t.Errorf("%d members began, want each once", n)
			}
		})
	}
}

func TestWhatWasHeldBeforeACrashIsStoppedWhenTheLedgerSaysSo(t *testing.T) {
	all, path := newRooms("a", "b", "c"), file(t)
	all["c"].Refuse(errors.New("it is busy"))
	r := openWith(t, path, agents(all.engines()))
	for id := range all {
		r.declare(id, 1, schedule.EngineAgent)
	}
	w := r.submit(three())
	r.until("what waits for the third", func() bool { return all["a"].Held("gang") == 1 && all["b"].Held("gang") == 1 })
	r.reaches(w.ID, schedule.Bound)
	before := r.tokens(w.ID)
	r.close()

	all["c"].Refuse(nil) // it never had its part: the gang is planned anew
	r = openWith(t, path, agents(all.engines()))
	r.turned(w.ID, schedule.Queued, schedule.FacilityLost)
	r.until("all members", func() bool { return all.began("gang") == 3 })
	for token := range r.tokens(w.ID) {
		if before[token] {
			t.Errorf("token %d again", token)
		}
	}
	all.release("gang")
	r.reaches(w.ID, schedule.Succeeded)
	r.free()
	if n := all.began("gang"); n != 3 {
		t.Errorf("%d members began, want each once", n)
	}
}

// TestAPartThatItsOwnerRunsIsWaitedFor: of a gang, one facility has no engine.
func TestAPartThatItsOwnerRunsIsWaitedFor(t *testing.T) {
	all := newRooms("a", "b")
	r := openWith(t, file(t), agents(all.engines()))
	for _, id := range []string{"a", "b"} {
		r.declare(id, 1, schedule.EngineAgent)
	}
	r.declare("c", 1)
	w := r.submit(three())
	r.until("what waits for the owner", func() bool { return all["a"].Held("gang") == 1 && all["b"].Held("gang") == 1 })
	if n := all.began("gang"); n != 0 {
		t.Errorf("%d members began before the owner's", n)
	}
	mine := Answer{}
	for _, g := range w.Grants {
		if g.Facility == "c" {
			mine.Grants = append(mine.Grants, g)
		}
	}
	r.finish(mine)
	r.until("all members", func() bool { return all.began("gang") == 2 })
	all.release("gang")
	r.reaches(w.ID, schedule.Succeeded)
	r.free()
}
