package plan

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
	"github.com/songhua-io/hub/internal/telemetry"
)

var smallModels = []string{"A", "B"}

// drawCluster makes a small cluster, with a demand or without, partly in use.
func drawCluster(t *rapid.T) (*Cluster, [][]schedule.Assignment) {
	c := NewCluster(&schedule.Network{Tiers: schedule.DefaultTiers})
	for f := range rapid.IntRange(1, 3).Draw(t, "facilities") {
		drawFacility(t, c, f)
		for p := range rapid.IntRange(0, 3).Draw(t, "pools") {
			drawPool(t, c, f, p)
		}
	}
	if rapid.Bool().Draw(t, "demand") {
		c.SetDemand([]Demand{
			{Use: schedule.Vector{2000, 1024}, Accelerators: &schedule.Accelerators{Count: 1, Milli: 500}, Weight: 2},
			{Use: schedule.Vector{4000, 2048}, Accelerators: &schedule.Accelerators{Count: 2, Milli: 1000, Models: []string{"A"}}, Weight: 1},
			{Use: schedule.Vector{1000, 4096}, Weight: 1},
		})
	}
	var live [][]schedule.Assignment
	for range rapid.IntRange(0, 12).Draw(t, "before") {
		w := drawWorkload(t)
		w.Window, w.Budget = schedule.Window{}, schedule.Budget{}
		if d := c.Place(w, noon, nil); len(d.Assignments) > 0 {
			if err := c.Take(d.Assignments); err != nil {
				t.Fatalf("Take refuses what Place chose: %v", err)
			}
			live = append(live, d.Assignments)
		}
	}
	return c, live
}

func drawFacility(t *rapid.T, c *Cluster, f int) {
	def := &schedule.Facility{ID: fmt.Sprintf("f%d", f), Region: rapid.SampledFrom([]string{"220100", "220200", "310000"}).Draw(t, "region"),
		SecurityGrade: rapid.IntRange(1, 4).Draw(t, "grade"), MaxDataGrade: telemetry.Grade(rapid.IntRange(0, 3).Draw(t, "data")),
		State: rapid.SampledFrom([]schedule.FacilityState{schedule.Ready, schedule.Ready, schedule.Ready, schedule.Cordoned}).Draw(t, "state"),
		PUE:   schedule.PUE{Constant: 1.2}}
	if rapid.IntRange(0, 3).Draw(t, "capped") == 0 {
		def.PowerCapW = rapid.Int64Range(200, 2000).Draw(t, "cap")
	}
	if rapid.IntRange(0, 3).Draw(t, "curve") == 0 {
		def.PUE.Load = []schedule.Point{{X: 0, Y: 1.9}, {X: 1, Y: 1.1}}
	}
	c.SetFacility(def)
}

func drawPool(t *rapid.T, c *Cluster, f, i int) {
	p := &schedule.Pool{ID: fmt.Sprintf("f%d-p%d", f, i), Facility: fmt.Sprintf("f%d", f), Arch: rapid.SampledFrom([]string{"amd64", "arm64"}).Draw(t, "arch"), Engine: schedule.EngineAgent,
		Labels: map[string]string{"tier": rapid.SampledFrom([]string{"", "hot"}).Draw(t, "tier")}}
	devices := 0
	if rapid.Bool().Draw(t, "accelerated") {
		p.Accelerator = &schedule.Accelerator{Model: rapid.SampledFrom(smallModels).Draw(t, "model"), MemoryMiB: 16384, Shareable: rapid.Bool().Draw(t, "shareable")}
		devices = rapid.IntRange(0, 3).Draw(t, "devices")
	}
	node := schedule.Node{CPUMilli: 1000 * rapid.Int64Range(1, 16).Draw(t, "cpu"), MemoryMiB: 1024 * rapid.Int64Range(1, 16).Draw(t, "mem"),
		DiskGiB: rapid.Int64Range(0, 4).Draw(t, "disk"), Accelerators: devices}
	n := rapid.IntRange(1, 2*few).Draw(t, "nodes")
	if (f+i)%2 == 0 {
		p.Classes = []schedule.Class{{Count: n, Node: node}}
	} else {
		for j := range n {
			node.ID = fmt.Sprintf("n%d", j)
			p.Nodes = append(p.Nodes, node)
		}
	}
	if err := c.SetPool(p); err != nil {
		t.Fatal(err)
	}
}

