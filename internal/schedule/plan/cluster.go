// Package plan decides where and when workloads run. It is pure: what there is,
// what is in use, the forecasts and the time come in as values; decisions with
// their reasons go out. The same calls in the same order give the same answers.
//
//	Cluster   what there is and what is in use        cluster.go, pool.go, free.go
//	Place     a decision that takes nothing           place.go, gang.go
//	shifting  when, if not now                        window.go, shift.go, split.go, booking.go
//	filters   may this pool run it at all             filter.go
//	scorers   what it costs there, in yuan            score.go, pack.go, demand.go
//	index     bounds of all pools for equal requests  index.go, class.go, tree.go
//	Explain   why not, and what would help            explain.go
//
// Art. 13
package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// Cluster is what there is and what is in use. It is not safe for concurrent
// use: whoever decides owns it. A Clone is another's to own.
type Cluster struct {
	tiers schedule.Tiers
	links map[[2]string]schedule.Way // both ways
	me    *owner

	facilities []facility
	facilityOf map[string]int32
	pools      []*pool
	poolOf     map[string]int32
	gone       map[string]*pool // removed, with capacity that is still leased

	prices *prices // of what is scarce; nil: none were told

	demand *demand
	kinds  []kind  // of accelerators, one for each that pools have
	valued *demand // that the worth of kinds follows from

	beyond map[string]float64 // by tenant, of what it uses beyond its share; never changed

	// seen are the nodes whose telemetry raises what is in use, the oldest
	// first.
	seen expiries
	told bool // live values were, once

	index
}

// owner tells which cluster may write to a pool; all others copy it before.
type owner struct{ _ byte }

type facility struct {
	def   *schedule.Facility
	pools []int32
	// watts count against the cap: idle nodes and what is leased.
	watts int64
	used  schedule.Vector
	cap   schedule.Vector

	live   FacilityLive
	beyond int64 // watts that were measured besides watts
}

// NewCluster returns a cluster without facilities; a nil network knows no
// distances.
func NewCluster(network *schedule.Network) *Cluster {
	c := &Cluster{
		me:         new(owner),
		facilityOf: map[string]int32{},
		poolOf:     map[string]int32{},
		gone:       map[string]*pool{},
		demand:     &demand{},
	}
	if network == nil {
		network = &schedule.Network{}
	}
	c.SetNetwork(network)
	return c
}

// SetNetwork says anew how far places lie from one another.
func (c *Cluster) SetNetwork(n *schedule.Network) {
	c.tiers = n.Tiers
	c.links = make(map[[2]string]schedule.Way, 2*len(n.Links)) // a clone may share the old ones
	for _, l := range n.Links {
		c.links[[2]string{l.From, l.To}] = l.Way
		c.links[[2]string{l.To, l.From}] = l.Way
	}
	c.index.relaid = true
}

// SetFacility adds a facility or replaces the one of the same id. It must not be
// changed afterwards.
func (c *Cluster) SetFacility(f *schedule.Facility) {
	i, ok := c.facilityOf[f.ID]
	if !ok {
		i = int32(len(c.facilities))
		c.facilityOf[f.ID] = i
		c.facilities = append(c.facilities, facility{})
		c.relaid = true
	}
	c.facilities[i].def = f
	c.facilityChanged(i)
}

