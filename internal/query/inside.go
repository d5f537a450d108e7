package query

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

// Value is one element of what an expression gives.
type Value struct {
	Labels map[string]string
	Value  float64
	// At is when the oldest of the samples was taken that it follows from, as far
	// as labels tell which those are; the time of the question when it follows from
	// none.
	At time.Time
}

// maxInside bounds the elements of one answer to a part of the hub.
const maxInside = 50_000

// Values evaluates an expression for a part of the hub itself, at a time and
// within a scope, with the bounds of every question: it takes its turn, and an
// answer of more than 50,000 elements is an error. The labels in by are those by
// which the ages of samples are told apart. NaN is left out.
func (a *API) Values(ctx context.Context, s Scope, expression string, at time.Time, by ...string) ([]Value, error) {
	expr, err := a.instant(expression)
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
	vector, err := a.vector(ctx, expression, at)
	if err != nil {
		return nil, err
	}
	out := make([]Value, 0, len(vector))
	for _, e := range vector {
		if !math.IsNaN(e.F) && e.H == nil {
			out = append(out, Value{Labels: e.Metric.Map(), Value: e.F, At: at})
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, a.age(ctx, expr, at, by, out)
}

// Vector evaluates an expression as it is written, for a part of the hub itself: it
// takes its turn, with the bounds of every question and those of [API.Values].
func (a *API) Vector(ctx context.Context, s Scope, expression string, at time.Time) (promql.Vector, error) {
	ctx, cancel := context.WithTimeout(withScope(ctx, s), a.config.Timeout)
	defer cancel()
	leave, f := a.gate.enter(ctx)
	if f != nil {
		return nil, f.err
	}
	defer leave()
	return a.vector(ctx, expression, at)
}

// Instant reports why an expression cannot be evaluated at one time to numbers;
// nil when it can.
func (a *API) Instant(expression string) error {
	_, err := a.instant(expression)
	return err
}

func (a *API) instant(expression string) (parser.Expr, error) {
	expr, err := a.parser.ParseExpr(expression)
	if err != nil {
		return nil, err
	}
	if t := expr.Type(); t != parser.ValueTypeVector && t != parser.ValueTypeScalar {
		return nil, fmt.Errorf("1:1: it gives a %s and must give an instant vector or a scalar", parser.DocumentedType(t))
	}
	return expr, nil
}

// vector evaluates an expression as every instant query is.
func (a *API) vector(ctx context.Context, expression string, at time.Time) (promql.Vector, error) {
	back := lookback(a.source.Periods)
	q, res, f := run(ctx, a.engine, func(ctx context.Context, e promql.QueryEngine, from storage.Queryable, o promql.QueryOpts) (promql.Query, error) {
		return e.NewInstantQuery(ctx, from, o, expression, at)
	}, held{a.store, a.source.Periods, a.long, back}, promql.NewPrometheusQueryOpts(false, back, nil))
	if f != nil {
		return nil, f.err
	}
	defer q.Close()
	a.metrics.samples.Add(float64(q.Stats().Samples.SamplesRead))
	var out promql.Vector
	switch v := res.Value.(type) {
	case promql.Vector:
		if len(v) > maxInside {
			return nil, fmt.Errorf("the expression gives %d elements, and %d are the most; aggregate them", len(v), maxInside)
		}
		for _, e := range v { // the engine takes its memory back
			e.Metric = e.Metric.Copy()
			out = append(out, e)
		}
	case promql.Scalar:
		out = promql.Vector{{T: v.T, F: v.V}}
	default:
		return nil, errors.New("the expression gives neither a vector nor a scalar")
	}
	return out, nil
}

// age finds the samples that every element follows from: of each selector, those
// that have the element's values of the labels in by.
func (a *API) age(ctx context.Context, expr parser.Expr, at time.Time, by []string, out []Value) error {
	var selectors []string
	parser.Inspect(expr, func(n parser.Node, path []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		taken := "timestamp(" + s.String() + ")"
		if len(path) > 0 {
			if m, ok := path[len(path)-1].(*parser.MatrixSelector); ok { // the last one may be as old as the range
				taken = fmt.Sprintf("max_over_time(%s[%s:30s])", taken, model.Duration(m.Range))
			}
		}
		selectors = append(selectors, taken)
		return nil
	})
	for _, s := range selectors {
		times, err := a.vector(ctx, grouped(by)+"("+s+")", at)
		if err != nil {
			return err
		}
		oldest := map[string]float64{}
		least := math.Inf(1)
		for _, e := range times {
			oldest[keyOf(e.Metric.Map(), by)] = e.F
			least = min(least, e.F)
		}
		for i := range out {
			seconds, ok := oldest[keyOf(out[i].Labels, by)]
			if !ok && keyOf(out[i].Labels, by) == keyOf(nil, by) {
				seconds, ok = least, !math.IsInf(least, 1) // it is of all together
			}
			if taken := timestamp.Time(int64(seconds * 1000)); ok && taken.Before(out[i].At) {
				out[i].At = taken.UTC()
			}
		}
	}
	return nil
}

func grouped(by []string) string {
	s := "min by ("
	for i, l := range by {
		if i > 0 {
			s += ", "
		}
		s += l
	}
	return s + ") "
}

func keyOf(m map[string]string, by []string) (key string) {
	for _, l := range by {
		key += m[l] + "\xff"
	}
	return key
}
