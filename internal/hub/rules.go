package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	shipped "github.com/songhua-io/hub/deploy/alerts"
	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/rules/notify"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/telemetry"
)

// lateness passes on what ingest says of late samples once there are rules.
type lateness struct{ to atomic.Pointer[rules.Engine] }

// LateAfter implements ingest.Late.
func (l *lateness) LateAfter() time.Duration {
	if e := l.to.Load(); e != nil {
		return e.LateAfter()
	}
	return rules.MaxReach // of what rules find later by themselves
}

// CameLate implements ingest.Late.
func (l *lateness) CameLate(metric []byte, at int64) {
	if e := l.to.Load(); e != nil {
		e.CameLate(metric, at)
	}
}

// openRules evaluates rules over the store, and tells receivers.
func (h *hub) openRules(ctx context.Context, q *query.API) (err error) {
	secret := &grades{registry: h.registry}
	series := &ruleSeries{store: h.series, pipeline: h.pipeline, clock: h.clock, series: map[string]*ruleOwn{}}
	deps := rules.Deps{
		Ask: func(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
			return q.Vector(ctx, query.Scope{}, expr, at)
		},
		AskShared: func(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
			hidden, err := secret.hidden(telemetry.General)
			if err != nil {
				return nil, err
			}
			return q.Vector(ctx, query.Scope{Hidden: hidden}, expr, at)
		},
		Write: series.write, Grade: (&alertGrades{registry: h.registry}).of, Taken: h.ownMetric, Base: strings.TrimSuffix(h.cfg.Pages.PublicURL, "/"),
		Changed: func() {
			if h.notifier != nil {
				h.notifier.Changed()
			}
		},
		Records: h.records, Log: h.log, Clock: h.clock, Metrics: h.metrics,
	}
	if h.cfg.Rules.Shipped {
		deps.Shipped = shipped.Files
	}
	if dir := h.cfg.Rules.Dir; dir != "" {
		deps.Dir = os.DirFS(dir)
	}
	if h.rules, err = rules.Open(ctx, h.cfg.Rules.Config, deps); err != nil {
		return err
	}
	if h.notifier, err = notify.New(h.cfg.Rules.Notify, notify.Deps{Alerts: h.rules.Alerts, Base: deps.Base, Records: h.records, Log: h.log, Clock: h.clock, Metrics: h.metrics}); err != nil {
		return err
	}
	h.late.to.Store(h.rules)
	h.stack.start("notifications", h.notifier.Run)
	h.stack.start("rules", h.rules.Run)
	return nil
}

// ownMetric reports whether a metric is one that the hub writes of its own.
func (h *hub) ownMetric(name string) bool {
	switch name {
	case presenceMetric, facilityLoadMetric, facilityPowerMetric, facilityCarbonMetric:
		return true
	}
	return poolMetrics[name] != ""
}

// alertGrades say of what grade the data are that alerts tell of: that of all data of
// the device that the labels name; where they name none that is known, the highest
// that any device has. Art. 74(3)
type alertGrades struct {
	registry *registry.Registry

	mu       sync.Mutex
	version  uint64 // of the gradings that the others are from
	made     bool
	departed map[string]telemetry.Grade
	highest  telemetry.Grade
}

