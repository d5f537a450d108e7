package remotewrite

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/store/queue"
)

// Engine is a store.Engine that keeps series at a server: committed means durable
// in the queue here, and read is what the server has.
type Engine struct {
	*queue.Queue
	*Client
}

// Open opens the queue to a server. The server need not be there.
func Open(cfg Config, waiting queue.Config, log *slog.Logger, reg prometheus.Registerer, poison queue.Poison) (*Engine, error) {
	c, err := New(cfg, log)
	if err != nil {
		return nil, err
	}
	q, err := queue.Open(waiting, log, reg, c, poison)
	if err != nil {
		return nil, err
	}
	return &Engine{q, c}, nil
}

// Settle returns when all that was committed before the call can be read.
func (e *Engine) Settle(ctx context.Context) error {
	if err := e.Queue.Settle(ctx); err != nil {
		return err
	}
	return e.visible(ctx)
}

// visibleWithin is how long VictoriaMetrics takes to show what it has taken.
const visibleWithin = 2 * time.Second

// visible has VictoriaMetrics show what it has taken, or waits until it does.
func (c *Client) visible(ctx context.Context) error {
	if r, err := c.readerOf(ctx); err != nil || r != Export {
		return err
	}
	err := c.succeeds(c.request(ctx, http.MethodGet, c.cfg.QueryURL, "/internal/force_flush", nil))
	if err != nil && !backoff.Sleep(ctx, visibleWithin) {
		return ctx.Err()
	}
	return nil
}
