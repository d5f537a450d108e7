package queue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/schedule"
)

var day = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)

func waiting(id, tenant string, priority, minute int, cpu int64) *schedule.Workload {
	return &schedule.Workload{ID: id, Tenant: tenant, Priority: priority, Submitted: day.Add(time.Duration(minute) * time.Minute),
		Tasks: []schedule.Task{{Name: "main", Min: 1, Max: 1, Use: schedule.Vector{schedule.CPUMilli: cpu}}}}
}

// served walks a queue that everything leaves that fits, and lists what was tried.
func served(q *Queue, share func(string) float64, fits func(*schedule.Workload) bool) (tried []string) {
	q.Walk(share, func(w *schedule.Workload) Outcome {
		if fits(w) {
			tried = append(tried, "+"+w.ID)
			return Left
		}
		tried = append(tried, "-"+w.ID)
		return Stays
	})
	return tried
}

func equal(string) float64 { return 0 }

func TestPriorityThenAge(t *testing.T) {
	q := New()
	q.Add(waiting("b", "x", 1, 2, 10))
	q.Add(waiting("a", "x", 1, 1, 20))
	q.Add(waiting("c", "x", 9, 3, 30))
	got := served(q, equal, func(*schedule.Workload) bool { return true })
	if d := cmp.Diff([]string{"+c", "+a", "+b"}, got); d != "" || q.Len() != 0 {
		t.Error(d)
	}
}

func TestTheTenantWithTheLeastShareComesFirst(t *testing.T) {
	q := New()
	for i := range 3 {
		q.Add(waiting(fmt.Sprint("x", i), "x", 1, i, 10))
		q.Add(waiting(fmt.Sprint("y", i), "y", 1, i+10, 10))
	}
	used := map[string]float64{"x": 1.5}
	got := served(q, func(t string) float64 { return used[t] }, func(w *schedule.Workload) bool {
		used[w.Tenant]++
		return true
	})
	if d := cmp.Diff([]string{"+y0", "+y1", "+x0", "+y2", "+x1", "+x2"}, got); d != "" {
		t.Error(d)
	}
}

// TestEqualsOfWhatDoesNotFitAreNotAsked lets smaller work pass a large one, and
// does not ask a thousand large ones.
func TestEqualsOfWhatDoesNotFitAreNotAsked(t *testing.T) {
	q := New()
	for i := range 1000 {
		q.Add(waiting(fmt.Sprint("large", i), "x", 1, i, 100))
	}
	q.Add(waiting("small", "x", 1, 2000, 1))
	fits := func(w *schedule.Workload) bool { return w.Tasks[0].Use[schedule.CPUMilli] == 1 }
	if d := cmp.Diff([]string{"-large0", "+small"}, served(q, equal, fits)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"-large0"}, served(q, equal, fits)); d != "" {
		t.Error("asked again:", d)
	}
}

func TestOneThatComesBackHasItsOldPlace(t *testing.T) {
	q := New()
	q.Add(waiting("b", "x", 1, 2, 10))
	q.Add(waiting("a", "x", 1, 1, 10))
	if d := cmp.Diff([]string{"-a"}, served(q, equal, func(*schedule.Workload) bool { return false })); d != "" {
		t.Error(d)
	}
}

// TestAQueueIsAList compares with a list that is searched.
func TestAQueueIsAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := New()
		var list []*schedule.Workload
		for step := range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "do") {
			case 0, 1:
				w := waiting(fmt.Sprint(step), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "tenant"), rapid.IntRange(0, 2).Draw(t, "priority"),
					step, rapid.Int64Range(1, 3).Draw(t, "cpu"))
				q.Add(w)
				list = append(list, w)
			case 2:
				if len(list) > 0 {
					n := rapid.IntRange(0, len(list)-1).Draw(t, "remove")
					if !q.Remove(list[n].ID) || q.Remove(list[n].ID) {
						t.Fatal("removed twice, or never")
					}
					list = slices.Delete(list, n, n+1)
				}
			case 3:
				free := rapid.Int64Range(0, 3).Draw(t, "free")
				tried := served(q, equal, func(w *schedule.Workload) bool { return w.Tasks[0].Use[schedule.CPUMilli] <= free })
				list = slices.DeleteFunc(list, func(w *schedule.Workload) bool { return w.Tasks[0].Use[schedule.CPUMilli] <= free })
				if len(tried) > 300 {
					t.Fatal("tried for ever")
				}
			}
			if q.Len() != len(list) {
				t.Fatalf("%d wait, want %d", q.Len(), len(list))
			}
			for _, w := range list {
				ahead := 0
				for _, o := range list {
					if o.Priority > w.Priority || o.Priority == w.Priority && o.Submitted.Before(w.Submitted) {
						ahead++
					}
				}
				if rank, ok := q.Rank(w.ID); !ok || rank != ahead {
					t.Fatalf("%s has rank %d, want %d", w.ID, rank, ahead)
				}
			}
		}
		tried := served(q, equal, func(*schedule.Workload) bool { return true })
		slices.SortStableFunc(list, func(a, b *schedule.Workload) int {
			if a.Priority != b.Priority {
				return b.Priority - a.Priority
			}
			return a.Submitted.Compare(b.Submitted)
		})
		for i, w := range list {
			if tried[i] != "+"+w.ID {
				t.Fatalf("%v, want %s at %d", tried, w.ID, i)
			}
		}
	})
}

func BenchmarkAddWalkRemove(b *testing.B) {
	q := New()
	for i := range 100_000 {
		q.Add(waiting(fmt.Sprint("w", i), fmt.Sprint("t", i%20), i%5, i, int64(i%50)))
	}
	b.ResetTimer()
	for i := range b.N {
		w := waiting(fmt.Sprint("n", i), "t1", 4, 200_000+i, 7)
		q.Add(w)
		q.Rank(w.ID)
		q.Remove(w.ID)
	}
}
