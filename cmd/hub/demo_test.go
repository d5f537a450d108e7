package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/hub"
	"github.com/songhua-io/hub/internal/simulate"
)

// TestTheDemoIsThereSoon: within 30 s of the process's start this machine and
// the fleet can be queried, and every link of its pages leads somewhere; then all of
// its datasets are released. A loaded machine may take longer, so the time is
// logged, and only far too long is a failure.
func TestTheDemoIsThereSoon(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a whole demo")
	}
	data := filepath.Join(t.TempDir(), "data")
	demo := exec.Command("hub", "demo", "--data", data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--coap", "127.0.0.1:0")
	var said tail
	demo.Stderr = &said
	began := time.Now()
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = demo.Process.Signal(syscall.SIGTERM)
		if err := demo.Wait(); err != nil {
			t.Errorf("the demo ended with %v: %s", err, said.text())
		}
	})
	wanted := map[string]string{
		"200 sensors":          heard("sensor") + ` == 200`,
		"20 RSUs":              `count(device_presence{kind="rsu"} == 1) == 20`,
		"10 nodes":             heard("node") + ` == 11`, // this machine is one more
		"promises":             `hub_schedule_decisions_total{to="reserved"} > 0`,
		"deferrals":            `hub_schedule_waiting_workloads{state="deferred"} > 0`,
		"CPU":                  `host_cpu_percent`,
		"memory":               `host_memory_used_bytes > 0`,
		"disk":                 `host_disk_used_bytes > 0`,
		"network":              `host_network_receive_bytes_total`,
		"compute of yesterday": `count_over_time(hub_schedule_facility_load{facility="changchun-1"}[1h] offset 25h) == 240`,
		"signals of yesterday": `count(count_over_time(signal_cycle_seconds[1h] offset 25h) == 60) == 40`,
	}
	if sensors, _ := filepath.Glob("/sys/class/hwmon/hwmon*/temp*_input"); len(sensors) > 0 {
		wanted["temperatures"] = `host_temperature_celsius`
	}
	await(t, data, began, 10*time.Minute, wanted)
	walkLinks(t, data)
	await(t, data, began, 15*time.Minute, released(t, data, began))
	if answers(t.Context(), data, `hub_publish_releases_total{result=~"failed|refused"} > 0`) {
		t.Errorf("a release failed: %s", said.text())
	}
}

// released are queries that are answered once the days before a demo began are
// released: both of what is made up, and of what the fleet measured those that its
// history has all of. A day that ends, or is looked at again, meanwhile adds to them.
func released(t *testing.T, data string, began time.Time) map[string]string {
	all, err := demoDocuments()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, d := range all {
		china := began.UTC().Add(8*time.Hour + time.Minute) // by when the demo has begun, too
		for back := range demoPast {
			if d.Source.Kind != "series" || china.Truncate(24*time.Hour).AddDate(0, 0, -back-1).After(china.Add(-simulate.History)) {
				n++
			}
		}
	}
	return map[string]string{"releases": fmt.Sprintf(`hub_publish_releases_total{result="made"} >= %d`, n)}
}

// await waits until all queries have an answer.
func await(t *testing.T, data string, began time.Time, within time.Duration, wanted map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for look := time.NewTicker(100 * time.Millisecond); len(wanted) > 0; {
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("after %s there is no answer for %v", time.Since(began), slices.Sorted(maps.Keys(wanted)))
		}
		for what, promQL := range wanted {
			if answers(ctx, data, promQL) {
				t.Logf("%s after %.1f s", what, time.Since(began).Seconds())
				delete(wanted, what)
			}
		}
	}
}

// heard counts the devices of a kind that sent anything.
func heard(kind string) string {
	return fmt.Sprintf(`count(count by (device) (last_over_time({kind=%q, device!="", __name__!="device_presence"}[7h])))`, kind)
}

// answers reports whether the hub of a data directory has a value for a query.
func answers(ctx context.Context, data, promQL string) bool {
	at, err := hub.ReadAddresses(data)
	if err != nil {
		return false
	}
	token, err := os.ReadFile(at.TokenFile)
	if err != nil {
		return false
	}
	c, err := client.New(at.HTTP, strings.TrimSpace(string(token)))
	if err != nil {
		return false
	}
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	err = c.Call(ctx, http.MethodGet, "/prometheus/api/v1/query", query("query", promQL), nil, &answer)
	return err == nil && len(answer.Data.Result) > 0
}
