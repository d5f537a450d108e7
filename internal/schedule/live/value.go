package live

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/loop"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// defaults are what agents report of the machine that they run on (docs/formats/
// agent-metrics.md). A device counts for the node of the same id, if its region
// is that of the facility.
//
// Of accelerators the memory in use counts, from 5 % of a device on: work that
// shares a device keeps it busy however small its share is, and a driver alone
// takes a little.
var defaults = map[string]string{
	schedule.LiveCPU:         "max by (device, region) (host_cpu_percent) * on (device, region) max by (device, region) (host_cpu_count) * 10",
	schedule.LiveMemory:      "max by (device, region) (host_memory_used_bytes) / 1048576",
	schedule.LiveAccelerator: "sum by (device, region) (1000 * max by (device, region, gpu) (gpu_memory_used_bytes) / max by (device, region, gpu) (gpu_memory_total_bytes) > 50)",
	schedule.LivePower:       "sum by (device, region) (power_watts)",
	schedule.LiveInlet:       "max by (device, region) (inlet_temperature_celsius)",
}

// dimensions are what is observed of nodes.
var dimensions = map[string]int{
	schedule.LiveCPU: schedule.CPUMilli, schedule.LiveMemory: schedule.MemoryMiB, schedule.LiveAccelerator: schedule.AcceleratorMilli,
}

// ask goes through all that is declared.
func (r *round) ask(all *ledger.Snapshot) {
	if len(all.Pools) == 0 {
		return
	}
	for i := range all.Facilities {
		r.facilities[all.Facilities[i].ID] = &all.Facilities[i]
	}
	for name, expression := range defaults {
		r.devices[name] = map[string]Reading{}
		for _, x := range r.readings("", expression) {
			if r.fresh(x) && sound(x.Value) {
				r.devices[name][x.Region+" "+x.Node] = x
			}
		}
	}
	pools := map[string][]*schedule.Pool{}
	for i := range all.Pools {
		p := &all.Pools[i]
		pools[p.Facility] = append(pools[p.Facility], p)
		r.observe(p)
	}
	for i := range all.Facilities {
		r.facility(&all.Facilities[i], pools[all.Facilities[i].ID])
	}
}

// sound reports whether a value can be an amount.
func sound(v float64) bool { return v >= 0 && v <= 1<<40 }

// device is what a default says of a node.
func (r *round) device(name string, f *schedule.Facility, node string) (Reading, bool) {
	x, ok := r.devices[name][f.Region+" "+node]
	return x, ok
}

// seen is what is in use somewhere, and when the oldest sample of it was taken.
type seen struct {
	used schedule.Vector
	at   time.Time
}

func (s *seen) add(dimension int, x Reading) {
	s.used[dimension] += int64(math.Ceil(x.Value))
	if s.at.IsZero() || x.At.Before(s.at) {
		s.at = x.At
	}
}

// observe says what is in use at the nodes of a pool, and of its declared
// expressions which do not tell.
func (r *round) observe(p *schedule.Pool) {
	f := r.facilities[p.Facility]
	byNode := map[string]*seen{}
	at := func(node string) *seen {
		if byNode[node] == nil {
			byNode[node] = &seen{}
		}
		return byNode[node]
	}
	nodes := make(map[string]bool, len(p.Nodes))
	for i := range p.Nodes {
		nodes[p.Nodes[i].ID] = true
	}
	declared := map[string]string{}
	for _, e := range p.Live.Expressions() {
		declared[e.Key] = e.Text
	}
	for name, dimension := range dimensions {
		if expression := declared[name]; expression != "" {
			for _, x := range r.readings(f.Region, expression) {
				if (x.Node == "" || nodes[x.Node]) && sound(x.Value) && r.fresh(x) {
					r.note(p.ID, name, x.At)
					at(x.Node).add(dimension, x)
				}
			}
			continue
		}
		if len(r.devices[name]) == 0 {
			continue
		}
		for node := range nodes {
			if x, ok := r.device(name, f, node); ok {
				at(node).add(dimension, x)
			}
		}
	}
	for _, node := range slices.Sorted(maps.Keys(byNode)) { // the whole pool first
		s := byNode[node]
		r.observations = append(r.observations, loop.Observation{Pool: p.ID, Node: node, Used: s.used, At: s.at})
	}
}

