package plan

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// pool is a pool with what is in use. It is written to by its owner alone.
type pool struct {
	owner    *owner
	def      *schedule.Pool
	facility int32
	kind     int32 // index of Cluster.kinds, -1 without accelerators
	power    schedule.Power
	// What a device and a CPU count for in packing, yuan an hour.
	deviceHour, cpuHour float32

	nodes []node
	slots map[string]int32 // by node id; never written to after newPool
	// leased and free are thousandths of devices, stride of them for each node.
	leased, free []uint16
	stride       int

	cap, used schedule.Vector
	largest   schedule.Vector // the most that a node has of each
	watts     int64           // of what is leased
	live      Live
	seenAt    []int64 // when a node was last observed, Unix ns; empty: none was

	// ends say how much of what is leased ends when, in order, by hour.
	ends    timeline
	planned timeline // what deferred work is to use, by when it changes
}

// node is one machine. What decisions look at lies in one line of the cache, and a
// node has three of them.
type node struct {
	room
	_               [16]byte
	cap, used, seen schedule.Vector
	_               [8]byte
}

// room is what a new member may have of a node: capacity without what is leased
// and what telemetry saw besides, never below zero.
type room struct {
	free           schedule.Vector
	devices, whole uint8   // all, and those that are free as a whole
	most           uint16  // thousandths that one device has free
	perCPU         float32 // one over the capacity
}

// newPool makes the pool of a definition. What is leased of old stays: by id
// where nodes have one, else by slot.
func newPool(me *owner, def *schedule.Pool, facility, kind int32, old *pool) *pool {
	p := &pool{owner: me, def: def, facility: facility, kind: kind, power: def.Power.OrDefault(), deviceHour: deviceHour, cpuHour: cpuHour}
	if r := def.Rate.Accelerator; r > 0 {
		p.deviceHour = float32(r)
	}
	if r := def.Rate.CPU; r > 0 {
		p.cpuHour = float32(r)
	}
	n := len(def.Nodes)
	for _, class := range def.Classes {
		n += class.Count
	}
	p.nodes = make([]node, 0, n)
	if len(def.Nodes) > 0 {
		p.slots = make(map[string]int32, n)
	}
	for i := range def.Nodes {
		p.slots[def.Nodes[i].ID] = int32(i)
		p.add(def.Nodes[i])
	}
	for _, class := range def.Classes {
		for range class.Count {
			p.add(class.Node)
		}
	}
	if old != nil {
		p.stride = max(p.stride, old.stride)
		p.inherit(old)
	} else {
		p.leased = make([]uint16, len(p.nodes)*p.stride)
	}
	p.free = make([]uint16, len(p.nodes)*p.stride)
	for i := range p.nodes {
		p.refresh(i)
	}
	return p
}

// draws is Watts of the definition.
func (p *pool) draws(use schedule.Vector) int64 { return draws(p.power, use) }

func draws(p schedule.Power, use schedule.Vector) int64 {
	return max(use[schedule.PowerW], int64(math.Ceil(p.Draw(use))))
}

func (p *pool) add(n schedule.Node) {
	p.stride = max(p.stride, n.Accelerators)
	p.nodes = append(p.nodes, node{cap: n.Capacity(), room: room{devices: uint8(n.Accelerators), perCPU: 1 / float32(max(1, n.CPUMilli))}})
	for d, v := range n.Capacity() {
		p.cap[d] += v
		p.largest[d] = max(p.largest[d], v)
	}
}

// inherit takes over what is in use of the pool before. A node that is gone and
// in use stays as one without capacity.
func (p *pool) inherit(old *pool) {
	from := make([]int, len(p.nodes), len(p.nodes)+8) // slot in old, -1 for none
	for i := range from {
		from[i] = -1
	}
	names := make(map[int]string, len(old.slots))
	for id, slot := range old.slots {
		names[int(slot)] = id
	}
	for j := range old.nodes {
		id, named := names[j]
		i, there := j, j < len(p.nodes) && p.slots == nil
		if named {
			var s int32
			s, there = p.slots[id]
			i = int(s)
		}
		switch {
		case there && (named || p.slots == nil):
			from[i] = j
		case !old.nodes[j].used.IsZero():
			if named {
				if p.slots == nil {
					p.slots = map[string]int32{}
				}
				p.slots[id] = int32(len(p.nodes))
			}
			for !named && len(p.nodes) < j { // a slot keeps its number
				p.nodes, from = append(p.nodes, node{room: room{perCPU: 1}}), append(from, -1)
			}
			p.nodes, from = append(p.nodes, node{room: room{perCPU: 1}}), append(from, j)
		}
	}
	p.leased = make([]uint16, len(p.nodes)*p.stride)
	if len(old.seenAt) > 0 {
		p.seenAt = make([]int64, len(p.nodes))
	}
	for i, j := range from {
		if j < 0 {
			continue
		}
		p.nodes[i].used, p.nodes[i].seen = old.nodes[j].used, old.nodes[j].seen
		copy(p.leased[i*p.stride:(i+1)*p.stride], old.leased[j*old.stride:(j+1)*old.stride])
		if len(old.seenAt) > 0 {
			p.seenAt[i] = old.seenAt[j]
		}
	}
	p.used, p.watts, p.live = old.used, old.watts, old.live
	p.ends, p.planned = slices.Clone(old.ends), slices.Clone(old.planned)
}

func (p *pool) clone(me *owner) *pool {
	d := *p
	d.owner = me
	d.nodes = slices.Clone(p.nodes)
	d.leased, d.free = slices.Clone(p.leased), slices.Clone(p.free)
	d.seenAt = slices.Clone(p.seenAt)
	d.ends, d.planned = slices.Clone(p.ends), slices.Clone(p.planned)
	return &d
}

