package query

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/songhua-io/hub/internal/telemetry"
)

// inUnit is a store whose values come in one unit, so that whatever is made of
// them (averages, thresholds) is in it. The label unit of a series says so; what
// a device sent in two units is one series. Quality series are as they are.
type inUnit struct {
	storage.Queryable
	to string
	// of is Source.Unit, for series without a label unit.
	of func(device, metric string) string
}

// errUnit is why the values of a series cannot be given in a unit.
type errUnit struct{ text string }

func (e *errUnit) Error() string { return e.text }

func (u inUnit) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := u.Queryable.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return &unitQuerier{q, u, map[string]string{}}, nil
}

type unitQuerier struct {
	storage.Querier
	unit    inUnit
	metrics map[string]string // units of metrics that no model gives their device
}

func (q *unitQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	found := q.Querier.Select(ctx, sorted, hints, ms...)
	var all []storage.Series
	for found.Next() {
		s, err := q.convert(found.At())
		if err != nil {
			return storage.ErrSeriesSet(err)
		}
		all = append(all, s)
	}
	if err := found.Err(); err != nil {
		return storage.ErrSeriesSet(err)
	}
	slices.SortStableFunc(all, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return &unitSet{series: joined(all), notes: found.Warnings()}
}

// joined makes one series of those, in order, that have the same labels.
func joined(all []storage.Series) []storage.Series {
	out := all[:0]
	for len(all) > 0 {
		n := 1
		for n < len(all) && labels.Equal(all[0].Labels(), all[n].Labels()) {
			n++
		}
		one := all[0]
		if n > 1 {
			one = storage.ChainedSeriesMerge(slices.Clone(all[:n])...)
		}
		out, all = append(out, one), all[n:]
	}
	return out
}

func (q *unitQuerier) convert(s storage.Series) (storage.Series, error) {
	ls := s.Labels()
	device, metric := ls.Get(deviceLabel), ls.Get("__name__")
	in := labels.NewBuilder(ls).Set(telemetry.UnitTag, q.unit.to).Labels()
	if strings.HasSuffix(metric, telemetry.OutOfRange) {
		return &unitSeries{s, in, q.unit.to, q.unit.to}, nil
	}
	from := ls.Get(telemetry.UnitTag)
	if from == "" {
		from = q.unitOf(device, metric)
	}
	if from == "" {
		return nil, &errUnit{fmt.Sprintf("the unit of %s of device %q is not known; give the device a model that says it", metric, device)}
	}
	if !telemetry.Convertible(from, q.unit.to) {
		return nil, &errUnit{fmt.Sprintf("%s of device %q is in %s, which is no %s; ask for a unit of the same quantity", metric, device, from, q.unit.to)}
	}
	return &unitSeries{s, in, from, q.unit.to}, nil
}

func (q *unitQuerier) unitOf(device, metric string) (unit string) {
	if q.unit.of == nil {
		return ""
	}
	if device != "" {
		unit = q.unit.of(device, metric)
	}
	if unit != "" {
		return unit
	}
	unit, known := q.metrics[metric]
	if !known {
		unit = q.unit.of("", metric)
		q.metrics[metric] = unit
	}
	return unit
}

// unitSeries is a series in another unit.
type unitSeries struct {
	storage.Series
	labels   labels.Labels
	from, to string
}

func (s *unitSeries) Labels() labels.Labels { return s.labels }

func (s *unitSeries) Iterator(reuse chunkenc.Iterator) chunkenc.Iterator {
	it, ok := reuse.(*unitIterator)
	if !ok {
		it = &unitIterator{Iterator: reuse}
	}
	*it = unitIterator{s.Series.Iterator(it.Iterator), s.from, s.to}
	return it
}

type unitIterator struct {
	chunkenc.Iterator
	from, to string
}

func (it *unitIterator) At() (int64, float64) {
	t, v := it.Iterator.At()
	if telemetry.IsStaleMarker(v) {
		return t, v
	}
	v, _ = telemetry.Convert(v, it.from, it.to)
	return t, v
}

// unitSet gives series that are there already.
type unitSet struct {
	series []storage.Series
	at     int
	notes  annotations.Annotations
}

func (s *unitSet) Next() bool {
	s.at++
	return s.at <= len(s.series)
}

func (s *unitSet) At() storage.Series { return s.series[s.at-1] }

func (s *unitSet) Err() error { return nil }

func (s *unitSet) Warnings() annotations.Annotations { return s.notes }