func drawWorkload(t *rapid.T) *schedule.Workload {
	task := schedule.Task{Name: "t", Min: 1, Max: 1, P50: time.Hour, P95: 2 * time.Hour, Use: schedule.Vector{
		1000 * rapid.Int64Range(1, 8).Draw(t, "need cpu"), 1024 * rapid.Int64Range(0, 8).Draw(t, "need mem"), 0, rapid.Int64Range(0, 1).Draw(t, "need disk")}}
	switch rapid.IntRange(0, 3).Draw(t, "need") {
	case 0:
		task.Accelerators = &schedule.Accelerators{Count: rapid.IntRange(1, 3).Draw(t, "count"), Milli: 1000}
	case 1:
		task.Accelerators = &schedule.Accelerators{Count: 1, Milli: rapid.Int64Range(1, 999).Draw(t, "milli")}
	}
	if task.Accelerators != nil {
		if rapid.IntRange(0, 2).Draw(t, "picky") == 0 {
			task.Accelerators.Models = []string{rapid.SampledFrom(smallModels).Draw(t, "wants")}
		}
		task.Accelerators.MemoryMiB = rapid.SampledFrom([]int64{0, 0, 16384, 32768}).Draw(t, "device memory")
	}
	w := &schedule.Workload{ID: "w", Tasks: []schedule.Task{task}, Gang: schedule.GangAll, Shape: schedule.AnyShape, Objective: schedule.Balanced}
	rare := func(name string) bool { return rapid.IntRange(0, 4).Draw(t, name) == 0 }
	if rare("secure") {
		w.Security = schedule.Security{MinGrade: rapid.IntRange(0, 4).Draw(t, "min grade"), DataGrade: telemetry.Grade(rapid.IntRange(0, 3).Draw(t, "data grade"))}
	}
	if rare("near") {
		w.Latency = &schedule.Latency{FromRegion: "220100", MaxMillis: rapid.SampledFrom([]float64{0.5, 1, 5, 20}).Draw(t, "ms")}
	}
	if rare("arch") {
		w.Affinity.Archs = []string{"amd64"}
	}
	if rare("tier") {
		w.Affinity.Labels = map[string]string{"tier": "hot"}
	}
	if rare("region") {
		w.Affinity.Regions = []string{rapid.SampledFrom([]string{"22", "2201", "31"}).Draw(t, "prefix")}
	}
	if rare("only") {
		w.Affinity.Facilities = []string{"f1"}
	}
	if rare("not") {
		w.Affinity.NotFacilities = []string{"f0"}
	}
	if rare("deadline") {
		w.Window.Deadline = noon.Add(rapid.SampledFrom([]time.Duration{time.Hour, 2 * time.Hour, 3 * time.Hour}).Draw(t, "by"))
	}
	if rare("budget") {
		w.Budget = schedule.Budget{Money: rapid.SampledFrom([]float64{0, 0.001, 10}).Draw(t, "money"), CarbonKg: rapid.SampledFrom([]float64{0, 0.001, 10}).Draw(t, "kg")}
	}
	return w
}

// exists looks at every pool, node and device for a place, in the plainest way.
func exists(c *Cluster, w *schedule.Workload, only string) bool {
	t := &w.Tasks[0]
	for _, p := range c.pools {
		f := &c.facilities[p.facility]
		if only != "" && p.def.ID != only {
			continue
		}
		if c.admits(w, f.def) != passed || suits(w, t, p.def) != passed {
			continue
		}
		if f.def.PowerCapW > 0 && f.watts+p.def.Watts(t.Need()) > f.def.PowerCapW {
			continue
		}
		begin := noon
		end := begin.Add(t.P95)
		g := c.gridOver(p.facility, begin, t.P50.Hours(), f.load(), 20)
		energy := p.power.Draw(t.Need()) / 1000 * t.P50.Hours()
		if (!w.Window.Deadline.IsZero() && end.After(w.Window.Deadline)) || (w.Budget.Money > 0 && energy*g.yuan > w.Budget.Money) || (w.Budget.CarbonKg > 0 && energy*g.kg > w.Budget.CarbonKg) {
			continue
		}
		for i := range p.nodes {
			n := &p.nodes[i]
			left := n.cap.Sub(n.used)
			fits := true
			for d, use := range t.Use {
				fits = fits && use <= left[d]
			}
			if a := t.Accelerators; a != nil {
				found := 0
				for j := range int(n.devices) {
					if int64(p.leased[i*p.stride+j])+a.Milli <= 1000 {
						found++
					}
				}
				fits = fits && found >= a.Count
			}
			if fits {
				return true
			}
		}
	}
	return false
}

