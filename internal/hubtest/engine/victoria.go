package engine

import "testing"

// Victoria runs victoria-metrics with a retention of 10 years and further
// arguments. Points are visible about a second after they were taken, at once
// after GET /internal/force_flush, and outlive Kill after some seconds more.
func Victoria(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, built(t, "victoria-metrics"), "/health", func(dir, address string) []string {
		return append([]string{"-storageDataPath", dir, "-httpListenAddr", address,
			"-retentionPeriod=10y", "-memory.allowedBytes=512MB", "-loggerLevel=WARN"}, args...)
	})
}
