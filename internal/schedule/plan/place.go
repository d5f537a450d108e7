package plan

import (
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// Place decides about a workload and takes nothing: the caller takes the
// assignments, or asks again. Without assignments the decision says why it waits
// and, when it is deferred, until when. Neither the workload nor the set of
// signals may be changed afterwards; new signals come in a new set.
func (c *Cluster) Place(w *schedule.Workload, now time.Time, signals signal.Set) schedule.Decision {
	return c.place(w, now, signals, false)
}

func (c *Cluster) place(w *schedule.Workload, now time.Time, signals signal.Set, waits bool) schedule.Decision {
	c.turn(now, signals)
	p := c.postpone(w, now, waits)
	switch {
	case p.decision != nil:
		return *p.decision
	case p.first != nil:
		return c.placeFirst(w, now, p.first)
	}
	d := c.placeNow(w, now)
	if p.stale != nil {
		d.Reasons = append(d.Reasons, *p.stale)
	}
	if c.told {
		d.Reasons = append(d.Reasons, c.lapsed(d.Assignments, now)...)
	}
	return d
}

func (c *Cluster) placeNow(w *schedule.Workload, now time.Time) schedule.Decision {
	if len(w.Tasks) == 1 && w.Tasks[0].Max == 1 {
		return c.placeOne(w, now)
	}
	return c.placeMany(w, now)
}

// scratch is memory for one decision at a time.
type scratch struct {
	candidates [1 + schedule.MaxRunnersUp]candidate
	aside      []spot // pools that were weighed
}

// candidate is a place for one member, scored in full.
type candidate struct {
	pool     int32
	slot     int
	device   int
	terms    terms
	cost     float64
	end      time.Time
	hours    float64
	energy   float64
	gib      float64
	wait     time.Duration
	age      time.Duration
	overdue  bool
	overdraw schedule.Code // BudgetExceeded or passed
}

// weigh scores a place in full.
func (c *Cluster) weigh(k *class, w *schedule.Workload, t *schedule.Task, at *spot, now time.Time, to *candidate) {
	p, slot := c.pools[at.pool], at.node
	b := c.bill(k, w, t, p, now)
	rate := speed(t, p.def)
	b.hours = over(t.P50, rate).Hours()
	b.beyond = c.beyond[w.Tenant]
	_, _, outdoor, age := p.lives(now)
	f := &c.facilities[p.facility]
	begin := now.Add(b.wait + b.r.copyTime)
	b.g = c.gridOver(p.facility, begin, b.hours, f.load(), outdoor)
	*to = candidate{
		pool: at.pool, slot: slot, device: at.packed.device, hours: b.hours,
		end:    begin.Add(over(t.P95, rate)),
		energy: b.energy()*b.g.kWh + b.r.kWh*b.once,
		gib:    b.r.gib * b.once,
		wait:   b.wait + b.r.copyTime,
		age:    age,
	}
	if !p.nodes[slot].seen.IsZero() {
		to.age = max(to.age, now.Sub(time.Unix(0, p.seenAt[slot])))
	}
	if !f.live.At.IsZero() {
		to.age = max(to.age, now.Sub(f.live.At))
	}
	b.add(&to.terms)
	to.terms.addPacked(p, &at.packed, b.hours)
	b.addFair(&to.terms)
	if c.prices != nil {
		yuan := c.scarcity(p, k.need.use, now, begin, b.hours)
		to.terms[scarcity].value, to.terms[scarcity].cost = yuan, yuan
	}
	to.cost = to.terms.sum()
	to.overdue = !w.Window.Deadline.IsZero() && to.end.After(w.Window.Deadline)
	if (w.Budget.Money > 0 && to.money() > w.Budget.Money) || (w.Budget.CarbonKg > 0 && to.terms[carbon].value > w.Budget.CarbonKg) {
		to.overdraw = schedule.BudgetExceeded
	}
}

// money is what a placement costs in fact.
func (k *candidate) money() float64 { return k.terms[price].cost + k.terms[transfer].cost }

// answer is the memory of what a promise keeps of a decision about one member.
type answer struct {
	assignments [1]schedule.Assignment
	devices     [8]uint8
	reasons     [1]schedule.Reason
	args        [1]string
}

func (c *Cluster) placeOne(w *schedule.Workload, now time.Time) schedule.Decision {
	t := &w.Tasks[0]
	k := c.classOf(w, t, 1)
	return c.chosen(k, w, now, c.candidates(k, w, t, now))
}

// chosen makes the decision for the first of the candidates.
func (c *Cluster) chosen(k *class, w *schedule.Workload, now time.Time, cs []candidate) schedule.Decision {
	t := &w.Tasks[0]
	if len(cs) == 0 {
		return schedule.Decision{At: now, Reasons: []schedule.Reason{c.why(k, w, t, 0, now)}}
	}
	best := &cs[0]
	p := c.pools[best.pool]
	a := new(answer)
	d := schedule.Decision{
		At: now, Assignments: a.assignments[:], EnergyKWh: best.energy, CarbonKg: best.terms[carbon].value,
		Cost: best.money(), TransferGiB: best.gib, ExpectedWait: best.wait, DataAge: best.age,
	}
	a.assignments[0] = schedule.Assignment{
		Task: t.Name, Facility: p.def.Facility, Pool: p.def.ID, Node: p.name(best.slot), Slot: best.slot,
		Devices: p.appendDevices(a.devices[:0], &k.need, best.slot, best.device), Use: k.need.use, Start: now, End: best.end,
	}
	d.Scores = best.terms.scores()
	d.RunnersUp = c.runners(cs)
	a.args[0] = strconv.FormatFloat(best.cost, 'f', 2, 64)
	a.reasons[0] = schedule.Reason{Code: schedule.Chosen, Args: a.args[:]}
	d.Reasons = a.reasons[:]
	return d
}

// candidates are the best pools that pass all filters, the cheapest first.
func (c *Cluster) candidates(k *class, w *schedule.Workload, t *schedule.Task, now time.Time) []candidate {
	cs, aside := c.scratch.candidates[:0], c.scratch.aside[:0]
	for len(cs) < cap(cs) {
		at, found := c.best(k)
		if !found {
			break
		}
		aside = append(aside, at)
		c.sums.put(int(at.pool), k.col, never)
		n := len(cs)
		cs = cs[:n+1]
		c.weigh(k, w, t, &at, now, &cs[n])
		if cs[n].overdue || cs[n].overdraw != passed {
			cs = cs[:n]
			continue
		}
		for ; n > 0 && cs[n].cost < cs[n-1].cost; n-- {
			cs[n], cs[n-1] = cs[n-1], cs[n]
		}
	}
	for i := range aside {
		c.sums.put(int(aside[i].pool), k.col, aside[i].cost)
		c.zones[k.col].cost = aside[i].cost
	}
	c.scratch.aside = aside
	return cs
}

// name is the id of a node, empty where nodes have none.
func (p *pool) name(slot int) string {
	if slot < len(p.def.Nodes) {
		return p.def.Nodes[slot].ID
	}
	return ""
}

// scores are the terms that say something.
func (t *terms) scores() []schedule.Score {
	n := 0
	for i := range t {
		if t[i].value != 0 || t[i].cost != 0 {
			n++
		}
	}
	all := make([]schedule.Score, 0, n)
	for i := range t {
		if t[i].value != 0 || t[i].cost != 0 {
			all = append(all, schedule.Score{Scorer: Scorers[i].Name, Unit: Scorers[i].Unit, Value: t[i].value, Cost: t[i].cost})
		}
	}
	return all
}

// runners are the candidates that were not chosen.
func (c *Cluster) runners(cs []candidate) []schedule.RunnerUp {
	if len(cs) < 2 {
		return nil
	}
	all := make([]schedule.RunnerUp, 0, len(cs)-1)
	for i := 1; i < len(cs); i++ {
		p := c.pools[cs[i].pool]
		r := schedule.RunnerUp{Facility: p.def.Facility, Pool: p.def.ID, Cost: cs[i].cost}
		more := 0.0
		for j := range cs[i].terms {
			s := &cs[i].terms[j]
			if d := s.cost - cs[0].terms[j].cost; d > more {
				more = d
				r.Worse = schedule.Score{Scorer: Scorers[j].Name, Unit: Scorers[j].Unit, Value: s.value, Cost: s.cost}
			}
		}
		all = append(all, r)
	}
	return all
}
