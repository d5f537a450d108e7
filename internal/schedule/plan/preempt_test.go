package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// rivals are the works of a scenario that hold something, and the shares of
// queues.
type rivals struct {
	works   []Rival
	nominal map[string]schedule.Vector
}

func newRivals() rivals { return rivals{nominal: map[string]schedule.Vector{}} }

func (r *rivals) began(w *schedule.Workload, at time.Time, takenBack int) {
	r.works = append(r.works, Rival{Workload: w, Since: at, TakenBack: takenBack})
}

// preempt says who gives way, and lets them.
func (s *stage) preempt(name string, l line) {
	w := s.workload(name, l)
	queue := func(w *schedule.Workload) string {
		if _, ok := s.nominal[w.Tenant]; ok {
			return w.Tenant
		}
		return ""
	}
	used := map[string]schedule.Vector{}
	var all []Rival
	for _, r := range s.works {
		if r.Parts = s.taken[r.Workload.ID]; len(r.Parts) == 0 {
			continue
		}
		r.Queue = queue(r.Workload)
		for _, p := range r.Parts {
			used[r.Queue] = used[r.Queue].Add(p.Use)
		}
		all = append(all, r)
	}
	claim := Claim{Queue: queue(w), Over: map[string]schedule.Vector{}, Soon: 2 * time.Minute, Spare: 3}
	for q, v := range used {
		claim.Over[q] = v.Sub(s.nominal[q])
	}
	if claim.Queue != "" {
		claim.Reclaims = used[claim.Queue].Add(w.Tasks[0].Need().Times(int64(w.Tasks[0].Min))).Within(s.nominal[claim.Queue])
	}
	p, ok := s.cluster().Clone().Preempt(w, s.now, s.signals, all, claim)
	if !ok {
		s.say("%s nobody gives way", hhmm(s.now))
		return
	}
	if len(p.Victims) == 0 {
		s.say("%s nobody gives way: it waits until %s", hhmm(s.now), hhmm(p.From))
		return
	}
	for _, v := range p.Victims {
		s.say("%s gives way: priority %d, loses %v, which counts %.4f yuan", v.Workload, v.Priority, v.Lost, v.Cost)
		if err := s.cluster().Give(s.taken[v.Workload]); err != nil {
			s.t.Fatal(err)
		}
		delete(s.taken, v.Workload)
		s.works = slices.DeleteFunc(s.works, func(r Rival) bool { return r.Workload.ID == v.Workload })
	}
	if p.From.After(s.now) {
		s.say("and it waits until %s", hhmm(p.From))
		return
	}
	s.decision(p.Decision)
	s.taken[name] = p.Decision.Assignments
	s.began(w, s.now, 0)
	if err := s.cluster().Take(p.Decision.Assignments); err != nil {
		s.t.Fatal(err)
	}
}

