package correction

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

type asOfKey struct{}

// AsOf returns a context whose reads see only the corrections that were made
// until then. What came late from devices they see all the same: the store does
// not know when a sample came.
func AsOf(ctx context.Context, t time.Time) context.Context {
	return context.WithValue(ctx, asOfKey{}, t.UnixMilli())
}

// asOf is the time of AsOf; without one, all time.
func asOf(ctx context.Context) int64 {
	if t, ok := ctx.Value(asOfKey{}).(int64); ok {
		return t
	}
	return math.MaxInt64
}

// Queryable is the store as it is corrected: what everybody reads. A read that
// no correction is about is the store's own.
func (l *Log) Queryable() storage.Queryable { return overlay{l} }

type overlay struct{ log *Log }

// Querier implements storage.Queryable.
func (o overlay) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := o.log.deps.Store.Querier(mint, maxt)
	if err != nil || o.log.Len() == 0 {
		return q, err
	}
	return &querier{q, o.log, mint, maxt}, nil
}

type querier struct {
	storage.Querier
	log        *Log
	mint, maxt int64
}

// Select implements storage.Querier.
func (q *querier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	if !q.log.concerns(ms) {
		return q.Querier.Select(ctx, sorted, hints, ms...)
	}
	return &seriesSet{q.Querier.Select(ctx, sorted, allSamples(hints), ms...), q, asOf(ctx)}
}

// allSamples are hints that let an engine leave no sample out: the greatest of what
// is stored need not be the greatest of what is right.
func allSamples(hints *storage.SelectHints) *storage.SelectHints {
	if hints == nil || hints.Func == "" || hints.Func == "series" { // which asks for no samples
		return hints
	}
	all := *hints
	all.Func = ""
	return &all
}

// seriesSet wraps those series of a set that corrections are about.
type seriesSet struct {
	storage.SeriesSet
	of   *querier
	asOf int64
}

// At implements storage.SeriesSet.
func (s *seriesSet) At() storage.Series {
	raw := s.SeriesSet.At()
	ls := raw.Labels()
	var about []*Correction
	for _, c := range s.of.log.of(ls.Get(metricLabel), ls.Get(deviceLabel)) {
		if c.At <= s.asOf && c.overlaps(s.of.mint, s.of.maxt) && c.about(ls) {
			about = append(about, c)
		}
	}
	if len(about) == 0 {
		return raw
	}
	return &series{raw, about}
}

type series struct {
	storage.Series
	about []*Correction
}

// Iterator implements storage.Series.
func (s *series) Iterator(again chunkenc.Iterator) chunkenc.Iterator {
	it, ok := again.(*iterator)
	if !ok {
		it = &iterator{}
		it.Iterator = s.Series.Iterator(again)
	} else {
		it.Iterator = s.Series.Iterator(it.Iterator)
	}
	it.about, it.active = s.about, it.active[:0]
	it.from, it.to = 1, 0
	return it
}

// iterator runs over the samples of a series as they are corrected.
type iterator struct {
	chunkenc.Iterator
	about []*Correction
	// active are those of the times from..to, both included, and no others are;
	// from > to: not known yet. It is found anew once a sample lies outside.
	active   []*Correction
	from, to int64
	value    float64
}

// Next implements chunkenc.Iterator.
func (it *iterator) Next() chunkenc.ValueType { return it.settle(it.Iterator.Next()) }

// millis is a time. Seek takes it under a name of its own, or vet holds the
// method for a misspelt io.Seeker.
type millis = int64

// Seek implements chunkenc.Iterator.
func (it *iterator) Seek(t millis) chunkenc.ValueType { return it.settle(it.Iterator.Seek(t)) }

// settle corrects the sample that the raw iterator stands at, or goes on to the
// next one that was not removed.
func (it *iterator) settle(kind chunkenc.ValueType) chunkenc.ValueType {
	for ; kind != chunkenc.ValNone; kind = it.Iterator.Next() {
		if kind != chunkenc.ValFloat {
			return kind
		}
		t, raw := it.Iterator.At()
		if t < it.from || t > it.to {
			it.enter(t)
		}
		kept := true
		if it.value = raw; len(it.active) > 0 {
			it.value, kept = apply(it.active, raw)
		}
		if kept {
			return kind
		}
	}
	return kind
}

// enter finds what is active at a time, and for how long around it.
func (it *iterator) enter(t int64) {
	it.active, it.from, it.to = it.active[:0], math.MinInt64, math.MaxInt64
	for _, c := range it.about {
		switch {
		case c.To < t:
			it.from = max(it.from, c.To+1)
		case c.From > t:
			it.to = min(it.to, c.From-1)
		default:
			it.from, it.to = max(it.from, c.From), min(it.to, c.To)
			it.active = append(it.active, c)
		}
	}
}

// At implements chunkenc.Iterator.
func (it *iterator) At() (int64, float64) { return it.Iterator.AtT(), it.value }
