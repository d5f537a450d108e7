package rules

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Sample is one value that rules give, to be stored.
type Sample struct {
	Labels labels.Labels
	Time   int64 // ms
	Value  float64
}

// The series that tell of alerts, as Prometheus has them: 1 while an alert is
// there, in the state alertstate.
const (
	AlertsMetric = "ALERTS"
	stateLabel   = "alertstate"
)

func end(ls labels.Labels, at time.Time) Sample {
	return Sample{ls, at.UnixMilli(), telemetry.StaleMarker()}
}

// own puts what the hub makes of a device's series apart from what the device
// sends: nobody else can write series of this job.
func own(b *labels.Builder) {
	if b.Get("device") != "" {
		b.Set("job", telemetry.OwnJob)
	}
}

// alertSeries are the series of a rule's alerts at a time, with the ends of those
// that were there before. Alerts of a grade above general have none: everybody
// may ask for series.
func (g *group) alertSeries(rule Rule, before, after Active, at time.Time) (all []Sample) {
	ofHub := OfHub(rule.Expr)
	shared := func(a *Alert) bool { return g.engine.grade(a.Labels, ofHub) <= telemetry.General }
	b := labels.NewBuilder(labels.EmptyLabels())
	series := func(a *Alert) labels.Labels {
		b.Reset(a.Labels)
		b.Set(model.MetricNameLabel, AlertsMetric)
		b.Set(stateLabel, a.State())
		own(b)
		return b.Labels()
	}
	for _, a := range after {
		if shared(a) {
			all = append(all, Sample{series(a), at.UnixMilli(), 1})
		}
	}
	for key, a := range before {
		if now := after[key]; (now == nil || now.State() != a.State()) && shared(a) {
			all = append(all, end(series(a), at))
		}
	}
	return all
}

func (e *Engine) write(ctx context.Context, samples []Sample) error {
	if len(samples) == 0 {
		return nil
	}
	_, _, err := e.deps.Write(ctx, samples)
	return err
}

// metrics are the names of the series that an expression asks for; any when they
// cannot be told.
func metrics(expr parser.Expr) (names []string, any bool) {
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		name, ok := nameOf(s)
		if !ok {
			any = true
			return nil
		}
		names = append(names, name)
		if of, ok := strings.CutSuffix(name, telemetry.OutOfRange); ok { // it is written with those
			names = append(names, of)
		}
		return nil
	})
	return names, any
}

// OfHub reports whether an expression asks for nothing but metrics of the hub
// itself: its alerts tell of no device's data.
func OfHub(expr parser.Expr) bool {
	names, any := metrics(expr)
	if any || len(names) == 0 {
		return false
	}
	for _, n := range names {
		if !strings.HasPrefix(n, OwnPrefix) {
			return false
		}
	}
	return true
}

// OwnPrefix begins the names of the hub's own metrics; no rule may record such.
const OwnPrefix = "hub_"
