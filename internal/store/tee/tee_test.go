package tee

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/store/storetest"
	"github.com/songhua-io/hub/internal/telemetry"
)

const day = 24 * time.Hour

func openLocal(t testing.TB, dir string, retention time.Duration) *local.DB {
	t.Helper()
	cfg := local.DefaultConfig()
	cfg.Dir, cfg.Retention, cfg.OutOfOrderWindow = dir, retention, min(retention, 30*day)
	db, err := local.Open(context.Background(), cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// hot is what the near engine of the tests answers for; it keeps a day more.
const hot = day

func openTee(t testing.TB, dir string) *Tee {
	t.Helper()
	return New(openLocal(t, filepath.Join(dir, "near"), 2*hot), openLocal(t, filepath.Join(dir, "far"), 400*day), hot)
}

func TestEngine(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Engine { return openTee(t, dir) })
}

func metric(name string, i int) []telemetry.Label {
	return []telemetry.Label{{Name: "__name__", Value: name}, {Name: "device", Value: fmt.Sprintf("node-%d", i)}}
}

type sample struct {
	t int64
	v float64
}

// read returns what an engine holds of a metric between two times, by series.
func read(t testing.TB, from storage.Queryable, name string, mint, maxt int64, hints *storage.SelectHints) map[string][]sample {
	t.Helper()
	q, err := from.Querier(mint, maxt)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close() //nolint:errcheck // a test
	all := map[string][]sample{}
	set := q.Select(context.Background(), true, hints, labels.MustNewMatcher(labels.MatchEqual, "__name__", name))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			at, v := it.At()
			all[set.At().Labels().String()] = append(all[set.At().Labels().String()], sample{at, v})
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return all
}

// What the two hold is read as from one engine that holds everything, wherever
// the seam lies: points at it and about it, repeated ones, late ones that only
// the far engine has, after the near one was lost, and of series that one lacks.
func TestTwoEnginesAreReadAsOne(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many stores")
	}
	dir, now, runs := t.TempDir(), time.Now(), 0
	seam := now.Add(-hot).UnixMilli()
	both, one := openTee(t, dir), openLocal(t, filepath.Join(dir, "one"), 400*day)
	defer func() { _ = both.Close(); _ = one.Close() }()
	both.now = func() time.Time { return now }
	rapid.Check(t, func(r *rapid.T) {
		runs++
		name := fmt.Sprint("load_", runs)
		offset := rapid.OneOf(
			rapid.Int64Range(-5, 5),
			rapid.Int64Range(-(30*day).Milliseconds(), hot.Milliseconds()),
			rapid.Just(-hot.Milliseconds()), rapid.Just(-2*hot.Milliseconds()), rapid.Just(hot.Milliseconds()))
		// A near engine that lost a time cannot tell that it had another value.
		conflicts := rapid.Bool().Draw(r, "conflicts")
		step := rapid.SampledFrom([]string{"commit", "commit", "commit", "commit", "forget", "lose near"})
		if conflicts {
			step = rapid.SampledFrom([]string{"commit", "commit", "commit", "forget"})
		}
		steps := rapid.IntRange(1, 12).Draw(r, "steps")
		for range steps {
			switch step.Draw(r, "step") {
			case "commit":
				w, v := &telemetry.Write{}, &telemetry.Write{}
				for range rapid.IntRange(1, 20).Draw(r, "points") {
					of, at := rapid.IntRange(0, 3).Draw(r, "series"), seam+offset.Draw(r, "offset")
					value := float64(at%7 + int64(of))
					if conflicts {
						value += float64(rapid.IntRange(0, 1).Draw(r, "another value"))
					}
					p := telemetry.Point{Series: both.Series(metric(name, of)), Time: at, Value: value}
					w.Points = append(w.Points, p)
					p.Series = one.Series(metric(name, of))
					v.Points = append(v.Points, p)
				}
				if err := both.Commit([]*telemetry.Write{{}, w}); err != nil {
					r.Fatal(err)
				}
				keep := v.Points[:0]
				refused := w.Refused
				for i, p := range v.Points {
					if len(refused) > 0 && refused[0].Index == i {
						refused = refused[1:]
						continue
					}
					keep = append(keep, p)
				}
				v.Points = keep
				if err := one.Commit([]*telemetry.Write{v}); err != nil {
					r.Fatal(err)
				}
			case "forget":
				of := rapid.IntRange(0, 3).Draw(r, "series")
				both.Forget([]telemetry.SeriesID{both.Series(metric(name, of))})
			case "lose near":
				if err := both.Close(); err != nil {
					r.Fatal(err)
				}
				if err := os.RemoveAll(filepath.Join(dir, "near")); err != nil {
					r.Fatal(err)
				}
				both = openTee(t, dir)
				both.now = func() time.Time { return now }
			}
			mint, maxt := seam+offset.Draw(r, "mint"), seam+offset.Draw(r, "maxt")
			ranges := [][2]int64{{math.MinInt64, math.MaxInt64}, {mint, max(mint, maxt)}}
			for _, a := range ranges {
				for _, hints := range []*storage.SelectHints{nil, {Start: a[0], End: a[1]}} {
					want, got := read(t, one, name, a[0], a[1], hints), read(t, both, name, a[0], a[1], hints)
					if diff := cmp.Diff(want, got, cmp.AllowUnexported(sample{})); diff != "" {
						r.Fatalf("%v from the seam at %d (-one +both):\n%s", a, seam, diff)
					}
				}
			}
		}
	})
}