func TestPlaceFindsAPlaceWhereThereIsOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _ := drawCluster(t)
		for range 4 {
			w := drawWorkload(t)
			d := c.Place(w, noon, nil)
			if got, want := len(d.Assignments) == 1, exists(c, w, ""); got != want {
				t.Fatalf("placed %v, and there is a place: %v; %+v: %v", got, want, w.Tasks[0], d.Reasons)
			}
			if len(d.Assignments) == 0 {
				if len(d.Reasons) == 0 || d.Reasons[0].Code == passed {
					t.Fatal("it waits without a reason")
				}
				continue
			}
			if err := c.Take(d.Assignments); err != nil {
				t.Fatalf("Take refuses what Place chose: %v", err)
			}
		}
	})
}

// changed applies changes to a copy of a workload, by their keys.
func changed(t *rapid.T, w *schedule.Workload, changes []schedule.Change) *schedule.Workload {
	n := *w
	n.Tasks = []schedule.Task{w.Tasks[0]}
	task := &n.Tasks[0]
	if a := task.Accelerators; a != nil {
		copied := *a
		task.Accelerators = &copied
	}
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, ", ")
	}
	for _, c := range changes {
		v, _ := strconv.ParseFloat(c.To, 64)
		switch c.Key {
		case "affinity.facilities":
			n.Affinity.Facilities = split(c.To)
		case "affinity.not_facilities":
			n.Affinity.NotFacilities = split(c.To)
		case "affinity.regions":
			n.Affinity.Regions = split(c.To)
		case "affinity.archs":
			n.Affinity.Archs = split(c.To)
		case "affinity.labels.tier":
			n.Affinity.Labels = map[string]string{"tier": c.To}
		case "security.min_grade":
			n.Security.MinGrade = int(v)
		case "latency.max_ms":
			n.Latency = &schedule.Latency{FromRegion: w.Latency.FromRegion, MaxMillis: v}
		case "tasks[0].cpu_milli":
			task.Use[schedule.CPUMilli] = int64(v)
		case "tasks[0].memory_mib":
			task.Use[schedule.MemoryMiB] = int64(v)
		case "tasks[0].disk_gib":
			task.Use[schedule.DiskGiB] = int64(v)
		case "tasks[0].accelerators.count":
			task.Accelerators.Count = int(v)
		case "tasks[0].accelerators.milli":
			task.Accelerators.Milli = int64(v)
		case "tasks[0].accelerators.memory_mib":
			task.Accelerators.MemoryMiB = int64(v)
		case "tasks[0].accelerators.models":
			task.Accelerators.Models = split(c.To)
		case "window.deadline":
			at, err := time.Parse(time.RFC3339Nano, c.To)
			if err != nil {
				t.Fatal(err)
			}
			n.Window.Deadline = at
		case "budget.money":
			n.Budget.Money = v
		case "budget.carbon_kg":
			n.Budget.CarbonKg = v
		default:
			t.Fatalf("change of %q", c.Key)
		}
	}
	return &n
}

// less are smaller variants of a change: the next value towards what was asked.
func less(c schedule.Change) (schedule.Change, bool) {
	to, err := strconv.ParseInt(c.To, 10, 64)
	from, err2 := strconv.ParseInt(c.From, 10, 64)
	if err != nil || err2 != nil || strings.HasPrefix(c.Key, "budget") {
		return c, false
	}
	if c.Key == "tasks[0].accelerators.milli" && to == schedule.DeviceMilli {
		return c, false // a share becomes whole, since it cannot be shared
	}
	switch {
	case to < from:
		to++
	case to > from:
		to--
	}
	c.To = strconv.FormatInt(to, 10)
	return c, true
}

