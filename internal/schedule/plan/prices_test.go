package plan

import (
	"slices"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
	"github.com/songhua-io/hub/internal/telemetry"
)

// pair is two facilities that are alike, each with one pool, and forecasts of
// carbon by hour for both.
func pair(t *testing.T, now time.Time, carbon ...float64) (*Cluster, signal.Set) {
	t.Helper()
	c, set := NewCluster(nil), signal.Set{}
	for _, id := range []string{"a", "b"} {
		c.SetFacility(&schedule.Facility{ID: id, Region: "220100", SecurityGrade: 2, MaxDataGrade: telemetry.General, GridZone: "z", PUE: schedule.PUE{Constant: 1.2}, State: schedule.Ready})
		if err := c.SetPool(&schedule.Pool{ID: id + "-cpu", Facility: id, Arch: "amd64", Engine: schedule.EngineNone,
			Classes: []schedule.Class{{Count: 2, Node: schedule.Node{CPUMilli: 10_000, MemoryMiB: 64_000}}}}); err != nil {
			t.Fatal(err)
		}
	}
	s := &signal.Series{Kind: signal.Carbon, Zone: "z", Issued: now}
	for i, v := range carbon {
		at := now.Add(time.Duration(i) * time.Hour)
		s.Steps = append(s.Steps, signal.Step{Start: at, End: at.Add(time.Hour), Value: v, Low: v, High: v})
	}
	set.Put(s)
	return c, set
}

func one(deferrable bool, deadline time.Time) *schedule.Workload {
	return &schedule.Workload{ID: "w", Tenant: "default", Name: "w", Gang: schedule.GangNone, Shape: schedule.AnyShape, Objective: schedule.Greenest,
		Window: schedule.Window{Deferrable: deferrable, Deadline: deadline},
		Tasks:  []schedule.Task{{Name: "main", Min: 1, Max: 1, Use: schedule.Vector{schedule.CPUMilli: 5000}, P50: time.Hour, P95: time.Hour}}}
}

// dear is a price on the CPUs of pools in some hours from a time on.
func dear(now time.Time, pools []string, hours ...int) Prices {
	p := Prices{From: now, Until: now.Add(10 * time.Minute), Of: map[string][]Price{}}
	of := make([]Price, 96)
	for _, h := range hours {
		for t := 4 * h; t < 4*h+4; t++ {
			of[t][schedule.CPUMilli] = 0.01 // 200 yuan for five CPUs and an hour
		}
	}
	for _, id := range pools {
		p.Of[id] = of
	}
	return p
}

func TestPricesMoveWhatHasAChoice(t *testing.T) {
	now := time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)
	c, set := pair(t, now, 500, 100, 500, 150, 500, 500)
	urgent, may := one(false, time.Time{}), one(true, now.Add(6*time.Hour))
	if d := c.Place(urgent, now, set); d.Assignments[0].Pool != "a-cpu" {
		t.Fatalf("without prices it goes to %s", d.Assignments[0].Pool)
	}
	c.SetPrices(dear(now, []string{"a-cpu"}, 0))
	d := c.Place(urgent, now, set)
	if d.Assignments[0].Pool != "b-cpu" || d.RunnersUp[0].Worse.Scorer != "scarcity" {
		t.Errorf("with a price on a it goes to %s; the other is worse by %+v", d.Assignments[0].Pool, d.RunnersUp)
	}
	if d := c.Place(may, now, set); !d.Until.Equal(now.Add(time.Hour)) {
		t.Errorf("it is deferred until %v", d.Until)
	}
	c.SetPrices(dear(now, []string{"a-cpu", "b-cpu"}, 1))
	if d := c.Place(may, now, set); !d.Until.Equal(now.Add(3 * time.Hour)) {
		t.Errorf("with a price on hour 1 it is deferred until %v", d.Until)
	}
	if d := c.Place(may, now.Add(11*time.Minute), set); !d.Until.Equal(now.Add(time.Hour)) {
		t.Errorf("the prices are out of date, and it is deferred until %v", d.Until)
	}
}

func TestPricesAloneDelayNothingUrgent(t *testing.T) {
	now := time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)
	c, set := pair(t, now, 500, 100)
	c.SetPrices(dear(now, []string{"a-cpu", "b-cpu"}, 0))
	d := c.Place(one(false, time.Time{}), now, set)
	if len(d.Assignments) != 1 {
		t.Fatalf("it waits: %v", d.Reasons)
	}
	if at := slices.IndexFunc(d.Scores, func(s schedule.Score) bool { return s.Scorer == "scarcity" }); at < 0 || d.Scores[at].Cost < 199 || d.Scores[at].Cost > 201 || d.Scores[at].Unit != "CNY" {
		t.Errorf("the scores are %+v, want 200 yuan of scarcity", d.Scores)
	}
}
