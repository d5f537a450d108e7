package access

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// inUse is for how long after its last use a token counts as in use: the end of
// one that nobody uses is no reason to call anybody.
const inUse = 7 * 24 * time.Hour

// expiry says when the first token that is in use ends.
type expiry struct {
	tokens *Tokens
	desc   *prometheus.Desc
}

// Watch makes the end of tokens a metric.
func (t *Tokens) Watch(reg prometheus.Registerer) {
	reg.MustRegister(&expiry{t, prometheus.NewDesc("hub_access_token_expiry_seconds",
		"When the first of the tokens that were used within the last 7 days ends, in seconds since the Unix epoch; absent when none does.", nil, nil)})
}

// Describe implements prometheus.Collector.
func (e *expiry) Describe(to chan<- *prometheus.Desc) { to <- e.desc }

// Collect implements prometheus.Collector.
func (e *expiry) Collect(to chan<- prometheus.Metric) {
	if soonest := e.tokens.soonest(); !soonest.IsZero() {
		to <- prometheus.MustNewConstMetric(e.desc, prometheus.GaugeValue, float64(soonest.Unix()))
	}
}

// soonest returns when the first token in use ends, an ended one included while
// it counts as in use; zero when none does.
func (t *Tokens) soonest() (first time.Time) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	now := t.now()
	for _, k := range t.byHash {
		if !k.Expires.IsZero() && now.Sub(k.LastUse) <= inUse && (first.IsZero() || k.Expires.Before(first)) {
			first = k.Expires
		}
	}
	return first
}
