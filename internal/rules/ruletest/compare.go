package ruletest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/rules"
)

// compareAlerts holds the alerts that fire to those that are to.
func (y *story) compareAlerts(c AlertCase) {
	var got, want []string
	known := false
	for _, g := range y.play.Groups() {
		for _, r := range g.Rules {
			if r.Alert != c.Alertname {
				continue
			}
			known = true
			for _, a := range r.Alerts {
				if a.Firing() {
					got = append(got, alertText(a.Labels, a.Annotations))
				}
			}
		}
	}
	for _, e := range c.ExpAlerts {
		want = append(want, alertText(named(c.Alertname, e.ExpLabels), labels.FromMap(e.ExpAnnotations)))
	}
	y.hold(known, c.Alertname, time.Duration(c.EvalTime), want, got)
}

// compareHistory holds the history of an alert to what it is to be.
func (y *story) compareHistory(c HistoryCase) {
	var got, want []string
	known := slices.ContainsFunc(y.play.Groups(), func(g rules.GroupView) bool {
		return slices.ContainsFunc(g.Rules, func(r rules.RuleView) bool { return r.Alert == c.Alertname })
	})
	for _, h := range y.play.History() {
		if h.Rule != c.Alertname {
			continue
		}
		late := time.Duration(0)
		if h.Late {
			late = h.Known.Sub(y.start)
		}
		got = append(got, changeText(h.Kind, h.At.Sub(y.start), late, h.Labels))
	}
	for _, e := range c.ExpHistory {
		want = append(want, changeText(e.State, time.Duration(e.At), time.Duration(e.Known), named(c.Alertname, e.ExpLabels)))
	}
	y.hold(known, c.Alertname, time.Duration(c.EvalTime), want, got)
}

func (y *story) hold(known bool, alert string, at time.Duration, want, got []string) {
	if !known {
		y.fail(alert, at, "- no rule file of the test has an alert of this name")
		return
	}
	if diff := difference(want, got); diff != nil {
		y.fail(alert, at, diff...)
	}
}

func named(alert string, ls map[string]string) labels.Labels {
	b := labels.NewBuilder(labels.FromMap(ls))
	b.Set(model.AlertNameLabel, alert)
	return b.Labels()
}

// changeText is an entry of the history; known is 0 where nothing came late.
func changeText(state string, at, known time.Duration, ls labels.Labels) string {
	text := fmt.Sprintf("%s at %s", state, model.Duration(at))
	if known > 0 {
		text += fmt.Sprintf(" known at %s", model.Duration(known))
	}
	return text + " " + ls.String()
}

// alertText is an alert, an annotation a line.
func alertText(ls, annotations labels.Labels) string {
	var b strings.Builder
	b.WriteString(ls.String())
	annotations.Range(func(l labels.Label) { fmt.Fprintf(&b, "\n  %s: %s", l.Name, l.Value) })
	return b.String()
}

// compareExpr holds what an expression gives to what it is to.
func (y *story) compareExpr(ctx context.Context, c ExprCase) {
	at := time.Duration(c.EvalTime)
	vector, err := y.ask(ctx, c.Expr, y.start.Add(at))
	if err != nil {
		y.fail(c.Expr, at, "- "+err.Error())
		return
	}
	var got, want []element
	for _, s := range vector {
		got = append(got, element{s.Metric, s.F, histogramText(s.H)})
	}
	for i, s := range c.ExpSamples {
		e, err := s.element()
		if err != nil {
			y.fail(c.Expr, at, fmt.Sprintf("- exp_samples[%d]: %v", i, err))
			return
		}
		want = append(want, e)
	}
	if y.suite.File.FuzzyCompare {
		got = adopt(got, want)
	}
	if diff := difference(texts(want), texts(got)); diff != nil {
		y.fail(c.Expr, at, diff...)
	}
}

// element is one of what an expression gives.
type element struct {
	labels    labels.Labels
	value     float64
	histogram string
}

func (s ExpSample) element() (element, error) {
	e := element{value: s.Value}
	var err error
	if e.labels, err = newParser().ParseMetric(s.Labels); err != nil {
		return e, fmt.Errorf("labels %q: %w; write {name=\"value\"}", s.Labels, err)
	}
	if s.Histogram == "" {
		return e, nil
	}
	var h *histogram.FloatHistogram
	_, values, err := newParser().ParseSeriesDesc("{} " + s.Histogram)
	if err == nil && len(values) == 1 {
		h = values[0].Histogram
	}
	if h == nil {
		return e, fmt.Errorf("histogram %q is none: %w", s.Histogram, err)
	}
	e.histogram = histogramText(h)
	return e, nil
}

// histogramText is a histogram without the hint that only counters need.
func histogramText(h *histogram.FloatHistogram) string {
	if h == nil {
		return ""
	}
	return h.Copy().Compact(0).String()
}

// adopt takes the wanted numbers where those that came are their neighbours.
func adopt(got, want []element) []element {
	for i, g := range got {
		for _, w := range want {
			near := g.value == math.Nextafter(w.value, math.Inf(1)) || g.value == math.Nextafter(w.value, math.Inf(-1))
			if near && labels.Equal(g.labels, w.labels) {
				got[i].value = w.value
			}
		}
	}
	return got
}

func texts(of []element) (all []string) {
	for _, e := range of {
		text := e.labels.String() + " " + strconv.FormatFloat(e.value, 'g', -1, 64)
		if e.histogram != "" {
			text = e.labels.String() + " " + e.histogram
		}
		all = append(all, text)
	}
	return all
}

// difference are the lines of entries that are wanted and did not come, and of
// those that came and are not wanted; nil when there are none. Entries that differ in
// some lines only are told by these.
func difference(want, got []string) (diff []string) {
	want, got = slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))
	for _, w := range slices.Clone(want) {
		if i := slices.Index(got, w); i >= 0 {
			got = slices.Delete(got, i, i+1)
			want = slices.Delete(want, slices.Index(want, w), slices.Index(want, w)+1)
		}
	}
	for _, w := range want {
		head, rest := cut(w)
		i := slices.IndexFunc(got, func(g string) bool { h, _ := cut(g); return h == head })
		if i < 0 {
			diff = append(diff, marked("- ", w)...)
			continue
		}
		_, came := cut(got[i])
		got = slices.Delete(got, i, i+1)
		diff = append(diff, "  "+head)
		diff = append(diff, lines("- ", rest, came)...)
		diff = append(diff, lines("+ ", came, rest)...)
	}
	for _, g := range got {
		diff = append(diff, marked("+ ", g)...)
	}
	return diff
}

// cut parts an entry's first line from the others.
func cut(entry string) (head string, rest []string) {
	all := strings.Split(entry, "\n")
	return all[0], all[1:]
}

// lines are those that the others lack.
func lines(mark string, of, others []string) (all []string) {
	for _, l := range of {
		if !slices.Contains(others, l) {
			all = append(all, mark+l)
		}
	}
	return all
}

func marked(mark, entry string) []string {
	return append([]string(nil), lines(mark, strings.Split(entry, "\n"), nil)...)
}
