package hub

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/schedule/live"
	"github.com/songhua-io/hub/internal/schedule/signal/source"
	"github.com/songhua-io/hub/internal/telemetry"
)

// runLive tells the scheduler what the series say of facilities and pools.
func (h *hub) runLive(q *query.API) {
	feed := live.New(live.Deps{Scheduler: h.scheduler, Ask: h.askFor(q), Log: h.log, Clock: h.clock, Metrics: h.metrics})
	h.live = feed
	h.stack.start("live values", func(ctx context.Context) error { return feed.Run(ctx, h.cfg.Schedule.Live.Every) })
}

// runSources fetches the forecasts that the configuration names.
func (h *hub) runSources(q *query.API) {
	ask := h.askFor(q)
	sources := source.New(h.cfg.Signals, source.Deps{Put: h.scheduler.PutSignal, Log: h.log, Clock: h.clock, Metrics: h.metrics,
		Ask: func(ctx context.Context, expression string, at time.Time) (float64, bool, error) {
			all, err := ask(ctx, "", expression, at)
			switch {
			case err != nil || len(all) == 0:
				return 0, false, err
			case len(all) > 1:
				return 0, false, fmt.Errorf("the query %s has %d values at %s; aggregate them to one", expression, len(all), at.Format(time.RFC3339))
			}
			return all[0].Value, true, nil
		}})
	h.stack.start("forecasts", sources.Run)
}

// askFor evaluates expressions for live values. They see series of grade general
// alone: what follows from them is shown to everybody who may see compute.
// Art. 74(3)
func (h *hub) askFor(q *query.API) live.Ask {
	secret := &grades{registry: h.registry}
	return func(ctx context.Context, region, expression string, at time.Time) ([]live.Reading, error) {
		hidden, err := secret.hidden(telemetry.General)
		if err != nil {
			return nil, err
		}
		values, err := q.Values(ctx, query.Scope{Region: region, Hidden: hidden}, expression, at, "node", "device")
		if err != nil {
			return nil, err
		}
		all := make([]live.Reading, len(values))
		for i, v := range values {
			all[i] = live.Reading{Node: cmp.Or(v.Labels["node"], v.Labels["device"]), Region: v.Labels["region"], Value: v.Value, At: v.At}
		}
		return all, nil
	}
}
