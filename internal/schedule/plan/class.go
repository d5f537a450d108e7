package plan

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// class is all requests that are equal in what filters and scorers look at;
// durations are equal within a factor of two.
type class struct {
	col  int
	w    schedule.Workload // the request that it was made for
	t    schedule.Task
	need need
	slot int     // of its need in index.wants
	size int     // durations: 2^size minutes and up to twice that
	once float64 // share of one member in what is paid once

	admitted []schedule.Code // by facility
	accepts  []bool          // by kind of accelerator + 1
	picky    bool            // it asks for more of a pool than that
	reaches  []reach         // by facility; nil where it is all the same
	blocked  bitmap          // pools whose facility had no power for one more
	masked   bitmap          // pools that do not count during one decision; nil for none

	why   schedule.Reason // that there is no room, as of a number of changes
	whyAt int64

	epoch int64
	tick  int64
}

// duration is the size of a P50.
func duration(d time.Duration) int { return int(math.Floor(math.Log2(max(d.Minutes(), 1.0/64)))) }

// hoursOf is the duration that stands for a size.
func hoursOf(size int) float64 { return math.Exp2(float64(size)+0.5) / 60 }

// classOf returns the class of a task, up to date. The cluster must be as well.
func (c *Cluster) classOf(w *schedule.Workload, t *schedule.Task, members int) *class {
	size := duration(t.P50)
	h := hash(w, t, size, members)
	k := c.byHash[h]
	c.tick++
	if k == nil || !k.same(w, t, size, members) {
		if k != nil {
			c.drop(k, h)
		}
		k = c.newClass(w, t, size, members)
		c.byHash[h] = k
	}
	k.tick = c.tick
	if k.epoch != c.epoch {
		c.offerAll(k)
	}
	return k
}

// drop frees the column of a class.
func (c *Cluster) drop(k *class, h uint64) {
	c.classes[k.col] = nil
	delete(c.byHash, h)
	w := &c.wants[k.slot]
	if w.cols = slices.DeleteFunc(w.cols, func(col int32) bool { return int(col) == k.col }); len(w.cols) == 0 {
		w.ask = nobody
	}
}

// column finds a column for a new class: a free one, else that of a class that
// nobody asks for any more, else a new one.
func (c *Cluster) column() int {
	if i := slices.Index(c.classes, nil); i >= 0 {
		return i
	}
	most := min(maxClasses, max(minClasses, maxClassBytes/c.columnBytes()))
	oldest, hash := (*class)(nil), uint64(0)
	for h, k := range c.byHash {
		if oldest == nil || k.tick < oldest.tick {
			oldest, hash = k, h
		}
	}
	if oldest != nil && (len(c.classes) >= most || c.tick-oldest.tick > idle) {
		c.drop(oldest, hash)
		return oldest.col
	}
	c.classes = append(c.classes, nil)
	if len(c.classes) > c.width {
		c.widen(c.width + max(minClasses, c.width/4))
	}
	return len(c.classes) - 1
}

// slotOf finds the slot of a need for one more class; of a need that none had
// before nothing is known.
func (c *Cluster) slotOf(n need, col int) int {
	slot := -1
	for i := range c.wants {
		w := &c.wants[i]
		if len(w.cols) > 0 && w.need == n {
			w.cols = append(w.cols, int32(col))
			return i
		}
		if len(w.cols) == 0 && slot < 0 {
			slot = i
		}
	}
	if slot < 0 {
		slot = len(c.wants)
		c.wants = append(c.wants, want{})
	}
	c.wants[slot] = want{need: n, cols: []int32{int32(col)}, cpu: float32(n.use[schedule.CPUMilli]), mem: float32(n.use[schedule.MemoryMiB]), disk: float32(n.use[schedule.DiskGiB])}
	c.listAsks()
	return slot
}

// nobody is the ask of a want that no class has.
const nobody = 0

// listAsks lists what wants ask for.
func (c *Cluster) listAsks() {
	c.asks = append(c.asks[:0], ask{count: -1})
	for i := range c.wants {
		w := &c.wants[i]
		if len(w.cols) == 0 {
			w.ask = nobody
			continue
		}
		at := slices.Index(c.asks, w.need.ask)
		if at < 0 {
			at = len(c.asks)
			c.asks = append(c.asks, w.need.ask)
		}
		w.ask = int32(at)
	}
}

