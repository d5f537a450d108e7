package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb"

	"github.com/songhua-io/hub/internal/telemetry"
)

// TestLateDataWhileItsPartIsCompacted commits samples of many series and ages on
// both sides of the window, mixed in one commit, while both parts are compacted and read: what
// was committed is there at once and at all times, and after a kill.
func TestLateDataWhileItsPartIsCompacted(t *testing.T) {
	s := newSite(t)
	rng := rand.New(rand.NewPCG(7, 7))
	devices := make([]string, 12)
	want := make([][]value, len(devices))
	for i := range devices {
		devices[i] = fmt.Sprintf("probe-%d", i)
		if i%3 != 0 { // the others have history alone
			want[i] = []value{{0, 1}}
			s.take(devices[i], want[i]...)
		}
	}
	s.take("live", value{0, 1})

	// Beside every round both parts are compacted and read once: what was read
	// stays, whatever is compacted.
	beside := func() (wait func()) {
		var all sync.WaitGroup
		var failed error
		all.Go(func() {
			for _, p := range []*part{s.late.Load(), s.recent} {
				if p != nil {
					s.compact(t.Context(), p, func(db *tsdb.DB, ctx context.Context) error {
						failed = errors.Join(db.Compact(ctx), db.CompactOOOHead(ctx))
						return nil
					})
				}
			}
		})
		had := len(want[0])
		all.Go(func() {
			got := s.stored(devices[0])
			if len(got) < had || !slices.IsSortedFunc(got, func(a, b value) int { return cmp.Compare(a.At, b.At) }) {
				t.Errorf("%d values of %s, %d before", len(got), devices[0], had)
			}
		})
		return func() {
			all.Wait()
			if failed != nil {
				t.Error(failed)
			}
		}
	}

	days := []time.Duration{0, 31, 33} // back: a compaction takes a step for each block between
	for round := range 6 {
		wait := beside()
		w := &telemetry.Write{}
		touched := map[int]bool{}
		for range 30 {
			i := rng.IntN(len(devices))
			// Each at a time of its own, to the second and the round.
			age := days[rng.IntN(len(days))]*day + time.Duration(1+rng.IntN(3600))*time.Second + time.Duration(round)*time.Millisecond
			v := value{-age, rng.Float64()}
			if slices.ContainsFunc(want[i], func(w value) bool { return w.At == v.At }) {
				continue
			}
			want[i], touched[i] = append(want[i], v), true
			w.Points = append(w.Points, s.write(devices[i], v).Points...)
		}
		for again := range 2 { // and once more
			if err := s.Commit([]*telemetry.Write{w}); err != nil {
				t.Fatal(err)
			}
			if len(w.Refused) > 0 || again == 1 && len(w.Repeated) != len(w.Points) {
				t.Fatalf("round %d: %d refused, %d of %d known", round, len(w.Refused), len(w.Repeated), len(w.Points))
			}
		}
		for i := range touched {
			if got := len(s.stored(devices[i])); got != len(want[i]) {
				t.Fatalf("round %d: %s has %d values, want %d", round, devices[i], got, len(want[i]))
			}
		}
		wait()
		if round%3 == 2 {
			s.kill()
		}
	}
	for i, d := range devices {
		slices.SortFunc(want[i], func(a, b value) int { return cmp.Compare(a.At, b.At) })
		s.holds(d, want[i]...)
		w := s.write(d, value{want[i][0].At, -1})
		if err := s.Commit([]*telemetry.Write{w}); err != nil || len(w.Refused) != 1 {
			t.Errorf("another value of the oldest sample of %s: %v %v", d, w.Refused, err)
		}
	}
}