func TestARefusalsChangeMakesItFitAndNothingSmallerDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _ := drawCluster(t)
		w := drawWorkload(t)
		d := c.Explain(w, noon, nil)
		refused := map[string]bool{}
		for _, r := range d.Refused {
			refused[r.Pool] = true
			if len(r.Change) == 0 {
				continue
			}
			if !exists(c, changed(t, w, r.Change), r.Pool) {
				t.Fatalf("%s still does not fit with %v: %v of %+v", r.Pool, r.Change, r.Reason, w.Tasks[0])
			}
			for i := range r.Change {
				fewer := slices.Delete(slices.Clone(r.Change), i, i+1)
				if exists(c, changed(t, w, fewer), r.Pool) {
					t.Fatalf("%s: %v would do without %v", r.Pool, r.Change, r.Change[i])
				}
				if smaller, ok := less(r.Change[i]); ok {
					some := slices.Clone(r.Change)
					some[i] = smaller
					if exists(c, changed(t, w, some), r.Pool) {
						t.Fatalf("%s: %v would do for %v", r.Pool, smaller, r.Change[i])
					}
				}
			}
		}
		for _, p := range c.pools {
			if fits := exists(c, w, p.def.ID); fits == refused[p.def.ID] {
				t.Fatalf("%s fits: %v, refused: %v", p.def.ID, fits, refused[p.def.ID])
			}
		}
	})
}

// TestTheIndexEqualsOneBuiltAnew changes a cluster in every way, asking between,
// and compares what the index holds with that of a clone, which builds its own.
func TestTheIndexEqualsOneBuiltAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, live := drawCluster(t)
		at := noon
		var asked []*schedule.Workload
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				if len(live) > 0 {
					i := rapid.IntRange(0, len(live)-1).Draw(t, "given")
					if err := c.Give(live[i]); err != nil {
						t.Fatal(err)
					}
					live = slices.Delete(live, i, i+1)
				}
			case 1:
				f := rapid.IntRange(0, len(c.facilities)-1).Draw(t, "facility")
				drawFacility(t, c, f)
			case 2:
				f := rapid.IntRange(0, len(c.facilities)-1).Draw(t, "facility")
				drawPool(t, c, f, rapid.IntRange(0, 3).Draw(t, "pool"))
			case 3:
				at = at.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "minutes")) * time.Minute)
			case 4:
				if len(c.pools) > 0 {
					p := c.pools[rapid.IntRange(0, len(c.pools)-1).Draw(t, "observed")]
					c.Observe(p.def.ID, "", rapid.IntRange(0, len(p.nodes)-1).Draw(t, "slot"),
						schedule.Vector{rapid.Int64Range(0, 8000).Draw(t, "seen cpu"), 0, rapid.Int64Range(0, 2500).Draw(t, "seen milli")}, at)
				}
			case 5:
				if len(c.pools) > 0 {
					c.SetLive(c.pools[rapid.IntRange(0, len(c.pools)-1).Draw(t, "live")].def.ID, Live{Wait: time.Minute, At: at})
				}
			case 6:
				if len(c.pools) > 1 && rapid.IntRange(0, 5).Draw(t, "really") == 0 {
					c.RemovePool(c.pools[rapid.IntRange(0, len(c.pools)-1).Draw(t, "removed")].def.ID)
				}
			case 7:
				w := drawWorkload(t)
				w.Tasks[0].Min, w.Tasks[0].Max = 3, 3
				w.Shape = rapid.SampledFrom([]schedule.Shape{schedule.AnyShape, schedule.OneFacility, schedule.OnePerFacility, schedule.Spread}).Draw(t, "shape")
				c.forget(at)
				before := inUse(c)
				d := c.Place(w, at, nil)
				if !reflect.DeepEqual(before, inUse(c)) {
					t.Fatal("Place took something")
				}
				if err := c.Take(d.Assignments); err != nil {
					t.Fatal(err)
				}
				if len(d.Assignments) > 0 {
					live = append(live, d.Assignments)
				}
			default:
				w := drawWorkload(t)
				asked = append(asked, w)
				d := c.Place(w, at, nil)
				if err := c.Take(d.Assignments); err != nil {
					t.Fatal(err)
				}
				if len(d.Assignments) > 0 {
					live = append(live, d.Assignments)
				}
			}
		}
		fresh := c.Clone()
		c.turn(at, nil)
		fresh.turn(at, nil)
		for _, w := range asked {
			checkBounds(t, c, c.classOf(w, &w.Tasks[0], 1))
			x, y := c.Place(w, at, nil), fresh.Place(w, at, nil)
			if !reflect.DeepEqual(x, y) {
				t.Fatalf("kept %+v\nanew %+v", x, y)
			}
			checkBounds(t, c, c.classOf(w, &w.Tasks[0], 1))
			if got, want := nearestPools(c, w), plainly(c, w); !slices.Equal(got, want) {
				t.Fatalf("the index finds %v, and all looked at are %v", got, want)
			}
		}
		for _, parts := range live {
			if err := c.Give(parts); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range c.pools {
			if !p.used.IsZero() || p.watts != 0 || len(p.ends) != 0 || slices.ContainsFunc(p.leased, func(n uint16) bool { return n != 0 }) {
				t.Fatalf("%s: %v, %d W, %v are in use after all was given back", p.def.ID, p.used, p.watts, p.ends)
			}
		}
		if len(c.gone) > 0 {
			t.Fatalf("%d pools that are gone hold leases", len(c.gone))
		}
	})
}

