package loop

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/schedule"
)

type metrics struct {
	decisions   *prometheus.CounterVec
	preemptions *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, s *Scheduler) *metrics {
	m := &metrics{decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hub_schedule_decisions_total", Help: "Decisions about workloads, by where they went.",
	}, []string{"to"})}
	for _, to := range []schedule.State{schedule.Reserved, schedule.Queued, schedule.Deferred} {
		m.decisions.WithLabelValues(string(to))
	}
	m.preemptions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hub_schedule_preemptions_total", Help: "Workloads that gave way to others, by why: to a higher priority, or to who has a claim to what was borrowed.",
	}, []string{"reason"})
	for _, why := range []string{byPriority, byClaim} {
		m.preemptions.WithLabelValues(why)
	}
	waiting := func(state string, n func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hub_schedule_waiting_workloads", Help: "Workloads that wait for capacity (queued) or for their time (deferred).", ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(n())
		})
	}
	r.MustRegister(m.decisions, m.preemptions,
		waiting("queued", func() int { return s.queue.Len() }),
		waiting("deferred", func() int { return s.deferred.Len() }),
		capacity{s})
	return m
}

func (m *metrics) decided(to schedule.State) { m.decisions.WithLabelValues(string(to)).Inc() }

// Why work gives way.
const (
	byPriority = "priority"
	byClaim    = "reclaim"
)

func (m *metrics) preempted(why schedule.Code) {
	reason := byPriority
	if why == schedule.ReclaimedBy {
		reason = byClaim
	}
	m.preemptions.WithLabelValues(reason).Inc()
}

// capacity collects what pools have, what is leased of it and what is free.
type capacity struct{ s *Scheduler }

var capacityDesc = prometheus.NewDesc("hub_schedule_capacity", "Capacity of a pool by resource: what there is, what is leased, what new work may have (free).",
	[]string{"facility", "pool", "resource", "of"}, nil)

// Describe implements prometheus.Collector.
func (c capacity) Describe(to chan<- *prometheus.Desc) { to <- capacityDesc }

// maxPoolSeries bounds the pools that are series of their own.
const maxPoolSeries = 2000

// Collect implements prometheus.Collector.
func (c capacity) Collect(to chan<- prometheus.Metric) {
	for i, k := range c.s.Capacities() {
		if i == maxPoolSeries {
			return
		}
		for d, name := range schedule.DimensionNames {
			if k.Capacity[d] == 0 {
				continue
			}
			for of, n := range map[string]int64{"total": k.Capacity[d], "leased": k.Leased[d], "free": k.Free[d]} {
				to <- prometheus.MustNewConstMetric(capacityDesc, prometheus.GaugeValue, float64(n), k.Facility, k.Pool, name, of)
			}
		}
	}
}
