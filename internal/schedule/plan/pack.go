package plan

import (
	"math"
	"slices"

	"github.com/songhua-io/hub/internal/schedule"
)

// need is what one member takes of a node.
type need struct {
	use   schedule.Vector
	count int   // devices, 0 for none
	milli int64 // of each
}

func needOf(t *schedule.Task) need {
	n := need{use: t.Need()}
	if t.Accelerators != nil {
		n.count, n.milli = t.Accelerators.Count, t.Accelerators.Milli
	}
	return n
}

// fits reports whether a node has room for a member.
func (p *pool) fits(n *need, slot int) bool {
	node := &p.nodes[slot]
	if !n.use.Within(node.free) {
		return false
	}
	switch {
	case n.count == 0:
		return true
	case n.milli == schedule.DeviceMilli:
		return int(node.whole) >= n.count
	case node.whole > 0:
		return true
	}
	for _, f := range p.devices(slot) {
		if int64(f) >= n.milli {
			return true
		}
	}
	return false
}

// packed is what a member does to a node, per hour that it stays: the units are
// those of the scorers, without the hours.
type packed struct {
	fragmentation float32 // devices that become unusable
	accelerator   float32 // devices that lose the CPU to use them
	cpu           float32 // CPUs that lose the memory to use them
	storage       float32 // GiB of disk that lose the CPU to use them
	left          float32 // share of the node that stays free
	device        int     // of which a share is taken; -1 for whole ones, or none
}

// The prices by which what is lost counts, in yuan per hour. A pool that says
// its own rate is priced by it.
const (
	deviceHour  = 10.0    // one accelerator: what clouds ask for one of the middle class
	cpuHour     = 0.25    // one CPU
	storageHour = 0.00048 // one GiB of disk: 0.35 yuan a month
	// strandedShare of what is stranded is expected to stay so for as long as
	// the member stays; the rest is met by members unlike the mean one.
	strandedShare = 0.3
	// leftShare breaks ties: the fuller node first.
	leftShare = 0.001
)

// yuan is the cost of packing per hour at a pool.
func (k *packed) yuan(p *pool) float32 {
	return p.deviceHour*(k.fragmentation+strandedShare*k.accelerator+leftShare*k.left) + strandedShare*(p.cpuHour*k.cpu+storageHour*k.storage)
}

// scene is a node before a member comes: what does not depend on the member.
type scene struct {
	c      *Cluster
	p      *pool
	slot   int
	node   *node
	worth  *worth
	usable float32
	whole  int // devices that are free as a whole
	// parts are the devices that are free in part, equal ones together.
	parts [schedule.MaxDevices]part
	n     int
	most  int64 // that a device has free
	// what is stranded
	accelerator, cpu, storage float32
	perCPU                    float32 // one over the node's CPU
}

type part struct {
	free   uint16
	device uint8 // the first of them
	count  uint8
}

// look makes the scene of a node.
func (s *scene) look(c *Cluster, p *pool, slot int) {
	s.c, s.p, s.slot, s.node, s.worth, s.n, s.most = c, p, slot, &p.nodes[slot], nil, 0, 0
	s.whole = int(s.node.whole)
	if s.whole > 0 {
		s.most = schedule.DeviceMilli
	}
devices:
	for i, f := range p.devices(slot) {
		if f == 0 || f == schedule.DeviceMilli {
			continue
		}
		s.most = max(s.most, int64(f))
		for j := range s.parts[:s.n] {
			if s.parts[j].free == f {
				s.parts[j].count++
				continue devices
			}
		}
		s.parts[s.n] = part{f, uint8(i), 1}
		s.n++
	}
	if p.kind >= 0 && s.node.devices > 0 {
		if s.worth = c.kinds[p.kind].worth; s.worth != nil {
			s.usable = s.worth.usable(s.worth.row(s.node.free[schedule.CPUMilli], s.node.free[schedule.MemoryMiB]), s)
		}
	}
	s.accelerator, s.cpu, s.storage = c.demand.stranded(&s.node.free)
	s.perCPU = 1 / float32(max(1, s.node.cap[schedule.CPUMilli]))
}

// fits reports whether there is room for a member.
func (s *scene) fits(n *need) bool {
	free := &s.node.free
	if n.use[0] > free[0] || n.use[1] > free[1] || n.use[2] > free[2] || n.use[3] > free[3] || n.use[4] > free[4] {
		return false
	}
	if n.milli == schedule.DeviceMilli {
		return s.whole >= n.count
	}
	return n.milli <= s.most
}

