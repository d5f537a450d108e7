package query

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// gate lets a fixed number of questions read the store at once and a bounded
// number wait for their turn.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int64
	queue   int64
	metrics *metrics
}

func newGate(concurrency, queue int, m *metrics) *gate {
	return &gate{slots: make(chan struct{}, concurrency), queue: int64(queue), metrics: m}
}

var (
	errQueueFull = errors.New("too many queries wait for their turn; try again in a second, or raise query.max_queue")
	errWaited    = errors.New("query timed out in query queue")
)

// enter waits for a turn; leave must be called when the answer lies in memory.
func (g *gate) enter(ctx context.Context) (leave func(), err *failure) {
	select {
	case g.slots <- struct{}{}:
	default:
		if err := g.wait(ctx); err != nil {
			return nil, err
		}
	}
	g.metrics.running.Inc()
	return func() {
		g.metrics.running.Dec()
		<-g.slots
	}, nil
}

func (g *gate) wait(ctx context.Context) *failure {
	defer func() { g.metrics.waiting.Set(float64(g.waiting.Add(-1))) }()
	n := g.waiting.Add(1)
	g.metrics.waiting.Set(float64(n))
	if n > g.queue {
		return &failure{busy, errQueueFull}
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return &failure{timedOut, errWaited}
		}
		return &failure{canceled, ctx.Err()}
	}
}

type metrics struct {
	requests         *prometheus.CounterVec
	duration         *prometheus.HistogramVec
	failures         *prometheus.CounterVec
	limited          *prometheus.CounterVec
	samples          prometheus.Counter
	unsent           prometheus.Counter
	running, waiting prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, memory *answers) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_query_requests_total", Help: "Requests to the Prometheus API, by endpoint and status code."}, []string{"endpoint", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hub_query_duration_seconds", Help: "Time from a request to the end of its answer, waiting included, by endpoint.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"endpoint"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_query_failures_total", Help: "Requests that failed, by the kind of error in the answer."}, []string{"kind"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_query_limited_total", Help: "Requests that met a bound: queue, time, samples, series, points, body or answer."}, []string{"limit"}),
		samples: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_query_samples_total", Help: "Samples that PromQL queries read."}),
		unsent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_query_unsent_total", Help: "Answers whose caller went away or took too long to read them."}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hub_query_running_queries", Help: "Questions that read the store."}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hub_query_waiting_queries", Help: "Questions that wait for their turn."}),
	}
	for _, limit := range []string{limitQueue, limitTime, limitSamples, limitSeries, limitPoints, limitBody, limitAnswer} {
		m.limited.WithLabelValues(limit)
	}
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hub_query_answer_bytes", Help: "Memory that answers take until they are sent; bounded by query.max_answer_bytes."},
		func() float64 { return float64(memory.taken.Load()) })
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.failures, m.limited, m.samples, m.unsent, m.running, m.waiting, held} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("query: metrics: %w", err)
		}
	}
	return m, nil
}

// The bounds a question can meet, as hub_query_limited_total names them.
const (
	limitQueue   = "queue"
	limitTime    = "time"
	limitSamples = "samples"
	limitSeries  = "series"
	limitPoints  = "points"
	limitBody    = "body"
	limitAnswer  = "answer"
)
