package local

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb"
)

// Late points of many days end in a few long blocks, whether the store was killed
// in between, which has the log read anew, or not. Blocks of out-of-order points
// that are ahead of the head lie beside them and hold nothing up.
func TestLateBlocksOfManyDaysAreMergedAlsoAfterAKill(t *testing.T) {
	const days, most = 36, 15 // ranges of 27 days, and shorter ones towards the end
	for _, kills := range []int{0, 1} {
		t.Run(fmt.Sprint(kills, " kills"), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.take("probe-0", value{0, 1})
			var all []value
			for d := days; d > 0; d-- {
				all = append(all, value{-32*day - time.Duration(d)*day, float64(d)})
			}
			devices := []string{"probe-1", "probe-2"} // the first in order, the second behind it
			for _, d := range devices {
				s.take(d, all...)
			}
			step := func(do func(*tsdb.DB) error) {
				t.Helper()
				if err := do(s.late.Load().db); err != nil {
					t.Fatal(err)
				}
			}
			settle := func(db *tsdb.DB) error { return db.CompactOOOHead(t.Context()) }
			compact := func(db *tsdb.DB) error { return db.Compact(t.Context()) }
			if kills > 0 {
				s.kill()
			}
			step(settle)
			step(compact)
			step(compact)
			n := len(s.late.Load().db.Blocks())
			if t.Logf("%d blocks", n); n > most {
				t.Errorf("%d blocks of %d days are left, want at most %d", n, days, most)
			}
			s.kill()
			for _, d := range devices {
				s.holds(d, all...)
			}
		})
	}
}

// A block that is ahead of the head is merged with its like and keeps its mark, so
// that a replay leaves nothing out of what the log alone has.
func TestBlocksAheadOfTheHeadAreMergedAmongThemselves(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.now = s.now.Truncate(2 * time.Hour).Add(-20 * time.Minute) // the last half hour is of one block
	ctx := context.Background()
	s.take("probe", value{0, 1})
	s.take("probe", hours(12)...)
	if err := errors.Join(s.recent.db.Compact(ctx), s.recent.db.CompactOOOHead(ctx), s.recent.db.Compact(ctx)); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		s.take("probe", value{-30*time.Minute - time.Second, 7}, value{-time.Duration(i+1)*time.Minute - time.Second, 8})
		if err := s.recent.db.CompactOOOHead(ctx); err != nil {
			t.Fatal(err)
		}
	}
	marked := func() (n int) {
		for _, b := range s.recent.db.Blocks() {
			m := b.Meta()
			if m.Compaction.FromOutOfOrder() {
				n++
			}
			if m.Compaction.FromSelectedSeries() {
				t.Errorf("block %s is said to be of chosen series", m.ULID)
			}
		}
		return n
	}
	before := marked()
	if err := s.recent.db.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if after := marked(); after == 0 || after >= before {
		t.Errorf("of %d blocks ahead of the head %d are left", before, after)
	}
	for range 2 {
		if n, want := len(s.stored("probe")), 12*60+1+3; n != want {
			t.Errorf("%d values are stored, want %d", n, want)
		}
		s.kill()
	}
}
