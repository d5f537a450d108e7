package plan

import (
	"math"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

const (
	// maxSegments is in how many pieces work is split at most.
	maxSegments = 16
	// splitOptions is at how many facilities a split is looked for: those where
	// the work costs least in one piece.
	splitOptions = 4
)

// split is work in pieces, at one pool.
type split struct {
	pool     int32
	segments []segment
	rest     []schedule.Assignment // all but the first, where that begins now
	cost     float64               // as of option.cost
	// Of P50 of the work and of what each pause loses.
	kWh, kg, yuan float64
	// Of the first segment alone.
	first struct{ kWh, kg, yuan float64 }
}

type segment struct{ start, end time.Time }

// slots are the times that segments are made of, of one facility.
type slots struct {
	at     []time.Time // begins; the last is the end of all
	need   int         // slots of work, by P95
	head   int         // of these the first slot gives: it may be shorter than the others
	lost   int         // slots that a pause costs
	hour   float64     // yuan by which a later end costs more, for a whole slot
	cost   []float64   // of running in each; never64 where it cannot
	pause  float64     // yuan that a pause costs besides
	table  []state
	resume []float64
}

// state is the least cost to have come so far, and how.
type state struct {
	cost float64
	from byte
}

const (
	fromIdle byte = iota
	fromRun
	fromStart
	fromResume
)

// split looks for a decision in pieces that costs less than one in one piece at
// the start of best; nil for none.
func (s *shift) split(k *class, options []option, best *option) (postponed, bool) {
	limit, saving := never64, 0.0
	if best != nil {
		limit = best.cost[best.start]
		saving = s.least * s.electric(best, 0)
	}
	var found *split
	var at *option
	for _, o := range s.nearest(options) {
		for _, j := range s.pools(o) {
			if !s.c.suited(k, j) || !s.c.pools[j].sized(&k.need) {
				continue
			}
			x := s.pieces(k, o, j)
			if x != nil && x.cost < limit-saving {
				found, at, limit = x, o, x.cost
			}
			if x != nil {
				break
			}
		}
	}
	if found == nil {
		return postponed{}, false
	}
	if found.segments[0].start.Equal(s.now) {
		found.rest = s.parts(found, 1)
		return postponed{first: found}, true
	}
	return postponed{decision: s.waitsFor(at, found)}, true
}

// nearest are the options that cost least, by what they would without a bound of
// capacity.
func (s *shift) nearest(options []option) (all []*option) {
	for i := range options {
		o := &options[i]
		if o.zone == nil {
			continue
		}
		n := len(all)
		for n > 0 && o.least < all[n-1].least {
			n--
		}
		if n < splitOptions {
			all = append(all[:n], append([]*option{o}, all[n:min(len(all), splitOptions-1)]...)...)
		}
	}
	return all
}

// pieces splits the work at one pool so that it costs least; nil when it does not
// fit.
func (s *shift) pieces(k *class, o *option, j int32) *split {
	t := &s.w.Tasks[0]
	p := s.c.pools[j]
	rate := speed(t, p.def)
	work, lost := over(t.P95, rate), over(t.Checkpoint, rate)
	x := &s.slots
	var by time.Duration
	x.at, by = s.grid(s.end())
	n := len(x.at) - 1
	if n < 2 {
		return nil
	}
	ceil := func(d time.Duration) int { return int((d + by - 1) / by) }
	x.need, x.lost = ceil(work), ceil(lost)
	if x.need < 2 {
		return nil
	}
	x.head = x.need - ceil(max(0, work-x.at[1].Sub(x.at[0])))
	zone := s.slotMeans(s.c.facilities[o.facility].def.GridZone, x.at)
	hours := over(t.P50, rate).Hours()
	perHour := s.energy(k, j) / hours // kW, PUE included
	x.hour, x.cost = s.w.Objective.HourPrice*by.Hours(), x.cost[:0]
	room := slotRoom{p: p, use: k.need.use, usage: p.usage(stepOf(x.at[0]))}
	for i := range n {
		c := never64
		if room.until(stepAfter(x.at[i+1])) && zone[i].known && (i > 0 || !s.first.Equal(s.now) || s.roomNow(k, o.facility)) {
			c = perHour * x.at[i+1].Sub(x.at[i]).Hours() * s.rate(o, &zone[i])
		}
		x.cost = append(x.cost, c)
	}
	x.pause = 0
	for tries := 0; ; tries++ {
		segments := x.solve()
		if segments == nil {
			return nil
		}
		if len(segments) <= maxSegments {
			return s.price(o, j, segments, perHour, hours, lost, by)
		}
		if tries == 20 {
			return nil
		}
		x.pause = max(2*x.pause, perHour*by.Hours()*s.rate(o, &zone[0])/64, 1e-6)
	}
}

// slotRoom goes along what a pool has free.
type slotRoom struct {
	p     *pool
	use   schedule.Vector
	usage usage
}

// until reports whether there is room in all steps up to one. It is asked with
// rising steps.
func (r *slotRoom) until(to int64) bool {
	ok := r.use.Within(r.p.cap.Sub(r.usage.use))
	for r.usage.next() < to {
		r.usage.advance()
		ok = ok && r.use.Within(r.p.cap.Sub(r.usage.use))
	}
	return ok
}

// slotMeans are the means of a zone by slot.
func (s *shift) slotMeans(zone string, at []time.Time) []means {
	if m, ok := s.slotZones[zone]; ok {
		return m
	}
	kinds := s.kinds(zone)
	all := make([]means, len(at)-1)
	for i := range all {
		all[i] = s.mean(zone, kinds, at[i], at[i+1])
	}
	if s.slotZones == nil {
		s.slotZones = map[string][]means{}
	}
	s.slotZones[zone] = all
	return all
}

// solve finds the segments that cost least by dynamic programming over slots and
// the work that is done: in each slot it idles, goes on, or comes back, which
// costs the slots that are lost. Nil when it does not fit.
func (x *slots) solve() []segment {
	n, width := len(x.cost), x.need+1
	row := 2 * width
	if cap(x.table) < (n+1)*row {
		x.table = make([]state, (n+1)*row)
	}
	x.table = x.table[:(n+1)*row]
	clean := func(i int) { // the part of a row that counts: what can be done by then, and still be finished
		if i > n {
			return
		}
		lo, hi := max(0, x.need-(n-i)-1), min(i+1, x.need)
		for at := i*row + 2*lo; at <= i*row+2*hi+1; at++ {
			x.table[at] = state{cost: never64}
		}
	}
	for i := range x.lost + 1 {
		clean(i)
	}
	x.prefix()
	x.table[0].cost = 0
	put := func(at int, cost float64, from byte) {
		if cost < x.table[at].cost {
			x.table[at] = state{cost, from}
		}
	}
	end, least := -1, never64
	for i := 0; i <= n; i++ {
		base := i * row
		clean(i + x.lost + 1)
		// Done: what is later costs by the hour.
		if c := x.table[base+2*x.need+1].cost; i >= x.need-1 && c < never64 {
			if c += x.hour * float64(i-x.need); c < least {
				end, least = i, c
			}
		}
		if i == n {
			break
		}
		gain := 1
		if i == 0 {
			gain = x.head
		}
		for w := max(0, x.need-(n-i)); w < min(i+1, x.need); w++ {
			idle, run := x.table[base+2*w].cost, x.table[base+2*w+1].cost
			put(base+row+2*w, idle, fromIdle)
			if w > 0 {
				put(base+row+2*w, run, fromRun)
			}
			if c := x.cost[i]; c < never64 {
				to := base + row + 2*(w+gain) + 1
				if run < never64 {
					put(to, run+c, fromRun)
				}
				if w == 0 && idle < never64 {
					put(to, idle+c, fromStart)
				}
			}
			if w > 0 && idle < never64 && i+x.lost < n {
				if c := x.resume[i]; c < never64 && x.cost[i+x.lost] < never64 {
					// The slot after those that are lost is run at once, so that
					// nobody comes back to idle.
					put((i+x.lost+1)*row+2*(w+1)+1, idle+c+x.pause+x.cost[i+x.lost], fromResume)
				}
			}
		}
	}
	if end < 0 {
		return nil
	}
	return x.trace(end)
}

// prefix works out what the slots cost that are lost by coming back at each.
func (x *slots) prefix() {
	x.resume = x.resume[:0]
	for i := range x.cost {
		sum := 0.0
		for j := i; j < i+x.lost; j++ {
			if j >= len(x.cost) || x.cost[j] >= never64 {
				sum = never64
				break
			}
			sum += x.cost[j]
		}
		x.resume = append(x.resume, sum)
	}
}

// trace goes back from the end.
func (x *slots) trace(end int) (all []segment) {
	row := 2 * (x.need + 1)
	i, w, run := end, x.need, 1
	stop := end
	for {
		from := x.table[i*row+2*w+run].from
		switch {
		case run == 0 && i == 0:
			return all
		case run == 0:
			i--
			if from == fromRun {
				run, stop = 1, i
			}
		case from == fromRun:
			i, w = i-1, w-x.gain(i-1)
		case from == fromStart:
			return append([]segment{{x.at[i-1], x.at[stop]}}, all...)
		default:
			i, w, run = i-1-x.lost, w-1, 0
			all = append([]segment{{x.at[i], x.at[stop]}}, all...)
		}
	}
}

func (x *slots) gain(slot int) int {
	if slot == 0 {
		return x.head
	}
	return 1
}

// price says what segments cost: P50 of the work, and what each pause loses.
func (s *shift) price(o *option, pool int32, segments []segment, kW, hours float64, lost, by time.Duration) *split {
	x := &split{pool: pool, segments: segments}
	zone := s.c.facilities[o.facility].def.GridZone
	kinds := s.kinds(zone)
	left := hours
	for i, g := range segments {
		if i > 0 {
			left += lost.Hours()
		}
		h := min(left, g.end.Sub(g.start).Hours())
		left -= h
		m := s.mean(zone, kinds, g.start, g.start.Add(time.Duration(max(h, 1e-6)*float64(time.Hour))))
		kWh := kW * h
		x.kWh, x.kg, x.yuan = x.kWh+kWh, x.kg+kWh*m.kg*o.brown, x.yuan+kWh*m.yuan
		if i == 0 {
			x.first.kWh, x.first.kg, x.first.yuan = x.kWh, x.kg, x.yuan
		}
	}
	end := segments[len(segments)-1].end
	late := end.Sub(s.starts[0]) - time.Duration(s.slots.need)*by
	x.cost = o.base + x.yuan + x.kg*s.w.Objective.CarbonPrice - s.electric(o, 0) + s.w.Objective.HourPrice*math.Max(0, late.Hours())
	return x
}

// waitsFor is the decision to begin with a later segment.
func (s *shift) waitsFor(o *option, x *split) *schedule.Decision {
	start, now := x.segments[0].start, &o.zone[0]
	return &schedule.Decision{
		At: s.now, Until: start, Planned: s.parts(x, 0), ExpectedWait: start.Sub(s.now), EnergyKWh: x.kWh, CarbonKg: x.kg, Cost: x.yuan,
		Reasons: s.inSegments(x, s.saves(start, o.kWh*now.kg*o.brown-x.kg, o.kWh*now.yuan-x.yuan)),
	}
}

// inSegments adds to the reasons that the work is split.
func (s *shift) inSegments(x *split, reasons ...schedule.Reason) []schedule.Reason {
	if len(x.segments) == 1 {
		return reasons
	}
	return append(reasons, schedule.Because(schedule.RunsInSegments, len(x.segments), s.w.Tasks[0].Checkpoint))
}

// parts are the segments from one on as they are planned.
func (s *shift) parts(x *split, from int) (all []schedule.Assignment) {
	t := &s.w.Tasks[0]
	p := s.c.pools[x.pool]
	n := needOf(t)
	for _, g := range x.segments[from:] {
		all = append(all, schedule.Assignment{Task: t.Name, Facility: p.def.Facility, Pool: p.def.ID, Slot: -1, Use: n.use, Start: g.start, End: g.end})
	}
	return all
}

// placeFirst places the first of several segments. The others are planned, as
// those of work that is deferred are.
func (c *Cluster) placeFirst(w *schedule.Workload, now time.Time, x *split) schedule.Decision {
	if len(x.segments) == 1 {
		return c.placeNow(w, now)
	}
	one := *w
	t := w.Tasks[0]
	end := x.segments[0].end
	t.P95 = time.Duration(float64(end.Sub(now)) * speed(&t, c.pools[x.pool].def))
	t.P50 = min(t.P50, t.P95)
	one.Tasks = []schedule.Task{t}
	d := c.placeNow(&one, now)
	if len(d.Assignments) == 0 {
		return d
	}
	d.Assignments[0].End, d.Planned = end, x.rest
	d.EnergyKWh, d.CarbonKg, d.Cost = d.EnergyKWh+x.kWh-x.first.kWh, d.CarbonKg+x.kg-x.first.kg, d.Cost+x.yuan-x.first.yuan
	d.Reasons = append(d.Reasons, schedule.Because(schedule.RunsInSegments, len(x.segments), t.Checkpoint))
	return d
}