func (g *alertGrades) of(ls labels.Labels) telemetry.Grade {
	id := ls.Get("device")
	if d := g.registry.Device(id); d != nil {
		return max(d.HighestGrade(), telemetry.General)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.registry.Gradings(); !g.made || now != g.version {
		g.version, g.made, g.highest = now, true, telemetry.General
		var devices []*telemetry.Device
		devices, g.departed = g.registry.Graded()
		for _, d := range devices {
			g.highest = max(g.highest, d.HighestGrade())
		}
		for _, grade := range g.departed {
			g.highest = max(g.highest, grade)
		}
	}
	if grade, known := g.departed[id]; known {
		return grade
	}
	return g.highest
}

// ruleSeries writes what rules give.
type ruleSeries struct {
	store    *local.DB
	pipeline *ingest.Pipeline
	clock    func() time.Time

	// writing is held from before an id is taken until its point is durable, and
	// while ids are given back.
	writing sync.Mutex
	series  map[string]*ruleOwn // by labels; at most maxRuleSeries
	swept   time.Time
}

type ruleOwn struct {
	id   telemetry.SeriesID
	used time.Time
}

const (
	maxRuleSeries = 200_000
	ruleIdle      = time.Hour // after which a series is given back that is written no more
	ruleTries     = 20        // while the hub is busy
)

func (s *ruleSeries) write(ctx context.Context, all []rules.Sample) (fresh, conflicts int, err error) {
	if len(all) == 0 {
		return 0, 0, nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	now := s.clock()
	s.sweep(now)
	points := make([]telemetry.Point, len(all))
	for i, sample := range all {
		key := rules.Key(sample.Labels)
		own := s.series[key]
		if own == nil {
			if len(s.series) >= maxRuleSeries {
				return 0, 0, fmt.Errorf("rules write more than %d series; narrow what they record", maxRuleSeries)
			}
			own = &ruleOwn{id: s.store.Series(labelsOf(sample.Labels))}
			s.series[key] = own
		}
		own.used = now
		points[i] = telemetry.Point{Series: own.id, Time: sample.Time, Value: sample.Value}
	}
	for try := 1; ; try++ {
		fresh, conflicts, err = s.pipeline.Record(points)
		if !errors.Is(err, ingest.ErrBusy) || try == ruleTries {
			return fresh, conflicts, err
		}
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// sweep gives back the series that are written no more. s.writing is held.
func (s *ruleSeries) sweep(now time.Time) {
	if now.Sub(s.swept) < ruleIdle/4 {
		return
	}
	s.swept = now
	var gone []telemetry.SeriesID
	for key, own := range s.series {
		if now.Sub(own.used) > ruleIdle {
			gone = append(gone, own.id)
			delete(s.series, key)
		}
	}
	s.store.Forget(gone)
}

func labelsOf(ls labels.Labels) []telemetry.Label {
	all := make([]telemetry.Label, 0, ls.Len())
	ls.Range(func(l labels.Label) { all = append(all, telemetry.Label{Name: l.Name, Value: l.Value}) })
	return all
}

// promRules are the rules as Prometheus' API tells of them, with the alerts that the
// sender of a request may see.
func (h *hub) promRules(r *http.Request) (all []query.RuleGroup) {
	c := access.CallerOf(r.Context())
	if h.rules == nil || !access.Allow(c, access.ReadAlerts, access.Anywhere).Allowed {
		return nil
	}
	for _, g := range h.rules.Groups() {
		group := query.RuleGroup{Name: g.Name, File: g.File, Interval: g.Interval, Limit: g.Limit, Took: g.Took, At: g.At}
		for _, rule := range g.Rules {
			group.Rules = append(group.Rules, promRule(c, &rule))
		}
		all = append(all, group)
	}
	return all
}

func promRule(c access.Caller, r *rules.RuleView) query.Rule {
	out := query.Rule{Name: r.Name(), Query: r.Expr.String(), Labels: r.Labels, Annotations: r.Annotations, Health: "ok", Took: r.Took, At: r.At, Alert: r.Alert != "", For: r.For, KeepFiringFor: r.KeepFiringFor}
	switch {
	case r.At.IsZero():
		out.Health, out.State = "unknown", "unknown"
	case r.Err != nil:
		out.Health, out.LastError = "err", r.Err.Error()
	}
	seen := r.Alerts[:0:0]
	for _, a := range r.Alerts {
		if api.SeesAlert(c, a.Labels.Get("region"), a.Grade) {
			seen = append(seen, a)
			out.Alerts = append(out.Alerts, query.RuleAlert{Labels: a.Labels, Annotations: a.Annotations, State: a.State(), Active: a.Active, KeepFiringSince: a.Quiet, Value: a.Value})
		}
	}
	if r.Alert != "" && out.State == "" {
		out.State = (&rules.RuleView{Alerts: seen}).State()
	}
	return out
}