// checkBounds looks at every node: no bound of a class is above what it bounds.
func checkBounds(t *rapid.T, c *Cluster, k *class) {
	for i, p := range c.pools {
		if !c.suited(k, int32(i)) {
			continue
		}
		least := never
		for n := range p.nodes {
			v := c.yuan(k, int32(i), n, &p.nodes[n].room, &memo{})
			if deep := &c.deep[i]; deep.n > 0 && deep.at(n, k.slot) > v {
				t.Fatalf("%s node %d: bound %v, costs %v", p.def.ID, n, deep.at(n, k.slot), v)
			}
			least = min(least, v)
		}
		cost := never
		if f := &c.facilities[p.facility]; least < never && f.powered(p.def.Watts(k.need.use)) {
			cost = sumOf(least, c.hours[int(p.kind+1)*c.width+k.col], c.offer(k, p))
		}
		if bound := c.cells[i*c.width+k.col].bound; bound > cost {
			t.Fatalf("%s: bound %v, costs %v", p.def.ID, bound, cost)
		}
		if bound, kept := c.cells[i*c.width+k.col].bound, c.sums.at(i, k.col); bound != kept {
			t.Fatalf("%s: bound %v, in the tree %v", p.def.ID, bound, kept)
		}
	}
}

// nearestPools are the pools that the index finds, the best first.
func nearestPools(c *Cluster, w *schedule.Workload) []string {
	k := c.classOf(w, &w.Tasks[0], 1)
	var ids []string
	var masked []int32
	for s, found := c.best(k); found; s, found = c.best(k) {
		ids = append(ids, fmt.Sprint(c.pools[s.pool].def.ID, s.node, s.cost))
		c.mask(k, s.pool)
		masked = append(masked, s.pool)
	}
	for _, i := range masked {
		c.unmask(k, i)
	}
	return ids
}

// plainly looks at all nodes of all pools.
func plainly(c *Cluster, w *schedule.Workload) []string {
	t := &w.Tasks[0]
	k := c.classOf(w, t, 1)
	type place struct {
		id   string
		cost float32
	}
	var all []place
	for i, p := range c.pools {
		f := &c.facilities[p.facility]
		if c.admits(w, f.def) != passed || suits(w, t, p.def) != passed || !f.powered(p.def.Watts(t.Need())) {
			continue
		}
		least, node := never, -1
		for n := range p.nodes {
			if v := c.yuan(k, int32(i), n, &p.nodes[n].room, &memo{}); v < least {
				least, node = v, n
			}
		}
		if node >= 0 {
			cost := sumOf(least, c.hours[int(p.kind+1)*c.width+k.col], c.offer(k, p))
			all = append(all, place{fmt.Sprint(c.pools[i].def.ID, node, cost), cost})
		}
	}
	slices.SortStableFunc(all, func(a, b place) int { return cmp.Compare(a.cost, b.cost) })
	var ids []string
	for _, p := range all {
		ids = append(ids, p.id)
	}
	return ids
}

func inUse(c *Cluster) any {
	var all []any
	for _, p := range c.pools {
		all = append(all, slices.Clone(p.nodes), slices.Clone(p.leased), append(timeline{}, p.ends...), p.watts)
	}
	return all
}

func TestAnswersAreTheSameForTheSameCalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _ := drawCluster(t)
		d := c.Clone()
		for range 6 {
			w := drawWorkload(t)
			x, y := c.Place(w, noon, signal.Set{}), d.Place(w, noon, signal.Set{})
			if !reflect.DeepEqual(x, y) {
				t.Fatalf("%+v\n%+v", x, y)
			}
			if c.Take(x.Assignments) != nil || d.Take(y.Assignments) != nil {
				t.Fatal("not taken")
			}
		}
	})
}

