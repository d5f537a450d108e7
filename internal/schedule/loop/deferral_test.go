package loop

import (
	"fmt"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/scheduletest"
)

// greener is work of an hour that waits for less carbon until a deadline.
func greener(deadline time.Time, alter ...func(*schedule.Workload)) func(*schedule.Workload) {
	return func(w *schedule.Workload) {
		w.Objective = schedule.Greenest
		w.Window = schedule.Window{Deferrable: true, Deadline: deadline}
		for _, f := range alter {
			f(w)
		}
	}
}

func (r *running) signal(zone string, from time.Time, values ...float64) {
	r.t.Helper()
	if taken, err := r.PutSignal(r.t.Context(), carbon(zone, from, values...)); err != nil || !taken {
		r.t.Fatal(taken, err)
	}
}

// planned counts the workloads that are deferred by the hour in which they are to
// run, and reports what the cluster has booked at most.
func (r *running) planned() map[int]int {
	r.t.Helper()
	all, err := r.Waiting(r.t.Context(), schedule.Deferred, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	hours := map[int]int{}
	for _, one := range all {
		if len(one.Planned) == 0 || !one.Planned[0].Start.Equal(one.Until) {
			r.t.Fatalf("%s is deferred until %v and planned %+v", one.ID, one.Until, one.Planned)
		}
		hours[int(one.Until.Sub(noon).Hours())]++
	}
	return hours
}

// TestAGreenHourIsNotBookedTwice lets 200 equal jobs come, with one green hour
// that has room for 50.
func TestAGreenHourIsNotBookedTwice(t *testing.T) {
	path := file(t)
	r := open(t, path)
	r.declare("a", 5)
	r.signal("a", noon, 500, 500, 300, 100, 200, 400, 500, 500)
	var all []Submission
	for i := range 200 {
		all = append(all, Submission{Workload: work(fmt.Sprint(i), 1, greener(noon.Add(8*time.Hour)))})
	}
	for _, a := range r.Submit(t.Context(), all[:100]...) {
		if a.Err != nil || a.State != schedule.Deferred {
			t.Fatalf("%s: %v", a.State, a.Err)
		}
	}
	for _, s := range all[100:150] {
		r.submit(s.Workload)
	}
	want := map[int]int{3: 50, 4: 50, 2: 50}
	if got := r.planned(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("deferred by hour %v, want %v", got, want)
	}
	r.close()

	r = open(t, path)
	for _, s := range all[150:] {
		r.submit(s.Workload)
	}
	want[5] = 50
	if got := r.planned(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("after a restart, deferred by hour %v, want %v", got, want)
	}
	// None is in its own way when its time has come.
	for range 2 {
		r.advance(time.Hour)
	}
	r.until("that those of hour 2 begin", func() bool { return r.planned()[2] == 0 })
	if got := r.planned(); got[3] != 50 || got[4] != 50 || got[5] != 50 {
		t.Errorf("of the others %v are deferred", got)
	}
	for _, c := range r.Capacities() {
		if c.Leased[schedule.CPUMilli] != 50_000 {
			t.Errorf("%v is leased, want 50 CPUs", c.Leased)
		}
	}
}

func TestWhatIsCancelledIsNotPlanned(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 1)
	r.signal("a", noon, 500, 100, 200, 500)
	first := r.submit(work("first", 10, greener(noon.Add(4*time.Hour))))
	second := r.submit(work("second", 10, greener(noon.Add(4*time.Hour))))
	if err := r.Cancel(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	third := r.submit(work("third", 10, greener(noon.Add(4*time.Hour))))
	for a, want := range map[*Answer]time.Duration{&first: time.Hour, &second: 2 * time.Hour, &third: time.Hour} {
		if !a.Decision.Until.Equal(noon.Add(want)) {
			t.Errorf("%s is deferred until %v, want %v", a.ID, a.Decision.Until, noon.Add(want))
		}
	}
}

// TestAForecastThatIsIssuedAnewMovesWhatWaits, and says why.
func TestAForecastThatIsIssuedAnewMovesWhatWaits(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 1)
	r.declare("b", 1)
	r.signal("a", noon, 500, 100, 200, 500)
	r.signal("b", noon, 500, 500, 500, 500)
	moves := r.submit(work("moves", 10, greener(noon.Add(4*time.Hour))))
	r.signal("b", noon.Add(time.Second), 500, 500, 500, 20)
	r.until("the move", func() bool {
		got, err := r.Get(t.Context(), moves.ID)
		return err == nil && got.Until.Equal(noon.Add(3*time.Hour))
	})
	got, err := r.Get(t.Context(), moves.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Planned[0].Facility != "b" || got.Decision.Reasons[0].Code != schedule.ForecastChanged || got.Decision.CarbonKg == 0 {
		t.Errorf("planned %+v because %+v", got.Planned, got.Decision.Reasons)
	}
	events, _, err := r.Events(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	last := events[len(events)-1]
	if last.Object != moves.ID || last.From != last.To || last.Reason == nil || last.Reason.Code != schedule.ForecastChanged {
		t.Errorf("the last event is %+v", last)
	}
	// What it had is free for others.
	if a := r.submit(work("next", 10, greener(noon.Add(4*time.Hour)))); !a.Decision.Until.Equal(noon.Add(time.Hour)) {
		t.Errorf("the next is deferred until %v", a.Decision.Until)
	}
}

func TestWhatWaitsForAFacilityThatIsCordonedIsPlannedElsewhere(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 1)
	r.declare("b", 1)
	r.signal("a", noon, 500, 100, 200, 500)
	r.signal("b", noon, 500, 500, 200, 500)
	a := r.submit(work("w", 10, greener(noon.Add(4*time.Hour))))
	if a.Decision.Planned[0].Facility != "a" {
		t.Fatalf("%+v", a.Decision.Planned)
	}
	all, err := r.Declared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := all.Facilities[0]
	f.State = schedule.Cordoned
	if _, err := r.PutFacility(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	r.until("the move", func() bool {
		got, err := r.Get(t.Context(), a.ID)
		return err == nil && got.Planned[0].Facility == "b" && got.Until.Equal(noon.Add(2*time.Hour)) && got.Reason.Code == schedule.PlaceChanged
	})
}

// TestWhatWaitsMakesRoom when work that does not wait takes what was planned.
func TestWhatWaitsMakesRoom(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 1)
	r.signal("a", noon, 500, 100, 200, 500)
	a := r.submit(work("waits", 6, greener(noon.Add(4*time.Hour))))
	now := r.submit(work("now", 6, func(w *schedule.Workload) { w.Tasks[0].P50, w.Tasks[0].P95 = 2*time.Hour, 2*time.Hour }))
	if now.State != schedule.Reserved {
		t.Fatal(now.State)
	}
	r.until("the move", func() bool {
		got, err := r.Get(t.Context(), a.ID)
		return err == nil && got.Until.Equal(noon.Add(2*time.Hour)) && got.Reason.Code == schedule.PlaceChanged
	})
}

// TestAStaleForecastIsNotWaitedFor lets work begin that was deferred by one.
func TestAStaleForecastIsNotWaitedFor(t *testing.T) {
	r := open(t, file(t))
	r.declare("a", 1)
	values := make([]float64, 72)
	for i := range values {
		values[i] = 500 - float64(i)
	}
	r.signal("a", noon, values...)
	a := r.submit(work("waits", 6, greener(noon.Add(70*time.Hour))))
	if a.State != schedule.Deferred {
		t.Fatal(a.State)
	}
	r.advance(37 * time.Hour)
	r.reaches(a.ID, schedule.Reserved)
}

// TestWorkPausesForGreenerHours runs it in segments at an engine.
func TestWorkPausesForGreenerHours(t *testing.T) {
	path := file(t)
	m := scheduletest.NewMemory(scheduletest.Faults{})
	engines := agents(map[string]facility.Engine{"a": m})
	r := openWith(t, path, engines)
	r.declare("a", 1, schedule.EngineAgent)
	r.signal("a", noon, 100, 500, 500, 100, 300, 500, 500, 500)
	a := r.submit(work("w", 6, script(scheduletest.Script{Mark: "w", Hold: true}), greener(noon.Add(8*time.Hour), func(w *schedule.Workload) {
		t := &w.Tasks[0]
		t.P50, t.P95, t.Interruptible, t.Checkpoint = 2*time.Hour, 2*time.Hour, true, 10*time.Minute
	})))
	if a.State != schedule.Reserved || len(a.Decision.Planned) != 1 || !a.Decision.Assignments[0].End.Equal(noon.Add(time.Hour)) {
		t.Fatalf("%s: %+v, then %+v", a.State, a.Decision.Assignments, a.Decision.Planned)
	}
	if p := a.Decision.Planned[0]; !p.Start.Equal(noon.Add(3*time.Hour)) || p.End.Before(noon.Add(4*time.Hour+10*time.Minute)) {
		t.Fatalf("then %+v", p)
	}
	r.reaches(a.ID, schedule.Running)
	// The pause survives a restart.
	r.close()
	r = openWith(t, path, engines)
	r.advance(time.Hour)
	got := r.reaches(a.ID, schedule.Deferred)
	if !got.Until.Equal(noon.Add(3*time.Hour)) || got.Reason.Code != schedule.PausedForHours || got.Worked != 50*time.Minute || got.TakenBack != 0 {
		t.Fatalf("deferred until %v because %+v, worked %v", got.Until, got.Reason, got.Worked)
	}
	if d := got.Decision; d.EnergyKWh == 0 || d.CarbonKg == 0 || len(d.Planned) != 1 || d.ExpectedWait != 2*time.Hour {
		t.Errorf("the rest takes %v kWh, %v kg, waits %v: %+v", d.EnergyKWh, d.CarbonKg, d.ExpectedWait, d.Planned)
	}
	r.until("that it is stopped", func() bool { return m.Alive("w") == 0 })
	r.advance(2 * time.Hour)
	got = r.reaches(a.ID, schedule.Running)
	part := got.Decision.Assignments[len(got.Decision.Assignments)-1]
	if d := part.End.Sub(part.Start); d < 70*time.Minute || d > 90*time.Minute || len(got.Planned) != 0 {
		t.Errorf("the second segment is %+v, then %+v", part, got.Planned)
	}
	m.Release("w")
	r.reaches(a.ID, schedule.Succeeded)
	r.free()
	if m.Began("w") != 2 {
		t.Errorf("it began %d times", m.Began("w"))
	}
}

// BenchmarkOpenDeferred opens a scheduler with 100,000 deferred workloads.
func BenchmarkOpenDeferred(b *testing.B) {
	path := file(b)
	r := open(b, path)
	r.declare("a", 5000)
	values := make([]float64, 48)
	for i := range values {
		values[i] = float64(500 - 7*i%300)
	}
	if _, err := r.PutSignal(b.Context(), carbon("a", noon, values...)); err != nil {
		b.Fatal(err)
	}
	for range 100 {
		var all []Submission
		for i := range 1000 {
			all = append(all, Submission{Workload: work(fmt.Sprint(i), 1, greener(noon.Add(40*time.Hour)))})
		}
		for _, a := range r.Submit(b.Context(), all...) {
			if a.Err != nil || a.State != schedule.Deferred {
				b.Fatal(a.State, a.Err, a.Decision.Reasons)
			}
		}
	}
	r.close()
	for b.Loop() {
		r := open(b, path)
		b.StopTimer()
		if n := r.deferred.Len(); n != 100_000 {
			b.Fatal(n)
		}
		r.close()
		b.StartTimer()
	}
}
