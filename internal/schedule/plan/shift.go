package plan

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// shift looks for the start at which a workload costs least.
type shift struct {
	c     *Cluster
	w     *schedule.Workload
	now   time.Time
	first time.Time // the earliest start
	stale *schedule.Reason
	least float64 // share that must be saved to wait rather than begin

	fresh  bool        // some zone has a forecast that counts
	starts []time.Time // the first is now, or the earliest
	zones  map[string][]means
	hours  float64 // of the longest task, P50

	slots     slots
	slotZones map[string][]means
}

// means are those of one zone over a time.
type means struct {
	yuan, kg float64 // per kWh
	known    bool
}

// option is the best start at one facility, of those not ruled out.
type option struct {
	facility int32
	pool     int32   // where a member costs least now
	base     float64 // yuan, besides when it runs
	cost     []float64
	start    int
	least    float64 // of cost, before any was ruled out
	kWh      float64 // of all members, PUE included
	brown    float64 // share that is not green
	zone     []means // nil without a forecast
}

func (s *shift) decide() postponed {
	longest := &s.w.Tasks[0]
	for i := range s.w.Tasks {
		if s.w.Tasks[i].P95 > longest.P95 {
			longest = &s.w.Tasks[i]
		}
	}
	s.hours = longest.P50.Hours()
	s.lay(longest.P95)
	if len(s.starts) < 2 {
		return postponed{}
	}
	k := s.c.classOf(s.w, longest, s.w.Members())
	options := s.options(k)
	at, parts := s.choose(k, options)
	if s.w.Splits() {
		if p, ok := s.split(k, options, at); ok {
			return p
		}
	}
	if at == nil || s.isNow(at.start) {
		return postponed{}
	}
	d := s.deferred(at, parts)
	return postponed{decision: &d}
}

// isNow reports whether a start is at once.
func (s *shift) isNow(start int) bool { return start == 0 && s.first.Equal(s.now) }

// choose returns the option whose start costs least and has room, with its parts;
// nil where none has. One at once is taken unless a later one saves enough: where
// others are booked meanwhile it counts as one without room.
func (s *shift) choose(k *class, options []option) (*option, []schedule.Assignment) {
	var now *option
	if s.first.Equal(s.now) && s.c.any(k) {
		for i := range options {
			if o := &options[i]; (now == nil || o.cost[0] < now.cost[0]) && s.roomNow(k, o.facility) {
				if _, ok := s.room(o, 0); ok {
					now = o
				}
			}
		}
	}
	for tries := 0; ; tries++ {
		o := best(options)
		switch {
		case o == nil || tries == maxRooms:
			return now, nil
		case now != nil && o.cost[o.start] >= now.cost[0]-s.least*s.electric(now, 0):
			now.start = 0
			return now, nil
		case s.isNow(o.start):
			o.rule()
			continue
		}
		if parts, ok := s.room(o, o.start); ok {
			return o, parts
		}
		o.rule()
	}
}

const (
	never64 = 1e300
	// maxRooms bounds the starts at which room is looked for.
	maxRooms = 1000
)

// grid makes moments: from the first, at whole steps, up to the last.
func (s *shift) grid(last time.Time) (all []time.Time, by time.Duration) {
	by = step
	for last.Sub(s.first) > by*maxStarts {
		by += step
	}
	if last.Before(s.first) {
		return nil, by
	}
	all = append(make([]time.Time, 0, last.Sub(s.first)/by+2), s.first)
	for t := s.first.Truncate(by).Add(by); !t.After(last); t = t.Add(by) {
		all = append(all, t)
	}
	return all, by
}

// end is when the work has to be over.
func (s *shift) end() time.Time {
	if s.w.Window.Deadline.IsZero() {
		return s.now.Add(horizon)
	}
	return s.w.Window.Deadline
}

// lay makes the starts, up to the last at which the work ends in time.
func (s *shift) lay(p95 time.Duration) {
	s.starts, _ = s.grid(s.end().Add(-p95))
	s.zones = map[string][]means{}
}

