package plan

import "github.com/songhua-io/hub/internal/schedule"

// SetBeyond tells, by tenant, how much of what it uses is beyond its share, from
// 0 to 1. The map must not be changed afterwards; tenants that are not in it are
// within theirs.
func (c *Cluster) SetBeyond(tenants map[string]float64) { c.beyond = tenants }

// addFair adds what a member costs more where others are short of what its tenant
// has no share of. It decides among the places that were found, as all that
// depends on more than the class of a request.
func (b *bill) addFair(k *terms) {
	if b.beyond == 0 {
		return
	}
	device, cpu := float64(b.p.deviceHour), float64(b.p.cpuHour)
	taken := (device*float64(b.n.use[schedule.AcceleratorMilli]) + cpu*float64(b.n.use[schedule.CPUMilli])) / 1000 * b.hours
	yuan := fairShare * taken * b.beyond * b.p.fill(b.n)
	k[fairness].value += yuan
	k[fairness].cost += yuan
}

// fill is how much of a pool is in use with one member more, from 0 to 1, of the
// resource that is scarcest there among those that it needs.
func (p *pool) fill(n *need) (most float64) {
	for d, use := range n.use {
		if use > 0 && p.cap[d] > 0 {
			most = max(most, float64(p.used[d]+use)/float64(p.cap[d]))
		}
	}
	return min(most, 1)
}
