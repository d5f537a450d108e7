package plan

import (
	"cmp"
	"slices"

	"github.com/songhua-io/hub/internal/schedule"
)

// Demand is a kind of member that is expected, and how often compared with the
// others: what is left of a node is worth what such members can use of it.
type Demand struct {
	Use          schedule.Vector // without accelerators
	Accelerators *schedule.Accelerators
	Weight       float64
}

// MaxDemands is how many kinds of members count; those of least weight beyond
// it do not.
const MaxDemands = 512

// maxSteps bounds the sizes of CPU and of memory that are told apart: larger
// mixes are rounded up to that many.
const maxSteps = 64

// SetDemand says what is expected from now on. Nodes are scored anew, so this is
// for every few minutes, not for every workload.
func (c *Cluster) SetDemand(ds []Demand) {
	ds = slices.Clone(ds)
	slices.SortStableFunc(ds, func(a, b Demand) int { return cmp.Compare(b.Weight, a.Weight) })
	c.demand = newDemand(ds[:min(len(ds), MaxDemands)])
	c.relaid = true
}

// kind is one kind of accelerator.
type kind struct {
	schedule.Accelerator
	have  int64 // thousandths of devices in all pools
	worth *worth
}

// kindOf returns the index of a kind, -1 for none.
func (c *Cluster) kindOf(a *schedule.Accelerator) int32 {
	if a == nil {
		return -1
	}
	for i := range c.kinds {
		if c.kinds[i].Accelerator == *a {
			return int32(i)
		}
	}
	c.kinds = append(c.kinds, kind{Accelerator: *a})
	return int32(len(c.kinds) - 1)
}

// value works out the worth of every kind anew, where the demand or what there
// is of a kind is another.
func (c *Cluster) value() {
	have := make([]int64, len(c.kinds))
	for _, p := range c.pools {
		if p.kind >= 0 {
			have[p.kind] += p.cap[schedule.AcceleratorMilli]
		}
	}
	if c.valued == c.demand && slices.EqualFunc(c.kinds, have, func(k kind, n int64) bool { return k.have == n }) {
		return
	}
	for i := range c.kinds {
		c.kinds[i].have = have[i]
	}
	weights := make([]float64, len(c.demand.mix))
	for i, m := range c.demand.mix {
		weights[i] = m.Weight * c.contention(m.Accelerators)
	}
	// Kinds that the same members accept share their rows, which stay in the
	// cache then.
	shared := map[string]*worth{}
	for i := range c.kinds {
		key := make([]byte, len(c.demand.mix))
		for j, m := range c.demand.mix {
			if accepts(m.Accelerators, &c.kinds[i].Accelerator) {
				key[j] = 1
			}
		}
		w, there := shared[string(key)]
		if !there {
			w = c.demand.worth(&c.kinds[i].Accelerator, weights)
			shared[string(key)] = w
		}
		c.kinds[i].worth = w
	}
	c.valued = c.demand
}

// contention is how many devices there are for each that will do: a member that
// accepts a tenth of all devices presses ten times as hard on each of them as one
// that accepts any. So what only few kinds can serve is kept free of work that
// runs elsewhere as well; where everything accepts everything the measure is
// FGD's own.
func (c *Cluster) contention(n *schedule.Accelerators) float64 {
	var all, fit int64
	for i := range c.kinds {
		all += c.kinds[i].have
		if accepts(n, &c.kinds[i].Accelerator) {
			fit += c.kinds[i].have
		}
	}
	if fit == 0 {
		return 0
	}
	return float64(all) / float64(fit)
}

// demand is a mix with what follows from it.
type demand struct {
	mix []Demand // weights sum to 1
	// Thousandths of devices that come with one mCPU in the mean, mCPU with one
	// MiB, and GiB of disk with one mCPU; 0 where nothing asks for both.
	devicesPerCPU, cpuPerMem, diskPerCPU float64
	cpu, mem                             sizes
}

func newDemand(ds []Demand) *demand {
	d := &demand{mix: ds}
	var weight, cpu, mem, disk, devices float64
	var cpus, mems []int64
	for _, m := range ds {
		cpu += m.Weight * float64(m.Use[schedule.CPUMilli])
		mem += m.Weight * float64(m.Use[schedule.MemoryMiB])
		disk += m.Weight * float64(m.Use[schedule.DiskGiB])
		if m.Accelerators != nil {
			weight += m.Weight
			devices += m.Weight * float64(int64(m.Accelerators.Count)*m.Accelerators.Milli)
			cpus = append(cpus, m.Use[schedule.CPUMilli])
			mems = append(mems, m.Use[schedule.MemoryMiB])
		}
	}
	if cpu > 0 {
		d.devicesPerCPU, d.diskPerCPU = devices/cpu, disk/cpu
	}
	if mem > 0 {
		d.cpuPerMem = cpu / mem
	}
	for i := range d.mix {
		if weight > 0 {
			d.mix[i].Weight /= weight
		}
	}
	d.cpu, d.mem = newSizes(cpus), newSizes(mems)
	return d
}

// sizes are what is told apart of CPU or of memory, rising.
type sizes struct {
	all []int64
	// from is how many are at most v, for every v whose low bits are zero, up to
	// the greatest.
	from []uint8
	low  uint
}

