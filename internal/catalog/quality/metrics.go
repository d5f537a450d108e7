package quality

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/catalog"
)

// gauges are what was last measured of each dataset.
type gauges struct {
	keeper *Keeper
	took   prometheus.Gauge

	share, delay, findings, at *prometheus.Desc
}

// maxGauged bounds the datasets that have series of their own.
const maxGauged = 2000

func newGauges(k *Keeper) *gauges {
	return &gauges{
		keeper: k,
		took:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_catalog_quality_seconds", Help: "Time of the last measurement of all datasets."}),
		share: prometheus.NewDesc("hub_catalog_quality_ratio",
			"Quality of a dataset on the last day that was measured, from 0 to 1, by dimension: completeness, validity, consistency, accessibility. Of the first 2,000 datasets.", []string{"dataset", "dimension"}, nil),
		delay: prometheus.NewDesc("hub_catalog_quality_delay_seconds",
			"The 95th percentile of how long after they were taken the samples of a dataset came, on the last day that was measured.", []string{"dataset"}, nil),
		at: prometheus.NewDesc("hub_catalog_quality_measured_seconds", "When a published dataset was measured last, in seconds since the Unix epoch; 0: never.", nil, nil),
		findings: prometheus.NewDesc("hub_catalog_findings",
			"Open findings of datasets by kind: where what is measured is not what is declared, and copies.", []string{"kind"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	to <- g.share
	to <- g.delay
	to <- g.findings
	to <- g.at
	g.took.Describe(to)
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	public := g.keeper.deps.Register.Published()
	g.keeper.mu.RLock()
	defer g.keeper.mu.RUnlock()
	n, last := 0, int64(0)
	for _, d := range public {
		m := g.keeper.latest[d.ID]
		if m == nil {
			continue
		}
		last = max(last, m.At.Unix())
		if n++; n > maxGauged {
			continue
		}
		for _, dimension := range catalog.Dimensions() {
			v, ok := m.Share(dimension)
			switch {
			case !ok:
			case dimension == catalog.Timeliness:
				to <- prometheus.MustNewConstMetric(g.delay, prometheus.GaugeValue, v, d.ID)
			default:
				to <- prometheus.MustNewConstMetric(g.share, prometheus.GaugeValue, v, d.ID, string(dimension))
			}
		}
	}
	to <- prometheus.MustNewConstMetric(g.at, prometheus.GaugeValue, float64(last))
	kinds := map[Kind]int{}
	for _, open := range g.keeper.open {
		for _, f := range open {
			kinds[f.Kind]++
		}
	}
	for _, k := range Kinds() {
		to <- prometheus.MustNewConstMetric(g.findings, prometheus.GaugeValue, float64(kinds[k]), string(k))
	}
	g.took.Collect(to)
}
