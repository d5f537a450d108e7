package authority

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what the authority does, and says when what it holds ends.
type metrics struct {
	authority *Authority
	expiry    *prometheus.Desc
	issued    prometheus.Counter
	refused   prometheus.Counter // handshakes
	reloads   *prometheus.CounterVec
	last      string // the failure that was told last
}

func newMetrics(reg prometheus.Registerer, a *Authority) *metrics {
	m := &metrics{
		authority: a,
		expiry: prometheus.NewDesc("hub_authority_certificate_expiry_seconds",
			"When a certificate that the hub holds ends, in seconds since the Unix epoch.", []string{"certificate"}, nil),
		issued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_authority_certificates_issued_total", Help: "Certificates issued to devices.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hub_authority_handshakes_refused_total", Help: "TLS handshakes sent away because too many had begun.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_authority_reloads_total", Help: "Changed files of certificates, keys and authorities, by whether they were taken.",
		}, []string{"result"}),
	}
	m.reloads.WithLabelValues(resultTaken)
	m.reloads.WithLabelValues(resultRefused)
	reg.MustRegister(m, m.issued, m.refused, m.reloads)
	return m
}

const (
	resultTaken   = "taken"
	resultRefused = "refused"
)

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) { to <- m.expiry }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	for _, c := range m.authority.List() {
		to <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, float64(c.NotAfter.Unix()), c.Name)
	}
}

// failed tells of files that are not taken, once for each reason.
func (m *metrics) failed(log *slog.Logger, err error) {
	if err.Error() == m.last {
		return
	}
	m.last = err.Error()
	m.reloads.WithLabelValues(resultRefused).Inc()
	log.Error("certificates_not_taken", "error", err, "way_out", "those from before stay in use; put good files in their place, and they are read within seconds")
}

func (m *metrics) reloaded(log *slog.Logger, all []Certificate) {
	m.last = ""
	m.reloads.WithLabelValues(resultTaken).Inc()
	for _, c := range all {
		log.Info("certificate_taken", "certificate", c.Name, "subject", c.Subject, "not_after", c.NotAfter, "fingerprint", c.Fingerprint)
	}
}
