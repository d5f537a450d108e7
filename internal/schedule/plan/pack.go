package plan

import (
	"math"
	"slices"

	"github.com/songhua-io/hub/internal/schedule"
)

// need is what one member takes of a node.
type need struct {
	use schedule.Vector
	ask
}

// ask is what a member takes of devices; many kinds of members take the same.
type ask struct {
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

// fits reports whether there is room for a member.
func (r *room) fits(n *need) bool {
	f := &r.free
	if n.use[0] > f[0] || n.use[1] > f[1] || n.use[2] > f[2] || n.use[3] > f[3] || n.use[4] > f[4] {
		return false
	}
	if n.milli == schedule.DeviceMilli {
		return int(r.whole) >= n.count
	}
	return n.milli <= int64(r.most)
}

// undivided reports whether no device is free in part.
func (r *room) undivided() bool {
	return r.free[schedule.AcceleratorMilli] == int64(r.whole)*schedule.DeviceMilli
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

	floors []float32 // memory of a floor
}

type part struct {
	free   uint16
	device uint8 // the first of them
	count  uint8
}

// look makes the scene of a node. usable is what it found before, NaN for what it
// has to find.
func (s *scene) look(c *Cluster, p *pool, slot int, usable *float32) {
	n := &p.nodes[slot]
	s.c, s.p, s.slot, s.node, s.worth, s.n, s.usable = c, p, slot, n, nil, 0, 0
	s.whole, s.most = int(n.whole), int64(n.most)
	if !n.undivided() {
		s.share(p.devices(slot))
	}
	if p.kind >= 0 && n.devices > 0 {
		if s.worth = c.kinds[p.kind].worth; s.worth != nil {
			if *usable != *usable {
				*usable = s.worth.usable(s.worth.row(n.free[schedule.CPUMilli], n.free[schedule.MemoryMiB]), s)
			}
			s.usable = *usable
		}
	}
	s.accelerator, s.cpu, s.storage = c.demand.stranded(&n.free)
	s.perCPU = n.perCPU
}

// share lists the devices that are free in part.
func (s *scene) share(devices []uint16) {
devices:
	for i, f := range devices {
		if f == 0 || f == schedule.DeviceMilli {
			continue
		}
		for j := range s.parts[:s.n] {
			if s.parts[j].free == f {
				s.parts[j].count++
				continue devices
			}
		}
		s.parts[s.n] = part{f, uint8(i), 1}
		s.n++
	}
}

// pack works out what a member would do to the node, which it fits.
func (s *scene) pack(n *need) packed {
	free := &s.node.free
	after := schedule.Vector{free[0] - n.use[0], free[1] - n.use[1], free[2] - n.use[2], free[3] - n.use[3], free[4] - n.use[4]}
	k := packed{device: -1}
	if s.node.devices > 0 {
		if w := s.worth; w != nil {
			row := w.row(after[schedule.CPUMilli], after[schedule.MemoryMiB])
			then, device := w.placed(row, s, w.usable(row, s), n.ask)
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

// floor bounds from below what a member costs at a node by packing: the sum of
// what it asks for of devices and of the rates of what else it uses.
type floor struct {
	asks           []float32
	cpu, mem, disk float32
}

// floor takes the rows of the worth as if a member used no CPU or memory, which
// can only make more devices usable, and what is stranded by its slope, above
// which it never lies since it is convex.
func (s *scene) floor(asks []ask) floor {
	d, p, free := s.c.demand, s.p, &s.node.free
	perDevice, perCPU := p.deviceHour/schedule.DeviceMilli, strandedShare*p.cpuHour/1000
	cores, devices := float32(free[schedule.CPUMilli]), float32(free[schedule.AcceleratorMilli])
	f := floor{asks: s.floors[:0], cpu: -leftShare * p.deviceHour * s.perCPU}
	base, perMilli := -f.cpu*cores, float32(0)
	if s.node.devices > 0 {
		base += leftShare * perDevice * devices
		perMilli -= leftShare * perDevice
	}
	if s.accelerator > 0 {
		perMilli -= strandedShare * perDevice
		f.cpu += strandedShare * perDevice * float32(d.devicesPerCPU)
	}
	if s.cpu > 0 {
		f.cpu -= perCPU
		f.mem = perCPU * float32(d.cpuPerMem)
	}
	if s.storage > 0 {
		f.cpu += strandedShare * storageHour * float32(d.diskPerCPU)
		f.disk = -strandedShare * storageHour
	}
	// What is worked out here and there in another order differs by less.
	base -= 1e-5 * (base + perDevice*(s.usable+devices) + perCPU*cores + strandedShare*storageHour*float32(free[schedule.DiskGiB]))
	var row []float32
	now := float32(0)
	if s.worth != nil {
		row = s.worth.row(free[schedule.CPUMilli], free[schedule.MemoryMiB])
		now = s.worth.usable(row, s)
	}
	for _, a := range asks {
		milli := float32(int64(a.count) * a.milli)
		v := base + perMilli*milli
		switch {
		case a.count < 0, !s.has(a):
			v = never
		case row != nil:
			then, _ := s.worth.placed(row, s, now, a)
			v += perDevice * (s.usable - then - milli)
		}
		f.asks = append(f.asks, v)
	}
	s.floors = f.asks
	return f
}

// has reports whether the devices are there that a member asks for.
func (s *scene) has(a ask) bool {
	if a.milli == schedule.DeviceMilli {
		return s.whole >= a.count
	}
	return a.milli <= s.most
}

// yuan is what a member costs an hour at the node by packing, never where it does
// not fit.
func (s *scene) yuan(n *need) float32 {
	if !s.node.fits(n) {
		return never
	}
	k := s.pack(n)
	return k.yuan(s.p)
}

// scene is a node of a pool as it is now. It stays so until something changes, or
// another pool is looked at.
func (c *Cluster) scene(i int32, node int) *scene {
	if c.scenesOf != i || c.scenesAt != c.changes {
		c.scenesOf, c.scenesAt = i, c.changes
		for j := range c.scenes {
			c.scenes[j].p = nil
		}
	}
	s, p := &c.scenes[node%few], c.pools[i]
	if s.p != p || s.slot != node {
		s.look(c, p, node, &c.usable[c.base[i]+int32(node)])
	}
	return s
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
// now is what is usable before.
func (w *worth) placed(row []float32, s *scene, now float32, n ask) (usable float32, device int) {
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
