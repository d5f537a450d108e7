package engine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Prometheus runs prometheus as a receiver of remote write that scrapes nothing,
// with a retention of 10 years, an out-of-order window of 90 days, and further
// arguments. Debian's is of version 2.42: remote write 1, remote read, PromQL.
func Prometheus(t testing.TB, args ...string) *Server {
	t.Helper()
	return PrometheusWithin(t, 90*24*time.Hour, args...)
}

// PrometheusWithin is Prometheus with another out-of-order window; 0 is none.
func PrometheusWithin(t testing.TB, window time.Duration, args ...string) *Server {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		missing(t, "prometheus", "scripts/install-test-tools installs it")
	}
	return start(t, path, "/-/ready", func(dir, address string) []string {
		config := filepath.Join(dir, "prometheus.yml")
		if err := os.WriteFile(config, fmt.Appendf(nil, "storage: {tsdb: {out_of_order_time_window: %ds}}\n", int(window.Seconds())), 0o600); err != nil {
			t.Fatal(err)
		}
		return append([]string{"--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address,
			"--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=10y", "--log.level=warn"}, args...)
	})
}
