// Package live tells the scheduler what the hub's own series say of facilities
// and pools: what is in use at nodes, power, PUE, temperatures, failures, and how
// long work waits in the queues of engines. What is declared of a pool or a
// facility says by which expressions; where nothing is, what agents report of the
// machines that are nodes counts. A value counts for plan.LiveBound from its
// sample on; after that what was declared does, and decisions say so. Art. 13
package live

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/loop"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// Reading is one element of what an expression gives: of a node or of a device
// where it has such a label.
type Reading struct {
	Node, Region string
	Value        float64
	At           time.Time // of the oldest sample that it follows from
}

// Ask evaluates an expression over the series of a division code, as of a time;
// an empty one stands for all series. It is bounded in time and series.
type Ask func(ctx context.Context, region, expression string, at time.Time) ([]Reading, error)

// Scheduler is who is told.
type Scheduler interface {
	Declared(context.Context) (ledger.Snapshot, error)
	Experience() map[string]loop.Experience
	Observe([]loop.Observation)
	SetLive(loop.Values)
}

// Deps are what a feed works with. All are required.
type Deps struct {
	Scheduler Scheduler
	Ask       Ask
	Log       *slog.Logger
	Clock     func() time.Time
	Metrics   prometheus.Registerer
}

// Feed asks the series and tells the scheduler. One goroutine runs it.
type Feed struct {
	deps    Deps
	metrics *metrics
	last    map[key]time.Time // the newest sample of every value that ever came
	told    map[string]bool   // pools that have live values, or are said to miss some
	failed  map[question]bool
}

// key names a value of a pool or a facility.
type key struct{ id, name string }

// question is an expression over the series of a division code.
type question struct{ region, expression string }

type metrics struct {
	failures prometheus.Counter
	seconds  prometheus.Gauge
	stale    prometheus.Gauge
}

// New returns a feed.
func New(d Deps) *Feed {
	m := &metrics{
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_schedule_live_failures_total", Help: "Expressions for live values that could not be evaluated."}),
		seconds:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_schedule_live_seconds", Help: "Time that it took to ask for all live values, the last time."}),
		stale:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_schedule_live_stale_values", Help: "Live values that are too old to count, or never came, so that what was declared counts."}),
	}
	d.Metrics.MustRegister(m.failures, m.seconds, m.stale)
	return &Feed{deps: d, metrics: m, last: map[key]time.Time{}, told: map[string]bool{}, failed: map[question]bool{}}
}

// Run asks every so often until ctx ends. A round that takes longer delays the
// next.
func (f *Feed) Run(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := f.Round(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Round asks once and tells what came. An expression that fails is as one that
// gives nothing.
func (f *Feed) Round(ctx context.Context) error {
	began := f.deps.Clock()
	all, err := f.deps.Scheduler.Declared(ctx)
	if err != nil {
		return err
	}
	r := &round{
		feed: f, ctx: ctx, now: began, told: map[string]bool{}, answers: map[question][]Reading{}, facilities: map[string]*schedule.Facility{}, devices: map[string]map[string]Reading{},
		experience: f.deps.Scheduler.Experience(),
		values:     loop.Values{Pools: map[string]plan.Live{}, Facilities: map[string]plan.FacilityLive{}},
	}
	r.ask(&all)
	if ctx.Err() != nil {
		return ctx.Err() // what was not asked is not stale
	}
	f.deps.Scheduler.Observe(r.observations)
	f.deps.Scheduler.SetLive(r.values)
	f.told = r.told
	f.forget(began, r.answers)
	f.metrics.seconds.Set(f.deps.Clock().Sub(began).Seconds())
	f.metrics.stale.Set(float64(r.stale))
	return nil
}

// memory is how long a value that does not come any more is called stale where
// nobody declared it.
const memory = 24 * time.Hour

func (f *Feed) forget(now time.Time, asked map[question][]Reading) {
	for q := range f.failed {
		if _, ok := asked[q]; !ok {
			delete(f.failed, q)
		}
	}
	for k, at := range f.last {
		if now.Sub(at) > memory {
			delete(f.last, k)
		}
	}
}

// round is one time of asking.
type round struct {
	feed         *Feed
	ctx          context.Context
	now          time.Time
	told         map[string]bool // pools of which something is told
	answers      map[question][]Reading
	facilities   map[string]*schedule.Facility
	devices      map[string]map[string]Reading // defaults, by name and device
	experience   map[string]loop.Experience
	observations []loop.Observation
	values       loop.Values
	stale        int
}

// readings evaluates an expression once for each division code in a round.
func (r *round) readings(region, expression string) []Reading {
	q := question{region, expression}
	if got, ok := r.answers[q]; ok {
		return got
	}
	got, err := r.feed.deps.Ask(r.ctx, region, expression, r.now)
	switch {
	case err == nil:
		delete(r.feed.failed, q)
	case r.ctx.Err() == nil:
		r.feed.metrics.failures.Inc()
		if !r.feed.failed[q] {
			r.feed.failed[q] = true
			r.feed.deps.Log.Warn("live_values_not_read", "region", region, "expression", expression, "error", err)
		}
	}
	r.answers[q] = got
	return got
}

// fresh reports whether a reading counts.
func (r *round) fresh(x Reading) bool {
	return r.now.Sub(x.At) <= plan.LiveBound && x.At.Sub(r.now) < time.Minute
}

// note keeps the newest sample of a value.
func (r *round) note(id, name string, at time.Time) {
	if k := (key{id, name}); at.After(r.feed.last[k]) {
		r.feed.last[k] = at
	}
}

// lapse says of a value that did not come whether that is worth saying: it was
// declared, or came before.
func (r *round) lapse(id, name string, declared bool, to *[]plan.Stale) {
	last, ever := r.feed.last[key{id, name}]
	if declared || ever {
		*to = append(*to, plan.Stale{Name: name, At: last})
		r.stale++
	}
}
