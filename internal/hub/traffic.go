package hub

import (
	"context"
	"net/netip"
	"path/filepath"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/traffic/intake"
)

// trafficDir holds the journal of open minutes, beneath the data directory, or
// beneath the directory of graded series where there is one: its numbers may be
// those of a unit whose data have a grade above general. Art. 74(3)
const trafficDir = "traffic"

// openTraffic brings back the minutes of roadside units that were open. It is
// before ingest, which waits for its journal.
func (h *hub) openTraffic(ctx context.Context) error {
	board := h.cfg.Traffic.Board()
	board.Expect = h.expected
	h.board = traffic.New(board)
	dirs := []string{filepath.Join(h.at.Data, trafficDir)}
	if h.graded != nil {
		dirs = append([]string{filepath.Join(h.cfg.Store.GradedDir, trafficDir)}, dirs...)
	}
	if err := h.openPassages(ctx); err != nil {
		return err
	}
	var err error
	h.traffic, err = intake.Open(intake.Deps{
		Board: h.board, Dirs: dirs,
		Ingest:     func(d *ingest.Delivery) error { return h.pipeline.Ingest(d) },
		Over:       h.keepPassages,
		Registered: func(id string) bool { return h.registry.Device(id) != nil },
		Unit:       h.registry.Unit, IsUnit: h.registry.IsUnit,
		Found:    h.board.Found,
		Reported: func(ctx context.Context, device string, s *road.Status) { h.steward.unitReported(ctx, device, s) },
		Knock: func(esn, gateway, door string, from netip.Addr, s *road.Status) {
			h.enrolment.KnockUnit(esn, gateway, door, from, s)
		},
		Log: h.log, Clock: h.clock, Metrics: h.metrics,
	})
	if err != nil {
		return err
	}
	h.metrics.MustRegister(newRoadMetrics(h.board.Units))
	h.stack.onStop("traffic journal", h.traffic.Close)
	return nil
}

// expected is what is registered of a roadside unit, where it stands and how often
// it says that it lives, and what its twin wants it to send at most.
func (h *hub) expected(unit string) (e traffic.Expected) {
	d, err := h.registry.Get(unit)
	if err != nil {
		return e
	}
	if s := d.Spec(); s.Lat != nil && s.Lon != nil {
		e.At = &road.Position{Lat: *s.Lat, Lon: *s.Lon}
	}
	e.Beat, e.Limits = d.Period, h.steward.wantedLimits(unit)
	return e
}
