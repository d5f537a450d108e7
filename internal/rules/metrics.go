package rules

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var errMatcher = errors.New(`one matcher is wanted, such as severity="critical" or device=~"t.+"`)

type engineMetrics struct {
	evaluations *prometheus.CounterVec
	failures    prometheus.Counter
	seconds     prometheus.Histogram
	changes     *prometheus.CounterVec
	conflicts   prometheus.Counter
	beyond      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, e *Engine) *engineMetrics {
	m := &engineMetrics{
		evaluations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_rules_evaluations_total", Help: "Evaluations of single rules: first, or again because data came late."}, []string{"what"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_rules_failures_total", Help: "Evaluations that failed; `hub rules list` says why."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hub_rules_evaluation_duration_seconds", Help: "Time that the evaluation of a rule takes.", Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 30}}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_rules_changes_total", Help: "Entries of the history of alerts, by kind; late: shown by data that came late."}, []string{"kind", "late"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_rules_late_conflicts_total", Help: "Recorded values that late data would have made others; the first stay."}),
		beyond: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_rules_late_beyond_total", Help: "How often data came for a group of rules that were older than rules.reach."}),
	}
	for _, w := range []string{"first", "again"} {
		m.evaluations.WithLabelValues(w)
	}
	for _, kind := range []string{Fired, Resolved, Retracted} {
		m.changes.WithLabelValues(kind, "no")
		m.changes.WithLabelValues(kind, "yes")
	}
	reg.MustRegister(m.evaluations, m.failures, m.seconds, m.changes, m.conflicts, m.beyond,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hub_rules_files_faulty", Help: "Rule files that are wrong, of which what was last read goes on."}, func() float64 { return float64(len(e.Faults())) }),
		&stateCollector{e})
	return m
}

func (m *engineMetrics) evaluated(took time.Duration, err error, again bool) {
	what := "first"
	if again {
		what = "again"
	}
	m.evaluations.WithLabelValues(what).Inc()
	m.seconds.Observe(took.Seconds())
	if err != nil {
		m.failures.Inc()
	}
}

func (m *engineMetrics) changed(all []Change) {
	for _, c := range all {
		late := "no"
		if c.Late {
			late = "yes"
		}
		m.changes.WithLabelValues(c.Kind, late).Inc()
	}
}

var (
	alertsDesc = prometheus.NewDesc("hub_rules_alerts", "Alerts by state; those that a silence keeps quiet count as firing too.", []string{"state"}, nil)
	rulesDesc  = prometheus.NewDesc("hub_rules_rules", "Rules by kind and by how their last evaluation went.", []string{"kind", "health"}, nil)
	groupsDesc = prometheus.NewDesc("hub_rules_behind_seconds", "By how much the group that is furthest behind is later than it should be.", nil, nil)
)

// stateCollector tells what all groups come to; it has no label of a group or an
// alert, of which there may be many.
type stateCollector struct{ e *Engine }

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(to chan<- *prometheus.Desc) {
	to <- alertsDesc
	to <- rulesDesc
	to <- groupsDesc
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(to chan<- prometheus.Metric) {
	alerts := map[string]int{StateFiring: 0, StatePending: 0}
	type kindHealth struct{ kind, health string }
	rules := map[kindHealth]int{{"alerting", "ok"}: 0, {"alerting", "err"}: 0, {"recording", "ok"}: 0, {"recording", "err"}: 0}
	behind := 0.0
	now := c.e.deps.Clock()
	for _, g := range c.e.Groups() {
		behind = max(behind, now.Sub(g.Done.Add(g.Interval+g.Lateness)).Seconds())
		for _, r := range g.Rules {
			k := kindHealth{"recording", "ok"}
			if r.Alert != "" {
				k.kind = "alerting"
			}
			if r.Err != nil {
				k.health = "err"
			}
			rules[k]++
			for _, a := range r.Alerts {
				alerts[a.State()]++
			}
		}
	}
	for state, n := range alerts {
		to <- prometheus.MustNewConstMetric(alertsDesc, prometheus.GaugeValue, float64(n), state)
	}
	for k, n := range rules {
		to <- prometheus.MustNewConstMetric(rulesDesc, prometheus.GaugeValue, float64(n), k.kind, k.health)
	}
	to <- prometheus.MustNewConstMetric(groupsDesc, prometheus.GaugeValue, behind)
}