// kinds are those of which a zone has forecasts that count for the workload.
func (s *shift) kinds(zone string) (kinds []signal.Kind) {
	for _, kind := range []signal.Kind{signal.Carbon, signal.Price} {
		if kind == signal.Carbon && s.w.Objective.CarbonPrice == 0 {
			continue
		}
		if s.c.signals.Of(kind, zone).Stale(s.now) {
			if s.stale == nil {
				s.stale = &schedule.Reason{Code: schedule.ForecastStale, Args: []string{string(kind), zone}}
			}
			continue
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// mean is that of a zone over a time.
func (s *shift) mean(zone string, kinds []signal.Kind, start, end time.Time) means {
	m := means{known: true}
	for _, kind := range kinds {
		mean, known := s.c.signals.Of(kind, zone).Mean(start, end)
		m.known = m.known && known > 0.999
		if kind == signal.Carbon {
			m.kg = mean / 1000
		} else {
			m.yuan = mean
		}
	}
	return m
}

// zone works out the means of a zone over the work, for each start, once.
// Without any forecast that counts it has none, and says why.
func (s *shift) zone(name string) []means {
	if m, ok := s.zones[name]; ok {
		return m
	}
	var all []means
	if kinds := s.kinds(name); len(kinds) > 0 {
		all = make([]means, len(s.starts))
		for i, start := range s.starts {
			all[i] = s.mean(name, kinds, start, start.Add(time.Duration(s.hours*float64(time.Hour))))
		}
		s.fresh = true
	}
	s.zones[name] = all
	return all
}

// options are the facilities that admit the work, each with its cost by start.
func (s *shift) options(k *class) []option {
	c := s.c
	members := float64(s.w.Members())
	offer := func(p int32) float32 { return c.offerOf(k, p) }
	var all []option
	costs := make([]float64, 0, len(c.facilities)*len(s.starts))
	for i := range c.facilities {
		f := &c.facilities[i]
		if k.admitted[i] != passed {
			continue
		}
		at := int32(-1)
		for _, p := range f.pools {
			if c.suited(k, p) && (at < 0 || offer(p) < offer(at)) {
				at = p
			}
		}
		if at < 0 {
			continue
		}
		n := len(costs)
		costs = costs[:n+len(s.starts)]
		o := option{facility: int32(i), pool: at, cost: costs[n:], kWh: s.energy(k, at), brown: 1 - f.def.GreenShare, zone: s.zone(f.def.GridZone)}
		o.base = float64(offer(at)) * members
		for j, start := range s.starts {
			switch {
			case j > 0 && (o.zone == nil || !o.zone[j].known):
				o.cost[j] = never64
			default:
				o.cost[j] = o.base + s.electric(&o, j) - s.electric(&o, 0) + s.w.Objective.HourPrice*start.Sub(s.starts[0]).Hours()
			}
		}
		if c.prices != nil {
			s.addScarcity(&o)
		}
		o.start = cheapest(o.cost)
		o.least = o.cost[o.start]
		all = append(all, o)
	}
	return all
}

// electric is what the electricity and the carbon of all members cost for one
// start.
func (s *shift) electric(o *option, start int) float64 {
	if o.zone == nil {
		return 0
	}
	return o.kWh * s.rate(o, &o.zone[start])
}

// rate is what a kWh costs at a facility, its carbon included.
func (s *shift) rate(o *option, m *means) float64 {
	return m.yuan + m.kg*o.brown*s.w.Objective.CarbonPrice
}

// energy is what all members take at a pool.
func (s *shift) energy(k *class, i int32) float64 {
	p := s.c.pools[i]
	var kWh float64
	for i := range s.w.Tasks {
		t := &s.w.Tasks[i]
		kWh += p.power.Draw(t.Need()) / 1000 * over(t.P50, speed(t, p.def)).Hours() * float64(t.Max)
	}
	return kWh * s.c.slotGrid(k.size, p.facility).kWh
}

func best(all []option) *option {
	var b *option
	for i := range all {
		if o := &all[i]; o.cost[o.start] < never64 && (b == nil || o.cost[o.start] < b.cost[b.start]) {
			b = o
		}
	}
	return b
}

func cheapest(costs []float64) int {
	at := 0
	for i := range costs {
		if costs[i] < costs[at] {
			at = i
		}
	}
	return at
}

// rule leaves out the start of an option.
func (o *option) rule() {
	o.cost[o.start] = never64
	o.start = cheapest(o.cost)
}

// roomNow reports whether a facility has room for a member at once.
func (s *shift) roomNow(k *class, f int32) bool {
	return slices.ContainsFunc(s.c.facilities[f].pools, func(p int32) bool { return s.c.open(k, p) })
}

// room plans all members in the pools of one facility from a start on, by what
// they will have free: nodes are not told apart, but a member must fit the
// largest.
func (s *shift) room(o *option, at int) ([]schedule.Assignment, bool) {
	return s.roomIn(s.pools(o), at)
}

// roomIn is room in some pools of a facility.
func (s *shift) roomIn(pools []int32, at int) ([]schedule.Assignment, bool) {
	c := s.c
	start := s.starts[at]
	var parts []schedule.Assignment
	taken := map[int32]schedule.Vector{}
	for i := range s.w.Tasks {
		t := &s.w.Tasks[i]
		n := needOf(t)
		left := t.Max
		for _, j := range pools {
			p := c.pools[j]
			if left == 0 {
				break
			}
			if suits(s.w, t, p.def) != passed || !p.sized(&n) {
				continue
			}
			end := start.Add(over(t.P95, speed(t, p.def)))
			free := c.cautious(p, p.cap.Sub(p.busiest(stepOf(start), stepAfter(end))), start, end, s.now).Sub(taken[j])
			for ; left > 0 && n.use.Within(free); left-- {
				free = free.Sub(n.use)
				taken[j] = taken[j].Add(n.use)
				parts = append(parts, schedule.Assignment{Task: t.Name, Index: t.Max - left, Facility: p.def.Facility, Pool: p.def.ID,
					Slot: -1, Use: n.use, Start: start, End: end})
			}
		}
		if left > 0 {
			return nil, false
		}
	}
	return parts, true
}

// pools are those of the facility of an option, the cheapest first.
func (s *shift) pools(o *option) []int32 {
	pools := slices.Clone(s.c.facilities[o.facility].pools)
	slices.SortStableFunc(pools, func(a, b int32) int { return cmp.Compare(b2i(b == o.pool), b2i(a == o.pool)) })
	return pools
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sized reports whether a node of the pool has room for a member when empty.
func (p *pool) sized(n *need) bool {
	return slices.ContainsFunc(p.nodes, func(node node) bool {
		return n.use.Within(node.cap) && n.count <= int(node.devices)
	})
}

// deferred makes the decision.
func (s *shift) deferred(o *option, parts []schedule.Assignment) schedule.Decision {
	start := s.starts[o.start]
	d := schedule.Decision{At: s.now, Until: start, Planned: parts, ExpectedWait: start.Sub(s.now)}
	if o.start == 0 {
		d.Reasons = []schedule.Reason{{Code: schedule.WaitsForEarliest, Args: []string{stamp(start)}}}
		return d
	}
	then, now := &o.zone[o.start], &o.zone[0]
	d.EnergyKWh, d.CarbonKg, d.Cost = o.kWh, o.kWh*then.kg*o.brown, o.kWh*then.yuan
	d.Reasons = []schedule.Reason{s.saves(start, o.kWh*now.kg*o.brown-d.CarbonKg, o.kWh*now.yuan-d.Cost)}
	return d
}

// saves is the reason to wait until a time: what is saved, by what counts more.
func (s *shift) saves(until time.Time, kg, yuan float64) schedule.Reason {
	if kg*s.w.Objective.CarbonPrice >= yuan {
		return schedule.Reason{Code: schedule.WaitsForCarbon, Args: []string{stamp(until), strconv.FormatFloat(kg, 'f', 3, 64)}}
	}
	return schedule.Reason{Code: schedule.WaitsForPrice, Args: []string{stamp(until), strconv.FormatFloat(yuan, 'f', 2, 64)}}
}
