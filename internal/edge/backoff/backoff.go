// Package backoff says how long to wait before something that failed is tried
// again: longer each time, and never as long as the neighbour, so that a fleet
// does not come back at once.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// First is the first pause and Most the longest, before the jitter.
const First, Most = time.Second, time.Minute

// Backoff is the state of one thing that is tried. The zero value is ready.
type Backoff struct{ pause time.Duration }

// Next returns the next pause: from half of what it would be to one and a half
// of it. Pauses double from First to Most.
func (b *Backoff) Next() time.Duration {
	b.pause = min(max(2*b.pause, First), Most)
	return b.pause/2 + rand.N(b.pause)
}

// Reset begins small again, after a success.
func (b *Backoff) Reset() { b.pause = 0 }

// Sleep waits; false when the context ended.
func Sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
