package whole

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/hubtest"
	"github.com/songhua-io/hub/internal/hubtest/engine"
)

// elsewhere is an engine outside of the hub, and how a hub is told of it.
type elsewhere struct {
	name   string
	local  []string
	start  func(t *testing.T) *engine.Server
	config func(t *testing.T, s *engine.Server) string
}

var engines = []elsewhere{
	{"influx", []string{"0s"}, func(t *testing.T) *engine.Server { return engine.Influx(t) }, func(t *testing.T, s *engine.Server) string {
		token := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(token, []byte(engine.InfluxToken), 0o600); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("    kind: influx\n    influx: {url: %q, bucket: %s, token_file: %q}\n", s.URL, engine.InfluxBucket, token)
	}},
	{"remote_write", []string{"0s", "1h"}, func(t *testing.T) *engine.Server { return engine.Victoria(t) }, func(_ *testing.T, s *engine.Server) string {
		return fmt.Sprintf("    kind: remote_write\n    remote_write: {write_url: %q, query_url: %q}\n", s.URL+"/api/v1/write", s.URL)
	}},
}

// TestAnEngineElsewhereMayBeAway: samples are acknowledged while it is, also by a
// hub that is killed and started again meanwhile; when it is back it has each once,
// and PromQL answers through the hub.
func TestAnEngineElsewhereMayBeAway(t *testing.T) {
	for _, e := range engines {
		for _, local := range e.local {
			t.Run(e.name+" local "+local, func(t *testing.T) {
				if testing.Short() {
					t.Skip("runs whole programs; make test")
				}
				server := e.start(t)
				dir := t.TempDir()
				config := "store:\n  remote:\n    local: " + local + "\n" + e.config(t, server)
				h := startWith(t, dir, config)
				secret := h.AddDevice(t, "probe", "sensor")
				c, _ := connect(t, h, "probe", secret)
				base := time.Now().Add(-30 * time.Minute).Truncate(time.Second)
				sent := 0
				send := func(n int) {
					for range n {
						publish(t, c, "probe", fmt.Sprintf(`{"ts": %d, "level": %d.5}`, base.Add(time.Duration(sent)*time.Second).UnixMilli(), sent))
						sent++
					}
				}
				send(20)
				server.Kill()
				send(50)
				h.Kill()
				h = startWith(t, dir, config)
				c, _ = connect(t, h, "probe", secret)
				send(50)
				if waits := sum(t, h, "hub_queue_samples"); waits < 100 {
					t.Errorf("%v samples wait while the engine is away", waits)
				}
				server.Restart()
				eventually(t, 3*patience, "all is forwarded", func() bool {
					return sum(t, h, "hub_queue_samples") < 100 && hasSum(t, h, base, sent)
				})
				send(10)
				eventually(t, 3*patience, "what comes later is forwarded too", func() bool { return hasSum(t, h, base, sent) })
				if lost := sum(t, h, "hub_queue_lost_total") + sum(t, h, "hub_queue_refused_total"); lost != 0 {
					t.Errorf("%v samples were lost or refused\n%s", lost, h.Output())
				}
			})
		}
	}
}

func sum(t *testing.T, h *hubtest.Hub, metric string) float64 {
	t.Helper()
	v, err := h.Sum(t.Context(), metric)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// hasSum reports whether PromQL finds the first n samples of the level, each once.
func hasSum(t *testing.T, h *hubtest.Hub, base time.Time, n int) bool {
	t.Helper()
	at := base.Add(time.Duration(n) * time.Second)
	want := float64(n)*float64(n-1)/2 + float64(n)/2
	for promql, want := range map[string]float64{
		`count_over_time(level{device="probe"}[20m])`: float64(n), `sum_over_time(level{device="probe"}[20m])`: want,
	} {
		found, err := h.Query(t.Context(), promql, at)
		if err != nil || len(found) != 1 {
			return false // the engine is just starting
		}
		if v, err := strconv.ParseFloat(fmt.Sprint(found[0].Value[1]), 64); err != nil || v != want {
			return false
		}
	}
	return true
}
