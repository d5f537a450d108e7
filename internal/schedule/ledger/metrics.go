package ledger

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	proposals *prometheus.CounterVec
	commits   prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, l *Ledger) *metrics {
	m := &metrics{
		proposals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_ledger_proposals_total", Help: "Proposals by what became of them."}, []string{"result"}),
		commits:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hub_ledger_commit_seconds", Help: "Time that a commit of the ledger takes, its fsync included.", Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1}}),
	}
	for _, s := range []string{applied, "refused", "stale", "conflict", "full", "invalid", "error"} {
		m.proposals.WithLabelValues(s)
	}
	gauge := func(name, help string, n func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			l.mu.RLock()
			defer l.mu.RUnlock()
			return float64(n())
		})
	}
	r.MustRegister(m.proposals, m.commits,
		gauge("hub_ledger_live_workloads", "Workloads and reservations that have not ended or still take capacity.", func() int { return len(l.live) }),
		gauge("hub_ledger_leases", "Leases that take capacity.", func() int { return len(l.leases) }),
		gauge("hub_ledger_idempotency_keys", "Idempotency keys of the last seven days.", func() int { return l.keys.len() }))
	return m
}

const applied = "applied"

func (m *metrics) count(results []Result) {
	n := 0
	for i := range results {
		if results[i].Err == nil {
			n++
			continue
		}
		m.proposals.WithLabelValues(outcome(results[i].Err)).Inc()
	}
	m.proposals.WithLabelValues(applied).Add(float64(n))
}

func outcome(err error) string {
	var refused *Refused
	switch {
	case errors.As(err, &refused):
		return "refused"
	case errors.Is(err, ErrStale), errors.Is(err, ErrState):
		return "stale"
	case errors.Is(err, ErrConflict):
		return "conflict"
	case errors.Is(err, ErrFull):
		return "full"
	case errors.Is(err, ErrInvalid), errors.Is(err, ErrUnknown):
		return "invalid"
	}
	return "error"
}
