package plan

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
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

// postpone decides whether a workload waits for its window, or for hours that
// are greener or cheaper by the forecasts, where there will be room for it as far
// as is known now: what runs ends by plan, and what is planned is in use.
//
// A forecast that is missing, stale or does not reach far enough defers nothing;
// stale is the reason to tell then.
func (c *Cluster) postpone(w *schedule.Workload, now time.Time) (d schedule.Decision, deferred bool, stale *schedule.Reason) {
	early := now.Before(w.Window.Earliest)
	if w.Window.Deferrable {
		s := shift{c: c, w: w, now: now, first: now}
		if early {
			s.first = w.Window.Earliest
		}
		if d, deferred = s.decide(); deferred {
			return d, true, nil
		}
		if !s.fresh {
			stale = s.stale
		}
	}
	if !early {
		return schedule.Decision{}, false, stale
	}
	return schedule.Decision{At: now, Until: w.Window.Earliest,
		Reasons: []schedule.Reason{{Code: schedule.WaitsForEarliest, Args: []string{stamp(w.Window.Earliest)}}}}, true, nil
}

// shift looks for the start at which a workload costs least.
type shift struct {
	c     *Cluster
	w     *schedule.Workload
	now   time.Time
	first time.Time // the earliest start
	stale *schedule.Reason

	fresh  bool        // some zone has a forecast that counts
	starts []time.Time // the first is now, or the earliest
	zones  map[string][]means
	hours  float64 // of the longest task, P50
}

// means are those of one zone over the work, for one start.
type means struct {
	yuan, kg float64 // per kWh
	known    bool
}

// option is the best start at one facility, of those not ruled out.
type option struct {
	facility int32
	pool     int32 // where a member costs least now
	cost     []float64
	start    int
	kWh      float64 // of all members, PUE included
	brown    float64 // share that is not green
	zone     []means // nil without a forecast
}

func (s *shift) decide() (schedule.Decision, bool) {
	c, w := s.c, s.w
	longest := &w.Tasks[0]
	for i := range w.Tasks {
		if w.Tasks[i].P95 > longest.P95 {
			longest = &w.Tasks[i]
		}
	}
	s.hours = longest.P50.Hours()
	s.lay(longest.P95)
	if len(s.starts) < 2 {
		return schedule.Decision{}, false
	}
	k := c.classOf(w, longest, w.Members())
	options := s.options(k)
	runNow, dear := never64, 0.0
	if c.any(k) && s.first.Equal(s.now) {
		for i := range options {
			if o := &options[i]; o.cost[0] < runNow && s.roomNow(k, o.facility) {
				runNow, dear = o.cost[0], s.electric(o, 0)
			}
		}
	}
	for {
		o := best(options)
		if o == nil || o.cost[o.start] >= runNow-leastSaving*dear {
			return schedule.Decision{}, false
		}
		if o.start == 0 {
			// At once, if it can; else this start is none.
			if s.first.Equal(s.now) {
				if s.roomNow(k, o.facility) {
					return schedule.Decision{}, false
				}
				o.rule()
				continue
			}
		}
		parts, ok := s.room(o)
		if !ok {
			o.rule()
			continue
		}
		return s.deferred(o, parts), true
	}
}

const never64 = 1e300

// lay makes the starts: from the first, at whole steps, up to the last at which
// the work ends in time.
func (s *shift) lay(p95 time.Duration) {
	end := s.now.Add(horizon)
	if !s.w.Window.Deadline.IsZero() {
		end = s.w.Window.Deadline
	}
	last := end.Add(-p95)
	if last.Before(s.first) {
		return
	}
	by := step
	for last.Sub(s.first) > by*maxStarts {
		by += step
	}
	s.starts = append(s.starts, s.first)
	for t := s.first.Truncate(by).Add(by); !t.After(last); t = t.Add(by) {
		s.starts = append(s.starts, t)
	}
	s.zones = map[string][]means{}
}