// pack works out what a member would do to the node, which it fits.
func (s *scene) pack(n *need) packed {
	free := &s.node.free
	after := schedule.Vector{free[0] - n.use[0], free[1] - n.use[1], free[2] - n.use[2], free[3] - n.use[3], free[4] - n.use[4]}
	k := packed{device: -1}
	if s.node.devices > 0 {
		if w := s.worth; w != nil {
			row := w.row(after[schedule.CPUMilli], after[schedule.MemoryMiB])
			then, device := w.placed(row, s, n)
			k.device = device
			k.fragmentation = (s.usable - then - float32(n.use[schedule.AcceleratorMilli])) / schedule.DeviceMilli
		} else if n.count > 0 && n.milli < schedule.DeviceMilli {
			k.device = s.tightest(n.milli)
		}
		k.left = float32(after[schedule.AcceleratorMilli]) / schedule.DeviceMilli
	}
	accelerator, cpu, storage := s.c.demand.stranded(&after)
	k.accelerator = (accelerator - s.accelerator) / schedule.DeviceMilli
	k.cpu = (cpu - s.cpu) / 1000
	k.storage = storage - s.storage
	k.left += float32(after[schedule.CPUMilli]) * s.perCPU
	return k
}

// pack works out what a member would do to a node that it fits.
func (c *Cluster) pack(p *pool, n *need, slot int) packed {
	c.scene.look(c, p, slot)
	return c.scene.pack(n)
}

// stranded is how much of what is free has too little of another resource beside
// it, as the expected members go: devices and disk without CPU, CPU without
// memory.
func (d *demand) stranded(free *schedule.Vector) (accelerator, cpu, storage float32) {
	cores := float64(free[schedule.CPUMilli])
	if d.devicesPerCPU > 0 {
		accelerator = float32(max(0, float64(free[schedule.AcceleratorMilli])-cores*d.devicesPerCPU))
	}
	if d.cpuPerMem > 0 {
		cpu = float32(max(0, cores-float64(free[schedule.MemoryMiB])*d.cpuPerMem))
	}
	if d.diskPerCPU > 0 {
		storage = float32(max(0, float64(free[schedule.DiskGiB])-cores*d.diskPerCPU))
	}
	return accelerator, cpu, storage
}

// placed is what is usable after a member took its devices, and which device it
// takes a share of: the one after which most is usable, the fullest of equals.
func (w *worth) placed(row []float32, s *scene, n *need) (usable float32, device int) {
	now := w.usable(row, s)
	switch {
	case n.count == 0:
		return now, -1
	case n.milli == schedule.DeviceMilli:
		return now - w.whole(row, s.whole) + w.whole(row, s.whole-n.count), -1
	}
	best, device, free := float32(math.Inf(-1)), -1, uint16(0)
	milli := uint16(n.milli)
	for j := range s.parts[:s.n] {
		p := &s.parts[j]
		if p.free < milli {
			continue
		}
		rest := p.free - milli
		then := now + float32(rest)*row[w.rank[rest]] - float32(p.free)*row[w.rank[p.free]]
		if then > best || (then == best && p.free < free) {
			best, device, free = then, int(p.device), p.free
		}
	}
	if s.whole > 0 {
		rest := schedule.DeviceMilli - milli
		if then := now + float32(rest)*row[w.rank[rest]] + w.whole(row, s.whole-1) - w.whole(row, s.whole); then > best {
			best, device = then, s.first()
		}
	}
	return best, device
}

// first is the first device that is free as a whole.
func (s *scene) first() int {
	return slices.Index(s.p.devices(s.slot), schedule.DeviceMilli)
}

// tightest is the fullest device that has room for a share.
func (s *scene) tightest(milli int64) int {
	device, free := -1, uint16(0)
	for _, p := range s.parts[:s.n] {
		if int64(p.free) >= milli && (device < 0 || p.free < free) {
			device, free = int(p.device), p.free
		}
	}
	if device < 0 {
		return s.first()
	}
	return device
}

// appendDevices appends the numbers of the devices that a member takes.
func (p *pool) appendDevices(to []uint8, n *need, slot, device int) []uint8 {
	if n.count == 0 {
		return to
	}
	if n.milli < schedule.DeviceMilli {
		return append(to, uint8(device))
	}
	left := n.count
	for i, f := range p.devices(slot) {
		if f == schedule.DeviceMilli && left > 0 {
			to = append(to, uint8(i))
			left--
		}
	}
	return to
}
