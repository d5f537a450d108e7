package hub

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/correction"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/web"
)

func (h *hub) correctionPages() web.Corrections {
	return web.Corrections{List: h.listCorrections, One: h.oneCorrection}
}

// shownSamples bounds the samples on the page of a correction.
const shownSamples = 50

func (h *hub) listCorrections(_ context.Context, c access.Caller, q web.CorrectionQuery) (all []web.Correction, err error) {
	part, _ := h.corrections.List(correction.Filter{Device: q.Device, Metric: q.Metric, Ticket: q.Ticket, Before: q.Before, Sees: func(x *correction.Correction) bool { return api.SeesCorrection(h.registry, c, x) }}, q.Limit)
	for _, x := range part {
		all = append(all, pageCorrection(x))
	}
	return all, nil
}

func (h *hub) oneCorrection(ctx context.Context, c access.Caller, id int64) (web.Shown, bool, error) {
	x := h.corrections.Get(id)
	if x == nil || !api.SeesCorrection(h.registry, c, x) {
		return web.Shown{}, false, nil
	}
	found, more, err := h.corrections.Samples(ctx, x, shownSamples)
	out := web.Shown{Correction: pageCorrection(x), More: more}
	if d := h.registry.Device(x.Device); d != nil {
		out.Unit = d.Kind == telemetry.KindRSU
	}
	for _, s := range found {
		delete(s.Labels, "__name__")
		delete(s.Labels, "device")
		out.Samples = append(out.Samples, web.CorrectedSample{At: time.UnixMilli(s.At).UTC(), Labels: sorted(s.Labels), Raw: there(s.Raw), Before: there(s.Before), After: there(s.After), Now: there(s.Now)})
	}
	return out, true, err
}

func there(v correction.Value) *float64 {
	if !v.Is {
		return nil
	}
	return &v.V
}

func pageCorrection(x *correction.Correction) web.Correction {
	return web.Correction{ID: x.ID, At: time.UnixMilli(x.At), From: time.UnixMilli(x.From), To: time.UnixMilli(x.To), Device: x.Device, Metric: x.Metric, Labels: sorted(x.Labels),
		Operation: string(x.Operation), Value: x.Value, Factor: x.Factor, Offset: x.Offset, Old: x.Old, Samples: x.Samples, By: x.By, Reason: x.Reason, Ticket: x.Ticket}
}

// sorted are labels by their names.
func sorted(labels map[string]string) (all [][2]string) {
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		all = append(all, [2]string{name, labels[name]})
	}
	return all
}
