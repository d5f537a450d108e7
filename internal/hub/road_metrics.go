package hub

import (
	"cmp"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/traffic"
)

// maxFirmwares is how many versions are told apart in metrics; what is more is
// counted as "other".
const maxFirmwares = 50

// roadMetrics counts roadside units by what only words can say of them.
type roadMetrics struct {
	units              func() []traffic.UnitView
	firmware, findings *prometheus.Desc
}

func newRoadMetrics(units func() []traffic.UnitView) *roadMetrics {
	return &roadMetrics{units,
		prometheus.NewDesc("hub_roads_units", "Roadside units that were ever heard, by firmware.", []string{"firmware"}, nil),
		prometheus.NewDesc("hub_roads_faulty_units", "Roadside units that a check finds fault with now, by check.", []string{"check"}, nil)}
}

// Describe implements [prometheus.Collector].
func (m *roadMetrics) Describe(to chan<- *prometheus.Desc) { to <- m.firmware; to <- m.findings }

// Collect implements [prometheus.Collector].
func (m *roadMetrics) Collect(to chan<- prometheus.Metric) {
	versions, faulty := map[string]int{}, map[traffic.Check]int{}
	for _, u := range m.units() {
		versions[cmp.Or(u.Status.Firmware, u.Status.Version, "unknown")]++
		seen := map[traffic.Check]bool{}
		for _, f := range u.Faults {
			if !seen[f.Check] {
				seen[f.Check] = true
				faulty[f.Check]++
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(versions), func(a, b string) int { return cmp.Or(versions[b]-versions[a], cmp.Compare(a, b)) })
	other := 0
	for i, name := range names {
		if i < maxFirmwares {
			to <- prometheus.MustNewConstMetric(m.firmware, prometheus.GaugeValue, float64(versions[name]), name)
		} else {
			other += versions[name]
		}
	}
	if other > 0 {
		to <- prometheus.MustNewConstMetric(m.firmware, prometheus.GaugeValue, float64(other), "other")
	}
	for _, c := range traffic.Checks {
		to <- prometheus.MustNewConstMetric(m.findings, prometheus.GaugeValue, float64(faulty[c]), string(c))
	}
}
