package plan

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// Rival is work that holds capacity, and that may have to give way as a whole.
type Rival struct {
	Workload *schedule.Workload
	Queue    string                // whose share it is of; empty: nobody's, and so all of it is borrowed
	Parts    []schedule.Assignment // all that it holds
	Since    time.Time             // it runs since; zero: it has not begun
	// TakenBack is how often it gave way before.
	TakenBack int
}

// Claim says whom a workload may take capacity from.
type Claim struct {
	Queue string // of the workload; empty: none
	// Over is what queues use beyond their nominal amounts. Work of another queue
	// gives way only as long as its queue uses more than its nominal amount of
	// something that the workload needs.
	Over map[string]schedule.Vector
	// Reclaims says that the workload's queue has a claim to what it needs: then
	// work of other queues gives way whatever its priority.
	Reclaims bool
	// Soon is how near an end by plan is waited for, rather than taken.
	Soon time.Duration
	// Spare is after how often work that gave way is spared, if anything else can
	// give way; 0: never.
	Spare int
}

// Preemption is who gives way to a workload.
type Preemption struct {
	// Victims give way; none: waiting until From is enough.
	Victims []schedule.Victim
	Rivals  []int // the victims, as they were given
	Soon    []int // rivals that end soon by plan, the last of them at From
	From    time.Time
	// Decision is where the workload would go, once all of that is free.
	Decision schedule.Decision
}

// The work of one call is bounded: so many parts of rivals are looked at, where
// there are more of those who lose least; at most so many give way, at most so
// many of one node for one member; so many facilities are compared for work that
// must lie in one; and a place is looked for so often in each. What is beyond a
// bound does not give way.
const (
	maxParts   = 1 << 15
	maxVictims = 1024
	maxCrowd   = 64
	maxSites   = 8
	maxTries   = 64
	// maxPlaced bounds the members that are placed to see who is not needed: of
	// larger gangs some may give way in vain.
	maxPlaced = 1 << 14
)

// restart is what work loses that gives way, besides what it has done.
const restart = time.Minute

// Preempt finds who gives way to a workload that has no place: work of a lower
// priority, or that uses what it has borrowed, so that the work that is lost
// costs least, and nobody for nothing. It reports false when nobody may, or when
// it does not help. The rivals hold what they hold in the cluster, in an order
// that decides between equals. The cluster is of no use afterwards: call it on a
// Clone.
func (c *Cluster) Preempt(w *schedule.Workload, now time.Time, signals signal.Set, rivals []Rival, claim Claim) (Preemption, bool) {
	p := preemption{c: c, w: w, now: now, signals: signals, rivals: rivals, claim: claim}
	p.claim.Over = maps.Clone(claim.Over)
	from, ok := p.wait()
	if !ok {
		return Preemption{}, false
	}
	if d := p.try(); len(d.Assignments) > 0 {
		return Preemption{From: from, Soon: p.soon, Decision: d}, true
	}
	p.find()
	best := p.search()
	if best == nil {
		return Preemption{}, false
	}
	p.take(best...)
	d := p.try()
	if len(d.Assignments) == 0 {
		return Preemption{}, false
	}
	result := Preemption{From: from, Soon: p.soon, Decision: d, Rivals: make([]int, len(best))}
	for n, v := range best {
		result.Rivals[n] = v.rival
		result.Victims = append(result.Victims, v.Victim)
	}
	disrupt(&result.Decision, result.Victims)
	return result, true
}

// disrupt adds what is lost by victims to a decision.
func disrupt(d *schedule.Decision, all []schedule.Victim) {
	s := schedule.Score{Scorer: Scorers[disruption].Name, Unit: Scorers[disruption].Unit}
	for _, v := range all {
		s.Value += v.Cost
		s.Cost += v.Cost
	}
	d.Preempts, d.Scores = all, append(slices.Clip(d.Scores), s)
	d.Reasons = append(slices.Clip(d.Reasons), schedule.Because(schedule.Preempts, len(all), strconv.FormatFloat(s.Cost, 'f', 2, 64)))
}

// Disrupted is a decision for which others gave way.
func Disrupted(d schedule.Decision, all []schedule.Victim) schedule.Decision {
	disrupt(&d, all)
	return d
}

// preemption is one search.
type preemption struct {
	c       *Cluster
	w       *schedule.Workload
	now     time.Time
	signals signal.Set
	rivals  []Rival
	claim   Claim

	needs   []need // of tasks that lack members
	wanted  int    // members
	soon    []int
	victims []*victim
	crowds  []*crowd
	tries   int
}

// victim is a rival that may give way.
type victim struct {
	schedule.Victim
	rival  int
	weight float64 // what it counts in the choice: cost, and whether it is spared
	use    schedule.Vector
	taken  bool
}

