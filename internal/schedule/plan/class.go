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
// Every change of a node goes to a log, and each class reads the log on from
// where it stopped when it is asked. So a change costs nothing to classes that
// nobody asks for, and a node that changed often is scored once.
type index struct {
	relaid  bool // nodes or pools came or went, or the demand is another
	base    []int32
	poolAt  []int32 // pool of each leaf
	classes map[uint64]*class
	tick    int64

	log     []change // the last logSize changes, by number modulo logSize
	changes int64
	last    []int64 // number of the last change of each leaf

	// epoch counts slots and sets of signals: offers hold for one.
	epoch   int64
	at      time.Time // start of the slot
	signals signal.Set
	grids   map[int][]slotGrid

	walk    walk
	scratch scratch
}

const (
	logSize = 1 << 15
	// maxClassBytes bounds the memory of all classes together.
	maxClassBytes = 256 << 20
	maxClasses    = 1024
	// loadSteps is how finely the load of a facility is told apart by the index.
	loadSteps = 20
)

type change struct {
	of changed
	i  int32
}

type changed uint8

const (
	ofNode     changed = iota // a leaf
	ofPool                    // all of a pool
	ofFacility                // its definition
	ofDraw                    // its power, or its load
)

type slotGrid struct {
	grid
	known bool
}

func (c *Cluster) record(of changed, i int32) {
	if c.relaid || len(c.classes) == 0 {
		return
	}
	c.log[c.changes%logSize] = change{of, i}
	c.changes++
}

func (c *Cluster) nodeChanged(pool int32, slot int) {
	if c.relaid || len(c.classes) == 0 {
		return
	}
	leaf := c.base[pool] + int32(slot)
	c.last[leaf] = c.changes
	c.record(ofNode, leaf)
}

func (c *Cluster) poolChanged(i int32) { c.record(ofPool, i) }

func (c *Cluster) facilityChanged(i int32) {
	for _, g := range c.grids {
		if int(i) < len(g) {
			g[i].known = false
		}
	}
	c.record(ofFacility, i)
}

// usedChanged follows the use of a facility, where something depends on it.
func (c *Cluster) usedChanged(i int32) {
	f := &c.facilities[i]
	if len(f.def.PUE.Load) > 0 {
		for _, g := range c.grids {
			if int(i) < len(g) {
				g[i].known = false
			}
		}
	} else if f.def.PowerCapW == 0 {
		return
	}
	c.record(ofDraw, i)
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
	c.classes = map[uint64]*class{}
	c.log = make([]change, logSize)
	c.changes = 0
	c.last = make([]int64, n)
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
	at := now.Truncate(step)
	if at.Equal(c.at) && sameSet(signals, c.signals) {
		return
	}
	c.at, c.signals = at, signals
	c.epoch++
	clear(c.grids)
}

// class is the index for all requests that are equal in what filters and scorers
// look at; durations are equal within a factor of two.
type class struct {
	w     schedule.Workload // the request that it was made for
	t     schedule.Task
	need  need
	size  int     // durations: 2^size minutes and up to twice that
	once  float64 // share of one member in what is paid once
	hours float64

	admitted []schedule.Code // by facility
	reaches  []reach         // by facility; nil where it is all the same
	blocked  bitmap          // pools whose facility may not draw so much more
	suited   bitmap          // pools that pass the filters of workload, facility and pool
	masked   bitmap          // pools that do not count during one decision; nil for none

	packed []float32 // trees of yuan an hour, one for each pool
	offers []float32 // yuan of the rest, by pool
	sums   []float32 // tree over pools: the best node and the offer

	why   schedule.Reason // that there is no room, as of a number of changes
	whyAt int64

	read  int64 // changes that it knows of
	epoch int64
	tick  int64
}

// duration is the size of a P50.
func duration(d time.Duration) int { return int(math.Floor(math.Log2(max(d.Minutes(), 1.0/64)))) }

// classOf returns the class of a task, up to date.
func (c *Cluster) classOf(w *schedule.Workload, t *schedule.Task, members int) *class {
	size := duration(t.P50)
	h := hash(w, t, size, members)
	k := c.classes[h]
	c.tick++
	if k == nil || !k.same(w, t, size, members) {
		k = c.newClass(w, t, size, members)
		c.classes[h] = k
		c.evict(k)
	}
	k.tick = c.tick
	c.follow(k)
	return k
}

// evict keeps the memory of classes bounded: those not asked for longest go.
func (c *Cluster) evict(kept *class) {
	most := min(maxClasses, max(16, maxClassBytes/(8*(len(c.poolAt)+2*len(c.pools)+1))))
	for len(c.classes) > most {
		oldest, tick := uint64(0), int64(math.MaxInt64)
		for h, k := range c.classes {
			if k != kept && k.tick < tick {
				oldest, tick = h, k.tick
			}
		}
		delete(c.classes, oldest)
	}
}

