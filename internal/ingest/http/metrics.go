package http

import (
	nethttp "net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	body     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, d *Door) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_http_requests_total", Help: "Requests of devices answered, by route and status code.",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hub_http_request_seconds", Help: "Time from the request's header to its answer, the commit included.",
			Buckets: []float64{100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1},
		}, []string{"route"}),
		body: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_http_body_bytes_total", Help: "Bytes of request bodies as sent by devices.",
		}),
	}
	memory := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hub_http_body_memory_bytes", Help: "Memory that bodies of requests under way take; bounded by max_memory.",
	}, func() float64 { return float64(d.memory.Load()) })
	reg.MustRegister(m.requests, m.seconds, m.body, memory)
	return m
}

// meter counts the requests of one route. The counters of the usual codes are
// looked up once.
type meter struct {
	all     *prometheus.CounterVec
	route   string
	ok      prometheus.Counter
	empty   prometheus.Counter
	seconds prometheus.Observer
}

func (m *metrics) meter(route string) *meter {
	return &meter{
		all: m.requests, route: route, seconds: m.seconds.WithLabelValues(route),
		ok:    m.requests.WithLabelValues(route, strconv.Itoa(nethttp.StatusOK)),
		empty: m.requests.WithLabelValues(route, strconv.Itoa(nethttp.StatusNoContent)),
	}
}

func (m *meter) count(code int, took time.Duration) {
	m.seconds.Observe(took.Seconds())
	switch code {
	case nethttp.StatusOK:
		m.ok.Inc()
	case nethttp.StatusNoContent:
		m.empty.Inc()
	default:
		m.all.WithLabelValues(m.route, strconv.Itoa(code)).Inc()
	}
}
