package remotewrite

import (
	"cmp"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// collector gathers the series of a selection. A server may send a series in
// several parts.
type collector struct {
	mint, maxt int64
	most       int // samples
	samples    int
	matchers   []*labels.Matcher

	series   []*remoteSeries
	byLabels map[string]*remoteSeries
	key      []byte
}

// at returns the series with these labels; nil when the matchers do not fit: a
// server may understand them more widely.
func (c *collector) at(ls labels.Labels) *remoteSeries {
	c.key = ls.Bytes(c.key)
	if s, ok := c.byLabels[string(c.key)]; ok {
		return s
	}
	var s *remoteSeries
	if matchesAll(ls, c.matchers) {
		s = &remoteSeries{labels: ls, mint: c.mint, maxt: c.maxt}
		c.series = append(c.series, s)
	}
	c.byLabels[string(c.key)] = s
	return s
}

func matchesAll(ls labels.Labels, ms []*labels.Matcher) bool {
	for _, m := range ms {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

// done puts what was read in order.
func (c *collector) done() []*remoteSeries {
	for _, s := range c.series {
		s.points = s.points.ordered().between(c.mint, c.maxt)
	}
	slices.SortFunc(c.series, func(a, b *remoteSeries) int { return labels.Compare(a.labels, b.labels) })
	return c.series
}

// count adds to the samples that were read.
func (c *collector) count(n int) error {
	if c.samples += n; c.samples > c.most {
		return errTooManySamples(c.most)
	}
	return nil
}

// remoteSeries is a series as it was read, either as chunks or as points.
type remoteSeries struct {
	labels     labels.Labels
	mint, maxt int64
	chunks     []chunkenc.Chunk
	points     points
}

func (s *remoteSeries) Labels() labels.Labels { return s.labels }

// Iterator implements storage.Series.
func (s *remoteSeries) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	if len(s.chunks) == 0 {
		return storage.NewListSeriesIterator(s.points)
	}
	p, err := unpack(s.chunks)
	if err != nil {
		return failed{chunkenc.NewNopIterator(), err}
	}
	return storage.NewListSeriesIterator(p.ordered().between(s.mint, s.maxt))
}

// failed is an iterator without points, and why.
type failed struct {
	chunkenc.Iterator
	err error
}

func (f failed) Err() error { return f.err }

func unpack(chunks []chunkenc.Chunk) (p points, err error) {
	n := 0
	for _, c := range chunks {
		n += c.NumSamples()
	}
	p = make(points, 0, n)
	var it chunkenc.Iterator
	for _, c := range chunks {
		it = c.Iterator(it)
		for it.Next() == chunkenc.ValFloat {
			t, v := it.At()
			p = append(p, point{t, v})
		}
		if it.Err() != nil {
			return nil, it.Err()
		}
	}
	return p, nil
}

// point is a time in milliseconds with its value. It is a sample of Prometheus,
// by its pointer, so that reading it allocates nothing.
type point struct {
	t int64
	v float64
}

func (p *point) T() int64                      { return p.t }
func (p *point) ST() int64                     { return 0 }
func (p *point) F() float64                    { return p.v }
func (p *point) H() *histogram.Histogram       { return nil }
func (p *point) FH() *histogram.FloatHistogram { return nil }
func (p *point) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p *point) Copy() chunks.Sample           { c := *p; return &c }

type points []point

func (p points) Get(i int) chunks.Sample { return &p[i] }
func (p points) Len() int                { return len(p) }

// ordered returns the points in order, one of each time: what was sent twice may
// be stored twice. It changes p.
func (p points) ordered() points {
	byTime := func(a, b point) int { return cmp.Compare(a.t, b.t) }
	if !slices.IsSortedFunc(p, byTime) {
		slices.SortStableFunc(p, byTime)
	}
	return slices.CompactFunc(p, func(a, b point) bool { return a.t == b.t })
}

// between cuts ordered points: servers send whole chunks.
func (p points) between(mint, maxt int64) points {
	from := sort.Search(len(p), func(i int) bool { return p[i].t >= mint })
	to := from + sort.Search(len(p)-from, func(i int) bool { return p[from+i].t > maxt })
	return p[from:to]
}

type seriesSet struct {
	series []*remoteSeries
	at     int // the next
}

func (s *seriesSet) Next() bool {
	s.at++
	return s.at <= len(s.series)
}

func (s *seriesSet) At() storage.Series                { return s.series[s.at-1] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
