package query

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/stats"

	"github.com/songhua-io/hub/internal/telemetry"
)

// query answers /query: the value of an expression at one time.
func (a *API) query(r *request) answer {
	limit, f := limitOf(r.Request)
	if f != nil {
		return fails(f)
	}
	at, err := timeOr(r.Request, "time", a.now())
	if err != nil {
		return fails(badParameter(err, "time"))
	}
	return a.evaluate(r, limit, func(ctx context.Context, e promql.QueryEngine, from storage.Queryable, o promql.QueryOpts) (promql.Query, error) {
		return e.NewInstantQuery(ctx, from, o, r.FormValue("query"), at)
	})
}

// queryRange answers /query_range: the values of an expression at regular steps.
func (a *API) queryRange(r *request) answer {
	limit, f := limitOf(r.Request)
	if f != nil {
		return fails(f)
	}
	start, end, step, f := a.steps(r)
	if f != nil {
		return fails(f)
	}
	return a.evaluate(r, limit, func(ctx context.Context, e promql.QueryEngine, from storage.Queryable, o promql.QueryOpts) (promql.Query, error) {
		return e.NewRangeQuery(ctx, from, o, r.FormValue("query"), start, end, step)
	})
}

// errTooManyPoints is worded as Prometheus does: people search for it.
var errTooManyPoints = errors.New("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)")

// steps returns the times at which a range query evaluates.
func (a *API) steps(r *request) (start, end time.Time, step time.Duration, f *failure) {
	start, err := parseTime(r.FormValue("start"))
	if err != nil {
		return start, end, 0, badParameter(err, "start")
	}
	end, err = parseTime(r.FormValue("end"))
	if err == nil && end.Before(start) {
		err = errors.New("end timestamp must not be before start time")
	}
	if err != nil {
		return start, end, 0, badParameter(err, "end")
	}
	step, err = parseDuration(r.FormValue("step"))
	if err == nil && step <= 0 {
		err = errors.New("zero or negative query resolution step widths are not accepted. Try a positive integer")
	}
	if err != nil {
		return start, end, 0, badParameter(err, "step")
	}
	if end.Sub(start)/step > time.Duration(a.config.MaxPoints) {
		return start, end, 0, bad(a.tooManyPoints())
	}
	return start, end, step, nil
}

func (a *API) tooManyPoints() error {
	if a.config.MaxPoints == DefaultConfig().MaxPoints {
		return errTooManyPoints
	}
	return fmt.Errorf("%w: query.max_points is %d", errTooManyPoints, a.config.MaxPoints)
}

// build makes the query of a request over what its caller may see.
type build func(context.Context, promql.QueryEngine, storage.Queryable, promql.QueryOpts) (promql.Query, error)

// evaluate runs a query and cuts its result at limit; 0 is no limit.
func (a *API) evaluate(r *request, limit int, build build) answer {
	ctx := r.Context()
	timeout, f := timeoutOf(r.Request)
	if f != nil {
		return fails(f)
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	from, opts, err := a.options(r)
	if err != nil {
		return fails(bad(err))
	}
	q, res, f := a.execute(ctx, r, build, from, opts)
	if f != nil {
		return fails(f)
	}
	a.metrics.samples.Add(float64(q.Stats().Samples.SamplesRead))
	return a.result(r, q, res, limit)
}

// execute runs a query within its share of the memory, and once more with the
// rest when that is too little: an engine cannot be given more on the way. What
// is done twice is at most a share.
func (a *API) execute(ctx context.Context, r *request, build build, from storage.Queryable, opts promql.QueryOpts) (promql.Query, *promql.Result, *failure) {
	q, res, f := run(ctx, a.engine, build, from, opts)
	if f == nil || !tooManySamples(f.err) {
		return q, res, f
	}
	if f := a.lease(ctx, r); f != nil {
		return nil, nil, f
	}
	return run(ctx, a.large, build, from, opts)
}

func run(ctx context.Context, e promql.QueryEngine, build build, from storage.Queryable, opts promql.QueryOpts) (promql.Query, *promql.Result, *failure) {
	q, err := build(ctx, e, from, opts)
	if err != nil {
		return nil, nil, badParameter(err, "query")
	}
	res := q.Exec(ctx)
	if res.Err != nil {
		q.Close()
		return nil, nil, failed(res.Err)
	}
	return q, res, nil
}

// lease waits for the memory that one question at a time may have beyond its
// share; it is given back with the turn.
func (a *API) lease(ctx context.Context, r *request) *failure {
	free, f := a.samples.take(ctx)
	if f == nil {
		r.held = append(r.held, free)
	}
	return f
}

func (a *API) result(r *request, q promql.Query, res *promql.Result, limit int) answer {
	notes := res.Warnings
	if limit > 0 && truncate(res, limit) {
		notes = notes.Add(errTruncated)
	}
	v := queryResult{result: res.Value}
	if s := r.FormValue("stats"); s != "" {
		v.stats = stats.NewQueryStats(q.Stats())
		if s != "true" && s != "all" {
			notes = notes.Add(fmt.Errorf(`value %q for parameter "stats" is deprecated and will be rejected in the next major release, use "true" or "all"`, s))
		}
	}
	return answer{data: v, notes: notes, done: q.Close}
}

// options returns how to evaluate and over what. A request that gives its own
// lookback_delta gets Prometheus' rule with it; all others hold the last value
// of each device for its own time. With unit every value is in that unit before
// anything is made of it.
func (a *API) options(r *request) (storage.Queryable, promql.QueryOpts, error) {
	back := lookback(a.source.Periods)
	from := storage.Queryable(held{a.store, a.source.Periods, a.long, back})
	if s := r.FormValue("lookback_delta"); s != "" {
		d, err := parseDuration(s)
		if err != nil {
			return nil, nil, fmt.Errorf("error parsing lookback delta duration: %w", err)
		}
		if d > 0 { // PromQL takes others as not given
			from, back = a.store, d
		}
	}
	if to := r.FormValue("unit"); to != "" {
		if len(to) > telemetry.MaxUnit {
			return nil, nil, fmt.Errorf("unit %.70q has more than %d bytes; write a code of SenML or UCUM, such as degF", to, telemetry.MaxUnit)
		}
		from = inUnit{from, to, a.source.Unit}
	}
	var startTimes *bool
	if s := r.Header.Get("X-Prometheus-Use-Start-Timestamps"); s != "" {
		use, err := strconv.ParseBool(s)
		if err != nil {
			return nil, nil, fmt.Errorf("error parsing X-Prometheus-Use-Start-Timestamps header: %w", err)
		}
		startTimes = &use
	}
	return from, promql.NewPrometheusQueryOpts(r.FormValue("stats") == "all", back, startTimes), nil
}

// truncate cuts a vector or matrix and reports whether there was more.
func truncate(res *promql.Result, limit int) bool {
	switch v := res.Value.(type) {
	case promql.Matrix:
		if len(v) > limit {
			res.Value = v[:limit]
			return true
		}
	case promql.Vector:
		if len(v) > limit {
			res.Value = v[:limit]
			return true
		}
	}
	return false
}
