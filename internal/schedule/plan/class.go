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

// index finds the best nodes for a request without looking at all. It follows
// from the rest of the cluster and holds nothing of its own: one that was kept
// through any number of changes equals one that is built anew.
//
// Each class of requests has a column, and each node a row of what a member of
// each class costs there; above them stand trees of the least over the nodes of a
// pool, and over pools. A node that changed is scored for all classes at once,
// while it is at hand, before the next decision.
type index struct {
	relaid bool // nodes or pools came or went, or the demand is another
	base   []int32
	poolAt []int32 // pool of each leaf

	classes []*class // by column; nil where none is
	byHash  map[uint64]*class
	tick    int64
	needs   []need // distinct ones of the classes

	width  int       // columns that rows have room for
	packed rows      // a tree for each pool: yuan an hour by packing
	sums   rows      // a tree over pools: the best node and the offer
	offers []float32 // yuan of the rest by pool and column; never where it may not run
	shut   []uint64  // by pool and column: counts as never for now

	dirty     []int32 // leaves that changed
	dirtyAt   bitmap
	draws     []int32 // facilities whose draw or load changed
	drawsAt   bitmap
	stale     []int32 // pools to work out anew
	changed   []int32 // facilities that are defined anew
	changes   int64   // counts all of these
	mostWatts int64   // that any member takes anywhere
	tight     bitmap  // facilities whose cap is nearer than that
	costs     []float32
	cols      []int32
	memos     []memo

	// epoch counts slots and sets of signals: offers hold for one.
	epoch   int64
	at      time.Time // start of the slot
	signals signal.Set
	grids   map[int][]slotGrid

	feeds []feed // by facility, of the epoch

	walk    walk
	scratch scratch
	scene   scene
}

const (
	// maxClassBytes bounds the memory of all classes together, and maxClasses
	// the work that a change of a node is.
	maxClassBytes = 256 << 20
	maxClasses    = 512
	minClasses    = 16
	// idle is after how many decisions a class that nobody asked for gives its
	// column to another.
	idle = 50_000
	// loadSteps is how finely the load of a facility is told apart by the index.
	loadSteps = 20
)

type slotGrid struct {
	grid
	known bool
}

// kept reports whether there is an index that must follow.
func (c *Cluster) kept() bool { return !c.relaid && len(c.classes) > 0 }

func (c *Cluster) nodeChanged(pool int32, slot int) {
	c.changes++
	if !c.kept() {
		return
	}
	if leaf := c.base[pool] + int32(slot); !c.dirtyAt.has(leaf) {
		c.dirtyAt.set(leaf)
		c.dirty = append(c.dirty, leaf)
	}
}

func (c *Cluster) poolChanged(i int32) {
	c.changes++
	if c.kept() {
		c.stale = append(c.stale, i)
	}
}

func (c *Cluster) facilityChanged(i int32) {
	c.changes++
	c.feeds = c.feeds[:0] // its zone may be another
	c.forgetGrid(i)
	if c.kept() {
		c.changed = append(c.changed, i)
	}
}

func (c *Cluster) forgetGrid(i int32) {
	for _, g := range c.grids {
		if int(i) < len(g) {
			g[i].known = false
		}
	}
}

// usedChanged follows the use of a facility, where something depends on it.
func (c *Cluster) usedChanged(i int32) {
	f := &c.facilities[i]
	loaded := len(f.def.PUE.Load) > 0
	if loaded {
		c.forgetGrid(i)
	}
	if !c.kept() || (!loaded && !c.tightens(i)) || c.drawsAt.has(i) {
		return
	}
	c.drawsAt.set(i)
	c.draws = append(c.draws, i)
}

// tightens reports whether the cap of a facility is so near that some member may
// be too much, or was.
func (c *Cluster) tightens(i int32) bool {
	was := c.tight.has(i)
	if f := &c.facilities[i]; f.def.PowerCapW > 0 && f.draw()+c.mostWatts > f.def.PowerCapW {
		c.tight.set(i)
	} else {
		c.tight.clear(i)
	}
	return was || c.tight.has(i)
}

// lay gives every node its leaf.
func (c *Cluster) lay() {
	c.value()
	n := 0
	c.base = make([]int32, len(c.pools)+1)
	for i, p := range c.pools {
		c.base[i] = int32(n)
		n += len(p.nodes)
	}
	c.base[len(c.pools)] = int32(n)
	c.poolAt = make([]int32, n)
	for i := range c.pools {
		for leaf := c.base[i]; leaf < c.base[i+1]; leaf++ {
			c.poolAt[leaf] = int32(i)
		}
	}
	c.classes, c.byHash, c.needs, c.width = nil, map[uint64]*class{}, nil, 0
	c.packed, c.sums, c.offers, c.shut = rows{}, rows{}, nil, nil
	c.dirty, c.dirtyAt = nil, newBitmap(n)
	c.draws, c.drawsAt = nil, newBitmap(len(c.facilities))
	c.stale, c.changed = nil, nil
	c.mostWatts, c.tight = 0, newBitmap(len(c.facilities))
	c.memos = make([]memo, len(c.kinds)+1)
	c.grids = map[int][]slotGrid{}
	c.relaid = false
}

