package plan

import (
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

func (c *Cluster) placeMany(w *schedule.Workload, now time.Time) schedule.Decision {
	return schedule.Decision{At: now}
}
