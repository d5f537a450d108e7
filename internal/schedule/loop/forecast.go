package loop

import (
	"time"

	"github.com/songhua-io/hub/internal/schedule/plan"
)

// Forecast says what of pools will be free until a time; pools that are not there
// are left out.
func (s *Scheduler) Forecast(pools []string, until time.Time) map[string][]plan.FreeStep {
	now := s.deps.Clock()
	c, signals := s.view()
	all := make(map[string][]plan.FreeStep, len(pools))
	for _, id := range pools {
		if steps, ok := c.Forecast(id, now, until, signals); ok {
			all[id] = steps
		}
	}
	return all
}
