package registry

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
)

func (p *Presence) load(ctx context.Context) error {
	err := p.Records.Each(ctx, func(rows *sql.Rows) error {
		f := &follow{}
		var since, seen, event int64
		if err := rows.Scan(&f.device, &f.State, &f.Reason, &since, &seen, &event, &f.n); err != nil {
			return err
		}
		f.Since, f.LastSeen, f.LastEvent = records.Time(since), records.Time(seen), records.Time(event)
		f.saved = f.LastSeen
		p.tracks[f.device] = f
		p.order = append(p.order, f)
		return nil
	}, "SELECT device, state, reason, since, last_seen, last_event, transitions FROM presence")
	if err != nil {
		return fmt.Errorf("read presence: %w", err)
	}
	return nil
}

// flush tells of what waits and writes it down. What could not be written
// waits on; it is told only once.
func (p *Presence) flush(ctx context.Context) error {
	p.mu.Lock()
	all := p.pending
	p.pending = nil
	p.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	for i := range all {
		if c := &all[i]; !c.told {
			p.On(c.Transition)
			c.told = true
		}
	}
	err := p.Records.Tx(ctx, func(tx *sql.Tx) error { return writeChanges(ctx, tx, all) })
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pending = append(all, p.pending...)
		if over := len(p.pending) - maxPending; over > 0 {
			p.pending = p.pending[over:]
			p.metrics.dropped.Add(float64(over))
		}
		return fmt.Errorf("write %d transitions: %w", len(all), err)
	}
	return nil
}

func writeChanges(ctx context.Context, tx *sql.Tx, all []change) error {
	// A device may be removed meanwhile; its rows go with it.
	now, err := tx.PrepareContext(ctx, `INSERT INTO presence (device, state, reason, since, last_seen, last_event, transitions)
		SELECT id, ?, ?, ?, ?, ?, ? FROM devices WHERE id = ?
		ON CONFLICT (device) DO UPDATE SET state = excluded.state, reason = excluded.reason, since = excluded.since,
			last_seen = excluded.last_seen, last_event = excluded.last_event, transitions = excluded.transitions`)
	if err != nil {
		return err
	}
	defer now.Close()
	history, err := tx.PrepareContext(ctx, `INSERT INTO presence_history (device, n, state, reason, at)
		SELECT id, ?, ?, ?, ? FROM devices WHERE id = ? ON CONFLICT (device, n) DO NOTHING`)
	if err != nil {
		return err
	}
	defer history.Close()
	for _, c := range all {
		s := c.standing
		if _, err := now.ExecContext(ctx, string(s.State), string(s.Reason), records.Millis(s.Since), records.Millis(s.LastSeen),
			records.Millis(s.LastEvent), c.n, c.Device); err != nil {
			return err
		}
		if _, err := history.ExecContext(ctx, c.n, string(c.To), string(c.Reason), records.Millis(c.At), c.Device); err != nil {
			return err
		}
		if c.n <= maxHistory {
			continue
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM presence_history WHERE device = ? AND n <= ?", c.Device, c.n-maxHistory); err != nil {
			return err
		}
	}
	return nil
}

// saveSeen writes down what was last heard of devices whose state did not
// change, in pieces that keep no other writer waiting for long.
func (p *Presence) saveSeen(ctx context.Context) error {
	const piece = 5000
	all := p.unsaved()
	for len(all) > 0 {
		n := min(piece, len(all))
		if err := p.Records.Tx(ctx, func(tx *sql.Tx) error { return writeSeen(ctx, tx, all[:n]) }); err != nil {
			return fmt.Errorf("write last_seen: %w", err)
		}
		all = all[n:]
	}
	return nil
}

type lastSeen struct {
	device      string
	seen, event time.Time
}

func (p *Presence) unsaved() (all []lastSeen) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.order {
		if f.LastSeen.After(f.saved) {
			all = append(all, lastSeen{f.device, f.LastSeen, f.LastEvent})
			f.saved = f.LastSeen
		}
	}
	return all
}

func writeSeen(ctx context.Context, tx *sql.Tx, all []lastSeen) error {
	up, err := tx.PrepareContext(ctx, "UPDATE presence SET last_seen = ?, last_event = ? WHERE device = ?")
	if err != nil {
		return err
	}
	defer up.Close()
	for _, s := range all {
		if _, err := up.ExecContext(ctx, records.Millis(s.seen), records.Millis(s.event), s.device); err != nil {
			return err
		}
	}
	return nil
}

// PresenceChange is one entry of a device's presence history.
type PresenceChange struct {
	N      int64
	State  PresenceState
	Reason Reason
	At     time.Time
}

// History returns up to limit changes of a device's presence, the newest
// first, that lie before number before; 0 begins with the newest.
func (p *Presence) History(ctx context.Context, device string, before int64, limit int) (page []PresenceChange, err error) {
	err = p.Records.Each(ctx, func(rows *sql.Rows) error {
		var c PresenceChange
		var at int64
		if err := rows.Scan(&c.N, &c.State, &c.Reason, &at); err != nil {
			return err
		}
		c.At = records.Time(at)
		page = append(page, c)
		return nil
	}, `SELECT n, state, reason, at FROM presence_history WHERE device = ? AND (? = 0 OR n < ?) ORDER BY n DESC LIMIT ?`,
		device, before, before, limit)
	return page, err
}

type presenceMetrics struct {
	transitions       *prometheus.CounterVec
	dropped, failures prometheus.Counter
}

func newPresenceMetrics(p *Presence, reg prometheus.Registerer) presenceMetrics {
	m := presenceMetrics{
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_registry_presence_transitions_total", Help: "Changes of presence, by the state reached and the reason."}, []string{"to", "reason"}),
		dropped:     prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_registry_presence_dropped_total", Help: "Changes of presence missing from the history because too many waited for the disk."}),
		failures:    prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_registry_presence_failures_total", Help: "Failed writes of presence; they are tried again."}),
	}
	reg.MustRegister(m.transitions, m.dropped, m.failures, fleetGauge{p, prometheus.NewDesc(
		"hub_registry_devices", "Registered devices by kind and presence.", []string{"kind", "presence"}, nil)})
	return m
}

// fleetGauge counts the devices when it is asked.
type fleetGauge struct {
	presence *Presence
	desc     *prometheus.Desc
}

func (g fleetGauge) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

func (g fleetGauge) Collect(ch chan<- prometheus.Metric) {
	for kind, states := range g.presence.Counts("") {
		for _, s := range PresenceStates() {
			ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(states[s]), string(kind), string(s))
		}
	}
}
