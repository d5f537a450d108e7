package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// measured is the mux of our own operations: it counts and times each by its
// pattern, of which there are as many as routes.go lists.
type measured struct {
	*http.ServeMux
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMeasured(mux *http.ServeMux, reg prometheus.Registerer) *measured {
	m := &measured{
		ServeMux: mux,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_api_requests_total", Help: "Requests to /api/v1 answered, by route and status code.",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hub_api_request_seconds", Help: "Time from a request to /api/v1 to its answer, by route.",
			Buckets: []float64{.005, .025, .1, .5, 2.5, 10, 60},
		}, []string{"route"}),
	}
	reg.MustRegister(m.requests, m.seconds)
	return m
}

// HandleFunc hides the mux's.
func (m *measured) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	seconds := m.seconds.WithLabelValues(pattern)
	m.ServeMux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		began, c := time.Now(), &coded{w, http.StatusOK}
		h(c, r)
		seconds.Observe(time.Since(began).Seconds())
		m.requests.WithLabelValues(pattern, strconv.Itoa(c.code)).Inc()
	})
}

// coded notes the status code of an answer.
type coded struct {
	http.ResponseWriter
	code int
}

func (c *coded) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

func (c *coded) Unwrap() http.ResponseWriter { return c.ResponseWriter }
