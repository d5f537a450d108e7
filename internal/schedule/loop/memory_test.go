package loop

import (
	"fmt"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// What a promise keeps in memory is what the collector goes through again and
// again, so that a decision's scores and others must not be kept with it.
func TestAPromiseKeepsLittleInMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("16,000 promises; make test")
	}
	const (
		warm, measured = 6000, 10_000 // events at hand are full after the first
		most, objects  = 3200, 11     // of a lease: bytes and objects
	)
	r := open(t, file(t), func(c *Config) { c.Hold = 1000 * time.Hour })
	if _, err := r.PutFacility(t.Context(), schedule.Facility{ID: "f", Region: "220100", SecurityGrade: 3, State: schedule.Ready, PUE: schedule.PUE{Constant: 1.2}}); err != nil {
		t.Fatal(err)
	}
	for p := range 6 {
		if _, err := r.PutPool(t.Context(), schedule.Pool{ID: fmt.Sprintf("p%d", p), Facility: "f", Arch: "amd64", Engine: schedule.EngineAgent,
			Classes: []schedule.Class{{Count: 60, Node: schedule.Node{CPUMilli: 96_000, MemoryMiB: 393_216, DiskGiB: 4000}}}}); err != nil {
			t.Fatal(err)
		}
	}
	shape := []schedule.Task{{Name: "main", Min: 1, Max: 1, Use: schedule.Vector{schedule.CPUMilli: 1000, schedule.MemoryMiB: 1024}, P50: time.Hour, P95: 2 * time.Hour}}
	submit := func(from, to int) {
		for n := from; n < to; n += 1000 {
			batch := make([]Submission, 1000)
			for i := range batch {
				batch[i].Workload = nth(shape, n+i)
			}
			for _, a := range r.Submit(t.Context(), batch...) {
				if a.Err != nil || a.State != schedule.Reserved {
					t.Fatal(a.Err, a.State)
				}
			}
		}
	}
	submit(0, warm)
	bytes, held := reachable()
	submit(warm, warm+measured)
	more, others := reachable()
	if each := float64(more-bytes) / measured; each > most {
		t.Errorf("%.0f bytes are kept for each lease, more than %d", each, most)
	}
	if each := float64(others-held) / measured; each > objects {
		t.Errorf("%.1f objects are kept for each lease, more than %d", each, objects)
	}
}
