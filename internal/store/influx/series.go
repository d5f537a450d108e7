package influx

import (
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
)

// series is a series with what was read of it.
type series struct {
	labels labels.Labels
	values []sample
	bits   []sample // those that stand in the other field, until they are joined
}

// join brings the samples of both fields into the order of time. Where both have
// one, that of the bits counts.
func (s *series) join() {
	if len(s.bits) > 0 {
		s.values, s.bits = append(s.values, s.bits...), nil
	}
	if !sort.SliceIsSorted(s.values, func(i, j int) bool { return s.values[i].t < s.values[j].t }) {
		slices.SortStableFunc(s.values, byTime)
	}
	kept := s.values[:0]
	for _, v := range s.values {
		if n := len(kept); n > 0 && kept[n-1].t == v.t {
			kept[n-1] = v
			continue
		}
		kept = append(kept, v)
	}
	s.values = kept
}

func byTime(a, b sample) int {
	switch {
	case a.t < b.t:
		return -1
	case a.t > b.t:
		return 1
	}
	return 0
}

// Labels implements storage.Series.
func (s *series) Labels() labels.Labels { return s.labels }

// Iterator implements storage.Series.
func (s *series) Iterator(reuse chunkenc.Iterator) chunkenc.Iterator {
	it, ok := reuse.(*iterator)
	if !ok {
		it = new(iterator)
	}
	*it = iterator{samples: s.values, at: -1}
	return it
}

type seriesSet struct {
	all []*series
	at  int
}

func (s *seriesSet) Next() bool {
	if s.at+1 >= len(s.all) {
		return false
	}
	s.at++
	s.all[s.at].join()
	return true
}

func (s *seriesSet) At() storage.Series                { return s.all[s.at] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// millis is a time in milliseconds since the Unix epoch, by its own name because
// vet takes a Seek of an int64 for a bad io.Seeker.
type millis = int64

type iterator struct {
	samples []sample
	at      int
}

func (it *iterator) Next() chunkenc.ValueType {
	if it.at < len(it.samples) {
		it.at++
	}
	return it.kind()
}

func (it *iterator) Seek(t millis) chunkenc.ValueType {
	it.at = max(it.at, 0)
	it.at += sort.Search(len(it.samples)-min(it.at, len(it.samples)), func(i int) bool { return it.samples[it.at+i].t >= t })
	return it.kind()
}

func (it *iterator) kind() chunkenc.ValueType {
	if it.at < len(it.samples) {
		return chunkenc.ValFloat
	}
	return chunkenc.ValNone
}

func (it *iterator) At() (int64, float64) { return it.samples[it.at].t, it.samples[it.at].v }
func (it *iterator) AtT() int64           { return it.samples[it.at].t }
func (it *iterator) AtST() int64          { return 0 }
func (it *iterator) Err() error           { return nil }

// AtHistogram implements chunkenc.Iterator; there are none.
func (it *iterator) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) {
	panic("influx: a sample is a float")
}

// AtFloatHistogram implements chunkenc.Iterator; there are none.
func (it *iterator) AtFloatHistogram(*histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	panic("influx: a sample is a float")
}
