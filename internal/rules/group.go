package rules

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// maxSteps is how many evaluations of a group are made again at most, however
// far rules.reach goes.
const maxSteps = 300

// moment is what the alerts of a group were after the evaluation of a time. It is
// not changed.
type moment struct {
	at    time.Time
	rules []Active // by rule; nil for those that record
	same  bool     // the alerts are those of the moment before, in the same states
}

// episode is one time that an alert fired.
type episode struct {
	rule         int
	key          string
	alert        *Alert // as it was last
	fired, ended time.Time
}

func (e *episode) open() bool { return e.ended.IsZero() }

func (e *episode) overlaps(o *episode) bool {
	return (o.open() || e.fired.Before(o.ended)) && (e.open() || o.fired.Before(e.ended))
}

// status is what is told of a rule's evaluations.
type status struct {
	Err  error
	At   time.Time     // the newest time that was evaluated; zero for none
	Took time.Duration // for it
	// Conflicts are values that late data changed after they were recorded: the
	// first stays.
	Conflicts uint64
	LateAt    time.Time // of the newest such value
}

// group is a group that runs. One goroutine evaluates it.
type group struct {
	Group
	engine *Engine
	window time.Duration // how far back it is evaluated again
	phase  time.Duration // of its times among the multiples of Interval; 0 but in a [Rehearsal]
	// keep makes durable what an evaluation changed, series are those that tell of a
	// rule's alerts.
	keep   func(context.Context, *group, *outcome) error
	series func(r Rule, before, after Active, at time.Time) []Sample

	evaluated atomic.Int64 // the newest time that was, ms

	late atomic.Int64  // the oldest time of samples that came late, ms; none: math.MaxInt64
	wake chan struct{} // holds a token once late is set

	mu       sync.Mutex // guards all below; the group's goroutine alone writes
	moments  []moment   // by time, the last is the newest; never empty once it runs
	episodes []*episode // that fire, or ended within the window
	statuses []status   // by rule
	took     time.Duration
	lastAt   time.Time // when it was last evaluated
	again    uint64    // evaluations that were made again
	beyond   uint64    // marks of late data older than the window

	written time.Time // the time up to which it is kept that it was evaluated; the goroutine's own
	noted   int64     // the late mark that is kept, ms; none: math.MaxInt64; the goroutine's own

	recorded []map[string]labels.Labels // by rule, the series of the newest evaluation; the goroutine's own
	rested   time.Time                  // before it nothing is evaluated again; the goroutine's own
}

const never = math.MaxInt64

func newGroup(e *Engine, g Group) *group {
	r := &group{Group: g, engine: e, wake: make(chan struct{}, 1), statuses: make([]status, len(g.Rules)), recorded: make([]map[string]labels.Labels, len(g.Rules))}
	r.window = min(e.cfg.Reach, maxSteps*g.Interval)
	r.keep, r.series = e.keep, r.alertSeries
	r.late.Store(never)
	r.noted = never
	return r
}

// cameLate takes note that samples of this time came which a rule may ask for. It
// may be called from any goroutine and does not block.
func (g *group) cameLate(at int64) {
	if at > g.evaluated.Load() {
		return // it is in time for this group
	}
	for {
		was := g.late.Load()
		if was <= at {
			return
		}
		if g.late.CompareAndSwap(was, at) {
			break
		}
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// due is the newest time whose data can be expected to be there.
func (g *group) due(now time.Time) time.Time {
	return g.floor(now.Add(-g.Lateness))
}

// floor is the newest time at or before t at which the group is evaluated.
func (g *group) floor(t time.Time) time.Time {
	return t.Add(-g.phase).Truncate(g.Interval).Add(g.phase)
}

func (g *group) done() time.Time { return g.moments[len(g.moments)-1].at }

// run evaluates the group until ctx ends.
func (g *group) run(ctx context.Context) {
	for ctx.Err() == nil {
		now := g.engine.deps.Clock()
		wait := g.done().Add(g.Interval + g.Lateness).Sub(now)
		if late := g.late.Load(); late != never {
			g.note(ctx, late)
			wait = min(wait, g.rested.Sub(now)) // what came late can wait for so long
		}
		if wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-timer.C:
			case <-g.wake:
			}
			timer.Stop()
			continue
		}
		if !g.engine.enter(ctx) {
			return
		}
		g.turn(ctx)
		g.engine.leave()
	}
}

// turn evaluates what is due, and again what late data may have changed.
func (g *group) turn(ctx context.Context) {
	now, late := g.engine.deps.Clock(), int64(never)
	if !now.Before(g.rested) {
		late = g.late.Swap(never)
	}
	begin := time.Now()
	err := g.catchUp(ctx, now, late)
	if late == never {
		return
	}
	// Evaluating again takes a tenth of the time at most.
	g.rested = now.Add(max(g.Interval, 10*time.Since(begin)))
	if err != nil && ctx.Err() == nil {
		g.cameLate(late)
	}
}

