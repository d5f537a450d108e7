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
	if tail.held < eventsInMemory || tail.held > 2*eventsInMemory {
		t.Errorf("%d events are at hand, want about %d", tail.held, eventsInMemory)
	}
	if _, ok := tail.after(0, 10); ok {
		t.Error("events that went are at hand")
	}
	if got, ok := tail.after(seq-int64(tail.held), 1); !ok || got[0].Seq != seq-int64(tail.held)+1 {
		t.Errorf("the oldest at hand: %v, %v", got, ok)
	}
}
