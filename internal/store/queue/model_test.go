package queue

import (
	"errors"
	"maps"
	"math"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/telemetry"
)

// kill leaves the directory as it is at this moment to another process.
func (r *rig) kill() {
	r.t.Helper()
	dir := r.t.TempDir()
	r.mu.Lock() // segments come and go under it
	err := os.CopyFS(dir, os.DirFS(r.dir))
	r.mu.Unlock()
	if err != nil {
		r.t.Fatal(err)
	}
	r.close()
	r.dir = dir
}

// TestTheDestinationHoldsWhatWasCommitted, whatever happens on the way: it is
// away, takes a part and fails, refuses some for good; the hub ends or is killed,
// and comes back with another number of shards.
func TestTheDestinationHoldsWhatWasCommitted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const poison = 666
		to := newSink()
		mood := 0
		part := errors.New("the answer was lost")
		to.fault = func(batch []Series) error {
			switch mood {
			case 1:
				return errors.New("away")
			case 2: // stored, and not heard of
				mood = 0
				for _, s := range batch {
					for _, p := range s.Points[:len(s.Points)/2] {
						if p.Value != poison {
							if to.rows[nameOf(s.Labels)] == nil {
								to.rows[nameOf(s.Labels)] = map[int64]uint64{}
							}
							to.rows[nameOf(s.Labels)][p.Time] = math.Float64bits(p.Value)
						}
					}
				}
				return part
			}
			var refused Refused
			for i, s := range batch {
				for j, p := range s.Points {
					if p.Value == poison {
						refused.Points = append(refused.Points, RefusedPoint{i, j, telemetry.ReasonNotFinite, ""})
					}
				}
			}
			if len(refused.Points) > 0 {
				return &refused
			}
			return nil
		}
		setMood := func(m int) {
			to.mu.Lock()
			defer to.mu.Unlock()
			mood = m
		}
		r := newRig(t, to, func(c *Config) { c.BatchSamples = 8 })
		defer r.close()
		r.on.segment = 2 << 10
		r.poison = func(all []Poisoned) error {
			if slices.ContainsFunc(all, func(p Poisoned) bool { return p.Point.Value != poison }) {
				return errors.New("it was not refused")
			}
			return nil
		}
		r.reopen()
		r.start()
		want := map[string]map[int64]uint64{}
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				var writes []*telemetry.Write
				for range rapid.IntRange(1, 4).Draw(rt, "writes") {
					w := &telemetry.Write{}
					for range rapid.IntRange(0, 30).Draw(rt, "points") {
						i := rapid.IntRange(0, 12).Draw(rt, "series")
						p := at(rapid.IntRange(0, 50).Draw(rt, "time"), rapid.SampledFrom([]float64{1, 2, 0.1, math.Pi, poison}).Draw(rt, "value"))
						p.Series = r.Series(labelsOf(i))
						w.Points = append(w.Points, p)
						if p.Value == poison {
							continue
						}
						name := nameOf(labelsOf(i))
						if want[name] == nil {
							want[name] = map[int64]uint64{}
						}
						want[name][p.Time] = math.Float64bits(p.Value)
					}
					writes = append(writes, w)
				}
				if err := r.Commit(writes); err != nil {
					rt.Fatal(err)
				}
			},
			"forget": func(rt *rapid.T) {
				r.Forget([]telemetry.SeriesID{r.Series(labelsOf(rapid.IntRange(0, 12).Draw(rt, "series")))})
			},
			"away":       func(*rapid.T) { setMood(1) },
			"well":       func(*rapid.T) { setMood(0) },
			"takes part": func(*rapid.T) { setMood(2) },
			"restart": func(rt *rapid.T) {
				r.close()
				r.cfg.Shards = rapid.IntRange(1, 5).Draw(rt, "shards")
				r.open()
				r.start()
			},
			"kill": func(*rapid.T) {
				r.kill()
				r.open()
				r.start()
			},
			"": func(rt *rapid.T) {
				if r.pending.Load() < 0 {
					rt.Fatalf("%d samples wait", r.pending.Load())
				}
			},
		})
		setMood(0)
		r.settle()
		to.mu.Lock()
		defer to.mu.Unlock()
		for name, rows := range to.rows {
			if len(rows) == 0 {
				delete(to.rows, name)
			}
		}
		if !maps.EqualFunc(want, to.rows, maps.Equal[map[int64]uint64, map[int64]uint64]) {
			rt.Fatalf("the destination holds %v, want %v", to.rows, want)
		}
		if n := r.pending.Load(); n != 0 {
			rt.Fatalf("%d samples wait", n)
		}
	})
}
