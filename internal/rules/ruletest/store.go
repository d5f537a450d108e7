package ruletest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
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

// load adds a series as a test writes it.
func (m *memory) load(in Input, start time.Time, step time.Duration) error {
	ls, values, err := newParser().ParseSeriesDesc(in.Series + " " + in.Values)
	if err != nil {
		return err
	}
	for i, v := range values {
		if !v.Omitted {
			m.add(ls, sample{start.Add(time.Duration(i) * step).UnixMilli(), v.Value, v.Histogram})
		}
	}
	return nil
}

// add puts a sample in its place. What is there at that time stays.
func (m *memory) add(ls labels.Labels, s sample) {
	key := rules.Key(ls)
	of := m.all[key]
	if of == nil {
		of = &series{labels: ls}
		m.all[key] = of
	}
	i, found := slices.BinarySearchFunc(of.samples, s.t, func(x chunks.Sample, t int64) int { return cmp.Compare(x.T(), t) })
	if !found {
		of.samples = slices.Insert(of.samples, i, chunks.Sample(s))
	}
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
