package telemetry_test

import (
	"testing"

	"github.com/songhua-io/hub/internal/telemetry"
)

// TestDelaysFallIntoTheirBuckets: a delay is below the bound of its bucket, not
// below that of the one before, and the bound is at most a quarter too much.
func TestDelaysFallIntoTheirBuckets(t *testing.T) {
	for ms := int64(0); ms < 40*24*3600*1000; ms += 1 + ms/37 {
		var a telemetry.Arrivals
		a.Came(ms, 0, 0)
		for b, n := range a.Delays {
			if n == 0 {
				continue
			}
			if bound := telemetry.DelayBound(b); ms >= bound || b > 0 && (ms < telemetry.DelayBound(b-1) || bound > ms+ms/4+1) {
				t.Fatalf("%d ms lies in bucket %d, below %d", ms, b, bound)
			}
		}
	}
}
