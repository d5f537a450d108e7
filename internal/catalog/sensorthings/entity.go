package sensorthings

import (
	"cmp"
	"math"

	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// set is a kind of entity.
type set uint8

const (
	things set = iota
	locations
	historical
	streams
	sensors
	observed
	observations
	features
)

// row is one entity. Which of the fields it has follows from its set.
type row struct {
	set    set
	id     string           // empty for observations, of which it is made when it is asked for
	device *registry.Device // things, features, datastreams, observations; locations of a single device
	site   *registry.Site   // locations of a site
	model  *model.Model     // sensors
	kind   telemetry.Kind   // sensors of devices without a model
	metric string           // observed properties
	stream *stream          // datastreams, observations
	at     int64            // observations
	result float64
	// passed rows are none: they say up to where a source has come.
	passed bool
}

func (r *row) key() string {
	if r.set == observations && !r.passed {
		return observationID(r.stream.id, r.at)
	}
	return r.id
}

// property is one property of an entity, in the order in which it is shown.
type property struct {
	name string
	kind kind
	get  func(*question, *row) value
}

// link leads from an entity to one or many others.
type link struct {
	name string
	to   set
	many bool
}

type entity struct {
	properties []property
	links      []link
}

// name is what the standard calls a set.
func (s set) name() string {
	return [...]string{"Things", "Locations", "HistoricalLocations", "Datastreams", "Sensors", "ObservedProperties", "Observations", "FeaturesOfInterest"}[s]
}

const setCount = features + 1

// entities is the data model of OGC 18-088, 8.2, but for what the hub does not
// know: areas and periods that are observed, qualities of results.
var entities = [...]entity{
	things: {[]property{
		{"name", text, func(_ *question, r *row) value { return textOf(r.device.ID) }},
		{"description", text, func(_ *question, r *row) value { return textOf(kindText(r.device.Kind)) }},
		{"properties", object, (*question).thingProperties},
	}, []link{{"Locations", locations, true}, {"HistoricalLocations", historical, true}, {"Datastreams", streams, true}}},
	locations: {[]property{
		{"name", text, func(_ *question, r *row) value { return textOf(placeName(r)) }},
		{"description", text, func(_ *question, r *row) value { return textOf(placeText(r)) }},
		{"encodingType", text, geoJSON},
		{"location", object, (*question).point},
		{"properties", object, placeProperties},
	}, []link{{"Things", things, true}, {"HistoricalLocations", historical, true}}},
	historical: {[]property{
		{"time", instant, func(*question, *row) value { return value{} }},
	}, []link{{"Thing", things, false}, {"Locations", locations, true}}},
	streams: {[]property{
		{"name", text, func(_ *question, r *row) value { return textOf(r.stream.name()) }},
		{"description", text, (*question).streamText},
		{"observationType", text, func(*question, *row) value { return textOf(measurement) }},
		{"unitOfMeasurement", object, func(q *question, r *row) value { return unitOf(q.unit(r.stream)) }},
		{"properties", object, streamProperties},
	}, []link{{"Thing", things, false}, {"Sensor", sensors, false}, {"ObservedProperty", observed, false}, {"Observations", observations, true}}},
	sensors: {[]property{
		{"name", text, func(_ *question, r *row) value { return textOf(sensorName(r)) }},
		{"description", text, func(_ *question, r *row) value { return textOf(sensorText(r)) }},
		{"encodingType", text, func(*question, *row) value { return textOf("application/json") }},
		{"metadata", object, (*question).sensorMetadata},
		{"properties", object, sensorProperties},
	}, []link{{"Datastreams", streams, true}}},
	observed: {[]property{
		{"name", text, func(_ *question, r *row) value { return textOf(r.metric) }},
		{"definition", text, (*question).definition},
		{"description", text, (*question).semantic},
		{"properties", object, (*question).metricProperties},
	}, []link{{"Datastreams", streams, true}}},
	observations: {[]property{
		{"phenomenonTime", instant, taken},
		{"resultTime", instant, taken},
		{"result", number, func(_ *question, r *row) value { return numberOf(r.result) }},
	}, []link{{"Datastream", streams, false}, {"FeatureOfInterest", features, false}}},
	features: {[]property{
		{"name", text, func(_ *question, r *row) value { return textOf(r.device.ID) }},
		{"description", text, func(_ *question, r *row) value { return textOf(kindText(r.device.Kind)) }},
		{"encodingType", text, geoJSON},
		{"feature", object, (*question).feature},
		{"properties", object, func(_ *question, r *row) value { return optional(field{"region", textOrNull(r.device.Region)}) }},
	}, []link{{"Observations", observations, true}}},
}

const measurement = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement"

func geoJSON(*question, *row) value { return textOf("application/geo+json") }

// A device's sample has one time: when it was taken.
func taken(_ *question, r *row) value { return instantOf(r.at) }

var kindNames = map[telemetry.Kind]string{
	telemetry.KindSensor: "传感器", telemetry.KindRSU: "路侧单元", telemetry.KindNode: "计算节点", telemetry.KindGateway: "网关", telemetry.KindMeter: "计量表",
}

func kindText(k telemetry.Kind) string { return kindNames[k] + " / " + string(k) }

func (q *question) thingProperties(r *row) value {
	d := r.device
	tags := []field{}
	for _, t := range sorted(d.Tags) {
		tags = append(tags, field{t.Name, textOf(t.Value)})
	}
	of := ""
	if d.Model != nil {
		of = d.Model.ID
	}
	period := value{}
	if d.Period > 0 {
		period = textOf(d.Period.String())
	}
	if q.sight != nil { // they are said for those who run it
		tags = nil
	}
	return optional(field{"kind", textOf(string(d.Kind))}, field{"site", textOrNull(d.Site)}, field{"region", textOrNull(d.Region)},
		field{"model", textOrNull(of)}, field{"period", period}, field{"tags", objectOf(tags...)})
}

// place is where a location lies, in WGS 84 degrees.
func (r *row) place() (lat, lon *float64) {
	if r.site != nil {
		return r.site.Lat, r.site.Lon
	}
	return r.device.Lat, r.device.Lon
}

// point is GeoJSON: longitude first (RFC 7946, 3.1.1). Who does not see by an own
// right is told it as releases tell it, to about a hundred metres.
func (q *question) point(r *row) value {
	lat, lon := r.place()
	exact := func(degrees float64) float64 { return degrees }
	if q.sight != nil {
		exact = func(degrees float64) float64 { return math.Round(degrees*1000) / 1000 }
	}
	return objectOf(field{"type", textOf("Point")}, field{"coordinates", value{kind: object, items: []value{numberOf(exact(*lon)), numberOf(exact(*lat))}}})
}

func placeName(r *row) string {
	if r.site != nil {
		return cmp.Or(r.site.ZH, r.site.EN, r.site.ID)
	}
	return r.device.ID
}

func placeText(r *row) string {
	if r.site != nil {
		return cmp.Or(r.site.EN, r.site.ZH, r.site.ID)
	}
	return "设备所在位置 / where the device stands"
}

func placeProperties(_ *question, r *row) value {
	if r.site != nil {
		return optional(field{"site", textOf(r.site.ID)}, field{"region", textOrNull(r.site.Region)}, names(r.site.ZH, r.site.EN))
	}
	return optional(field{"device", textOf(r.device.ID)}, field{"region", textOrNull(r.device.Region)})
}

func names(zh, en string) field {
	return field{"names", optional(field{"zh", textOrNull(zh)}, field{"en", textOrNull(en)})}
}

func (q *question) streamText(r *row) value {
	return textOf(cmp.Or(q.meaning(r.stream.metric).Semantic, r.stream.metric))
}

func streamProperties(_ *question, r *row) value {
	tags := []field{}
	for _, t := range r.stream.tags {
		tags = append(tags, field{t.Name, textOf(t.Value)})
	}
	return optional(field{"device", textOf(r.device.ID)}, field{"metric", textOf(r.stream.metric)}, field{"tags", objectOf(tags...)})
}

// unit is that of the series where it has one, of the device's model, or of the
// first sender of the metric.
func (q *question) unit(s *stream) string {
	for _, t := range s.tags {
		if t.Name == telemetry.UnitTag {
			return t.Value
		}
	}
	if m := s.device.Model.Metric([]byte(s.metric)); m != nil && m.Unit != "" {
		return m.Unit
	}
	return q.api.deps.Devices.MetricUnit(s.metric)
}

func sensorName(r *row) string {
	if r.model != nil {
		return cmp.Or(r.model.Names.ZH, r.model.Names.EN, r.model.ID)
	}
	return kindText(r.kind)
}

func sensorText(r *row) string {
	if r.model != nil {
		return cmp.Or(r.model.Names.EN, r.model.Names.ZH, r.model.ID)
	}
	return "型号未申报的设备 / devices whose model is not known"
}

// sensorMetadata tells what such a device measures, as far as its model does.
func (q *question) sensorMetadata(r *row) value {
	if r.model == nil {
		return objectOf(field{"kind", textOf(string(r.kind))})
	}
	metrics := []value{}
	if q.sight != nil { // not all that it measures is given out
		return optional(field{"model", textOf(r.model.ID)}, field{"kind", textOrNull(r.model.Kind)})
	}
	for i := range r.model.Metrics {
		m := &r.model.Metrics[i]
		metrics = append(metrics, optional(append([]field{{"name", textOf(m.Name)}, {"unit", textOrNull(m.Unit)}}, meaning{m}.fields()...)...))
	}
	return optional(field{"model", textOf(r.model.ID)}, field{"kind", textOrNull(r.model.Kind)}, field{"metrics", value{kind: object, items: metrics}})
}

func sensorProperties(_ *question, r *row) value {
	if r.model == nil {
		return optional(field{"kind", textOf(string(r.kind))})
	}
	return optional(field{"kind", textOrNull(r.model.Kind)}, field{"model", textOf(r.model.ID)}, names(r.model.Names.ZH, r.model.Names.EN))
}

// feature is where a device stands; a feature without geometry where that is not
// known (RFC 7946, 3.2).
func (q *question) feature(r *row) value {
	if at := q.locationOf(r.device); at != nil {
		return q.point(at)
	}
	return objectOf(field{"type", textOf("Feature")}, field{"geometry", value{}}, field{"properties", objectOf()})
}
