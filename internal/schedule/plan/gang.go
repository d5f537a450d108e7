package plan

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// placeMany decides about a workload of several members: one after the other, by
// the index, with what the members before took, which is given back at the end.
func (c *Cluster) placeMany(w *schedule.Workload, now time.Time) schedule.Decision {
	if w.Shape == schedule.OneFacility {
		return c.placeInOne(w, now)
	}
	g := c.newGang(w, now)
	defer g.end()
	runners := g.runners()
	g.place()
	d := g.decision()
	if len(d.Assignments) > 0 {
		d.RunnersUp = g.unused(runners)
	}
	return d
}

// maxAttempts is how many facilities that have room for all are compared.
const maxAttempts = 1 + schedule.MaxRunnersUp

// placeInOne tries facilities from the one that is best for a single member, and
// takes the one where all members together cost least.
func (c *Cluster) placeInOne(w *schedule.Workload, now time.Time) schedule.Decision {
	g := c.newGang(w, now)
	defer g.end()
	var found []schedule.Decision
	most := schedule.Decision{At: now}
	placed := -1
	for _, f := range g.facilities() {
		g.only = f
		g.place()
		d := g.decision()
		switch {
		case len(d.Assignments) == 0 && g.placed > placed:
			most, placed = d, g.placed
		case len(d.Assignments) > 0 && (w.Gang == schedule.GangAll || g.full()):
			found = append(found, d)
		case len(d.Assignments) > len(most.Assignments):
			most, placed = d, g.placed
		}
		g.undo()
		if len(found) == maxAttempts {
			break
		}
	}
	if len(found) == 0 {
		if placed < 0 {
			most = g.decision()
		}
		return most
	}
	slices.SortStableFunc(found, func(a, b schedule.Decision) int { return cmp.Compare(scored(a), scored(b)) })
	d := found[0]
	for _, o := range found[1:] {
		d.RunnersUp = append(d.RunnersUp, schedule.RunnerUp{Facility: o.Assignments[0].Facility, Pool: o.Assignments[0].Pool, Cost: scored(o), Worse: worse(d.Scores, o.Scores)})
	}
	return d
}

func scored(d schedule.Decision) float64 {
	var s float64
	for i := range d.Scores {
		s += d.Scores[i].Cost
	}
	return s
}

// worse is the score that costs most more than in the chosen ones.
func worse(chosen, other []schedule.Score) schedule.Score {
	var worst schedule.Score
	most := 0.0
	for i, s := range other {
		cost := s.Cost
		for _, o := range chosen {
			if o.Scorer == s.Scorer {
				cost -= o.Cost
			}
		}
		if i == 0 || cost > most {
			worst, most = s, cost
		}
	}
	return worst
}

// gang is one attempt at placing all members of a workload.
type gang struct {
	c       *Cluster
	w       *schedule.Workload
	now     time.Time
	classes []*class // by task
	only    int32    // facility that all must lie in, -1 for any

	parts   []schedule.Assignment
	placed  int
	counts  []int // by task
	terms   terms
	energy  float64
	gib     float64
	wait    time.Duration
	age     time.Duration
	visited map[int32]bool // facilities

	masked []int32 // pools, those of facilities that have their share already
	barred bitmap  // pools, too late or too dear for this workload
	arena  []uint8
	reason schedule.Reason
}

func (c *Cluster) newGang(w *schedule.Workload, now time.Time) *gang {
	g := &gang{c: c, w: w, now: now, only: -1, counts: make([]int, len(w.Tasks)), visited: map[int32]bool{},
		classes: make([]*class, len(w.Tasks))}
	members := w.Members()
	for i := range w.Tasks {
		g.classes[i] = c.classOf(w, &w.Tasks[i], members)
	}
	g.parts = make([]schedule.Assignment, 0, min(members, 1<<14))
	return g
}

// place puts as many members as there is room for: the least of every task
// first, then the rest.
func (g *gang) place() {
	for _, most := range [2]bool{false, true} {
		for i := range g.w.Tasks {
			t := &g.w.Tasks[i]
			n := t.Min
			if most || g.w.Gang == schedule.GangAll {
				n = t.Max
			}
			for g.counts[i] < n && g.member(i) {
			}
			if g.counts[i] < n && (g.w.Gang == schedule.GangAll || (g.w.Gang == schedule.GangMinimum && !most)) {
				return
			}
		}
	}
}

// member places one more member of a task.
func (g *gang) member(i int) bool {
	k, t := g.classes[i], &g.w.Tasks[i]
	for {
		at, found := g.pick(k)
		if !found && g.w.Shape == schedule.Spread && len(g.masked) > 0 {
			g.unmask()
			continue
		}
		if !found {
			if g.reason.Code == passed {
				g.reason = g.why(i)
			}
			return false
		}
		var m candidate
		g.c.weigh(k, g.w, t, &at, g.now, &m)
		if m.overdue || m.overdraw != passed {
			for _, other := range g.classes {
				g.c.mask(other, at.pool)
			}
			g.bar(at.pool)
			continue
		}
		g.take(i, &m)
		return true
	}
}