// turn brings the cluster to a time and a set of forecasts. A set must not be
// changed once it was given; another one takes its place.
func (c *Cluster) turn(now time.Time, signals signal.Set) {
	c.forget(now)
	if c.relaid {
		c.lay()
	}
	if at := now.Truncate(step); !at.Equal(c.at) || !sameSet(signals, c.signals) {
		c.at, c.signals = at, signals
		c.epoch++
		clear(c.grids)
		c.feeds = c.feeds[:0]
	}
	c.feed()
	c.follow()
}

// class is all requests that are equal in what filters and scorers look at;
// durations are equal within a factor of two.
type class struct {
	col   int
	w     schedule.Workload // the request that it was made for
	t     schedule.Task
	need  need
	slot  int       // of its need in index.needs
	size  int       // durations: 2^size minutes and up to twice that
	once  float64   // share of one member in what is paid once
	hours []float32 // by kind of accelerator + 1

	admitted []schedule.Code // by facility
	reaches  []reach         // by facility; nil where it is all the same
	blocked  bitmap          // pools whose facility may not draw so much more
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
}

// column finds a column for a new class: a free one, else that of a class that
// nobody asks for any more, else a new one.
func (c *Cluster) column() int {
	if i := slices.Index(c.classes, nil); i >= 0 {
		return i
	}
	most := min(maxClasses, max(minClasses, maxClassBytes/(4*(2*len(c.poolAt)+3*len(c.pools)+1))))
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
		c.widen(max(minClasses, 2*c.width))
	}
	return len(c.classes) - 1
}

// widen makes room for more columns.
func (c *Cluster) widen(width int) {
	move := func(from []float32, rows int) []float32 {
		to := make([]float32, rows*width)
		for r := 0; r < rows && c.width > 0; r++ {
			copy(to[r*width:], from[r*c.width:(r+1)*c.width])
		}
		return to
	}
	c.packed = rows{move(c.packed.v, 2*len(c.poolAt)), width}
	c.sums = rows{move(c.sums.v, 2*len(c.pools)), width}
	c.offers = move(c.offers, len(c.pools))
	words := (width + 63) / 64
	shut := make([]uint64, words*len(c.pools))
	if old := (c.width + 63) / 64; old > 0 {
		for i := range c.pools {
			copy(shut[i*words:], c.shut[i*old:(i+1)*old])
		}
	}
	c.shut, c.width = shut, width
}

func (c *Cluster) newClass(w *schedule.Workload, t *schedule.Task, size, members int) *class {
	k := &class{
		col: c.column(), w: *w, t: *t, need: needOf(t), size: size, once: 1 / float64(members),
		hours:    make([]float32, len(c.kinds)+1),
		admitted: make([]schedule.Code, len(c.facilities)),
		blocked:  newBitmap(len(c.pools)),
		epoch:    c.epoch,
	}
	c.classes[k.col] = k
	c.slots()
	k.hours[0] = float32(hoursOf(size))
	for i := range c.kinds {
		k.hours[i+1] = float32(hoursOf(size) / speed(t, &schedule.Pool{Accelerator: &c.kinds[i].Accelerator}))
	}
	if len(w.Data) > 0 || w.Latency != nil {
		k.reaches = make([]reach, len(c.facilities))
	}
	for i := range c.facilities {
		c.admit(k, int32(i))
	}
	clear(c.memos)
	for i, p := range c.pools {
		c.mostWatts = max(c.mostWatts, p.def.Watts(k.need.use))
		c.suit(k, int32(i), &c.memos[p.kind+1])
		c.sums.put(len(c.pools)+i, k.col, c.sum(k, int32(i)))
	}
	c.sums.grow(0, len(c.pools), k.col)
	for i := range c.facilities {
		c.tightens(int32(i))
	}
	return k
}

// slots lists the distinct needs of all classes.
func (c *Cluster) slots() {
	c.needs = c.needs[:0]
	for _, k := range c.classes {
		if k == nil {
			continue
		}
		if k.slot = slices.Index(c.needs, k.need); k.slot < 0 {
			k.slot = len(c.needs)
			c.needs = append(c.needs, k.need)
		}
	}
}

