package ruletest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/songhua-io/hub/internal/rules"
)

// Failure is one thing that is not as a test says, or a rule that could not be
// evaluated.
type Failure struct {
	// Test is its name, or its place where it has none; About the alert or the
	// expression; At the time since the begin of the test.
	Test, About string
	At          time.Duration
	// Diff has the lines that are missing, with -, and those that are too many, with +.
	Diff []string
}

// Run runs all tests of a suite. An error is that of a test that could not be run.
//
// A group is evaluated at each multiple of the evaluation interval, of the moment
// that lies its query_offset before: so much later is known what is known.
func (s *Suite) Run(ctx context.Context) ([]Failure, error) {
	var all []Failure
	for i := range s.File.Tests {
		failures, err := s.test(ctx, &s.File.Tests[i], i)
		if err != nil {
			return nil, fmt.Errorf("tests[%d]: %w", i, err)
		}
		all = append(all, failures...)
	}
	return all, nil
}

// story is one test while it runs.
type story struct {
	suite    *Suite
	test     *Test
	name     string
	start    time.Time
	memory   *memory
	engine   *promql.Engine
	groups   []rules.Group
	active   map[string]rules.Active // by group and place of the rule
	last     map[string]promql.Vector
	failures []Failure
}

func (s *Suite) test(ctx context.Context, t *Test, place int) ([]Failure, error) {
	every := time.Duration(s.File.EvaluationInterval)
	y := &story{suite: s, test: t, name: cmp.Or(t.Name, fmt.Sprintf("tests[%d]", place)), start: t.StartTimestamp, groups: s.concerned(t),
		memory: &memory{all: map[string]*series{}}, active: map[string]rules.Active{}, last: map[string]promql.Vector{}}
	if y.start.IsZero() {
		y.start = time.Unix(0, 0).UTC()
	}
	y.engine = promql.NewEngine(promql.EngineOpts{MaxSamples: 5_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
		NoStepSubqueryIntervalFn: func(int64) int64 { return every.Milliseconds() }, Parser: newParser()})
	for i, in := range t.InputSeries {
		if err := y.memory.load(in, y.start, cmp.Or(time.Duration(t.Interval), every)); err != nil {
			return nil, fmt.Errorf("input_series[%d]: %w", i, err)
		}
	}
	end := t.end()
	if n := int64(end/every) * int64(max(1, len(y.groups))); n > maxEvaluations {
		return nil, fmt.Errorf("it takes %d evaluations, and %d are the most; set a longer evaluation_interval", n, maxEvaluations)
	}
	for at := time.Duration(0); at <= end; at += every {
		if !y.evaluate(ctx, at) {
			return y.failures, nil
		}
		for _, c := range t.AlertRuleTest {
			if d := time.Duration(c.EvalTime); at <= d && d < at+every {
				y.compareAlerts(c)
			}
		}
	}
	for _, c := range t.PromqlExprTest {
		y.compareExpr(ctx, c)
	}
	return y.failures, nil
}

// ordered are the groups with those of group_eval_order first.
func (s *Suite) ordered() []rules.Group {
	place := func(g rules.Group) int {
		if i := slices.Index(s.File.GroupEvalOrder, g.Name); i >= 0 {
			return i
		}
		return len(s.File.GroupEvalOrder)
	}
	return slices.SortedStableFunc(slices.Values(s.Groups), func(a, b rules.Group) int { return cmp.Compare(place(a), place(b)) })
}

// concerned are the groups in their order, without alerts that the test does not ask
// for and no expression can see.
func (s *Suite) concerned(t *Test) (all []rules.Group) {
	asked := map[string]bool{}
	for _, c := range t.AlertRuleTest {
		asked[c.Alertname] = true
	}
	seen := slices.ContainsFunc(t.PromqlExprTest, func(c ExprCase) bool {
		e, err := newParser().ParseExpr(c.Expr)
		return err != nil || seesAlerts(e)
	})
	for _, g := range s.Groups {
		seen = seen || slices.ContainsFunc(g.Rules, func(r rules.Rule) bool { return seesAlerts(r.Expr) })
	}
	for _, g := range s.ordered() {
		if !seen {
			g.Rules = slices.DeleteFunc(slices.Clone(g.Rules), func(r rules.Rule) bool { return r.Alert != "" && !asked[r.Alert] })
		}
		all = append(all, g)
	}
	return all
}

