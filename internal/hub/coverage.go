package hub

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/telemetry"
)

// coverages keeps what datasets cover, so that nobody who reads the catalogue
// waits for a query.
type coverages struct {
	list    func() []*catalog.Dataset
	of      func(ctx context.Context, d *catalog.Dataset) (catalog.Coverage, bool)
	changed func(id string)

	mu   sync.Mutex
	byID map[string]catalog.Coverage
}

// lookAround is how often they are looked at anew.
const lookAround = 10 * time.Minute

func (c *coverages) get(id string) catalog.Coverage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byID[id]
}

func (c *coverages) run(ctx context.Context) error {
	tick := time.NewTicker(lookAround)
	defer tick.Stop()
	for {
		next := map[string]catalog.Coverage{}
		for _, d := range c.list() {
			if is, known := c.of(ctx, d); known {
				next[d.ID] = is
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		c.mu.Lock()
		was := c.byID
		c.byID = next
		c.mu.Unlock()
		for id, is := range next {
			if old, had := was[id]; !had || !same(old, is) {
				c.changed(id)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func same(a, b catalog.Coverage) bool {
	return a.Time.From.Equal(b.Time.From) && a.Time.To.Equal(b.Time.To) && (a.Area == nil) == (b.Area == nil) && (a.Area == nil || *a.Area == *b.Area)
}

// mostCovered bounds the series that are looked at for one dataset's coverage.
const mostCovered = 10_000

// covered is where the devices stand that a dataset of series is made of. Of what
// is graded higher than general nothing is said, and of general data the area in
// hundredths of a degree, outwards: a box around one device is not to tell where
// it stands.
func (h *hub) covered(q *query.API) func(context.Context, *catalog.Dataset) (catalog.Coverage, bool) {
	return func(ctx context.Context, d *catalog.Dataset) (c catalog.Coverage, known bool) {
		if d.Source.Kind != catalog.SourceSeries || d.Grade > telemetry.General {
			return c, false
		}
		now := h.clock()
		found, err := q.Selected(ctx, query.Scope{Region: d.Region}, d.Source.Selector, now.Add(-lately), now, mostCovered)
		if err != nil {
			h.log.Warn("coverage_not_known", "dataset", d.ID, "error", err)
			return c, false
		}
		seen := map[string]bool{}
		for _, labels := range found {
			id := labels["device"]
			device, err := h.registry.Get(id)
			if seen[id] || err != nil {
				continue
			}
			seen[id] = true
			if s := device.Spec(); s.Lat != nil && s.Lon != nil {
				c.Area = around(c.Area, *s.Lat, *s.Lon)
			}
		}
		return c, c.Area != nil
	}
}

// around is an area that has a place, too.
func around(a *catalog.Box, lat, lon float64) *catalog.Box {
	const step = 100
	down := func(v float64) float64 { return math.Floor(v*step) / step }
	up := func(v float64) float64 { return (math.Floor(v*step) + 1) / step }
	b := catalog.Box{West: down(lon), South: down(lat), East: min(up(lon), 180), North: min(up(lat), 90)}
	if a != nil {
		b = catalog.Box{West: min(a.West, b.West), South: min(a.South, b.South), East: max(a.East, b.East), North: max(a.North, b.North)}
	}
	return &b
}
