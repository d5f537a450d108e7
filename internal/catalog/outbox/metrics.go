package outbox

import "github.com/prometheus/client_golang/prometheus"

// gauges count what there is when they are asked.
type gauges struct {
	outbox *Outbox

	entries, oldest, down *prometheus.Desc
}

func newGauges(o *Outbox) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("hub_outlet_"+name, help, append([]string{"outlet"}, labels...), nil)
	}
	return &gauges{
		outbox:  o,
		entries: desc("datasets", "Datasets of an outlet by state: delivered, pending, failed (refused until they change) or drifted (another there than here).", "state"),
		oldest:  desc("oldest_seconds", "How long ago the first change was made that an outlet was not told of; 0: it was told of all."),
		down:    desc("down", "1 while an outlet cannot be reached."),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.entries, g.oldest, g.down} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range g.outbox.List() {
		for state, n := range map[string]int{"delivered": s.Delivered, "pending": s.Pending, "failed": s.Failed, "drifted": s.Drifted} {
			gauge(g.entries, float64(n), s.Name, state)
		}
		oldest, down := 0.0, 0.0
		if !s.Oldest.IsZero() {
			oldest = max(g.outbox.deps.Clock().Sub(s.Oldest).Seconds(), 0)
		}
		if s.Problem != "" {
			down = 1
		}
		gauge(g.oldest, oldest, s.Name)
		gauge(g.down, down, s.Name)
	}
}
