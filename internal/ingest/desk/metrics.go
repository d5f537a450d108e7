package desk

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	overflow prometheus.Counter
	evicted  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, d *Desk) *metrics {
	m := &metrics{
		overflow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_desk_overflow_total", Help: "Rejected messages that came faster than they could be written and were let go.",
		}),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_desk_evicted_total", Help: "Rejected messages let go because of their age or to make room for newer ones.",
		}),
	}
	reg.MustRegister(m.overflow, m.evicted,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_desk_entries", Help: "Rejected messages kept."},
			func() float64 { return float64(d.entries.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_desk_bytes", Help: "Bytes of rejected messages kept."},
			func() float64 { return float64(d.bytes.Load()) }))
	return m
}
