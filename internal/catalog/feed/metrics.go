package feed

import "github.com/prometheus/client_golang/prometheus"

type counters struct {
	changes prometheus.Counter
	gone    prometheus.Counter
}

func newCounters(to prometheus.Registerer, f *Feed) *counters {
	c := &counters{
		changes: prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_feed_changes_total", Help: "Changes of datasets that readers of the catalogue were told of."}),
		gone:    prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_feed_gone_total", Help: "Requests for a snapshot, or for changes, that are no longer kept."}),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	to.MustRegister(c.changes, c.gone,
		gauge("hub_feed_datasets", "Datasets in the current snapshot of the catalogue.", func() float64 { return float64(len(f.Current().Entries)) }),
		gauge("hub_feed_snapshots", "Snapshots that are kept for those who read page by page.", func() float64 {
			f.mu.RLock()
			defer f.mu.RUnlock()
			return float64(len(f.read.all))
		}),
		gauge("hub_feed_cache_bytes", "Pages of the catalogue that are kept ready.", func() float64 {
			f.cache.mu.Lock()
			defer f.cache.mu.Unlock()
			return float64(f.cache.size)
		}),
	)
	return c
}