// catchUp evaluates what is due, from the oldest time on that samples of the time
// late, in ms, may have changed.
func (g *group) catchUp(ctx context.Context, now time.Time, late int64) error {
	g.skip(now)
	from, upto := len(g.moments)-1, g.due(now)
	if late != never {
		from = g.before(late)
	}
	if upto.Before(g.done()) { // the clock went back
		upto = g.done()
	}
	if !g.moments[from].at.Before(upto) {
		return nil
	}
	return g.advance(ctx, from, upto)
}

// skip leaves out what is too long ago to be evaluated, after a pause.
func (g *group) skip(now time.Time) {
	first := g.due(now).Add(-max(g.window, g.Interval))
	if !g.done().Before(first) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.moments = []moment{{at: g.floor(first), rules: g.moments[len(g.moments)-1].rules}}
}

// before is the index of the newest moment that samples of a time cannot have
// changed.
func (g *group) before(late int64) int {
	for i := len(g.moments) - 1; i >= 0; i-- {
		if g.moments[i].at.UnixMilli() < late {
			return i
		}
	}
	g.mu.Lock()
	g.beyond++
	g.mu.Unlock()
	g.engine.metrics.beyond.Inc()
	return 0
}

// advance evaluates the group at all times after the moment at from, up to upto,
// and makes known what that changes. An error is that of the first rule that could
// not be evaluated.
func (g *group) advance(ctx context.Context, from int, upto time.Time) (failed error) {
	base, old := g.moments[from], g.done()
	t := &timeline{at: base.at, rules: slices.Clone(base.rules), recorded: make([]map[string]labels.Labels, len(g.Rules))}
	if base.at.Equal(old) {
		copy(t.recorded, g.recorded)
	}
	for _, e := range g.episodes {
		if !e.fired.After(base.at) && (e.open() || e.ended.After(base.at)) {
			t.episodes = append(t.episodes, &episode{rule: e.rule, key: e.key, alert: e.alert, fired: e.fired})
		}
	}
	statuses := slices.Clone(g.statuses)
	for at := base.at.Add(g.Interval); !at.After(upto); at = at.Add(g.Interval) {
		again := !at.After(old)
		if err := g.step(ctx, t, at, again, statuses); err != nil {
			if ctx.Err() != nil || again { // half of what was is no better than all of it
				return err
			}
			failed = cmp.Or(failed, err)
		}
	}
	o := g.outcome(from, t, upto)
	o.changes = g.compare(base.at, t.episodes, old)
	if err := g.keep(ctx, g, o); err != nil {
		if ctx.Err() == nil {
			g.engine.deps.Log.Error("alerts_not_kept", "group", g.ID(), "error", err)
		}
		return err // and comes to the same the next time
	}
	g.mu.Lock()
	g.moments, g.episodes = o.moments, o.episodes
	g.recorded = t.recorded
	g.statuses, g.lastAt = statuses, g.engine.deps.Clock()
	g.evaluated.Store(upto.UnixMilli())
	g.mu.Unlock()
	if len(o.changes) > 0 {
		g.engine.deps.Changed()
	}
	return failed
}

// outcome is what an evaluation makes of a group.
type outcome struct {
	moments  []moment
	episodes []*episode
	changes  []Change
	moved    bool // alerts are others than they were, now or before
}

func (g *group) outcome(from int, t *timeline, upto time.Time) *outcome {
	o := &outcome{moments: append(g.moments[:from+1:from+1], t.moments...)}
	o.moved = from < len(g.moments)-1 || slices.ContainsFunc(t.moments, func(m moment) bool { return !m.same })
	oldest := upto.Add(-g.window)
	for len(o.moments) > 1 && o.moments[0].at.Before(oldest) {
		o.moments = o.moments[1:]
	}
	o.episodes = slices.DeleteFunc(append(g.endedBefore(g.moments[from].at), t.episodes...), func(e *episode) bool {
		return !e.open() && e.ended.Before(o.moments[0].at)
	})
	return o
}

// endedBefore are the episodes that were over at a time.
func (g *group) endedBefore(at time.Time) (all []*episode) {
	for _, e := range g.episodes {
		if !e.open() && !e.ended.After(at) {
			all = append(all, e)
		}
	}
	return all
}

// timeline is what the alerts of a group come to while it is evaluated.
type timeline struct {
	at       time.Time
	rules    []Active
	recorded []map[string]labels.Labels // by rule, the series at that time; nil where it is not known
	moments  []moment
	episodes []*episode
}

// RuleError is why a rule could not be evaluated.
type RuleError struct {
	Rule string
	Err  error
}

func (e *RuleError) Error() string { return "rule " + e.Rule + ": " + e.Err.Error() }
func (e *RuleError) Unwrap() error { return e.Err }

