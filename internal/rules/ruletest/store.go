package ruletest

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/songhua-io/hub/internal/rules"
)

// sample is a number or a histogram at a time.
type sample struct {
	t  int64
	f  float64
	fh *histogram.FloatHistogram
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.f }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return s.fh }
func (s sample) Copy() chunks.Sample           { return s }

func (s sample) Type() chunkenc.ValueType {
	if s.fh != nil {
		return chunkenc.ValFloatHistogram
	}
	return chunkenc.ValFloat
}

// series are samples in the order of their times.
type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

// memory is a store of the series of one test.
type memory struct{ all map[string]*series }

// arrival is a sample that comes after its time.
type arrival struct {
	at     int64 // ms
	labels labels.Labels
	sample
}

// load adds a series as a test writes it, and returns what of it comes late.
func (m *memory) load(in Input, start time.Time, step time.Duration) (late []arrival, err error) {
	ls, values, err := newParser().ParseSeriesDesc(in.Series + " " + in.Values)
	if err != nil {
		return nil, err
	}
	for i, v := range values {
		at := time.Duration(i) * step
		s := sample{start.Add(at).UnixMilli(), v.Value, v.Histogram}
		comes := max(at+time.Duration(in.Delay), time.Duration(in.HeldUntil))
		switch {
		case v.Omitted:
		case comes > at:
			late = append(late, arrival{start.Add(comes).UnixMilli(), ls, s})
		default:
			m.add(ls, s)
		}
	}
	return late, nil
}

// add puts a sample in its place, and returns what is there at that time already: it
// stays, unless it is the end of a series and the sample is none.
func (m *memory) add(ls labels.Labels, s sample) (there chunks.Sample) {
	key := rules.Key(ls)
	of := m.all[key]
	if of == nil {
		of = &series{labels: ls}
		m.all[key] = of
	}
	i, found := slices.BinarySearchFunc(of.samples, s.t, func(x chunks.Sample, t int64) int { return cmp.Compare(x.T(), t) })
	switch {
	case found && isEnd(of.samples[i]) && !isEnd(s):
		of.samples[i] = s
		return nil
	case found:
		return of.samples[i]
	}
	of.samples = slices.Insert(of.samples, i, chunks.Sample(s))
	return nil
}

func isEnd(s chunks.Sample) bool { return s.FH() == nil && value.IsStaleNaN(s.F()) }

// write stores what rules give.
func (m *memory) write(_ context.Context, all []rules.Sample) (fresh, conflicts int, err error) {
	for _, s := range all {
		switch there := m.add(s.Labels, sample{t: s.Time, f: s.Value}); {
		case there == nil:
			fresh++
		case math.Float64bits(there.F()) != math.Float64bits(s.Value):
			conflicts++
		}
	}
	return fresh, conflicts, nil
}

// Querier makes a memory a storage.Queryable. The bounds are the engine's affair.
func (m *memory) Querier(int64, int64) (storage.Querier, error) { return querier{m}, nil }

type querier struct{ of *memory }

func (q querier) Close() error { return nil }

func (q querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil // PromQL asks for none
}

func (q querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil // PromQL asks for none
}

func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	var found []*series
	for _, s := range q.of.all {
		if matches(s.labels, matchers) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b *series) int { return labels.Compare(a.labels, b.labels) })
	return &set{found: found, at: -1}
}

func matches(ls labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

type set struct {
	found []*series
	at    int
}

func (s *set) Next() bool                        { s.at++; return s.at < len(s.found) }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }

func (s *set) At() storage.Series {
	one := s.found[s.at]
	return storage.NewListSeries(one.labels, one.samples)
}
