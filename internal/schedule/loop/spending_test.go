package loop

import (
	"math"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

func TestATenantSpendsNoMoreThanItsBudgetInAMonth(t *testing.T) {
	path := file(t)
	r := open(t, path)
	r.declare("a", 4)
	free := r.submit(work("asks what it costs", 8))
	cost := free.Decision.Cost
	if cost <= 0 {
		t.Fatal("it costs nothing")
	}
	if _, err := r.PutTenant(t.Context(), schedule.Tenant{ID: "lab", Weight: 1, Budget: schedule.Budget{Money: 2.5 * cost}}); err != nil {
		t.Fatal(err)
	}
	first, second := r.submit(work("first", 8, tenant("lab"))), r.submit(work("second", 8, tenant("lab")))
	third := r.submit(work("third", 8, tenant("lab")))
	if first.State != schedule.Reserved || second.State != schedule.Reserved {
		t.Fatalf("%s and %s within the budget", first.State, second.State)
	}
	if third.State != schedule.Queued || third.Decision.Reasons[0].Code != schedule.TenantBudget || third.Decision.Reasons[0].Args[0] != "lab" {
		t.Fatalf("the third is %s: %v", third.State, third.Decision.Reasons)
	}
	spent := func() float64 {
		r.Scheduler.mu.Lock()
		defer r.Scheduler.mu.Unlock()
		return r.spending.spent["lab"].Money
	}
	if got := spent(); math.Abs(got-2*cost) > 1e-9 {
		t.Errorf("%v is spent, want %v", got, 2*cost)
	}
	r.close()

	// It is spent after a restart as well. What has not begun gives it back.
	r = open(t, path)
	if got := spent(); math.Abs(got-2*cost) > 1e-9 {
		t.Errorf("%v is spent after a restart, want %v", got, 2*cost)
	}
	if err := r.Cancel(t.Context(), second.ID); err != nil {
		t.Fatal(err)
	}
	r.reaches(third.ID, schedule.Reserved)
	r.finish(first)
	fourth := r.submit(work("fourth", 8, tenant("lab")))
	if fourth.State != schedule.Queued {
		t.Fatalf("the fourth is %s", fourth.State)
	}
	// A month later, by the time of Beijing.
	r.advance(time.Date(2026, 11, 30, 15, 59, 0, 0, time.UTC).Sub(r.clock()))
	r.pass(t.Context())
	if got, _ := r.Get(t.Context(), fourth.ID); got.State != schedule.Queued {
		t.Fatalf("in the same month it is %s", got.State)
	}
	r.advance(time.Minute)
	r.reaches(fourth.ID, schedule.Reserved)
}
