package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/schedule"
)

// drawLive tells something of a whole pool or of a facility.
func drawLive(t *rapid.T, c *Cluster, at time.Time) {
	if len(c.pools) > 0 && rapid.Bool().Draw(t, "whole pool") {
		p := c.pools[rapid.IntRange(0, len(c.pools)-1).Draw(t, "observed pool")]
		c.ObservePool(p.def.ID, schedule.Vector{rapid.Int64Range(0, 40_000).Draw(t, "pool cpu"), rapid.Int64Range(0, 10_000).Draw(t, "pool memory")}, at)
	}
	if rapid.Bool().Draw(t, "of facility") {
		f := c.facilities[rapid.IntRange(0, len(c.facilities)-1).Draw(t, "measured")].def
		c.SetFacilityLive(f.ID, FacilityLive{PowerW: rapid.Int64Range(0, 2000).Draw(t, "watts"), PUE: rapid.SampledFrom([]float64{0, 1.1, 1.7}).Draw(t, "pue"), At: at})
	}
}

// TestLaggingTelemetryNeverFreesWhatIsLeased places and ends work while agents
// report late, out of order, too little and too much. At no time does a node or a
// facility offer more than its leases leave, and when telemetry ends they offer
// just that.
func TestLaggingTelemetryNeverFreesWhatIsLeased(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, live := drawCluster(t)
		at := noon
		check := func() {
			t.Helper()
			for i := range c.facilities {
				if f := &c.facilities[i]; f.draw() < f.watts {
					t.Fatalf("%s: %d W are leased and %d W count", f.def.ID, f.watts, f.draw())
				}
			}
			for _, p := range c.pools {
				for s := range p.nodes {
					n := &p.nodes[s]
					for d := range n.free {
						if n.free[d] < 0 || n.free[d] > max(0, n.cap[d]-n.used[d]) {
							t.Fatalf("%s node %d: %v of %v are leased, and %v free", p.def.ID, s, n.used, n.cap, n.free)
						}
					}
				}
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "seconds")) * time.Second)
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				if len(live) > 0 {
					i := rapid.IntRange(0, len(live)-1).Draw(t, "ended")
					if err := c.Give(live[i]); err != nil {
						t.Fatal(err)
					}
					live = slices.Delete(live, i, i+1)
				}
			case 1:
				d := c.Place(drawWorkload(t), at, nil)
				if err := c.Take(d.Assignments); err != nil {
					t.Fatalf("what is offered cannot be taken: %v", err)
				}
				if len(d.Assignments) > 0 {
					live = append(live, d.Assignments)
				}
			case 2:
				drawLive(t, c, at)
			default:
				if len(c.pools) == 0 {
					continue
				}
				p := c.pools[rapid.IntRange(0, len(c.pools)-1).Draw(t, "pool")]
				lag := time.Duration(rapid.IntRange(0, 600).Draw(t, "lag")) * time.Second
				c.Observe(p.def.ID, "", rapid.IntRange(0, len(p.nodes)-1).Draw(t, "slot"),
					schedule.Vector{rapid.Int64Range(0, 20_000).Draw(t, "cpu"), rapid.Int64Range(0, 20_000).Draw(t, "memory"), rapid.Int64Range(0, 4000).Draw(t, "milli")}, at.Add(-lag))
			}
			check()
		}
		at = at.Add(LiveBound + time.Second)
		c.turn(at, nil)
		for _, p := range c.pools {
			for s := range p.nodes {
				n := &p.nodes[s]
				for d := range n.free {
					if want := max(0, n.cap[d]-n.used[d]); d != schedule.AcceleratorMilli && n.free[d] != want {
						t.Fatalf("%s node %d: telemetry ended, and %d %s are free of %d", p.def.ID, s, n.free[d], schedule.DimensionNames[d], want)
					}
				}
			}
		}
	})
}

