package optimise

import (
	"math"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

func TestTheSameProblemHasTheSameSolution(t *testing.T) {
	s := shape{jobs: 100, places: 10, slots: 48, load: 0.9}
	if a, b := Solve(instance(3, s), Limits{}), Solve(instance(3, s), Limits{}); !reflect.DeepEqual(a, b) {
		t.Errorf("%v and %v, or their choices differ", a.Cost, b.Cost)
	}
}

func TestItStopsWhenItIsTold(t *testing.T) {
	p := instance(3, shape{jobs: 100, places: 10, slots: 48, load: 0.9})
	got := Solve(p, Limits{Stop: func() bool { return true }})
	if cost := examine(t, p, &got); got.Bound > cost || got.Bound <= 0 {
		t.Errorf("bound %v, cost %v", got.Bound, cost)
	}
}

// two is a place with room for one job in each of four slots, of which the second
// costs least.
func two(count int) *Problem {
	p := &Problem{Slots: 4, Places: []Place{{Room: slices.Repeat([]schedule.Vector{{1000}}, 4)}}}
	p.Classes = []Class{{Count: count, Use: schedule.Vector{1000}, Wait: 100, Options: []Option{{Length: 1, Cost: []float64{3, 1, 4, 9}}}}}
	return p
}

func TestWhatIsShortHasAPrice(t *testing.T) {
	got := Solve(two(3), Limits{})
	if got.Cost != 8 || got.Bound > 8 || got.Bound < 7.9 {
		t.Errorf("cost %v and bound %v, want 8 = 1 + 3 + 4", got.Cost, got.Bound)
	}
	// Another job would cost 9: the slot for 1 is worth 3 to 8 more.
	if yuan := got.Prices[0][1][schedule.CPUMilli] * 1000; yuan < 2.9 || yuan > 8.1 {
		t.Errorf("the cheapest slot is worth %v yuan, want 3 to 8", yuan)
	}
	if yuan := got.Prices[0][3][schedule.CPUMilli]; yuan != 0 {
		t.Errorf("a slot that nobody uses is worth %v", yuan)
	}
}

func TestWhatFitsNowhereWaits(t *testing.T) {
	got := Solve(two(6), Limits{})
	if got.Cost != 17+200 || got.Gap > 0.01 {
		t.Errorf("cost %v, gap %v; want 1 + 3 + 4 + 9 and two that wait", got.Cost, got.Gap)
	}
	p := two(1)
	p.Places[0].Room = slices.Repeat([]schedule.Vector{{999}}, 4)
	p.Trim()
	if got := Solve(p, Limits{}); got.Cost != 100 || got.Bound != 100 {
		t.Errorf("cost %v and bound %v of what fits nowhere, want 100", got.Cost, got.Bound)
	}
}

func TestAnEmptyProblemCostsNothing(t *testing.T) {
	if got := Solve(&Problem{}, Limits{}); got.Cost != 0 || got.Bound != 0 || got.Gap != 0 {
		t.Errorf("%+v", got)
	}
}

// cpu is what the process has used of its processors.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkOptimise1000x100x96 is 1,000 jobs, 100 facilities and a day in
// quarters of an hour, 24 seeds with loads of 60 to 95 % (lumps: 50 to 70 %). An
// operation is all of them. The budget is a second of the processor, so that work
// of others beside it does not count.
func BenchmarkOptimise1000x100x96(b *testing.B) {
	for _, lumps := range []bool{false, true} {
		b.Run(map[bool]string{false: "usual", true: "lumps"}[lumps], func(b *testing.B) {
			var gaps, wall, used []float64
			for b.Loop() {
				gaps, wall, used = nil, nil, nil
				for seed := range uint64(24) {
					load := 0.6 + 0.35*float64(seed)/23
					if lumps {
						load = 0.5 + 0.2*float64(seed)/23
					}
					p := instance(1000+seed, shape{1000, 100, 96, load, lumps}) // seeds that nothing was tuned on
					at, from := time.Now(), cpu()
					got := Solve(p, Limits{Stop: func() bool { return cpu()-from > 950*time.Millisecond }})
					wall, used = append(wall, time.Since(at).Seconds()), append(used, (cpu()-from).Seconds())
					examine(b, p, &got)
					gaps = append(gaps, 100*got.Gap)
					b.Logf("seed %d, load %.3f: bound %.2f, gap %.3f %%, %.2f s, %.2f s of a processor", seed, load, got.Bound, 100*got.Gap, wall[len(wall)-1], used[len(used)-1])
				}
			}
			for _, x := range []struct {
				name string
				of   []float64
			}{{"gap-%", gaps}, {"s", wall}, {"cpu-s", used}} {
				slices.Sort(x.of)
				b.ReportMetric(x.of[len(x.of)/2], "median-"+x.name)
				b.ReportMetric(x.of[int(math.Ceil(0.95*float64(len(x.of))))-1], "p95-"+x.name)
			}
		})
	}
}
