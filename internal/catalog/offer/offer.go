// Package offer decides which series of devices are given out as they come, to
// whom: those of published datasets whose source is live, to everybody where all
// of it is opened without condition, else by a grant within its scope. What a
// request reads ends when the dataset is shut, its grade raised or the grant
// revoked. Whoever reads telemetry by an own right is not its concern. Art. 29,
// Art. 33
package offer

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Deps are what access goes by. All are required.
type Deps struct {
	Register *register.Register
	// Selection says which series a dataset is made of; nil where there are none of
	// devices that could be given out as they come.
	Selection func(*catalog.Dataset) (register.Selection, error)
	// Grade is that of a metric of a device; false: there is no such device.
	Grade func(device, metric string) (telemetry.Grade, bool)
	// Gated reports whether a metric is given out through the privacy gate alone.
	Gated   func(metric string) bool
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Access knows who may read what. Its methods may be called from any goroutine.
type Access struct {
	deps    Deps
	refused prometheus.Counter
	ended   prometheus.Counter

	mu       sync.Mutex // guards all below
	now      *reach
	compiled map[*catalog.Dataset]*shared
}

// New returns the access to a register.
func New(d Deps) *Access {
	a := &Access{deps: d, compiled: map[*catalog.Dataset]*shared{},
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_catalog_live_refused_total", Help: "Requests for live data beyond the rate of their grant."}),
		ended:   prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_catalog_live_ended_total", Help: "Requests for live data that ended because what they read was shut."}),
	}
	d.Metrics.MustRegister(a.refused, a.ended)
	return a
}

// Offered reports whether a dataset may be given out as it comes at all: its
// source says so, and is one of series whose rows keep the device. Flow of roads
// never is, nor what is about persons: they pass the privacy gate, bin by bin.
func Offered(d *catalog.Dataset) bool {
	kind := d.Source.Kind == catalog.SourceSeries || d.Source.Kind == catalog.SourceSignals
	return d.Source.Live && kind && !d.Personal && slices.Contains(d.Source.By, deviceLabel)
}

const (
	deviceLabel = "device"
	metricLabel = "__name__"
)

// reach is who may read what, as of a generation of the register. It never
// changes.
type reach struct {
	generation uint64
	public     *offers
	granted    map[string]*offers // by the name of the token, what is public among it
	all        *offers            // for who narrows the own right to a dataset
}

// offers are found by the metric, those of selectors that name none besides.
type offers struct {
	byMetric map[string][]*offer
	others   []*offer
}

func (o *offers) add(one *offer) {
	if m := one.metric; m != "" {
		o.byMetric[m] = append(o.byMetric[m], one)
	} else {
		o.others = append(o.others, one)
	}
}

func newOffers() *offers { return &offers{byMetric: map[string][]*offer{}} }

func (o *offers) with(more []*offer) *offers {
	out := &offers{byMetric: maps.Clone(o.byMetric), others: slices.Clip(o.others)}
	for m, all := range out.byMetric {
		out.byMetric[m] = slices.Clip(all)
	}
	for _, one := range more {
		out.add(one)
	}
	return out
}

// each calls back with the offers that may hold a metric, until told to stop.
func (o *offers) each(metric string, f func(*offer) bool) {
	for _, list := range [][]*offer{o.byMetric[metric], o.others} {
		for _, one := range list {
			if !f(one) {
				return
			}
		}
	}
}

// shared is a dataset with its selector compiled.
type shared struct {
	dataset *catalog.Dataset
	metric  string
	matches func(label func(string) string) bool
	// device are the conditions on what the registry says of a device.
	device func(label func(string) string) bool
}

// offer is what of a dataset somebody may read.
type offer struct {
	*shared
	grant    int64 // 0: by no grant
	rate     int   // requests a minute; 0: not bounded
	items    []string
	class    func(catalog.Item) catalog.Class
	least    catalog.Class // an item may not be narrower
	area     string
	from, to int64 // ms, both included
}

// item is the item that holds a metric, if it may be read by the offer.
func (o *offer) item(metric string) (catalog.Item, bool) {
	it := register.ItemOf(o.dataset, metric)
	if it == nil || o.least.Wider(o.class(*it)) || len(o.items) > 0 && !slices.Contains(o.items, it.Name) {
		return catalog.Item{}, false
	}
	return *it, true
}

// current is the reach by all changes that have returned.
func (a *Access) current() *reach {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.deps.Register.Generation() // before what is made under it
	if a.now == nil || a.now.generation != g {
		a.now = a.compile(g)
	}
	return a.now
}

func (a *Access) compile(generation uint64) *reach {
	r := &reach{generation: generation, public: newOffers(), all: newOffers(), granted: map[string]*offers{}}
	known := map[*catalog.Dataset]*shared{}
	byID := map[string]*shared{}
	for _, d := range a.deps.Register.Published() {
		if !Offered(d) {
			continue
		}
		s := a.compiled[d]
		if s == nil {
			var err error
			if s, err = a.read(d); err != nil {
				a.deps.Log.Warn("live_dataset_not_read", "dataset", d.ID, "error", err)
				continue
			}
		}
		known[d], byID[d.ID] = s, s
		r.all.add(s.offer(func(catalog.Item) catalog.Class { return catalog.Unconditional }, catalog.Unconditional))
		if d.Open.Class == catalog.Unconditional {
			r.public.add(s.offer(opened, catalog.Unconditional))
		}
	}
	a.compiled = known
	a.grants(r, byID)
	return r
}

func opened(it catalog.Item) catalog.Class   { return it.Open }
func sharable(it catalog.Item) catalog.Class { return it.Share }

func (s *shared) offer(class func(catalog.Item) catalog.Class, least catalog.Class) *offer {
	return &offer{shared: s, class: class, least: least, from: minTime, to: maxTime}
}

// grants adds what is granted to names.
func (a *Access) grants(r *reach, byID map[string]*shared) {
	of := map[string][]*offer{}
	for _, g := range a.deps.Register.InForce() {
		s := byID[g.Dataset]
		if s == nil {
			continue
		}
		class := sharable
		if g.Way == register.Opening {
			class = opened
		}
		o := s.offer(class, catalog.Conditional)
		o.grant, o.rate, o.items, o.area = g.Number, g.Scope.Rate, g.Scope.Items, g.Scope.Area
		if !g.Scope.From.IsZero() {
			o.from = g.Scope.From.UnixMilli()
		}
		if !g.Scope.To.IsZero() {
			o.to = g.Scope.To.Add(-1).UnixMilli() // the end of a scope is not in it, as in releases
		}
		of[g.Applicant] = append(of[g.Applicant], o)
	}
	for name, all := range of {
		r.granted[name] = r.public.with(all)
	}
}

// read compiles the selector of a dataset.
func (a *Access) read(d *catalog.Dataset) (*shared, error) {
	selection, err := a.deps.Selection(d)
	if err != nil {
		return nil, err
	}
	if len(selection) == 0 {
		return nil, fmt.Errorf("dataset %s selects no series of devices", d.ID)
	}
	s := &shared{dataset: d, metric: selection.Metric()}
	if s.matches, err = selection.Compile(); err != nil {
		return nil, err
	}
	of := slices.DeleteFunc(slices.Clone(selection), func(m register.Matcher) bool { return !telemetry.IsReserved([]byte(m.Label)) })
	s.device, err = of.Compile()
	return s, err
}