// SetPool adds a pool or replaces the one of the same id. What is leased stays
// leased, even where capacity shrinks below it or a node is gone. The pool must
// not be changed afterwards, and its facility must be there.
func (c *Cluster) SetPool(def *schedule.Pool) error {
	f, ok := c.facilityOf[def.Facility]
	if !ok {
		return fmt.Errorf("pool %q: facility %q is not there; set it first", def.ID, def.Facility)
	}
	i, known := c.poolOf[def.ID]
	var old *pool
	switch {
	case known:
		old = c.pools[i]
		if old.facility != f {
			return fmt.Errorf("pool %q: is in facility %q and cannot move to %q; remove it first", def.ID, old.def.Facility, def.Facility)
		}
	case c.gone[def.ID] != nil && c.gone[def.ID].facility == f:
		old = c.gone[def.ID]
	}
	if old != nil && !old.used.IsZero() && (len(old.def.Classes) > 0) != (len(def.Classes) > 0) {
		return fmt.Errorf("pool %q: has leases, which name its nodes, or only their slots; it cannot change between nodes and classes before they end", def.ID)
	}
	p := newPool(c.me, def, f, c.kindOf(def.Accelerator), old)
	if !known {
		i = int32(len(c.pools))
		c.poolOf[def.ID] = i
		c.pools = append(c.pools, p)
		c.facilities[f].pools = append(slices.Clip(c.facilities[f].pools), i)
		delete(c.gone, def.ID)
		c.relaid = true
	} else {
		c.pools[i] = p
		c.relaid = c.relaid || len(p.nodes) != len(old.nodes) || p.kind != old.kind || p.cap != old.cap
	}
	c.tally(f)
	c.poolChanged(i)
	return nil
}

// RemovePool takes a pool out. What is leased of it may still be given back, and
// is there again when the pool is.
func (c *Cluster) RemovePool(id string) {
	i, ok := c.poolOf[id]
	if !ok {
		return
	}
	p := c.own(i)
	p.planned = nil
	if !p.used.IsZero() {
		c.gone[id] = p
	}
	c.pools = slices.Delete(c.pools, int(i), int(i)+1)
	delete(c.poolOf, id)
	for j := int(i); j < len(c.pools); j++ {
		c.poolOf[c.pools[j].def.ID] = int32(j)
	}
	for j := range c.facilities {
		c.facilities[j].pools = nil // a clone may share the old list
	}
	for j, p := range c.pools {
		f := &c.facilities[p.facility]
		f.pools = append(f.pools, int32(j))
	}
	c.relaid = true
	c.tally(p.facility)
}

// Region returns the division code of a facility; empty when there is no such.
func (c *Cluster) Region(id string) string {
	if i, ok := c.facilityOf[id]; ok {
		return c.facilities[i].def.Region
	}
	return ""
}

// Lost reports whether a facility is lost.
func (c *Cluster) Lost(id string) bool {
	i, ok := c.facilityOf[id]
	return ok && c.facilities[i].def.State == schedule.Lost
}

// FacilityOf returns the facility of a pool; empty when there is no such.
func (c *Cluster) FacilityOf(pool string) string {
	if i, ok := c.poolOf[pool]; ok {
		return c.pools[i].def.Facility
	}
	return ""
}

// SetState changes the state of a facility and nothing else of it.
func (c *Cluster) SetState(id string, s schedule.FacilityState) {
	if i, ok := c.facilityOf[id]; ok {
		f := *c.facilities[i].def
		f.State = s
		c.SetFacility(&f)
	}
}

// tally sums up a facility anew.
func (c *Cluster) tally(fi int32) {
	f := &c.facilities[fi]
	f.watts, f.used, f.cap = 0, schedule.Vector{}, schedule.Vector{}
	for _, i := range f.pools {
		p := c.pools[i]
		f.watts += p.def.IdleWatts() + p.watts
		f.used = f.used.Add(p.used)
		f.cap = f.cap.Add(p.cap)
	}
	for _, p := range c.gone {
		if p.facility == fi {
			f.watts += p.watts
		}
	}
}

// own returns a pool that may be written to.
func (c *Cluster) own(i int32) *pool {
	p := c.pools[i]
	if p.owner != c.me {
		p = p.clone(c.me)
		c.pools[i] = p
	}
	return p
}