// highest is the highest reading that counts of an expression, as of the oldest.
func (r *round) highest(id, name, region, expression string) (value float64, at time.Time, ok bool) {
	if expression == "" {
		return 0, at, false
	}
	for _, x := range r.readings(region, expression) {
		r.note(id, name, x.At)
		if !r.fresh(x) || math.IsInf(x.Value, 0) {
			continue
		}
		if !ok || x.Value > value {
			value = x.Value
		}
		at, ok = oldest(at, x.At), true
	}
	return value, at, ok
}

// oldest is the earlier of two times, of which zero is none.
func oldest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// facility tells what is live of a facility and, since they share its air, of
// its pools.
func (r *round) facility(f *schedule.Facility, pools []*schedule.Pool) {
	l := plan.FacilityLive{}
	if pue, at, ok := r.highest(f.ID, schedule.LivePUE, f.Region, f.Live.PUE); ok && pue >= 1 && pue <= 10 {
		l.PUE, l.At = math.Round(pue*100)/100, oldest(l.At, at)
	} else {
		r.lapse(f.ID, schedule.LivePUE, f.Live.PUE != "", &l.Stale)
	}
	if watts, at, ok := r.power(f, pools); ok {
		l.PowerW, l.At = int64(math.Ceil(watts)), oldest(l.At, at)
	} else {
		r.lapse(f.ID, schedule.LivePower, f.Live.PowerWatts != "", &l.Stale)
	}
	var outdoor *float64
	outdoorC, outdoorAt, ok := r.highest(f.ID, schedule.LiveOutdoor, f.Region, f.Live.OutdoorCelsius)
	if ok && outdoorC > -90 && outdoorC < 70 {
		outdoor = &outdoorC
	} else {
		r.lapse(f.ID, schedule.LiveOutdoor, f.Live.OutdoorCelsius != "", &l.Stale)
		outdoorAt = time.Time{}
	}
	for _, p := range pools {
		inlet, at := r.pool(f, p, outdoor, outdoorAt)
		l.InletC, l.At = max(l.InletC, inlet), oldest(l.At, at)
	}
	r.values.Facilities[f.ID] = l
}

// power is what the pools of a facility draw: by its expression, else the sum of
// what its nodes report, in which those that report nothing draw what they do
// idle.
func (r *round) power(f *schedule.Facility, pools []*schedule.Pool) (watts float64, at time.Time, ok bool) {
	if f.Live.PowerWatts != "" {
		for _, x := range r.readings(f.Region, f.Live.PowerWatts) {
			if r.fresh(x) && sound(x.Value) {
				watts, at, ok = watts+x.Value, oldest(at, x.At), true
				r.note(f.ID, schedule.LivePower, x.At)
			}
		}
		return watts, at, ok
	}
	for _, p := range pools {
		watts += float64(p.IdleWatts())
		idle := p.Power.OrDefault().IdleW
		for i := range p.Nodes {
			if x, found := r.device(schedule.LivePower, f, p.Nodes[i].ID); found {
				watts, at, ok = watts+x.Value-idle, oldest(at, x.At), true
				r.note(f.ID, schedule.LivePower, x.At)
			}
		}
	}
	return watts, at, ok
}

