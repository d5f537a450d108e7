package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prometheus/prometheus/tsdb"

	"github.com/songhua-io/hub/internal/telemetry"
)

// ages of late points: beyond the window of 30 days, within the 400 kept.
var ages = []time.Duration{31 * day, 100 * day, 399 * day, 200 * day, 31*day + time.Second, 250 * day}

func TestLatePointsInAnyOrderSurviveKills(t *testing.T) {
	orders := [][]int{{0, 1, 2, 3, 4, 5}, {2, 5, 3, 1, 4, 0}, {3, 2, 0, 5, 1, 4}}
	for _, order := range orders {
		s := newSite(t)
		s.take("probe", value{0, 1})
		want := []value{{-399 * day, 399}, {-250 * day, 250}, {-200 * day, 200}, {-100 * day, 100}, {-31*day - time.Second, 31}, {-31 * day, 31}, {0, 1}}
		for i, at := range order {
			age := ages[at]
			s.take("probe", value{-age, float64(age / day)})
			if i%2 == 1 {
				s.kill()
			}
		}
		s.holds("probe", want...)
		s.take("probe", want...)
		s.kill()
		s.holds("probe", want...)
		if err := s.late.Load().db.CompactOOOHead(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.take("probe", want...) // known from blocks too
		s.holds("probe", want...)
		w := s.write("probe", value{-100 * day, 7}, value{-99 * day, 99})
		if err := s.Commit([]*telemetry.Write{w}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]telemetry.Refusal{{Index: 0, Reason: telemetry.ReasonConflict}}, w.Refused); diff != "" {
			t.Errorf("refused points differ (-want +got):\n%s", diff)
		}
		s.kill()
		if got := len(s.stored("probe")); got != len(want)+1 {
			t.Errorf("%d values are stored, want %d", got, len(want)+1)
		}
	}
}

func TestLatePartOpensOnlyWhenNeeded(t *testing.T) {
	s := newSite(t)
	s.take("probe", value{0, 1}, value{-29 * day, 2})
	if exists(s.lateDir()) {
		t.Fatal("a late part exists without late points")
	}
	s.take("probe", value{-31 * day, 3})
	if !exists(s.lateDir()) {
		t.Fatal("no late part exists after a late point")
	}
	s.kill()
	if s.late.Load() == nil {
		t.Fatal("the late part is not opened at the start")
	}
	s.holds("probe", value{-31 * day, 3}, value{-29 * day, 2}, value{0, 1})
}

// A store may begin with history: the first sample it ever sees is old.
func TestHistoryBeforeTheFirstLiveSample(t *testing.T) {
	s := newSite(t)
	s.take("probe", value{-100 * day, 1})
	s.take("probe", value{-99 * day, 2}, value{-150 * day, 3})
	s.take("probe", value{0, 4})
	s.take("probe", value{-60 * day, 5}, value{-2 * day, 6})
	want := []value{{-150 * day, 3}, {-100 * day, 1}, {-99 * day, 2}, {-60 * day, 5}, {-2 * day, 6}, {0, 4}}
	s.holds("probe", want...)
	if err := s.recent.db.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.holds("probe", want...)
	s.kill()
	s.holds("probe", want...)
	s.take("probe", want...)
	s.holds("probe", want...)
}

func TestManyLatePointsOfManySeries(t *testing.T) {
	s := newSite(t)
	rng := rand.New(rand.NewPCG(1, 1))
	devices := []string{"probe-1", "probe-2", "probe-3"}
	want := map[string][]value{}
	for _, d := range devices {
		s.take(d, value{0, 1})
		for h := 399 * 24; h > 31*24; h -= 7 {
			want[d] = append(want[d], value{-time.Duration(h) * time.Hour, float64(h)})
		}
	}
	for _, d := range devices {
		shuffled := append([]value(nil), want[d]...)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for len(shuffled) > 0 {
			n := min(len(shuffled), 1+rng.IntN(200))
			s.take(d, shuffled[:n]...)
			shuffled = shuffled[n:]
		}
	}
	check := func() {
		t.Helper()
		for _, d := range devices {
			s.holds(d, append(want[d], value{0, 1})...)
		}
	}
	check()
	late := s.late.Load().db
	if err := errors.Join(late.Compact(context.Background()), late.CompactOOOHead(context.Background()), late.Compact(context.Background())); err != nil {
		t.Fatal(err)
	}
	check()
	s.kill()
	check()
	if blocks, err := subfolders(s.lateDir(), func(n string) bool { return len(n) == 26 }); err != nil || len(blocks) == 0 {
		t.Errorf("no blocks of late data: %v", err)
	}
}

