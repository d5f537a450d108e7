package hub

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/quality"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/correction"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/traffic"
)

// keepPassages keeps the passages of minutes that are over.
func (h *hub) keepPassages(over []traffic.Minute) error {
	all := make([]publish.Minute, 0, len(over))
	for _, m := range over {
		if len(m.Passages) == 0 {
			continue
		}
		one := publish.Minute{Unit: m.Unit, Start: m.Start, Passages: make(map[string]source.Passages, len(m.Passages))}
		for _, p := range m.Passages {
			one.Passages[linkCode(traffic.NodeName(p.From), traffic.NodeName(p.To))] = source.Passages{Vehicles: p.Vehicles, SpeedSum: p.SpeedSum}
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return h.passages.Keep(ctx, all)
}

func linkCode(from, to string) string { return from + ">" + to }

// openPublisher makes releases of datasets into a store.
func (h *hub) openPublisher(ctx context.Context, q *query.API, into publish.Store) (err error) {
	h.publisher, err = publish.Open(ctx, h.cfg.Releases.Publish, publish.Deps{
		Records: h.records, Passages: h.passages, Store: into,
		Sources: source.Deps{Bins: binsOf(q), Place: h.placeOf},
		Touched: h.touched, Devices: devicesOf(q), Part: h.corrections.Part, AsOf: correction.AsOf, Corrections: h.correctionsOf,
		Dataset: func(id string) (*catalog.Dataset, error) {
			rec, err := h.catalog.Get(id)
			if err != nil {
				return nil, err
			}
			return rec.Dataset(), nil
		},
		Published: h.catalog.Published,
		Suspend: func(ctx context.Context, id, reason string) error {
			_, err := h.catalog.Suspend(ctx, id, 0, reason)
			return err
		},
		Answered: h.catalog.Done,
		Revised: func(ctx context.Context, dataset string, p catalog.Period) {
			if err := h.quality.Revise(ctx, dataset, quality.DayOf(p.From)); err != nil && ctx.Err() == nil {
				h.log.Error("quality_not_measured_again", "dataset", dataset, "error", err)
			}
		},
		Grade:    h.inputGrade,
		Gradings: h.registry.Gradings,
		Device:   h.deviceOf,
		Road:     h.roadOf,
		Noted:    h.notedCatalog, Seal: h.sealer.Seal, Unseal: h.sealer.Open, Log: h.log, Clock: h.clock, Metrics: h.metrics,
	})
	if err != nil {
		return err
	}
	h.stack.start("releases", h.publisher.Run)
	return nil
}

// correctsPast notes samples of the past that are about to be corrected.
func (h *hub) correctsPast(device string, from, to int64) error {
	return h.touched.Corrected(device, from, to, h.clock())
}

// correctionsOf are corrections of samples in a period.
func (h *hub) correctionsOf(after, until time.Time, p catalog.Period) (all []publish.Correction) {
	for _, c := range h.corrections.Made(after, until, p.From.UnixMilli(), p.To.UnixMilli()-1) {
		all = append(all, publish.Correction{ID: c.ID, At: time.UnixMilli(c.At).UTC(), By: c.By, Reason: c.Reason, Ticket: c.Ticket, From: time.UnixMilli(c.From).UTC(), To: time.UnixMilli(c.To).UTC(), About: c.About})
	}
	return all
}

// devicesOf finds the devices of the series that a dataset selects between two
// times. Samples are not read.
func devicesOf(q *query.API) func(context.Context, *catalog.Dataset, time.Time, time.Time) (map[string]bool, error) {
	return func(ctx context.Context, d *catalog.Dataset, from, to time.Time) (map[string]bool, error) {
		found, err := q.Selected(ctx, query.Scope{Region: d.Region}, source.Selector(d), from, to.Add(-time.Millisecond), maxSelected)
		devices := map[string]bool{}
		for _, labels := range found {
			devices[labels["device"]] = true
		}
		return devices, err
	}
}

// maxSelected bounds the series that are looked at for their devices; a dataset of
// more has too many for a release.
const maxSelected = 1 << 20

// binsOf reads series for releases: all of a region, of whatever grade. That the
// dataset has the grade of what is in it is for the publisher to see to.
func binsOf(q *query.API) func(context.Context, string, string, time.Time, time.Time, time.Duration, func(map[string]string, []source.Bin) error) error {
	return func(ctx context.Context, region, selector string, from, to time.Time, bin time.Duration, each func(map[string]string, []source.Bin) error) error {
		var bins []source.Bin
		return q.Bins(ctx, query.Scope{Region: region}, selector, from, to, bin, func(labels map[string]string, all []query.Bin) error {
			bins = bins[:0]
			for i := range all {
				bins = append(bins, source.Bin(all[i]))
			}
			return each(labels, bins)
		})
	}
}

// placeOf is where the device of a series is, or else its site.
func (h *hub) placeOf(labels map[string]string) (lat, lon float64, ok bool) {
	if d, err := h.registry.Get(labels["device"]); err == nil && d.Lat != nil && d.Lon != nil {
		return *d.Lat, *d.Lon, true
	}
	if s, err := h.registry.Site(labels["site"]); err == nil && s.Lat != nil && s.Lon != nil {
		return *s.Lat, *s.Lon, true
	}
	return 0, 0, false
}

// inputGrade is that of a metric of a device, or of the device. The hub's own series
// have none.
func (h *hub) inputGrade(device, metric string) telemetry.Grade {
	if device == "" {
		return telemetry.General
	}
	g, _ := h.measuredBy(device, metric)
	return g
}

// deviceOf is what is known of a device: with the firmware and the agent that it
// says it has.
func (h *hub) deviceOf(ctx context.Context, id string) publish.Device {
	out := publish.Device{ID: id}
	d, err := h.registry.Get(id)
	if err != nil {
		return out
	}
	out.Kind, out.Site, out.Region, out.Gateway = string(d.Kind), d.Site, d.Region, d.Gateway
	if d.Model != nil {
		out.Model = d.Model.ID
	}
	if u, ok := h.board.Unit(id); ok {
		out.Firmware = u.Status.Firmware
	}
	states, err := h.registry.States(ctx, id)
	if err != nil {
		h.log.Warn("states_not_read", "device", id, "error", err)
		return out
	}
	for _, name := range []string{"firmware", "firmware_version", "software_version"} {
		out.Firmware = cmp.Or(states[name].Value, out.Firmware)
	}
	for _, name := range []string{"agent", "agent_version"} {
		out.Agent = cmp.Or(states[name].Value, out.Agent)
	}
	return out
}

// roadOf is where a link lies, as its unit's map has it, and in which district.
func (h *hub) roadOf(code, unit string) (l source.Link) {
	if d, err := h.registry.Get(unit); err == nil {
		l.District = d.Region
	}
	for _, v := range h.board.Links() {
		if v.Unit != unit || linkCode(traffic.NodeName(v.From), traffic.NodeName(v.To)) != code {
			continue
		}
		for _, p := range v.Points {
			l.Path = append(l.Path, source.Vertex{Lon: int32(p.Lon * 1e6), Lat: int32(p.Lat * 1e6)})
		}
	}
	return l
}

// lineage is where rows of a release come from, as far as the caller may see it.
func (h *hub) lineage(ctx context.Context, dataset string, version int64, row int) (*publish.Lineage, error) {
	l, err := h.publisher.Lineage(ctx, dataset, version, row)
	if err != nil {
		return nil, err
	}
	c := access.CallerOf(ctx)
	sees := func(device, region, metric string) bool {
		return strings.HasPrefix(region, c.Region) && h.inputGrade(device, metric) <= c.Grade
	}
	series, devices := l.Series[:0], l.Devices[:0]
	for _, d := range l.Devices {
		if sees(d.ID, d.Region, "") {
			devices = append(devices, d)
		}
	}
	for _, s := range l.Series {
		region := s.Labels["region"]
		if region == "" && s.Labels["device"] != "" { // a roadside unit
			if d := h.registry.Device(s.Labels["device"]); d != nil {
				region = d.Region
			}
		}
		if sees(s.Labels["device"], region, s.Labels["__name__"]) {
			series = append(series, s)
		}
	}
	l.Corrections = slices.DeleteFunc(l.Corrections, func(c publish.Correction) bool {
		return !slices.ContainsFunc(series, func(s source.Input) bool { return c.About(s.Labels) })
	})
	l.Series, l.Devices = series, devices
	return l, nil
}
