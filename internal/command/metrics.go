package command

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	states   *prometheus.CounterVec
	received prometheus.Histogram
	ended    prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, l *Ledger) *metrics {
	buckets := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600}
	m := &metrics{
		states:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_command_states_total", Help: "Commands that came to a state."}, []string{"state"}),
		received: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hub_command_received_seconds", Help: "Time from a command's issue until its device confirmed it.", Buckets: buckets}),
		ended:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hub_command_ended_seconds", Help: "Time from a command's issue until it was done or failed.", Buckets: buckets}),
	}
	for _, s := range States() {
		m.states.WithLabelValues(string(s))
	}
	r.MustRegister(m.states, m.received, m.ended,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_command_open", Help: "Commands that have not ended."}, func() float64 {
			l.mu.Lock()
			defer l.mu.Unlock()
			return float64(len(l.open))
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_command_listeners", Help: "Connections that listen for commands."}, func() float64 {
			l.mu.Lock()
			defer l.mu.Unlock()
			n := 0
			for _, d := range l.devices {
				n += len(d.listeners)
			}
			return float64(n)
		}))
	return m
}

// count counts rows as they were written. A command that changed twice between
// two writes counts under the later state.
func (m *metrics) count(rows []Command) {
	for i := range rows {
		c := &rows[i]
		m.states.WithLabelValues(string(c.State)).Inc()
		switch c.State {
		case Received:
			m.received.Observe(c.Received.Sub(c.Created).Seconds())
		case Done, Failed:
			m.ended.Observe(c.Ended.Sub(c.Created).Seconds())
		}
	}
}