// slot finds the node of an assignment: by id, else by slot.
func (p *pool) slot(a *schedule.Assignment) (int, bool) {
	if a.Node != "" {
		s, ok := p.slots[a.Node]
		return int(s), ok
	}
	return a.Slot, a.Slot >= 0 && a.Slot < len(p.nodes)
}

// share is what one of the devices of an assignment takes.
func share(a *schedule.Assignment) int64 {
	if len(a.Devices) == 0 {
		return 0
	}
	return a.Use[schedule.AcceleratorMilli] / int64(len(a.Devices))
}

// wellFormed checks an assignment against itself and the number of devices.
func (p *pool) wellFormed(slot int, a *schedule.Assignment) error {
	if d := a.Use.Negative(); d != schedule.Dimensions {
		return fmt.Errorf("pool %q: %s %d is negative", a.Pool, schedule.DimensionNames[d], a.Use[d])
	}
	milli, each := a.Use[schedule.AcceleratorMilli], share(a)
	if each*int64(len(a.Devices)) != milli || each > schedule.DeviceMilli || (len(a.Devices) > 0 && milli == 0) {
		return fmt.Errorf("pool %q: %d thousandths of %d devices do not come out even", a.Pool, milli, len(a.Devices))
	}
	var seen uint64
	for _, d := range a.Devices {
		if int(d) >= p.stride || seen>>d&1 != 0 {
			return fmt.Errorf("pool %q: node %q (slot %d) has no device %d, or it is named twice", a.Pool, a.Node, slot, d)
		}
		seen |= 1 << d
	}
	return nil
}

// holds checks an assignment against what is leased.
func (p *pool) holds(slot int, a *schedule.Assignment) error {
	n := &p.nodes[slot]
	for d, use := range a.Use {
		if use > 0 && n.used[d]+use > n.cap[d] {
			return fmt.Errorf("pool %q: node %q (slot %d) has %d %s of %d in use, and %d more is asked for",
				a.Pool, a.Node, slot, n.used[d], schedule.DimensionNames[d], n.cap[d], use)
		}
	}
	each := share(a)
	for _, d := range a.Devices {
		if d >= n.devices || int64(p.leased[slot*p.stride+int(d)])+each > schedule.DeviceMilli {
			return fmt.Errorf("pool %q: node %q (slot %d): device %d has no %d thousandths to lease", a.Pool, a.Node, slot, d, each)
		}
	}
	return nil
}

// taken reports whether an assignment can be given back.
func (p *pool) taken(slot int, a *schedule.Assignment) bool {
	if p.wellFormed(slot, a) != nil || !a.Use.Within(p.nodes[slot].used) {
		return false
	}
	for _, d := range a.Devices {
		if int64(p.leased[slot*p.stride+int(d)]) < share(a) {
			return false
		}
	}
	return true
}

// move adds an assignment (sign 1) or takes it off (-1), and returns the watts
// that this is.
func (p *pool) move(slot int, a *schedule.Assignment, sign int64) int64 {
	n := &p.nodes[slot]
	n.used = n.used.Add(a.Use.Times(sign))
	p.used = p.used.Add(a.Use.Times(sign))
	each := share(a) * sign
	for _, d := range a.Devices {
		at := slot*p.stride + int(d)
		p.leased[at] = uint16(int64(p.leased[at]) + each)
	}
	watts := p.def.Watts(a.Use) * sign
	p.watts += watts
	if !a.End.IsZero() { // else never, by plan
		p.ends.add(stepAfter(a.End), a.Use.Times(sign))
	}
	p.refresh(slot)
	return watts
}

// refresh works out what of a node is free.
func (p *pool) refresh(slot int) {
	n := &p.nodes[slot]
	for d := range n.free {
		n.free[d] = max(0, n.cap[d]-n.used[d]-n.seen[d])
	}
	n.whole, n.most = 0, 0
	if p.stride == 0 {
		return
	}
	free, leased := p.free[slot*p.stride:(slot+1)*p.stride], p.leased[slot*p.stride:(slot+1)*p.stride]
	var total int64
	for i := range free {
		free[i] = 0
		if i < int(n.devices) {
			free[i] = schedule.DeviceMilli - min(leased[i], schedule.DeviceMilli)
		}
		total += int64(free[i])
	}
	if n.seen[schedule.AcceleratorMilli] > 0 {
		total -= occupy(free, n.seen[schedule.AcceleratorMilli])
	}
	for _, f := range free {
		n.most = max(n.most, f)
		if f == schedule.DeviceMilli {
			n.whole++
		}
	}
	n.free[schedule.AcceleratorMilli] = total
}

// occupy takes what telemetry saw, which does not say of which devices, from
// those that are freest: the least is promised then.
func occupy(free []uint16, milli int64) int64 {
	var took int64
	for milli > 0 {
		i := 0
		for j := range free {
			if free[j] > free[i] {
				i = j
			}
		}
		d := min(milli, int64(free[i]))
		if d == 0 {
			break
		}
		free[i] -= uint16(d)
		milli -= d
		took += d
	}
	return took
}

// devices are the thousandths that are free of each device of a node.
func (p *pool) devices(slot int) []uint16 {
	return p.free[slot*p.stride : slot*p.stride+int(p.nodes[slot].devices)]
}

// step is how fine future use is kept.
const step = 15 * time.Minute

func stepOf(t time.Time) int64 { return t.Unix() / int64(step/time.Second) }

func stepAfter(t time.Time) int64 {
	s := int64(step / time.Second)
	return (t.Unix() + s - 1) / s
}
