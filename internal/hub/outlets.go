package hub

import (
	"context"
	"fmt"
	"net"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/ckan/push"
	"github.com/songhua-io/hub/internal/catalog/feed"
	"github.com/songhua-io/hub/internal/catalog/outbox"
	"github.com/songhua-io/hub/internal/catalog/province/deliver"
	"github.com/songhua-io/hub/internal/query"
)

// openFeed makes the catalogue as others read it, and what is owed to outlets.
// What they need of other parts is handed in as funcs.
func (h *hub) openFeed(ctx context.Context, q *query.API, base catalog.Base) (err error) {
	coverages := &coverages{list: h.catalog.Published, of: h.covered(q), changed: h.feedChanged}
	h.feed, err = feed.Open(ctx, h.cfg.Feed, feed.Deps{
		Base: base, Records: h.records, Datasets: h.datasetIDs, Standing: h.standingDataset, Coverage: coverages.get, Releases: h.releases.Releases, Measured: h.quality.Measurements,
		Live: func(d *catalog.Dataset) []catalog.Distribution { return interfaces(base, d) }, Services: []catalog.Service{thingsService(base)},
		Advanced: func() {
			if h.outlets != nil {
				h.outlets.Wake()
			}
		},
		Log: h.log, Clock: h.clock, Metrics: h.metrics,
	})
	if err != nil {
		return err
	}
	destinations, err := h.destinations(base)
	if err != nil {
		return err
	}
	h.outlets, err = outbox.Open(ctx, destinations, outbox.Deps{
		Records: h.records, Noted: h.notedCatalog, Told: toldOf, Item: h.outboxItem, Each: h.feed.Each, Log: h.log, Clock: h.clock, Metrics: h.metrics,
	})
	if err != nil {
		return err
	}
	h.stack.start("outlets", h.outlets.Run)
	h.stack.start("feed", h.feed.Run)
	h.stack.start("coverage", coverages.run)
	return nil
}

// feedBase is where all addresses of the catalogue begin.
func (h *hub) feedBase() (catalog.Base, error) {
	if h.cfg.Feed.Base != "" {
		return catalog.ParseBase(h.cfg.Feed.Base)
	}
	if base, err := catalog.ParseBase(h.cfg.Pages.PublicURL); err == nil {
		return base, nil
	}
	host, port, err := net.SplitHostPort(h.cfg.Listen.HTTP)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && (ip.IsUnspecified() || ip.To4() == nil) {
		host = "localhost" // addresses of the catalogue have names
	}
	base := "http://" + net.JoinHostPort(host, port)
	h.log.Info("feed_base_not_configured", "base", base)
	return catalog.ParseBase(base)
}

// feedChanged tells the feed of a dataset. Nothing changes before the doors open,
// and the feed is there by then.
func (h *hub) feedChanged(id string) {
	if h.feed != nil {
		h.feed.Changed(id)
	}
}

func (h *hub) datasetIDs() (ids []string) {
	for _, r := range h.catalog.List() {
		ids = append(ids, r.ID)
	}
	return ids
}

func (h *hub) standingDataset(id string) (*catalog.Dataset, string) {
	r, err := h.catalog.Get(id)
	if err != nil {
		return nil, ""
	}
	return r.Dataset(), r.Reason
}

func (h *hub) outboxItem(id string) outbox.Item {
	it := h.feed.Item(id)
	return outbox.Item{Dataset: it.Dataset, Number: it.Number, At: it.At, Entry: it.Entry, Reason: it.Reason, Snapshot: it.Snapshot}
}

// destinations are those of the configuration.
func (h *hub) destinations(base catalog.Base) (all []outbox.Outlet, err error) {
	for _, c := range h.cfg.CKAN {
		all = append(all, outbox.Outlet{Name: c.Name, Kind: "ckan", Reconcile: c.Reconcile, Destination: push.New(c, base, nil)})
	}
	for _, c := range h.cfg.Province {
		p, err := deliver.New(c, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, outbox.Outlet{Name: c.Name, Kind: "province", Reconcile: c.Reconcile, Destination: p})
	}
	return all, nil
}

// exportOutlet writes the whole catalogue by the template of an outlet.
func (h *hub) exportOutlet(name, format string) ([]byte, string, []catalog.Problem, error) {
	d, err := h.outlets.Destination(name)
	if err != nil {
		return nil, "", nil, err
	}
	p, is := d.(*deliver.Platform)
	if !is {
		return nil, "", nil, fmt.Errorf("outlet %s %w by a template: it is no provincial platform; export one of `province` of the configuration", name, outbox.ErrAlike)
	}
	body, lacks, err := p.Export(h.feed.Current().Snapshot, format)
	kind := "application/json"
	if format == "csv" {
		kind = "text/csv"
	}
	return body, kind, lacks, err
}
