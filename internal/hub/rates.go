package hub

import (
	"context"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/api"
)

// rateWindow is the time over which rates are taken.
const rateWindow = 5 * time.Second

// rates turns totals into how busy the hub is now.
type rates struct {
	totals      func() (accepted, rejected uint64, series int)
	connections func() int
	clock       func() time.Time

	mu           sync.Mutex
	older, newer count
}

type count struct {
	at                 time.Time
	accepted, rejected uint64
}

func (r *rates) count() count {
	accepted, rejected, _ := r.totals()
	return count{r.clock(), accepted, rejected}
}

// run remembers the totals of one and of two windows ago.
func (r *rates) run(ctx context.Context) error {
	tick := time.NewTicker(rateWindow)
	defer tick.Stop()
	for {
		r.mu.Lock()
		r.older, r.newer = r.newer, r.count()
		r.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// now compares the totals with those of between one and two windows ago.
func (r *rates) now() api.Rates {
	_, _, series := r.totals()
	out := api.Rates{Series: series, Connections: r.connections()}
	r.mu.Lock()
	since := r.older
	if since.at.IsZero() {
		since = r.newer
	}
	r.mu.Unlock()
	c := r.count()
	if seconds := c.at.Sub(since.at).Seconds(); !since.at.IsZero() && seconds > 0 {
		out.SamplesPerSecond = float64(c.accepted-since.accepted) / seconds
		out.RejectsPerSecond = float64(c.rejected-since.rejected) / seconds
	}
	return out
}
