package plan

import (
	"math"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// index finds the best pools for a request without looking at all. It follows
// from the rest of the cluster and holds nothing of its own: with one that was
// kept through any number of changes a cluster decides as with one built anew.
//
// It holds bounds: a member of a class costs at least so much at a pool. A tree
// over the pools, one for each class, has the least of them. A pool that comes
// first is looked at, node by node; when it costs more than its bound the bound is
// raised, and another may come first. So most of what a changed node would cost
// need not be worked out: a few additions tell that it is no candidate.
type index struct {
	relaid bool // nodes or pools came or went, or the demand is another
	base   []int32
	poolAt []int32 // pool of each leaf, which stands for a node

	classes []*class // by column
	byHash  map[uint64]*class
	tick    int64
	wants   []want // by slot
	asks    []ask

	width  int       // columns and slots that there is room for
	cells  []cell    // by pool and column
	sums   trees     // pools by column: their bounds once more
	deep   []trees   // by pool, nodes by slot: bounds of what packing costs an hour; none for pools of few nodes
	hours  []float32 // by kind of accelerator + 1 and column: of a member
	zones  []zone    // by column
	least  []float32 // by slot: memory of one change
	usable []float32 // by leaf: what members find usable of a node; NaN where that is not known

	views []view // by pool

	dirty     []int32 // leaves that changed
	dirtyAt   bitmap
	draws     []int32 // facilities whose draw or load changed
	drawsAt   bitmap
	stale     []int32        // pools to work out anew
	changed   []int32        // facilities that are defined anew
	changes   int64          // counts all of these
	mostPower schedule.Power // of any pool
	mostWatts int64          // that any member takes by that
	tight     bitmap         // facilities whose cap is nearer than that
	loads     []int32        // of facilities, in steps, by which grids are known

	// epoch counts slots and sets of signals: offers hold for one.
	epoch   int64
	at      time.Time // start of the slot
	signals signal.Set
	grids   map[int][]slotGrid

	feeds     []*feed // by facility, of the epoch
	zoneFeeds map[string]*feed

	memos   []memo // by kind of accelerator + 1
	scratch scratch
	// scenes are of the nodes of one pool, as of a number of changes.
	scenes   [few]scene
	scenesOf int32
	scenesAt int64
}

// cell is what a member of a class costs at a pool, in yuan.
type cell struct {
	offer float32 // besides packing; never where it may not run
	bound float32 // the least that it may cost
}

// zone is below what a pool is among the best of a class, as of the last time
// that it was asked for: there bounds are kept near to what they bound.
type zone struct {
	slot int32
	cost float32
}

const (
	// few nodes of a pool are all looked at when the pool is.
	few = 4
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

// want is a kind of member that classes ask for.
type want struct {
	need need
	cols []int32 // of these classes
	// What the bound of a change looks at.
	ask            int32
	cpu, mem, disk float32
}

var nan = float32(math.NaN())

type slotGrid struct {
	grid
	known bool
}

// kept reports whether there is an index that must follow.
func (c *Cluster) kept() bool { return !c.relaid && len(c.classes) > 0 }

func (c *Cluster) nodeChanged(pool int32, slot int) {
	c.changes++
	if c.relaid {
		return
	}
	leaf := c.base[pool] + int32(slot)
	c.usable[leaf], c.views[pool].known = nan, false
	if len(c.classes) > 0 && !c.dirtyAt.has(leaf) {
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

// loadStep is the load of a facility in steps.
func (f *facility) loadStep() int32 { return int32(math.Round(f.load() * loadSteps)) }

// usedChanged follows the use of a facility, where something depends on it.
func (c *Cluster) usedChanged(i int32) {
	if c.relaid {
		return
	}
	f := &c.facilities[i]
	loaded := false
	if len(f.def.PUE.Load) > 0 {
		if step := f.loadStep(); step != c.loads[i] {
			c.loads[i], loaded = step, true
			c.forgetGrid(i)
		}
	}
	if !c.kept() || (!c.tightens(i) && !loaded) || c.drawsAt.has(i) {
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

// dearer is a power by which a use draws at least as much as by either.
func dearer(a, b schedule.Power) schedule.Power {
	return schedule.Power{CPUWatt: max(a.CPUWatt, b.CPUWatt), AcceleratorWatt: max(a.AcceleratorWatt, b.AcceleratorWatt)}
}

// lay gives every node its leaf.
func (c *Cluster) lay() {
	c.value()
	n := 0
	c.base = make([]int32, len(c.pools)+1)
	c.mostPower = schedule.Power{}
	for i, p := range c.pools {
		c.base[i] = int32(n)
		n += len(p.nodes)
		c.mostPower = dearer(c.mostPower, p.power)
	}
	c.base[len(c.pools)] = int32(n)
	c.poolAt = make([]int32, n)
	for i := range c.pools {
		for leaf := c.base[i]; leaf < c.base[i+1]; leaf++ {
			c.poolAt[leaf] = int32(i)
		}
	}
	c.classes, c.byHash, c.wants, c.asks, c.width = nil, map[uint64]*class{}, nil, nil, 0
	c.cells, c.sums, c.deep = nil, newTrees(len(c.pools), 0), make([]trees, len(c.pools))
	c.hours, c.zones, c.least = nil, nil, nil
	c.scenesAt = -1
	c.usable = make([]float32, n)
	for leaf := range c.usable {
		c.usable[leaf] = nan
	}
	c.views = make([]view, len(c.pools))
	c.dirty, c.dirtyAt = nil, newBitmap(n)
	c.draws, c.drawsAt = nil, newBitmap(len(c.facilities))
	c.stale, c.changed = nil, nil
	c.mostWatts, c.tight = 0, newBitmap(len(c.facilities))
	c.loads = make([]int32, len(c.facilities))
	c.memos = make([]memo, len(c.kinds)+1)
	c.grids = map[int][]slotGrid{}
	c.relaid = false
}

// widen makes room for more columns and slots.
func (c *Cluster) widen(width int) {
	c.cells = moved(c.cells, len(c.pools), c.width, width)
	c.hours = moved(c.hours, len(c.kinds)+1, c.width, width)
	c.zones = moved(c.zones, 1, c.width, width)
	c.least = make([]float32, width)
	c.sums = c.sums.widen(width)
	for i, p := range c.pools {
		if len(p.nodes) > few {
			c.deep[i].n = len(p.nodes)
			c.deep[i] = c.deep[i].widen(width)
		}
	}
	c.width = width
}

// moved returns rows that are wider.
func moved[T any](from []T, rows, was, width int) []T {
	to := make([]T, rows*width)
	for r := range rows {
		copy(to[r*width:], from[r*was:(r+1)*was])
	}
	return to
}

// columnBytes is the memory of one column and one slot.
func (c *Cluster) columnBytes() int {
	_, tiles := levels(len(c.pools))
	for _, p := range c.pools {
		if len(p.nodes) > few {
			_, more := levels(len(p.nodes))
			tiles += more
		}
	}
	return 4 * (2*len(c.pools) + fan*tiles + len(c.kinds) + 1)
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

// follow brings the index up to all changes.
func (c *Cluster) follow() {
	for _, f := range c.changed {
		for _, k := range c.classes {
			c.admit(k, f)
		}
		c.stale = append(c.stale, c.facilities[f].pools...)
		c.tightens(f)
	}
	for _, i := range c.stale {
		c.followPool(i)
	}
	for _, f := range c.draws {
		for _, k := range c.classes {
			c.followDraw(k, f)
		}
		c.drawsAt.clear(f)
	}
	for _, leaf := range c.dirty {
		i := c.poolAt[leaf]
		c.followNode(i, int(leaf-c.base[i]))
		c.dirtyAt.clear(leaf)
	}
	c.changed, c.stale, c.draws, c.dirty = c.changed[:0], c.stale[:0], c.draws[:0], c.dirty[:0]
}

// followPool works out all of a pool.
func (c *Cluster) followPool(i int32) {
	p, most := c.pools[i], c.mostWatts
	c.mostPower = dearer(c.mostPower, p.power)
	for _, k := range c.classes {
		c.mostWatts = max(c.mostWatts, draws(c.mostPower, k.need.use))
	}
	if c.mostWatts > most {
		for f := range c.facilities {
			c.tightens(int32(f))
		}
	}
	if c.tightens(p.facility) && !c.drawsAt.has(p.facility) { // idle nodes draw too
		c.drawsAt.set(p.facility)
		c.draws = append(c.draws, p.facility)
	}
	c.deep[i].blank()
	c.views[i].known = false
	for leaf := c.base[i]; leaf < c.base[i+1]; leaf++ {
		c.usable[leaf] = nan
	}
	for _, k := range c.classes {
		clear(c.memos)
		c.bind(k, i, c.suit(k, i, &c.memos[0]))
	}
}

// bind changes a bound.
func (c *Cluster) bind(k *class, i int32, v float32) {
	c.cells[int(i)*c.width+k.col].bound = v
	if k.masked == nil || !k.masked.has(i) {
		c.sums.put(int(i), k.col, v)
	}
}

// followNode follows what a node has become.
func (c *Cluster) followNode(i int32, node int) {
	p, s := c.pools[i], c.scene(i, node)
	f := s.floor(c.asks)
	least, deep := c.least, &c.deep[i]
	for slot := range c.wants {
		w := &c.wants[slot]
		least[slot] = f.asks[w.ask] + f.cpu*w.cpu + f.mem*w.mem + f.disk*w.disk
	}
	if deep.n > 0 {
		c.followDeep(p, s, deep, node)
	}
	row, hours := c.cells[int(i)*c.width:], c.hours[int(p.kind+1)*c.width:]
	for col := range c.classes {
		at, z := &row[col], c.zones[col]
		v := sumOf(least[z.slot], hours[col], at.offer)
		if v >= at.bound {
			continue
		}
		if v < z.cost && deep.n == 0 {
			if v = sumOf(s.yuan(&c.wants[z.slot].need), hours[col], at.offer); v >= at.bound {
				continue
			}
		}
		c.bind(c.classes[col], i, v)
	}
}

// followDeep follows a node of a pool of many, and works out what is least
// in the pool.
func (c *Cluster) followDeep(p *pool, s *scene, deep *trees, node int) {
	for slot := range c.wants {
		w := &c.wants[slot]
		if w.ask == nobody {
			continue
		}
		v := c.least[slot]
		if v < deep.root(slot) {
			v = s.yuan(&w.need)
		}
		deep.put(node, slot, v)
		c.least[slot] = deep.root(slot)
	}
}

// sumOf is what a member costs, packing and the rest. It does not depend on
// whether a machine multiplies and adds in one.
func sumOf(packed, hours, offer float32) float32 { return float32(packed*hours) + offer }

// followDraw follows what a facility draws, and its load.
func (c *Cluster) followDraw(k *class, f int32) {
	loaded := len(c.facilities[f].def.PUE.Load) > 0 && k.epoch == c.epoch
	for _, i := range c.facilities[f].pools {
		if loaded {
			c.reoffer(k, i)
			c.bind(k, i, c.cells[int(i)*c.width+k.col].bound)
		}
		if k.blocked.has(i) && c.suited(k, i) && c.facilities[f].powered(c.pools[i].draws(k.need.use)) {
			c.bind(k, i, c.look(k, i).cost)
		}
	}
}

// followFor brings one class up to one node, while the others wait: for
// decisions that take and give back.
func (c *Cluster) followFor(k *class, i int32, node int) {
	if !c.suited(k, i) {
		return
	}
	if deep := &c.deep[i]; deep.n > 0 {
		deep.put(node, k.slot, c.scene(i, node).yuan(&k.need))
	}
	c.bind(k, i, c.look(k, i).cost)
	if f := &c.facilities[c.pools[i].facility]; f.def.PowerCapW > 0 || len(f.def.PUE.Load) > 0 {
		c.followDraw(k, c.pools[i].facility)
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
