package simulate

import (
	"testing"
	"time"
)

// TestThereIsWindToWaitFor, whenever a play begins: also in the middle of the
// night, when it blows most.
func TestThereIsWindToWaitFor(t *testing.T) {
	for seed := range uint64(50) {
		for hour := range 24 {
			c := &computing{seed: seed, began: time.Date(2026, 11, 26, hour, 10, 0, 0, time.UTC)}
			first := c.began.Truncate(time.Hour)
			best := 0.0
			for later := range 18 { // work waits for 20 hours, and takes one and a half
				best = max(best, c.wind(first.Add(time.Duration(later)*time.Hour)))
			}
			if now := c.wind(first); best < now+0.25 {
				t.Errorf("seed %d, begun at %d UTC: the wind is %.2f and %.2f at best", seed, hour, now, best)
			}
		}
	}
}