// Whatever the rivals: those that give way may, make room, and none of them for
// nothing.
func TestNobodyGivesWayForNothing(t *testing.T) {
	helped := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := NewCluster(nil)
		for f := range 3 {
			id := fmt.Sprint("f", f)
			c.SetFacility(&schedule.Facility{ID: id, Region: "220100", State: schedule.Ready, PUE: schedule.PUE{Constant: 1.2}})
			p := &schedule.Pool{ID: "p" + id, Facility: id, Arch: "amd64", Accelerator: &schedule.Accelerator{Model: "A100", MemoryMiB: 40960, Shareable: true}}
			for n := range 1 + r.IntN(3) {
				p.Nodes = append(p.Nodes, schedule.Node{ID: fmt.Sprint("n", n), CPUMilli: 8000, MemoryMiB: 64000, Accelerators: 2})
			}
			if err := c.SetPool(p); err != nil {
				t.Fatal(err)
			}
		}
		work := func(name string, most int) *schedule.Workload {
			w := &schedule.Workload{ID: name, Priority: r.IntN(4) * 10, Gang: schedule.GangAll, Shape: []schedule.Shape{schedule.AnyShape, schedule.OneFacility, schedule.OnePerFacility}[r.IntN(3)],
				Tasks: []schedule.Task{{Name: "main", Use: schedule.Vector{schedule.CPUMilli: 1000 * (1 + r.Int64N(6)), schedule.MemoryMiB: 1000}, P50: 8 * time.Hour, P95: 8 * time.Hour}}}
			w.Tasks[0].Min = 1 + r.IntN(most)
			w.Tasks[0].Max = w.Tasks[0].Min
			if r.IntN(3) == 0 {
				w.Tasks[0].Accelerators = &schedule.Accelerators{Count: 1, Milli: 250 * (1 + r.Int64N(4))}
			}
			if r.IntN(3) == 0 {
				w.Tasks[0].Interruptible, w.Tasks[0].Checkpoint = true, time.Duration(1+r.IntN(30))*time.Minute
			}
			return w
		}
		now := day.Add(4 * time.Hour)
		var all []Rival
		for i := range 40 {
			w := work(fmt.Sprint("w", i), 3)
			if d := c.Place(w, now, nil); len(d.Assignments) > 0 {
				if err := c.Take(d.Assignments); err != nil {
					t.Fatal(err)
				}
				all = append(all, Rival{Workload: w, Parts: d.Assignments, Since: now.Add(-time.Duration(r.IntN(200)) * time.Minute), Queue: []string{"a", "b"}[r.IntN(2)]})
			}
		}
		w := work("wants", 4)
		w.Priority = 20
		if d := c.Place(w, now, nil); len(d.Assignments) > 0 {
			continue
		}
		claim := Claim{Queue: "a", Over: map[string]schedule.Vector{"b": {schedule.CPUMilli: r.Int64N(9000)}}, Reclaims: r.IntN(2) == 0}
		got, ok := c.Clone().Preempt(w, now, nil, all, claim)
		if !ok {
			continue
		}
		helped++
		for left := range got.Rivals {
			d := c.Clone()
			for n, i := range got.Rivals {
				if n != left {
					give(t, d, all[i].Parts)
				}
			}
			if p := d.Place(w, now, nil); len(p.Assignments) > 0 {
				t.Fatalf("seed %d: %s gives way for nothing", seed, got.Victims[left].Workload)
			}
		}
		over := claim.Over["b"][schedule.CPUMilli]
		for _, i := range got.Rivals {
			v := &all[i]
			if v.Workload.Priority >= w.Priority && (v.Queue == "a" || !claim.Reclaims) {
				t.Fatalf("seed %d: priority %d gives way to %d", seed, v.Workload.Priority, w.Priority)
			}
			if v.Queue == "b" && over <= 0 {
				t.Fatalf("seed %d: more is taken back than was borrowed", seed)
			}
			if v.Queue == "b" {
				for _, p := range v.Parts {
					over -= p.Use[schedule.CPUMilli]
				}
			}
		}
		for _, i := range got.Rivals {
			give(t, c, all[i].Parts)
		}
		if err := c.Take(got.Decision.Assignments); err != nil {
			t.Fatalf("seed %d: what gave way leaves no room: %v", seed, err)
		}
	}
	if helped < 50 {
		t.Errorf("only in %d cases somebody gives way: the test looks at nothing", helped)
	}
}

func give(t *testing.T, c *Cluster, parts []schedule.Assignment) {
	t.Helper()
	if err := c.Give(parts); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkPreempt10kPools finds who gives way in a province where every device
// of one model is in use.
func BenchmarkPreempt10kPools(b *testing.B) {
	c, ws, signals := province(b, 1000)
	var all []Rival
	hold := func(w *schedule.Workload, parts []schedule.Assignment) {
		if err := c.Take(parts); err != nil {
			b.Fatal(err)
		}
		is := *w
		is.ID, is.Priority = fmt.Sprint("w", len(all)), len(all)%50
		all = append(all, Rival{Workload: &is, Parts: parts, Since: noon.Add(-time.Duration(len(all)%1000) * time.Minute)})
	}
	one := &schedule.Workload{Tasks: []schedule.Task{{Name: "w", Min: 1, Max: 1, P50: 9 * time.Hour, P95: 9 * time.Hour,
		Use: schedule.Vector{schedule.CPUMilli: 8000, schedule.MemoryMiB: 8192}, Accelerators: &schedule.Accelerators{Count: 1, Milli: 1000, Models: []string{"A100"}}}}}
	for {
		d := c.Place(one, noon, signals)
		if len(d.Assignments) == 0 {
			break
		}
		hold(one, d.Assignments)
	}
	for i := range 40_000 {
		if d := c.Place(ws[i%len(ws)], noon, signals); len(d.Assignments) > 0 {
			hold(ws[i%len(ws)], d.Assignments)
		}
	}
	for _, members := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			w := *one
			w.Priority, w.Gang = 100, schedule.GangAll
			w.Tasks = slices.Clone(one.Tasks)
			w.Tasks[0].Min, w.Tasks[0].Max = members, members
			w.Tasks[0].Accelerators = &schedule.Accelerators{Count: 4, Milli: 1000, Models: []string{"A100"}}
			start := used()
			for b.Loop() {
				p, ok := c.Clone().Preempt(&w, noon, signals, all, Claim{})
				if !ok || len(p.Victims) == 0 {
					b.Fatal("nobody gives way")
				}
				b.ReportMetric(float64(len(p.Victims)), "victims")
			}
			perOp(b, start)
			b.ReportMetric(float64(len(all)), "rivals")
		})
	}
}
