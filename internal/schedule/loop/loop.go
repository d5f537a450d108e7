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
	"net/url"
	"slices"
	"strings"
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
	// LostAfter is how long a facility may not be seen before what runs there is
	// fenced and planned anew elsewhere.
	LostAfter time.Duration `yaml:"lost_after"`
	// Batch is when what waits is decided all at once.
	Batch Batch `yaml:"batch"`
	// Engines are those of facilities that the hub itself speaks to.
	Engines []Engine `yaml:"engines"`
	// Ledger bounds what is kept.
	Ledger ledger.Config `yaml:"ledger"`
}

// DefaultConfig returns the settings of a hub without a config file.
func DefaultConfig() Config {
	return Config{Hold: 10 * time.Minute, Patience: 10 * time.Minute, LostAfter: 5 * time.Minute, Batch: DefaultBatch(), Ledger: ledger.DefaultConfig()}
}

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	errs := slices.Concat(
		strict.AtLeast(path, "hold", c.Hold, time.Second),
		strict.AtLeast(path, "patience", c.Patience, 0),
		strict.AtLeast(path, "lost_after", c.LostAfter, time.Second),
	)
	seen := map[string]bool{}
	for i, e := range c.Engines {
		if seen[e.Facility+" "+e.Kind] {
			errs = append(errs, strict.Fault(path, fmt.Sprintf("engines[%d]", i), "facility %q has an engine of kind %q already", e.Facility, e.Kind))
		}
		seen[e.Facility+" "+e.Kind] = true
	}
	return errs
}

// Engine says how the engine of a facility is reached.
type Engine struct {
	// Facility is the id of the facility.
	Facility string `yaml:"facility"`
	// Kind is slurm.
	Kind string `yaml:"kind"`
	// URL is that of slurmrestd: http://host:port, https://host:port, or
	// unix:///path of its socket.
	URL string `yaml:"url"`
	// User is who work runs as there; empty: who runs slurmrestd, by a socket
	// only.
	User string `yaml:"user"`
	// TokenFile holds the token (JWT) of the user; it is read for each request, so
	// that it may be renewed. Empty for none, by a socket only.
	TokenFile string `yaml:"token_file"`
	// Directory is where work runs there, and where its output goes.
	Directory string `yaml:"directory"`
	// Poll is how often the engine is asked what became of work; 0s: every 5s.
	Poll time.Duration `yaml:"poll"`
}

// Check implements strict.Checker.
func (e Engine) Check(path string) []strict.Error {
	errs := schedule.CheckID(path, "facility", e.Facility)
	fault := func(key, format string, args ...any) { errs = append(errs, strict.Fault(path, key, format, args...)) }
	if e.Kind != string(schedule.EngineSlurm) {
		fault("kind", "%q is not slurm", e.Kind)
	}
	u, err := url.Parse(e.URL)
	switch {
	case err == nil && u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
	case err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil:
		if e.User == "" || e.TokenFile == "" {
			fault("token_file", "and user must be there for %q: only a socket knows who asks", e.URL)
		}
	default:
		fault("url", "%q is not http://host:port, https://host:port or unix:///path", e.URL)
	}
	if !strings.HasPrefix(e.Directory, "/") {
		fault("directory", "%q is not an absolute path at the facility, such as /home/hub", e.Directory)
	}
	if e.Poll != 0 {
		errs = append(errs, strict.AtLeast(path, "poll", e.Poll, 100*time.Millisecond)...)
	}
	return errs
}

// Deps are what a scheduler works with. All are required but Network and
// Engines.
type Deps struct {
	Records *records.DB
	// Network says how far places lie from one another; nil: by their division
	// codes, with schedule.DefaultTiers.
	Network *schedule.Network
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
	wake    chan struct{} // holds one token while Run has something to try

	mu       sync.Mutex // what follows; never held while the ledger is asked
	cluster  *plan.Cluster
	signals  signal.Set // replaced, never changed
	queue    *queue.Queue
	deferred deferrals
	pausing  deferrals // what runs until it pauses
	booked   bookings
	replans  replans
	leases   map[uint64]schedule.Lease // that take capacity, by token
	shares   shares
	demand   demand
	held     *hold // capacity that is kept for who waits longest
	dirty    bool  // something changed since all that waits was tried
	resized  bool  // what there is changed since the shares were measured
	starts   rate
}

// Open reads what lives and brings the cluster in step.
func Open(ctx context.Context, cfg Config, deps Deps) (*Scheduler, error) {
	if deps.Network == nil {
		deps.Network = &schedule.Network{Tiers: schedule.DefaultTiers}
	}
	s := &Scheduler{
		cfg: cfg, deps: deps, wake: make(chan struct{}, 1),
		cluster: plan.NewCluster(deps.Network), signals: signal.Set{}, queue: queue.New(),
		deferred: newDeferrals(), pausing: newDeferrals(), booked: newBookings(), replans: newReplans(),
		leases: map[uint64]schedule.Lease{}, shares: newShares(), demand: demand{}, dirty: true,
	}
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
	s.shares.declare(all.Tenants, all.Queues)
	s.resized = true
	for i := range all.Records {
		r := &all.Records[i]
		for _, l := range r.Leases {
			if l.State.Takes() {
				if err := s.cluster.Restore(l.Parts); err != nil {
					return err
				}
				s.leases[l.Token] = l
				s.shares.take(l.Tenant, l.Parts)
			}
		}
		s.place(r)
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

// demandEvery is how often nodes are scored anew by what was asked for lately.
const demandEvery = 2 * time.Minute

func (s *Scheduler) passes(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	asked := s.deps.Clock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-tick.C:
		}
		s.pass(ctx)
		if now := s.deps.Clock(); now.Sub(asked) >= demandEvery {
			asked = now
			s.mu.Lock()
			s.cluster.SetDemand(s.demand.list(now))
			s.mu.Unlock()
		}
	}
}

// nudge makes Run try what waits.
func (s *Scheduler) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
