// Package notify tells receivers of alerts: an Alertmanager, a webhook or people
// by e-mail. What a receiver is told follows from what fires and what it was told
// last, which is kept: a failure loses nothing, a restart repeats nothing but a
// message of which it is not known whether it came, and what waits for a receiver
// that is away is bounded.
package notify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Deps are what notifications need. All are required but Base.
type Deps struct {
	// Alerts are those of now, pending ones too.
	Alerts func() []rules.View
	// Base is the hub's URL, for links; may be empty.
	Base    string
	Records *records.DB
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Notifier tells all receivers. Run owns their state.
type Notifier struct {
	deps    Deps
	all     []*receiver
	metrics *metrics
}

// receiver is one that is told; its goroutine owns it.
type receiver struct {
	cfg     Receiver
	grade   telemetry.Grade
	name    string // with the number of its server where there are several
	wake    chan struct{}
	run     func(context.Context)
	failing time.Time // since when; zero: it is not
}

// New returns what tells the receivers of a configuration.
func New(c Config, deps Deps) (*Notifier, error) {
	n := &Notifier{deps: deps, metrics: newMetrics(deps.Metrics)}
	for _, cfg := range c.Receivers {
		grade, err := telemetry.ParseGrade(cfg.MaxGrade)
		if err != nil {
			return nil, fmt.Errorf("receiver %s: %w", cfg.Name, err)
		}
		add := func(name string) *receiver {
			r := &receiver{cfg: cfg, grade: grade, name: name, wake: make(chan struct{}, 1)}
			n.all = append(n.all, r)
			n.metrics.begin(name)
			return r
		}
		switch {
		case cfg.Alertmanager != nil:
			for i, server := range cfg.Alertmanager.URLs {
				name := cfg.Name
				if len(cfg.Alertmanager.URLs) > 1 {
					name = fmt.Sprintf("%s/%d", cfg.Name, i+1)
				}
				r := add(name)
				r.run = (&alertmanager{n: n, r: r, server: server, client: newClient(cfg.Alertmanager.Auth)}).run
			}
		case cfg.Webhook != nil:
			r := add(cfg.Name)
			r.run = (&dispatch{n: n, r: r, send: (&webhook{n: n, cfg: cfg, client: newClient(cfg.Webhook.Auth)}).send}).run
		default:
			r := add(cfg.Name)
			e := &mailer{cfg: cfg, base: deps.Base, clock: deps.Clock}
			r.run = (&dispatch{n: n, r: r, send: e.send, perHour: cfg.Email.MaxPerHour}).run
		}
	}
	return n, nil
}

// Changed says that alerts or silences changed. It does not block.
func (n *Notifier) Changed() {
	for _, r := range n.all {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// Run tells until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	if err := n.forgetOthers(ctx); err != nil && ctx.Err() == nil {
		n.deps.Log.Error("removed_receivers_not_forgotten", "error", err)
	}
	if len(n.all) == 0 {
		<-ctx.Done()
		return nil
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, r := range n.all {
		all.Go(func() error {
			r.run(ctx)
			return nil
		})
	}
	return all.Wait()
}

// forgetOthers takes what receivers were told out of the records that the
// configuration has no more: one that comes back under its name is told anew.
func (n *Notifier) forgetOthers(ctx context.Context) error {
	return n.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT DISTINCT receiver FROM rule_told`)
		if err != nil {
			return err
		}
		var gone []string
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return errors.Join(err, rows.Close())
			}
			if !slices.ContainsFunc(n.all, func(r *receiver) bool { return r.name == name && r.cfg.Alertmanager == nil }) {
				gone = append(gone, name)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, name := range gone {
			if _, err := tx.ExecContext(ctx, `DELETE FROM rule_told WHERE receiver = ?`, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// alert is one that a receiver may be told of.
type alert struct {
	ID          string        `json:"id"`
	Labels      labels.Labels `json:"labels"`
	Annotations labels.Labels `json:"annotations"`
	Value       string        `json:"value,omitempty"`
	Since       time.Time     `json:"since"` // when it fired
	Ended       time.Time     `json:"ended,omitzero"`
	Group       string        `json:"group"` // of rules
	silenced    bool
}

// alerts are those that fire and that a receiver is to be told of, also those that
// are silenced.
func (n *Notifier) alerts(r *receiver) map[string]alert {
	all := map[string]alert{}
	for _, v := range n.deps.Alerts() {
		if !v.Firing() || !rules.Match(r.cfg.Matchers, v.Labels) {
			continue
		}
		a := alert{ID: v.ID, Labels: v.Labels, Annotations: v.Annotations, Value: fmt.Sprint(v.Value), Since: v.Fired, Group: v.Group, silenced: len(v.Silences) > 0}
		if v.Grade > r.grade {
			a = a.withheld(v.Grade)
		}
		all[a.ID] = a
	}
	return all
}

// withheld is what may be told of an alert about data of a grade that must not go
// there. Art. 74(3)
func (a alert) withheld(g telemetry.Grade) alert {
	b := labels.NewScratchBuilder(4)
	b.Add("alert", a.ID)
	b.Add("alertname", a.Labels.Get("alertname"))
	b.Add("grade", g.String())
	if s := a.Labels.Get("severity"); s != "" {
		b.Add("severity", s)
	}
	a.Labels = b.Labels()
	b.Reset()
	if u := a.Annotations.Get("runbook_url"); u != "" {
		b.Add("runbook_url", u)
	}
	b.Add("summary", "Data of grade "+g.String()+": the hub's page of alerts says more")
	b.Add("summary_zh", "涉及"+gradeZH[g]+"级数据：详见枢纽的告警页面")
	a.Annotations, a.Value = b.Labels(), ""
	return a
}

var gradeZH = map[telemetry.Grade]string{telemetry.General: "一般", telemetry.Important: "重要", telemetry.Core: "核心"}

// done notes how a message went. A failure is logged when it begins, and when it
// ends.
func (n *Notifier) done(r *receiver, alerts int, err error) {
	switch {
	case err == nil:
		n.metrics.sent.WithLabelValues(r.name, "sent").Inc()
		n.metrics.alerts.WithLabelValues(r.name).Add(float64(alerts))
		if !r.failing.IsZero() {
			n.deps.Log.Info("receiver_told_again", "receiver", r.name, "after_seconds", n.deps.Clock().Sub(r.failing).Seconds())
		}
		r.failing = time.Time{}
		n.metrics.failing.WithLabelValues(r.name).Set(0)
	case errors.Is(err, context.Canceled):
	default:
		n.metrics.sent.WithLabelValues(r.name, "failed").Inc()
		if r.failing.IsZero() {
			r.failing = n.deps.Clock()
			n.metrics.failing.WithLabelValues(r.name).Set(1)
			n.deps.Log.Warn("receiver_not_told", "receiver", r.name, "error", err)
		}
	}
}

type metrics struct {
	sent    *prometheus.CounterVec
	alerts  *prometheus.CounterVec
	failing *prometheus.GaugeVec
	waiting *prometheus.GaugeVec
	held    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	by := []string{"receiver"}
	m := &metrics{
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_rules_messages_total", Help: "Messages about alerts, by receiver and outcome: sent or failed; those that failed are tried again."}, []string{"receiver", "outcome"}),
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_rules_notified_alerts_total", Help: "Alerts in messages that were sent, by receiver."}, by),
		failing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hub_rules_receiver_failing", Help: "1 while a receiver cannot be told."}, by),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hub_rules_waiting_groups", Help: "Groups of alerts with something that a receiver is still to be told."}, by),
		held: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_rules_held_messages_total", Help: "Messages that went together with others because as many as may were sent in the hour."}, by),
	}
	reg.MustRegister(m.sent, m.alerts, m.failing, m.waiting, m.held)
	return m
}

func (m *metrics) begin(name string) {
	m.sent.WithLabelValues(name, "sent")
	m.sent.WithLabelValues(name, "failed")
	m.alerts.WithLabelValues(name)
	m.failing.WithLabelValues(name)
	m.waiting.WithLabelValues(name)
	m.held.WithLabelValues(name)
}
