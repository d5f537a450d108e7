package ledger

import (
	"bufio"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

var fill = flag.Int("ledger.fill", 1_000_000, "workloads of BenchmarkReady, of which a tenth is live")

// The time until a ledger with a million workloads, of which 100,000 have a
// lease, answers again after the process that wrote it was killed at work.
func BenchmarkReady(b *testing.B) {
	if path := os.Getenv("LEDGER_FILL"); path != "" {
		fillAndWork(b, path)
	}
	path := filepath.Join(b.TempDir(), "r.db")
	answered := killed(b, path, 20_000)
	b.ResetTimer()
	for range b.N {
		used, start := processor(), time.Now()
		h := prepare(b, path).run()
		w := workload("after", 1)
		if r := h.Submit(b.Context(), Move{New: &w, To: schedule.Queued})[0]; r.Err != nil {
			b.Fatal(r.Err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s-until-ready")
		b.ReportMetric((processor() - used).Seconds(), "cpu-s-until-ready")
		b.StopTimer()
		b.ReportMetric(float64(len(h.leases)), "leases")
		for _, id := range answered {
			if r, err := h.Get(b.Context(), id); err != nil || r.State != schedule.Reserved {
				b.Fatalf("%s was answered: %s, %v", id, r.State, err)
			}
		}
		h.close(b)
		b.StartTimer()
	}
}

// killed lets another process fill a ledger and work, kills it after so many
// answers, and returns these.
func killed(b *testing.B, path string, answers int) (answered []string) {
	cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkReady$", "-test.benchtime=1x", fmt.Sprintf("-ledger.fill=%d", *fill))
	cmd.Env = append(os.Environ(), "LEDGER_FILL="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for in := bufio.NewScanner(out); in.Scan(); {
		if id, ok := strings.CutPrefix(in.Text(), "answered "); ok && strings.HasSuffix(id, " .") {
			answered = append(answered, strings.TrimSuffix(id, " ."))
		}
		if len(answered) == answers {
			cmd.Process.Kill() //nolint:errcheck // it ends when it is killed
		}
	}
	cmd.Wait() //nolint:errcheck // it was killed
	if len(answered) < answers {
		b.Fatalf("the process ended by itself after %d answers", len(answered))
	}
	return answered
}

// fillAndWork writes workloads as the ledger writes them, many in one batch, and
// works until it is killed.
func fillAndWork(b *testing.B, path string) {
	h := prepare(b, path).run()
	declare(b, h.Ledger)
	live := *fill / 10
	for at := 0; at < *fill; at += 10_000 {
		batch := newBatch(nil)
		h.mu.Lock()
		for i := at; i < at+10_000; i++ {
			h.last.num++
			h.last.token++
			r := old(h.last.num, h.last.token, int64(i%live), i >= *fill-live)
			for _, to := range []schedule.State{schedule.Submitted, schedule.Reserved, r.State} {
				h.last.seq++
				batch.events = append(batch.events, schedule.Event{Seq: h.last.seq, At: r.Since, Kind: schedule.OfWorkload, Object: r.ID, Tenant: "default", To: string(to)})
			}
			batch.keys = newKey("default", strconv.Itoa(i), [32]byte{1}, r.num).append(batch.keys)
			w := &row{record: r}
			batch.records[r.num] = w
			batch.encode([]written{{r, w, lacksNothing}})
		}
		h.last.at = h.now()
		batch.last = h.last
		h.mu.Unlock()
		if err := h.db.Tx(b.Context(), func(tx *sql.Tx) error { return h.save(b.Context(), tx, batch) }); err != nil {
			b.Fatal(err)
		}
	}
	h.close(b)
	work(prepare(b, path).run(), int64(live))
}

// old is a workload that has ended, or runs.
func old(num, token uint64, place int64, runs bool) *record {
	m := placement(place, strconv.FormatUint(num, 10))
	m.New.ID = workloadID(num)
	moves := []Move{m}
	explain([]Proposal{{Moves: moves}})
	r := &record{num: num, Record: Record{ID: m.New.ID, Tenant: "default", Version: 2, Workload: m.New, State: schedule.Succeeded, Since: m.Decision.At}, explained: moves[0].explained}
	lease := schedule.Lease{Token: token, Facility: m.Decision.Assignments[0].Facility, State: schedule.Released, Parts: m.Decision.Assignments, Created: r.Since}
	if runs {
		r.State, lease.State = schedule.Running, schedule.Committed
	}
	r.Leases = []schedule.Lease{lease}
	r.First = r.receipt(1)
	return r
}

func work(h *hub, from int64) {
	var n atomic.Int64
	for range 256 {
		go func() {
			for {
				i := n.Add(1) + from
				r := h.Submit(context.Background(), placement(i, "live"+strconv.FormatInt(i, 10)))[0]
				if r.Err != nil {
					fmt.Println(r.Err)
					os.Exit(1)
				}
				fmt.Printf("answered %s .\n", r.Receipts[0].ID)
			}
		}()
	}
	time.Sleep(time.Hour) // until it is killed
}