func (c *Cluster) newClass(w *schedule.Workload, t *schedule.Task, size, members int) *class {
	k := &class{
		col: c.column(), w: *w, t: *t, need: needOf(t), size: size, once: 1 / float64(members),
		admitted: make([]schedule.Code, len(c.facilities)),
		accepts:  make([]bool, len(c.kinds)+1),
		picky:    len(w.Affinity.Pools)+len(w.Affinity.Archs)+len(w.Affinity.Labels) > 0,
		blocked:  newBitmap(len(c.pools)),
		epoch:    c.epoch,
	}
	c.classes[k.col] = k
	k.slot = c.slotOf(k.need, k.col)
	c.zones[k.col] = zone{int32(k.slot), -never}
	c.hours[k.col] = float32(hoursOf(size))
	k.accepts[0] = t.Accelerators == nil
	for i := range c.kinds {
		k.accepts[i+1] = t.Accelerators == nil || accepts(t.Accelerators, &c.kinds[i].Accelerator)
		c.hours[(i+1)*c.width+k.col] = float32(hoursOf(size) / speed(t, &schedule.Pool{Accelerator: &c.kinds[i].Accelerator}))
	}
	if len(w.Data) > 0 || w.Latency != nil {
		k.reaches = make([]reach, len(c.facilities))
	}
	for i := range c.facilities {
		c.admit(k, int32(i))
	}
	c.mostWatts = max(c.mostWatts, draws(c.mostPower, k.need.use))
	for i := range c.facilities {
		c.tightens(int32(i))
	}
	clear(c.memos)
	for i, p := range c.pools {
		v := c.suit(k, int32(i), &c.memos[p.kind+1])
		c.cells[i*c.width+k.col].bound = v
		c.sums.fill(i, k.col, v)
	}
	c.sums.grow(k.col)
	return k
}

// admit works out the filters of one facility.
func (c *Cluster) admit(k *class, i int32) {
	f := &c.facilities[i]
	k.admitted[i] = c.admits(&k.w, f.def)
	if k.reaches != nil {
		k.reaches[i] = c.reachOf(&k.w, f.def)
	}
}

// memo is the last node that was scored of a kind, without devices that are free
// in part: equal ones follow each other.
type memo struct {
	room   room
	packed packed
}

// suit works out a pool for a class: filters, offer and nodes. It returns what a
// member costs.
func (c *Cluster) suit(k *class, i int32, m *memo) float32 {
	p, deep := c.pools[i], &c.deep[i]
	cell := &c.cells[int(i)*c.width+k.col]
	if k.admitted[p.facility] != passed || !k.accepts[p.kind+1] || (k.picky && suits(&k.w, &k.t, p.def) != passed) {
		cell.offer = never
		return never
	}
	cell.offer = c.offer(k, p)
	least := never
	if v := c.view(i); v.equal {
		if least = c.yuan(k, i, 0, &v.room, m); deep.n > 0 {
			for node := range p.nodes {
				deep.fill(node, k.slot, least)
			}
		}
	} else {
		for node := range p.nodes {
			v := c.yuan(k, i, node, &p.nodes[node].room, m)
			if least = min(least, v); deep.n > 0 {
				deep.fill(node, k.slot, v)
			}
		}
	}
	if deep.n > 0 {
		deep.grow(k.slot)
	}
	return c.total(k, i, least)
}

// total is what a member costs at a pool that suits, by what packing costs there:
// never where it cannot run now.
func (c *Cluster) total(k *class, i int32, packed float32) float32 {
	p := c.pools[i]
	if packed == never {
		return never
	}
	if c.tight.has(p.facility) && !c.facilities[p.facility].powered(p.draws(k.need.use)) {
		k.blocked.set(i)
		return never
	}
	if k.blocked.has(i) {
		k.blocked.clear(i)
	}
	return sumOf(packed, c.hours[int(p.kind+1)*c.width+k.col], c.cells[int(i)*c.width+k.col].offer)
}

// suited reports whether a class may run at a pool at all.
func (c *Cluster) suited(k *class, i int32) bool { return c.offerOf(k, i) < never }

// offerOf is what a member costs at a pool besides packing, never where it may not
// run.
func (c *Cluster) offerOf(k *class, i int32) float32 { return c.cells[int(i)*c.width+k.col].offer }

// yuan is what a member costs an hour at a node by packing.
func (c *Cluster) yuan(k *class, i int32, node int, r *room, m *memo) float32 {
	if !r.fits(&k.need) {
		return never
	}
	if !r.undivided() {
		return c.scene(i, node).yuan(&k.need)
	}
	if m.room != *r {
		*m = memo{room: *r, packed: c.scene(i, node).pack(&k.need)}
	}
	return m.packed.yuan(c.pools[i])
}

