package sensorthings

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// rows lists the entities of a set that belong to another one, all for nil, in
// the order of their keys behind one of them. Observations come within a span,
// those of one datastream also against the order of time.
func (q *question) rows(s set, parent *row, after string, in span, down bool) iter.Seq2[*row, error] {
	switch s {
	case things:
		return q.thingsOf(parent, after)
	case features:
		return q.devices(features, registry.Filter{}, after)
	case locations:
		if parent != nil {
			return only(q.locationOf(parent.device), after)
		}
		return q.locations(after)
	case streams:
		return q.streamsUnder(parent, after)
	case sensors:
		return behind(q.sensors(), after)
	case observed:
		return q.observed(after)
	case observations:
		return q.observationsOf(parent, after, in, down)
	}
	return func(func(*row, error) bool) {} // where a device stood before is not kept
}

// only lists one entity, or none.
func only(r *row, after string) iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		if r != nil && r.id > after {
			yield(r, nil)
		}
	}
}

func behind(rows iter.Seq[*row], after string) iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		for r := range rows {
			if r.id > after && !yield(r, nil) {
				return
			}
		}
	}
}

// page is how many devices are taken from the registry at once.
const page = 256

func (q *question) devices(s set, f registry.Filter, after string) iter.Seq2[*row, error] {
	f.Sees = q.sees
	return func(yield func(*row, error) bool) {
		for more := true; more; {
			var some []*registry.Device
			size := page
			if q.sight != nil {
				size = maxBatch
			}
			some, more = q.api.deps.Devices.List(f, after, size)
			seen, err := q.seen(some)
			for _, d := range some {
				after = d.ID
				q.cost++
				if !yield(&row{set: s, id: d.ID, device: d, passed: seen != nil && !seen[d.ID]}, cmp.Or(err, q.ctx.Err())) {
					return
				}
			}
		}
	}
}

func (q *question) thingsOf(parent *row, after string) iter.Seq2[*row, error] {
	switch {
	case parent == nil:
		return q.devices(things, registry.Filter{}, after)
	case parent.site == nil:
		return only(thingOf(parent.device), after)
	}
	return func(yield func(*row, error) bool) {
		for r, err := range q.devices(things, registry.Filter{Site: parent.site.ID}, after) {
			r.passed = r.passed || r.device.Lat != nil || !q.places(r.device)
			if !yield(r, err) {
				return
			}
		}
	}
}

// locations lists the places of single devices, then those of sites.
func (q *question) locations(after string) iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		if !hasPrefix(after, ofSite) {
			for r, err := range q.devices(things, registry.Filter{}, strings.TrimPrefix(after, ofDevice)) {
				if r.device.Lat != nil && !r.passed && q.places(r.device) {
					r = q.locationOf(r.device)
				} else {
					r = &row{set: locations, id: ofDevice + r.id, passed: true}
				}
				if !yield(r, err) {
					return
				}
			}
			after = ofSite
		}
		for _, s := range q.api.deps.Devices.Sites(q.caller.Region) {
			r := q.siteAt(s.ID)
			if r == nil || r.id <= after {
				continue
			}
			r.passed = !q.any(registry.Filter{Site: s.ID}, q.places)
			if !yield(r, q.ctx.Err()) {
				return
			}
		}
	}
}

// sensors are the kinds of devices, for those without a model, and the models, in
// the order of their ids.
func (q *question) sensors() iter.Seq[*row] {
	all := []*row{}
	for _, k := range telemetry.Kinds() {
		all = append(all, &row{set: sensors, id: ofKind + string(k), kind: k})
	}
	for _, m := range q.models() {
		all = append(all, &row{set: sensors, id: ofModel + escape(m.ID), model: m})
	}
	slices.SortFunc(all, func(a, b *row) int { return strings.Compare(a.id, b.id) })
	if q.sight == nil {
		return slices.Values(all)
	}
	return func(yield func(*row) bool) {
		for _, r := range all {
			f, of := registry.Filter{Kind: r.kind}, func(d *registry.Device) bool { return d.Model == nil }
			if r.model != nil {
				f, of = registry.Filter{Model: r.model.ID}, nil
			}
			r.passed = !q.any(f, of)
			if !yield(r) {
				return
			}
		}
	}
}

func (q *question) streamsUnder(parent *row, after string) iter.Seq2[*row, error] {
	switch {
	case parent == nil:
		return q.streamsIn(registry.Filter{}, "", after, nil)
	case parent.set == observed:
		return q.streamsIn(registry.Filter{}, parent.metric, after, nil)
	case parent.set == sensors && parent.model != nil:
		return q.streamsIn(registry.Filter{Model: parent.model.ID}, "", after, nil)
	case parent.set == sensors:
		return q.streamsIn(registry.Filter{Kind: parent.kind}, "", after, func(d *registry.Device) bool { return d.Model == nil })
	}
	return q.streamsOfDevice(parent.device, after)
}

func (q *question) streamsOfDevice(d *registry.Device, after string) iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		q.yieldStreams([]*registry.Device{d}, "", after, yield)
	}
}

// observed lists the metrics that devices which the caller sees have.
func (q *question) observed(after string) iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		from, err := q.series()
		if err != nil {
			yield(nil, err)
			return
		}
		names, _, err := from.LabelValues(q.ctx, metricLabel, nil)
		if err != nil {
			yield(nil, err)
			return
		}
		all := make([]*row, len(names))
		for i, name := range names {
			all[i] = &row{set: observed, id: escape(name), metric: name}
		}
		slices.SortFunc(all, func(a, b *row) int { return strings.Compare(a.id, b.id) })
		for _, r := range all {
			if r.id <= after {
				continue
			}
			found, err := q.findObserved(r.metric)
			r.passed = found == nil
			if !yield(r, err) {
				return
			}
		}
	}
}

// findObserved returns a metric if a device that the caller sees has it.
func (q *question) findObserved(metric string) (*row, error) {
	from, err := q.series()
	if err != nil {
		return nil, err
	}
	set := from.Select(q.ctx, false, &storage.SelectHints{Start: math.MinInt64, End: math.MaxInt64, Func: "series"},
		labels.MustNewMatcher(labels.MatchEqual, metricLabel, metric))
	for set.Next() {
		if err := q.takeSeries(); err != nil {
			return nil, err
		}
		if q.registered(set.At().Labels().Get("device")) != nil {
			return &row{set: observed, id: escape(metric), metric: metric}, nil
		}
	}
	return nil, set.Err()
}
