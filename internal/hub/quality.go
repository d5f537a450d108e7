package hub

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/quality"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/telemetry"
)

// openQuality measures datasets, day by day, by what is in the store.
func (h *hub) openQuality(ctx context.Context, q *query.API) (err error) {
	h.quality, err = quality.Open(ctx, h.cfg.Quality, quality.Deps{
		Records: h.records, Register: h.catalog, Store: h.allSeries(), Selection: made(q), Expect: h.expectedOf, Arrivals: h.pipeline.Arrivals,
		Releases: func(id string) []catalog.Release { return h.releases.Releases(id) }, Paths: h.ownPaths, Base: func() string { return h.at.HTTP }, Client: &http.Client{}, Devices: h.registry, Log: h.log, Clock: h.clock, Metrics: h.metrics,
	})
	return err
}

// runQuality measures once the addresses that it tries are open.
func (h *hub) runQuality(context.Context) error {
	h.stack.start("quality", h.quality.Run)
	return nil
}

// made says which series a dataset is made of, whatever kind its source is of.
func made(q *query.API) func(*catalog.Dataset) (register.Selection, error) {
	read := selection(q)
	return func(d *catalog.Dataset) (register.Selection, error) {
		switch d.Source.Kind {
		case catalog.SourceSignals:
			return read(signalSelector(d.Region))
		case catalog.SourceRoads:
			return read(fmt.Sprintf("{__name__=~%q,region=~%q}", "road_.+", d.Region+".*"))
		case catalog.SourceCompute:
			return read(fmt.Sprintf("{__name__=~%q,region=~%q}", strings.Join(facilityMetrics, "|"), d.Region+".*"))
		}
		return read(d.Source.Selector)
	}
}

// expectedOf is what the registry and the models know of a series: the period of the
// model's metric, else of the device, as declared or learned.
func (h *hub) expectedOf(device, metric, unit string) quality.Expected {
	is := quality.Expected{Low: math.Inf(-1), High: math.Inf(1), Unit: unit}
	if slices.Contains(facilityMetrics, metric) {
		is.Period = poolInterval
		return is
	}
	if strings.HasPrefix(metric, ofSignals) || strings.HasPrefix(metric, "road_") {
		return is // what there is to count decides how often
	}
	d := h.registry.Device(device)
	if d == nil {
		is.Gone = true
		return is
	}
	is.Since, is.Period = d.Created, d.Period
	if is.Period == 0 {
		is.Period = h.presence.Of(device).Period
	}
	m := d.Model.Metric([]byte(metric))
	if m == nil {
		return is
	}
	if is.Low, is.High = m.Min, m.Max; unit != "" && !telemetry.SameUnit(unit, m.Unit) {
		var known bool
		if is.Low, is.High, known = telemetry.ConvertRange(m.Min, m.Max, m.Unit, unit); !known {
			is.Low, is.High = math.Inf(-1), math.Inf(1)
		}
	} else if unit == "" {
		is.Unit = m.Unit
	}
	h.byModel(d.Model.ID, metric, &is)
	return is
}

// byModel adds what a model says of a metric besides its range.
func (h *hub) byModel(id, metric string, is *quality.Expected) {
	m, err := h.models.Get(id)
	if err != nil {
		return
	}
	for _, known := range m.Metrics {
		if known.Name != metric {
			continue
		}
		is.Step = known.Step
		if period, err := time.ParseDuration(known.Period); err == nil && period > 0 {
			is.Period = period
		}
	}
}

// ownPaths are the own addresses of a dataset that anybody may open.
func (h *hub) ownPaths(d *catalog.Dataset) (all []string) {
	if d.Open.Class != catalog.Unconditional {
		return nil
	}
	own := catalog.Base("")
	all = append(all, own.Dataset(d.ID), own.Catalogue()+".ttl")
	if files := h.releases.Releases(d.ID); len(files) > 0 {
		newest := files[len(files)-1]
		for _, f := range newest.Files {
			all = append(all, own.File(d.ID, newest.Version, f.Name))
		}
	}
	for _, i := range interfaces(own, d) {
		all = append(all, i.URL)
	}
	return all
}
