package loop

import (
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// demand is what was asked for lately, by shape; half of it is forgotten each
// hour.
type demand map[shape]*asked

// shape is what members have in common that makes them the same demand.
type shape struct {
	use   schedule.Vector
	count int
	milli int64
	model string
}

type asked struct {
	task   *schedule.Task
	weight float64
	at     time.Time
}

// maxShapes bounds what is remembered.
const maxShapes = 2 * plan.MaxDemands

func (d demand) add(w *schedule.Workload, now time.Time) {
	for i := range w.Tasks {
		t := &w.Tasks[i]
		k := shape{use: t.Use}
		if a := t.Accelerators; a != nil {
			k.count, k.milli = a.Count, a.Milli
			if len(a.Models) > 0 {
				k.model = a.Models[0]
			}
		}
		one := d[k]
		if one == nil {
			if len(d) >= maxShapes {
				d.thin(now)
			}
			one = &asked{task: t, at: now}
			d[k] = one
		}
		one.weight, one.at = one.left(now)+float64(t.Max), now
	}
}

// left is what of a weight is not forgotten.
func (a *asked) left(now time.Time) float64 {
	return a.weight * math.Exp2(-max(0, now.Sub(a.at).Hours()))
}

// thin forgets the half that was asked for least.
func (d demand) thin(now time.Time) {
	weights := make([]float64, 0, len(d))
	for _, a := range d {
		weights = append(weights, a.left(now))
	}
	slices.Sort(weights)
	middle := weights[len(weights)/2]
	for k, a := range d {
		if a.left(now) <= middle {
			delete(d, k)
		}
	}
}

// list is the demand as the planner takes it.
func (d demand) list(now time.Time) []plan.Demand {
	all := make([]plan.Demand, 0, len(d))
	for _, a := range d {
		all = append(all, plan.Demand{Use: a.task.Use, Accelerators: a.task.Accelerators, Weight: a.left(now)})
	}
	return all
}