// crowd is a node, with those who hold something of it, the cheapest first.
type crowd struct {
	pool, slot int32
	all        []*victim
	next       *relief
}

// relief is how a crowd gets room for more members.
type relief struct {
	victims []*victim
	members int
	each    float64 // weight for each member
}

// wait gives back what ends soon by plan, and returns when the last of that is
// free. What should have ended already is not waited for.
func (p *preemption) wait() (from time.Time, ok bool) {
	from = p.now
	for i := range p.rivals {
		r := &p.rivals[i]
		end := lastEnd(r.Parts)
		soon := end.After(p.now) && !end.After(p.now.Add(p.claim.Soon))
		if !soon {
			if v := p.candidate(i); v != nil {
				p.victims = append(p.victims, v)
			}
			continue
		}
		if p.c.Give(r.Parts) != nil {
			return from, false // the view is not of one moment
		}
		p.soon = append(p.soon, i)
		if end.After(from) {
			from = end
		}
	}
	return from, true
}

func lastEnd(parts []schedule.Assignment) (end time.Time) {
	for i := range parts {
		if parts[i].End.After(end) {
			end = parts[i].End
		}
	}
	return end
}

// candidate is a rival as a victim; nil when it may not be one.
func (p *preemption) candidate(i int) *victim {
	r := &p.rivals[i]
	own := r.Queue == p.claim.Queue
	if r.Workload.Priority >= p.w.Priority && (own || !p.claim.Reclaims) {
		return nil
	}
	v := &victim{rival: i}
	for j := range r.Parts {
		v.use = v.use.Add(r.Parts[j].Use)
	}
	if !p.may(v) {
		return nil
	}
	v.Victim = p.c.victim(r, p.now)
	v.weight = v.Cost * float64(1+r.TakenBack)
	if p.claim.Spare > 0 && r.TakenBack >= p.claim.Spare {
		v.weight += spared
	}
	return v
}

// spared is yuan that outweigh any work.
const spared = 1e12

// may reports whether a victim's queue has something to give back.
func (p *preemption) may(v *victim) bool {
	q := p.rivals[v.rival].Queue
	if q == p.claim.Queue {
		return true
	}
	over := p.claim.Over[q]
	for d, n := range v.use {
		if n > 0 && over[d] > 0 && p.needed(d) {
			return true
		}
	}
	return false
}

func (p *preemption) needed(dimension int) bool {
	return slices.ContainsFunc(p.w.Tasks, func(t schedule.Task) bool { return t.Need()[dimension] > 0 })
}

