package coap

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests   *prometheus.CounterVec
	byCode     [256]atomic.Pointer[prometheus.Counter]
	refused    *prometheus.CounterVec
	duplicates prometheus.Counter
	separate   prometheus.Counter

	notifications prometheus.Counter
}

// Reasons for which datagrams are not answered as asked, or not at all.
const (
	refusedForeign    = "not_coap"
	refusedMalformed  = "malformed"
	refusedPlain      = "plain_from_afar"
	refusedAuth       = "unauthorized"
	refusedTransfers  = "too_many_transfers"
	refusedSessions   = "too_many_sessions"
	refusedHandshakes = "too_many_handshakes"
	refusedHandshake  = "handshake_failed"
	refusedQueue      = "queue_full"
	refusedObservers  = "too_many_observers"
)

func newMetrics(reg prometheus.Registerer, d *Door) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_coap_requests_total", Help: "Requests answered, by response code.",
		}, []string{"code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_coap_refused_total", Help: "Datagrams, transfers and sessions refused, by reason.",
		}, []string{"reason"}),
		duplicates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_coap_duplicates_total", Help: "Repeated datagrams, answered from memory.",
		}),
		separate: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_coap_separate_answers_total", Help: "Answers sent apart from their acknowledgement because the store took long.",
		}),
		notifications: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_coap_notifications_total", Help: "Notifications sent to observers, repetitions apart.",
		}),
	}
	reg.MustRegister(m.requests, m.refused, m.duplicates, m.separate, m.notifications)
	gauge := func(name, help string, f func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	gauge("hub_coap_sessions", "DTLS sessions, handshakes under way included.", func() float64 { return float64(d.sessions.Load()) })
	gauge("hub_coap_transfers", "Messages that are coming in blocks.", func() float64 { n, _ := d.transfers.size(); return float64(n) })
	gauge("hub_coap_transfer_bytes", "Memory of messages that are coming in blocks.", func() float64 { _, n := d.transfers.size(); return float64(n) })
	gauge("hub_coap_remembered", "Answers remembered for repeated datagrams.", func() float64 { return float64(d.memory.size()) })
	gauge("hub_coap_observers", "Senders that observe commands or configurations.", func() float64 { return float64(d.observers.size()) })
	gauge("hub_coap_unconfirmed", "Separate answers and notifications that their receiver has not acknowledged.", func() float64 { return float64(d.separates.size()) })
	return m
}

func (m *metrics) count(c code) {
	p := m.byCode[c].Load()
	if p == nil {
		counter := m.requests.WithLabelValues(c.String())
		p = &counter
		m.byCode[c].Store(p)
	}
	(*p).Inc()
}

func (m *metrics) refuse(reason string) { m.refused.WithLabelValues(reason).Inc() }
