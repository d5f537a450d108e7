// Package loop is the scheduler as callers see it: what is submitted is decided
// by the planner, promised by the ledger, and answered when the promise is on
// disk; what waits is tried again when something changed. Art. 13
//
//	Submit ─► plan.Place ─► taken in the cluster ─► ledger.Submit ─► answer
//	                                                    │
//	queue, deferred ◄────────── follow (Applied) ◄──────┘
//	   │
//	   ├─► pass: Walk ─► plan.Place ─► ledger.Submit
//	   └─► batch: all at once, on a clone ─► plan.PlaceAt ─► ledger.Submit
//
//	what is promised ─► drive ─► engines of facilities ─► ledger.Report
//
// The cluster is in step with the ledger: what is decided is taken there before
// the ledger is asked, and given back when the ledger refuses or a lease ends.
package loop

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/drive"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/plan"
	"github.com/songhua-io/hub/internal/schedule/queue"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// Config is how the scheduler behaves.
type Config struct {
	// Hold is how long a promise waits for the work to begin.
	Hold time.Duration `yaml:"hold"`
	// Patience is how long a gang, or anything large, lets smaller work pass
	// before capacity is kept for it.
	Patience time.Duration `yaml:"patience"`
	// Preempt says when work gives way to other work.
	Preempt Preempt `yaml:"preempt"`
	// LostAfter is how long a facility may not be seen before what runs there is
	// fenced and planned anew elsewhere. It is below hold.
	LostAfter time.Duration `yaml:"lost_after"`
	// Batch is when what waits is decided all at once.
	Batch Batch `yaml:"batch"`
	// Engines are those of facilities that the hub itself speaks to.
	Engines []Engine `yaml:"engines"`
	// Live is how live values of facilities and pools come to the scheduler.
	Live Live `yaml:"live"`
	// Network says how far places lie from one another, until it is declared by
	// PUT /api/v1/network.
	Network Network `yaml:"network"`
	// Ledger bounds what is kept.
	Ledger ledger.Config `yaml:"ledger"`
}

// DefaultConfig returns the settings of a hub without a config file.
func DefaultConfig() Config {
	return Config{Hold: 10 * time.Minute, Patience: 10 * time.Minute, Preempt: DefaultPreempt(), LostAfter: 5 * time.Minute, Live: Live{Every: 15 * time.Second}, Network: DefaultNetwork(), Batch: DefaultBatch(), Ledger: ledger.DefaultConfig()}
}

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	errs := slices.Concat(
		strict.AtLeast(path, "hold", c.Hold, time.Second),
		strict.AtLeast(path, "patience", c.Patience, 0),
		strict.AtLeast(path, "lost_after", c.LostAfter, time.Second),
	)
	if c.Hold >= time.Second && c.LostAfter >= c.Hold {
		errs = append(errs, strict.Fault(path, "lost_after", "%v is not below hold, %v: what is promised at a facility that is dark would expire before it is planned anew", c.LostAfter, c.Hold))
	}
	seen := map[string]bool{}
	for i, e := range c.Engines {
		if seen[e.Facility+" "+e.Kind] {
			errs = append(errs, strict.Fault(path, fmt.Sprintf("engines[%d]", i), "facility %q has an engine of kind %q already", e.Facility, e.Kind))
		}
		seen[e.Facility+" "+e.Kind] = true
	}
	return errs
}