// offer is what a member costs at a pool besides packing.
func (c *Cluster) offer(k *class, p *pool) float32 {
	b := c.bill(k, &k.w, &k.t, p, c.at)
	b.hours = float64(c.hours[int(p.kind+1)*c.width+k.col])
	b.g = c.slotGrid(k.size, p.facility)
	var terms terms
	b.add(&terms)
	return float32(terms.sum())
}

// bill begins the bill of a member at a pool, without hours and grid.
func (c *Cluster) bill(k *class, w *schedule.Workload, t *schedule.Task, p *pool, now time.Time) bill {
	b := bill{w: w, t: t, n: &k.need, p: p, once: k.once}
	if k.reaches != nil {
		b.r = k.reaches[p.facility]
	}
	b.wait, b.risk, _, _ = p.lives(now)
	return b
}

// slotGrid is the grid of a facility for work of a size that begins with the
// slot, at a load that is told apart in steps.
func (c *Cluster) slotGrid(size int, i int32) grid {
	g := c.grids[size]
	if g == nil {
		g = make([]slotGrid, len(c.facilities))
		c.grids[size] = g
	}
	if !g[i].known {
		c.loads[i] = c.facilities[i].loadStep()
		g[i] = slotGrid{c.gridOver(i, c.at, hoursOf(size), float64(c.loads[i])/loadSteps, math.NaN()), true}
	}
	return g[i].grid
}

// offerAll brings the offers of a class to the epoch.
func (c *Cluster) offerAll(k *class) {
	k.epoch = c.epoch
	for i := range c.pools {
		c.reoffer(k, int32(i))
		c.sums.fill(i, k.col, c.cells[i*c.width+k.col].bound)
	}
	c.sums.grow(k.col)
}

// reoffer works out an offer anew, and the bound with it.
func (c *Cluster) reoffer(k *class, i int32) {
	cell := &c.cells[int(i)*c.width+k.col]
	was := cell.offer
	if was == never {
		return
	}
	if cell.offer = c.offer(k, c.pools[i]); cell.offer != was && cell.bound < never {
		// Rounding may take as much off a sum that is worked out in one.
		off := 1e-6 * float32(math.Abs(float64(cell.bound))+math.Abs(float64(was))+math.Abs(float64(cell.offer)))
		cell.bound += cell.offer - was - off
	}
}

// mask leaves a pool out until unmask.
func (c *Cluster) mask(k *class, i int32) {
	if k.masked == nil {
		k.masked = newBitmap(len(c.pools))
	}
	k.masked.set(i)
	c.sums.put(int(i), k.col, never)
}

// unmask lets a pool count again.
func (c *Cluster) unmask(k *class, i int32) {
	k.masked.clear(i)
	c.sums.put(int(i), k.col, c.cells[int(i)*c.width+k.col].bound)
}

// spot is the best node of a pool for a member.
type spot struct {
	pool   int32
	node   int
	packed packed
	cost   float32 // as the index counts it; never where it cannot run now
}

// best finds the pool where a member costs least, and the node; the first of
// equal ones. It reports whether there is any.
func (c *Cluster) best(k *class) (spot, bool) {
	for {
		i, bound := c.sums.first(k.col)
		if i < 0 {
			return spot{}, false
		}
		s := c.look(k, int32(i))
		if s.cost == bound {
			return s, true
		}
		c.bind(k, int32(i), s.cost)
	}
}

// look finds the best node of a pool that suits.
func (c *Cluster) look(k *class, i int32) spot {
	s := spot{pool: i, cost: never}
	s.cost = c.total(k, i, c.pick(k, &s))
	return s
}

// pick finds the node of a pool where packing costs least, and what it costs.
func (c *Cluster) pick(k *class, to *spot) float32 {
	if deep := &c.deep[to.pool]; deep.n > 0 {
		return c.search(k, deep, to)
	}
	v := never
	for node := range c.pools[to.pool].nodes {
		scene := c.scene(to.pool, node)
		if !scene.node.fits(&k.need) {
			continue
		}
		d := scene.pack(&k.need)
		if y := d.yuan(scene.p); y < v {
			v, to.node, to.packed = y, node, d
		}
	}
	return v
}

// search finds the best node of a pool of many.
func (c *Cluster) search(k *class, deep *trees, to *spot) float32 {
	for {
		node, bound := deep.first(k.slot)
		if node < 0 {
			return never
		}
		y := never
		if scene := c.scene(to.pool, node); scene.node.fits(&k.need) {
			to.packed = scene.pack(&k.need)
			y = to.packed.yuan(scene.p)
		}
		if y == bound {
			to.node = node
			return y
		}
		deep.put(node, k.slot, y)
	}
}

