package hub

import (
	"context"

	"github.com/songhua-io/hub/internal/schedule/loop"
)

// runSchedule opens what is promised of compute, and tries what waits. Art. 13
func (h *hub) runSchedule(ctx context.Context) (err error) {
	h.scheduler, err = loop.Open(ctx, h.cfg.Schedule, loop.Deps{Records: h.records, Engines: h.engines, Log: h.log, Clock: h.clock, Metrics: h.metrics})
	if err != nil {
		return err
	}
	h.stack.start("schedule", h.scheduler.Run)
	return nil
}
