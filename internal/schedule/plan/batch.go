package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/optimise"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// Slot is where and when a workload is to begin, by a look at all that wait.
type Slot struct {
	Workload *schedule.Workload
	Start    time.Time // zero: it has no place in the horizon
	Pools    []string  // of one facility and alike: in any of them
}

// Together is what was found for many workloads.
type Together struct {
	Slots      []Slot // in the order in which they were given
	Prices     map[string][]Price
	From       time.Time // of the first price
	Bound, Gap float64   // see optimise.Solution
}

const (
	// urgentHour is what an hour of waiting costs, in yuan, of work that is not
	// deferrable: it comes before whatever may wait.
	urgentHour = 20
	// maxOptions is how many places a workload has a choice of, the cheapest.
	maxOptions = 256
)

// batch makes one problem of many workloads.
type batch struct {
	c        *Cluster
	now      time.Time
	first    int64 // step
	starts   []time.Time
	groups   [][]int32 // pools that are alike
	groupOf  []int32   // by pool
	groupsOf [][]int32 // by facility
	problem  optimise.Problem
	classes  map[alike]int
	of       [][]int // workloads by class
	zones    map[forecastKey]map[string][]means
}

// alike is what workloads of one optimise.Class have in common.
type alike struct {
	class       *class
	first, last int // start
	p50, p95    time.Duration
	deferrable  bool
	alone       string // id of a workload that is like no other
}

// forecastKey is what means of zones depend on.
type forecastKey struct {
	hours  float64
	carbon bool
}

// Together decides about many workloads at once for a day from now on: what is
// planned of them must not be counted at that moment, see Unplan. Nothing is
// taken. What may be interrupted, or lies over several facilities, has no slot:
// it is decided by itself.
func (c *Cluster) Together(ws []*schedule.Workload, now time.Time, signals signal.Set, limits optimise.Limits) Together {
	c.turn(now, signals)
	b := batch{c: c, now: now, first: stepOf(now), classes: map[alike]int{}, zones: map[forecastKey]map[string][]means{}}
	b.lay()
	for i, w := range ws {
		b.add(i, w)
	}
	b.problem.Trim()
	return b.read(ws, optimise.Solve(&b.problem, limits))
}

// lay makes the starts and the places: pools of a facility that are alike are
// one, with what they will have free.
func (b *batch) lay() {
	n := int(horizon / step)
	b.problem.Slots = n
	b.starts = append(b.starts, b.now)
	for t := 1; t < n; t++ {
		b.starts = append(b.starts, timeOf(b.first+int64(t)))
	}
	index := map[string]int32{}
	b.groupOf, b.groupsOf = make([]int32, len(b.c.pools)), make([][]int32, len(b.c.facilities))
	for i, p := range b.c.pools {
		key := fmt.Sprint(p.facility, p.kind, p.def.Arch, p.def.Engine, p.def.Labels, p.power, p.def.Rate)
		g, ok := index[key]
		if !ok {
			g = int32(len(b.groups))
			index[key] = g
			b.groups = append(b.groups, nil)
			b.groupsOf[p.facility] = append(b.groupsOf[p.facility], g)
			b.problem.Places = append(b.problem.Places, optimise.Place{Room: make([]schedule.Vector, n)})
		}
		b.groupOf[i] = g
		b.groups[g] = append(b.groups[g], int32(i))
		room := b.problem.Places[g].Room
		u := p.usage(b.first)
		for t := range room {
			for u.next() <= b.first+int64(t) {
				u.advance()
			}
			room[t] = room[t].Add(p.cap.Sub(u.use).Max(schedule.Vector{}))
		}
	}
}

// add adds a workload to the class of those that are like it, or makes one.
func (b *batch) add(i int, w *schedule.Workload) {
	longest := &w.Tasks[0]
	for j := range w.Tasks {
		if w.Tasks[j].P95 > longest.P95 {
			longest = &w.Tasks[j]
		}
	}
	if w.Splits() || w.Members() > 1 && (w.Shape == schedule.OnePerFacility || w.Shape == schedule.Spread) {
		return
	}
	k := b.c.classOf(w, longest, w.Members())
	same := alike{class: k, last: len(b.starts), p50: longest.P50, p95: longest.P95, deferrable: w.Window.Deferrable}
	if len(w.Tasks) > 1 {
		same.alone = w.ID
	}
	same.first, _ = slices.BinarySearchFunc(b.starts, w.Window.Earliest, time.Time.Compare)
	if end := w.Window.Deadline; !end.IsZero() {
		same.last, _ = slices.BinarySearchFunc(b.starts, end.Add(-longest.P95).Add(1), time.Time.Compare)
	}
	at, ok := b.classes[same]
	if !ok {
		at = len(b.problem.Classes)
		b.classes[same] = at
		b.problem.Classes = append(b.problem.Classes, b.class(w, longest, k, same))
		b.of = append(b.of, nil)
	}
	b.problem.Classes[at].Count++
	b.of[at] = append(b.of[at], i)
}

