package api

import (
	"context"
	"maps"
	"net/http"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/quality"
	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/registry"
)

// oneSource refuses devices that would collect again what a published dataset
// shares, but for those that say why. Art. 25(2)
func (a *API) oneSource(ctx context.Context, all ...DeviceIn) error {
	var candidates []quality.Candidate
	for i := range all {
		d := &all[i]
		if d.Model == "" || d.Again != "" {
			continue
		}
		m, err := a.Models.Get(d.Model)
		if err != nil {
			continue // who knows why says so
		}
		candidates = append(candidates, quality.Candidate{ID: d.ID, Site: d.Site, Region: d.Region, Lat: d.Lat, Lon: d.Lon, Provider: d.Tags[quality.ProviderTag], Metrics: metricsOf(m, nil)})
	}
	if len(candidates) == 0 {
		return nil
	}
	return a.Quality.Again(ctx, candidates)
}

// newcomers are those of some devices that are not registered: of others who
// registers them is told so.
func (a *API) newcomers(all ...DeviceIn) (out []DeviceIn) {
	for i := range all {
		if a.Registry.Device(all[i].ID) == nil {
			out = append(out, all[i])
		}
	}
	return out
}

// collects reports whether a change lets a device collect something, or
// elsewhere, or for somebody else.
func collects(before, after DeviceIn) bool {
	same := func(a, b *float64) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
	return before.Model != after.Model || before.Site != after.Site || before.Region != after.Region || !same(before.Lat, after.Lat) || !same(before.Lon, after.Lon) ||
		before.Tags[quality.ProviderTag] != after.Tags[quality.ProviderTag]
}

// idsWithReasons is what the record of changes holds of a batch.
func idsWithReasons(all []DeviceIn) any {
	ids, reasons := make([]string, len(all)), map[string]string{}
	for i, d := range all {
		if ids[i] = d.ID; d.Again != "" {
			reasons[d.ID] = d.Again
		}
	}
	if len(reasons) == 0 {
		return ids
	}
	return map[string]any{"devices": ids, "again": maps.Clone(reasons)}
}

// metricsOf are the metrics of a model that another one does not list.
func metricsOf(m, but *model.Model) (names []string) {
	known := map[string]bool{}
	if but != nil {
		for _, metric := range but.Metrics {
			known[metric.Name] = true
		}
	}
	for _, metric := range m.Metrics {
		if !known[metric.Name] {
			names = append(names, metric.Name)
		}
	}
	return names
}

// oneSourceOf is oneSource for the devices of a model that is to list more.
func (a *API) oneSourceOf(ctx context.Context, m, before *model.Model) error {
	names := metricsOf(m, before)
	if len(names) == 0 {
		return nil
	}
	var candidates []quality.Candidate
	for after, more := "", true; more; {
		var page []*registry.Device
		page, more = a.Registry.List(registry.Filter{Model: m.ID}, after, 1000)
		for _, d := range page {
			after = d.ID
			candidates = append(candidates, quality.Candidate{ID: d.ID, Site: d.Site, Region: d.Region, Lat: d.Lat, Lon: d.Lon, Provider: d.Tags[quality.ProviderTag], Metrics: names})
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	return a.Quality.Again(ctx, candidates)
}

// modelNote is what the record of changes holds of a model, with why it collects
// again what is shared.
type modelNote struct {
	model.Document
	Again string `json:"again"`
}

func againProblem(e *quality.Again) *problem {
	p := newProblem(http.StatusConflict, e.Error())
	p.Text = &text{e.ZH(), e.Error()}
	p.Dataset = &sharedOut{e.By.ID, e.By.Code, e.By.Document.Title, catalog.Class(e.By.Document.Share.Class)}
	return p
}
