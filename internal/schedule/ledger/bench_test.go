package ledger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// The province of the benchmarks: 1,000 facilities of 10 pools of 16 nodes.
const (
	benchFacilities = 1000
	benchPools      = 10
	benchNodes      = 16
	benchCPUs       = 64_000
)

func declare(tb testing.TB, l *Ledger) {
	tb.Helper()
	var all sync.WaitGroup
	for f := range benchFacilities {
		all.Go(func() {
			id := fmt.Sprintf("f%03d", f)
			if _, err := l.PutFacility(tb.Context(), facility(id)); err != nil {
				tb.Error(err)
			}
			for p := range benchPools {
				pool := schedule.Pool{ID: fmt.Sprintf("%s-p%d", id, p), Facility: id, Arch: "amd64", Engine: schedule.EngineAgent,
					Classes: []schedule.Class{{Count: benchNodes, Node: schedule.Node{CPUMilli: benchCPUs, MemoryMiB: 1 << 18, DiskGiB: 1000}}}}
				if _, err := l.PutPool(tb.Context(), pool); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// placement is a workload with the n-th place of a round robin, and a decision
// as a planner explains it: eight scores and five others.
func placement(n int64, key string) Move {
	pool := n % (benchFacilities * benchPools)
	f := fmt.Sprintf("f%03d", pool/benchPools)
	use := schedule.Vector{schedule.CPUMilli: 1000, schedule.MemoryMiB: 2048}
	now := time.Unix(1_800_000_000, 0).UTC()
	d := &schedule.Decision{At: now, EnergyKWh: 1.5, CarbonKg: 0.7, Cost: 12.5, Reasons: []schedule.Reason{schedule.Because(schedule.Chosen, "12.5")}}
	for _, s := range []string{"electricity", "carbon", "rate", "transfer", "latency", "wait", "fragmentation", "failure_risk"} {
		d.Scores = append(d.Scores, schedule.Score{Scorer: s, Value: 1.25, Unit: "CNY", Cost: 1.25})
	}
	for i := range schedule.MaxRunnersUp {
		d.RunnersUp = append(d.RunnersUp, schedule.RunnerUp{Facility: "f" + strconv.Itoa(i), Pool: "p" + strconv.Itoa(i), Cost: 13, Worse: d.Scores[i]})
	}
	d.Assignments = []schedule.Assignment{{Task: "main", Facility: f, Pool: fmt.Sprintf("%s-p%d", f, pool%benchPools),
		Slot: int(n / (benchFacilities * benchPools) % benchNodes), Use: use, Start: now, End: now.Add(time.Hour)}}
	w := workload("train-"+key, 1)
	w.Tasks[0].Use = use
	return Move{New: &w, Key: key, Body: [32]byte{1}, To: schedule.Reserved, Decision: d, Expires: now.Add(time.Hour)}
}

// Placements/s that are durable and happen once, from many callers. Every
// placement is released again by a report of its end once 100,000 are live.
func BenchmarkPlacements(b *testing.B) {
	for _, callers := range []int{64, 256, 512} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "r.db")
			l := open(b, path)
			declare(b, l.Ledger)
			var n atomic.Int64
			var mu sync.Mutex
			var took []time.Duration
			run := b.Name() + strconv.FormatInt(time.Now().UnixNano(), 36)
			b.ResetTimer()
			used := processor()
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					var mine []time.Duration
					for {
						i := n.Add(1)
						if i > int64(b.N) {
							break
						}
						move := placement(i, run+strconv.FormatInt(i, 36))
						start := time.Now()
						if r := l.Submit(context.Background(), move)[0]; r.Err != nil {
							b.Error(r.Err)
							return
						}
						mine = append(mine, time.Since(start))
					}
					mu.Lock()
					took = append(took, mine...)
					mu.Unlock()
				})
			}
			all.Wait()
			b.StopTimer()
			b.ReportMetric(float64((processor()-used).Microseconds())/float64(b.N), "cpu-us/placement")
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "placements/s")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			if info, err := os.Stat(path); err == nil {
				b.ReportMetric(float64(info.Size())/float64(b.N), "bytes/placement")
			}
		})
	}
}

// processor is how long the process has computed: what a figure depends on when
// others use the machine too.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