// admit works out the filters of one facility.
func (c *Cluster) admit(k *class, i int32) {
	f := &c.facilities[i]
	k.admitted[i] = c.admits(&k.w, f.def)
	if k.reaches != nil {
		k.reaches[i] = c.reachOf(&k.w, f.def)
	}
}

// memo is the last node that was scored of a kind: equal ones follow each other.
type memo struct {
	node    node
	devices []uint16
	packed  packed
}

// suit works out all of a pool for a class: filters, offer, nodes.
func (c *Cluster) suit(k *class, i int32, m *memo) {
	p := c.pools[i]
	from, n := int(2*c.base[i]), len(p.nodes)
	if k.admitted[p.facility] != passed || suits(&k.w, &k.t, p.def) != passed {
		c.offers[int(i)*c.width+k.col] = never
		for j := range 2 * n {
			c.packed.put(from+j, k.col, never)
		}
		c.close(k, i)
		return
	}
	c.offers[int(i)*c.width+k.col] = c.offer(k, p)
	if p.alike() {
		v := c.yuan(k, p, 0, m)
		for j := 1; j < 2*n; j++ {
			c.packed.put(from+j, k.col, v)
		}
	} else {
		for s := range n {
			c.packed.put(from+n+s, k.col, c.yuan(k, p, s, m))
		}
		c.packed.grow(from, n, k.col)
	}
	c.close(k, i)
}

// suited reports whether a class may run at a pool at all.
func (c *Cluster) suited(k *class, i int32) bool { return c.offers[int(i)*c.width+k.col] < never }

// roomiest is the least cost of packing in a pool, never when nothing fits.
func (c *Cluster) roomiest(k *class, i int32) float32 {
	if c.base[i] == c.base[i+1] {
		return never
	}
	return c.packed.at(int(2*c.base[i])+1, k.col)
}

// close notes whether a pool does not count for now: its facility may not power
// one more member there, or it is masked. It reports whether that is new.
func (c *Cluster) close(k *class, i int32) bool {
	p := c.pools[i]
	if c.facilities[p.facility].powered(p.def.Watts(k.need.use)) {
		k.blocked.clear(i)
	} else {
		k.blocked.set(i)
	}
	at := int(i)*((c.width+63)/64) + k.col>>6
	bit := uint64(1) << (k.col & 63)
	was := c.shut[at]
	if k.blocked.has(i) || (k.masked != nil && k.masked.has(i)) {
		c.shut[at] |= bit
	} else {
		c.shut[at] &^= bit
	}
	return was != c.shut[at]
}

// yuan is what a member costs an hour at a node by packing.
func (c *Cluster) yuan(k *class, p *pool, slot int, m *memo) float32 {
	if !p.fits(&k.need, slot) {
		return never
	}
	node, devices := &p.nodes[slot], p.devices(slot)
	if m.node.free != node.free || m.node.cap != node.cap || m.node.devices != node.devices || !slices.Equal(m.devices, devices) {
		*m = memo{node: *node, devices: devices, packed: c.pack(p, &k.need, slot)}
	}
	return m.packed.yuan(p)
}

// offer is what a member costs at a pool besides packing.
func (c *Cluster) offer(k *class, p *pool) float32 {
	b := c.bill(k, &k.w, &k.t, p, c.at)
	b.hours = float64(k.hours[p.kind+1])
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
		f := &c.facilities[i]
		load := math.Round(f.load()*loadSteps) / loadSteps
		g[i] = slotGrid{c.gridOver(i, c.at, hoursOf(size), load, math.NaN()), true}
	}
	return g[i].grid
}

// sum is the best of a pool.
func (c *Cluster) sum(k *class, i int32) float32 {
	if c.shut[int(i)*((c.width+63)/64)+k.col>>6]>>(k.col&63)&1 != 0 || !c.suited(k, i) {
		return never
	}
	if v := c.roomiest(k, i); v < never {
		return v*k.hours[c.pools[i].kind+1] + c.offers[int(i)*c.width+k.col]
	}
	return never
}

// offerAll brings the offers of a class to the epoch.
func (c *Cluster) offerAll(k *class) {
	k.epoch = c.epoch
	for i, p := range c.pools {
		if c.suited(k, int32(i)) {
			c.offers[i*c.width+k.col] = c.offer(k, p)
			c.sums.put(len(c.pools)+i, k.col, c.sum(k, int32(i)))
		}
	}
	c.sums.grow(0, len(c.pools), k.col)
}