// far counts how often it is read.
type far struct {
	store.Engine
	asked int
}

func (f *far) Querier(mint, maxt int64) (storage.Querier, error) {
	f.asked++
	return f.Engine.Querier(mint, maxt)
}

func TestHotTimeIsReadFromTheNearEngineAlone(t *testing.T) {
	dir := t.TempDir()
	f := &far{Engine: openLocal(t, filepath.Join(dir, "far"), 400*day)}
	both := New(openLocal(t, filepath.Join(dir, "near"), 2*hot), f, hot)
	defer both.Close() //nolint:errcheck // a test
	id, now := both.Series(metric("load", 1)), time.Now()
	w := &telemetry.Write{Points: []telemetry.Point{{Series: id, Time: now.UnixMilli(), Value: 1}, {Series: id, Time: now.Add(-20 * day).UnixMilli(), Value: 2}}}
	if err := both.Commit([]*telemetry.Write{w}); err != nil || len(w.Refused) > 0 {
		t.Fatal(err, w.Refused)
	}
	read(t, both, "load", now.Add(-time.Hour).UnixMilli(), now.UnixMilli(), nil)
	if f.asked != 1 {
		t.Error("a store that began now is taken to have the hour before")
	}
	both.now = func() time.Time { return now.Add(3 * day) }
	read(t, both, "load", now.Add(2*day+2*time.Hour).UnixMilli(), now.Add(3*day).UnixMilli(), nil)
	if f.asked != 1 {
		t.Error("the far engine was asked for hot time")
	}
	got := read(t, both, "load", 0, now.UnixMilli(), nil)
	if n := len(slicesOf(got)); n != 2 || f.asked != 2 {
		t.Errorf("%d points, asked %d times", n, f.asked)
	}
}

func slicesOf(m map[string][]sample) (all []sample) {
	for s := range maps.Values(m) {
		all = append(all, s...)
	}
	return all
}

// What neither takes is refused with the reason of the one that decides.
func TestRefusalsAreOfTheEngineThatDecides(t *testing.T) {
	both := openTee(t, t.TempDir())
	defer both.Close() //nolint:errcheck // a test
	id, now := both.Series(metric("load", 1)), time.Now()
	at := func(ago time.Duration, v float64) telemetry.Point {
		return telemetry.Point{Series: id, Time: now.Add(-ago).UnixMilli(), Value: v}
	}
	commit := func(ps ...telemetry.Point) []telemetry.Refusal {
		t.Helper()
		w := &telemetry.Write{Points: ps}
		if err := both.Commit([]*telemetry.Write{w}); err != nil {
			t.Fatal(err)
		}
		return w.Refused
	}
	if r := commit(at(0, 1), at(40*day, 2), at(time.Hour, 3)); len(r) > 0 {
		t.Errorf("refused %v", r)
	}
	want := []telemetry.Refusal{{Index: 0, Reason: telemetry.ReasonConflict}, {Index: 2, Reason: telemetry.ReasonConflict}, {Index: 4, Reason: telemetry.ReasonTimePast}}
	if diff := cmp.Diff(want, commit(at(0, 9), at(40*day, 2), at(40*day, 9), at(30*day, 4), at(800*day, 5), at(time.Minute, 6))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
