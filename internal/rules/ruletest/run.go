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
// A group is evaluated for each multiple of the evaluation interval, once its lateness
// is over: so much later is known what was. What comes later still is looked at with
// the next evaluation, or case.
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
	late     []arrival // what is still to come, the first first
	engine   *promql.Engine
	play     *rules.Rehearsal
	failures []Failure
}

func (s *Suite) test(ctx context.Context, t *Test, place int) ([]Failure, error) {
	every := time.Duration(s.File.EvaluationInterval)
	y := &story{suite: s, test: t, name: cmp.Or(t.Name, fmt.Sprintf("tests[%d]", place)), start: t.StartTimestamp, memory: &memory{all: map[string]*series{}}}
	if y.start.IsZero() {
		y.start = time.Unix(0, 0).UTC()
	}
	y.engine = promql.NewEngine(promql.EngineOpts{MaxSamples: 5_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
		NoStepSubqueryIntervalFn: func(int64) int64 { return every.Milliseconds() }, Parser: newParser()})
	for i, in := range t.InputSeries {
		late, err := y.memory.load(in, y.start, cmp.Or(time.Duration(t.Interval), every))
		if err != nil {
			return nil, fmt.Errorf("input_series[%d]: %w", i, err)
		}
		y.late = append(y.late, late...)
	}
	slices.SortStableFunc(y.late, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	groups := s.concerned(t)
	if n := int64(t.end()/every) * int64(max(1, len(groups))); n > maxEvaluations {
		return nil, fmt.Errorf("it takes %d evaluations, and %d are the most; set a longer evaluation_interval", n, maxEvaluations)
	}
	y.play = rules.Rehearse(groups, y.start, rules.Stage{Ask: y.ask, Write: y.memory.write, Series: alertSeries, Base: t.ExternalURL, Reach: time.Duration(s.File.Reach)})
	for _, at := range t.times(every) {
		y.come(at)
		if sound, err := y.turn(ctx, at); !sound || err != nil {
			return y.failures, err
		}
		y.compare(at)
	}
	for _, c := range t.PromqlExprTest {
		y.compareExpr(ctx, c)
	}
	return y.failures, nil
}

// times are those since the start at which something is to be done, in order.
func (t *Test) times(every time.Duration) (all []time.Duration) {
	for at := time.Duration(0); at <= t.end(); at += every {
		all = append(all, at)
	}
	all = append(all, t.cases()...)
	slices.Sort(all)
	return slices.Compact(all)
}

// come takes in what comes late, up to a time.
func (y *story) come(at time.Duration) {
	now := y.start.Add(at).UnixMilli()
	for len(y.late) > 0 && y.late[0].at <= now {
		a := y.late[0]
		y.late = y.late[1:]
		if y.memory.add(a.labels, a.sample) == nil {
			y.play.CameLate(a.labels.Get(model.MetricNameLabel), time.UnixMilli(a.t))
		}
	}
}

// turn evaluates what is due at a time; false when a rule could not be.
func (y *story) turn(ctx context.Context, at time.Duration) (bool, error) {
	failed := y.play.Turn(ctx, y.start.Add(at))
	for _, err := range failed {
		name := ""
		if rule, ok := errors.AsType[*rules.RuleError](err); ok {
			name, err = rule.Rule, rule.Err
		}
		y.fail(name, at, "- "+err.Error())
	}
	if y.play.Again() > maxEvaluations {
		return false, fmt.Errorf("what comes late takes more than %d evaluations again; set a longer evaluation_interval, or a shorter reach", maxEvaluations)
	}
	return len(failed) == 0, ctx.Err()
}

// compare holds what is known at a time to what the cases of that time say.
func (y *story) compare(at time.Duration) {
	for _, c := range y.test.AlertRuleTest {
		if time.Duration(c.EvalTime) == at {
			y.compareAlerts(c)
		}
	}
	for _, c := range y.test.AlertHistoryTest {
		if time.Duration(c.EvalTime) == at {
			y.compareHistory(c)
		}
	}
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

// concerned are the groups in their order and at the interval of the file, without alerts that the test does not ask
// for and no expression can see.
func (s *Suite) concerned(t *Test) (all []rules.Group) {
	asked := map[string]bool{}
	for _, c := range t.AlertRuleTest {
		asked[c.Alertname] = true
	}
	for _, c := range t.AlertHistoryTest {
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
		g.Interval = time.Duration(s.File.EvaluationInterval)
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

// end is the time since the start of the last case.
func (t *Test) end() (last time.Duration) {
	for _, at := range t.cases() {
		last = max(last, at)
	}
	return last
}

// cases are the times of all cases.
func (t *Test) cases() (all []time.Duration) {
	for _, c := range t.AlertRuleTest {
		all = append(all, time.Duration(c.EvalTime))
	}
	for _, c := range t.AlertHistoryTest {
		all = append(all, time.Duration(c.EvalTime))
	}
	for _, c := range t.PromqlExprTest {
		all = append(all, time.Duration(c.EvalTime))
	}
	return all
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

// forStateMetric is since when alerts are what they are.
const forStateMetric = rules.AlertsMetric + "_FOR_STATE"

// alertSeries are the series ALERTS and ALERTS_FOR_STATE of alerts, with the ends of
// those that were there before.
func alertSeries(before, after rules.Active, at time.Time) (all []rules.Sample) {
	given := map[string]bool{}
	for _, s := range seriesOf(after, at) {
		given[rules.Key(s.Labels)] = true
		all = append(all, s)
	}
	for _, s := range seriesOf(before, at) {
		if !given[rules.Key(s.Labels)] {
			s.Value = math.Float64frombits(value.StaleNaN)
			all = append(all, s)
		}
	}
	return all
}

func seriesOf(alerts rules.Active, at time.Time) (all []rules.Sample) {
	for _, a := range alerts.Sorted() {
		b := labels.NewBuilder(a.Labels)
		b.Set(model.MetricNameLabel, forStateMetric)
		all = append(all, rules.Sample{Labels: b.Labels(), Time: at.UnixMilli(), Value: float64(a.Active.Unix())})
		b.Set(model.MetricNameLabel, rules.AlertsMetric)
		b.Set("alertstate", a.State())
		all = append(all, rules.Sample{Labels: b.Labels(), Time: at.UnixMilli(), Value: 1})
	}
	return all
}
