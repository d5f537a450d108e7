package plan

import (
	"cmp"
	"math"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// Replan decides anew about a workload that is deferred. What is planned of it
// must not be counted at that moment, see Unplan. It stays where it is planned
// (false) unless another time or place, now among them, saves enough to be worth
// the move, or what is planned is not possible any more. A decision that is neither
// to begin nor to wait for a time says that there is no place.
func (c *Cluster) Replan(w *schedule.Workload, planned []schedule.Assignment, now time.Time, signals signal.Set) (d schedule.Decision, moves bool) {
	d = c.place(w, now, signals, true)
	next := d.Planned
	if len(d.Assignments) > 0 {
		next = append(append([]schedule.Assignment(nil), d.Assignments...), d.Planned...)
	}
	if len(planned) == 0 || !c.possible(w, planned, now) {
		return d, true
	}
	is, known := c.electricity(w, planned, now)
	if !known {
		return d, true // the forecasts that it waited for are out of date
	}
	if len(next) == 0 {
		return d, false
	}
	would, known := c.electricity(w, next, now)
	return d, known && would < is*(1-leastSaving)
}

// urgent is how long before its last possible start nothing comes before a
// workload.
const urgent = 2 * time.Hour

// Order is in which order deferred work is planned anew, all of it taken out
// first: what has to start soon, then the longest and the largest, since they find
// a place least easily.
func Order(now time.Time) func(a, b *schedule.Workload) int {
	soon := func(w *schedule.Workload) int {
		return b2i(w.Window.Deadline.IsZero() || w.Window.Deadline.Add(-length(w)).Sub(now) > urgent)
	}
	return func(a, b *schedule.Workload) int {
		return cmp.Or(cmp.Compare(soon(a), soon(b)), cmp.Compare(length(b), length(a)), cmp.Compare(draw(b), draw(a)), cmp.Compare(a.ID, b.ID))
	}
}

func length(w *schedule.Workload) (most time.Duration) {
	for i := range w.Tasks {
		most = max(most, w.Tasks[i].P95)
	}
	return most
}

func draw(w *schedule.Workload) (watts float64) {
	for i := range w.Tasks {
		watts += schedule.DefaultPower.Draw(w.Tasks[i].Need()) * float64(w.Tasks[i].Max)
	}
	return watts
}

// possible reports whether a plan may still come about.
func (c *Cluster) possible(w *schedule.Workload, planned []schedule.Assignment, now time.Time) bool {
	if planned[0].Start.Before(now.Truncate(step)) {
		return false
	}
	defer c.book(planned, -1)
	c.book(planned, 1) // parts may lie beside each other
	for i := range planned {
		a := &planned[i]
		j, ok := c.poolOf[a.Pool]
		if !ok {
			return false
		}
		p := c.pools[j]
		if c.admits(w, c.facilities[p.facility].def) != passed || !p.busiest(stepOf(a.Start), stepAfter(a.End)).Within(p.cap) {
			return false
		}
	}
	return true
}

// Estimate is what planned parts will take and emit by the forecasts, and what
// their electricity costs.
func (c *Cluster) Estimate(parts []schedule.Assignment, now time.Time, signals signal.Set) (kWh, kg, yuan float64) {
	c.turn(now, signals)
	for i := range parts {
		if j, ok := c.poolOf[parts[i].Pool]; ok {
			energy, g := c.meter(j, &parts[i])
			kWh, kg, yuan = kWh+energy*g.kWh, kg+energy*g.kg, yuan+energy*g.yuan
		}
	}
	return kWh, kg, yuan
}

// meter is what a part takes without the PUE, and the grid at that time.
func (c *Cluster) meter(j int32, a *schedule.Assignment) (kWh float64, g grid) {
	p, hours := c.pools[j], a.End.Sub(a.Start).Hours()
	return p.power.Draw(a.Use) / 1000 * hours, c.gridOver(p.facility, a.Start, hours, c.facilities[p.facility].load(), math.NaN())
}

// electricity is what the electricity and the carbon of parts cost by forecasts;
// false where there is none that counts.
func (c *Cluster) electricity(w *schedule.Workload, parts []schedule.Assignment, now time.Time) (yuan float64, known bool) {
	s := shift{c: c, w: w, now: now}
	for i := range parts {
		a := &parts[i]
		j, ok := c.poolOf[a.Pool]
		if !ok {
			return 0, false
		}
		zone := c.facilities[c.pools[j].facility].def.GridZone
		kinds := s.kinds(zone)
		if len(kinds) == 0 || !s.mean(zone, kinds, a.Start, a.End).known {
			return 0, false
		}
		kWh, g := c.meter(j, a)
		yuan += kWh * (g.yuan + g.kg*w.Objective.CarbonPrice)
	}
	return yuan, true
}
