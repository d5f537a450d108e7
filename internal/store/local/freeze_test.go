package local

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb"
)

func TestAFreezeHoldsWhatWasCommittedBefore(t *testing.T) {
	s := newSite(t)
	stop, compactions := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for {
			select {
			case <-stop:
				compactions <- err
				return
			default:
				for _, p := range []*part{s.recent, s.late.Load()} {
					if p != nil {
						s.compact(context.Background(), p, func(db *tsdb.DB, ctx context.Context) error {
							err = errors.Join(err, db.Compact(ctx), db.CompactOOOHead(ctx))
							return nil
						})
					}
				}
			}
		}
	}()
	frozen := map[string][]value{}
	var all, late []value
	for h := range 24 {
		batch := hours(24)[h*60 : (h+1)*60]
		s.take("probe", batch...)
		all = append(all, batch...)
		old := value{time.Duration(h)*time.Hour - 60*24*time.Hour, float64(h)}
		s.take("late", old)
		late = append(late, old)
		if h%4 == 3 {
			into := filepath.Join(s.TempDir(), strconv.Itoa(h))
			if err := s.Freeze(t.Context(), into); err != nil {
				t.Fatal(err)
			}
			frozen[into] = all[:len(all):len(all)]
		}
	}
	close(stop)
	if err := <-compactions; err != nil {
		t.Error(err)
	}
	for into, want := range frozen {
		if err := Verify(t.Context(), into, func(f Finding) { t.Errorf("%s: %s", into, f) }); err != nil {
			t.Error(err)
		}
		back := &site{T: t, dir: into, now: s.now}
		back.open()
		back.holds("probe", want...)
		back.holds("late", late[:len(want)/60]...)
	}
}

func TestAFreezeThatCannotBeLeavesNothing(t *testing.T) {
	s := newSite(t)
	s.take("probe", hours(1)...)
	into := filepath.Join(t.TempDir(), "frozen")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Freeze(ctx, into); !errors.Is(err, context.Canceled) {
		t.Errorf("frozen when cancelled: %v", err)
	}
	if exists(into) {
		t.Errorf("%s is there", into)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Freeze(t.Context(), into); err == nil || exists(into) {
		t.Errorf("a closed store was frozen: %v", err)
	}
}
