package plan

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// province is 10,000 pools in 1,000 facilities, with two to four nodes each, six
// kinds of accelerators, eight zones with forecasts, and requests of the default
// trace of openb in their proportions, with CPUs, security and latency to ask for.
func province(t testing.TB, facilities int) (*Cluster, []*schedule.Workload, signal.Set) {
	o := loadOpenb(t, "default")
	rng := rand.New(rand.NewPCG(7, 7))
	c := NewCluster(&schedule.Network{Tiers: schedule.DefaultTiers})
	models := []string{"A100", "V100", "T4", "P100", "A10", "910B"}
	for f := range facilities {
		id := fmt.Sprintf("f%d", f)
		c.SetFacility(&schedule.Facility{ID: id, Region: fmt.Sprintf("22%02d00", 1+f%9), SecurityGrade: 2 + f%3, State: schedule.Ready,
			GridZone: fmt.Sprintf("z%d", f%8), PUE: schedule.PUE{Constant: 1.1 + float64(f%10)/20}, GreenShare: float64(f%5) / 10})
		for p := range 10 {
			pool := &schedule.Pool{ID: fmt.Sprintf("%s-p%d", id, p), Facility: id, Arch: "amd64", Engine: schedule.EngineAgent}
			devices := 0
			if p < 6 {
				pool.Accelerator = &schedule.Accelerator{Vendor: "v", Model: models[p], MemoryMiB: 32768, Shareable: true}
				devices = 8
			}
			for n := range 2 + rng.IntN(3) {
				pool.Nodes = append(pool.Nodes, schedule.Node{ID: fmt.Sprintf("n%d", n), CPUMilli: 96000, MemoryMiB: 393216, DiskGiB: 4000, Accelerators: devices})
			}
			if err := c.SetPool(pool); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.SetDemand(o.demand)
	signals := signal.Set{}
	for z := range 8 {
		for _, kind := range []signal.Kind{signal.Carbon, signal.Price} {
			s := &signal.Series{Kind: kind, Zone: fmt.Sprintf("z%d", z), Issued: noon}
			for h := range 48 {
				at := noon.Add(time.Duration(h) * time.Hour)
				v := 300 + 200*rng.Float64()
				if kind == signal.Price {
					v = 0.3 + 0.5*rng.Float64()
				}
				s.Steps = append(s.Steps, signal.Step{Start: at, End: at.Add(time.Hour), Value: v, Low: v, High: v})
			}
			signals.Put(s)
		}
	}
	ws := make([]*schedule.Workload, 20_000)
	for i := range ws {
		w := *o.pods[rng.IntN(len(o.pods))]
		w.Objective = schedule.Balanced
		ws[i] = &w
	}
	return c, ws, signals
}

// used is the CPU time of this process so far: figures of one core, whatever
// else the machine does.
func used() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func perOp(b *testing.B, start time.Duration) {
	b.ReportMetric(float64((used()-start).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// BenchmarkPlace10kPools decides and takes, and gives back what is oldest when a
// third of all is in use.
func BenchmarkPlace10kPools(b *testing.B) {
	c, ws, signals := province(b, 1000)
	const alive = 60_000
	live := make([][]schedule.Assignment, alive)
	for i := range alive {
		d := c.Place(ws[i%len(ws)], noon, signals)
		if err := c.Take(d.Assignments); err != nil {
			b.Fatal(err)
		}
		live[i] = d.Assignments
	}
	b.ReportAllocs()
	start := used()
	b.ResetTimer()
	for i := range b.N {
		at := i % alive
		if err := c.Give(live[at]); err != nil {
			b.Fatal(err)
		}
		d := c.Place(ws[(i*7)%len(ws)], noon, signals)
		if err := c.Take(d.Assignments); err != nil {
			b.Fatal(err)
		}
		live[at] = d.Assignments
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(b.N)/(used()-start).Seconds(), "decisions/cpu-s")
}

// BenchmarkGang1024 plans 1,024 members evenly over facilities, and in any.
func BenchmarkGang1024(b *testing.B) {
	c, ws, signals := province(b, 1000)
	for i := range 20_000 {
		if err := c.Take(c.Place(ws[i], noon, signals).Assignments); err != nil {
			b.Fatal(err)
		}
	}
	for _, shape := range []schedule.Shape{schedule.AnyShape, schedule.Spread} {
		b.Run(string(shape), func(b *testing.B) {
			w := &schedule.Workload{Tasks: []schedule.Task{{Name: "w", Min: 1024, Max: 1024, P50: time.Hour, P95: time.Hour,
				Use: schedule.Vector{8000, 32768}, Accelerators: &schedule.Accelerators{Count: 1, Milli: 1000, Models: []string{"A100"}}}}, Gang: schedule.GangAll, Shape: shape}
			b.ReportAllocs()
			start := used()
			for b.Loop() {
				d := c.Place(w, noon, signals)
				if len(d.Assignments) != 1024 {
					b.Fatal(d.Reasons)
				}
				seen := map[string]bool{}
				for i := range d.Assignments {
					seen[d.Assignments[i].Facility] = true
				}
				if len(seen) < 3 {
					b.Fatal(len(seen))
				}
			}
			perOp(b, start)
		})
	}
}

// BenchmarkExplain10kPools says of every pool why not and what would help.
func BenchmarkExplain10kPools(b *testing.B) {
	c, ws, signals := province(b, 1000)
	for i := range 20_000 {
		if err := c.Take(c.Place(ws[i], noon, signals).Assignments); err != nil {
			b.Fatal(err)
		}
	}
	w := &schedule.Workload{Tasks: []schedule.Task{{Name: "w", Min: 1, Max: 1, P50: time.Hour, P95: time.Hour, Use: schedule.Vector{100_000, 400_000},
		Accelerators: &schedule.Accelerators{Count: 9, Milli: 1000, Models: []string{"A100", "V100"}}}}, Gang: schedule.GangAll, Shape: schedule.AnyShape,
		Security: schedule.Security{MinGrade: 3}}
	b.ReportAllocs()
	start := used()
	for b.Loop() {
		if d := c.Explain(w, noon, signals); len(d.Refused) != len(c.pools) {
			b.Fatal(len(d.Refused))
		}
	}
	perOp(b, start)
}

// BenchmarkWhatIf10kPools clones, cordons a facility, adds a pool, takes other
// carbon, and places 100 workloads.
func BenchmarkWhatIf10kPools(b *testing.B) {
	c, ws, signals := province(b, 1000)
	for i := range 20_000 {
		if err := c.Take(c.Place(ws[i], noon, signals).Assignments); err != nil {
			b.Fatal(err)
		}
	}
	other := signal.Set{}
	for k, s := range signals {
		if k.Kind != signal.Carbon || k.Zone != "z1" {
			other[k] = s
		}
	}
	b.ReportAllocs()
	start := used()
	for b.Loop() {
		d := c.Clone()
		d.SetState("f3", schedule.Cordoned)
		if err := d.SetPool(&schedule.Pool{ID: "new", Facility: "f4", Arch: "amd64", Engine: schedule.EngineAgent,
			Nodes: []schedule.Node{{ID: "n1", CPUMilli: 128_000, MemoryMiB: 1 << 20}}}); err != nil {
			b.Fatal(err)
		}
		for i := range 100 {
			if err := d.Take(d.Place(ws[i%10], noon, other).Assignments); err != nil {
				b.Fatal(err)
			}
		}
	}
	perOp(b, start)
}

// BenchmarkDefer10kPools chooses among 96 starts.
func BenchmarkDefer10kPools(b *testing.B) {
	c, _, signals := province(b, 1000)
	w := &schedule.Workload{Tasks: []schedule.Task{{Name: "w", Min: 1, Max: 1, P50: time.Hour, P95: time.Hour, Use: schedule.Vector{8000, 32768}}},
		Window: schedule.Window{Deferrable: true}, Objective: schedule.Greenest}
	b.ReportAllocs()
	start := used()
	for b.Loop() {
		if d := c.Place(w, noon, signals); d.Until.IsZero() {
			b.Fatal(d.Reasons)
		}
	}
	perOp(b, start)
}

// BenchmarkOpenb is the packing protocol, one run an operation.
func BenchmarkOpenb(b *testing.B) {
	for _, trace := range traces {
		b.Run(trace, func(b *testing.B) {
			o := loadOpenb(b, trace)
			decisions, seed, busy := 0, uint64(42), time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				c := o.cluster(b)
				b.StartTimer()
				start := used()
				_, _, n := o.run(b, c, seed)
				decisions += n
				seed++
				busy += used() - start
			}
			b.ReportMetric(float64(decisions)/b.Elapsed().Seconds(), "decisions/s")
			b.ReportMetric(float64(decisions)/busy.Seconds(), "decisions/cpu-s")
		})
	}
}