// class is a class without jobs.
func (b *batch) class(w *schedule.Workload, longest *schedule.Task, k *class, same alike) optimise.Class {
	out := optimise.Class{Use: sizeOf(w)}
	s := shift{c: b.c, w: w, now: b.now, first: b.now, starts: b.starts, hours: longest.P50.Hours()}
	key := forecastKey{s.hours, w.Objective.CarbonPrice > 0}
	if b.zones[key] == nil {
		b.zones[key] = map[string][]means{}
	}
	s.zones = b.zones[key]
	all := b.options(&s, k, same)
	if len(all) > maxOptions {
		slices.SortFunc(all, func(x, y option) int { return cmp.Or(cmp.Compare(x.least, y.least), cmp.Compare(x.pool, y.pool)) })
		all, out.Left = all[:maxOptions], all[maxOptions].least
	}
	dearest := 0.0
	for i := range all {
		o := &all[i]
		costs := b.costs(&s, o, same)
		for _, yuan := range costs {
			if !math.IsInf(yuan, 1) {
				dearest = max(dearest, yuan)
			}
		}
		length := int((over(longest.P95, speed(longest, b.c.pools[o.pool].def)) + step - 1) / step)
		out.Options = append(out.Options, optimise.Option{Place: int(b.groupOf[o.pool]), Length: length, First: same.first, Cost: costs})
	}
	out.Wait = 1 + 1.5*dearest
	return out
}

// options are the places that admit the work, each with the least that a start
// there costs.
func (b *batch) options(s *shift, k *class, same alike) []option {
	c := b.c
	var all []option
	for i := range c.facilities {
		f := &c.facilities[i]
		if k.admitted[i] != passed {
			continue
		}
		o := option{facility: int32(i), brown: 1 - f.def.GreenShare, zone: s.zone(f.def.GridZone)}
		rate := never64
		for t := same.first; t < same.last && o.zone != nil; t++ {
			if m := &o.zone[t]; m.known || t == 0 {
				rate = min(rate, s.rate(&o, m))
			}
		}
		if rate == never64 {
			if same.first > 0 {
				continue // no forecast says what any start costs
			}
			rate = 0
		}
		for _, g := range b.groupsOf[i] {
			if one, ok := b.option(s, k, o, b.groups[g]); ok {
				one.least = b.least(s, &one, same, rate)
				all = append(all, one)
			}
		}
	}
	return all
}

// option completes that of a facility by the cheapest pool of those that are
// alike; false where none suits.
func (b *batch) option(s *shift, k *class, o option, pools []int32) (option, bool) {
	c := b.c
	base := never
	for _, p := range pools {
		if offer := c.offerOf(k, p); offer < base {
			o.pool, base = p, offer
		}
	}
	if base == never {
		return o, false
	}
	o.kWh = s.energy(k, o.pool)
	// An offer is for the hours that stand for the class; what it has besides
	// electricity is the same at every start.
	o.base = max(0, float64(base)*float64(s.w.Members())*s.hours/hoursOf(k.size)-s.electric(&o, 0))
	return o, true
}

// hour is what an hour of waiting costs.
func (s *shift) hour(same alike) float64 {
	if same.deferrable {
		return s.w.Objective.HourPrice
	}
	return s.w.Objective.HourPrice + urgentHour
}

// at is what a start costs; +Inf where no forecast says.
func (b *batch) at(s *shift, o *option, same alike, t int) float64 {
	if t > 0 && (o.zone == nil || !o.zone[t].known) {
		return math.Inf(1)
	}
	return o.base + s.electric(o, t) + s.hour(same)*b.starts[t].Sub(b.now).Hours()
}

// least is the least of all starts; no kWh costs less than rate.
func (b *batch) least(s *shift, o *option, same alike, rate float64) float64 {
	least := math.Inf(1)
	for t := same.first; t < same.last; t++ {
		if o.base+o.kWh*rate+s.hour(same)*b.starts[t].Sub(b.now).Hours() >= least {
			break // waiting longer only costs more
		}
		least = min(least, b.at(s, o, same, t))
	}
	return least
}

// costs are those of each start in the window.
func (b *batch) costs(s *shift, o *option, same alike) []float64 {
	costs := make([]float64, max(0, same.last-same.first))
	for i := range costs {
		costs[i] = b.at(s, o, same, same.first+i)
	}
	return costs
}