// zone works out the means of a zone, once. Without any forecast that counts it
// has none, and says why.
func (s *shift) zone(name string) []means {
	if m, ok := s.zones[name]; ok {
		return m
	}
	kinds := make([]signal.Kind, 0, 2)
	for _, kind := range []signal.Kind{signal.Carbon, signal.Price} {
		if kind == signal.Carbon && s.w.Objective.CarbonPrice == 0 {
			continue
		}
		if s.c.signals.Of(kind, name).Stale(s.now) {
			if s.stale == nil {
				s.stale = &schedule.Reason{Code: schedule.ForecastStale, Args: []string{string(kind), name}}
			}
			continue
		}
		kinds = append(kinds, kind)
	}
	var all []means
	if len(kinds) > 0 {
		all = make([]means, len(s.starts))
		for i, start := range s.starts {
			end := start.Add(time.Duration(s.hours * float64(time.Hour)))
			all[i].known = true
			for _, kind := range kinds {
				mean, known := s.c.signals.Of(kind, name).Mean(start, end)
				all[i].known = all[i].known && known > 0.999
				if kind == signal.Carbon {
					all[i].kg = mean / 1000
				} else {
					all[i].yuan = mean
				}
			}
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
		base := float64(offer(at)) * members
		for j, start := range s.starts {
			switch {
			case j > 0 && (o.zone == nil || !o.zone[j].known):
				o.cost[j] = never64
			default:
				o.cost[j] = base + s.electric(&o, j) - s.electric(&o, 0) + s.w.Objective.HourPrice*start.Sub(s.starts[0]).Hours()
			}
		}
		o.start = cheapest(o.cost)
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
	return o.kWh * (o.zone[start].yuan + o.zone[start].kg*o.brown*s.w.Objective.CarbonPrice)
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

// room plans all members in the pools of one facility, by what they will have
// free: nodes are not told apart, but a member must fit the largest.
func (s *shift) room(o *option) ([]schedule.Assignment, bool) {
	c := s.c
	start := s.starts[o.start]
	var parts []schedule.Assignment
	pools := slices.Clone(c.facilities[o.facility].pools)
	slices.SortStableFunc(pools, func(a, b int32) int { return cmp.Compare(b2i(b == o.pool), b2i(a == o.pool)) })
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
			free := c.cautious(p, p.cap.Sub(p.peak(stepOf(start), stepAfter(end))), start, end, s.now).Sub(taken[j])
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

// peak is the most that is in use at any time of [from, to), in steps, as far as
// is planned: what is leased and does not end before, and what is planned.
func (p *pool) peak(from, to int64) schedule.Vector {
	use := p.used
	for _, e := range p.ends {
		if e.at <= from {
			use = use.Sub(e.use)
		}
	}
	for _, b := range p.planned {
		if b.from < to && from < b.to {
			use = use.Add(b.use)
		}
	}
	return use
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
	kg, yuan := o.kWh*now.kg*o.brown-d.CarbonKg, o.kWh*now.yuan-d.Cost
	if kg*s.w.Objective.CarbonPrice >= yuan {
		d.Reasons = []schedule.Reason{{Code: schedule.WaitsForCarbon, Args: []string{stamp(start), strconv.FormatFloat(kg, 'f', 3, 64)}}}
	} else {
		d.Reasons = []schedule.Reason{{Code: schedule.WaitsForPrice, Args: []string{stamp(start), strconv.FormatFloat(yuan, 'f', 2, 64)}}}
	}
	return d
}

// Plan counts what a deferred workload is to use, by Decision.Planned, against
// what later ones are deferred to. It holds nothing.
func (c *Cluster) Plan(parts []schedule.Assignment) {
	for i := range parts {
		if j, ok := c.poolOf[parts[i].Pool]; ok {
			p := c.own(j)
			p.planned = append(p.planned, bookingOf(&parts[i]))
		}
	}
}

// Unplan takes back what Plan counted.
func (c *Cluster) Unplan(parts []schedule.Assignment) {
	for i := range parts {
		j, ok := c.poolOf[parts[i].Pool]
		if !ok {
			continue
		}
		p := c.own(j)
		if at := slices.Index(p.planned, bookingOf(&parts[i])); at >= 0 {
			p.planned = slices.Delete(p.planned, at, at+1)
		}
	}
}

func bookingOf(a *schedule.Assignment) booking {
	return booking{from: stepOf(a.Start), to: stepAfter(a.End), use: a.Use}
}