// pool tells what is live of a pool, and returns the temperature at its warmest
// inlet, 0 when it is not known, as of the oldest reading.
func (r *round) pool(f *schedule.Facility, p *schedule.Pool, outdoor *float64, outdoorAt time.Time) (inlet float64, inletAt time.Time) {
	l := plan.Live{OutdoorC: outdoor, At: outdoorAt}
	x := r.experience[p.ID]
	switch seconds, at, ok := r.highest(p.ID, schedule.LiveQueueWait, f.Region, p.Live.QueueWait); {
	case ok && seconds >= 0:
		l.Wait, l.At = time.Duration(min(seconds, maxWait.Seconds())*float64(time.Second)), oldest(l.At, at)
	case p.Live.QueueWait == "" && !x.WaitAt.IsZero() && r.now.Sub(x.WaitAt) <= plan.LiveBound:
		l.Wait, l.At = min(x.Wait, maxWait).Round(time.Second), oldest(l.At, x.WaitAt)
	default:
		r.lapse(p.ID, schedule.LiveQueueWait, p.Live.QueueWait != "", &l.Stale)
	}
	inlet, inletAt = r.inlet(f, p)
	switch rate, at, ok := r.highest(p.ID, schedule.LiveFailures, f.Region, p.Live.FailuresPerHour); {
	case ok && rate >= 0:
		l.FailuresPerHour, l.At = max(rate, leastRisk), oldest(l.At, at)
	case p.Live.FailuresPerHour != "":
		r.lapse(p.ID, schedule.LiveFailures, true, &l.Stale)
	case x.Lost > 0 || inlet > 0:
		l.FailuresPerHour = significant(risk(x, r.nodes(p)) * warmth(inlet))
		if l.At = oldest(l.At, inletAt); l.At.IsZero() {
			l.At = r.now // what the scheduler itself has seen is as old as this
		}
	}
	has := !l.At.IsZero() || len(l.Stale) > 0
	if has {
		r.told[p.ID] = true
	}
	if has || r.feed.told[p.ID] {
		r.values.Pools[p.ID] = l
	}
	return inlet, inletAt
}

// maxWait bounds how long a queue may be said to be.
const maxWait = 30 * 24 * time.Hour

// leastRisk stands for none: a rate of zero would mean that it is not known.
const leastRisk = 1e-9

func (r *round) nodes(p *schedule.Pool) int {
	n := len(p.Nodes)
	for _, c := range p.Classes {
		n += c.Count
	}
	return n
}

// risk is the rate at which members are lost, for a node and hour: what was seen,
// and with it the usual rate as if one loss had been seen at it.
func risk(x loop.Experience, nodes int) float64 {
	return (float64(x.Lost) + 1) / (float64(nodes)*x.Over.Hours() + 1/plan.FailuresPerHour)
}

func (r *round) inlet(f *schedule.Facility, p *schedule.Pool) (warmest float64, at time.Time) {
	for i := range p.Nodes {
		if x, ok := r.device(schedule.LiveInlet, f, p.Nodes[i].ID); ok && x.Value < 100 {
			warmest, at = max(warmest, x.Value), oldest(at, x.At)
		}
	}
	return warmest, at
}

// warmths are how much more often servers fail at an inlet temperature than at
// 20 °C: the average x-factors of ASHRAE TC 9.9, Thermal Guidelines for Data
// Processing Environments (2011), appendix C.
var warmths = []schedule.Point{{X: 15, Y: .72}, {X: 17.5, Y: .87}, {X: 20, Y: 1}, {X: 22.5, Y: 1.13}, {X: 25, Y: 1.24}, {X: 27.5, Y: 1.34}, {X: 30, Y: 1.42},
	{X: 32.5, Y: 1.48}, {X: 35, Y: 1.55}, {X: 37.5, Y: 1.61}, {X: 40, Y: 1.66}, {X: 42.5, Y: 1.71}, {X: 45, Y: 1.76}}

// warmth is the factor at an inlet temperature; 1 where it is not known.
func warmth(inlet float64) float64 {
	if inlet == 0 {
		return 1
	}
	at, _ := slices.BinarySearchFunc(warmths, inlet, func(p schedule.Point, x float64) int {
		if p.X < x {
			return -1
		}
		return 1
	})
	switch at {
	case 0:
		return warmths[0].Y
	case len(warmths):
		return warmths[at-1].Y
	}
	a, b := warmths[at-1], warmths[at]
	return a.Y + (b.Y-a.Y)*(inlet-a.X)/(b.X-a.X)
}

// significant keeps two digits, so that what hardly changed changes no decision.
func significant(v float64) float64 {
	scale := math.Pow(10, math.Floor(math.Log10(v))-1)
	return math.Round(v/scale) * scale
}