// victim says what is lost when a rival gives way: what each member has done
// since it began, or since its last checkpoint, in resource hours at what these
// cost, by how much its priority counts.
func (c *Cluster) victim(r *Rival, now time.Time) schedule.Victim {
	v := schedule.Victim{Workload: r.Workload.ID, Tenant: r.Workload.Tenant, Priority: r.Workload.Priority}
	for i := range r.Parts {
		a := &r.Parts[i]
		lost := time.Duration(0)
		if !r.Since.IsZero() {
			lost = max(0, now.Sub(later(r.Since, a.Start)))
		}
		if t := taskOf(r.Workload, a.Task); t != nil && t.Interruptible && t.Checkpoint > 0 {
			lost = min(lost, t.Checkpoint)
		}
		v.Lost = max(v.Lost, lost)
		v.Cost += (lost + restart).Hours() * c.hourOf(a)
	}
	v.Cost *= 1 + float64(r.Workload.Priority)/100
	return v
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func taskOf(w *schedule.Workload, name string) *schedule.Task {
	for i := range w.Tasks {
		if w.Tasks[i].Name == name {
			return &w.Tasks[i]
		}
	}
	return nil
}

// hourOf is what a member holds, in yuan an hour.
func (c *Cluster) hourOf(a *schedule.Assignment) float64 {
	device, cpu := deviceHour, cpuHour
	if i, ok := c.poolOf[a.Pool]; ok {
		device, cpu = float64(c.pools[i].deviceHour), float64(c.pools[i].cpuHour)
	}
	return (device*float64(a.Use[schedule.AcceleratorMilli]) + cpu*float64(a.Use[schedule.CPUMilli])) / 1000
}

// try looks for a place with what is free now.
func (p *preemption) try() schedule.Decision {
	p.tries++
	p.c.turn(p.now, p.signals)
	return p.c.placeNow(p.w, p.now)
}

// find lists the nodes where victims hold something, of pools that may run the
// workload by their classes.
func (p *preemption) find() {
	c := p.c
	c.turn(p.now, p.signals)
	g := c.newGang(p.w, p.now)
	g.place()
	classes := g.classes
	_, need := g.enough()
	p.wanted = max(1, need-g.placed)
	for i := range p.w.Tasks {
		if t := &p.w.Tasks[i]; g.counts[i] < t.Min || g.counts[i] < t.Max && p.w.Gang == schedule.GangAll {
			p.needs = append(p.needs, classes[i].need)
		}
	}
	g.end()
	lighter := func(a, b *victim) int { return cmp.Compare(a.weight, b.weight) }
	if len(p.victims) > maxParts {
		slices.SortStableFunc(p.victims, lighter)
	}
	suited := make([]int8, len(c.pools)) // 0: not looked at
	type node struct{ pool, slot int32 }
	at := map[node]*crowd{}
	parts := 0
	for _, v := range p.victims {
		for j := range p.rivals[v.rival].Parts {
			a := &p.rivals[v.rival].Parts[j]
			i, ok := c.poolOf[a.Pool]
			if parts++; !ok || parts > maxParts {
				continue
			}
			if suited[i] == 0 {
				suited[i] = -1
				if slices.ContainsFunc(classes, func(k *class) bool { return c.suited(k, i) }) {
					suited[i] = 1
				}
			}
			slot, there := c.pools[i].slot(a)
			if suited[i] < 0 || !there {
				continue
			}
			n := node{i, int32(slot)}
			if at[n] == nil {
				at[n] = &crowd{pool: i, slot: int32(slot)}
				p.crowds = append(p.crowds, at[n])
			}
			if s := at[n]; len(s.all) == 0 || s.all[len(s.all)-1] != v {
				s.all = append(s.all, v)
			}
		}
	}
	for _, s := range p.crowds {
		slices.SortStableFunc(s.all, lighter)
	}
}

// search returns the victims whose loss weighs least; nil when none help. Work
// that must lie in one facility takes from one: each is searched by itself.
func (p *preemption) search() []*victim {
	if p.w.Shape != schedule.OneFacility || p.w.Members() == 1 {
		return p.collect(func(*crowd) bool { return true })
	}
	var best []*victim
	for _, f := range p.sites() {
		found := p.collect(func(s *crowd) bool { return p.c.pools[s.pool].facility == f })
		if found != nil && (best == nil || weigh(found) < weigh(best)) {
			best = found
		}
	}
	return best
}

func weigh(all []*victim) (sum float64) {
	for _, v := range all {
		sum += v.weight
	}
	return sum
}

// sites are the facilities where the first step weighs least.
func (p *preemption) sites() []int32 {
	least := map[int32]float64{}
	var all []int32
	for _, s := range p.crowds {
		f := p.c.pools[s.pool].facility
		if p.step(s); s.next == nil {
			continue
		}
		was, ok := least[f]
		if !ok {
			all = append(all, f)
		}
		if !ok || s.next.each < was {
			least[f] = s.next.each
		}
	}
	slices.SortStableFunc(all, func(a, b int32) int { return cmp.Compare(least[a], least[b]) })
	return all[:min(len(all), maxSites)]
}

// collect takes from crowds, the one first where a member costs least, until the
// workload has a place; then it gives back whom it does not need. What it took is
// there again when it returns.
func (p *preemption) collect(in func(*crowd) bool) []*victim {
	var open []*crowd
	for _, s := range p.crowds {
		if !in(s) {
			continue
		}
		if p.step(s); s.next != nil {
			open = append(open, s)
		}
	}
	p.tries = 0
	var taken []*victim
	used := map[int32]bool{} // facilities, where each takes one member
	gained, wanted := 0, p.wanted
	if p.w.Shape == schedule.OneFacility {
		wanted = 1 // what is free elsewhere is of no use
	}
	for len(taken) < maxVictims && p.tries < maxTries {
		var s *crowd
		s, open = p.cheapest(open, used)
		if s != nil {
			used[p.c.pools[s.pool].facility] = true
			p.take(s.next.victims...)
			taken = append(taken, s.next.victims...)
			gained += s.next.members
			open = p.again(open)
			if gained < wanted {
				continue
			}
		}
		// Who is taken may free other nodes as well, which is not counted.
		if d := p.try(); len(d.Assignments) > 0 {
			taken = p.needless(taken)
			p.give(taken...)
			return taken
		}
		if s == nil {
			break
		}
		wanted = gained + max(1, wanted/8)
	}
	p.give(taken...)
	return nil
}

// cheapest is the crowd where one more member costs least, and those that are
// left: without those whose queues owe nothing more, and whose facility has its
// member; nil when there is none.
func (p *preemption) cheapest(open []*crowd, used map[int32]bool) (*crowd, []*crowd) {
	for len(open) > 0 {
		at := 0
		for i, s := range open {
			if s.next.each < open[at].next.each {
				at = i
			}
		}
		s := open[at]
		if !p.allowed(s.next.victims) {
			p.step(s)
		}
		if s.next != nil && p.allowed(s.next.victims) && !(p.w.Shape == schedule.OnePerFacility && used[p.c.pools[s.pool].facility]) {
			return s, open
		}
		open = slices.Delete(open, at, at+1)
	}
	return nil, nil
}

// again works out the next step of every crowd that holds a victim that was taken
// a moment ago, and leaves out those that have none.
func (p *preemption) again(open []*crowd) []*crowd {
	return slices.DeleteFunc(open, func(s *crowd) bool {
		if slices.ContainsFunc(s.next.victims, func(v *victim) bool { return v.taken }) {
			p.step(s)
		}
		return s.next == nil
	})
}

// allowed reports whether queues still have to give back what victims hold, the
// ones before them counted.
func (p *preemption) allowed(all []*victim) bool {
	for i, v := range all {
		if !p.may(v) {
			p.owe(all[:i], 1)
			return false
		}
		p.owe(all[i:i+1], -1)
	}
	p.owe(all, 1)
	return true
}

// owe adds what victims hold to what their queues have borrowed.
func (p *preemption) owe(all []*victim, sign int64) {
	for _, v := range all {
		if q := p.rivals[v.rival].Queue; q != p.claim.Queue {
			p.claim.Over[q] = p.claim.Over[q].Add(v.use.Times(sign))
		}
	}
}

// take frees what victims hold, and give is its inverse.
func (p *preemption) take(all ...*victim) { p.move(all, true) }
func (p *preemption) give(all ...*victim) { p.move(all, false) }

func (p *preemption) move(all []*victim, taken bool) {
	for _, v := range all {
		if v.taken == taken {
			continue
		}
		v.taken = taken
		one := []*victim{v}
		if taken {
			p.c.Give(p.rivals[v.rival].Parts) //nolint:errcheck // it is taken, as the caller says
			p.owe(one, -1)
			continue
		}
		p.c.Restore(p.rivals[v.rival].Parts) //nolint:errcheck // it was there
		p.owe(one, 1)
	}
}

// needless gives back the victims without whom there is a place too, the dearest
// first.
func (p *preemption) needless(taken []*victim) []*victim {
	all := slices.Clone(taken)
	slices.SortStableFunc(all, func(a, b *victim) int { return cmp.Compare(b.weight, a.weight) })
	for n, v := range all {
		if len(taken) == 1 || n*p.w.Members() > maxPlaced {
			break
		}
		p.give(v)
		if d := p.try(); len(d.Assignments) == 0 {
			p.take(v)
			continue
		}
		taken = slices.DeleteFunc(taken, func(o *victim) bool { return o == v })
	}
	return taken
}

// step works out whom a crowd loses so that one more member, of any task, has
// room there.
func (p *preemption) step(s *crowd) {
	s.next = nil
	pool := p.c.own(s.pool)
	had := p.room(pool, s.slot)
	var gone []*victim
	free := func(v *victim, sign int64) {
		for i := range p.rivals[v.rival].Parts {
			a := &p.rivals[v.rival].Parts[i]
			if a.Pool == pool.def.ID {
				if slot, ok := pool.slot(a); ok && slot == int(s.slot) {
					pool.move(slot, a, sign)
				}
			}
		}
	}
	has := had
	for _, v := range s.all {
		if v.taken || len(gone) >= maxCrowd || !p.may(v) {
			continue
		}
		free(v, -1)
		gone = append(gone, v)
		if has = p.room(pool, s.slot); has > had {
			break
		}
	}
	if has > had {
		for i := len(gone) - 1; i >= 0; i-- { // the dearest first
			v := gone[i]
			free(v, 1)
			if p.room(pool, s.slot) >= has {
				gone = slices.Delete(slices.Clone(gone), i, i+1)
				continue
			}
			free(v, -1)
		}
		s.next = &relief{victims: slices.Clone(gone), members: has - had, each: weigh(gone) / float64(has-had)}
	}
	for _, v := range gone {
		free(v, 1)
	}
}

// room is how many members a node has room for, of the task that finds most
// room.
func (p *preemption) room(pool *pool, slot int32) (most int) {
	for i := range p.needs {
		most = max(most, pool.roomFor(&p.needs[i], int(slot)))
	}
	return most
}

// roomFor is how many equal members a node has room for.
func (p *pool) roomFor(n *need, slot int) int {
	node := &p.nodes[slot]
	count := schedule.MaxMembers
	for d, use := range n.use {
		if use > 0 {
			count = min(count, int(node.free[d]/use))
		}
	}
	switch {
	case n.count == 0:
		return count
	case n.milli == schedule.DeviceMilli:
		return min(count, int(node.whole)/n.count)
	}
	devices := 0
	for _, f := range p.devices(slot) {
		devices += int(int64(f) / n.milli)
	}
	return min(count, devices)
}
