package plan

import (
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

const (
	// horizon is how far a workload without a deadline is deferred.
	horizon = 24 * time.Hour
	// maxStarts is how many starts are compared; beyond, they lie farther apart.
	maxStarts = 192
	// leastSaving is the share of the cost of electricity and carbon below
	// which nothing is deferred: forecasts are not better than that.
	leastSaving = 0.02
)

// postponed is what comes of a look at later hours.
type postponed struct {
	// decision is set when the workload waits.
	decision *schedule.Decision
	// first is set when it begins now and pauses.
	first *split
	// stale is why nothing was deferred; nil when that is not so.
	stale *schedule.Reason
}

// postpone decides whether a workload waits for its window, or for hours that
// are greener or cheaper by the forecasts, where there will be room for it as far
// as is known now: what runs ends by plan, and what is planned is in use.
//
// A forecast that is missing, stale or does not reach far enough defers nothing.
func (c *Cluster) postpone(w *schedule.Workload, now time.Time, waits bool) (p postponed) {
	early := now.Before(w.Window.Earliest)
	if w.Window.Deferrable {
		s := shift{c: c, w: w, now: now, first: now, least: leastSaving}
		if waits {
			s.least = 0
		}
		if early {
			s.first = w.Window.Earliest
		}
		if p = s.decide(); p.decision != nil || p.first != nil {
			return p
		}
		if !s.fresh {
			p.stale = s.stale
		}
	}
	if early {
		return postponed{decision: &schedule.Decision{At: now, Until: w.Window.Earliest,
			Reasons: []schedule.Reason{{Code: schedule.WaitsForEarliest, Args: []string{stamp(w.Window.Earliest)}}}}}
	}
	return p
}
