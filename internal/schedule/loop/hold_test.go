package loop

import (
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// What comes back to the queue may be equal to what others give way to, and older:
// it is tried before, and would keep that from being tried.
func TestWhatIsOlderTakesThePlaceOfItsEqual(t *testing.T) {
	w := func(id, tenant string, priority int, at time.Duration) *schedule.Workload {
		return &schedule.Workload{ID: id, Tenant: tenant, Priority: priority, Submitted: noon.Add(at)}
	}
	h := &hold{id: "w-2", w: w("w-2", "lab", 10, time.Hour), priority: 10, from: noon, preempts: true, nodes: map[node]bool{{"p", 1}: true}}
	d := &schedule.Decision{Assignments: []schedule.Assignment{{Pool: "p", Slot: 1, End: noon.Add(time.Hour)}}}
	for _, c := range []struct {
		name string
		w    *schedule.Workload
		want bool
	}{
		{"older", w("w-1", "lab", 10, 0), false},
		{"younger", w("w-3", "lab", 10, 2*time.Hour), true},
		{"of another", w("w-1", "shop", 10, 0), true},
		{"lower", w("w-1", "lab", 9, 0), true},
		{"higher", w("w-1", "shop", 11, 0), false},
		{"not submitted yet", w("", "lab", 10, 0), true},
	} {
		if got := h.inTheWay(c.w, d); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
