package remotewrite

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

func TestSamplesGoThereAndComeBack(t *testing.T) {
	everyServer(t, func(t *testing.T, s *server) {
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		now := time.Now().UnixMilli()
		values := []float64{1, -2.5, 0, 1e9 + 0.25, math.Inf(1), math.Inf(-1), telemetry.StaleMarker(), 1234.5678}
		var batch []queue.Series
		want := map[string][]sample{}
		for i := range 300 {
			series := queue.Series{Labels: metric("temperature", fmt.Sprint("probe ", i, ` "q" \ 温度`))}
			name := labels.FromStrings("__name__", "temperature", "device", series.Labels[1].Value).String()
			for j, v := range values {
				p := telemetry.Point{Time: now - int64(j*(i+1))*1000, Value: v}
				series.Points = append(series.Points, p)
				want[name] = append([]sample{at(p.Time, v)}, want[name]...)
			}
			batch = append(batch, series)
		}
		for range 2 { // the second time nothing changes
			if err := s.Send(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			s.flush(t)
			if diff := cmp.Diff(want, stored(t, s, math.MinInt64, math.MaxInt64, named("temperature")), cmp.AllowUnexported(sample{})); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
		}
		q, err := s.Querier(now-3600_000, now)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := q.LabelValues(t.Context(), "device", nil, labels.MustNewMatcher(labels.MatchRegexp, "device", "probe 1[12] .*"))
		if diff := cmp.Diff([]string{`probe 11 "q" \ 温度`, `probe 12 "q" \ 温度`}, got); diff != "" || err != nil {
			t.Errorf("values of a label: %v (-want +got):\n%s", err, diff)
		}
		if got, _, err = q.LabelNames(t.Context(), nil); err != nil || cmp.Diff([]string{"__name__", "device"}, got) != "" {
			t.Errorf("names of labels: %q, %v", got, err)
		}
	})
}