// follow brings the index up to all changes.
func (c *Cluster) follow() {
	for _, f := range c.changed {
		for _, k := range c.classes {
			if k != nil {
				c.admit(k, f)
			}
		}
		c.stale = append(c.stale, c.facilities[f].pools...)
		c.tightens(f)
	}
	for _, i := range c.stale {
		for _, k := range c.classes {
			if k == nil {
				continue
			}
			c.mostWatts = max(c.mostWatts, c.pools[i].def.Watts(k.need.use))
			clear(c.memos)
			c.suit(k, i, &c.memos[0])
			c.sums.climb(len(c.pools)+int(i), k.col, c.sum(k, i))
		}
	}
	for _, f := range c.draws {
		for _, k := range c.classes {
			if k != nil {
				c.followDraw(k, f)
			}
		}
		c.drawsAt.clear(f)
	}
	for _, leaf := range c.dirty {
		c.followNode(leaf)
		c.dirtyAt.clear(leaf)
	}
	c.changed, c.stale, c.draws, c.dirty = c.changed[:0], c.stale[:0], c.draws[:0], c.dirty[:0]
}

// followNode scores a node for all classes.
func (c *Cluster) followNode(leaf int32) {
	i := c.poolAt[leaf]
	p := c.pools[i]
	slot, n := int(leaf-c.base[i]), len(p.nodes)
	c.costs = c.costs[:0]
	s := &c.scene
	s.look(c, p, slot)
	for j := range c.needs {
		v := never
		if n := &c.needs[j]; s.fits(n) {
			d := s.pack(n)
			v = d.yuan(p)
		}
		c.costs = append(c.costs, v)
	}
	c.cols = c.cols[:0]
	row, offers := c.packed.row(int(2*c.base[i])+n+slot), c.offers[int(i)*c.width:]
	for col, k := range c.classes {
		if k == nil || offers[col] == never {
			continue
		}
		if v := c.costs[k.slot]; row[col] != v {
			row[col] = v
			c.cols = append(c.cols, int32(col))
		}
	}
	c.cols = c.packed.climbAll(int(2*c.base[i]), n+slot, c.cols)
	above := c.sums.row(len(c.pools) + int(i))
	rest := c.cols[:0]
	for _, col := range c.cols {
		if v := c.sum(c.classes[col], i); above[col] != v {
			above[col] = v
			rest = append(rest, col)
		}
	}
	c.sums.climbAll(0, len(c.pools)+int(i), rest)
}

func (c *Cluster) followDraw(k *class, f int32) {
	loaded := len(c.facilities[f].def.PUE.Load) > 0
	for _, i := range c.facilities[f].pools {
		if !c.suited(k, i) {
			continue
		}
		if loaded && k.epoch == c.epoch {
			c.offers[int(i)*c.width+k.col] = c.offer(k, c.pools[i])
		}
		if c.close(k, i) || loaded {
			c.sums.climb(len(c.pools)+int(i), k.col, c.sum(k, i))
		}
	}
}

// followFor brings one class up to one node, while the others wait: for
// decisions that take and give back.
func (c *Cluster) followFor(k *class, i int32, slot int) {
	p := c.pools[i]
	if !c.suited(k, i) {
		return
	}
	v := never
	if p.fits(&k.need, slot) {
		d := c.pack(p, &k.need, slot)
		v = d.yuan(p)
	}
	n := len(p.nodes)
	c.packed.climbWithin(int(2*c.base[i]), n+slot, k.col, v)
	c.sums.climb(len(c.pools)+int(i), k.col, c.sum(k, i))
	if f := &c.facilities[p.facility]; f.def.PowerCapW > 0 || len(f.def.PUE.Load) > 0 {
		c.followDraw(k, p.facility)
	}
}

// settled forgets changes that were taken back.
func (c *Cluster) settled() {
	for _, leaf := range c.dirty {
		c.dirtyAt.clear(leaf)
	}
	for _, f := range c.draws {
		c.drawsAt.clear(f)
	}
	c.dirty, c.draws = c.dirty[:0], c.draws[:0]
}

// mask leaves a pool out until unmask.
func (c *Cluster) mask(k *class, i int32) {
	if k.masked == nil {
		k.masked = newBitmap(len(c.pools))
	}
	k.masked.set(i)
	c.close(k, i)
	c.sums.climb(len(c.pools)+int(i), k.col, never)
}

// unmask lets a pool count again.
func (c *Cluster) unmask(k *class, i int32) {
	k.masked.clear(i)
	c.close(k, i)
	c.sums.climb(len(c.pools)+int(i), k.col, c.sum(k, i))
}

// least is the least sum of a class, never when there is no place.
func (c *Cluster) least(k *class) float32 {
	if len(c.pools) == 0 {
		return never
	}
	return c.sums.at(1, k.col)
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
