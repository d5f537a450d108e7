package local

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/telemetry"
)

type metrics struct {
	commit, fsync prometheus.Histogram
	points        prometheus.Counter
	refused       *prometheus.CounterVec
	late          prometheus.Counter
	compactions   *prometheus.CounterVec
	all           []prometheus.Collector
	reg           prometheus.Registerer
}

// newMetrics registers what a store tells of itself. free is the space that its disk
// still has.
func newMetrics(reg prometheus.Registerer, t *table, free func() float64) (*metrics, error) {
	seconds := prometheus.ExponentialBuckets(0.0001, 2, 16) // 0.1 ms to 3.3 s
	m := &metrics{
		reg:         reg,
		commit:      prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hub_store_commit_seconds", Help: "Time from the start of a commit until its points are durable.", Buckets: seconds}),
		fsync:       prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hub_store_fsync_seconds", Help: "Time that a commit waits for the disk.", Buckets: seconds}),
		points:      prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_store_points_total", Help: "Points taken by commits, redelivered ones included."}),
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_store_refused_total", Help: "Points that commits did not take, by reason."}, []string{"reason"}),
		late:        prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_store_late_total", Help: "Points older than the out-of-order window that were stored among the late data."}),
		compactions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_store_compactions_total", Help: "Compaction runs, by result: done or failed."}, []string{"result"}),
	}
	for _, r := range []telemetry.Reason{telemetry.ReasonConflict, telemetry.ReasonTimePast} {
		m.refused.WithLabelValues(string(r))
	}
	for _, r := range []string{"done", "failed"} {
		m.compactions.WithLabelValues(r)
	}
	live := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_store_series", Help: "Series that have an id."}, func() float64 { return float64(t.Count()) })
	room := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_store_free_bytes", Help: "Space that the disk of the store still has for it; below 32 MiB the store stops."}, free)
	for _, c := range []prometheus.Collector{m.commit, m.fsync, m.points, m.refused, m.late, m.compactions, live, room} {
		if err := reg.Register(c); err != nil {
			m.close()
			return nil, err
		}
		m.all = append(m.all, c)
	}
	return m, nil
}

func (m *metrics) close() {
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}