func TestPointsKnownFromBlocksAreNotStoredAgain(t *testing.T) {
	s := newSite(t)
	day := hours(24)
	s.take("probe", day[0])
	s.take("probe", day...)
	if err := s.recent.db.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(s.recent.db.Blocks()) == 0 {
		t.Fatal("nothing was compacted")
	}
	s.take("probe", day...)
	w := s.write("probe", day[3], value{day[5].At, -1}, value{day[1400].At, -1})
	if err := s.Commit([]*telemetry.Write{w}); err != nil {
		t.Fatal(err)
	}
	want := []telemetry.Refusal{{Index: 1, Reason: telemetry.ReasonConflict}, {Index: 2, Reason: telemetry.ReasonConflict}}
	if diff := cmp.Diff(want, w.Refused); diff != "" {
		t.Errorf("refused points differ (-want +got):\n%s", diff)
	}
	if s.recent.db.Head().MinOOOTime() <= s.recent.db.Head().MaxOOOTime() {
		t.Error("redelivered points went to the out-of-order log")
	}
	s.kill()
	s.holds("probe", day...)
}

func TestLookUpsDuringACompaction(t *testing.T) {
	s := newSite(t)
	day := hours(12)
	s.take("probe", day[0])
	s.take("probe", day...)
	s.take("probe", value{-11*time.Hour - 30*time.Second, 5})
	s.setCompacting(true)
	s.take("probe", day...)
	w := s.write("probe", value{day[700].At, -1}, value{-11*time.Hour - 30*time.Second, 6})
	if err := s.Commit([]*telemetry.Write{w}); err != nil {
		t.Fatal(err)
	}
	if len(w.Refused) != 2 {
		t.Errorf("refused %v, want both", w.Refused)
	}
	s.setCompacting(false)
}

// Blocks begin at even hours, so what compactions meet depends on the time of
// day: the same story is told at four of them.
func TestCommitsQueriesAndCompactionsSideBySide(t *testing.T) {
	for quarter := range 4 {
		t.Run(fmt.Sprintf("%d minutes earlier", quarter*30), func(t *testing.T) {
			s := newSite(t)
			s.now = s.now.Add(-time.Duration(quarter) * 30 * time.Minute)
			commitQueryAndCompact(t, s)
		})
	}
}

func commitQueryAndCompact(t *testing.T, s *site) {
	t.Helper()
	stop := make(chan struct{})
	compactions := make(chan error)
	go func() {
		var err error
		for {
			select {
			case <-stop:
				compactions <- err
				return
			default:
				s.compact(context.Background(), s.recent, func(db *tsdb.DB, ctx context.Context) error {
					err = errors.Join(err, db.Compact(ctx), db.CompactOOOHead(ctx))
					return nil
				})
			}
		}
	}()
	var want []value
	for h := range 48 {
		for m := range 60 {
			want = append(want, value{time.Duration(h*60+m-48*60) * time.Minute, float64(m)})
		}
		batch := want[h*60:]
		s.take("probe", batch[30:]...)
		s.take("probe", batch...) // the first half is behind, the second known
		if got := len(s.stored("probe")); got != len(want) {
			t.Fatalf("%d values are stored after hour %d, want %d", got, h, len(want))
		}
	}
	close(stop)
	if err := <-compactions; err != nil {
		t.Error(err)
	}
	s.holds("probe", want...)
	s.kill()
	s.holds("probe", want...)
}

func TestRetentionRemovesOldBlocksOfBothParts(t *testing.T) {
	s := newSite(t)
	s.take("probe", value{0, 1})
	s.take("probe", value{-390 * day, 2}, value{-50 * day, 3})
	late := s.late.Load().db
	if err := late.CompactOOOHead(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.take("probe", value{40 * day, 4}) // time passes
	for _, p := range []*part{s.recent, s.late.Load()} {
		if err := errors.Join(p.db.Compact(context.Background()), p.db.CompactOOOHead(context.Background())); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.open()
	s.holds("probe", value{-50 * day, 3}, value{0, 1}, value{40 * day, 4})
}

func TestLeftoversOfACrashAreRemoved(t *testing.T) {
	s := newSite(t)
	s.take("probe", value{0, 1})
	for _, name := range []string{"01ARZ3NDEKTSV4RRFFQ69G5FAV.tmp-for-creation", "wal/checkpoint.00000003.tmp"} {
		if err := os.MkdirAll(filepath.Join(s.dir, name), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	s.kill()
	s.holds("probe", value{0, 1})
}
