package influx

import (
	"context"
	"maps"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// LabelValues implements storage.Querier.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	var found texts
	var err error
	// InfluxDB 1.8 finds no measurement under a condition of measurements.
	if areExact(ms) && !(name == metricName && slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return m.Name == name })) {
		of := fluxString(column(name))
		err = q.distinct(ctx, ms, "|> keep(columns: ["+of+"])\n|> group()\n|> distinct(column: "+of+")\n", func(stored string) { found.add(original(stored)) })
	} else {
		err = q.series(ctx, ms, func(l labels.Labels) { found.add(l.Get(name)) })
	}
	return found.upTo(hints), nil, err
}

// LabelNames implements storage.Querier.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	var found texts
	if areExact(ms) {
		err := q.distinct(ctx, ms, "|> keys()\n|> keep(columns: [\"_value\"])\n|> distinct()\n", func(stored string) {
			if stored != "" && stored[0] != '_' {
				found.add(original(stored))
			}
		})
		if err != nil {
			return nil, nil, err
		}
		if len(found) > 0 {
			found.add(metricName)
			return found.upTo(hints), nil, nil
		}
		// InfluxDB names its own columns also where there is no series; there may be
		// some without tags.
	}
	err := q.series(ctx, ms, func(l labels.Labels) { l.Range(func(l labels.Label) { found.add(l.Name) }) })
	return found.upTo(hints), nil, err
}

// distinct calls each with the texts that the server has by then of series that
// match. It has no condition of fields: that makes the server look at every point.
func (q *querier) distinct(ctx context.Context, ms []*labels.Matcher, then string, each func(stored string)) error {
	flux := q.client.query(q.mint, q.maxt, ms, part{then: then})
	if flux == "" {
		return nil
	}
	return q.client.rows(ctx, flux, func(r *row) error {
		each(r.cell(r.schema.column(valueColumn)))
		return nil
	})
}

// series calls each with the labels of series that match.
func (q *querier) series(ctx context.Context, ms []*labels.Matcher, each func(labels.Labels)) error {
	set := q.Select(ctx, false, &storage.SelectHints{Start: q.mint, End: q.maxt, Func: "series"}, ms...)
	for set.Next() {
		each(set.At().Labels())
	}
	return set.Err()
}

// texts are names or values, each once; the empty one is none.
type texts map[string]struct{}

func (t *texts) add(s string) {
	if *t == nil {
		*t = texts{}
	}
	if s != "" {
		(*t)[s] = struct{}{}
	}
}

// upTo are the texts in order, as many as the hints want.
func (t texts) upTo(hints *storage.LabelHints) []string {
	all := slices.Sorted(maps.Keys(t))
	if hints != nil && hints.Limit > 0 && len(all) > hints.Limit {
		all = all[:hints.Limit]
	}
	return all
}

// areExact reports whether the server's conditions tell all of the matchers.
func areExact(ms []*labels.Matcher) bool {
	return !slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return !isExact(m) })
}

// isExact reports whether the condition of a matcher tells all of it.
func isExact(m *labels.Matcher) bool {
	return m.Name != metricName && m.Value == "" && m.Type == labels.MatchNotEqual || m.Type == labels.MatchEqual && m.Value != ""
}
