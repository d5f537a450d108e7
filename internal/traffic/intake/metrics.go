package intake

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/telemetry"
)

type metrics struct {
	messages map[road.Kind]prometheus.Counter
	other    prometheus.Counter
	refused  *prometheus.CounterVec
	minutes  prometheus.Counter
	bytes    prometheus.Gauge
	fsync    prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, in *Intake) *metrics {
	m := &metrics{
		messages: map[road.Kind]prometheus.Counter{},
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_traffic_refused_total", Help: "V2X messages that were not taken, by reason (docs/rejects.md).",
		}, []string{"reason"}),
		minutes: prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_traffic_minutes_total", Help: "Minutes of roadside units whose samples were written."}),
		bytes:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_traffic_journal_bytes", Help: "Bytes of the journal of open minutes."}),
		fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hub_traffic_fsync_seconds", Help: "Time of one write to the journal of open minutes, fsync included.",
			Buckets: []float64{100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1},
		}),
	}
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_traffic_messages_total", Help: "V2X messages taken, by kind; those that came again among them."}, []string{"kind"})
	for _, k := range []road.Kind{road.KindBSM, road.KindRSM, road.KindSPAT, road.KindMap, road.KindRSI, road.KindInfo, road.KindHeartbeat, road.KindBase, road.KindRunning,
		road.KindAnswer, road.KindAck, road.KindDiagnostic, road.KindOther} {
		m.messages[k] = messages.WithLabelValues(string(k))
	}
	m.other = m.messages[road.KindOther]
	for _, r := range []telemetry.Reason{telemetry.ReasonMalformed, telemetry.ReasonUnsupported, telemetry.ReasonTimeUnresolved, telemetry.ReasonWindowClosed,
		telemetry.ReasonPersonalData, telemetry.ReasonTooMany, telemetry.ReasonTimeFuture, telemetry.ReasonTimePast} {
		m.refused.WithLabelValues(string(r))
	}
	reg.MustRegister(messages, m.refused, m.minutes, m.bytes, m.fsync)
	for _, g := range []struct {
		name, help string
		of         func() int
	}{
		{"hub_traffic_units", "Roadside units that are watched.", func() int { units, _ := in.deps.Board.Open(); return units }},
		{"hub_traffic_open_minutes", "Minutes of roadside units that are not over.", func() int { _, minutes := in.deps.Board.Open(); return minutes }},
	} {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, func() float64 { return float64(g.of()) }))
	}
	return m
}

// message counts one that was taken.
func (m *metrics) message(k road.Kind) {
	if c := m.messages[k]; c != nil {
		c.Inc()
		return
	}
	m.other.Inc()
}
