package ledger

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// story reads the events of a record page by page.
func (h *hub) story(tb testing.TB, id string, limit int) (all []int64) {
	tb.Helper()
	for since, more := int64(0), true; more; {
		var page []schedule.Event
		var err error
		if page, more, err = h.EventsOf(tb.Context(), id, since, limit); err != nil {
			tb.Fatal(err)
		}
		if len(page) == 0 && more || len(page) > limit {
			tb.Fatalf("%d events on a page of %d, and more is %v", len(page), limit, more)
		}
		for _, e := range page {
			all, since = append(all, e.Seq), e.Seq
		}
	}
	return all
}

// TestTheStoryOfAWorkloadIsAllOfItsEvents and no others, through a restart, after
// its end, and page by page.
func TestTheStoryOfAWorkloadIsAllOfItsEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	h := prepare(t, path).run()
	h.declare(t, "f", "p", 2)
	first, other := h.submit(t, at("f", "p", 0, 0, 1)), h.submit(t, at("f", "p", 1, 0, 1))
	h.report(t, first.Grants[0].Token, schedule.Bound)
	h.report(t, other.Grants[0].Token, schedule.Bound, schedule.Queued)
	h.close(t)
	h = open(t, path)
	again := h.Submit(t.Context(), Move{Workload: other.ID, To: schedule.Reserved, Decision: decided(at("f", "p", 1, 0, 1))})[0]
	if again.Err != nil {
		t.Fatal(again.Err)
	}
	h.report(t, first.Grants[0].Token, schedule.Running, schedule.Succeeded)
	h.report(t, again.Receipts[0].Grants[0].Token, schedule.Running)

	of := map[string]string{} // workload by object
	for _, id := range []string{first.ID, other.ID} {
		of[id] = id
	}
	for id, grants := range map[string][]Grant{first.ID: first.Grants, other.ID: slices.Concat(other.Grants, again.Receipts[0].Grants)} {
		for _, g := range grants {
			of[g.Lease] = id
		}
	}
	want := map[string][]int64{}
	all, _, err := h.Events(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		want[of[e.Object]] = append(want[of[e.Object]], e.Seq)
	}
	for _, id := range []string{first.ID, other.ID} {
		for _, limit := range []int{1, 2, 3, 100} {
			if got := h.story(t, id, limit); !slices.Equal(got, want[id]) || len(got) < 6 {
				t.Errorf("%s by %d: %v, want %v", id, limit, got, want[id])
			}
		}
	}
	_, _, err = h.EventsOf(t.Context(), "w-zzz", 0, 10)
	wants(t, err, ErrUnknown)
}

func TestAStoryLeavesOutWhatIsNotKept(t *testing.T) {
	h := small(t, func(c *Config, _ *Deps) { c.MaxEvents = 1000 })
	r := h.submit(t, at("f", "p", 0, 0, 1))
	w := workload("w", 1)
	for range 600 {
		if r := h.Submit(t.Context(), Move{New: &w, To: schedule.Queued})[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	h.report(t, r.Grants[0].Token, schedule.Bound)
	if _, err := h.prune(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.events = newTail(h.last.seq) // what is at hand, as after a restart
	h.mu.Unlock()
	got, more, err := h.EventsOf(t.Context(), r.ID, 0, 100)
	if err != nil || more || len(got) != 2 || got[0].To != string(schedule.Committed) || got[1].To != string(schedule.Bound) {
		t.Errorf("%+v, %v, %v, want the last two", got, more, err)
	}
}

func TestATrailIsBounded(t *testing.T) {
	var tr trail
	for seq := int64(1); seq <= 20_000; seq++ {
		tr = tr.add(seq * 100)
	}
	all := tr.after(0)
	if len(tr) > maxTrail+10 || len(all) < 1000 || all[len(all)-1] != 2_000_000 || all[0] != all[1]-100 {
		t.Errorf("%d bytes, %d numbers from %d to %d", len(tr), len(all), all[0], all[len(all)-1])
	}
}
