package plan

import (
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/optimise"
)

// BenchmarkTogether10kPools decides about 1,000 workloads of 150 kinds, half of
// them deferrable, in the province.
func BenchmarkTogether10kPools(b *testing.B) {
	c, all, signals := province(b, 1000)
	ws := make([]*schedule.Workload, 1000)
	for i := range ws {
		w := *all[i%len(all)]
		w.Window = schedule.Window{Deferrable: i%2 == 0, Deadline: noon.Add(time.Duration(8+i%7*4) * time.Hour)}
		ws[i] = &w
	}
	start, began := used(), time.Duration(0)
	var found Together
	for b.Loop() {
		began = 0
		found = c.Clone().Together(ws, noon, signals, optimise.Limits{Stop: func() bool {
			if began == 0 {
				began = used()
				b.ReportMetric((began - start).Seconds(), "cpu-s-to-lay-out")
			}
			return used()-began > time.Second
		}})
	}
	b.ReportMetric(100*found.Gap, "gap-%")
	perOp(b, start)
}
