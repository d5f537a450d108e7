package rules

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// The kinds of changes that the history of alerts has.
const (
	// Fired: an alert is more than pending.
	Fired = "firing"
	// Resolved: it fires no more.
	Resolved = "resolved"
	// Retracted: data that came late show that it had no reason to fire.
	Retracted = "retracted"
)

// Change is an entry of the history of alerts.
type Change struct {
	ID int64 `json:"id"`
	// Kind is Fired, Resolved or Retracted.
	Kind string `json:"kind"`
	// At is when it happened by the time of the data, Known when the hub knew of it.
	// Late says that data which came late showed it.
	At          time.Time     `json:"at"`
	Known       time.Time     `json:"known"`
	Late        bool          `json:"late,omitempty"`
	Group       string        `json:"group"`
	Rule        string        `json:"rule"`
	Active      time.Time     `json:"active"` // since when it was at least pending
	Text        string        `json:"value"`  // the value: NaN and infinities are no JSON numbers
	Labels      labels.Labels `json:"labels"`
	Annotations labels.Labels `json:"annotations"`
	// OfHub says that the rule asks for nothing but metrics of the hub itself.
	OfHub bool `json:"of_hub,omitempty"`
}

// stale is for how long the time up to which a group was evaluated is not written
// down while nothing changes: a crash makes it be evaluated again for so long.
const stale = 5 * time.Minute

// keep makes durable what an evaluation changed, and that what came late before it
// began was looked at.
func (e *Engine) keep(ctx context.Context, g *group, o *outcome) error {
	at, late := o.moments[len(o.moments)-1].at, g.late.Load()
	if len(o.changes) == 0 && !o.moved && late == g.noted && at.Sub(g.written) < stale {
		return nil
	}
	if err := e.save(ctx, g, g.saved(o.moments, o.episodes, late), o.changes); err != nil {
		return err
	}
	g.written, g.noted = at, late
	e.metrics.changed(o.changes)
	return nil
}

// note makes durable that data of a time, in ms, came late and are still to be looked
// at, so that a restart does not forget them.
func (g *group) note(ctx context.Context, late int64) {
	if late >= g.noted {
		return
	}
	if err := g.engine.save(ctx, g, g.saved(g.moments, g.episodes, late), nil); err != nil {
		if ctx.Err() == nil {
			g.engine.deps.Log.Error("late_data_not_noted", "group", g.ID(), "error", err)
		}
		return
	}
	g.noted = late
}

func (e *Engine) save(ctx context.Context, g *group, s savedGroup, changes []Change) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("alerts of group %s: %w", g.ID(), err)
	}
	return e.deps.Records.Together(ctx, func(tx *sql.Tx) error {
		if err := insert(ctx, tx, changes); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO rule_groups (id, state) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state`, g.ID(), string(text))
		return err
	})
}

func insert(ctx context.Context, tx *sql.Tx, changes []Change) error {
	for _, c := range changes {
		text, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("history of alert %s: %w", c.Labels, err)
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO rule_history (at, known, alert, entry) VALUES (?, ?, ?, ?)`, c.At.UnixMilli(), c.Known.UnixMilli(), c.Rule, string(text)); err != nil {
			return err
		}
	}
	return nil
}

// drop ends what is kept of a group that is there no more: its alerts fire no
// more. e.mu is held.
func (e *Engine) drop(r *running) {
	e.resolve(r.ID(), r.state())
}

// dropKept does so of groups whose files were taken away while the hub was down.
// Those of a file that is wrong are kept.
func (e *Engine) dropKept() {
	for id, s := range e.kept {
		name, _, _ := strings.Cut(id, ";")
		if f := e.files[name]; f == nil || f.wrong == "" {
			e.resolve(id, s)
			delete(e.kept, id)
		}
	}
}

func (e *Engine) resolve(id string, s savedGroup) {
	now := e.deps.Clock()
	var changes []Change
	for _, rule := range s.Rules {
		for _, a := range rule.Active {
			if !a.Fired.IsZero() {
				changes = append(changes, Change{Kind: Resolved, At: now, Known: now, Group: id, Rule: rule.Alert, Active: a.Active, Text: a.Value, OfHub: rule.OfHub, Labels: a.Labels, Annotations: a.Annotations})
			}
		}
	}
	err := e.deps.Records.Tx(context.Background(), func(tx *sql.Tx) error {
		if err := insert(context.Background(), tx, changes); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM rule_groups WHERE id = ?`, id)
		return err
	})
	if err != nil {
		e.deps.Log.Error("alerts_not_kept", "group", id, "error", err)
	}
}

// restore reads what was kept.
func (e *Engine) restore(ctx context.Context) error {
	e.kept = map[string]savedGroup{}
	err := e.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var id, text string
		if err := rows.Scan(&id, &text); err != nil {
			return err
		}
		var s savedGroup
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return fmt.Errorf("what was kept of group %s of rules: %w", id, err)
		}
		e.kept[id] = s
		return nil
	}, `SELECT id, state FROM rule_groups`)
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	return e.restoreSilences(ctx)
}

// prune takes what is too old, and what is too much, out of the history.
func (e *Engine) prune(ctx context.Context) error {
	return e.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM rule_history WHERE known < ?`, e.deps.Clock().Add(-e.cfg.Keep).UnixMilli()); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM rule_history WHERE id <= (SELECT max(id) FROM rule_history) - ?`, e.cfg.MaxHistory); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM rule_silences WHERE until < ?`, e.deps.Clock().Add(-e.cfg.Keep).UnixMilli())
		return err
	})
}

// HistoryQuery chooses entries of the history.
type HistoryQuery struct {
	Since, Until time.Time // of At; zero: no bound
	Alert        string    // name; empty: all
	Before       int64     // id; 0: from the newest on
	Limit        int
	// Sees reports whether who asks may see an entry.
	Sees func(*Change) bool
}

// maxScan bounds how many entries one question looks at.
const maxScan = 20_000

// History returns entries, the newest first, and the id to go on before; 0 at the
// end.
func (e *Engine) History(ctx context.Context, q HistoryQuery) (all []Change, next int64, err error) {
	where, args := `WHERE 1 = 1`, []any{}
	add := func(cond string, v any) { where, args = where+" AND "+cond, append(args, v) }
	if q.Before > 0 {
		add("id < ?", q.Before)
	}
	if q.Alert != "" {
		add("alert = ?", q.Alert)
	}
	if !q.Since.IsZero() {
		add("at >= ?", q.Since.UnixMilli())
	}
	if !q.Until.IsZero() {
		add("at < ?", q.Until.UnixMilli())
	}
	scanned := 0
	err = e.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var id int64
		var text string
		if err := rows.Scan(&id, &text); err != nil {
			return err
		}
		scanned++
		if len(all) == q.Limit {
			if next == 0 {
				next = all[len(all)-1].ID
			}
			return nil
		}
		if scanned == maxScan {
			next = id
		}
		var c Change
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			return fmt.Errorf("history of alerts, entry %d: %w", id, err)
		}
		c.ID = id
		if q.Sees == nil || q.Sees(&c) {
			all = append(all, c)
		}
		return nil
	}, `SELECT id, entry FROM rule_history `+where+fmt.Sprintf(` ORDER BY id DESC LIMIT %d`, maxScan), args...)
	return all, next, err
}
