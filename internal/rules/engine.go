package rules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Deps are what an engine works with. All are required but Dir and Shipped.
type Deps struct {
	// Ask evaluates over everything, AskShared over what everybody may see: what a
	// rule records is seen by everybody. Art. 74(3)
	Ask, AskShared Ask
	// Write stores samples and returns how many of them were not there yet, and how
	// many were with another value, which stays.
	Write func(context.Context, []Sample) (fresh, conflicts int, err error)
	// Grade is that of the data that an alert with these labels tells of.
	Grade func(labels.Labels) telemetry.Grade
	// Taken reports whether a metric is the hub's own, which no rule may record.
	Taken func(metric string) bool
	// Changed is called when alerts began or ended to fire, and when silences did. It
	// does not block.
	Changed func()
	// Base is the hub's URL, for templates and links; may be empty.
	Base string
	// Dir are the rule files of Config.Dir, Shipped those that come with the hub; nil
	// for none.
	Dir, Shipped fs.FS

	Records *records.DB
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Engine evaluates the rules of a hub.
type Engine struct {
	cfg     Config
	deps    Deps
	metrics *engineMetrics
	turns   chan struct{}
	readers atomic.Pointer[readers]

	loading sync.Mutex       // guards files
	files   map[string]*file // by path
	loaded  bool             // once

	mu       sync.Mutex // guards all below; taken before a group's
	groups   []*running // sorted by ID
	kept     map[string]savedGroup
	silences map[string]Silence
	all      sync.WaitGroup
	ctx      context.Context // that of Run, for the groups; nil before
}

// running is a group and how it is ended.
type running struct {
	*group
	end   context.CancelFunc // nil before Run
	ended chan struct{}
}

// Open reads the rules and what was kept of their alerts. Nothing is evaluated
// before Run. A file that is wrong leaves its rules out and is no error.
func Open(ctx context.Context, cfg Config, deps Deps) (*Engine, error) {
	e := &Engine{cfg: cfg, deps: deps, turns: make(chan struct{}, cfg.Concurrency), files: map[string]*file{}, silences: map[string]Silence{}}
	if deps.Dir != nil {
		if _, err := fs.ReadDir(deps.Dir, "."); err != nil {
			return nil, fmt.Errorf("rules.dir: %w; make it a directory that the hub may read", err)
		}
	}
	e.metrics = newMetrics(deps.Metrics, e)
	e.readers.Store(&readers{})
	if err := e.restore(ctx); err != nil {
		return nil, err
	}
	e.sync()
	return e, nil
}

// Run evaluates until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	defer e.all.Wait()
	defer cancel()
	e.mu.Lock()
	e.ctx = inner
	for _, r := range e.groups {
		e.start(r)
	}
	e.mu.Unlock()
	look, prune := time.NewTicker(lookEvery), time.NewTicker(time.Hour)
	defer look.Stop()
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			e.sync()
			e.turnSilences()
		case <-prune.C:
			if err := e.prune(ctx); err != nil && ctx.Err() == nil {
				e.deps.Log.Error("alert_history_not_pruned", "error", err)
			}
		}
	}
}

// start runs a group; e.mu is held.
func (e *Engine) start(r *running) {
	if e.ctx == nil {
		return
	}
	ctx, cancel := context.WithCancel(e.ctx)
	r.end, r.ended = cancel, make(chan struct{})
	e.all.Go(func() {
		defer close(r.ended)
		r.run(ctx)
	})
}

func (e *Engine) enter(ctx context.Context) bool {
	select {
	case e.turns <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (e *Engine) leave() { <-e.turns }

// replace takes other groups over. Those that stayed as they are go on; of those
// that changed, alerts of rules with the same name and labels do.
func (e *Engine) replace(groups []Group) {
	slices.SortFunc(groups, func(a, b Group) int { return cmp.Compare(a.ID(), b.ID()) })
	e.mu.Lock()
	defer e.mu.Unlock()
	was := map[string]*running{}
	for _, r := range e.groups {
		was[r.ID()] = r
	}
	next := make([]*running, 0, len(groups))
	for _, g := range groups {
		old := was[g.ID()]
		if old != nil && sameGroup(old.Group, g) {
			next = append(next, old)
			delete(was, g.ID())
			continue
		}
		r := &running{group: newGroup(e, g)}
		if old != nil {
			old.stop()
			e.kept[g.ID()] = old.state()
			delete(was, g.ID())
		}
		r.group.resume(e.kept[g.ID()], e.deps.Clock())
		delete(e.kept, g.ID())
		next = append(next, r)
	}
	for _, r := range was {
		r.stop()
		e.drop(r)
	}
	e.dropKept()
	e.groups = next
	e.readers.Store(readersOf(next))
	for _, r := range next {
		if r.end == nil {
			e.start(r)
		}
	}
	e.deps.Changed()
}

func (r *running) stop() {
	if r.end != nil {
		r.end()
		<-r.ended
	}
}

func sameGroup(a, b Group) bool {
	return a.Interval == b.Interval && a.Lateness == b.Lateness && a.Limit == b.Limit && slices.EqualFunc(a.Rules, b.Rules, func(x, y Rule) bool {
		return x.Record == y.Record && x.Alert == y.Alert && x.For == y.For && x.KeepFiringFor == y.KeepFiringFor && x.Expr.String() == y.Expr.String() &&
			labels.Equal(x.Labels, y.Labels) && labels.Equal(x.Annotations, y.Annotations)
	})
}

// grade is that of the data that an alert tells of.
func (e *Engine) grade(ls labels.Labels, ofHub bool) telemetry.Grade {
	if ofHub && ls.Get("device") == "" {
		return telemetry.General
	}
	return e.deps.Grade(ls)
}

// Grade is that of the data that an entry of the history tells of, as things are
// now.
func (e *Engine) Grade(c *Change) telemetry.Grade { return e.grade(c.Labels, c.OfHub) }

// readers are the groups that ask for a metric.
type readers struct {
	of    map[string][]*group
	any   []*group // that may ask for every metric
	least time.Duration
}

func readersOf(all []*running) *readers {
	r := &readers{of: map[string][]*group{}, least: MaxLateness}
	for _, g := range all {
		r.least = min(r.least, g.Lateness)
		seen := map[string]bool{}
		for _, rule := range g.Rules {
			names, any := metrics(rule.Expr)
			for _, n := range names {
				seen[n] = true
			}
			if any {
				seen[""] = true
			}
		}
		if seen[""] {
			r.any = append(r.any, g.group)
			continue
		}
		for n := range maps.Keys(seen) {
			r.of[n] = append(r.of[n], g.group)
		}
	}
	return r
}

// LateAfter is how old a sample is that [Engine.CameLate] must be told of.
func (e *Engine) LateAfter() time.Duration { return e.readers.Load().least }

// CameLate takes note that a sample of a metric came late: the rules that ask for
// the metric are evaluated again from its time, in ms, on. It does not block.
func (e *Engine) CameLate(metric []byte, at int64) { e.cameLate(metric, at, nil) }

// cameLate does so for all groups but one.
func (e *Engine) cameLate(metric []byte, at int64, but *group) {
	r := e.readers.Load()
	for _, all := range [...][]*group{r.of[string(metric)], r.any} {
		for _, g := range all {
			if g != but {
				g.cameLate(at)
			}
		}
	}
}

// ErrUnknown is wrapped by errors about what is not there.
var ErrUnknown = errors.New("is not known")
