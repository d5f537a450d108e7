package loop

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

const (
	benchFacilities = 1000
	benchPools      = 10 // of a facility, six of them with accelerators
	benchDeclarers  = 256
	benchEnds       = 64 // reports of ends in one call, as an engine sends them
)

var benchModels = []string{"A100", "V100", "T4", "P100", "A10", "910B"}

// province is 10,000 pools in 1,000 facilities, with two to four nodes each and
// six kinds of accelerators, in eight zones with forecasts of carbon and price.
func (r *running) province() {
	r.t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	nodes := make([]int, benchFacilities*benchPools)
	for i := range nodes {
		nodes[i] = 2 + rng.IntN(3)
	}
	each(r.t, benchDeclarers, benchFacilities, func(f int) error {
		id := fmt.Sprintf("f%03d", f)
		if _, err := r.PutFacility(r.t.Context(), schedule.Facility{ID: id, Region: fmt.Sprintf("22%02d00", 1+f%9), SecurityGrade: 2 + f%3, State: schedule.Ready,
			GridZone: fmt.Sprintf("z%d", f%8), PUE: schedule.PUE{Constant: 1.1 + float64(f%10)/20}, GreenShare: float64(f%5) / 10}); err != nil {
			return err
		}
		for p := range benchPools {
			pool := schedule.Pool{ID: fmt.Sprintf("%s-p%d", id, p), Facility: id, Arch: "amd64", Engine: schedule.EngineAgent}
			node := schedule.Node{CPUMilli: 96_000, MemoryMiB: 393_216, DiskGiB: 4000}
			if p < len(benchModels) {
				pool.Accelerator = &schedule.Accelerator{Vendor: "v", Model: benchModels[p], MemoryMiB: 32_768, Shareable: true}
				node.Accelerators = 8
			}
			for n := range nodes[f*benchPools+p] {
				node.ID = "n" + strconv.Itoa(n)
				pool.Nodes = append(pool.Nodes, node)
			}
			if _, err := r.PutPool(r.t.Context(), pool); err != nil {
				return err
			}
		}
		return nil
	})
	for z := range 8 {
		for _, kind := range []signal.Kind{signal.Carbon, signal.Price} {
			s := &signal.Series{Kind: kind, Zone: fmt.Sprintf("z%d", z), Issued: noon}
			for h := range 48 {
				at, v := noon.Add(time.Duration(h)*time.Hour), 300+200*rng.Float64()
				if kind == signal.Price {
					v = 0.3 + 0.5*rng.Float64()
				}
				s.Steps = append(s.Steps, signal.Step{Start: at, End: at.Add(time.Hour), Value: v, Low: v, High: v})
			}
			if _, err := r.PutSignal(r.t.Context(), s); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// each calls f for 0 to n-1, some at once.
func each(t testing.TB, at, n int, f func(int) error) {
	t.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range at {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// mix is the shapes that are asked for: 36 of accelerators and 12 of CPUs alone,
// of which some hours long.
func mix() (shapes []schedule.Task) {
	task := func(cpu, mem int64, hours int, a *schedule.Accelerators) {
		d := time.Duration(hours) * time.Hour
		shapes = append(shapes, schedule.Task{Name: "main", Min: 1, Max: 1, Use: schedule.Vector{schedule.CPUMilli: cpu, schedule.MemoryMiB: mem}, P50: d, P95: 2 * d, Accelerators: a})
	}
	for m := range benchModels {
		for i, n := range []int{1, 1, 1, 2, 4, 8} {
			milli := []int64{250, 500, 1000, 1000, 1000, 1000}[i]
			task(int64(n)*8000, int64(n)*32_768, 1+i%3*4, &schedule.Accelerators{Count: n, Milli: milli, Models: benchModels[m : m+1]})
		}
	}
	for _, cpu := range []int64{1, 2, 4, 8, 16, 32} {
		for _, hours := range []int{1, 6} {
			task(cpu*1000, cpu*4096, hours, nil)
		}
	}
	return shapes
}

// nth is the n-th workload of a run.
func nth(shapes []schedule.Task, n int) *schedule.Workload {
	rng := rand.New(rand.NewPCG(uint64(n), 42))
	return &schedule.Workload{Tenant: fmt.Sprintf("tenant-%d", n%20), Name: "train-" + strconv.Itoa(n), Gang: schedule.GangNone, Shape: schedule.AnyShape,
		Objective: schedule.Balanced, Tasks: []schedule.Task{shapes[rng.IntN(len(shapes))]}, By: "bench"}
}

// live is what runs, the oldest first.
type live struct {
	mu     sync.Mutex
	tokens []uint64
	most   int
}

// add takes a lease in, and returns leases that are to end.
func (l *live) add(a *Answer) (over []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range a.Grants {
		l.tokens = append(l.tokens, g.Token)
	}
	if len(l.tokens) >= l.most+benchEnds {
		over, l.tokens = l.tokens[:benchEnds:benchEnds], l.tokens[benchEnds:]
	}
	return over
}

// share is how much of the scarcest resource that is there is promised.
func (r *running) share() float64 {
	var all, taken schedule.Vector
	for _, c := range r.Capacities() {
		all, taken = all.Add(c.Capacity), taken.Add(c.Leased)
	}
	most := 0.0
	for i := range all {
		if all[i] > 0 {
			most = max(most, float64(taken[i])/float64(all[i]))
		}
	}
	return most
}

// fillTo submits in batches until so much is promised, and returns the leases.
func (r *running) fillTo(b *testing.B, shapes []schedule.Task, share float64) *live {
	b.Helper()
	l := &live{most: 1 << 40}
	for n := 1 << 30; r.share() < share; {
		batch := make([]Submission, 1000)
		for i := range batch {
			n++
			batch[i].Workload = nth(shapes, n)
		}
		for _, a := range r.Submit(b.Context(), batch...) {
			if a.Err != nil || a.State != schedule.Reserved {
				b.Fatal(a.Err, a.State)
			}
			l.add(&a)
		}
	}
	l.most = len(l.tokens)
	return l
}

// BenchmarkSubmit is the whole of a placement, from the call to the answer that
// is on disk: decided and promised once by its key. A caller waits for its answer
// before it calls again, so that an answer takes at least as long as callers
// divided by placements/s.
//
// In placements nothing ends: 40,000 take the province from 30 % to about 85 %.
// In placements+ends each is ended again later, so that the province stays at
// 70 %; ends are reported 64 at once beside the callers, as an engine does, and
// are part of the figures.
func BenchmarkSubmit(b *testing.B) {
	for _, callers := range []int{64, 128, 256} {
		b.Run(fmt.Sprintf("placements/callers=%d", callers), func(b *testing.B) { submit(b, callers, 0.3, false) })
	}
	for _, callers := range []int{64, 128, 256} {
		b.Run(fmt.Sprintf("placements+ends/callers=%d", callers), func(b *testing.B) { submit(b, callers, 0.7, true) })
	}
}

func submit(b *testing.B, callers int, full float64, ends bool) {
	r := open(b, file(b), func(c *Config) { c.Hold = 1000 * time.Hour })
	r.province()
	shapes := mix()
	l := r.fillTo(b, shapes, full)
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	took := make([]time.Duration, b.N)
	var waits atomic.Int64
	var ended sync.WaitGroup
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	start := processor()
	each(b, callers, b.N, func(n int) error {
		begin := time.Now()
		a := r.Submit(context.Background(), Submission{Workload: nth(shapes, n), Key: run + strconv.Itoa(n)})[0]
		took[n] = time.Since(begin)
		if a.State != schedule.Reserved {
			waits.Add(1)
		}
		if over := l.add(&a); over != nil && ends {
			ended.Go(func() { r.ends(over) })
		}
		return a.Err
	})
	ended.Wait()
	b.StopTimer()
	used := processor() - start
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "placements/s")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-us/placement")
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(float64(waits.Load()), "queued")
	b.ReportMetric(100*r.share(), "%full")
}

// BenchmarkHeld is what the leases of a province that is 90 % full keep in memory,
// and what one collection of that costs.
func BenchmarkHeld(b *testing.B) {
	for range b.N {
		r := open(b, file(b), func(c *Config) { c.Hold = 1000 * time.Hour })
		r.province()
		bytes, objects := reachable()
		n := len(r.fillTo(b, mix(), 0.9).tokens)
		more, others := reachable()
		const collections = 10
		start := processor()
		for range collections {
			runtime.GC()
		}
		b.ReportMetric((processor()-start).Seconds()*1000/collections, "cpu-ms/collection")
		runtime.KeepAlive(r)
		b.ReportMetric(float64(n), "leases")
		b.ReportMetric(float64(more-bytes)/float64(n), "bytes/lease")
		b.ReportMetric(float64(others-objects)/float64(n), "objects/lease")
	}
}

// reachable is what is in memory and not garbage.
func reachable() (bytes, objects uint64) {
	runtime.GC()
	runtime.GC() // without what is in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.HeapObjects
}

// ends reports that work under leases has succeeded.
func (r *running) ends(tokens []uint64) {
	reports := make([]ledger.Report, len(tokens))
	for i, t := range tokens {
		reports[i] = ledger.Report{Token: t, To: schedule.Succeeded}
	}
	for _, err := range r.Report(context.Background(), reports...) {
		if err != nil {
			r.t.Error(err)
		}
	}
}

// processor is how long the process has computed: what a figure depends on when
// others use the machine too.
func processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
