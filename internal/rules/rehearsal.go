package rules

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Stage is what a rehearsal plays on: a store, and the series that tell of alerts.
type Stage struct {
	Ask   Ask
	Write func(context.Context, []Sample) (fresh, conflicts int, err error)
	// Series are those of a rule's alerts at a time, with the ends of those that were
	// there before.
	Series func(before, after Active, at time.Time) []Sample
	// Base is what templates call the external URL.
	Base string
	// Reach is how far back rules are evaluated again.
	Reach time.Duration
}

// Rehearsal evaluates groups as an [Engine] does, by a clock that the caller moves;
// nothing of it is kept. Unit tests of rules are played on it. It is not safe for
// concurrent use.
type Rehearsal struct {
	engine  *Engine
	groups  []*group
	now     time.Time
	history []Change
}

// Rehearse begins a rehearsal of groups, in their order. Their times are multiples of
// their intervals since the start, and the first is the start itself.
func Rehearse(groups []Group, start time.Time, s Stage) *Rehearsal {
	r := &Rehearsal{now: start}
	e := &Engine{cfg: Config{Reach: s.Reach}, deps: Deps{
		Ask: s.Ask, AskShared: s.Ask, Write: s.Write, Base: s.Base,
		Grade:   func(labels.Labels) telemetry.Grade { return telemetry.General },
		Changed: func() {},
		Log:     slog.New(slog.DiscardHandler), Clock: func() time.Time { return r.now },
	}}
	e.metrics = newMetrics(prometheus.NewRegistry(), e)
	all := make([]*running, len(groups))
	for i, one := range groups {
		g := newGroup(e, one)
		g.phase = start.Sub(start.Truncate(g.Interval))
		g.keep = func(_ context.Context, _ *group, o *outcome) error {
			r.history = append(r.history, o.changes...)
			return nil
		}
		g.series = func(_ Rule, before, after Active, at time.Time) []Sample { return s.Series(before, after, at) }
		g.begin(start.Add(-g.Interval), make([]Active, len(g.Rules)))
		r.groups, all[i] = append(r.groups, g), &running{group: g}
	}
	e.readers.Store(readersOf(all))
	r.engine = e
	return r
}

// CameLate takes note that a sample of a metric came after its time.
func (r *Rehearsal) CameLate(metric string, at time.Time) {
	r.engine.CameLate([]byte(metric), at.UnixMilli())
}

// Turn moves the clock on and evaluates what is due then, and again what came late
// may have changed. The errors are, for each group, that of the first rule that could
// not be evaluated, a [RuleError].
func (r *Rehearsal) Turn(ctx context.Context, now time.Time) (failed []error) {
	r.now = now
	for _, g := range r.groups {
		if err := g.catchUp(ctx, now, g.late.Swap(never)); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// Groups lists the groups with their rules and alerts.
func (r *Rehearsal) Groups() []GroupView {
	all := make([]GroupView, len(r.groups))
	for i, g := range r.groups {
		all[i] = g.view(nil)
	}
	return all
}

// Again is how many evaluations were made again, of all groups.
func (r *Rehearsal) Again() (n uint64) {
	for _, g := range r.groups {
		n += g.again
	}
	return n
}

// History is what became known up to now, in that order.
func (r *Rehearsal) History() []Change { return r.history }
