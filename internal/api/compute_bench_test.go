package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule"
)

// province declares 10,000 pools in 1,000 facilities.
func (h *hub) province() {
	h.Helper()
	inParallel(h, benchClients, 1000, func(_, f int) error {
		id := fmt.Sprintf("f%03d", f)
		if _, err := h.api.Scheduler.PutFacility(h.Context(), schedule.Facility{ID: id, Region: fmt.Sprintf("22%02d00", 1+f%9), SecurityGrade: 2 + f%3,
			State: schedule.Ready, GridZone: fmt.Sprintf("z%d", f%8), PUE: schedule.PUE{Constant: 1.1 + float64(f%10)/20}}); err != nil {
			return err
		}
		for p := range 10 {
			pool := schedule.Pool{ID: fmt.Sprintf("%s-p%d", id, p), Facility: id, Arch: "amd64", Engine: schedule.EngineAgent,
				Classes: []schedule.Class{{Count: 3, Node: schedule.Node{CPUMilli: 96_000, MemoryMiB: 393_216, DiskGiB: 4000}}}}
			if _, err := h.api.Scheduler.PutPool(h.Context(), pool); err != nil {
				return err
			}
		}
		return nil
	})
}

// benchClients submit single workloads; fewer those that send batches.
const benchClients = 128

// inParallel calls f for 0 to n-1 from so many goroutines, and tells it which.
func inParallel(t testing.TB, clients, n int, f func(client, i int) error) {
	t.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(client, i); err != nil {
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

// wanted is the n-th workload, of one of 48 shapes.
func wanted(n int) string {
	cpu := 250 << (n % 6)
	return fmt.Sprintf(`{"tenant":"tenant-%d","name":"train-%d","tasks":[{"name":"main","cpu_milli":%d,"memory_mib":%d,"duration":"%dh"}]}`,
		n%20, n, cpu, cpu*(1+n%4), 1<<(n%2*2))
}

// BenchmarkSubmitOverHTTP is placements that are answered when they are on disk,
// by themselves and a hundred in a request, each once by its key. The clients
// are part of the process and of its CPU time.
func BenchmarkSubmitOverHTTP(b *testing.B) {
	for _, size := range []int{1, 100} {
		clients := max(8, benchClients/size)
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			h := start(b)
			h.province()
			door := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchClients, MaxConnsPerHost: benchClients}}
			defer door.CloseIdleConnections()
			tokens := make([]string, clients) // one for each: their calls are bounded
			for i := range tokens {
				tokens[i] = h.roleToken(fmt.Sprintf("client-%d", i), access.Scheduler, "")
			}
			run := strconv.FormatInt(time.Now().UnixNano(), 36)
			requests := (b.N + size - 1) / size
			took := make([]time.Duration, requests)
			b.ReportAllocs()
			b.ResetTimer()
			before := processor()
			inParallel(b, clients, requests, func(client, i int) error {
				path, body := "/api/v1/workloads", wanted(i)
				if size > 1 {
					all := make([]string, size)
					for j := range all {
						all[j] = wanted(i*size + j)
					}
					path, body = path+":batch", `{"workloads":[`+strings.Join(all, ",")+`]}`
				}
				begin := time.Now()
				placed, err := h.as(tokens[client]).place(door, path, body, run+strconv.Itoa(i))
				took[i] = time.Since(begin)
				if err == nil && placed != size {
					err = fmt.Errorf("%d of %d were placed", placed, size)
				}
				return err
			})
			b.StopTimer()
			slices.Sort(took)
			n := float64(requests * size)
			b.ReportMetric(n/b.Elapsed().Seconds(), "placements/s")
			b.ReportMetric(float64((processor()-before).Microseconds())/n, "cpu-us/placement")
			b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
			b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
		})
	}
}

// place posts workloads and returns how many were promised capacity.
func (h *hub) place(door *http.Client, path, body, key string) (int, error) {
	req, err := http.NewRequestWithContext(h.Context(), http.MethodPost, h.server.URL+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+h.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := door.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode/100 != 2 || !json.Valid(text)) {
		err = fmt.Errorf("status %d: %.300s", resp.StatusCode, text)
	}
	return bytes.Count(text, []byte(`"state":"reserved"`)), err
}

// processor is how long the process has computed.
func processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