func (c *Cluster) newClass(w *schedule.Workload, t *schedule.Task, size, members int) *class {
	k := &class{
		w: *w, t: *t, need: needOf(t), size: size, once: 1 / float64(members),
		hours:    math.Exp2(float64(size)+0.5) / 60,
		admitted: make([]schedule.Code, len(c.facilities)),
		blocked:  newBitmap(len(c.pools)),
		suited:   newBitmap(len(c.pools)),
		packed:   make([]float32, 2*len(c.poolAt)),
		offers:   make([]float32, len(c.pools)),
		sums:     make([]float32, 2*len(c.pools)),
		read:     c.changes,
		epoch:    c.epoch,
	}
	if len(w.Data) > 0 || w.Latency != nil {
		k.reaches = make([]reach, len(c.facilities))
	}
	for i := range c.facilities {
		c.admit(k, int32(i))
	}
	memos := make([]memo, len(c.kinds)+1)
	for i, p := range c.pools {
		c.suit(k, int32(i), &memos[p.kind+1])
	}
	grow(k.sums)
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

// power notes whether the facility of a pool may power one more member there,
// and reports whether that is new.
func (c *Cluster) power(k *class, i int32) bool {
	p := c.pools[i]
	was := k.blocked.has(i)
	if c.facilities[p.facility].powered(p.def.Watts(k.need.use)) {
		k.blocked.clear(i)
	} else {
		k.blocked.set(i)
	}
	return was != k.blocked.has(i)
}

// memo is the last node that was scored of a kind: equal ones follow each other.
type memo struct {
	node    node
	devices []uint16
	packed  packed
}

// suit works out all of a pool: filters, offer, nodes. It leaves the inner nodes
// of sums to its caller.
func (c *Cluster) suit(k *class, i int32, m *memo) {
	p := c.pools[i]
	tree := c.treeOf(k, i)
	if k.admitted[p.facility] != passed || suits(&k.w, &k.t, p.def) != passed {
		k.suited.clear(i)
		for j := range tree {
			tree[j] = never
		}
		k.sums[len(c.pools)+int(i)] = never
		return
	}
	k.suited.set(i)
	k.offers[i] = c.offer(k, p)
	c.power(k, i)
	n := len(p.nodes)
	for s := range n {
		tree[n+s] = c.yuan(k, p, s, m)
	}
	grow(tree)
	k.sums[len(c.pools)+int(i)] = c.sum(k, i)
}

func (c *Cluster) treeOf(k *class, i int32) []float32 {
	return k.packed[2*c.base[i] : 2*c.base[i+1] : 2*c.base[i+1]]
}

// yuan is what a member costs an hour at a node by packing.
func (c *Cluster) yuan(k *class, p *pool, slot int, m *memo) float32 {
	if !p.fits(&k.need, slot) {
		return never
	}
	if m == nil {
		d := c.pack(p, &k.need, slot)
		return d.yuan(p)
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
	b.hours = k.hours / speed(&k.t, p.def)
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
		g[i] = slotGrid{gridOver(f.def, c.signals, c.at, math.Exp2(float64(size)+0.5)/60, load, math.NaN()), true}
	}
	return g[i].grid
}

// sum is the best of a pool.
func (c *Cluster) sum(k *class, i int32) float32 {
	p := c.pools[i]
	if !k.suited.has(i) || k.blocked.has(i) || (k.masked != nil && k.masked.has(i)) {
		return never
	}
	if v := least(c.treeOf(k, i)); v < never {
		return v*float32(k.hours/speed(&k.t, p.def)) + k.offers[i]
	}
	return never
}

// follow brings a class up to date.
func (c *Cluster) follow(k *class) {
	if c.changes-k.read > logSize {
		c.again(k)
	}
	for ; k.read < c.changes; k.read++ {
		e := c.log[k.read%logSize]
		switch e.of {
		case ofNode:
			if c.last[e.i] == k.read { // else it changed again later
				c.followNode(k, e.i)
			}
		case ofPool:
			c.suit(k, e.i, nil)
			c.settle(k, e.i)
		case ofFacility:
			c.admit(k, e.i)
			for _, i := range c.facilities[e.i].pools {
				c.suit(k, i, nil)
				c.settle(k, i)
			}
		case ofDraw:
			c.followDraw(k, e.i)
		}
	}
	if k.epoch != c.epoch {
		k.epoch = c.epoch
		for i, p := range c.pools {
			if k.suited.has(int32(i)) {
				k.offers[i] = c.offer(k, p)
				k.sums[len(c.pools)+i] = c.sum(k, int32(i))
			}
		}
		grow(k.sums)
	}
}

// again works out everything of a class that was not asked for so long that the
// log does not reach back.
func (c *Cluster) again(k *class) {
	n := c.newClass(&k.w, &k.t, k.size, int(math.Round(1/k.once)))
	n.tick = k.tick
	*k = *n
}

func (c *Cluster) followNode(k *class, leaf int32) {
	i := c.poolAt[leaf]
	if !k.suited.has(i) {
		return
	}
	if put(c.treeOf(k, i), int(leaf-c.base[i]), c.yuan(k, c.pools[i], int(leaf-c.base[i]), nil)) {
		put(k.sums, int(i), c.sum(k, i))
	}
}

// settle puts the sum of a pool right and everything above it, also where the
// value itself was written before.
func (c *Cluster) settle(k *class, i int32) {
	n := len(c.pools)
	j := n + int(i)
	k.sums[j] = c.sum(k, i)
	for j > 1 {
		j >>= 1
		k.sums[j] = min(k.sums[2*j], k.sums[2*j+1])
	}
}

func (c *Cluster) followDraw(k *class, f int32) {
	loaded := len(c.facilities[f].def.PUE.Load) > 0
	for _, i := range c.facilities[f].pools {
		if !k.suited.has(i) {
			continue
		}
		if loaded {
			k.offers[i] = c.offer(k, c.pools[i])
		}
		if c.power(k, i) || loaded {
			put(k.sums, int(i), c.sum(k, i))
		}
	}
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

// mask leaves a pool out until unmask.
func (c *Cluster) mask(k *class, i int32) {
	if k.masked == nil {
		k.masked = newBitmap(len(c.pools))
	}
	k.masked.set(i)
	put(k.sums, int(i), never)
}

// unmask lets a pool count again.
func (c *Cluster) unmask(k *class, i int32) {
	k.masked.clear(i)
	put(k.sums, int(i), c.sum(k, i))
}
