package plan

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// Explain decides as Place does, and says of every pool that cannot take a
// member at once why not, and by which change of the request it could.
func (c *Cluster) Explain(w *schedule.Workload, now time.Time, signals signal.Set) schedule.Decision {
	d := c.Place(w, now, signals)
	if len(d.Assignments) == 0 && d.Until.IsZero() && !c.Fits(w) {
		d.Reasons = append(d.Reasons, schedule.Because(schedule.NeverFits))
	}
	members := w.Members()
	classes := make([]*class, len(w.Tasks))
	for j := range w.Tasks {
		classes[j] = c.classOf(w, &w.Tasks[j], members)
	}
	sheet := newSheet(w, len(c.pools))
	d.Refused = make([]schedule.Refusal, 0, len(c.pools))
	for i := range c.pools {
		for j := range w.Tasks {
			if r, refused := c.refuse(classes[j], w, &w.Tasks[j], j, int32(i), now, sheet); refused {
				d.Refused = append(d.Refused, r)
				break
			}
		}
	}
	return d
}

// sheet is memory that the refusals of one explanation share.
type sheet struct {
	changes []schedule.Change
	args    []string
	keys    [][taskKeys]string // by task
	nums    [256]struct {      // numbers that came last, by a hash
		n int64
		s string
	}
	lists [64]struct{ key, add, s string } // the same of lists
}

// The keys of a task that changes name; those of Use come by dimension first.
const (
	countKey = schedule.Dimensions + iota
	milliKey
	modelsKey
	deviceMemoryKey
	taskKeys
)

var taskKeyNames = [taskKeys]string{countKey: "accelerators.count", milliKey: "accelerators.milli", modelsKey: "accelerators.models", deviceMemoryKey: "accelerators.memory_mib"}

func newSheet(w *schedule.Workload, pools int) *sheet {
	s := &sheet{changes: make([]schedule.Change, 0, pools), args: make([]string, 0, pools), keys: make([][taskKeys]string, len(w.Tasks))}
	for i := range s.keys {
		for key := range s.keys[i] {
			name := taskKeyNames[key]
			if key < schedule.Dimensions {
				name = schedule.DimensionNames[key]
			}
			s.keys[i][key] = "tasks[" + strconv.Itoa(i) + "]." + name
		}
	}
	return s
}

// why is the reason that no pool is a candidate: that of the pool that came
// nearest. While nothing changes, a class has it in memory.
func (c *Cluster) why(k *class, w *schedule.Workload, t *schedule.Task, task int, now time.Time) schedule.Reason {
	full := !c.any(k)
	if !full || k.whyAt != c.changes || k.why.Code == passed {
		k.why, k.whyAt = c.nearest(k, w, t, task, now), c.changes
		if !full {
			k.whyAt = -1 // a bound of this one workload was in the way
		}
	}
	return k.why
}

func (c *Cluster) nearest(k *class, w *schedule.Workload, t *schedule.Task, task int, now time.Time) schedule.Reason {
	nearest, best, much := int32(-1), -1, int64(0)
	for i, p := range c.pools {
		if !c.suited(k, int32(i)) {
			continue
		}
		// Room, and something else is in the way; or a node that is large
		// enough when empty; or how much of the need it has.
		rank, free := 0, int64(0)
		for d, use := range k.need.use {
			if use <= p.largest[d] {
				rank++
			}
		}
		switch {
		case c.roomy(k, int32(i)):
			rank = schedule.Dimensions + 1
		case rank < schedule.Dimensions:
			for d, use := range k.need.use {
				if use > p.largest[d] {
					free = p.largest[d]
				}
			}
		case k.need.count > 0:
			free = p.cap[schedule.AcceleratorMilli] - p.used[schedule.AcceleratorMilli]
		default:
			free = p.cap[schedule.CPUMilli] - p.used[schedule.CPUMilli]
		}
		if rank > best || (rank == best && free > much) {
			nearest, best, much = int32(i), rank, free
		}
	}
	if nearest < 0 {
		nearest = c.commonest(k, w, t)
	}
	if nearest < 0 {
		return schedule.Reason{Code: schedule.NoPool}
	}
	r, _ := c.refuse(k, w, t, task, nearest, now, nil)
	return r.Reason
}

