package notify

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// post is what a receiver got of one alert, and when the hub is killed.
type post struct {
	got []string // states, with the id of the message
	// kill is the number of the message at which the hub ends, before or after the
	// receiver has it.
	kill   int
	before bool
}

func (p *post) send(_ context.Context, batch []message) error {
	p.kill--
	if p.kill == 0 && p.before {
		runtime.Goexit()
	}
	for _, m := range batch {
		for _, a := range m.firing {
			p.got = append(p.got, "firing "+a.ID+" "+m.id())
		}
		for _, a := range m.ended {
			p.got = append(p.got, "resolved "+a.ID+" "+m.id())
		}
	}
	if p.kill == 0 {
		runtime.Goexit()
	}
	return nil
}

// has reports whether the receiver was told of a state.
func (p *post) has(state string) bool {
	return slices.ContainsFunc(p.got, func(s string) bool { return s[:len(state)] == state })
}

// TestAnAlertIsToldAsOverWhereverTheHubIsKilled between the messages and the rows that
// say that they were sent, also when it ends while the hub is down. A message that
// came twice has the same id.
func TestAnAlertIsToldAsOverWhereverTheHubIsKilled(t *testing.T) {
	for kill := range 3 { // at none, at that it fires, at that it ended
		for _, before := range []bool{true, false} {
			for _, down := range []bool{true, false} { // it ends while the hub is down
				t.Run(fmt.Sprintf("message %d, before %v, ends meanwhile %v", kill, before, down), func(t *testing.T) {
					h, p := newHub(t), &post{kill: kill, before: before}
					h.run()()
					now := time.Now()
					h.n.deps.Clock = func() time.Time { return now }
					// start is a hub that was killed before, or a new one.
					start := func() *dispatch {
						r := &receiver{cfg: newReceiver("r"), name: "r"}
						d := &dispatch{n: h.n, r: r, send: p.send, since: map[string]time.Time{}}
						if err := d.restore(t.Context()); err != nil {
							t.Fatal(err)
						}
						return d
					}
					d := start()
					// turns goes on until nothing is due, and reports whether the hub was killed.
					turns := func() (killed bool) {
						for range 5 {
							done := make(chan bool, 1)
							go func() {
								over := false
								defer func() { done <- over }()
								d.turn(context.Background())
								over = true
							}()
							if !<-done {
								return true
							}
							now = now.Add(time.Minute)
						}
						return false
					}
					h.n.metrics.begin("r")
					h.fire("Hot", "t1")
					if killed := turns(); killed {
						if down {
							h.end("Hot", "t1")
						}
						d = start()
						turns()
						if !down && !p.has("firing Hot-t1") {
							t.Errorf("that it fires is not told: %q", p.got)
						}
					}
					h.end("Hot", "t1")
					if killed := turns(); killed {
						d = start()
						turns()
					}
					if !p.has("resolved Hot-t1") {
						t.Errorf("that it is over is not told: %q", p.got)
					}
					if want := 2; !before && kill == 1 && !down || !before && kill == 2 {
						ids := map[string]bool{}
						for _, s := range p.got {
							ids[s] = true
						}
						if len(p.got) != 3 || len(ids) != want {
							t.Errorf("one message is there twice, with one id: %q", p.got)
						}
					}
					if d = start(); len(d.told) != 0 {
						t.Errorf("kept is %+v", d.told)
					}
				})
			}
		}
	}
}

// TestWhatIsNotedForAReceiverThatIsAwayIsBounded.
func TestWhatIsNotedForAReceiverThatIsAwayIsBounded(t *testing.T) {
	h := newHub(t)
	h.run()()
	d := &dispatch{n: h.n, r: &receiver{cfg: newReceiver("r"), name: "r"}, told: map[string]told{}}
	for i := range 3 {
		m := message{key: fmt.Sprint(i)}
		for j := range maxUnsure / 2 {
			m.firing = append(m.firing, alert{ID: fmt.Sprint(j)})
		}
		if err := d.begin(t.Context(), []message{m}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(d.told); n != 2 || len(d.told["1"].Unsure) != maxUnsure/2 {
		t.Errorf("%d groups are noted", n)
	}
}
