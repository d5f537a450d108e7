package hub

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/telemetry"
)

// openPassages keeps what releases of roads are made of, and lets the past of a
// demonstration be made up. It is before the traffic, which tells it, and before
// anything else commits to the store.
func (h *hub) openPassages(ctx context.Context) error {
	h.passages = publish.NewPassages(h.records, h.sealer.Seal, h.sealer.Open)
	if h.options.Before == nil {
		return nil
	}
	err := h.options.Before(Past{
		Passages: func(some []Passage) error { return h.pastPassages(ctx, some) },
		Track:    h.pastTrack,
	})
	if err != nil {
		return fmt.Errorf("make up the time before: %w", err)
	}
	return nil
}

func (h *hub) pastPassages(ctx context.Context, some []Passage) error {
	type minute struct {
		unit string
		at   time.Time
	}
	by := map[minute]map[string]source.Passages{}
	for _, p := range some {
		m := minute{p.Unit, p.Minute}
		if by[m] == nil {
			by[m] = map[string]source.Passages{}
		}
		by[m][linkCode(p.From, p.To)] = source.Passages{Vehicles: p.Vehicles, SpeedSum: p.SpeedSum}
	}
	all := make([]publish.Minute, 0, len(by))
	for m, passages := range by {
		all = append(all, publish.Minute{Unit: m.unit, Start: m.at, Passages: passages})
	}
	return h.passages.Keep(ctx, all)
}

// pastTrack stores a series in one commit. What the store has already stays.
func (h *hub) pastTrack(t Track) error {
	labels := make([]telemetry.Label, 0, len(t.Labels))
	for name, value := range t.Labels {
		labels = append(labels, telemetry.Label{Name: name, Value: value})
	}
	slices.SortFunc(labels, func(a, b telemetry.Label) int { return strings.Compare(a.Name, b.Name) })
	id := h.plain.Series(labels)
	w := &telemetry.Write{Points: make([]telemetry.Point, 0, len(t.Values))}
	for i, v := range t.Values {
		if !math.IsNaN(v) {
			w.Points = append(w.Points, telemetry.Point{Series: id, Time: t.Start.Add(time.Duration(i) * t.Step).UnixMilli(), Value: v})
		}
	}
	if err := h.plain.Commit([]*telemetry.Write{w}); err != nil {
		return err
	}
	h.plain.Forget([]telemetry.SeriesID{id})
	return nil
}
