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
)

// compareAlerts holds the alerts that fire to those that are to.
func (y *story) compareAlerts(c AlertCase) {
	var got, want []string
	for _, g := range y.groups {
		for i, r := range g.Rules {
			if r.Alert != c.Alertname {
				continue
			}
			for _, a := range y.active[fmt.Sprintf("%s;%d", g.ID(), i)].Sorted() {
				if a.Firing() {
					got = append(got, alertText(a.Labels, a.Annotations))
				}
			}
		}
	}
	for _, e := range c.ExpAlerts {
		b := labels.NewBuilder(labels.FromMap(e.ExpLabels))
		b.Set(model.AlertNameLabel, c.Alertname)
		want = append(want, alertText(b.Labels(), labels.FromMap(e.ExpAnnotations)))
	}
	if !y.has(c.Alertname) {
		y.fail(c.Alertname, time.Duration(c.EvalTime), "- no rule file of the test has an alert of this name")
		return
	}
	if diff := difference(want, got); diff != nil {
		y.fail(c.Alertname, time.Duration(c.EvalTime), diff...)
	}
}

func (y *story) has(alert string) bool {
	for _, g := range y.groups {
		for _, r := range g.Rules {
			if r.Alert == alert {
				return true
			}
		}
	}
	return false
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
