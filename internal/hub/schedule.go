package hub

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/facility/slurm"
	"github.com/songhua-io/hub/internal/schedule/loop"
)

// runSchedule opens what is promised of compute, tries what waits, and has it
// run. Art. 13
func (h *hub) runSchedule(ctx context.Context) (err error) {
	engines, err := h.openEngines()
	if err != nil {
		return err
	}
	h.scheduler, err = loop.Open(ctx, h.cfg.Schedule, loop.Deps{Records: h.records, Log: h.log, Clock: h.clock, Metrics: h.metrics,
		Engines: func(id string, kind schedule.Engine) facility.Engine {
			switch {
			case kind == schedule.EngineAgent:
				return h.fleet.Engine(id)
			case kind == schedule.EngineSlurm && engines[id] != nil:
				return engines[id]
			}
			return nil
		}})
	if err != nil {
		return err
	}
	h.stack.start("schedule", h.scheduler.Run)
	h.stack.start("pool series", newPoolSeries(h).run)
	return nil
}

// enginesDir holds what engines remember, in the data directory.
const enginesDir = "engines"

// openEngines makes the engines that the hub itself speaks to, by facility.
func (h *hub) openEngines() (map[string]*slurm.Engine, error) {
	all := map[string]*slurm.Engine{}
	dir := filepath.Join(h.at.Data, enginesDir)
	for _, c := range h.cfg.Schedule.Engines {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		e, err := slurm.Open(slurm.Config{
			Facility: c.Facility, URL: c.URL, User: c.User, TokenFile: c.TokenFile, Directory: c.Directory, Poll: c.Poll,
			State: filepath.Join(dir, c.Facility+".slurm"),
		})
		if err != nil {
			return nil, fmt.Errorf("engine of facility %q: %w", c.Facility, err)
		}
		h.stack.onStop("engine "+c.Facility, e.Close)
		all[c.Facility] = e
	}
	return all, nil
}
