package sensorthings

import "github.com/prometheus/client_golang/prometheus"

// metrics are besides those of the endpoint sensorthings in hub_query_*.
type metrics struct {
	limited *prometheus.CounterVec
	samples prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_sensorthings_limited_total", Help: "SensorThings requests that met a budget: samples, series, entities, order or time.",
		}, []string{"limit"}),
		samples: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_sensorthings_samples_total", Help: "Samples that SensorThings requests read.",
		}),
	}
	for _, limit := range []string{limitSamples, limitSeries, limitEntities, limitOrder, limitTime} {
		m.limited.WithLabelValues(limit)
	}
	reg.MustRegister(m.limited, m.samples)
	return m
}
