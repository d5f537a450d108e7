package query

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// A bin has its start and not its end; what is no number is left out; nobody sees
// what the scope hides.
func TestBins(t *testing.T) {
	h := serve(t, nil)
	at := func(region, device string) labels.Labels {
		return labels.FromStrings("__name__", "temperature", "device", device, "region", region)
	}
	for _, s := range []struct {
		ago time.Duration
		v   float64
	}{{3 * time.Hour, 7}, {2 * time.Hour, 1}, {119 * time.Minute, 4}, {time.Hour, 2}, {30 * time.Minute, math.NaN()}, {20 * time.Minute, math.Float64frombits(value.StaleNaN)}, {0, 9}} {
		h.store(s.ago, s.v, at("220100", "a"))
	}
	h.store(time.Hour, 5, at("110000", "b"))
	var got []string
	err := h.api.Bins(t.Context(), Scope{Region: "22"}, "temperature", noon.Add(-2*time.Hour), noon, time.Hour, func(l map[string]string, bins []Bin) error {
		for _, b := range bins {
			got = append(got, fmt.Sprint(l["device"], " ", b.Count, b.Sum, b.Min, b.Max, b.Last, (b.LastAt-noon.UnixMilli())/60_000))
		}
		return nil
	})
	slices.Sort(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a 1 2 2 2 2 -60", "a 2 5 1 4 4 -119"}, got); diff != "" {
		t.Error(diff)
	}
	if err := h.api.Bins(t.Context(), Scope{}, "temperature", noon, noon.Add(time.Hour), 7*time.Minute, nil); err == nil {
		t.Error("an hour is no number of 7 minutes")
	}
	if err := h.api.Bins(t.Context(), Scope{}, "sum(temperature)", noon, noon.Add(time.Hour), time.Minute, nil); err == nil {
		t.Error("a sum is no selector")
	}
}

// BenchmarkBins reads a day of 1,000 series at a minute.
func BenchmarkBins(b *testing.B) {
	h := serve(b, nil)
	app := h.db.Appender(b.Context())
	for s := range 1000 {
		ls := labels.FromStrings("__name__", "temperature", "device", fmt.Sprintf("d%04d", s))
		ref, err := app.Append(0, ls, noon.Add(-24*time.Hour).UnixMilli(), 0)
		for i := 1; i < 1440 && err == nil; i++ {
			_, err = app.Append(ref, ls, noon.Add(time.Duration(i-1440)*time.Minute).UnixMilli(), float64(i%100)/10)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n := 0
		err := h.api.Bins(b.Context(), Scope{}, "temperature", noon.Add(-24*time.Hour), noon, time.Minute, func(map[string]string, []Bin) error { n++; return nil })
		if err != nil || n != 1000 {
			b.Fatal(n, err)
		}
	}
}
