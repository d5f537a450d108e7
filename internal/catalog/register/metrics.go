package register

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/catalog"
)

// gauges count what there is when they are asked.
type gauges struct {
	register *Register

	datasets, grants, tickets, overdue, readers *prometheus.Desc
}

func newGauges(r *Register) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("hub_catalog_"+name, help, labels, nil)
	}
	return &gauges{
		register: r,
		datasets: desc("datasets", "Datasets of the catalogue by state.", "state"),
		grants:   desc("open_grants", "Applications that are not decided and grants in force, by state.", "state"),
		tickets:  desc("open_tickets", "Objections and requests of persons that are not closed, by state.", "state"),
		overdue:  desc("overdue", "What should have been checked, decided or answered by now, by kind: grant, objection or subject.", "kind"),
		readers:  desc("readers", "Streams of datasets that are being read."),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.datasets, g.grants, g.tickets, g.overdue, g.readers} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	r, now := g.register, g.register.now()
	datasets, grants, tickets := map[catalog.State]int{}, map[GrantState]int{}, map[TicketState]int{}
	overdue := map[string]int{"grant": 0, "objection": 0, "subject": 0}
	r.mu.RLock()
	for _, rec := range r.byID {
		datasets[rec.State]++
	}
	for _, a := range r.grants {
		if grants[a.State]++; a.Overdue(now) {
			overdue["grant"]++
		}
	}
	for _, t := range r.open {
		tickets[t.State]++
		switch {
		case t.Overdue(now) && t.Kind.Subject():
			overdue["subject"]++
		case t.Overdue(now):
			overdue["objection"]++
		}
	}
	readers := len(r.holds)
	r.mu.RUnlock()

	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	for _, s := range []catalog.State{catalog.Draft, catalog.Submitted, catalog.Published, catalog.Suspended, catalog.Withdrawn} {
		gauge(g.datasets, datasets[s], string(s))
	}
	for _, s := range []GrantState{Applied, Reviewing, Granted} {
		gauge(g.grants, grants[s], string(s))
	}
	for _, s := range []TicketState{Filed, Answered} {
		gauge(g.tickets, tickets[s], string(s))
	}
	for kind, n := range overdue {
		gauge(g.overdue, n, kind)
	}
	gauge(g.readers, readers)
}
