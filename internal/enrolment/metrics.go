package enrolment

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	enrolled, renewed prometheus.Counter
	refused           *prometheus.CounterVec
}

// Why a device did not get in.
const (
	refusedRate  = "rate"
	refusedToken = "token"
	refusedScope = "device"
)

func newMetrics(reg prometheus.Registerer, k *knocks, e *expiry) *metrics {
	m := &metrics{
		enrolled: prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_enrolment_enrolled_total", Help: "Devices that got their credentials by a token."}),
		renewed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_enrolment_renewed_total", Help: "Certificates that devices renewed."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_enrolment_refused_total", Help: "Enrolments and renewals refused: too many from one address or device, by what was shown, or for what the device is.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{refusedRate, refusedToken, refusedScope} {
		m.refused.WithLabelValues(reason)
	}
	reg.MustRegister(e, m.enrolled, m.renewed, m.refused,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hub_enrolment_knocks", Help: "Unknown devices that asked to be let in and are remembered, at most 1000.",
		}, func() float64 {
			k.mu.Lock()
			defer k.mu.Unlock()
			return float64(len(k.by))
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "hub_enrolment_knocks_dropped_total", Help: "Unknown devices that were forgotten or not remembered because there were too many.",
		}, func() float64 {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.dropped
		}))
	return m
}
