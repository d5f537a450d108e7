package sensorthings

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// question is one request while it is answered, by one goroutine.
type question struct {
	api    *API
	ctx    context.Context
	caller access.Caller
	sight  Sight // nil: of who sees by an own right
	from   storage.Queryable
	base   string // address of the root, with / at its end
	left   budget
	cost   int             // of what was looked at, in samples
	all    storage.Querier // over all time; opened when it is needed

	meanings  map[string]meaning
	modelList []*model.Model
}

// series is a querier for labels alone. What it finds is valid until close.
func (q *question) series() (storage.Querier, error) {
	if q.all == nil {
		var err error
		if q.all, err = q.from.Querier(math.MinInt64, math.MaxInt64); err != nil {
			return nil, err
		}
	}
	return q.all, nil
}

func (q *question) close() {
	if q.all != nil {
		_ = q.all.Close() // it was read to the end
	}
}

// device returns a device that the caller may see; nil for others.
func (q *question) device(id string) *registry.Device {
	d, err := q.api.deps.Devices.Get(id)
	if err != nil || !q.sees(d.Device) {
		return nil
	}
	if q.sight != nil {
		if seen, err := q.seen([]*registry.Device{d}); err != nil || len(seen) == 0 {
			return nil
		}
	}
	return d
}

// locationOf is where a device stands: its own place, else its site's; nil when
// that is not known, or not the caller's to see.
func (q *question) locationOf(d *registry.Device) *row {
	if !q.places(d) {
		return nil
	}
	if d.Lat != nil {
		return &row{set: locations, id: ofDevice + d.ID, device: d}
	}
	if d.Site == "" {
		return nil
	}
	return q.siteAt(d.Site)
}

// Prefixes of the ids of locations and sensors.
const (
	ofDevice = "device:"
	ofSite   = "site:"
	ofKind   = "kind:"
	ofModel  = "model:"
)

func (q *question) siteAt(id string) *row {
	s, err := q.api.deps.Devices.Site(id)
	if err != nil || s.Lat == nil || !hasPrefix(s.Region, q.caller.Region) {
		return nil
	}
	return &row{set: locations, id: ofSite + s.ID, site: s}
}

func hasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }

// sensorOf is the model of a device, or its kind.
func (q *question) sensorOf(d *registry.Device) *row {
	if d.Model != nil {
		if m := q.model(d.Model.ID); m != nil {
			return &row{set: sensors, id: ofModel + escape(m.ID), model: m}
		}
	}
	return &row{set: sensors, id: ofKind + string(d.Kind), kind: d.Kind}
}

func (q *question) model(id string) *model.Model {
	all := q.models()
	i, ok := slices.BinarySearchFunc(all, id, func(m *model.Model, id string) int {
		switch {
		case m.ID < id:
			return -1
		case m.ID > id:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return all[i]
}

func sorted(tags map[string]string) (all []telemetry.Label) {
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		all = append(all, telemetry.Label{Name: name, Value: tags[name]})
	}
	return all
}

func thingOf(d *registry.Device) *row   { return &row{set: things, id: d.ID, device: d} }
func featureOf(d *registry.Device) *row { return &row{set: features, id: d.ID, device: d} }
func streamRow(s *stream) *row          { return &row{set: streams, id: s.id, device: s.device, stream: s} }

// find returns the entity with an id; a refusal when there is none.
func (q *question) find(s set, id string) (*row, error) {
	r, err := q.lookUp(s, id)
	if err == nil && r == nil {
		err = missing(s, id)
	}
	return r, err
}

func (q *question) lookUp(s set, id string) (*row, error) {
	switch s {
	case things, features:
		d := q.device(id)
		if d == nil {
			return nil, nil
		}
		return &row{set: s, id: d.ID, device: d}, nil
	case locations:
		return q.findLocation(id), nil
	case streams:
		found, err := q.findStream(id)
		if found == nil {
			return nil, err
		}
		return streamRow(found), nil
	case sensors:
		for r := range q.sensors() {
			if r.id == id && !r.passed {
				return r, nil
			}
		}
	case observed:
		name, ok := unescape(id)
		if !ok {
			return nil, nil
		}
		return q.findObserved(name)
	case observations:
		return q.findObservation(id)
	}
	return nil, nil
}

func (q *question) findLocation(id string) *row {
	if hasPrefix(id, ofSite) {
		if id = id[len(ofSite):]; !q.any(registry.Filter{Site: id}, q.places) {
			return nil
		}
		return q.siteAt(id)
	}
	if !hasPrefix(id, ofDevice) {
		return nil
	}
	if d := q.device(id[len(ofDevice):]); d != nil && d.Lat != nil {
		return q.locationOf(d) // nil where it is not shown
	}
	return nil
}

// one follows a link that leads to a single entity; nil where there is none.
func (q *question) one(l link, from *row) (*row, error) {
	switch l.to {
	case things:
		return thingOf(from.device), nil
	case features:
		return featureOf(from.device), nil
	case sensors:
		return q.sensorOf(from.device), nil
	case observed:
		return &row{set: observed, id: escape(from.stream.metric), metric: from.stream.metric}, nil
	case streams:
		return streamRow(from.stream), nil
	}
	return nil, errors.New("sensorthings: " + l.name + " leads to many")
}

// owns reports whether an entity is among those that a link of another leads to.
func (q *question) owns(parent, r *row) bool {
	switch parent.set {
	case things, features:
		if r.set == locations {
			at := q.locationOf(parent.device)
			return at != nil && at.id == r.id
		}
		return r.device != nil && r.device.ID == parent.device.ID
	case locations:
		at := q.locationOf(r.device)
		return at != nil && at.id == parent.id
	case streams:
		return r.stream.id == parent.stream.id
	case sensors:
		return q.sensorOf(r.device).id == parent.id
	case observed:
		return r.stream.metric == parent.metric
	}
	return false
}
