package queue

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	commit, send          prometheus.Histogram
	committed, sent, lost prometheus.Counter
	retries               prometheus.Counter
	refused               *prometheus.CounterVec
	all                   []prometheus.Collector
	reg                   prometheus.Registerer
}

func newMetrics(reg prometheus.Registerer, q *Queue) (*metrics, error) {
	seconds := prometheus.ExponentialBuckets(0.0001, 2, 18) // 0.1 ms to 13 s
	m := &metrics{
		reg:       reg,
		commit:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hub_queue_commit_seconds", Help: "Time from the start of a commit until its samples are durable in the queue.", Buckets: seconds}),
		send:      prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hub_queue_send_seconds", Help: "Time of one request to the engine.", Buckets: seconds}),
		committed: prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_queue_committed_total", Help: "Samples that became durable in the queue."}),
		sent:      prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_queue_sent_total", Help: "Samples that the engine took."}),
		lost:      prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_queue_lost_total", Help: "Samples that could not be read back from the disk."}),
		retries:   prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_queue_retries_total", Help: "Requests that the engine did not take and that are made again."}),
		refused:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_queue_refused_total", Help: "Samples that the engine will never take, by reason; they are among the rejects."}, []string{"reason"}),
	}
	gauge := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read)
	}
	locked := func(read func() float64) func() float64 {
		return func() float64 {
			q.mu.Lock()
			defer q.mu.Unlock()
			return read()
		}
	}
	for _, c := range []prometheus.Collector{
		m.commit, m.send, m.committed, m.sent, m.lost, m.retries, m.refused,
		gauge("hub_queue_samples", "Samples that wait for the engine.", func() float64 { return float64(q.pending.Load()) }),
		gauge("hub_queue_bytes", "Size of the queue on disk.", locked(func() float64 { return float64(q.bytes) })),
		gauge("hub_queue_max_bytes", "Size at which the queue is full.", func() float64 { return float64(q.cfg.MaxBytes) }),
		gauge("hub_queue_oldest_seconds", "How long the sample that waits longest has waited.", locked(func() float64 {
			if at := q.oldest(); !at.IsZero() {
				return max(0, q.now().Sub(at).Seconds())
			}
			return 0
		})),
		gauge("hub_queue_stalled_seconds", "For how long the engine has taken nothing of what it was sent; 0 while it takes.", locked(func() float64 {
			if q.trouble.err == nil {
				return 0
			}
			return time.Since(q.trouble.since).Seconds()
		})),
		gauge("hub_queue_full", "1 while the queue is full and telemetry is refused at the doors.", func() float64 {
			if q.Full() != nil {
				return 1
			}
			return 0
		}),
	} {
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