// pick finds the best place, and reports whether there is one.
func (g *gang) pick(k *class) (spot, bool) {
	c := g.c
	if g.only < 0 {
		return c.best(k)
	}
	best := spot{cost: never}
	for _, p := range c.facilities[g.only].pools {
		bound := c.sums.at(int(p), k.col)
		if bound >= best.cost {
			continue
		}
		s := c.look(k, p)
		if s.cost != bound {
			c.bind(k, p, s.cost)
		}
		if s.cost < best.cost {
			best = s
		}
	}
	return best, best.cost < never
}

func (g *gang) take(i int, m *candidate) {
	c, t, k := g.c, &g.w.Tasks[i], g.classes[i]
	p := c.pools[m.pool]
	from := len(g.arena)
	g.arena = p.appendDevices(g.arena, &k.need, m.slot, m.device)
	a := schedule.Assignment{
		Task: t.Name, Index: g.counts[i], Facility: p.def.Facility, Pool: p.def.ID, Node: p.name(m.slot), Slot: m.slot,
		Devices: slices.Clip(g.arena[from:len(g.arena)]), Use: k.need.use, Start: g.now, End: m.end,
	}
	g.parts = append(g.parts, a)
	g.move(m.pool, &a, 1)
	g.counts[i]++
	g.placed++
	g.add(m, k)
	if g.w.Shape == schedule.OnePerFacility || g.w.Shape == schedule.Spread {
		for _, j := range c.facilities[p.facility].pools {
			for _, other := range g.classes {
				c.mask(other, j)
			}
			g.masked = append(g.masked, j)
		}
	}
}

// move takes or gives back; only the classes of the gang see it.
func (g *gang) move(i int32, a *schedule.Assignment, sign int64) {
	g.c.move(i, a.Slot, a, sign)
	for j, k := range g.classes {
		if slices.Index(g.classes[:j], k) < 0 {
			g.c.followFor(k, i, a.Slot)
		}
	}
}

// add sums up. What is paid once counts for each facility that is used, not for
// each member.
func (g *gang) add(m *candidate, k *class) {
	f := g.c.pools[m.pool].facility
	var r reach
	if k.reaches != nil {
		r = k.reaches[f]
	}
	for j := range m.terms {
		g.terms[j].value += m.terms[j].value
		g.terms[j].cost += m.terms[j].cost
	}
	g.energy += m.energy - r.kWh*k.once
	g.wait, g.age = max(g.wait, m.wait), max(g.age, m.age)
	visited := g.visited[f]
	g.visited[f] = true
	if r.gib == 0 {
		return
	}
	grid := g.c.gridOver(f, g.now.Add(m.wait), m.hours, 0, 0)
	g.terms.addReach(g.w, &reach{yuan: -r.yuan * k.once, kWh: -r.kWh * k.once}, &grid)
	if !visited {
		g.terms.addReach(g.w, &r, &grid)
		g.energy += r.kWh
		g.gib += r.gib
	}
}

// full reports whether every member has a place.
func (g *gang) full() bool { return g.placed == g.w.Members() }

// enough reports whether the gang is complete, and how many members it takes.
func (g *gang) enough() (enough bool, need int) {
	enough = true
	for i := range g.w.Tasks {
		n := g.w.Tasks[i].Min
		switch g.w.Gang {
		case schedule.GangAll:
			n = g.w.Tasks[i].Max
		case schedule.GangNone:
			n = 0
		}
		need += n
		enough = enough && g.counts[i] >= n
	}
	return enough && g.placed > 0, max(need, 1)
}

func (g *gang) decision() schedule.Decision {
	d := schedule.Decision{At: g.now}
	enough, need := g.enough()
	money := g.terms[price].cost + g.terms[transfer].cost
	budget := &g.w.Budget
	switch {
	case !enough:
		if g.reason.Code == passed {
			g.reason = g.why(0)
		}
		d.Reasons = []schedule.Reason{{Code: schedule.GangIncomplete, Args: []string{strconv.Itoa(g.placed), strconv.Itoa(need)}}, g.reason}
		return d
	case budget.Money > 0 && money > budget.Money:
		d.Reasons = []schedule.Reason{{Code: schedule.BudgetExceeded, Args: []string{"yuan", strconv.FormatFloat(money, 'f', 2, 64), decimal(budget.Money)}}}
		return d
	case budget.CarbonKg > 0 && g.terms[carbon].value > budget.CarbonKg:
		d.Reasons = []schedule.Reason{{Code: schedule.BudgetExceeded, Args: []string{"kg", strconv.FormatFloat(g.terms[carbon].value, 'f', 3, 64), decimal(budget.CarbonKg)}}}
		return d
	}
	d.Assignments = slices.Clone(g.parts)
	d.EnergyKWh, d.CarbonKg, d.Cost, d.TransferGiB = g.energy, g.terms[carbon].value, money, g.gib
	d.ExpectedWait, d.DataAge = g.wait, g.age
	d.Scores = g.terms.scores()
	d.Reasons = []schedule.Reason{{Code: schedule.Chosen, Args: []string{strconv.FormatFloat(g.terms.sum(), 'f', 2, 64)}}}
	if !g.full() && g.reason.Code != passed {
		d.Reasons = append(d.Reasons, g.reason) // of the members that wait
	}
	return d
}