// TestACloneIsIndependent takes in one and looks at the other.
func TestACloneIsIndependent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _ := drawCluster(t)
		d := c.Clone()
		before, watts := inUse(c), slices.Clone(c.facilities)
		for range 4 {
			if err := d.Take(d.Place(drawWorkload(t), noon, nil).Assignments); err != nil {
				t.Fatal(err)
			}
		}
		d.SetState("f0", schedule.Draining)
		if !reflect.DeepEqual(before, inUse(c)) || !reflect.DeepEqual(watts, c.facilities) {
			t.Fatal("the clone wrote to what it was cloned from")
		}
	})
}

func TestTakeTakesAllOrNothing(t *testing.T) {
	c := NewCluster(nil)
	c.SetFacility(&schedule.Facility{ID: "f", State: schedule.Ready, PowerCapW: 1000})
	if err := c.SetPool(&schedule.Pool{ID: "p", Facility: "f", Accelerator: &schedule.Accelerator{Model: "A", Shareable: true},
		Nodes: []schedule.Node{{ID: "n", CPUMilli: 8000, MemoryMiB: 8192, Accelerators: 2}}}); err != nil {
		t.Fatal(err)
	}
	part := func(cpu, milli int64, devices ...uint8) schedule.Assignment {
		return schedule.Assignment{Facility: "f", Pool: "p", Node: "n", Devices: devices, Use: schedule.Vector{cpu, 0, milli}}
	}
	for name, parts := range map[string][]schedule.Assignment{
		"has 4000 cpu_milli":     {part(4000, 0), part(5000, 0)},
		"no 600 thousandths":     {part(0, 500, 0), part(0, 600, 0)},
		"is named twice":         {part(0, 1000, 1, 1)},
		"do not come out even":   {part(0, 1000)},
		"its cap of 1000 W":      {part(8000, 2000, 0, 1), {Facility: "f", Pool: "p", Node: "n"}, {Pool: "p", Node: "n", Use: schedule.Vector{schedule.PowerW: 400}}},
		`pool "q" is not there`:  {part(1000, 0), {Pool: "q"}},
		`has no node "m"`:        {part(1000, 0), {Pool: "p", Node: "m"}},
		"cpu_milli -1 is negati": {part(-1, 0)},
	} {
		if name == "its cap of 1000 W" {
			c.facilities[0].def.PowerCapW = 700
			parts = parts[:1]
			name = "its cap of 700 W"
		}
		err := c.Take(parts)
		c.facilities[0].def.PowerCapW = 1000
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
		if !c.pools[0].used.IsZero() || c.facilities[0].watts != 100 {
			t.Fatalf("%s: %v and %d W stay taken", name, c.pools[0].used, c.facilities[0].watts)
		}
	}
	if err := c.Give([]schedule.Assignment{part(1000, 0)}); err == nil {
		t.Error("what was not taken was given back")
	}
}

// TestAGangTakesTheDevicesThatItsMembersAskFor asks for whole ones, several on
// one node.
func TestAGangTakesTheDevicesThatItsMembersAskFor(t *testing.T) {
	c := NewCluster(nil)
	c.SetFacility(&schedule.Facility{ID: "f", State: schedule.Ready})
	if err := c.SetPool(&schedule.Pool{ID: "p", Facility: "f", Accelerator: &schedule.Accelerator{Model: "A"},
		Nodes: []schedule.Node{{ID: "n", CPUMilli: 8000, MemoryMiB: 8192, Accelerators: 8}}}); err != nil {
		t.Fatal(err)
	}
	w := &schedule.Workload{Tasks: []schedule.Task{{Name: "t", Min: 3, Max: 3, P50: time.Hour, P95: time.Hour, Use: schedule.Vector{1000},
		Accelerators: &schedule.Accelerators{Count: 2, Milli: schedule.DeviceMilli}}}, Gang: schedule.GangAll, Shape: schedule.AnyShape}
	d := c.Place(w, noon, nil)
	if len(d.Assignments) != 3 {
		t.Fatal(d.Reasons)
	}
	for i, a := range d.Assignments {
		if want := []uint8{uint8(2 * i), uint8(2*i + 1)}; !slices.Equal(a.Devices, want) {
			t.Errorf("member %d has the devices %v, not %v", i, a.Devices, want)
		}
	}
	if err := c.Take(d.Assignments); err != nil {
		t.Fatal(err)
	}
}

