package query

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Scope is what a caller may see: the series whose label region begins with
// Region, but for what is hidden from it. An empty Region sees everything else,
// series without a region included.
type Scope struct {
	Region string
	Hidden *Hidden
}

type scopeKey struct{}

func withScope(ctx context.Context, s Scope) context.Context {
	return context.WithValue(ctx, scopeKey{}, s)
}

// errNoScope is what a read without a scope gets: nothing is visible by default.
var errNoScope = errors.New("no scope: it is not known what the caller may see")

// confine adds to the matchers the one that keeps other regions out, and returns
// what is hidden of the rest.
func confine(ctx context.Context, ms []*labels.Matcher) ([]*labels.Matcher, *Hidden, error) {
	s, ok := ctx.Value(scopeKey{}).(Scope)
	switch {
	case !ok:
		return nil, nil, errNoScope
	case s.Region == "":
		return ms, s.Hidden, nil
	}
	m, err := labels.NewMatcher(labels.MatchRegexp, regionLabel, regexp.QuoteMeta(s.Region)+".*")
	if err != nil {
		return nil, nil, fmt.Errorf("region prefix %q: %w", s.Region, err)
	}
	return append(ms[:len(ms):len(ms)], m), s.Hidden, nil
}

// confined is a store of which a read sees the part that the scope in its
// context allows, and at most maxSeries series for each querier.
type confined struct {
	storage.Queryable
	maxSeries int
}

func (c confined) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := c.Queryable.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return &confinedQuerier{q, &seriesBudget{max: c.maxSeries}}, nil
}

type confinedQuerier struct {
	storage.Querier
	budget *seriesBudget
}

func (q *confinedQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	ms, hidden, err := confine(ctx, ms)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	return &boundedSet{hidden.selectFrom(ctx, q.Querier, sorted, hints, ms), q.budget}
}

func (q *confinedQuerier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	ms, hidden, err := confine(ctx, ms)
	if err != nil {
		return nil, nil, err
	}
	return hidden.find(ms, func(ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.Querier.LabelValues(ctx, name, hints, ms...)
	})
}

func (q *confinedQuerier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	ms, hidden, err := confine(ctx, ms)
	if err != nil {
		return nil, nil, err
	}
	return hidden.find(ms, func(ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.Querier.LabelNames(ctx, hints, ms...)
	})
}

// seriesBudget counts the series of one querier, which one goroutine reads.
type seriesBudget struct{ taken, max int }

// errTooManySeries is what a question gets that touches more series than it may.
type errTooManySeries int

func (e errTooManySeries) Error() string {
	return fmt.Sprintf("the question touches more than %d series; narrow its selectors, or raise query.max_series", int(e))
}

type boundedSet struct {
	storage.SeriesSet
	budget *seriesBudget
}

func (s *boundedSet) Next() bool {
	if s.budget.taken > s.budget.max || !s.SeriesSet.Next() {
		return false
	}
	s.budget.taken++
	return s.budget.taken <= s.budget.max
}

func (s *boundedSet) Err() error {
	if s.budget.taken > s.budget.max {
		return errTooManySeries(s.budget.max)
	}
	return s.SeriesSet.Err()
}
