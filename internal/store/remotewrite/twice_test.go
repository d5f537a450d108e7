package remotewrite

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/hubtest/engine"
	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestWhatVictoriaMetricsMakesOfASampleThatComesTwice: without deduplication its
// own queries count it twice; the hub reads it once in any case.
func TestWhatVictoriaMetricsMakesOfASampleThatComesTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		count string
	}{
		"without deduplication":             {nil, "8"},
		"with -dedup.minScrapeInterval=1ms": {[]string{dedup}, "4"},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine.Victoria(t, c.args...)
			s := &server{e, client(t, e.URL+"/api/v1/write", e.URL), true}
			now := time.Now().Truncate(time.Minute)
			one := queue.Series{Labels: metric("twice", "n1")}
			for i := range 4 {
				one.Points = append(one.Points, telemetry.Point{Time: now.Add(time.Duration(i-4) * 15 * time.Second).UnixMilli(), Value: float64(10 + i)})
			}
			for range 2 {
				if err := s.Send(t.Context(), []queue.Series{one}); err != nil {
					t.Fatal(err)
				}
				s.flush(t)
			}
			for expr, want := range map[string]string{
				"twice":                             "13",
				"count(twice)":                      "1",
				"sum(twice)":                        "13",
				"count_over_time(twice[2m])":        c.count,
				"avg_over_time(twice[2m])":          "11.5",
				"max_over_time(twice[2m])":          "13",
				"count(count_over_time(twice[2m]))": "1",
			} {
				if got := ask(t, s.URL, expr, now); got != want {
					t.Errorf("%s is %s, want %s", expr, got, want)
				}
			}
			var want []sample
			for _, p := range one.Points {
				want = append(want, at(p.Time, p.Value))
			}
			for _, got := range stored(t, s, 0, now.UnixMilli(), named("twice")) {
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(sample{})); diff != "" {
					t.Errorf("the hub reads (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// ask returns the value of an instant query of the server's own.
func ask(t *testing.T, base, expr string, at time.Time) string {
	t.Helper()
	resp, err := http.Get(base + "/api/v1/query?" + url.Values{"query": {expr}, "time": {at.Format(time.RFC3339)}, "nocache": {"1"}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.Data.Result) != 1 {
		t.Fatalf("%s: %v: %v", expr, answer, err)
	}
	return answer.Data.Result[0].Value[1].(string)
}
