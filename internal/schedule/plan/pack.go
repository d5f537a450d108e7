package plan

import (
	"math"

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
	device, cpu := p.prices()
	return device*(k.fragmentation+strandedShare*k.accelerator+leftShare*k.left) + strandedShare*(cpu*k.cpu+storageHour*k.storage)
}

// prices are those of a device and a CPU, per hour.
func (p *pool) prices() (device, cpu float32) {
	device, cpu = deviceHour, cpuHour
	if r := p.def.Rate.Accelerator; r > 0 {
		device = float32(r)
	}
	if r := p.def.Rate.CPU; r > 0 {
		cpu = float32(r)
	}
	return device, cpu
}

// pack works out what a member would do to a node that it fits.
func (c *Cluster) pack(p *pool, n *need, slot int) packed {
	node := &p.nodes[slot]
	after := node.free.Sub(n.use)
	k := packed{device: -1}
	d := c.demand
	if p.kind >= 0 && node.devices > 0 {
		if w := c.kinds[p.kind].worth; w != nil {
			before := w.usable(w.row(node.free[schedule.CPUMilli], node.free[schedule.MemoryMiB]), p.devices(slot))
			row := w.row(after[schedule.CPUMilli], after[schedule.MemoryMiB])
			then, device := w.placed(row, p.devices(slot), n, int(node.whole))
			k.device = device
			k.fragmentation = (before - then - float32(n.use[schedule.AcceleratorMilli])) / schedule.DeviceMilli
		} else if n.count > 0 && n.milli < schedule.DeviceMilli {
			k.device = tightest(p.devices(slot), n.milli)
		}
		if d.cpuPerDevice > 0 {
			k.accelerator = (stranded(after[schedule.AcceleratorMilli], after[schedule.CPUMilli], d.cpuPerDevice) -
				stranded(node.free[schedule.AcceleratorMilli], node.free[schedule.CPUMilli], d.cpuPerDevice)) / schedule.DeviceMilli
		}
		k.left = float32(after[schedule.AcceleratorMilli]) / schedule.DeviceMilli
	}
	if d.memPerCPU > 0 {
		k.cpu = (stranded(after[schedule.CPUMilli], after[schedule.MemoryMiB], d.memPerCPU) -
			stranded(node.free[schedule.CPUMilli], node.free[schedule.MemoryMiB], d.memPerCPU)) / 1000
	}
	if d.diskPerCPU > 0 {
		k.storage = stranded(after[schedule.DiskGiB], after[schedule.CPUMilli], 1/d.diskPerCPU) -
			stranded(node.free[schedule.DiskGiB], node.free[schedule.CPUMilli], 1/d.diskPerCPU)
	}
	k.left += float32(after[schedule.CPUMilli]) / float32(max(1, node.cap[schedule.CPUMilli]))
	return k
}

// stranded is how much of a resource has too little of another, of which each
// unit needs ratio.
func stranded(have, other int64, ratio float64) float32 {
	return float32(max(0, float64(have)-float64(other)/ratio))
}

// placed is what is usable after a member took its devices, and which device it
// takes a share of: the one after which most is usable, the fullest of equals.
func (w *worth) placed(row []float32, devices []uint16, n *need, whole int) (usable float32, device int) {
	now := w.usable(row, devices)
	switch {
	case n.count == 0:
		return now, -1
	case n.milli == schedule.DeviceMilli:
		return now - w.whole(row, whole) + w.whole(row, whole-n.count), -1
	}
	best, device := float32(math.Inf(-1)), -1
	tried := false // a device that is free as a whole: all are alike
	for i, f := range devices {
		if int64(f) < n.milli || (f == schedule.DeviceMilli && tried) {
			continue
		}
		rest := f - uint16(n.milli)
		then := now + float32(rest)*row[w.rank[rest]]
		if f == schedule.DeviceMilli {
			tried = true
			then += w.whole(row, whole-1) - w.whole(row, whole)
		} else {
			then -= float32(f) * row[w.rank[f]]
		}
		if then > best || (then == best && f < devices[device]) {
			best, device = then, i
		}
	}
	return best, device
}

// tightest is the fullest device that has room for a share.
func tightest(devices []uint16, milli int64) int {
	device := -1
	for i, f := range devices {
		if int64(f) >= milli && (device < 0 || f < devices[device]) {
			device = i
		}
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
	for i, f := range p.devices(slot) {
		if f == schedule.DeviceMilli {
			if to = append(to, uint8(i)); len(to) == n.count {
				break
			}
		}
	}
	return to
}
