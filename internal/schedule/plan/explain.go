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
	keys    []map[string]string // by task and name
	nums    map[int64]string
	lists   map[[2]string]string // by key and what is added
}

func newSheet(w *schedule.Workload, pools int) *sheet {
	s := &sheet{changes: make([]schedule.Change, 0, 4*pools), args: make([]string, 0, 3*pools), keys: make([]map[string]string, len(w.Tasks)), nums: map[int64]string{}, lists: map[[2]string]string{}}
	for i := range s.keys {
		s.keys[i] = map[string]string{}
	}
	return s
}

// why is the reason that no pool is a candidate: that of the pool that came
// nearest. While nothing changes, a class has it in memory.
func (c *Cluster) why(k *class, w *schedule.Workload, t *schedule.Task, task int, now time.Time) schedule.Reason {
	full := c.least(k) == never
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
		case c.roomiest(k, int32(i)) < never:
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
	r := refusal{c: c, w: w, t: t, task: task, p: p, f: f, need: k.need, help: help}
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
	if !r.settled() && k.blocked.has(i) {
		r.fail(schedule.PowerCap, r.num(f.def.PowerCapW), r.num(f.draw()), r.num(p.def.Watts(k.need.use)))
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
	from := len(r.help.args)
	r.help.args = append(r.help.args, args...)
	r.reason = schedule.Reason{Code: code, Args: r.help.args[from:len(r.help.args):len(r.help.args)]}
}

func (r *refusal) change(key, from, to string) {
	if r.help != nil {
		r.help.changes = append(r.help.changes, schedule.Change{Key: key, From: from, To: to})
	}
}

// key is the path of a key of the task.
func (r *refusal) key(name string) string {
	if r.help == nil {
		return ""
	}
	k, there := r.help.keys[r.task][name]
	if !there {
		k = "tasks[" + strconv.Itoa(r.task) + "]." + name
		r.help.keys[r.task][name] = k
	}
	return k
}

// num writes a number; most come again and again.
func (r *refusal) num(n int64) string {
	if r.help == nil {
		return strconv.FormatInt(n, 10)
	}
	s, there := r.help.nums[n]
	if !there {
		s = strconv.FormatInt(n, 10)
		r.help.nums[n] = s
	}
	return s
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
	s, there := r.help.lists[[2]string{key, add}]
	if !there {
		s = list(l)
		if add != "" {
			s = list(append(slices.Clone(l), add))
		}
		r.help.lists[[2]string{key, add}] = s
	}
	return s
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
		key := r.key("accelerators.models")
		r.fail(schedule.ModelDiffers, a.Model, r.list(key, n.Models, ""))
		r.widen(key, n.Models, a.Model)
	}
	if a.MemoryMiB < n.MemoryMiB {
		r.fail(schedule.DeviceMemoryLow, r.num(a.MemoryMiB), r.num(n.MemoryMiB))
		r.change(r.key("accelerators.memory_mib"), r.num(n.MemoryMiB), r.num(a.MemoryMiB))
	}
	if n.Milli < schedule.DeviceMilli && !a.Shareable {
		r.fail(schedule.NotShareable, r.num(n.Milli))
		r.change(r.key("accelerators.milli"), r.num(n.Milli), r.num(schedule.DeviceMilli))
		r.need.milli, r.need.use[schedule.AcceleratorMilli] = schedule.DeviceMilli, schedule.DeviceMilli
	}
}

// room looks for the node that needs the fewest and smallest changes.
func (r *refusal) room(asked *need) {
	p := r.p
	if r.help == nil {
		for slot := range p.nodes {
			if p.fits(&r.need, slot) {
				return
			}
		}
		r.why()
		return
	}
	best := shortage{keys: math.MaxInt}
	nodes := len(p.nodes)
	if p.alike() {
		nodes = 1
	}
	for slot := range nodes {
		s := p.short(&r.need, slot)
		if s.less(&best) {
			if best = s; s.keys == 0 {
				return
			}
		}
	}
	r.why()
	if best.keys == math.MaxInt {
		r.impossible = true
		return
	}
	for d, to := range best.to {
		if to >= 0 {
			r.change(r.key(schedule.DimensionNames[d]), r.num(r.need.use[d]), r.num(to))
		}
	}
	if best.count > 0 {
		r.change(r.key("accelerators.count"), strconv.Itoa(asked.count), strconv.Itoa(best.count))
	}
	if best.milli > 0 {
		r.change(r.key("accelerators.milli"), r.num(r.need.milli), r.num(best.milli))
	}
}

// why says what is short: of any node, of the pool, or of a single node.
func (r *refusal) why() {
	if r.reason.Code != passed {
		return
	}
	p, need := r.p, &r.need
	var largest, freest, total schedule.Vector
	for i := range p.nodes {
		for d := range largest {
			largest[d] = max(largest[d], p.nodes[i].cap[d])
			freest[d] = max(freest[d], p.nodes[i].free[d])
			total[d] += p.nodes[i].free[d]
		}
	}
	for d, use := range need.use {
		if use > largest[d] {
			r.fail(schedule.NodeTooSmall, schedule.DimensionNames[d], r.num(largest[d]), r.num(use))
			return
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
func (p *pool) short(n *need, slot int) shortage {
	s := shortage{to: schedule.Vector{-1, -1, -1, -1, -1}}
	node := &p.nodes[slot]
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
	var most int64
	for _, f := range p.devices(slot) {
		most = max(most, int64(f))
	}
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
