package enrolment

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/registry"
)

// lives are the labels of what remains of certificates, with the time below which
// each counts.
var lives = []struct {
	left  string
	below time.Duration
}{{"ended", 0}, {"1d", 24 * time.Hour}, {"7d", 7 * 24 * time.Hour}, {"14d", 14 * 24 * time.Hour}, {"30d", 30 * 24 * time.Hour}, {"more", 1 << 62}}

// expiry tells how long the certificates of devices last.
type expiry struct {
	registry        *registry.Registry
	clock           func() time.Time
	devices, expiry *prometheus.Desc
}

func newExpiry(r *registry.Registry, clock func() time.Time) *expiry {
	return &expiry{r, clock,
		prometheus.NewDesc("hub_enrolment_certificates", "Devices in use by what remains of their newest certificate: ended, less than 1d, 7d, 14d or 30d, more.", []string{"left"}, nil),
		prometheus.NewDesc("hub_enrolment_certificate_expiry_seconds", "When the first device's certificate ends of those that have not ended, in seconds since the Unix epoch; absent when there is none.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (e *expiry) Describe(to chan<- *prometheus.Desc) { to <- e.devices; to <- e.expiry }

// Collect implements prometheus.Collector.
func (e *expiry) Collect(to chan<- prometheus.Metric) {
	now := e.clock()
	counts := make([]int, len(lives))
	var first time.Time
	e.registry.EachCertificateEnd(func(ends time.Time) {
		i := 0
		for ends.Sub(now) > lives[i].below {
			i++
		}
		counts[i]++
		if i > 0 && (first.IsZero() || ends.Before(first)) {
			first = ends
		}
	})
	for i, l := range lives {
		to <- prometheus.MustNewConstMetric(e.devices, prometheus.GaugeValue, float64(counts[i]), l.left)
	}
	if !first.IsZero() {
		to <- prometheus.MustNewConstMetric(e.expiry, prometheus.GaugeValue, float64(first.Unix()))
	}
}
