package loop

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// byHand leaves it to the test when all that wait are decided at once.
func byHand(c *Config) { c.Batch.Least, c.Batch.Every = 1_000_000, 1000*time.Hour }

// crowd is a facility with 20 CPUs that are in use for an hour, one hour that is
// green and two hours later another that is nearly as green; 20 jobs that could
// use either come before 20 that must end before the other.
func crowd(r *running, busy int) (ids []string) {
	r.declare("a", 2)
	r.signal("a", noon, 500, 100, 500, 120, 500, 500)
	for range busy {
		r.submit(work("busy", 10))
	}
	// All of a kind come at once, so that none is left over by a look at those before.
	for i, deadline := range []time.Duration{6 * time.Hour, 3 * time.Hour} {
		batch := make([]Submission, 20)
		for j := range batch {
			batch[j].Workload = work(fmt.Sprintf("%d-%d", i, j), 1, greener(noon.Add(deadline)))
		}
		for _, a := range r.Submit(r.t.Context(), batch...) {
			if a.Err != nil || a.State != schedule.Deferred {
				r.t.Fatalf("%s is %s: %v", a.ID, a.State, a.Err)
			}
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// carbonOf adds up what workloads are to emit.
func (r *running) carbonOf(ids []string) (kg float64) {
	r.t.Helper()
	for _, id := range ids {
		got, err := r.Get(r.t.Context(), id)
		if err != nil {
			r.t.Fatal(err)
		}
		kg += got.Decision.CarbonKg
	}
	return kg
}

func TestAllAtOnceCostLessThanFirstComeFirstServed(t *testing.T) {
	r := open(t, file(t), byHand)
	ids := crowd(r, 2)
	before := r.carbonOf(ids)
	if got := r.planned(); got[1] != 20 || got[2] != 20 {
		t.Fatalf("one by one they are deferred to %v, want hours 1 and 2", got)
	}
	r.batch(t.Context())
	if got := r.planned(); got[1] != 20 || got[3] != 20 {
		t.Errorf("all at once they are deferred to %v, want hours 1 and 3", got)
	}
	if after := r.carbonOf(ids); after >= before/2 {
		t.Errorf("%.2f kg, and one by one %.2f", after, before)
	}
	got, err := r.Get(t.Context(), ids[0])
	if err != nil {
		t.Fatal(err)
	}
	d := got.Decision
	if last := d.Reasons[len(d.Reasons)-1]; d.Bound <= 0 || d.Gap > 0.01 || last.Code != schedule.PlannedTogether {
		t.Errorf("bound %v, gap %v, because %v", d.Bound, d.Gap, d.Reasons)
	}
	// Who comes later finds no room that is not there.
	for range 15 {
		r.submit(work("later", 1, greener(noon.Add(6*time.Hour))))
	}
	for hour, n := range r.planned() {
		if n > 20 {
			t.Errorf("%d CPUs are planned in hour %d, and there are 20", n, hour)
		}
	}
	// A second look moves nobody without need.
	events := func() int {
		all, _, err := r.Events(t.Context(), 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	n := events()
	r.batch(t.Context())
	if more := events() - n; more > 15 {
		t.Errorf("%d events come of a second look", more)
	}
}

func TestWhatChangedMeanwhileInvalidatesOnlyWhatDoesNotFit(t *testing.T) {
	r := open(t, file(t), byHand)
	r.declare("b", 1)
	r.signal("b", noon, 500, 110, 500, 500, 500, 500)
	ids := crowd(r, 3)
	found := r.search(t.Context())
	all, err := r.Declared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all.Facilities {
		if f.ID == "b" {
			f.State = schedule.Cordoned
			if _, err := r.PutFacility(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
	}
	inB := 0
	for _, s := range found.Slots {
		if len(s.Pools) > 0 && s.Pools[0] == "b-cpu" {
			inB++
		}
	}
	r.adopt(t.Context(), found)
	r.until("that nothing is planned in b", func() bool {
		for _, id := range ids {
			got, err := r.Get(t.Context(), id)
			if err != nil || len(got.Planned) == 0 || got.Planned[0].Facility == "b" {
				return false
			}
		}
		return true
	})
	hours, moved := r.planned(), 0
	for _, id := range ids {
		if got, err := r.Get(t.Context(), id); err == nil && got.Decision.Bound > 0 {
			moved++
		}
	}
	if inB == 0 || moved == 0 || moved > len(ids)-inB {
		t.Errorf("%d slots are in b, and %d of %d workloads have the one that was found", inB, moved, len(ids))
	}
	for hour, n := range hours {
		if n > 20 {
			t.Errorf("%d CPUs are planned in hour %d, and there are 20", n, hour)
		}
	}
}

func TestALongQueueIsDecidedAtOnceByItself(t *testing.T) {
	r := open(t, file(t), func(c *Config) { c.Batch.Least = 10 })
	crowd(r, 2)
	r.until("that hour 3 is used", func() bool { return r.planned()[3] == 20 })
}

// TestWhatIsDecidedByItselfKeepsItsBookings: work that may pause does not join,
// and what it is to use is not given to others.
func TestWhatIsDecidedByItselfKeepsItsBookings(t *testing.T) {
	r := open(t, file(t), byHand)
	ids := crowd(r, 2)
	pauses := func(w *schedule.Workload) { w.Tasks[0].Interruptible = true }
	alone := r.submit(work("alone", 1, greener(noon.Add(6*time.Hour)), pauses))
	r.mu.Lock()
	defer r.mu.Unlock()
	if jobs := r.jobs(); len(jobs) != len(ids) || slices.ContainsFunc(jobs, func(w *schedule.Workload) bool { return w.ID == alone.ID }) {
		t.Errorf("%d join, want the %d others", len(jobs), len(ids))
	}
	if len(r.booked.of[alone.ID]) == 0 {
		t.Error("nothing is booked for it")
	}
}

func TestTheBatchConfigRefusesWhatMakesNoSense(t *testing.T) {
	if errs := DefaultBatch().Check("schedule.batch"); len(errs) > 0 {
		t.Error(errs)
	}
	if errs := (Batch{Least: 1, Every: -1, Budget: 0}).Check("schedule.batch"); len(errs) != 3 {
		t.Error(errs)
	}
}
