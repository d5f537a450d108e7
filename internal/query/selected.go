package query

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/storage"
)

// Matcher is one condition of a selector: the label, one of = != =~ !~, and
// what it is held against.
type Matcher struct{ Label, Is, Value string }

// Selector reads a selector of series, such as temperature{region="220100"}, and
// returns its conditions without those that everything fulfils.
func (a *API) Selector(selector string) ([]Matcher, error) {
	ms, err := a.selector(selector)
	if err != nil {
		return nil, err
	}
	var all []Matcher
	for _, m := range ms {
		if m.Type == labels.MatchRegexp && m.Value == ".*" {
			continue
		}
		all = append(all, Matcher{m.Name, m.Type.String(), m.Value})
	}
	return all, nil
}

func (a *API) selector(selector string) ([]*labels.Matcher, error) {
	ms, err := a.parser.ParseMetricSelector(selector)
	if err != nil {
		return nil, err
	}
	if !selective(ms) {
		return nil, errors.New("it selects everything; name a metric, or what a label holds")
	}
	return ms, nil
}

// Selected returns the labels of the series that a selector selects within a
// scope and that have samples between two times, at most limit, in no order.
// Samples are not read.
func (a *API) Selected(ctx context.Context, s Scope, selector string, from, to time.Time, limit int) (all []map[string]string, err error) {
	ms, err := a.selector(selector)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(withScope(ctx, s), a.config.Timeout)
	defer cancel()
	leave, f := a.gate.enter(ctx)
	if f != nil {
		return nil, f.err
	}
	defer leave()
	mint, maxt := timestamp.FromTime(from), timestamp.FromTime(to)
	q, err := a.store.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	set := q.Select(ctx, false, &storage.SelectHints{Start: mint, End: maxt, Func: "series", Limit: limit}, ms...)
	for len(all) < limit && set.Next() {
		all = append(all, set.At().Labels().Map())
	}
	return all, set.Err()
}