// Deps are what a scheduler works with. All are required but Engines.
type Deps struct {
	Records *records.DB
	// Engines run what is promised; nil: the owners of pools do.
	Engines drive.Engines
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Scheduler decides and promises. All methods may be called from any goroutine;
// Run must run for those that change something to return.
type Scheduler struct {
	cfg     Config
	deps    Deps
	ledger  *ledger.Ledger
	driver  *drive.Driver
	metrics *metrics
	// declaring is held while the network is.
	declaring sync.Mutex
	wake      chan struct{} // holds one token while Run has something to try
	intake    intake

	mu       guard // what follows; never held while the ledger is asked
	cluster  *plan.Cluster
	network  schedule.Network
	signals  signal.Set // replaced, never changed
	queue    *queue.Queue
	deferred deferrals
	pausing  deferrals // what runs until it pauses
	booked   bookings
	replans  replans
	leases   map[uint64]leased // by token
	shares   shares
	demand   demand
	held     []*hold // capacity that is kept: for who waits longest, and for whom others give way
	preempting
	spending spending
	dirty    bool // something changed since all that waits was tried
	resized  bool // what there is changed since the shares were measured
	starts   rate
	seen     experience
}

// Open reads what lives and brings the cluster in step.
func Open(ctx context.Context, cfg Config, deps Deps) (*Scheduler, error) {
	network := cfg.Network.network()
	s := &Scheduler{
		network: network,
		cfg:     cfg, deps: deps, wake: make(chan struct{}, 1),
		cluster: plan.NewCluster(&network), signals: signal.Set{}, queue: queue.New(),
		deferred: newDeferrals(), pausing: newDeferrals(), booked: newBookings(), replans: newReplans(),
		leases: map[uint64]leased{}, shares: newShares(), demand: demand{}, dirty: true,
		preempting: newPreempting(), spending: newSpending(), seen: newExperience(deps.Clock()),
	}
	s.mu.take = s.follow
	if deps.Engines == nil {
		s.deps.Engines = func(string, schedule.Engine) facility.Engine { return nil }
	}
	s.driver = drive.New(drive.Deps{Ledger: func() *ledger.Ledger { return s.ledger }, Engines: s.deps.Engines, Dark: cfg.LostAfter, Patience: cfg.Hold, Log: deps.Log, Metrics: deps.Metrics})
	var err error
	s.ledger, err = ledger.Open(ctx, cfg.Ledger, ledger.Deps{Records: deps.Records, Log: deps.Log, Clock: deps.Clock, Metrics: deps.Metrics, Applied: s.applied})
	if err != nil {
		return nil, err
	}
	if err := s.load(ctx); err != nil {
		return nil, fmt.Errorf("bring the scheduler in step with its ledger: %w", err)
	}
	s.metrics = newMetrics(deps.Metrics, s)
	return s, nil
}

func (s *Scheduler) load(ctx context.Context) error {
	all, err := s.ledger.Snapshot(ctx)
	if err != nil {
		return err
	}
	for i := range all.Facilities {
		s.cluster.SetFacility(&all.Facilities[i])
	}
	for i := range all.Pools {
		if err := s.cluster.SetPool(&all.Pools[i]); err != nil {
			return err
		}
	}
	for _, x := range all.Signals {
		s.signals.Put(&x)
	}
	if all.Network != nil {
		s.network = *all.Network
		s.cluster.SetNetwork(&s.network)
	}
	s.shares.declare(all.Tenants, all.Queues)
	s.spending.declare(all.Tenants)
	for _, x := range all.Spent {
		s.spending.spent[x.Tenant] = x
	}
	s.resized = true
	for i := range all.Records {
		r := &all.Records[i]
		for _, l := range r.Leases {
			if l.State.Takes() {
				if err := s.cluster.Restore(l.Parts); err != nil {
					return err
				}
				s.leases[l.Token] = leased{l.Workload, l.State.Live(), l.Parts}
				s.shares.take(l.Tenant, l.Parts)
			}
		}
		s.run(r)
		s.place(r)
		s.seen.record(r)
	}
	s.driver.Follow(asChanges(&all))
	return nil
}

// asChanges is what lives as if all of it had just happened.
func asChanges(all *ledger.Snapshot) (changes []ledger.Change) {
	for i := range all.Facilities {
		changes = append(changes, ledger.Change{Facility: &all.Facilities[i]})
	}
	for i := range all.Pools {
		changes = append(changes, ledger.Change{Pool: &all.Pools[i]})
	}
	for i := range all.Records {
		for j := range all.Records[i].Leases {
			changes = append(changes, ledger.Change{Lease: &all.Records[i].Leases[j]})
		}
		changes = append(changes, ledger.Change{Record: &all.Records[i]})
	}
	return changes
}

// Run tries what waits, writes what is promised and has it run until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	group, both := errgroup.WithContext(ctx)
	// The ledger goes last: what a pass has promised is written.
	written, stop := context.WithCancel(context.WithoutCancel(ctx))
	asking, _ := errgroup.WithContext(both)
	asking.Go(func() error { return s.passes(both) })
	asking.Go(func() error { return s.batches(both) })
	asking.Go(func() error { return s.driver.Run(both) })
	group.Go(func() error {
		defer stop()
		return asking.Wait()
	})
	group.Go(func() error { return s.ledger.Run(written) })
	return group.Wait()
}

// How often nodes are scored anew by what was asked for lately, and tenants by
// what they use.
const (
	demandEvery = 2 * time.Minute
	sharesEvery = 5 * time.Second
)

func (s *Scheduler) passes(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	asked, shared := s.deps.Clock(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-tick.C:
		}
		s.pass(ctx)
		s.preempt(ctx)
		now := s.deps.Clock()
		s.mu.Lock()
		if now.Sub(asked) >= demandEvery {
			asked = now
			s.cluster.SetDemand(s.demand.list(now))
		}
		if now.Sub(shared) >= sharesEvery {
			shared = now
			s.measure(now)
			s.cluster.SetBeyond(s.shares.beyond())
		}
		s.mu.Unlock()
	}
}

// nudge makes Run try what waits.
func (s *Scheduler) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
