package ledger

import (
	"testing"

	"github.com/songhua-io/hub/internal/schedule"
)

func TestEventsAtHandAreGivenInOrderAcrossCommits(t *testing.T) {
	tail, seq := newTail(0), int64(0)
	commit := func(n int) {
		var all []schedule.Event
		for range n {
			seq++
			all = append(all, schedule.Event{Seq: seq})
		}
		tail.add(all)
	}
	for _, n := range []int{1, 3, 2, 5} {
		commit(n)
	}
	for since := range seq {
		for limit := 1; limit <= int(seq)+1; limit++ {
			got, ok := tail.after(since, limit)
			if want := min(limit, int(seq-since)); !ok || len(got) != want {
				t.Fatalf("after %d, at most %d: %d events, want %d", since, limit, len(got), want)
			}
			for i, e := range got {
				if e.Seq != since+1+int64(i) {
					t.Fatalf("after %d, at most %d: event %d is %d", since, limit, i, e.Seq)
				}
			}
		}
	}
	for range 100 {
		commit(eventsInMemory / 50)
	}
	if len(tail.ring) != eventsInMemory {
		t.Errorf("%d events are at hand, want %d", len(tail.ring), eventsInMemory)
	}
	if _, ok := tail.after(0, 10); ok {
		t.Error("events that went are at hand")
	}
	oldest := seq - eventsInMemory
	if got, ok := tail.after(oldest, eventsInMemory+1); !ok || len(got) != eventsInMemory || got[0].Seq != oldest+1 || got[eventsInMemory-1].Seq != seq {
		t.Errorf("from the oldest at hand: %d events, %v", len(got), ok)
	}
	if _, ok := tail.after(oldest-1, 1); ok {
		t.Error("the newest event that went is at hand")
	}
}
