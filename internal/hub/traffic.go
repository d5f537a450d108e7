package hub

import (
	"path/filepath"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/traffic/intake"
)

// trafficDir holds the journal of open minutes, beneath the data directory, or
// beneath the directory of graded series where there is one: its numbers may be
// those of a unit whose data have a grade above general. Art. 74(3)
const trafficDir = "traffic"

// openTraffic brings back the minutes of roadside units that were open. It is
// before ingest, which waits for its journal.
func (h *hub) openTraffic() error {
	cfg := h.cfg.Traffic.Board()
	cfg.Expect = h.expect
	h.board = traffic.New(cfg)
	dirs := []string{filepath.Join(h.at.Data, trafficDir)}
	if h.graded != nil {
		dirs = append([]string{filepath.Join(h.cfg.Store.GradedDir, trafficDir)}, dirs...)
	}
	var err error
	h.traffic, err = intake.Open(intake.Deps{
		Board: h.board, Dirs: dirs,
		Ingest:     func(d *ingest.Delivery) error { return h.pipeline.Ingest(d) },
		Registered: func(id string) bool { return h.registry.Device(id) != nil },
		Unit:       h.registry.Unit, IsUnit: h.registry.IsUnit, Found: h.board.Found,
		Log: h.log, Clock: h.clock, Metrics: h.metrics,
	})
	if err != nil {
		return err
	}
	h.metrics.MustRegister(newRoadMetrics(h.board.Units))
	h.stack.onStop("traffic journal", h.traffic.Close)
	return nil
}

// expect is what a roadside unit was registered to do: its period is that of its
// heartbeat.
func (h *hub) expect(unit string) (e traffic.Expected) {
	if d := h.registry.Device(unit); d != nil {
		e.Beat = d.Period
	}
	return e
}
