package offer

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// span is a stretch of time in milliseconds, both ends included.
type span struct{ from, to int64 }

// shows says in which spans a series may be read; none: it may not. The error is
// that of a grant whose rate is used up, where nothing else lets the series be
// read.
func (r *Reading) shows(ls labels.Labels) (in []span, err error) {
	device, metric, region := ls.Get(deviceLabel), ls.Get(metricLabel), ls.Get("region")
	if device == "" || !strings.HasPrefix(region, r.caller.Region) || r.access.deps.Gated(metric) {
		return nil, nil
	}
	g, registered := r.access.deps.Grade(device, metric)
	if !registered || g == telemetry.Ungraded || g > r.grade() {
		return nil, nil
	}
	r.offers.each(metric, func(o *offer) bool {
		if r.only != "" && r.only != o.dataset.ID || !strings.HasPrefix(region, o.area) || !o.matches(ls.Get) || !o.keeps(ls) {
			return true
		}
		it, ok := o.item(metric)
		if !ok || g > it.Grade {
			return true
		}
		failed := r.use(o, it.Name)
		if failed == nil && o.places() {
			r.placed[device] = true
		}
		switch {
		case failed != nil:
			err = failed
		case o.grant == 0: // nothing shows more
			in = []span{{o.from, o.to}}
			return false
		default:
			in = append(in, span{o.from, o.to})
		}
		return true
	})
	if len(in) > 0 {
		err = nil
	}
	return in, err
}

// places reports whether the offer gives where devices are.
func (o *offer) places() bool {
	return len(o.items) == 0 || slices.ContainsFunc(o.dataset.Items, func(it catalog.Item) bool {
		return it.Type == catalog.Place && slices.Contains(o.items, it.Name)
	})
}

// keeps reports whether the rows of the dataset keep every tag of a series: what
// they would not tell apart is not shown apart.
func (o *offer) keeps(ls labels.Labels) bool {
	kept := true
	ls.Range(func(l labels.Label) {
		switch {
		case l.Name == metricLabel, l.Name == telemetry.UnitTag, telemetry.IsReserved([]byte(l.Name)):
		default:
			kept = kept && slices.Contains(o.dataset.Source.By, l.Name)
		}
	})
	return kept
}

// From is what of a store the request may read.
func (r *Reading) From(s storage.Queryable) storage.Queryable {
	return storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) {
		q, err := s.Querier(mint, maxt)
		if err != nil {
			return nil, err
		}
		return &querier{q, r}, nil
	})
}

type querier struct {
	storage.Querier
	reading *Reading
}

// Select implements storage.Querier. What is left out here must not be what an
// engine would send for all that there is: it is asked for all series, and for all
// of their samples.
func (q *querier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	if hints != nil {
		all := *hints
		all.Limit, hints = 0, &all
		if all.Func != "series" {
			all.Func = ""
		}
	}
	return &shown{SeriesSet: q.Querier.Select(ctx, sorted, hints, ms...), reading: q.reading}
}

var errNotShown = errors.New("offer: labels of other series would show")

// LabelValues implements storage.Querier, for the names of metrics that are
// offered.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	if name != metricLabel {
		return nil, nil, errNotShown
	}
	all, notes, err := q.Querier.LabelValues(ctx, name, hints, ms...)
	o := q.reading.offers
	return slices.DeleteFunc(all, func(metric string) bool { return len(o.others) == 0 && o.byMetric[metric] == nil }), notes, err
}

// LabelNames implements storage.Querier.
func (q *querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errNotShown
}

// shown are the series of a set that may be read.
type shown struct {
	storage.SeriesSet
	reading *Reading
	at      storage.Series
	err     error
}

// Next implements storage.SeriesSet.
func (s *shown) Next() bool {
	for s.err == nil && s.SeriesSet.Next() {
		series := s.SeriesSet.At()
		in, err := s.reading.shows(series.Labels())
		if len(in) > 0 {
			s.at = series
			if !slices.Contains(in, span{minTime, maxTime}) {
				s.at = &narrowed{series, in}
			}
			return true
		}
		s.err = over(err)
	}
	return false
}

// over keeps of an error what the sender is told; that something was shut just
// now is as if it had not been there.
func over(err error) error {
	if _, ok := errors.AsType[interface {
		error
		Seconds() int
	}](err); ok {
		return err
	}
	return nil
}

// At implements storage.SeriesSet.
func (s *shown) At() storage.Series { return s.at }

// Err implements storage.SeriesSet.
func (s *shown) Err() error {
	if s.err != nil {
		return s.err
	}
	return s.SeriesSet.Err()
}

// narrowed is a series of which some spans may be read.
type narrowed struct {
	storage.Series
	in []span
}

// Iterator implements storage.Series.
func (n *narrowed) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	return &within{n.Series.Iterator(nil), n.in}
}

// within leaves out samples of other times.
type within struct {
	chunkenc.Iterator
	in []span
}

func (w *within) pass(kind chunkenc.ValueType) chunkenc.ValueType {
	for kind != chunkenc.ValNone && !slices.ContainsFunc(w.in, func(s span) bool { return s.from <= w.AtT() && w.AtT() <= s.to }) {
		kind = w.Iterator.Next()
	}
	return kind
}

// Next implements chunkenc.Iterator.
func (w *within) Next() chunkenc.ValueType { return w.pass(w.Iterator.Next()) }

// millis is an int64 under a name that vet does not take for io.Seeker.
type millis = int64

// Seek implements chunkenc.Iterator.
func (w *within) Seek(t millis) chunkenc.ValueType { return w.pass(w.Iterator.Seek(t)) }
