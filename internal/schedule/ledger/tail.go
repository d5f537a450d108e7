package ledger

import "github.com/songhua-io/hub/internal/schedule"

// eventsInMemory is how many events are at hand for those who watch.
const eventsInMemory = 1 << 14

// tail is the newest events that are on disk. Their numbers follow one another.
type tail struct {
	oldest int64 // on disk
	last   int64
	before int64            // the number before the first that ever was at hand
	ring   []schedule.Event // at hand, by number
	more   chan struct{}    // closes when there are more
	ended  bool
}

func newTail(last int64) tail {
	return tail{oldest: last + 1, last: last, before: last, more: make(chan struct{})}
}

// add takes events of one commit, and keeps nothing of the slice.
func (t *tail) add(events []schedule.Event) {
	if len(events) == 0 {
		return
	}
	if t.ring == nil {
		t.ring = make([]schedule.Event, 0, eventsInMemory)
	}
	for i := range events {
		if len(t.ring) < eventsInMemory {
			t.ring = append(t.ring, events[i])
		} else {
			*t.at(events[i].Seq) = events[i]
		}
	}
	t.last = events[len(events)-1].Seq
	close(t.more)
	t.more = make(chan struct{})
}

// at is where the event of a number is, once there are as many as are kept.
func (t *tail) at(seq int64) *schedule.Event {
	return &t.ring[(seq-t.before-1)%eventsInMemory]
}

// after returns events after a sequence number, at most limit; false when they
// are not at hand.
func (t *tail) after(since int64, limit int) (some []schedule.Event, ok bool) {
	if since < t.last-int64(len(t.ring)) || len(t.ring) == 0 {
		return nil, false
	}
	n := min(int64(limit), max(0, t.last-since))
	some = make([]schedule.Event, n)
	for i := range some {
		some[i] = *t.at(since + 1 + int64(i))
	}
	return some, true
}

func (t *tail) end() {
	if !t.ended {
		t.ended = true
		close(t.more)
	}
}
