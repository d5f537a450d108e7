package plan

import (
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

func (c *Cluster) postpone(w *schedule.Workload, now time.Time) (schedule.Decision, bool) {
	if now.Before(w.Window.Earliest) {
		return schedule.Decision{At: now, Until: w.Window.Earliest, Reasons: []schedule.Reason{{Code: schedule.WaitsForEarliest, Args: []string{stamp(w.Window.Earliest)}}}}, true
	}
	return schedule.Decision{}, false
}