// step evaluates all rules at a time. A rule that fails keeps its alerts; the error
// is that of the first.
func (g *group) step(ctx context.Context, t *timeline, at time.Time, again bool, statuses []status) (failed error) {
	begin := time.Now()
	rules := slices.Clone(t.rules)
	for i, r := range g.Rules {
		started := time.Now()
		var err error
		if r.Alert != "" {
			err = g.alert(ctx, i, t, rules, at, again)
		} else {
			err = g.record(ctx, i, t, at, again, &statuses[i])
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		took := time.Since(started)
		g.engine.metrics.evaluated(took, err, again)
		if !again {
			if err != nil && (statuses[i].Err == nil || statuses[i].Err.Error() != err.Error()) {
				g.engine.deps.Log.Warn("rule_not_evaluated", "group", g.ID(), "rule", r.Name(), "at", at, "error", err)
			}
			statuses[i].Err, statuses[i].At, statuses[i].Took = err, at, took
		}
		if err != nil && failed == nil {
			failed = &RuleError{r.Name(), err}
		}
	}
	t.moments = append(t.moments, moment{at, rules, sameAlerts(t.rules, rules)})
	t.at, t.rules = at, rules
	g.mu.Lock()
	if g.took = time.Since(begin); again {
		g.again++
	}
	g.mu.Unlock()
	return failed
}

func (g *group) alert(ctx context.Context, i int, t *timeline, rules []Active, at time.Time, again bool) error {
	r := g.Rules[i]
	before := rules[i]
	after, err := r.Alerts(ctx, g.engine.deps.Ask, before, at, g.Limit, g.engine.deps.Base)
	if err != nil {
		return err
	}
	rules[i] = after
	for key, a := range after {
		if !a.Firing() {
			continue
		}
		if e := t.find(i, key); e != nil {
			e.alert = a
		} else {
			t.episodes = append(t.episodes, &episode{rule: i, key: key, alert: a, fired: a.Fired})
		}
	}
	for _, e := range t.episodes {
		if e.rule == i && e.open() && (after[e.key] == nil || !after[e.key].Firing()) {
			e.ended = at
		}
	}
	return g.engine.write(ctx, g.series(r, before, after, at))
}

// find returns the episode of an alert that goes on.
func (t *timeline) find(rule int, key string) *episode {
	for _, e := range t.episodes {
		if e.rule == rule && e.key == key && e.open() {
			return e
		}
	}
	return nil
}

// compare says what the episodes after a moment change in what was known.
func (g *group) compare(base time.Time, now []*episode, done time.Time) (all []Change) {
	var was []*episode
	for _, e := range g.episodes {
		if e.open() || e.ended.After(base) {
			was = append(was, e)
		}
	}
	known := g.engine.deps.Clock()
	note := func(e *episode, kind string, at time.Time) {
		late := !at.After(done)
		all = append(all, Change{Kind: kind, At: at, Known: known, Late: late, Group: g.ID(), Rule: g.Rules[e.rule].Alert,
			Active: e.alert.Active, Text: number(e.alert.Value), OfHub: OfHub(g.Rules[e.rule].Expr), Labels: e.alert.Labels, Annotations: e.alert.Annotations})
	}
	for _, n := range now {
		i := slices.IndexFunc(was, func(o *episode) bool { return o.rule == n.rule && o.key == n.key && o.overlaps(n) })
		if i < 0 {
			note(n, Fired, n.fired)
			if !n.open() {
				note(n, Resolved, n.ended)
			}
			continue
		}
		o := was[i]
		was = slices.Delete(was, i, i+1)
		switch {
		case o.open() && !n.open():
			note(n, Resolved, n.ended)
		case !o.open() && n.open():
			note(n, Fired, n.fired)
		}
	}
	for _, o := range was {
		note(o, Retracted, o.fired)
	}
	slices.SortStableFunc(all, func(a, b Change) int { return a.At.Compare(b.At) })
	return all
}

// record stores what a recording rule gives at a time.
func (g *group) record(ctx context.Context, i int, t *timeline, at time.Time, again bool, s *status) error {
	r := g.Rules[i]
	vector, err := r.Series(ctx, g.engine.deps.AskShared, at, g.Limit)
	if err != nil {
		return err
	}
	samples := make([]Sample, 0, len(vector))
	for _, v := range vector {
		samples = append(samples, Sample{v.Metric, v.T, v.F})
	}
	samples = append(samples, t.gone(i, vector, at)...)
	fresh, conflicts, err := g.engine.deps.Write(ctx, samples)
	if conflicts > 0 {
		s.Conflicts += uint64(conflicts)
		s.LateAt = at
		g.engine.metrics.conflicts.Add(float64(conflicts))
	}
	if again && err == nil && fresh > 0 {
		g.engine.cameLate([]byte(r.Record), at.UnixMilli(), g) // whoever asks for it; the group itself goes on from here
	}
	return err
}

// gone ends the series that a rule recorded and gives no more.
func (t *timeline) gone(i int, vector promql.Vector, at time.Time) (ends []Sample) {
	now := make(map[string]labels.Labels, len(vector))
	for _, v := range vector {
		now[Key(v.Metric)] = v.Metric
	}
	for key, ls := range t.recorded[i] {
		if _, there := now[key]; !there {
			ends = append(ends, end(ls, at))
		}
	}
	t.recorded[i] = now
	return ends
}