// commonest is the first pool that fails by the filter by which most do.
func (c *Cluster) commonest(k *class, w *schedule.Workload, t *schedule.Task) int32 {
	counts, firsts := map[schedule.Code]int{}, map[schedule.Code]int32{}
	best := int32(-1)
	for i, p := range c.pools {
		code := k.admitted[p.facility]
		if code == passed {
			code = suits(w, t, p.def)
		}
		if counts[code] == 0 {
			firsts[code] = int32(i)
		}
		counts[code]++
	}
	most := 0
	for code, n := range counts {
		if n > most || (n == most && firsts[code] < best) {
			most, best = n, firsts[code]
		}
	}
	return best
}

// refuse says why a pool cannot take a member; false when it can. The changes
// are all that it takes, or none when something cannot be changed.
func (c *Cluster) refuse(k *class, w *schedule.Workload, t *schedule.Task, task int, i int32, now time.Time, help *sheet) (schedule.Refusal, bool) {
	p := c.pools[i]
	f := &c.facilities[p.facility]
	r := refusal{c: c, w: w, t: t, task: task, at: i, p: p, f: f, need: k.need, help: help}
	if help != nil {
		r.from = len(help.changes)
	}
	if k.admitted[p.facility] != passed {
		r.facility()
	}
	if !r.settled() {
		r.pool()
	}
	if !r.settled() {
		r.room(&k.need)
	}
	if !r.settled() && !f.powered(p.draws(r.need.use)) {
		r.fail(schedule.PowerCap, r.num(f.def.PowerCapW), r.num(f.draw()), r.num(p.draws(r.need.use)))
		r.impossible = true
	}
	if !r.settled() {
		r.bounds(c, k, i, now)
	}
	if r.reason.Code == passed {
		return schedule.Refusal{}, false
	}
	refusal := schedule.Refusal{Facility: f.def.ID, Pool: p.def.ID, Reason: r.reason}
	if help != nil {
		if r.impossible {
			help.changes = help.changes[:r.from]
		} else if n := len(help.changes); n > r.from {
			refusal.Change = help.changes[r.from:n:n]
		}
	}
	return refusal, true
}

// refusal gathers the first reason and every change.
type refusal struct {
	c          *Cluster
	w          *schedule.Workload
	t          *schedule.Task
	task       int
	at         int32 // the pool
	p          *pool
	f          *facility
	need       need   // with the changes made so far
	help       *sheet // nil: the reason is enough
	from       int    // of its changes in the sheet
	reason     schedule.Reason
	impossible bool
}

// settled reports whether nothing further matters.
func (r *refusal) settled() bool { return r.impossible || (r.reason.Code != passed && r.help == nil) }

func (r *refusal) fail(code schedule.Code, args ...string) {
	if r.reason.Code != passed {
		return
	}
	if r.help == nil {
		r.reason = schedule.Reason{Code: code, Args: slices.Clone(args)}
		return
	}
	if len(r.help.args)+len(args) > cap(r.help.args) {
		r.help.args = make([]string, 0, cap(r.help.args)+len(args)) // refusals hold the old ones
	}
	from := len(r.help.args)
	r.help.args = append(r.help.args, args...)
	r.reason = schedule.Reason{Code: code, Args: r.help.args[from:len(r.help.args):len(r.help.args)]}
}

func (r *refusal) change(key, from, to string) {
	h := r.help
	if h == nil {
		return
	}
	if len(h.changes) == cap(h.changes) {
		h.changes = append(make([]schedule.Change, 0, cap(h.changes)+8), h.changes[r.from:]...) // refusals hold the old ones
		r.from = 0
	}
	h.changes = append(h.changes, schedule.Change{Key: key, From: from, To: to})
}

// key is the path of a key of the task.
func (r *refusal) key(key int) string {
	if r.help == nil {
		return ""
	}
	return r.help.keys[r.task][key]
}

// num writes a number; most come again and again.
func (r *refusal) num(n int64) string {
	if r.help == nil {
		return strconv.FormatInt(n, 10)
	}
	kept := &r.help.nums[uint64(n)*0x9e3779b97f4a7c15>>56]
	if kept.n != n || kept.s == "" {
		kept.n, kept.s = n, strconv.FormatInt(n, 10)
	}
	return kept.s
}

