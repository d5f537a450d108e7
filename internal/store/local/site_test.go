package local

import (
	"context"
	"log/slog"
	"math"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/telemetry"
)

// site is a store under test and the moment that its points count from.
type site struct {
	*testing.T
	*DB
	dir string
	now time.Time
}

type value struct {
	At    time.Duration // from the site's now
	Value float64
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{T: t, dir: t.TempDir(), now: time.Now().Truncate(time.Millisecond)}
	s.open()
	return s
}

func configAt(dir string) Config {
	cfg := DefaultConfig()
	cfg.Dir = dir
	return cfg
}

func tryOpen(dir string) (*DB, error) {
	return Open(context.Background(), configAt(dir), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
}

func (s *site) open() {
	s.Helper()
	db, err := tryOpen(s.dir)
	if err != nil {
		s.Fatal(err)
	}
	s.DB = db
	s.Cleanup(func() { db.Close() })
}

// kill goes on with what a killed process would have left: a copy of the
// directory as it is while the store is open.
func (s *site) kill() {
	s.Helper()
	left := s.TempDir()
	if err := os.CopyFS(left, os.DirFS(s.dir)); err != nil {
		s.Fatal(err)
	}
	if err := s.Close(); err != nil {
		s.Fatal(err)
	}
	s.dir = left
	s.open()
}

func named(device string) []telemetry.Label {
	return []telemetry.Label{{Name: "__name__", Value: "soil_moisture"}, {Name: "device", Value: device}}
}

func (s *site) write(device string, values ...value) *telemetry.Write {
	id := s.Series(named(device))
	w := &telemetry.Write{}
	for _, v := range values {
		w.Points = append(w.Points, telemetry.Point{Series: id, Time: s.now.Add(v.At).UnixMilli(), Value: v.Value})
	}
	return w
}

// take commits values of which none may be refused.
func (s *site) take(device string, values ...value) {
	s.Helper()
	w := s.write(device, values...)
	if err := s.Commit([]*telemetry.Write{w}); err != nil {
		s.Fatal(err)
	}
	if len(w.Refused) > 0 {
		s.Fatalf("refused: %v", w.Refused)
	}
}

// holds fails unless exactly these values are stored of a device.
func (s *site) holds(device string, want ...value) {
	s.Helper()
	if diff := cmp.Diff(want, s.stored(device), cmpopts.EquateEmpty(), cmpopts.EquateNaNs()); diff != "" {
		s.Errorf("stored values of %s differ (-want +got):\n%s", device, diff)
	}
}

func (s *site) stored(device string) []value {
	s.Helper()
	q, err := s.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		s.Fatal(err)
	}
	defer q.Close()
	var all []value
	set := q.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "device", device))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			t, v := it.At()
			all = append(all, value{time.UnixMilli(t).Sub(s.now), v})
		}
		if it.Err() != nil {
			s.Fatal(it.Err())
		}
	}
	if set.Err() != nil {
		s.Fatal(set.Err())
	}
	return all
}

// hours returns a value a minute from some hours ago until now.
func hours(n int) []value {
	var vs []value
	for m := range n * 60 {
		vs = append(vs, value{time.Duration(m-n*60) * time.Minute, float64(m % 100)})
	}
	return vs
}
