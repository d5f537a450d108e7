package query

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// census counts series by metric, by label and by label with value.
type census struct {
	series uint64
	labels map[string]*labelCensus
}

type labelCensus struct {
	series map[string]uint64 // by value
	bytes  uint64            // of all names and values of all series, two more for each as the TSDB counts
}

// takeCensus counts the series with samples between mint and maxt.
func takeCensus(ctx context.Context, q storage.Querier, mint, maxt int64) (*census, error) {
	every, err := labels.NewMatcher(labels.MatchRegexp, model.MetricNameLabel, ".+")
	if err != nil {
		return nil, err
	}
	c := &census{labels: map[string]*labelCensus{}}
	set := q.Select(ctx, false, &storage.SelectHints{Start: mint, End: maxt, Func: "series"}, every)
	for set.Next() {
		if c.series++; c.series%128 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		set.At().Labels().Range(c.count)
	}
	return c, set.Err()
}

func (c *census) count(l labels.Label) {
	lc := c.labels[l.Name]
	if lc == nil {
		lc = &labelCensus{series: map[string]uint64{}}
		c.labels[strings.Clone(l.Name)] = lc
	}
	lc.bytes += uint64(len(l.Name) + len(l.Value) + 2)
	if _, ok := lc.series[l.Value]; !ok {
		l.Value = strings.Clone(l.Value) // the label may lie in the querier's memory
	}
	lc.series[l.Value]++
}

// figure is a name with its count.
type figure struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

type cardinality struct {
	Head struct {
		Series     uint64 `json:"numSeries"`
		LabelPairs int    `json:"numLabelPairs"`
		Chunks     int64  `json:"chunkCount"`
		MinTime    int64  `json:"minTime"`
		MaxTime    int64  `json:"maxTime"`
	} `json:"headStats"`
	SeriesByMetric []figure `json:"seriesCountByMetricName"`
	ValuesByLabel  []figure `json:"labelValueCountByLabelName"`
	BytesByLabel   []figure `json:"memoryInBytesByLabelName"`
	SeriesByPair   []figure `json:"seriesCountByLabelValuePair"`
}

// status returns the census with the limit largest figures of each kind.
func (c *census) status(head Head, limit int) cardinality {
	var s cardinality
	s.Head.Series, s.Head.Chunks, s.Head.MinTime, s.Head.MaxTime = c.series, head.Chunks, head.MinTime, head.MaxTime
	for name, l := range c.labels {
		s.Head.LabelPairs += len(l.series)
		s.ValuesByLabel = append(s.ValuesByLabel, figure{name, uint64(len(l.series))})
		s.BytesByLabel = append(s.BytesByLabel, figure{name, l.bytes})
		for value, n := range l.series {
			s.SeriesByPair = append(s.SeriesByPair, figure{name + "=" + value, n})
			if name == model.MetricNameLabel {
				s.SeriesByMetric = append(s.SeriesByMetric, figure{value, n})
			}
		}
	}
	for _, f := range []*[]figure{&s.SeriesByMetric, &s.ValuesByLabel, &s.BytesByLabel, &s.SeriesByPair} {
		*f = largest(*f, limit)
	}
	return s
}

// largest returns the n largest figures, equal ones by name.
func largest(all []figure, n int) []figure {
	slices.SortFunc(all, func(a, b figure) int {
		return cmp.Or(cmp.Compare(b.Value, a.Value), cmp.Compare(a.Name, b.Name))
	})
	return append([]figure{}, all[:min(n, len(all))]...)
}