// Take marks the parts as leased, all or none. It checks that each fits its
// node and devices, and the power cap of its facility; what telemetry saw
// besides does not count, since a promise may not depend on it.
func (c *Cluster) Take(parts []schedule.Assignment) error {
	for i := range parts {
		if err := c.take(&parts[i], true); err != nil {
			for j := range i {
				c.give(&parts[j]) //nolint:errcheck // taken a moment ago
			}
			return err
		}
	}
	return nil
}

// Restore takes parts that were promised before, without a check: capacity may
// have shrunk since. The pool and node must be known, or have been.
func (c *Cluster) Restore(parts []schedule.Assignment) error {
	for i := range parts {
		if err := c.take(&parts[i], false); err != nil {
			return err
		}
	}
	return nil
}

// Give frees what was taken. A part that is not taken is an error, and the
// others are free.
func (c *Cluster) Give(parts []schedule.Assignment) error {
	var first error
	for i := range parts {
		if err := c.give(&parts[i]); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (c *Cluster) take(a *schedule.Assignment, check bool) error {
	i, ok := c.poolOf[a.Pool]
	if !ok {
		return fmt.Errorf("pool %q is not there", a.Pool)
	}
	p := c.pools[i]
	slot, ok := p.slot(a)
	if !ok {
		return fmt.Errorf("pool %q: has no node %q (slot %d)", a.Pool, a.Node, a.Slot)
	}
	f := &c.facilities[p.facility]
	watts := p.def.Watts(a.Use)
	if err := p.wellFormed(slot, a); err != nil {
		return err
	}
	if check {
		if err := p.holds(slot, a); err != nil {
			return err
		}
		if limit := f.def.PowerCapW; limit > 0 && watts > 0 && f.watts+watts > limit {
			return fmt.Errorf("facility %q: draws %d W, and %d W more would exceed its cap of %d W", f.def.ID, f.watts, watts, limit)
		}
	}
	c.move(i, slot, a, 1)
	return nil
}

func (c *Cluster) give(a *schedule.Assignment) error {
	i, ok := c.poolOf[a.Pool]
	if !ok {
		return c.giveGone(a)
	}
	p := c.pools[i]
	slot, ok := p.slot(a)
	if !ok || !p.taken(slot, a) {
		return fmt.Errorf("pool %q: %v of node %q (slot %d) is not taken", a.Pool, a.Use, a.Node, a.Slot)
	}
	c.move(i, slot, a, -1)
	return nil
}

// move takes (sign 1) or gives back (-1) a part.
func (c *Cluster) move(i int32, slot int, a *schedule.Assignment, sign int64) {
	p := c.own(i)
	watts := p.move(slot, a, sign)
	f := &c.facilities[p.facility]
	f.watts += watts
	f.used = f.used.Add(a.Use.Times(sign))
	c.nodeChanged(i, slot)
	c.usedChanged(p.facility)
}

func (c *Cluster) giveGone(a *schedule.Assignment) error {
	p := c.gone[a.Pool]
	if p == nil {
		return fmt.Errorf("pool %q is not there", a.Pool)
	}
	slot, ok := p.slot(a)
	if !ok || !p.taken(slot, a) {
		return fmt.Errorf("pool %q: %v of node %q (slot %d) is not taken", a.Pool, a.Use, a.Node, a.Slot)
	}
	if p.owner != c.me {
		p = p.clone(c.me)
		c.gone[a.Pool] = p
	}
	c.facilities[p.facility].watts += p.move(slot, a, -1)
	if p.used.IsZero() {
		delete(c.gone, a.Pool)
	}
	return nil
}

// LiveBound is how long a live value counts. After it what was declared and
// leased counts alone.
const LiveBound = 5 * time.Minute

// Observe tells what telemetry saw in use at a node at a time. It may only raise
// what counts as in use: what was seen beyond the leases of that moment counts
// beside them, and beside later ones, for LiveBound. A slot or an id names the
// node, as in an Assignment. It reports whether the node is known.
func (c *Cluster) Observe(poolID, nodeID string, slot int, used schedule.Vector, at time.Time) bool {
	i, ok := c.poolOf[poolID]
	if !ok {
		return false
	}
	s, ok := c.pools[i].slot(&schedule.Assignment{Node: nodeID, Slot: slot})
	if !ok {
		return false
	}
	p := c.own(i)
	c.told = true
	if len(p.seenAt) == 0 {
		p.seenAt = make([]int64, len(p.nodes))
	}
	if at.UnixNano() < p.seenAt[s] {
		return true // an older message that came late
	}
	n := &p.nodes[s]
	beyond := used.Sub(n.used)
	for d := range beyond {
		beyond[d] = max(0, beyond[d])
	}
	waiting := !n.seen.IsZero()
	p.seenAt[s] = at.UnixNano()
	if beyond != n.seen {
		n.seen = beyond
		p.refresh(s)
		c.nodeChanged(i, s)
	}
	if !waiting && !beyond.IsZero() {
		c.seen.push(expiry{at: at.Add(LiveBound).UnixNano(), pool: poolID, slot: int32(s)})
	}
	return true
}

// forget drops what was seen too long ago.
func (c *Cluster) forget(now time.Time) {
	for len(c.seen) > 0 && c.seen[0].at <= now.UnixNano() {
		e := c.seen.pop()
		i, ok := c.poolOf[e.pool]
		if !ok || int(e.slot) >= len(c.pools[i].seenAt) {
			continue
		}
		p := c.own(i)
		n := &p.nodes[e.slot]
		if n.seen.IsZero() {
			continue
		}
		if until := p.seenAt[e.slot] + int64(LiveBound); until > now.UnixNano() {
			c.seen.push(expiry{at: until, pool: e.pool, slot: e.slot})
			continue
		}
		n.seen = schedule.Vector{}
		p.refresh(int(e.slot))
		c.nodeChanged(i, int(e.slot))
	}
}

// Clone returns a cluster that is equal and independent: nothing that happens to
// one is seen by the other, which may be another goroutine's. Pools are copied
// when they are first written to.
func (c *Cluster) Clone() *Cluster {
	d := *c
	c.me, d.me = new(owner), new(owner)
	d.facilities = slices.Clone(c.facilities)
	for i := range d.facilities {
		d.facilities[i].pools = slices.Clip(d.facilities[i].pools)
	}
	d.facilityOf = cloneMap(c.facilityOf)
	d.poolOf = cloneMap(c.poolOf)
	d.gone = cloneMap(c.gone)
	d.pools = slices.Clone(c.pools)
	d.kinds = slices.Clone(c.kinds)
	d.seen = slices.Clone(c.seen)
	d.index = index{relaid: true}
	return &d
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	n := make(map[K]V, len(m))
	for k, v := range m {
		n[k] = v
	}
	return n
}

// expiries is a heap, the earliest first.
type expiries []expiry

type expiry struct {
	at   int64
	pool string
	slot int32
}

func (h *expiries) push(e expiry) {
	s := append(*h, e)
	for i := len(s) - 1; i > 0 && s[i].at < s[(i-1)/2].at; i = (i - 1) / 2 {
		s[i], s[(i-1)/2] = s[(i-1)/2], s[i]
	}
	*h = s
}

func (h *expiries) pop() expiry {
	s := *h
	top, last := s[0], len(s)-1
	s[0] = s[last]
	s = s[:last]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && s[child].at < s[least].at {
				least = child
			}
		}
		if least == i {
			break
		}
		s[i], s[least] = s[least], s[i]
		i = least
	}
	*h = s
	return top
}

// bitmap is a set of small numbers.
type bitmap []uint64

func newBitmap(n int) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) set(i int32)      { b[i>>6] |= 1 << (i & 63) }
func (b bitmap) clear(i int32)    { b[i>>6] &^= 1 << (i & 63) }
func (b bitmap) has(i int32) bool { return b[i>>6]>>(i&63)&1 != 0 }