// read makes slots of a solution: of equal workloads the first has the earliest.
func (b *batch) read(ws []*schedule.Workload, found optimise.Solution) Together {
	out := Together{Slots: make([]Slot, len(ws)), Prices: map[string][]Price{}, From: timeOf(b.first), Bound: found.Bound, Gap: found.Gap}
	for i, w := range ws {
		out.Slots[i].Workload = w
	}
	for i, choices := range found.Jobs {
		slices.SortStableFunc(choices, func(x, y optimise.Choice) int {
			return cmp.Or(cmp.Compare(b2i(x.Option < 0), b2i(y.Option < 0)), cmp.Compare(x.Start, y.Start))
		})
		for j, choice := range choices {
			if choice.Option < 0 {
				break
			}
			slot := &out.Slots[b.of[i][j]]
			slot.Start = b.starts[choice.Start]
			for _, p := range b.groups[b.problem.Classes[i].Options[choice.Option].Place] {
				slot.Pools = append(slot.Pools, b.c.pools[p].def.ID)
			}
		}
	}
	for g, slots := range found.Prices {
		if !slices.ContainsFunc(slots, func(p optimise.Price) bool { return p != optimise.Price{} }) {
			continue
		}
		of := make([]Price, len(slots))
		for t, p := range slots {
			of[t] = Price(p)
		}
		for _, p := range b.groups[g] {
			out.Prices[b.c.pools[p].def.ID] = of
		}
	}
	return out
}

// PlaceAt decides about a workload as a slot says, by what is free and planned
// now; false where that is not possible any more. Nothing is taken.
func (c *Cluster) PlaceAt(slot Slot, now time.Time, signals signal.Set) (d schedule.Decision, ok bool) {
	c.turn(now, signals)
	w := slot.Workload
	var pools []int32
	for _, id := range slot.Pools {
		if p, ok := c.poolOf[id]; ok && c.admits(w, c.facilities[c.pools[p].facility].def) == passed {
			pools = append(pools, p)
		}
	}
	switch {
	case len(pools) == 0:
		return d, false
	case slot.Start.After(now):
		return c.planAt(w, pools, slot.Start, now)
	case len(w.Tasks) == 1 && w.Tasks[0].Max == 1:
		k := c.classOf(w, &w.Tasks[0], 1)
		d = c.chosen(k, w, now, c.candidatesIn(k, w, pools, now))
	default:
		d = c.placeNow(w, now)
	}
	return d, len(d.Assignments) > 0
}

// candidatesIn is candidates in some pools.
func (c *Cluster) candidatesIn(k *class, w *schedule.Workload, pools []int32, now time.Time) []candidate {
	cs := c.scratch.candidates[:0]
	for _, p := range pools {
		if len(cs) == cap(cs) {
			break
		}
		if !c.suited(k, p) {
			continue
		}
		at := c.look(k, p)
		if at.cost >= never {
			continue
		}
		cs = cs[:len(cs)+1]
		one := &cs[len(cs)-1]
		c.weigh(k, w, &w.Tasks[0], &at, now, one)
		if one.overdue || one.overdraw != passed {
			cs = cs[:len(cs)-1]
		}
	}
	slices.SortStableFunc(cs, func(a, b candidate) int { return cmp.Compare(a.cost, b.cost) })
	return cs
}

// planAt defers a workload to a start in some pools of a facility.
func (c *Cluster) planAt(w *schedule.Workload, pools []int32, start, now time.Time) (d schedule.Decision, ok bool) {
	longest := slices.MaxFunc(w.Tasks, func(a, b schedule.Task) int { return cmp.Compare(a.P95, b.P95) })
	s := shift{c: c, w: w, now: now, first: now, starts: []time.Time{now, start}, hours: longest.P50.Hours(), zones: map[string][]means{}}
	k := c.classOf(w, &longest, w.Members())
	f := c.facilities[c.pools[pools[0]].facility].def
	o := option{facility: c.pools[pools[0]].facility, pool: pools[0], start: 1, kWh: s.energy(k, pools[0]), brown: 1 - f.GreenShare, zone: s.zone(f.GridZone)}
	if o.zone == nil || !o.zone[1].known {
		return d, false // it would wait for hours that nobody knows any more
	}
	parts, ok := s.roomIn(pools, 1)
	if !ok {
		return d, false
	}
	d = s.deferred(&o, parts)
	if s.rate(&o, &o.zone[1]) >= s.rate(&o, &o.zone[0]) {
		d.Reasons = nil // it waits for others, and saves nothing itself
	}
	return d, true
}