// TestMeasuredPowerRefusesMore measures more than is planned at a facility with a
// cap, and less.
func TestMeasuredPowerRefusesMore(t *testing.T) {
	c := NewCluster(nil)
	c.SetFacility(&schedule.Facility{ID: "f", State: schedule.Ready, PowerCapW: 150})
	if err := c.SetPool(&schedule.Pool{ID: "p", Facility: "f", Nodes: []schedule.Node{{ID: "n", CPUMilli: 8000, MemoryMiB: 8192}}}); err != nil {
		t.Fatal(err)
	}
	w := &schedule.Workload{Gang: schedule.GangAll, Tasks: []schedule.Task{{Name: "t", Min: 1, Max: 1, P50: time.Hour, P95: time.Hour, Use: schedule.Vector{1000}}}}
	for _, step := range []struct {
		watts int64
		fits  bool
	}{{0, true}, {146, true}, {147, false}, {20, true}, {150, false}, {0, true}} {
		c.SetFacilityLive("f", FacilityLive{PowerW: step.watts, At: noon})
		d := c.Place(w, noon, nil)
		if fits := len(d.Assignments) > 0; fits != step.fits {
			t.Errorf("%d W measured of 150, and 4 W more: %v", step.watts, d.Reasons)
		}
		if !step.fits && (d.Reasons[0].Code != schedule.PowerCap || d.Reasons[0].Args[1] != schedule.Because("", step.watts).Args[0]) {
			t.Errorf("%v", d.Reasons)
		}
	}
	// Less than was planned frees nothing: 12 CPUs would draw 48 W.
	c.SetFacilityLive("f", FacilityLive{PowerW: 1, At: noon})
	if draw, _ := c.Draw("f"); draw != 100 || c.facilities[0].draw() != 100 {
		t.Errorf("an idle node counts 100 W: %d, %d", draw, c.facilities[0].draw())
	}
}

// TestWhatNeverFitsIsToldApart asks for work that waits for leases to end, and for
// work that waits for ever.
func TestWhatNeverFitsIsToldApart(t *testing.T) {
	c := NewCluster(nil)
	c.SetFacility(&schedule.Facility{ID: "f", State: schedule.Ready, Region: "220100"})
	c.SetFacility(&schedule.Facility{ID: "g", State: schedule.Cordoned, Region: "220200", PowerCapW: 410})
	for id, f := range map[string]string{"p": "f", "q": "g"} {
		if err := c.SetPool(&schedule.Pool{ID: id, Facility: f, Arch: "amd64", Classes: []schedule.Class{{Count: 4, Node: schedule.Node{CPUMilli: 8000, MemoryMiB: 8192}}}}); err != nil {
			t.Fatal(err)
		}
	}
	work := func(count int, cpu int64, alter func(*schedule.Workload)) *schedule.Workload {
		w := &schedule.Workload{Gang: schedule.GangAll, Tasks: []schedule.Task{{Name: "t", Min: 1, Max: count, P50: time.Hour, P95: time.Hour, Use: schedule.Vector{cpu}}}}
		alter(w)
		return w
	}
	as := func(*schedule.Workload) {}
	for name, one := range map[string]struct {
		w    *schedule.Workload
		fits bool
	}{
		"one":                   {work(1, 8000, as), true},
		"larger than any node":  {work(1, 8001, as), false},
		"a gang over all":       {work(6, 8000, as), false}, // 10 W are left at g: one of 2 CPUs
		"a small gang over all": {work(5, 2000, as), true},
		"one facility":          {work(5, 8000, func(w *schedule.Workload) { w.Shape = schedule.OneFacility }), false},
		"no two in the same":    {work(3, 1000, func(w *schedule.Workload) { w.Shape = schedule.OnePerFacility }), false},
		"each on its own":       {work(60, 8000, func(w *schedule.Workload) { w.Gang = schedule.GangNone }), true},
		"some of many":          {work(60, 8000, func(w *schedule.Workload) { w.Gang = schedule.GangMinimum; w.Tasks[0].Min = 4 }), true},
		"another architecture":  {work(1, 1000, func(w *schedule.Workload) { w.Affinity.Archs = []string{"arm64"} }), false},
		"only where it is shut": {work(1, 1000, func(w *schedule.Workload) { w.Affinity.Facilities = []string{"g"} }), true},
		"beyond the power":      {work(1, 8000, func(w *schedule.Workload) { w.Affinity.Facilities = []string{"g"} }), false},
	} {
		if c.Fits(one.w) != one.fits {
			t.Errorf("%s: fits %v", name, !one.fits)
		}
		d := c.Explain(one.w, noon, nil)
		said := slices.ContainsFunc(d.Reasons, func(r schedule.Reason) bool { return r.Code == schedule.NeverFits })
		if said == one.fits {
			t.Errorf("%s: %v", name, d.Reasons)
		}
	}
	full := c.Place(work(4, 8000, as), noon, nil)
	if err := c.Take(full.Assignments); err != nil || len(full.Assignments) != 4 {
		t.Fatal(err, full.Reasons)
	}
	if d := c.Explain(work(1, 8000, as), noon, nil); !c.Fits(work(1, 8000, as)) || strings.Contains(d.Reasons[0].Text().EN, "nothing else running") {
		t.Errorf("it waits for what runs: %v", d.Reasons)
	}
}
