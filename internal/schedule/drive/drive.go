// Package drive makes the engines of facilities do what the ledger promises,
// and tells the ledger what they say. Art. 13
//
//	ledger ──Follow──► leases ──► Bound on disk ──► Start ──► engine
//	   ▲                                                        │
//	   └────── Report, Release, Fence, Reconcile ◄── Watch ◄────┘
//
// A gang over several engines begins together: each takes its part with
// Work.Hold, and when all have it, each is asked to begin it. Where one refuses
// or is lost before that, none has begun.
//
// No work runs twice: an engine is asked only after the ledger has written that
// it is; what is planned anew was stopped under its old token before, or is
// fenced and was stopped or adopted when its facility came back.
package drive

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

// Engines returns the engine of a facility of a kind; nil where there is none,
// and then nothing is done about its pools: their owner runs the work. It must
// not wait, and is asked when a pool is declared until it has one.
type Engines func(facility string, kind schedule.Engine) facility.Engine

// Deps are what a driver works with. All are required.
type Deps struct {
	// Ledger is asked after Run began only.
	Ledger  func() *ledger.Ledger
	Engines Engines
	// Dark is how long a facility may not be seen before it is lost.
	Dark time.Duration
	// Patience is how long an engine may fail to take work that it does not
	// refuse before the work is planned anew.
	Patience time.Duration
	Log      *slog.Logger
	Metrics  prometheus.Registerer
}

// Driver drives all engines. All methods may be called from any goroutine.
type Driver struct {
	deps  Deps
	calls *prometheus.CounterVec
	wake  chan struct{} // holds one token while Run has a site to begin

	mu         sync.Mutex // what follows, and all of the sites; never held while the ledger or an engine is asked
	facilities map[string]schedule.Facility
	kinds      map[string]schedule.Engine  // by pool
	gangs      map[string][]schedule.Lease // that work may run under, of gangs with more than one, by workload
	sites      map[string]*site            // of facilities with an engine
	refused    map[string]*backoff.Backoff // by workload, so that one that is refused everywhere does not go round and round
}

// New makes a driver that knows of nothing yet: Follow tells it.
func New(deps Deps) *Driver {
	d := &Driver{
		deps: deps, wake: make(chan struct{}, 1), facilities: map[string]schedule.Facility{}, kinds: map[string]schedule.Engine{},
		gangs: map[string][]schedule.Lease{}, sites: map[string]*site{}, refused: map[string]*backoff.Backoff{},
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_schedule_engine_requests_total", Help: "Requests to the engines of facilities, by what was asked and how it ended.",
		}, []string{"request", "outcome"}),
	}
	deps.Metrics.MustRegister(d.calls)
	return d
}

// Follow takes what changed in the ledger, in its order. It asks nobody and does
// not wait, so that the ledger may call it under its lock.
func (d *Driver) Follow(changes []ledger.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range changes {
		switch {
		case c.Facility != nil:
			d.facilities[c.Facility.ID] = *c.Facility
			if s := d.sites[c.Facility.ID]; s != nil {
				nudge(s.wake)
			}
		case c.Pool != nil:
			d.kinds[c.Pool.ID] = c.Pool.Engine
			d.provide(c.Pool.Facility, c.Pool.Engine)
		case c.Removed != "":
			delete(d.kinds, c.Removed)
		case c.Gone != "":
			d.forget(c.Gone)
		case c.Lease != nil:
			d.lease(*c.Lease)
		case c.Record != nil:
			d.gather(c.Record)
			if c.Record.State.Ended() {
				delete(d.refused, c.Record.ID)
			}
		}
	}
}

// provide finds the engine of a pool. The caller holds mu.
func (d *Driver) provide(id string, kind schedule.Engine) {
	s := d.sites[id]
	if kind == schedule.EngineNone || s != nil && s.engines[kind] != nil {
		return
	}
	e := d.deps.Engines(id, kind)
	if e == nil {
		return
	}
	if s == nil {
		s = newSite(d, id)
		d.sites[id] = s
		nudge(d.wake)
	}
	s.engines[kind] = &watched{Engine: e, kind: kind}
	s.close()
}

// lease takes the newest state of a lease. The caller holds mu.
func (d *Driver) lease(l schedule.Lease) {
	s := d.sites[l.Facility]
	if s == nil || l.Workload == "" {
		return
	}
	i := s.items[l.Token]
	switch {
	case l.State == schedule.Released:
		delete(s.items, l.Token)
		return
	case i == nil:
		halves := d.of(l, s)
		if halves == nil {
			return
		}
		i = &item{halves: halves}
		s.items[l.Token] = i
	}
	i.lease = l
	s.due(i)
}

// of are the engines that a lease needs; nil when one of its pools has none,
// and so its owner has the work. The caller holds mu.
func (d *Driver) of(l schedule.Lease, s *site) []half {
	var all []half
	for _, p := range l.Parts {
		kind := d.kinds[p.Pool]
		if s.engines[kind] == nil {
			return nil
		}
		if !slices.ContainsFunc(all, func(h half) bool { return h.kind == kind }) {
			// What is committed already was asked of the engine before this
			// driver began.
			all = append(all, half{kind: kind, asked: l.State != schedule.Held})
		}
	}
	return all
}

// Run drives until ctx ends. What is asked at that moment is given up, and asked
// again by the next Run.
func (d *Driver) Run(ctx context.Context) error {
	group, all := errgroup.WithContext(ctx)
	running := map[*site]bool{}
	for {
		d.mu.Lock()
		maps.DeleteFunc(running, func(s *site, _ bool) bool { return d.sites[s.id] != s })
		for _, s := range d.sites {
			if !running[s] {
				running[s] = true
				group.Go(func() error { return d.keep(all, s) })
			}
		}
		d.mu.Unlock()
		select {
		case <-ctx.Done():
			return group.Wait()
		case <-d.wake:
		}
	}
}

// keep runs a site until ctx ends, or its facility is gone.
func (d *Driver) keep(ctx context.Context, s *site) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(s.life, stop)()
	return s.run(ctx)
}

// forget ends a site whose facility is not declared any more: it has no pools,
// and so no leases. The caller holds mu.
func (d *Driver) forget(id string) {
	delete(d.facilities, id)
	if s := d.sites[id]; s != nil {
		s.end()
		delete(d.sites, id)
		nudge(d.wake)
	}
}

// nudge puts a token where somebody waits for one.
func nudge(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