// widen changes a list by one more that will do.
func (r *refusal) widen(key string, l []string, add string) {
	if r.help != nil {
		r.change(key, r.list(key, l, ""), r.list(key, l, add))
	}
}

// list writes a list and one more; the same again and again.
func (r *refusal) list(key string, l []string, add string) string {
	if r.help == nil {
		return list(l)
	}
	at := len(key)
	if add != "" {
		at += len(add) + 5*int(add[0]) + 3*int(add[len(add)-1])
	}
	kept := &r.help.lists[at%len(r.help.lists)]
	if kept.key != key || kept.add != add || kept.s == "" {
		kept.key, kept.add, kept.s = key, add, list(l)
		if add != "" {
			kept.s = list(append(slices.Clone(l), add))
		}
	}
	return kept.s
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func list(l []string) string { return strings.Join(l, ", ") }

// facility goes through the filters of the facility.
func (r *refusal) facility() {
	w, f := r.w, r.f.def
	if f.State != schedule.Ready {
		r.fail(schedule.FacilityNotReady, string(f.State))
		r.impossible = true
		return
	}
	if excluded(w, f) {
		r.fail(schedule.FacilityExcluded)
		if a := w.Affinity.Facilities; len(a) > 0 && !slices.Contains(a, f.ID) {
			r.widen("affinity.facilities", a, f.ID)
		}
		if a := w.Affinity.NotFacilities; slices.Contains(a, f.ID) {
			r.change("affinity.not_facilities", list(a), list(slices.DeleteFunc(slices.Clone(a), func(s string) bool { return s == f.ID })))
		}
	}
	if a := w.Affinity.Regions; !inRegions(a, f.Region) {
		r.fail(schedule.RegionNotAllowed, f.Region)
		r.widen("affinity.regions", a, f.Region)
	}
	if f.SecurityGrade < w.Security.MinGrade {
		r.fail(schedule.SecurityGradeLow, strconv.Itoa(f.SecurityGrade), strconv.Itoa(w.Security.MinGrade))
		r.change("security.min_grade", strconv.Itoa(w.Security.MinGrade), strconv.Itoa(f.SecurityGrade))
	}
	if held(w.Security.DataGrade) > held(f.MaxDataGrade) {
		r.fail(schedule.DataGradeHigh, held(w.Security.DataGrade).String(), held(f.MaxDataGrade).String())
		r.impossible = true // data has the grade that it has
	}
	if w.Latency == nil {
		return
	}
	way, known := r.c.way(place{region: w.Latency.FromRegion}, placeOf(f))
	switch {
	case !known:
		r.fail(schedule.LatencyUnknown, w.Latency.FromRegion)
		r.impossible = true
	case way.RoundTripMillis > w.Latency.MaxMillis:
		r.fail(schedule.LatencyHigh, w.Latency.FromRegion, decimal(way.RoundTripMillis), decimal(w.Latency.MaxMillis))
		r.change("latency.max_ms", decimal(w.Latency.MaxMillis), decimal(way.RoundTripMillis))
	}
}

// pool goes through the filters of the pool.
func (r *refusal) pool() {
	w, p := r.w, r.p.def
	if a := w.Affinity.Pools; len(a) > 0 && !slices.Contains(a, p.ID) {
		r.fail(schedule.PoolExcluded)
		r.widen("affinity.pools", a, p.ID)
	}
	if a := w.Affinity.Archs; len(a) > 0 && !slices.Contains(a, p.Arch) {
		r.fail(schedule.ArchDiffers, p.Arch, r.list("affinity.archs", a, ""))
		r.widen("affinity.archs", a, p.Arch)
	}
	if len(w.Affinity.Labels) > 0 {
		keys := make([]string, 0, len(w.Affinity.Labels))
		for k := range w.Affinity.Labels {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if has, want := p.Labels[k], w.Affinity.Labels[k]; has != want {
				r.fail(schedule.LabelDiffers, k, has, want)
				r.change("affinity.labels."+k, want, has)
			}
		}
	}
	n, a := r.t.Accelerators, p.Accelerator
	if n == nil {
		return
	}
	if a == nil {
		r.fail(schedule.NoAccelerator)
		r.impossible = true
		return
	}
	if len(n.Models) > 0 && !slices.Contains(n.Models, a.Model) {
		key := r.key(modelsKey)
		r.fail(schedule.ModelDiffers, a.Model, r.list(key, n.Models, ""))
		r.widen(key, n.Models, a.Model)
	}
	if a.MemoryMiB < n.MemoryMiB {
		r.fail(schedule.DeviceMemoryLow, r.num(a.MemoryMiB), r.num(n.MemoryMiB))
		r.change(r.key(deviceMemoryKey), r.num(n.MemoryMiB), r.num(a.MemoryMiB))
	}
	if n.Milli < schedule.DeviceMilli && !a.Shareable {
		r.fail(schedule.NotShareable, r.num(n.Milli))
		r.change(r.key(milliKey), r.num(n.Milli), r.num(schedule.DeviceMilli))
		r.need.milli, r.need.use[schedule.AcceleratorMilli] = schedule.DeviceMilli, schedule.DeviceMilli
	}
}

// room looks for the node that needs the fewest and smallest changes.
func (r *refusal) room(asked *need) {
	p := r.p
	if r.help == nil {
		for slot := range p.nodes {
			if p.nodes[slot].fits(&r.need) {
				return
			}
		}
		r.why()
		return
	}
	best := shortage{keys: math.MaxInt}
	if v := r.c.view(r.at); v.covers {
		best = p.short(&r.need, &v.room)
	} else {
		for slot := range p.nodes {
			if s := p.short(&r.need, &p.nodes[slot].room); s.less(&best) {
				best = s
			}
		}
	}
	if best.keys == 0 {
		return
	}
	r.why()
	if best.keys == math.MaxInt {
		r.impossible = true
		return
	}
	need := &r.need
	for d, to := range best.to {
		if to >= 0 {
			r.change(r.key(d), r.num(need.use[d]), r.num(to))
			need.use[d] = to
		}
	}
	if best.count > 0 {
		r.change(r.key(countKey), strconv.Itoa(asked.count), strconv.Itoa(best.count))
		need.count = best.count
	}
	if best.milli > 0 {
		r.change(r.key(milliKey), r.num(need.milli), r.num(best.milli))
		need.milli = best.milli
	}
	need.use[schedule.AcceleratorMilli] = int64(need.count) * need.milli
}

// why says what is short: of any node, of the pool, or of a single node.
func (r *refusal) why() {
	if r.reason.Code != passed {
		return
	}
	p, need := r.p, &r.need
	for d, use := range need.use {
		if use > p.largest[d] {
			r.fail(schedule.NodeTooSmall, schedule.DimensionNames[d], r.num(p.largest[d]), r.num(use))
			return
		}
	}
	var freest, total schedule.Vector
	for i := range p.nodes {
		for d, free := range p.nodes[i].free {
			freest[d] = max(freest[d], free)
			total[d] += free
		}
	}
	for d, use := range need.use {
		if use > total[d] {
			r.fail(schedule.NoCapacityNow, schedule.DimensionNames[d], r.num(total[d]), r.num(use))
			return
		}
	}
	var short []string
	for d, use := range need.use {
		if use > freest[d] {
			short = append(short, schedule.DimensionNames[d])
		}
	}
	if len(short) == 0 {
		short = []string{need.use.String()}
	}
	r.fail(schedule.Fragmented, list(short))
}

// view is what a pool has free, as far as one node tells of all.
type view struct {
	known bool // since something changed
	// covers is that room is of a node that has at least as much free of
	// everything as any other has: what is short is least there.
	covers bool
	// equal is that all are like room, without devices that are free in part.
	equal bool
	room  room
}

// view looks at the nodes of a pool, once.
func (c *Cluster) view(i int32) *view {
	v := &c.views[i]
	if v.known {
		return v
	}
	nodes := c.pools[i].nodes
	best := 0
	for at := range nodes {
		if !nodes[best].covers(&nodes[at].room) {
			best = at
		}
	}
	*v = view{known: true}
	if len(nodes) == 0 {
		return v
	}
	v.room = nodes[best].room
	v.covers, v.equal = true, v.room.undivided()
	for at := range nodes {
		v.covers = v.covers && v.room.covers(&nodes[at].room)
		v.equal = v.equal && v.room == nodes[at].room
	}
	return v
}

// covers reports whether whatever fits there fits here.
func (r *room) covers(o *room) bool {
	return o.free.Within(r.free) && o.whole <= r.whole && o.most <= r.most
}

// shortage is what must change for a node to have room.
type shortage struct {
	keys     int // to be changed
	relative float64
	to       schedule.Vector // by dimension, -1 where nothing must change
	count    int             // devices, 0 where nothing must change
	milli    int64
}

func (s *shortage) less(o *shortage) bool {
	return s.keys < o.keys || (s.keys == o.keys && s.keys < math.MaxInt && s.relative < o.relative)
}

// short works out the shortage of one node. No resource is reduced to nothing.
func (p *pool) short(n *need, node *room) shortage {
	s := shortage{to: schedule.Vector{-1, -1, -1, -1, -1}}
	lower := func(from, to int64) bool {
		if to == 0 {
			s.keys = math.MaxInt
			return false
		}
		s.keys++
		s.relative += float64(from-to) / float64(from)
		return true
	}
	for d, use := range n.use {
		if d == schedule.AcceleratorMilli || use <= node.free[d] {
			continue
		}
		if !lower(use, node.free[d]) {
			return s
		}
		s.to[d] = node.free[d]
	}
	if n.count == 0 {
		return s
	}
	if n.milli == schedule.DeviceMilli {
		if int(node.whole) >= n.count {
			return s
		}
		if node.whole > 0 {
			s.count = int(node.whole)
			lower(int64(n.count), int64(s.count))
			return s
		}
		if n.count > 1 {
			s.count = 1
			lower(int64(n.count), 1)
		}
	}
	most := int64(node.most)
	if most >= n.milli {
		return s
	}
	if n.milli == schedule.DeviceMilli && !p.def.Accelerator.Shareable {
		most = 0
	}
	if lower(n.milli, most) {
		s.milli = most
	}
	return s
}

// bounds goes through deadline and budgets, at the best node there is.
func (r *refusal) bounds(c *Cluster, k *class, i int32, now time.Time) {
	w := r.w
	if w.Window.Deadline.IsZero() && w.Budget == (schedule.Budget{}) {
		return
	}
	b := c.bill(k, w, r.t, r.p, now)
	rate := speed(r.t, r.p.def)
	begin := now.Add(b.wait + b.r.copyTime)
	b.n, b.hours = &r.need, over(r.t.P50, rate).Hours()
	_, _, outdoor, _ := r.p.lives(now)
	b.g = c.gridOver(r.p.facility, begin, b.hours, r.f.load(), outdoor)
	var t terms
	b.add(&t)
	if end := begin.Add(over(r.t.P95, rate)); !w.Window.Deadline.IsZero() && end.After(w.Window.Deadline) {
		r.fail(schedule.DeadlineMissed, stamp(end), stamp(w.Window.Deadline))
		r.change("window.deadline", stamp(w.Window.Deadline), end.UTC().Format(time.RFC3339Nano))
	}
	if money := t[price].cost + t[transfer].cost; w.Budget.Money > 0 && money > w.Budget.Money {
		r.fail(schedule.BudgetExceeded, "yuan", fmt.Sprintf("%.2f", money), decimal(w.Budget.Money))
		r.change("budget.money", decimal(w.Budget.Money), ceil(money))
	}
	if kg := t[carbon].value; w.Budget.CarbonKg > 0 && kg > w.Budget.CarbonKg {
		r.fail(schedule.BudgetExceeded, "kg", fmt.Sprintf("%.3f", kg), decimal(w.Budget.CarbonKg))
		r.change("budget.carbon_kg", decimal(w.Budget.CarbonKg), ceil(kg))
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ceil rounds up to thousandths.
func ceil(v float64) string { return decimal(math.Ceil(v*1000) / 1000) }
