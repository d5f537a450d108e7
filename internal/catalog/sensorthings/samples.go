package sensorthings

import (
	"iter"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// span is a stretch of time in milliseconds, both ends included.
type span struct{ from, to int64 }

var always = span{math.MinInt64, math.MaxInt64}

func (s span) empty() bool { return s.from > s.to }

func (s span) and(o span) span { return span{max(s.from, o.from), min(s.to, o.to)} }
func (s span) or(o span) span  { return span{min(s.from, o.from), max(s.to, o.to)} }

// The first window in which samples are looked for; each further one is twice as
// long. Beyond maxWindow all the rest is one.
const (
	minWindow = 10 * time.Minute
	maxWindow = 1000 * 24 * time.Hour
)

// samples are the observations of a datastream in a span, in the order of time or
// against it. Windows that grow from where it begins make its beginning cost the
// same wherever it lies: a querier searches all blocks of its own range.
func (q *question) samples(s *stream, in span, down bool) iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		window := minWindow.Milliseconds()
		if p := max(s.device.Period, s.device.Model.Period([]byte(s.metric))).Milliseconds(); p > 0 {
			window = max(window, 2*defaultTop*p)
		}
		for !in.empty() {
			part := in.begin(window, down, q.api.deps.Clock().UnixMilli())
			if !q.samplesIn(s, part, down, yield) {
				return
			}
			switch {
			case part == in:
				return
			case down:
				in.to = part.from - 1
			default:
				in.from = part.to + 1
			}
			window = 2 * window
		}
	}
}

// begin is the part of a span that is read first. Where its first samples lie is
// not known of one that begins nowhere, and all of it is read; one that has no
// end is read from now on, back from now afterwards.
func (s span) begin(window int64, down bool, now int64) span {
	switch {
	case window > maxWindow.Milliseconds():
	case down && s.to == math.MaxInt64:
		s.from = max(s.from, now)
	case down && s.to-window > s.from:
		s.from = s.to - window
	case !down && s.from != math.MinInt64 && s.from+window < s.to:
		s.to = s.from + window
	}
	return s
}

func (q *question) samplesIn(s *stream, in span, down bool, yield func(*row, error) bool) (more bool) {
	from, err := q.from.Querier(in.from, in.to)
	if err != nil {
		yield(nil, err)
		return false
	}
	defer func() {
		if err := from.Close(); err != nil && more {
			more = yield(nil, err)
		}
	}()
	it, err := q.iterator(from, s, in)
	switch {
	case err != nil:
		yield(nil, err)
		return false
	case it == nil:
		return true
	case down:
		return q.backwards(it, s, in, yield)
	}
	return q.forwards(it, s, in, yield)
}

// iterator runs over all series of a datastream as one; nil when there are none.
func (q *question) iterator(from storage.Querier, s *stream, in span) (chunkenc.Iterator, error) {
	ms := []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, "device", s.device.ID),
		labels.MustNewMatcher(labels.MatchEqual, metricLabel, s.metric),
	}
	for _, t := range s.tags {
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, t.Name, t.Value))
	}
	set := from.Select(q.ctx, false, &storage.SelectHints{Start: in.from, End: in.to}, ms...)
	var all []storage.Series
	for set.Next() {
		if err := q.takeSeries(); err != nil {
			return nil, err
		}
		if slices.Equal(tagsOf(set.At().Labels()), s.tags) { // others have more
			all = append(all, set.At())
		}
	}
	switch {
	case set.Err() != nil:
		return nil, set.Err()
	case len(all) == 0:
		return nil, nil
	case len(all) == 1:
		return all[0].Iterator(nil), nil
	}
	return storage.ChainedSeriesMerge(all...).Iterator(nil), nil
}

// next returns the next number of an iterator; false at its end, or when the
// budget is used up.
func (q *question) next(it chunkenc.Iterator, in span) (at int64, v float64, ok bool, err error) {
	for {
		kind := it.Next()
		if kind == chunkenc.ValNone {
			return 0, 0, false, it.Err()
		}
		if err := q.takeSample(); err != nil {
			return 0, 0, false, err
		}
		if kind != chunkenc.ValFloat {
			continue
		}
		at, v := it.At()
		switch {
		case at > in.to:
			return 0, 0, false, nil
		case at >= in.from && !telemetry.IsStaleMarker(v):
			return at, v, true, nil
		}
	}
}

func (q *question) forwards(it chunkenc.Iterator, s *stream, in span, yield func(*row, error) bool) bool {
	for {
		at, v, ok, err := q.next(it, in)
		if err != nil {
			yield(nil, err)
			return false
		}
		if !ok {
			return true
		}
		if !yield(&row{set: observations, device: s.device, stream: s, at: at, result: v}, nil) {
			return false
		}
	}
}

// backwards reads a window whole: chunks are read from their beginning.
func (q *question) backwards(it chunkenc.Iterator, s *stream, in span, yield func(*row, error) bool) bool {
	type sample struct {
		at int64
		v  float64
	}
	var all []sample
	for {
		at, v, ok, err := q.next(it, in)
		if err != nil {
			yield(nil, err)
			return false
		}
		if !ok {
			break
		}
		all = append(all, sample{at, v})
	}
	for _, one := range slices.Backward(all) {
		if !yield(&row{set: observations, device: s.device, stream: s, at: one.at, result: one.v}, nil) {
			return false
		}
	}
	return true
}

// findObservation finds the sample of a datastream at a time.
func (q *question) findObservation(id string) (*row, error) {
	of, at, ok := parseObservation(id)
	if !ok {
		return nil, nil
	}
	s, err := q.findStream(of)
	if s == nil {
		return nil, err
	}
	for r, err := range q.samples(s, span{at, at}, false) {
		return r, err
	}
	return nil, nil
}

// samplesOf lists the observations of all datastreams of a list, one datastream
// after the other, each in the order of time.
func (q *question) samplesOf(all iter.Seq2[*row, error], in span) iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		for r, err := range all {
			if err != nil || r.passed {
				if !yield(r, err) {
					return
				}
				continue
			}
			if !pass(q.samples(r.stream, in, false), yield) {
				return
			}
		}
	}
}

func pass(rows iter.Seq2[*row, error], yield func(*row, error) bool) bool {
	for r, err := range rows {
		if !yield(r, err) || err != nil {
			return false
		}
	}
	return true
}

// observationsOf lists the observations that an entity leads to; of everything
// for nil.
func (q *question) observationsOf(parent *row, after string, in span, down bool) iter.Seq2[*row, error] {
	of, at, within := parseObservation(after)
	if parent != nil && parent.set == streams {
		switch {
		case within && down:
			in.to = min(in.to, at-1)
		case within:
			in.from = max(in.from, at+1)
		}
		return q.samples(parent.stream, in, down)
	}
	if !within {
		of = after // of a datastream that was passed whole
	}
	return func(yield func(*row, error) bool) {
		if within {
			s, err := q.findStream(of)
			if err != nil {
				yield(nil, err)
				return
			}
			if s != nil && !pass(q.samples(s, in.and(span{at + 1, math.MaxInt64}), false), yield) {
				return
			}
		}
		all := q.streamsIn(registry.Filter{}, "", of, nil)
		if parent != nil {
			all = q.streamsOfDevice(parent.device, of)
		}
		pass(q.samplesOf(all, in), yield)
	}
}
