package local

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

// weekly are samples of a series, one a week for a year before the window.
func weekly(series int) (all []value) {
	for w := 53; w > 4; w-- {
		all = append(all, value{-time.Duration(w)*7*day - time.Duration(series)*100*time.Minute, float64(w)})
	}
	return all
}

// Late points that are spread over a year are settled by about as many blocks as
// there are long ranges, not one for every day between the first and the last; all
// of them are read afterwards, and after a kill.
func TestPointsFarApartAreSettledTogether(t *testing.T) {
	const series, most = 60, 40 // 14 ranges of 27 days, one of them in days
	s := newSite(t)
	s.take("probe", value{0, 1})
	for i := range series {
		s.take(fmt.Sprintf("probe-%d", i), weekly(i)...)
	}
	late := s.late.Load()
	written, err := late.metrics.counter("prometheus_tsdb_compactions_total") // empty ones count
	if err != nil {
		t.Fatal(err)
	}
	settle := func() float64 {
		t.Helper()
		before := written()
		if err := late.db.CompactOOOHead(context.Background()); err != nil {
			t.Fatal(err)
		}
		return written() - before
	}
	if n := settle(); n > most {
		t.Errorf("%v blocks were written, want at most %d", n, most)
	}
	check := func(more ...value) {
		t.Helper()
		for i := range series {
			s.holds(fmt.Sprintf("probe-%d", i), append(more, weekly(i)...)...)
		}
	}
	check()
	if err := late.db.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	check()
	old := value{-399 * day, 7} // again, before what is settled, and up to its middle
	for i := range series {
		s.take(fmt.Sprintf("probe-%d", i), old, value{-200 * day, 8})
	}
	if n := settle(); n > most/2 {
		t.Errorf("%v blocks were written, want at most %d", n, most/2)
	}
	both := func() {
		t.Helper()
		for i := range series {
			if n := len(s.stored(fmt.Sprintf("probe-%d", i))); n != len(weekly(i))+2 {
				t.Errorf("%d values of series %d are stored", n, i)
			}
		}
	}
	both()
	s.kill()
	both()
}

// asked notes the ranges of blocks that it is asked to write, and fails the one
// with a number.
type asked struct {
	tsdb.Compactor
	ranges [][2]int64 // days
	fails  int
}

func (a *asked) Write(_ string, _ tsdb.BlockReader, mint, maxt int64, _ *tsdb.BlockMeta) ([]ulid.ULID, error) {
	a.ranges = append(a.ranges, [2]int64{mint / day.Milliseconds(), maxt / day.Milliseconds()})
	if len(a.ranges) == a.fails {
		return nil, errors.New("the disk failed")
	}
	return nil, nil
}

// Every day of a pass is in one of the blocks, whatever passes there were before.
func TestAPassLeavesNothingOut(t *testing.T) {
	s := newSite(t)
	s.take("probe", value{0, 1})
	s.take("probe", value{-100 * day, 1})
	s.take("probe", value{-300 * day, 2})
	points, err := tsdb.NewOOOCompactionHead(t.Context(), s.late.Load().db.Head())
	if err != nil {
		t.Fatal(err)
	}
	inner := &asked{}
	c := &spread{Compactor: inner, width: 27 * day.Milliseconds(), ahead: func(end int64) bool { return end > 108*day.Milliseconds() }}
	pass := func(from, to int64) [][2]int64 {
		inner.ranges = nil
		for d := from; d < to; d++ {
			if _, err := c.Write("", points.CloneForTimeRange(d*day.Milliseconds(), (d+1)*day.Milliseconds()-1), d*day.Milliseconds(), (d+1)*day.Milliseconds(), &tsdb.BlockMeta{}); err != nil {
				break
			}
		}
		return inner.ranges
	}
	whole := [][2]int64{{50, 54}, {54, 81}, {81, 108}, {108, 109}, {109, 110}}
	for range 2 { // what failed after a pass has it done again
		if diff := cmp.Diff(whole, pass(50, 110)); diff != "" {
			t.Error(diff)
		}
	}
	inner.fails = 2
	if diff := cmp.Diff(whole[:2], pass(50, 110)); diff != "" {
		t.Error(diff)
	}
	inner.fails = 0
	if diff := cmp.Diff(whole, pass(50, 110)); diff != "" {
		t.Error(diff)
	}
	for range 2 { // a range that is one day
		if diff := cmp.Diff([][2]int64{{60, 81}}, pass(60, 61)); diff != "" {
			t.Error(diff)
		}
	}
}