// why says why no further member of a task finds a place, with those before it
// in theirs.
func (g *gang) why(i int) schedule.Reason {
	r := g.c.nearest(g.classes[i], g.w, &g.w.Tasks[i], i, g.now)
	if r.Code == passed {
		r = schedule.Reason{Code: schedule.ShapeFull, Args: []string{string(g.w.Shape)}}
	}
	return r
}

// facilities that may hold all, from the one where the first member costs least.
func (g *gang) facilities() []int32 {
	c := g.c
	type offer struct {
		f    int32
		cost float32
	}
	var all, small []offer
	for i := range c.facilities {
		g.only = int32(i)
		o := offer{int32(i), 0}
		for _, k := range g.classes {
			at, found := g.pick(k)
			if !found {
				o.cost = never
				break
			}
			o.cost += at.cost
		}
		switch {
		case o.cost == never:
		case g.holds(&c.facilities[i]):
			all = append(all, o)
		case len(small) < maxAttempts: // to say how many members find a place
			small = append(small, o)
		}
	}
	g.only = -1
	if len(all) == 0 {
		all = small
	}
	slices.SortStableFunc(all, func(a, b offer) int { return cmp.Compare(a.cost, b.cost) })
	fs := make([]int32, len(all))
	for i := range all {
		fs[i] = all[i].f
	}
	return fs
}

// holds reports whether the sums of a facility leave room for the least that
// must lie in it.
func (g *gang) holds(f *facility) bool {
	var need schedule.Vector
	for i, k := range g.classes {
		n := g.w.Tasks[i].Min
		switch g.w.Gang {
		case schedule.GangAll:
			n = g.w.Tasks[i].Max
		case schedule.GangNone:
			n = 0
		}
		need = need.Add(k.need.use.Times(int64(n)))
	}
	free := f.cap.Sub(f.used)
	for d := range need {
		if need[d] > 0 && need[d] > free[d] {
			return false
		}
	}
	return true
}

// runners are the best pools for the first member.
func (g *gang) runners() []candidate {
	return slices.Clone(g.c.candidates(g.classes[0], g.w, &g.w.Tasks[0], g.now))
}

// unused are those of the runners that hold no member, with what all members
// would cost there.
func (g *gang) unused(cs []candidate) []schedule.RunnerUp {
	used := map[string]bool{}
	for i := range g.parts {
		used[g.parts[i].Pool] = true
	}
	if len(cs) == 0 {
		return nil
	}
	all := g.c.runners(cs)
	members := float64(g.w.Members())
	for i := range all {
		all[i].Cost *= members
		all[i].Worse.Value *= members
		all[i].Worse.Cost *= members
	}
	return slices.DeleteFunc(all, func(r schedule.RunnerUp) bool { return used[r.Pool] })
}

// unmask lets facilities have one more member each.
func (g *gang) unmask() {
	for _, i := range g.masked {
		if g.barred != nil && g.barred.has(i) {
			continue
		}
		for _, k := range g.classes {
			g.c.unmask(k, i)
		}
	}
	g.masked = g.masked[:0]
}

// undo gives back what was taken, for another attempt.
func (g *gang) undo() {
	g.unmask()
	for i := range g.parts {
		a := &g.parts[i]
		g.move(g.c.poolOf[a.Pool], a, -1)
	}
	g.c.settled()
	g.parts, g.placed, g.terms, g.energy, g.gib, g.wait, g.age = g.parts[:0], 0, terms{}, 0, 0, 0, 0
	g.arena = nil // decisions hold it
	g.reason = schedule.Reason{}
	clear(g.counts)
	clear(g.visited)
}

// end leaves cluster and index as they were.
func (g *gang) end() {
	g.undo()
	for i := range g.c.pools {
		if g.barred != nil && g.barred.has(int32(i)) {
			for _, k := range g.classes {
				g.c.unmask(k, int32(i))
			}
		}
	}
}

func (g *gang) bar(i int32) {
	if g.barred == nil {
		g.barred = newBitmap(len(g.c.pools))
	}
	g.barred.set(i)
}