// TestNoChangeIsProposedThatThePowerCapForbids asks for half of a device that can
// only be had as a whole, for which there is no power.
func TestNoChangeIsProposedThatThePowerCapForbids(t *testing.T) {
	for _, power := range []struct {
		watts   int64
		changes int
	}{{200, 0}, {300, 1}} {
		c := NewCluster(nil)
		c.SetFacility(&schedule.Facility{ID: "f", State: schedule.Ready, PowerCapW: 100 + power.watts})
		if err := c.SetPool(&schedule.Pool{ID: "p", Facility: "f", Accelerator: &schedule.Accelerator{Model: "A"},
			Nodes: []schedule.Node{{ID: "n", CPUMilli: 8000, MemoryMiB: 8192, Accelerators: 1}}}); err != nil {
			t.Fatal(err)
		}
		d := c.Explain(&schedule.Workload{Tasks: []schedule.Task{{Name: "t", Min: 1, Max: 1, P50: time.Hour, P95: time.Hour,
			Accelerators: &schedule.Accelerators{Count: 1, Milli: 500}}}, Gang: schedule.GangAll}, noon, nil)
		if len(d.Refused) != 1 || d.Refused[0].Reason.Code != schedule.NotShareable || len(d.Refused[0].Change) != power.changes {
			t.Errorf("with %d W: %v", power.watts, d.Refused)
		}
	}
}

func TestLeasesOutliveChangesOfCapacity(t *testing.T) {
	c := NewCluster(nil)
	c.SetFacility(&schedule.Facility{ID: "f", State: schedule.Ready})
	pool := func(ids ...string) *schedule.Pool {
		p := &schedule.Pool{ID: "p", Facility: "f"}
		for _, id := range ids {
			p.Nodes = append(p.Nodes, schedule.Node{ID: id, CPUMilli: 4000, MemoryMiB: 4096})
		}
		return p
	}
	set := func(p *schedule.Pool) {
		t.Helper()
		if err := c.SetPool(p); err != nil {
			t.Fatal(err)
		}
	}
	set(pool("a", "b"))
	lease := []schedule.Assignment{{Pool: "p", Node: "b", Slot: 1, Use: schedule.Vector{3000}, End: noon}}
	if err := c.Take(lease); err != nil {
		t.Fatal(err)
	}
	free := func() schedule.Vector {
		k, _ := c.Capacity("p", noon)
		return k.Free
	}
	set(pool("b", "a", "c")) // another order
	if free() != (schedule.Vector{9000, 3 * 4096}) {
		t.Error("after another order:", free())
	}
	set(pool("c")) // b is gone and still in use
	if free() != (schedule.Vector{4000, 4096}) {
		t.Error("without b:", free())
	}
	set(pool("a", "b"))
	if free() != (schedule.Vector{5000, 2 * 4096}) {
		t.Error("b again:", free())
	}
	c.RemovePool("p")
	if err := c.Restore(nil); err != nil {
		t.Error(err)
	}
	set(pool("b"))
	if free() != (schedule.Vector{1000, 4096}) {
		t.Error("the pool again:", free())
	}
	c.RemovePool("p")
	if err := c.Give(lease); err != nil {
		t.Error("given back to a pool that is gone:", err)
	}
	set(pool("b"))
	if free() != (schedule.Vector{4000, 4096}) {
		t.Error("all free:", free())
	}
}

