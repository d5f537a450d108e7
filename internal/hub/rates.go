package hub

import (
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

// now compares the totals with those of between one and two windows ago.
func (r *rates) now() api.Rates {
	accepted, rejected, series := r.totals()
	c := count{r.clock(), accepted, rejected}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.at.Sub(r.newer.at) >= rateWindow {
		r.older, r.newer = r.newer, c
	}
	out := api.Rates{Series: series, Connections: r.connections()}
	since := r.older
	if since.at.IsZero() || c.at.Sub(since.at) > 4*rateWindow {
		since = r.newer
	}
	if seconds := c.at.Sub(since.at).Seconds(); seconds > 0 {
		out.SamplesPerSecond = float64(accepted-since.accepted) / seconds
		out.RejectsPerSecond = float64(rejected-since.rejected) / seconds
	}
	return out
}