// roomy reports whether a pool that suits has room for one more member, whether
// there is power for it or not.
func (c *Cluster) roomy(k *class, i int32) bool {
	if c.cells[int(i)*c.width+k.col].bound == never && !k.blocked.has(i) {
		return false
	}
	return c.pick(k, &spot{pool: i}) < never
}

// open reports whether one more member can run at a pool now.
func (c *Cluster) open(k *class, i int32) bool {
	return c.suited(k, i) && c.look(k, i).cost < never
}

// any reports whether one more member can run anywhere now.
func (c *Cluster) any(k *class) bool {
	_, found := c.best(k)
	return found
}

// hash tells requests apart that are not of one class, nearly always.
func hash(w *schedule.Workload, t *schedule.Task, size, members int) uint64 {
	var h uint64 = 14695981039346656037
	mix := func(v uint64) { h = (h ^ v) * 1099511628211; h ^= h >> 29 }
	str := func(s string) {
		mix(uint64(len(s)))
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	list := func(l []string) {
		mix(uint64(len(l)))
		for _, s := range l {
			str(s)
		}
	}
	for _, u := range t.Use {
		mix(uint64(u))
	}
	mix(uint64(size))
	mix(uint64(members))
	mix(uint64(t.Checkpoint))
	if a := t.Accelerators; a != nil {
		mix(uint64(a.Count)<<32 | uint64(a.Milli))
		mix(uint64(a.MemoryMiB))
		list(a.Models)
		mix(uint64(len(a.Speed)))
	}
	mix(uint64(w.Security.MinGrade)<<8 | uint64(w.Security.DataGrade))
	if w.Latency != nil {
		str(w.Latency.FromRegion)
		mix(math.Float64bits(w.Latency.MaxMillis))
	}
	for i := range w.Data {
		str(w.Data[i].ID)
		mix(math.Float64bits(w.Data[i].ReadGiB))
	}
	list(w.Affinity.Facilities)
	list(w.Affinity.NotFacilities)
	list(w.Affinity.Pools)
	list(w.Affinity.Regions)
	list(w.Affinity.Archs)
	mix(uint64(len(w.Affinity.Labels)))
	mix(math.Float64bits(w.Objective.CarbonPrice))
	mix(math.Float64bits(w.Objective.HourPrice))
	return h
}

// same reports whether a request is of the class.
func (k *class) same(w *schedule.Workload, t *schedule.Task, size, members int) bool {
	return k.size == size && math.Round(1/k.once) == float64(members) && k.t.Use == t.Use &&
		k.t.Interruptible == t.Interruptible && k.t.Checkpoint == t.Checkpoint && sameAccelerators(k.t.Accelerators, t.Accelerators) &&
		k.w.Security == w.Security && (k.w.Latency == w.Latency || (k.w.Latency != nil && w.Latency != nil && *k.w.Latency == *w.Latency)) &&
		slices.EqualFunc(k.w.Data, w.Data, func(a, b schedule.Dataset) bool {
			return a.ID == b.ID && a.ReadGiB == b.ReadGiB && a.Copy == b.Copy && slices.Equal(a.At, b.At)
		}) &&
		slices.Equal(k.w.Affinity.Facilities, w.Affinity.Facilities) && slices.Equal(k.w.Affinity.NotFacilities, w.Affinity.NotFacilities) &&
		slices.Equal(k.w.Affinity.Pools, w.Affinity.Pools) && slices.Equal(k.w.Affinity.Regions, w.Affinity.Regions) && slices.Equal(k.w.Affinity.Archs, w.Affinity.Archs) &&
		maps.Equal(k.w.Affinity.Labels, w.Affinity.Labels) &&
		k.w.Objective.CarbonPrice == w.Objective.CarbonPrice && k.w.Objective.HourPrice == w.Objective.HourPrice
}

func sameAccelerators(a, b *schedule.Accelerators) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Count == b.Count && a.Milli == b.Milli && a.MemoryMiB == b.MemoryMiB &&
		slices.Equal(a.Models, b.Models) && maps.Equal(a.Speed, b.Speed)
}

// sameSet reports whether two sets are one and the same.
func sameSet(a, b signal.Set) bool {
	if len(a) != len(b) {
		return false
	}
	if len(a) == 0 {
		return true
	}
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}
