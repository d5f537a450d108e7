package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// labelNames answers /labels.
func (a *API) labelNames(r *request) answer {
	return a.labelAnswer(r, func(ctx context.Context, q storage.Querier, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelNames(ctx, hints, ms...)
	})
}

// labelValues answers /label/{name}/values. A name that begins with U__ has
// its other characters than letters, digits and _ written as _hex_.
func (a *API) labelValues(r *request) answer {
	name := r.PathValue("name")
	if strings.HasPrefix(name, "U__") {
		name = model.UnescapeName(name, model.ValueEncodingEscaping)
	}
	if !model.UTF8Validation.IsValidLabelName(name) {
		return fails(bad(fmt.Errorf("invalid label name: %q", name)))
	}
	return a.labelAnswer(r, func(ctx context.Context, q storage.Querier, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelValues(ctx, name, hints, ms...)
	})
}

// labelsOf reads names or values of labels of the series that matchers select.
type labelsOf func(context.Context, storage.Querier, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error)

func (a *API) labelAnswer(r *request, read labelsOf) answer {
	limit, f := limitOf(r.Request)
	if f != nil {
		return fails(f)
	}
	start, end, f := span(r.Request)
	if f != nil {
		return fails(f)
	}
	sets, err := a.selectors(r.Form["match[]"])
	if err != nil {
		return fails(bad(err))
	}
	q, err := a.store.Querier(timestamp.FromTime(start), timestamp.FromTime(end))
	if err != nil {
		return fails(failed(err))
	}
	if len(sets) == 0 {
		sets = [][]*labels.Matcher{nil}
	}
	found, notes, err := union(r.Context(), q, &storage.LabelHints{Limit: oneMore(limit)}, sets, read)
	if err != nil {
		q.Close()
		return fails(failed(err))
	}
	if limit > 0 && len(found) > limit {
		found = found[:limit]
		notes = notes.Add(errTruncated)
	}
	// The strings may lie in the querier's memory until it is closed.
	return answer{data: found, notes: notes, done: func() { q.Close() }}
}

// union returns, in order and once each, what is read for any of the sets.
func union(ctx context.Context, q storage.Querier, hints *storage.LabelHints, sets [][]*labels.Matcher, read labelsOf) ([]string, annotations.Annotations, error) {
	all := []string{}
	var notes annotations.Annotations
	for _, ms := range sets {
		found, warned, err := read(ctx, q, hints, ms...)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, found...)
		notes = notes.Merge(warned)
	}
	slices.Sort(all)
	return slices.Compact(all), notes, nil
}

// series answers /series: the label sets that match any of the selectors.
func (a *API) series(r *request) answer {
	if r.formErr != nil {
		return fails(bad(fmt.Errorf("error parsing form values: %w", r.formErr)))
	}
	if len(r.Form["match[]"]) == 0 {
		return fails(bad(errors.New("no match[] parameter provided")))
	}
	limit, f := limitOf(r.Request)
	if f != nil {
		return fails(f)
	}
	start, end, f := span(r.Request)
	if f != nil {
		return fails(f)
	}
	sets, err := a.selectors(r.Form["match[]"])
	if err != nil {
		return fails(badParameter(err, "match[]"))
	}
	mint, maxt := timestamp.FromTime(start), timestamp.FromTime(end)
	q, err := a.store.Querier(mint, maxt)
	if err != nil {
		return fails(failed(err))
	}
	// Func tells the store that no samples are wanted.
	hints := &storage.SelectHints{Start: mint, End: maxt, Func: "series", Limit: oneMore(limit)}
	ans := collect(r.Context(), selectAny(r.Context(), q, hints, sets), limit)
	ans.done = func() { q.Close() }
	return ans
}

// selectAny selects the series that match any of the sets, once each.
func selectAny(ctx context.Context, q storage.Querier, hints *storage.SelectHints, sets [][]*labels.Matcher) storage.SeriesSet {
	if len(sets) == 1 {
		return q.Select(ctx, false, hints, sets[0]...)
	}
	all := make([]storage.SeriesSet, len(sets))
	for i, ms := range sets {
		all[i] = q.Select(ctx, true, hints, ms...)
	}
	return storage.NewMergeSeriesSet(all, 0, storage.ChainedSeriesMerge)
}

func collect(ctx context.Context, set storage.SeriesSet, limit int) answer {
	found := []labels.Labels{}
	notes := set.Warnings()
	for set.Next() {
		if len(found)%128 == 0 && ctx.Err() != nil {
			return fails(failed(ctx.Err()))
		}
		if limit > 0 && len(found) == limit {
			return answer{data: found, notes: notes.Add(errTruncated)}
		}
		found = append(found, set.At().Labels())
	}
	if err := set.Err(); err != nil {
		return fails(failed(err))
	}
	return answer{data: found, notes: notes}
}
