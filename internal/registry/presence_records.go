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
		var since, seen, event, period int64
		if err := rows.Scan(&f.device, &f.State, &f.Reason, &since, &seen, &event, &f.n, &period); err != nil {
			return err
		}
		f.Since, f.LastSeen, f.LastEvent = records.Time(since), records.Time(seen), records.Time(event)
		f.Period = time.Duration(period) * time.Millisecond
		f.saved = f.LastSeen
		p.tracks[f.device] = f
		p.order = append(p.order, f)
		return nil
	}, "SELECT device, state, reason, since, last_seen, last_event, transitions, period FROM presence")
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
	var news []Transition
	for i := range all {
		if c := &all[i]; !c.told {
			news = append(news, c.Transition)
			c.told = true
		}
	}
	if len(news) > 0 {
		p.On(news)
	}
	for len(all) > 0 {
		n := min(piece, len(all))
		if err := p.tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return writeChanges(ctx, tx, all[:n]) }); err != nil {
			p.putBack(all)
			return fmt.Errorf("write %d transitions: %w", len(all), err)
		}
		all = all[n:]
	}
	return nil
}

// piece is how many devices or transitions one transaction writes, so that no
// other writer waits for long; it may take as long as patience.
const (
	piece    = 1000
	patience = 5 * time.Second
)

// tx runs a transaction that is not cut off when Run is told to stop: only a
// database that hangs is given up.
func (p *Presence) tx(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return p.Records.Tx(ctx, func(tx *sql.Tx) error { return f(ctx, tx) })
}

// putBack lets transitions wait on, before those that came meanwhile.
func (p *Presence) putBack(all []change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = append(all, p.pending...)
	if over := len(p.pending) - maxPending; over > 0 {
		p.pending = p.pending[over:]
		p.metrics.dropped.Add(float64(over))
	}
}

func writeChanges(ctx context.Context, tx *sql.Tx, all []change) error {
	// A device may be removed meanwhile; its rows go with it.
	now, err := tx.PrepareContext(ctx, `INSERT INTO presence (device, state, reason, since, last_seen, last_event, transitions, period)
		SELECT id, ?, ?, ?, ?, ?, ?, ? FROM devices WHERE id = ?
		ON CONFLICT (device) DO UPDATE SET state = excluded.state, reason = excluded.reason, since = excluded.since,
			last_seen = excluded.last_seen, last_event = excluded.last_event, transitions = excluded.transitions, period = excluded.period`)
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
	last := make(map[string]int, len(all))
	for i, c := range all {
		last[c.Device] = i
		if _, err := history.ExecContext(ctx, c.n, string(c.To), string(c.Reason), records.Millis(c.At), c.Device); err != nil {
			return err
		}
	}
	for i, c := range all {
		if last[c.Device] != i {
			continue
		}
		s := c.standing
		if _, err := now.ExecContext(ctx, string(s.State), string(s.Reason), records.Millis(s.Since), records.Millis(s.LastSeen),
			records.Millis(s.LastEvent), c.n, s.Period.Milliseconds(), c.Device); err != nil {
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

// saveSeen writes down what was last heard, and learned, of devices whose state
// did not change.
func (p *Presence) saveSeen(ctx context.Context) error {
	all := p.unsaved()
	for len(all) > 0 {
		n := min(piece, len(all))
		if err := p.tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return writeSeen(ctx, tx, all[:n]) }); err != nil {
			return fmt.Errorf("write last_seen: %w", err)
		}
		p.mu.Lock()
		for _, s := range all[:n] {
			s.of.saved = s.seen
		}
		p.mu.Unlock()
		all = all[n:]
	}
	return nil
}

type lastSeen struct {
	of          *follow
	seen, event time.Time
	period      time.Duration
}

func (p *Presence) unsaved() (all []lastSeen) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.order {
		if f.LastSeen.After(f.saved) {
			all = append(all, lastSeen{f, f.LastSeen, f.LastEvent, f.Period})
		}
	}
	return all
}

func writeSeen(ctx context.Context, tx *sql.Tx, all []lastSeen) error {
	up, err := tx.PrepareContext(ctx, "UPDATE presence SET last_seen = ?, last_event = ?, period = ? WHERE device = ?")
	if err != nil {
		return err
	}
	defer up.Close()
	for _, s := range all {
		if _, err := up.ExecContext(ctx, records.Millis(s.seen), records.Millis(s.event), s.period.Milliseconds(), s.of.device); err != nil {
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
	for kind, states := range g.presence.Counts(nil) {
		for _, s := range PresenceStates() {
			ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(states[s]), string(kind), string(s))
		}
	}
}
