package loop

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/songhua-io/hub/internal/schedule"
)

// TestAllWhoSubmitAtOnceAreAnswered: one of them decides for those who wait, and
// nobody is left waiting when the last one leads; each gets its own answer.
func TestAllWhoSubmitAtOnceAreAnswered(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 100)
	const callers, rounds = 64, 5
	var answered atomic.Int64
	for round := range rounds {
		var all sync.WaitGroup
		for n := range callers {
			all.Go(func() {
				name := fmt.Sprintf("%d-%d", round, n)
				batch := []Submission{{Workload: work(name, 1)}}
				if n%8 == 0 { // more than one caller's worth, and more than are taken together
					for range most {
						batch = append(batch, Submission{Workload: work(name, 1)})
					}
				}
				for _, a := range r.Submit(context.Background(), batch...) {
					got, err := r.Get(context.Background(), a.ID)
					if a.Err != nil || err != nil || got.Workload.Name != name {
						t.Errorf("%s got the answer of %q: %v, %v", name, got.Workload.Name, a.Err, err)
						return
					}
				}
				answered.Add(1)
			})
		}
		r.until("all are answered", func() bool { return answered.Load() == int64(callers*(round+1)) || t.Failed() })
		all.Wait()
	}
	if r.intake.led || len(r.intake.waiting) > 0 {
		t.Error("somebody still leads or waits")
	}
	var leased schedule.Vector
	for _, c := range r.Capacities() {
		leased = leased.Add(c.Leased)
	}
	if leased[schedule.CPUMilli] > 100*10_000 {
		t.Errorf("%v are leased of 1,000,000", leased)
	}
}
