package influx

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/hubtest/engine"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestAnInfluxDBThatIsKilledAndStalledLosesNothing commits while the server is
// killed, started, stopped and let go on, and finds every point once, with its
// value.
func TestAnInfluxDBThatIsKilledAndStalledLosesNothing(t *testing.T) {
	s := startInflux(t)
	bucket := s.bucket(t)
	cfg := configAt(t, s.URL, bucket, engine.InfluxToken)
	cfg.Timeout = 5 * time.Second // after which a stalled write is tried again
	q := queuedAt(t, t.TempDir(), clientWith(t, cfg), func(l []telemetry.Label, p telemetry.Point, r telemetry.Reason, detail string) {
		t.Errorf("refused %v %v as %s: %s", l, p, r, detail)
	})
	defer func() { _ = q.Close() }()

	const series, rounds = 50, 400
	ids := make([]telemetry.SeriesID, series)
	for i := range ids {
		ids[i] = q.Series(metric("load", "device", "probe-"+string(rune('a'+i%26))+string(rune('a'+i/26))))
	}
	from := time.Now().Add(-time.Hour).UnixMilli()
	value := func(series, round int) float64 { return float64(series*rounds + round) }
	for round := range rounds {
		w := &telemetry.Write{}
		for i, id := range ids {
			w.Points = append(w.Points, telemetry.Point{Series: id, Time: from + int64(round), Value: value(i, round)})
		}
		if err := q.Commit([]*telemetry.Write{w}); err != nil || len(w.Refused) > 0 {
			t.Fatalf("commit: %v, refused %v", err, w.Refused)
		}
		switch round {
		case 80:
			s.Kill()
			failing(t, q)
		case 140:
			s.Restart()
		case 200:
			s.Stop()
			failing(t, q)
		case 260:
			s.Cont()
		case 320:
			s.Kill()
			s.Restart()
		}
	}
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Minute)
	defer stop()
	if err := q.Settle(ctx); err != nil {
		t.Fatalf("settle: %v", err)
	}
	// By a client that waits as long as a server may take that has just been started.
	found, err := s.client(t, bucket).Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	set := found.Select(ctx, true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "load"))
	seen, sum := 0, 0.0
	for set.Next() {
		n := 0
		for it := set.At().Iterator(nil); it.Next() != 0; n++ {
			at, v := it.At()
			if at != from+int64(n) || int(v)%rounds != n {
				t.Fatalf("%s: point %d is %v at %d", set.At().Labels(), n, v, at-from)
			}
			sum += v
		}
		if n != rounds {
			t.Errorf("%s has %d points, not %d", set.At().Labels(), n, rounds)
		}
		seen++
	}
	if want := float64(series*rounds-1) * series * rounds / 2; set.Err() != nil || seen != series || sum != want {
		t.Errorf("%d series with the sum %v, want %d with %v; %v", seen, sum, series, want, set.Err())
	}
}

// failing returns when the queue has found out that the server does not answer.
func failing(t *testing.T, q *queued) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := q.Trouble(); err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the queue forwards to a server that is not there")
		}
	}
}