// seesAlerts reports whether an expression may read the series that alerts make.
func seesAlerts(e parser.Expr) (sees bool) {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		for _, name := range []string{rules.AlertsMetric, forStateMetric} {
			sees = sees || !slices.ContainsFunc(s.LabelMatchers, func(m *labels.Matcher) bool { return m.Name == model.MetricNameLabel && !m.Matches(name) })
		}
		return nil
	})
	return sees
}

func (t *Test) end() (last time.Duration) {
	for _, c := range t.AlertRuleTest {
		last = max(last, time.Duration(c.EvalTime))
	}
	for _, c := range t.PromqlExprTest {
		last = max(last, time.Duration(c.EvalTime))
	}
	return last
}

func (y *story) fail(about string, at time.Duration, diff ...string) {
	y.failures = append(y.failures, Failure{Test: y.name, About: about, At: at, Diff: diff})
}

// ask evaluates an expression on the test's series.
func (y *story) ask(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	q, err := y.engine.NewInstantQuery(ctx, y.memory, nil, expr, at)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	r := q.Exec(ctx)
	if r.Err != nil {
		return nil, r.Err
	}
	switch v := r.Value.(type) {
	case promql.Vector:
		return slices.Clone(v), nil
	case promql.Scalar:
		return promql.Vector{{T: v.T, F: v.V}}, nil
	}
	return nil, errors.New("it gives neither a vector nor a scalar")
}

// evaluate evaluates all groups once; false when a rule could not be.
func (y *story) evaluate(ctx context.Context, since time.Duration) bool {
	sound := true
	for _, g := range y.groups {
		at := y.start.Add(since - g.Lateness)
		for i, r := range g.Rules {
			if err := y.rule(ctx, fmt.Sprintf("%s;%d", g.ID(), i), g, r, at); err != nil {
				y.fail(r.Name(), since, "- "+err.Error())
				sound = false
			}
		}
	}
	return sound
}

func (y *story) rule(ctx context.Context, id string, g rules.Group, r rules.Rule, at time.Time) error {
	if r.Record != "" {
		out, err := r.Series(ctx, y.ask, at, g.Limit)
		if err == nil {
			y.record(id, out, at)
		}
		return err
	}
	after, err := r.Alerts(ctx, y.ask, y.active[id], at, g.Limit, y.test.ExternalURL)
	if err != nil {
		return err
	}
	y.active[id] = after
	y.record(id, alertSeries(after, at), at)
	return nil
}

// forStateMetric is since when alerts are what they are.
const forStateMetric = rules.AlertsMetric + "_FOR_STATE"

// alertSeries are the series ALERTS and ALERTS_FOR_STATE of alerts.
func alertSeries(of rules.Active, at time.Time) (out promql.Vector) {
	for _, a := range of.Sorted() {
		b := labels.NewBuilder(a.Labels)
		b.Set(model.MetricNameLabel, forStateMetric)
		out = append(out, promql.Sample{T: at.UnixMilli(), F: float64(a.Active.Unix()), Metric: b.Labels()})
		b.Set(model.MetricNameLabel, rules.AlertsMetric)
		b.Set("alertstate", a.State())
		out = append(out, promql.Sample{T: at.UnixMilli(), F: 1, Metric: b.Labels()})
	}
	return out
}

// record stores what a rule gives, and ends the series that it gives no more.
func (y *story) record(id string, out promql.Vector, at time.Time) {
	given := map[string]bool{}
	for _, s := range out {
		given[rules.Key(s.Metric)] = true
		y.memory.add(s.Metric, sample{t: at.UnixMilli(), f: s.F})
	}
	for _, s := range y.last[id] {
		if !given[rules.Key(s.Metric)] {
			y.memory.add(s.Metric, sample{t: at.UnixMilli(), f: math.Float64frombits(value.StaleNaN)})
		}
	}
	y.last[id] = out
}
