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
	of := fluxString(column(name))
	return q.distinct(ctx, hints, ms, "|> keep(columns: ["+of+"])\n|> group()\n|> distinct(column: "+of+")\n",
		func(stored string) string { return original(stored) },
		func(l labels.Labels, add func(string)) { add(l.Get(name)) })
}

// LabelNames implements storage.Querier.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return q.distinct(ctx, hints, ms, "|> keys()\n|> keep(columns: [\"_value\"])\n|> distinct()\n",
		func(stored string) string {
			switch {
			case stored == measurementColumn:
				return labels.MetricName
			case stored == "" || stored[0] == '_':
				return ""
			}
			return original(stored)
		},
		func(l labels.Labels, add func(string)) { l.Range(func(l labels.Label) { add(l.Name) }) })
}

// distinct returns texts of series that match, in order, each once: of what the
// server tells by then, or of the series themselves where it cannot tell exactly
// which match.
func (q *querier) distinct(ctx context.Context, hints *storage.LabelHints, ms []*labels.Matcher, then string,
	told func(stored string) string, of func(labels.Labels, func(string)),
) ([]string, annotations.Annotations, error) {
	all := map[string]struct{}{}
	add := func(s string) {
		if s != "" {
			all[s] = struct{}{}
		}
	}
	var err error
	if slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return !isExact(m) }) {
		set := q.Select(ctx, false, &storage.SelectHints{Start: q.mint, End: q.maxt, Func: "series"}, ms...)
		for set.Next() {
			of(set.At().Labels(), add)
		}
		err = set.Err()
	} else {
		// A condition of fields would have the server look at every point.
		var flux string
		flux, err = q.client.query(q.mint, q.maxt, ms, part{then: then})
		if err == nil && flux != "" {
			err = q.client.rows(ctx, flux, func(r *row) error {
				add(told(r.cell(r.schema.column(valueColumn))))
				return nil
			})
		}
	}
	if err != nil {
		return nil, nil, err
	}
	texts := slices.Sorted(maps.Keys(all))
	if hints != nil && hints.Limit > 0 && len(texts) > hints.Limit {
		texts = texts[:hints.Limit]
	}
	return texts, nil, nil
}

// isExact reports whether the condition of a matcher tells all of it.
func isExact(m *labels.Matcher) bool {
	return m.Name != labels.MetricName && m.Value == "" && m.Type == labels.MatchNotEqual || m.Type == labels.MatchEqual && m.Value != ""
}
