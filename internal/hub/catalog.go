package hub

import (
	"context"
	"encoding/json"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/telemetry"
)

// openCatalog reads the public catalogue. What it knows of series it asks the
// queries, and what of metrics, the models.
func (h *hub) openCatalog(ctx context.Context, q *query.API) (err error) {
	h.catalog, err = register.Open(ctx, h.cfg.Catalog, register.Deps{
		Records: h.records, Noted: h.notedCatalog, Selection: selection(q), Series: h.selected(q), Metric: h.metricOf,
		Seal: h.sealer.Seal, Unseal: h.sealer.Open, Changed: h.feedChanged, Log: h.log, Clock: h.clock, Metrics: h.metrics,
	})
	if err == nil {
		h.stack.start("catalogue", h.catalog.Run)
		h.openOffers(q)
		err = h.openQuality(ctx, q)
	}
	return err
}

// notedCatalog puts a change of the catalogue on record.
func (h *hub) notedCatalog(ctx context.Context, action access.Action, object, region string, before, after any) context.Context {
	c := access.CallerOf(ctx)
	e := audit.Entry{At: h.clock(), Actor: c.Name, Role: c.Role, Origin: c.Address, Action: action, Object: object, Region: region, Before: told(before), After: told(after)}
	if !c.Known() && c.Address == "" {
		e.Actor = own
	}
	return audit.With(ctx, e)
}

func told(v any) string {
	if v == nil {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // what the catalogue notes always has a JSON form
	}
	return string(text)
}

func selection(q *query.API) func(string) (register.Selection, error) {
	return func(selector string) (all register.Selection, err error) {
		found, err := q.Selector(selector)
		for _, m := range found {
			all = append(all, register.Matcher(m))
		}
		return all, err
	}
}

// lately is how far back a series counts as one that is measured.
const lately = 30 * 24 * time.Hour

// selected lists what a selector selects of what the caller may see.
func (h *hub) selected(q *query.API) func(context.Context, string, int) ([]register.Series, error) {
	secret := &grades{registry: h.registry}
	return func(ctx context.Context, selector string, limit int) ([]register.Series, error) {
		c := access.CallerOf(ctx)
		hidden, err := secret.hidden(c.Grade)
		if err != nil {
			return nil, err
		}
		now := h.clock()
		found, err := q.Selected(ctx, query.Scope{Region: c.Region, Hidden: hidden}, selector, now.Add(-lately), now, limit)
		if err != nil {
			return nil, err
		}
		units := h.registry.Metadata()
		all := make([]register.Series, len(found))
		for i, labels := range found {
			metric := labels["__name__"]
			delete(labels, "__name__")
			s := register.Series{Metric: metric, Labels: labels, Unit: orElse(labels["unit"], units[metric].Unit)}
			s.Grade, s.Period = h.measuredBy(labels["device"], metric)
			all[i] = s
		}
		return all, nil
	}
}

// measuredBy is the grade of what a device reports of a metric, and how often it
// does.
func (h *hub) measuredBy(device, metric string) (telemetry.Grade, time.Duration) {
	d := h.registry.Device(device)
	if d == nil {
		return h.registry.Departed(device), 0
	}
	g, _ := h.gradeOf(device, metric)
	period := d.Period
	if period == 0 {
		period = h.presence.Of(device).Period
	}
	return g, max(period, d.Model.Period([]byte(metric)))
}

// metricOf is what the models say of a metric; the first one that names it
// counts.
func (h *hub) metricOf(name string) (m register.Metric) {
	for _, of := range h.models.List() {
		for _, known := range of.Metrics {
			if known.Name != name {
				continue
			}
			if m.Unit == "" {
				m.Unit = known.Unit
			}
			if m.Title == (register.Text{}) {
				m.Title = register.Text{ZH: known.Names.ZH, EN: known.Names.EN}
			}
		}
	}
	return m
}

func orElse(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}
