package tee

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/hubtest/engine"
	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/store/remotewrite"
	"github.com/songhua-io/hub/internal/telemetry"
)

// With a real far engine: hot time is there while that is away, and what came
// meanwhile is in it when it is back and the near engine is gone.
func TestAFarEngineMayBeAway(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	s, dir := engine.Victoria(t, "-dedup.minScrapeInterval=1ms"), t.TempDir()
	cfg, waiting := remotewrite.DefaultConfig(), queue.DefaultConfig()
	cfg.WriteURL, cfg.QueryURL, cfg.Timeout = s.URL+"/api/v1/write", s.URL, 2*time.Second
	waiting.Dir, waiting.BatchWait = filepath.Join(dir, "queue"), 10*time.Millisecond
	far, err := remotewrite.Open(cfg, waiting, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), func([]queue.Poisoned) error {
		t.Error("a point was refused")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	both := New(openLocal(t, filepath.Join(dir, "near"), 2*hot), far, hot)
	now := time.Now()
	both.now = func() time.Time { return now.Add(hot + 2*time.Hour) } // the near engine is of age
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- both.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := both.Close(); err != nil {
			t.Error(err)
		}
	}()

	want := map[string][]sample{}
	commit := func(from, to int) {
		w := &telemetry.Write{}
		for i := from; i < to; i++ {
			at := now.Add(hot + time.Duration(i)*time.Second).UnixMilli()
			w.Points = append(w.Points, telemetry.Point{Series: both.Series(metric("load", 1)), Time: at, Value: float64(i)})
			want[`{__name__="load", device="node-1"}`] = append(want[`{__name__="load", device="node-1"}`], sample{at, float64(i)})
		}
		if err := both.Commit([]*telemetry.Write{w}); err != nil || len(w.Refused) > 0 {
			t.Fatal(err, w.Refused)
		}
	}
	hotTime := [2]int64{now.Add(hot - time.Minute).UnixMilli(), now.Add(hot + time.Hour).UnixMilli()}
	commit(0, 100)
	s.Kill()
	commit(100, 200)
	if diff := cmp.Diff(want, read(t, both, "load", hotTime[0], hotTime[1], nil), cmp.AllowUnexported(sample{})); diff != "" {
		t.Errorf("while the far engine is away (-want +got):\n%s", diff)
	}
	s.Restart()
	settling, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	if err := both.Settle(settling); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, read(t, far, "load", hotTime[0], hotTime[1], nil), cmp.AllowUnexported(sample{})); diff != "" {
		t.Errorf("in the far engine (-want +got):\n%s", diff)
	}
	both.now = func() time.Time { return now.Add(4 * hot) }
	if diff := cmp.Diff(want, read(t, both, "load", 0, now.Add(4*hot).UnixMilli(), nil), cmp.AllowUnexported(sample{})); diff != "" {
		t.Errorf("of both, each once (-want +got):\n%s", diff)
	}
}