// newSizes sorts and bounds what is told apart.
func newSizes(s []int64) sizes {
	slices.Sort(s)
	s = slices.Compact(s)
	if len(s) > maxSteps {
		kept := make([]int64, 0, maxSteps)
		for i := range maxSteps {
			kept = append(kept, s[(i+1)*len(s)/maxSteps-1])
		}
		s = slices.Compact(kept)
	}
	z := sizes{all: s}
	if len(s) == 0 {
		return z
	}
	const steps = 4 * maxSteps
	for s[len(s)-1]>>z.low >= steps {
		z.low++
	}
	n := 0
	for v := range s[len(s)-1]>>z.low + 1 {
		for n < len(s) && s[n] <= v<<z.low {
			n++
		}
		z.from = append(z.from, uint8(n))
	}
	return z
}

// atMost counts the sizes that are at most v, which is not negative.
func (z *sizes) atMost(v int64) int {
	step := int(v >> z.low)
	if step >= len(z.from) {
		return len(z.all)
	}
	n := int(z.from[step])
	for n < len(z.all) && z.all[n] <= v {
		n++
	}
	return n
}

// worth is how much of a node of one kind of accelerator the expected members
// can use, as the measure of FGD (Weng et al., ATC'23): a free device is usable
// to a member that finds it large enough, on a node that has the CPU and memory
// as well. It is exact, and a few additions a node: sums over the members are
// kept for every size of CPU and memory.
//
// A row is for one size of each. It holds the sum of weights of members that
// fit there and ask for at most the i-th share of a device (i from 0: none), then
// of those that ask for at most k whole ones.
type worth struct {
	cpu, mem sizes
	shares   int         // shares told apart
	wholes   int         // the most whole devices that a member asks for
	rank     [1001]uint8 // how many of them are at most that many thousandths
	stride   int
	rows     []float32
}

// worth returns nil when the mix has no member for the kind.
func (d *demand) worth(a *schedule.Accelerator, weights []float64) *worth {
	var shares []int64
	wholes := 0
	for _, m := range d.mix {
		if !accepts(m.Accelerators, a) {
			continue
		}
		if m.Accelerators.Milli < schedule.DeviceMilli {
			shares = append(shares, m.Accelerators.Milli)
		} else {
			wholes = max(wholes, m.Accelerators.Count)
		}
	}
	slices.Sort(shares)
	shares = slices.Compact(shares)
	w := &worth{cpu: d.cpu, mem: d.mem, shares: len(shares), wholes: wholes}
	for i := range w.rank {
		for _, s := range shares {
			if s <= int64(i) {
				w.rank[i]++
			}
		}
	}
	w.stride = len(shares) + 1 + wholes + 1
	w.rows = make([]float32, (len(d.cpu.all)+1)*(len(d.mem.all)+1)*w.stride)
	any := false
	for n, m := range d.mix {
		if !accepts(m.Accelerators, a) {
			continue
		}
		any = true
		at := len(shares) + 1 + m.Accelerators.Count
		if m.Accelerators.Milli < schedule.DeviceMilli {
			at = int(w.rank[m.Accelerators.Milli])
		}
		// It fits where there is at least the size that its need is rounded to.
		ci, _ := slices.BinarySearch(d.cpu.all, m.Use[schedule.CPUMilli])
		mi, _ := slices.BinarySearch(d.mem.all, m.Use[schedule.MemoryMiB])
		for i := ci + 1; i <= len(d.cpu.all); i++ {
			for j := mi + 1; j <= len(d.mem.all); j++ {
				w.rows[(i*(len(d.mem.all)+1)+j)*w.stride+at] += float32(weights[n])
			}
		}
	}
	if !any {
		return nil
	}
	for r := 0; r < len(w.rows); r += w.stride {
		row := w.rows[r : r+w.stride]
		for i := 1; i < w.stride; i++ {
			if i != len(shares)+1 {
				row[i] += row[i-1]
			}
		}
	}
	return w
}

// accepts reports whether a need of devices can be met by a kind.
func accepts(n *schedule.Accelerators, a *schedule.Accelerator) bool {
	return n != nil && (len(n.Models) == 0 || slices.Contains(n.Models, a.Model)) && a.MemoryMiB >= n.MemoryMiB &&
		(a.Shareable || n.Milli == schedule.DeviceMilli)
}

// row is the row for what is free.
func (w *worth) row(cpu, mem int64) []float32 {
	r := (w.cpu.atMost(cpu)*(len(w.mem.all)+1) + w.mem.atMost(mem)) * w.stride
	return w.rows[r : r+w.stride : r+w.stride]
}

// usable is the expected number of thousandths that a member finds usable.
func (w *worth) usable(row []float32, s *scene) float32 {
	var sum float32
	for i := range s.parts[:s.n] {
		p := &s.parts[i]
		sum += float32(uint32(p.free)*uint32(p.count)) * row[w.rank[p.free]]
	}
	return sum + w.whole(row, s.whole)
}

// whole is what of a number of whole devices is usable.
func (w *worth) whole(row []float32, n int) float32 {
	return float32(n*schedule.DeviceMilli) * (row[w.shares] + row[w.shares+1+min(n, w.wholes)])
}
