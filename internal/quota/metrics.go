package quota

import "github.com/prometheus/client_golang/prometheus"

func (q *Quotas) register(reg prometheus.Registerer) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hub_quota_refused_total", Help: "What was refused because a quota was used up, by whose (device, token, address), which, and door: connections, deliveries of messages, samples of new series, calls.",
	}, []string{"of", "quota", "door"})
	for _, p := range q.policies() {
		for d := range doors {
			p.refused[d] = refused.WithLabelValues(p.Of, p.What, d.String())
		}
	}
	gauge := func(name, help string, n func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			q.mu.Lock()
			defer q.mu.Unlock()
			return float64(n())
		})
	}
	reg.MustRegister(refused,
		gauge("hub_quota_addresses", "Addresses (IPv4, or IPv6 /64) with open connections.", func() int { return len(q.open) }),
		gauge("hub_quota_connected_devices", "Devices with open connections.", func() int { return len(q.devices) }),
		gauge("hub_quota_waiting_connections", "Connections over their quota that are being told so, at most 64.", func() int { return q.waiting }),
	)
}
