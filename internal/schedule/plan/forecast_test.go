package plan

import (
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// TestWhatWillBeFree leases, defers and forecasts, and reads what will be free
// hour by hour.
func TestWhatWillBeFree(t *testing.T) {
	c := NewCluster(nil)
	c.SetFacility(&schedule.Facility{ID: "f", State: schedule.Ready})
	if err := c.SetPool(&schedule.Pool{ID: "p", Facility: "f", Classes: []schedule.Class{{Count: 2, Node: schedule.Node{CPUMilli: 8000, MemoryMiB: 8000}}}}); err != nil {
		t.Fatal(err)
	}
	lease := schedule.Assignment{Pool: "p", Slot: 0, Use: schedule.Vector{6000}, Start: noon, End: noon.Add(time.Hour)}
	if err := c.Take([]schedule.Assignment{lease}); err != nil {
		t.Fatal(err)
	}
	c.Observe("p", "", 1, schedule.Vector{1000}, noon)
	c.Plan([]schedule.Assignment{{Pool: "p", Slot: -1, Use: schedule.Vector{4000}, Start: noon.Add(2 * time.Hour), End: noon.Add(3 * time.Hour)}})
	signals := signal.Set{}
	signals.Put(&signal.Series{Kind: signal.Free, Zone: "p", Issued: noon, Steps: []signal.Step{{Start: noon.Add(3 * time.Hour), End: noon.Add(5 * time.Hour), Low: .25, Value: .5, High: .75}}})
	steps, ok := c.Forecast("p", noon, noon.Add(4*time.Hour), signals)
	if !ok {
		t.Fatal("the pool is not there")
	}
	want := []struct {
		minutes time.Duration
		free    int64
	}{{0, 9000}, {15, 10_000}, {60, 16_000}, {120, 12_000}, {180, 16_000}}
	if len(steps) != len(want) {
		t.Fatalf("%d steps: %+v", len(steps), steps)
	}
	for i, s := range steps {
		if s.Start != noon.Add(want[i].minutes*time.Minute) || s.Free[schedule.CPUMilli] != want[i].free || (i > 0 && s.Start != steps[i-1].End) {
			t.Errorf("step %d: %v to %v, %v", i, s.Start, s.End, s.Free)
		}
	}
	last := steps[len(steps)-1]
	if last.Low == nil || last.Low[schedule.CPUMilli] != 4000 || last.Median[schedule.CPUMilli] != 8000 || last.High[schedule.MemoryMiB] != 12_000 || last.End != noon.Add(4*time.Hour) || steps[0].Low != nil {
		t.Errorf("%+v", last)
	}
	if got := c.FreeAt("p", []time.Time{noon.Add(30 * time.Minute), noon.Add(150 * time.Minute)}); got[0][schedule.CPUMilli] != 10_000 || got[1][schedule.CPUMilli] != 12_000 {
		t.Errorf("free at two times: %v", got)
	}
}

// TestADeferralUsesTheLowQuantileOfFreeCapacity has a clean hour in which a
// forecast leaves too little room, nine times in ten enough.
func TestADeferralUsesTheLowQuantileOfFreeCapacity(t *testing.T) {
	c := NewCluster(nil)
	c.SetFacility(&schedule.Facility{ID: "f", State: schedule.Ready, GridZone: "z"})
	if err := c.SetPool(&schedule.Pool{ID: "p", Facility: "f", Classes: []schedule.Class{{Count: 2, Node: schedule.Node{CPUMilli: 8000, MemoryMiB: 8000}}}}); err != nil {
		t.Fatal(err)
	}
	signals := signal.Set{}
	step := func(hour int, carbon float64) signal.Step {
		return signal.Step{Start: noon.Add(time.Duration(hour) * time.Hour), End: noon.Add(time.Duration(hour+1) * time.Hour), Low: carbon, Value: carbon, High: carbon}
	}
	signals.Put(&signal.Series{Kind: signal.Carbon, Zone: "z", Issued: noon, Steps: []signal.Step{step(0, 800), step(1, 800), step(2, 50), step(3, 300), step(4, 800)}})
	w := &schedule.Workload{Gang: schedule.GangAll, Window: schedule.Window{Deferrable: true, Deadline: noon.Add(5 * time.Hour)}, Objective: schedule.Greenest,
		Tasks: []schedule.Task{{Name: "t", Min: 1, Max: 1, P50: time.Hour, P95: time.Hour, Use: schedule.Vector{6000}}}}
	hour := func(s signal.Set) time.Duration { return c.Place(w, noon, s).Until.Sub(noon) }
	if h := hour(signals); h != 2*time.Hour {
		t.Fatalf("without a forecast of capacity it waits %v for the cleanest hour", h)
	}
	free := func(low float64, issued time.Time) signal.Set {
		with := signal.Set{}
		for _, s := range signals {
			with.Put(s)
		}
		with.Put(&signal.Series{Kind: signal.Free, Zone: "p", Issued: issued, Steps: []signal.Step{{Start: noon.Add(2 * time.Hour), End: noon.Add(3 * time.Hour), Low: low, Value: .9, High: 1}}})
		return with
	}
	if h := hour(free(.3, noon)); h != 3*time.Hour {
		t.Errorf("4.8 of 16 CPUs are sure in that hour, 6 are needed, and it waits %v", h)
	}
	if h := hour(free(.4, noon)); h != 2*time.Hour {
		t.Errorf("6.4 of 16 CPUs are sure in that hour, and it waits %v", h)
	}
	if h := hour(free(.3, noon.Add(-signal.Fresh-time.Hour))); h != 2*time.Hour {
		t.Errorf("the forecast of capacity is out of date, and it waits %v", h)
	}
}