// TestTelemetryNeverFreesWhatIsLeased looks at a node that uses less than it
// leases, and at one whose agent lags behind a lease that ended.
func TestTelemetryNeverFreesWhatIsLeased(t *testing.T) {
	c := NewCluster(nil)
	c.SetFacility(&schedule.Facility{ID: "f", State: schedule.Ready})
	if err := c.SetPool(&schedule.Pool{ID: "p", Facility: "f", Accelerator: &schedule.Accelerator{Model: "A", Shareable: true},
		Nodes: []schedule.Node{{ID: "n", CPUMilli: 8000, MemoryMiB: 8192, Accelerators: 2}}}); err != nil {
		t.Fatal(err)
	}
	lease := []schedule.Assignment{{Pool: "p", Node: "n", Devices: []uint8{0}, Use: schedule.Vector{4000, 4096, 500}}}
	free := func(at time.Time) schedule.Vector {
		k, _ := c.Capacity("p", at)
		return k.Free
	}
	observe := func(used schedule.Vector, at time.Time) {
		if !c.Observe("p", "n", 0, used, at) {
			t.Fatal("the node is not known")
		}
	}
	if err := c.Take(lease); err != nil {
		t.Fatal(err)
	}
	observe(schedule.Vector{1000, 0, 0}, noon)
	if got := free(noon); got != (schedule.Vector{4000, 4096, 1500}) {
		t.Error("after it was seen using less than it leases:", got)
	}
	observe(schedule.Vector{6000, 0, 500}, noon.Add(time.Second))
	observe(schedule.Vector{4000, 0, 500}, noon) // late: it is not the newest
	if got := free(noon); got != (schedule.Vector{2000, 4096, 1500}) {
		t.Error("after it was seen using more:", got)
	}
	if err := c.Give(lease); err != nil {
		t.Fatal(err)
	}
	if got := free(noon); got != (schedule.Vector{6000, 8192, 2000}) {
		t.Error("the lease ended, and what was seen beyond it stays:", got)
	}
	if got := free(noon.Add(time.Second + LiveBound)); got != (schedule.Vector{8000, 8192, 2000}) {
		t.Error("what was seen is too old:", got)
	}
}

// TestAPowerCapHoldsForEveryPoolOfAFacility fills one pool and asks for the
// other, and once more when there is power again.
func TestAPowerCapHoldsForEveryPoolOfAFacility(t *testing.T) {
	c := NewCluster(nil)
	c.SetFacility(&schedule.Facility{ID: "f", State: schedule.Ready, PowerCapW: 200 + 40})
	for _, id := range []string{"p", "q"} {
		if err := c.SetPool(&schedule.Pool{ID: id, Facility: "f", Nodes: []schedule.Node{{ID: "n", CPUMilli: 8000, MemoryMiB: 8192}}}); err != nil {
			t.Fatal(err)
		}
	}
	w := &schedule.Workload{Tasks: []schedule.Task{{Name: "t", Min: 1, Max: 1, P50: time.Hour, P95: time.Hour, Use: schedule.Vector{5000}}}, Gang: schedule.GangAll}
	small := *w
	small.Tasks = []schedule.Task{w.Tasks[0]}
	small.Tasks[0].Use[schedule.CPUMilli] = 1000
	c.Place(&small, noon, nil) // the index knows it while both pools are open
	one := c.Place(w, noon, nil)
	if err := c.Take(one.Assignments); err != nil {
		t.Fatal(err)
	}
	two := c.Place(w, noon, nil)
	if err := c.Take(two.Assignments); err != nil || len(two.Assignments) != 1 {
		t.Fatalf("40 W are for two of 20 W: %v, %v", two.Reasons, err)
	}
	if d := c.Place(&small, noon, nil); len(d.Assignments) != 0 || d.Reasons[0].Code != schedule.PowerCap {
		t.Fatalf("no power is left: %v %v", d.Assignments, d.Reasons)
	}
	beside := small // in the pool where nothing is given back
	beside.Affinity.Pools = []string{one.Assignments[0].Pool}
	if d := c.Place(&beside, noon, nil); len(d.Assignments) != 0 || d.Reasons[0].Code != schedule.PowerCap {
		t.Fatalf("no power is left: %v %v", d.Assignments, d.Reasons)
	}
	if err := c.Give(two.Assignments); err != nil {
		t.Fatal(err)
	}
	if d := c.Place(&beside, noon, nil); len(d.Assignments) != 1 {
		t.Fatalf("another pool gave its power back: %v", d.Reasons)
	}
	for i := range 5 {
		d := c.Place(&small, noon, nil)
		if len(d.Assignments) != 1 {
			t.Fatalf("20 W are free, and 4 W are taken by each of %d: %v", i, d.Reasons)
		}
		if err := c.Take(d.Assignments); err != nil {
			t.Fatal(err)
		}
	}
	if d := c.Place(&small, noon, nil); len(d.Assignments) != 0 {
		t.Fatal("chosen beyond the cap:", d.Assignments)
	}
}
