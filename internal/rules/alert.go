package rules

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
)

// Ask evaluates an expression at a time. A scalar is a vector of one element
// without labels.
type Ask func(ctx context.Context, expr string, at time.Time) (promql.Vector, error)

// Alert is one alert of a rule. It does not change.
type Alert struct {
	// Labels tell it from the other alerts of its rule.
	Labels, Annotations labels.Labels
	Value               float64
	// Active is since when the expression gives it, Fired since when for as long as
	// the rule wants; zero while it is pending.
	Active, Fired time.Time
	// Quiet is since when the expression gives it no more, while it is kept firing.
	Quiet time.Time
}

// Firing reports whether the alert is more than pending.
func (a *Alert) Firing() bool { return !a.Fired.IsZero() }

// State is how Prometheus calls the state of an alert.
func (a *Alert) State() string {
	if a.Firing() {
		return StateFiring
	}
	return StatePending
}

// The states of alerts and rules.
const (
	StateFiring   = "firing"
	StatePending  = "pending"
	StateInactive = "inactive"
)

// Active are the alerts of a rule at one time, by [Key]. It is not changed.
type Active map[string]*Alert

// Key tells labels apart.
func Key(ls labels.Labels) string { return string(ls.Bytes(nil)) }

// Sorted are the alerts by their labels.
func (a Active) Sorted() []*Alert {
	return slices.SortedFunc(maps.Values(a), func(x, y *Alert) int { return labels.Compare(x.Labels, y.Labels) })
}

var errSame = errors.New("it gives several series with the same labels once those of the rule are on them; keep a label that tells them apart")

// Alerts returns the alerts of an alerting rule at a time, from those at the
// evaluation before. It is what Prometheus makes of the same vectors. The URL is
// what templates call the external one.
func (r Rule) Alerts(ctx context.Context, ask Ask, before Active, at time.Time, limit int, external string) (Active, error) {
	vector, err := ask(ctx, r.Expr.String(), at)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = DefaultLimit
	}
	if len(vector) > limit { // before templates are expanded for each
		return nil, fmt.Errorf("it gives %d alerts, and its limit is %d", len(vector), limit)
	}
	after := make(Active, len(vector))
	for _, s := range vector {
		a, err := r.alert(ctx, ask, s, at, external)
		if err != nil {
			return nil, err
		}
		key := Key(a.Labels)
		if after[key] != nil {
			return nil, errSame
		}
		if was := before[key]; was != nil {
			a.Active, a.Fired = was.Active, was.Fired
		}
		after[key] = a
	}
	r.keep(before, after, at)
	for _, a := range after {
		switch held := at.Sub(a.Active) >= r.For; {
		case held && !a.Firing():
			a.Fired = at
		case !held: // the rule wants longer than it did
			a.Fired, a.Quiet = time.Time{}, time.Time{}
		}
	}
	if len(after) > limit {
		return nil, fmt.Errorf("it has %d alerts, and its limit is %d", len(after), limit)
	}
	return after, nil
}

// keep adds the alerts that the expression gives no more and the rule keeps.
func (r Rule) keep(before, after Active, at time.Time) {
	for key, was := range before {
		if after[key] != nil || !was.Firing() || r.KeepFiringFor == 0 {
			continue
		}
		kept := *was
		if kept.Quiet.IsZero() {
			kept.Quiet = at
		}
		if at.Sub(kept.Quiet) < r.KeepFiringFor {
			after[key] = &kept
		}
	}
}

// alert makes the alert of one element as it is when it is new.
func (r Rule) alert(ctx context.Context, ask Ask, s promql.Sample, at time.Time, external string) (*Alert, error) {
	if s.H != nil {
		return nil, errors.New("it gives a histogram, which no alert can be of")
	}
	b := labels.NewBuilder(s.Metric)
	b.Del(model.MetricNameLabel)
	expand := r.expander(ctx, ask, s, at, external)
	r.Labels.Range(func(l labels.Label) { b.Set(l.Name, expand(l.Value)) })
	b.Set(model.AlertNameLabel, r.Alert)
	a := &Alert{Labels: b.Labels(), Value: s.F, Active: at}
	b.Reset(labels.EmptyLabels())
	r.Annotations.Range(func(l labels.Label) { b.Set(l.Name, expand(l.Value)) })
	a.Annotations = b.Labels()
	return a, nil
}

// maxText bounds what a template may give, in bytes.
const maxText = 4 << 10

func (r Rule) expander(ctx context.Context, ask Ask, s promql.Sample, at time.Time, external string) func(string) string {
	data := template.AlertTemplateData(s.Metric.Map(), map[string]string{}, external, s)
	const names = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
	where, err := url.Parse(external)
	if err != nil {
		where = &url.URL{}
	}
	return func(text string) string {
		t := template.NewTemplateExpander(ctx, names+text, "__alert_"+r.Alert, data, model.TimeFromUnixNano(at.UnixNano()), template.QueryFunc(ask), where, nil)
		out, err := t.Expand()
		if err != nil {
			out = fmt.Sprintf("<error expanding template: %s>", err)
		}
		if len(out) > maxText {
			out = out[:maxText]
		}
		return out
	}
}

// Series are what a recording rule records at a time.
func (r Rule) Series(ctx context.Context, ask Ask, at time.Time, limit int) (promql.Vector, error) {
	vector, err := ask(ctx, r.Expr.String(), at)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = DefaultLimit
	}
	if len(vector) > limit {
		return nil, fmt.Errorf("it gives %d series, and its limit is %d", len(vector), limit)
	}
	seen := make(map[string]bool, len(vector))
	out := make(promql.Vector, 0, len(vector))
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, s := range vector {
		if s.H != nil {
			return nil, errors.New("it gives a histogram, which cannot be recorded")
		}
		b.Reset(s.Metric)
		b.Set(model.MetricNameLabel, r.Record)
		r.Labels.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
		own(b)
		s.Metric, s.T = b.Labels(), at.UnixMilli()
		key := Key(s.Metric)
		if seen[key] {
			return nil, errSame
		}
		seen[key] = true
		out = append(out, s)
	}
	return out, nil
}
