package hub

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/offer"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/sensorthings"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/traffic"
)

// openOffers lets everybody read what is published to be read as it comes.
func (h *hub) openOffers(q *query.API) {
	h.offers = offer.New(offer.Deps{Register: h.catalog, Selection: offered(q), Grade: h.gradeOf, Gated: ofRoads(), Log: h.log, Clock: h.clock, Metrics: h.metrics})
}

// sightOf is what the sender of a request sees by what is published or granted.
func sightOf(ctx context.Context) sensorthings.Sight {
	if r, ok := offer.ReadingOf(ctx); ok {
		return r
	}
	return nil
}

// gradeOf is the grade of a metric of a device that is registered.
func (h *hub) gradeOf(device, metric string) (telemetry.Grade, bool) {
	d := h.registry.Device(device)
	if d == nil {
		return 0, false
	}
	g := d.EffectiveGrade()
	if m := d.Model.Metric([]byte(metric)); m != nil {
		g = max(g, m.Grade)
	}
	return g, true
}

// offered says which series of devices a dataset is made of.
func offered(q *query.API) func(*catalog.Dataset) (register.Selection, error) {
	read := selection(q)
	return func(d *catalog.Dataset) (register.Selection, error) {
		if d.Source.Kind == catalog.SourceSignals {
			return read(signalSelector(d.Region))
		}
		return read(d.Source.Selector)
	}
}

// ofSignals is what the names of series of signals begin with.
const ofSignals = "signal_"

// signalSelector selects the series of signals in a region.
func signalSelector(region string) string {
	return fmt.Sprintf("{__name__=~%q,region=~%q}", ofSignals+".+", region+".*")
}

// ofRoads reports whether a metric tells of the traffic on a road or of the units
// that hear it: what of it is public goes through the privacy gate. Signals say
// nothing of who passes.
func ofRoads() func(metric string) bool {
	names := map[string]bool{}
	for _, d := range traffic.Definitions() {
		names[d.Name] = !strings.HasPrefix(d.Name, ofSignals)
	}
	return func(metric string) bool { return names[metric] }
}

// thingsService is the SensorThings API as the catalogue lists it, under the base
// of its addresses.
func thingsService(base catalog.Base) catalog.Service {
	root := strings.TrimSuffix(string(base), "/") + sensorthings.Root
	return catalog.Service{
		ID: "sensorthings", Title: catalog.Text{ZH: "实时感知数据接口（OGC SensorThings 1.1）", EN: "Live sensing data (OGC SensorThings 1.1)"},
		Endpoint: root, Description: root, Standard: "http://www.opengis.net/spec/iot_sensing/1.1",
	}
}

// interfaces are those by which a dataset can be read as it comes.
func interfaces(base catalog.Base, d *catalog.Dataset) []catalog.Distribution {
	s := thingsService(base)
	if !offer.Offered(d) {
		return nil
	}
	return []catalog.Distribution{{
		Name: s.ID, MediaType: "application/json", Service: s.ID,
		URL: s.Endpoint + "Datastreams?" + offer.DatasetOption + "=" + url.QueryEscape(d.ID),
	}}
}
