package ingest

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

type metrics struct {
	stage      []prometheus.Observer // as stages
	messages   []prometheus.Counter  // by codec.Format
	rejects    *prometheus.CounterVec
	forged     prometheus.Counter
	unflagged  prometheus.Counter
	foreign    [2]prometheus.Counter // samples in another unit than the model's: convertible, not
	busy       prometheus.Counter
	commit     prometheus.Histogram
	commitWait prometheus.Histogram
	groups     prometheus.Histogram
	notes      prometheus.Histogram
}

// seconds are the buckets of everything that takes time on a sample's way:
// from a microsecond to a second.
func seconds() []float64 {
	return []float64{1e-6, 5e-6, 25e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1}
}

func newMetrics(reg prometheus.Registerer, p *Pipeline) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		reg.MustRegister(h)
		return h
	}
	m := &metrics{
		forged:     counter("hub_ingest_forged_tags_total", "Tags left out because the registry alone sets them."),
		unflagged:  counter("hub_ingest_unflagged_total", "Samples out of range that were stored without their flag: the device has as many series as it may."),
		busy:       counter("hub_ingest_busy_total", "Deliveries refused because too many samples waited for the store."),
		commit:     histogram("hub_ingest_commit_seconds", "Time of one group commit, fsync included.", seconds()),
		commitWait: histogram("hub_ingest_commit_wait_seconds", "Time a delivery waited until it was durable.", seconds()),
		notes:      histogram("hub_ingest_notes_seconds", "Time of one write of states and units, fsync included.", seconds()),
		groups:     histogram("hub_ingest_commit_samples", "Samples that shared one commit.", prometheus.ExponentialBuckets(1, 8, 8)),
	}
	stageSeconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "hub_ingest_stage_seconds", Help: "Time of one delivery in each stage.", Buckets: seconds(),
	}, []string{"stage"})
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hub_ingest_messages_total", Help: "Messages read, by format.",
	}, []string{"format"})
	m.rejects = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hub_ingest_rejects_total", Help: "What was not stored, by stage and reason (docs/rejects.md).",
	}, []string{"stage", "reason"})
	foreign := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hub_ingest_foreign_units_total", Help: "Samples in another unit than their model's, by whether it can be converted; they have a tag unit.",
	}, []string{"convertible"})
	for i, convertible := range []string{"yes", "no"} {
		m.foreign[i] = foreign.WithLabelValues(convertible)
	}
	reg.MustRegister(stageSeconds, messages, foreign, m.rejects)
	for _, r := range telemetry.Reasons() {
		m.rejects.WithLabelValues(string(r.Stage), string(r.Reason))
	}
	for _, s := range stages {
		m.stage = append(m.stage, stageSeconds.WithLabelValues(string(s.name)))
	}
	for f := range codec.Formats {
		m.messages = append(m.messages, messages.WithLabelValues(codec.Format(f).String()))
	}
	reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "hub_ingest_samples_total", Help: "Samples and states accepted: durable before they were acknowledged.",
	}, func() float64 { return float64(p.accepted.Load()) }))
	gauge := func(name, help string, f func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	gauge("hub_ingest_pending_samples", "Samples that wait for the store.", func() float64 { return float64(p.queue.length()) })
	gauge("hub_ingest_series", "Series in use by devices.", func() float64 { return float64(p.seriesInUse()) })
	gauge("hub_ingest_devices", "Devices that sent something since the hub started.", func() float64 {
		p.mu.RLock()
		defer p.mu.RUnlock()
		return float64(len(p.sources))
	})
	return m
}
