package hub

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/facility/kubernetes"
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
			case engines[engineAt{id, kind}] != nil:
				return engines[engineAt{id, kind}]
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

// engineAt is where an engine is: a facility may have one of each kind.
type engineAt struct {
	facility string
	kind     schedule.Engine
}

// openEngines makes the engines that the hub itself speaks to.
func (h *hub) openEngines() (map[engineAt]facility.Engine, error) {
	all := map[engineAt]facility.Engine{}
	for _, c := range h.cfg.Schedule.Engines {
		e, err := h.openEngine(c)
		if err != nil {
			return nil, fmt.Errorf("engine of facility %q: %w", c.Facility, err)
		}
		h.stack.onStop("engine "+c.Facility, e.Close)
		all[engineAt{c.Facility, schedule.Engine(c.Kind)}] = e
	}
	return all, nil
}

func (h *hub) openEngine(c loop.Engine) (interface {
	facility.Engine
	io.Closer
}, error) {
	if schedule.Engine(c.Kind) == schedule.EngineKubernetes {
		return kubernetes.Open(kubernetes.Config{
			Facility: c.Facility, URL: c.URL, TokenFile: c.TokenFile, CAFile: c.CAFile, Namespace: c.Namespace, Accelerator: c.AcceleratorResource,
		})
	}
	dir := filepath.Join(h.at.Data, enginesDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return slurm.Open(slurm.Config{
		Facility: c.Facility, URL: c.URL, User: c.User, TokenFile: c.TokenFile, Directory: c.Directory, Poll: c.Poll,
		State: filepath.Join(dir, c.Facility+".slurm"),
	})
}
