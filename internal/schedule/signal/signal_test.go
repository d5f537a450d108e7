package signal

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/schedule"
)

var day = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)

func hours(kind Kind, values ...float64) *Series {
	s := &Series{Kind: kind, Zone: "CN-JL", Issued: day}
	for i, v := range values {
		start := day.Add(time.Duration(i) * time.Hour)
		s.Steps = append(s.Steps, Step{Start: start, End: start.Add(time.Hour), Value: v, Low: v, High: v})
	}
	return s
}

func TestAMeanWeighsByTime(t *testing.T) {
	s := hours(Carbon, 100, 400)
	mean, known := s.Mean(day.Add(45*time.Minute), day.Add(2*time.Hour))
	if mean != 340 || known != 1 {
		t.Errorf("got %v of %v", mean, known)
	}
	mean, known = s.Mean(day.Add(90*time.Minute), day.Add(150*time.Minute))
	if mean != 400 || known != 0.5 {
		t.Errorf("beyond the end: got %v of %v", mean, known)
	}
	if v := (Set{{Carbon, "CN-JL"}: s}).Mean(Carbon, "CN-JL", day.Add(90*time.Minute), day.Add(150*time.Minute)); v != (400+Fallback[Carbon])/2 {
		t.Errorf("with the fallback: got %v", v)
	}
}

// TestAMeanIsTheSumOfItsMinutes compares with a sum over minutes.
func TestAMeanIsTheSumOfItsMinutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := hours(Price, rapid.SliceOfN(rapid.Float64Range(-1, 2), 1, 30).Draw(t, "values")...)
		if len(s.Steps) > 3 && rapid.Bool().Draw(t, "gap") {
			s.Steps = append(s.Steps[:1:1], s.Steps[2:]...)
		}
		start := rapid.IntRange(-100, 2000).Draw(t, "start")
		n := rapid.IntRange(1, 2000).Draw(t, "minutes")
		var sum float64
		known := 0
		for m := start; m < start+n; m++ {
			if p, ok := s.At(day.Add(time.Duration(m) * time.Minute)); ok {
				sum += p.Value
				known++
			}
		}
		mean, share := s.Mean(day.Add(time.Duration(start)*time.Minute), day.Add(time.Duration(start+n)*time.Minute))
		if math.Abs(share-float64(known)/float64(n)) > 1e-9 || math.Abs(mean*float64(known)-sum) > 1e-6 {
			t.Fatalf("got %v of %v, want %v of %d/%d", mean, share, sum, known, n)
		}
	})
}

func TestAnOlderForecastDoesNotReplaceANewer(t *testing.T) {
	set := Set{}
	newer, older := hours(Carbon, 1), hours(Carbon, 2)
	newer.Issued = day.Add(time.Hour)
	if !set.Put(newer) || set.Put(older) || set.Of(Carbon, "CN-JL") != newer {
		t.Error("the older one counts")
	}
}

func TestAForecastGetsStale(t *testing.T) {
	s := hours(Carbon, 1, 2)
	for at, want := range map[time.Duration]bool{0: false, 119 * time.Minute: false, 2 * time.Hour: true} {
		if s.Stale(day.Add(at)) != want {
			t.Errorf("after %v: not %v", at, want)
		}
	}
	s.Issued = day.Add(-Fresh - time.Second)
	if !s.Stale(day) || !(*Series)(nil).Stale(day) {
		t.Error("an old forecast, or none, is taken")
	}
}

func TestFaultsOfSeriesNameTheKey(t *testing.T) {
	for key, spoil := range map[string]func(*Series){
		"kind":            func(s *Series) { s.Kind = "wind" },
		"zone":            func(s *Series) { s.Zone = "" },
		"issued_at":       func(s *Series) { s.Issued = time.Time{} },
		"points":          func(s *Series) { s.Steps = nil },
		"points[1].start": func(s *Series) { s.Steps[1].Start = day.Add(30 * time.Minute) },
		"points[0].end":   func(s *Series) { s.Steps[0].End = day },
		"points[1].value": func(s *Series) { s.Steps[1].Low = 3 },
	} {
		s := hours(Carbon, 1, 2)
		spoil(s)
		if errs := s.Check(""); len(errs) != 1 || errs[0].Path != key {
			t.Errorf("%s: got %v", key, errs)
		}
	}
	if errs := hours(Carbon, -1).Check(""); len(errs) != 1 {
		t.Errorf("negative carbon: got %v", errs)
	}
	if errs := hours(Price, -1).Check(""); errs != nil {
		t.Errorf("a negative price is real: got %v", errs)
	}
}

func TestOverhead(t *testing.T) {
	f := &schedule.Facility{PUE: schedule.PUE{Constant: 1.3}}
	set := Set{}
	at := func() float64 { return set.Overhead(f, day, day.Add(time.Hour), 0.5, 20) }
	if at() != 1.3 {
		t.Error("constant", at())
	}
	f.PUE.Load = []schedule.Point{{X: 0, Y: 2}, {X: 1, Y: 1.2}}
	if at() != 1.6 {
		t.Error("by load", at())
	}
	f.PUE.Temperature = []schedule.Point{{X: 10, Y: 0}, {X: 30, Y: 0.2}}
	if math.Abs(at()-1.7) > 1e-9 {
		t.Error("by temperature", at())
	}
	f.PUE.Live = "cc1"
	s := hours(PUE, 1.25)
	s.Zone = "cc1"
	set.Put(s)
	if at() != 1.25 {
		t.Error("live", at())
	}
}
