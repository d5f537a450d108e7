package notify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/edge/backoff"
)

// told is what a receiver was last told of a group, as it is kept.
type told struct {
	At     time.Time        `json:"at"`
	Labels labels.Labels    `json:"labels"` // of the group
	Firing map[string]alert `json:"firing"` // by id
	// Unsure are those of Firing that the receiver may know of: a message about them
	// was begun, and what became of it is not known. While they fire they are news, and
	// when they end that is told.
	Unsure map[string]bool `json:"unsure,omitempty"`
}

// maxUnsure bounds the alerts of one receiver that are noted before they are told.
// What is beyond, with a receiver that is away, is told as well; if it had been told
// before a crash and ended during it, that is not.
const maxUnsure = 5000

// message is what is to be told of a group.
type message struct {
	key    string
	labels labels.Labels
	last   time.Time // when the receiver was told of the group before; zero: never
	firing []alert   // the first that fired first
	ended  []alert
}

// id is the same of a message that is sent again, because it is not known whether it
// came, and of no other.
func (m *message) id() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %d", m.key, m.last.UnixNano())
	for _, a := range slices.Concat(m.firing, m.ended) {
		fmt.Fprintf(h, " %q %d %t", a.ID, a.Since.UnixNano(), a.Ended.IsZero())
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// verdict is what is to be done about a group.
type verdict struct {
	send  bool
	after time.Time // when it is to be looked at again; zero: when something changes
	message
}

// decide says what a receiver is to be told of a group at a time: what fires now,
// what it was told last, and since when the group waits for its first message.
func decide(cfg *Receiver, now, since time.Time, firing map[string]alert, was told) verdict {
	v := verdict{message: message{labels: was.Labels, last: was.At}}
	news := false
	for id, a := range firing {
		_, known := was.Firing[id]
		if a.silenced {
			continue
		}
		v.firing = append(v.firing, a)
		news = news || !known || was.Unsure[id]
	}
	for id, a := range was.Firing {
		if _, still := firing[id]; !still {
			a.Ended = now
			v.ended = append(v.ended, a)
		}
	}
	byTime := func(a, b alert) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) }
	slices.SortFunc(v.firing, byTime)
	slices.SortFunc(v.ended, byTime)
	switch {
	case was.At.IsZero() && news:
		v.after = since.Add(cfg.GroupWait)
	case was.At.IsZero() && len(v.ended) > 0 && cfg.Resolved:
		v.after = since
	case was.At.IsZero():
		return verdict{message: v.message}
	case news || len(v.ended) > 0 && cfg.Resolved:
		v.after = was.At.Add(cfg.GroupInterval)
	case len(v.firing) > 0:
		v.after = was.At.Add(cfg.Repeat)
	default: // nothing is to be told; what ended is forgotten
		return verdict{message: v.message}
	}
	v.send = !now.Before(v.after)
	return v
}

// dispatch tells one receiver by messages about groups.
type dispatch struct {
	n       *Notifier
	r       *receiver
	send    func(context.Context, []message) error
	perHour int // messages at most; 0: no bound

	told    map[string]told
	since   map[string]time.Time // when a group was first seen that has no message yet
	sent    []time.Time          // within the last hour
	pause   backoff.Backoff
	waiting time.Time // before it nothing is tried, after a failure
}

func (d *dispatch) run(ctx context.Context) {
	d.since = map[string]time.Time{}
	for {
		err := d.restore(ctx)
		if err == nil {
			break
		}
		d.n.done(d.r, 0, err)
		if !backoff.Sleep(ctx, d.pause.Next()) {
			return
		}
	}
	for {
		after := d.turn(ctx)
		timer := time.NewTimer(after)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-d.r.wake:
		}
		timer.Stop()
	}
}

// idle is how long a receiver waits at most before it looks again.
const idle = time.Minute

// turn tells what is due and returns how long there is nothing to do.
func (d *dispatch) turn(ctx context.Context) time.Duration {
	now := d.n.deps.Clock()
	groups := d.groups(d.n.alerts(d.r))
	for key := range d.told {
		if groups[key] == nil {
			groups[key] = map[string]alert{}
		}
	}
	maps.DeleteFunc(d.since, func(key string, _ time.Time) bool { return groups[key] == nil })
	next := now.Add(idle)
	var due []message
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		was, known := d.told[key]
		if !known {
			for _, a := range groups[key] {
				was.Labels = d.labels(a)
			}
		}
		if was.At.IsZero() && d.since[key].IsZero() {
			d.since[key] = now
		}
		v := decide(&d.r.cfg, now, d.since[key], groups[key], was)
		v.key = key
		switch {
		case v.send:
			due = append(due, v.message)
		case known && v.after.IsZero() && len(v.ended) > 0:
			d.forget(ctx, key, groups[key])
		case !v.after.IsZero() && v.after.Before(next):
			next = v.after
		}
	}
	d.n.metrics.waiting.WithLabelValues(d.r.name).Set(float64(len(due)))
	if len(due) > 0 {
		next = d.deliver(ctx, now, due, next)
	}
	return max(next.Sub(d.n.deps.Clock()), 0)
}

// deliver sends messages, each by itself, or all in one where an hour has no more
// of them. It returns when to look again.
func (d *dispatch) deliver(ctx context.Context, now time.Time, due []message, next time.Time) time.Time {
	if now.Before(d.waiting) {
		return minTime(next, d.waiting)
	}
	batches := make([][]message, 0, len(due))
	for i := range due {
		batches = append(batches, due[i:i+1])
	}
	if d.perHour > 0 {
		d.sent = slices.DeleteFunc(d.sent, func(t time.Time) bool { return now.Sub(t) >= time.Hour })
		switch left := d.perHour - len(d.sent); {
		case left <= 0:
			return minTime(next, d.sent[0].Add(time.Hour))
		case left < len(due):
			batches = [][]message{due}
			d.n.metrics.held.WithLabelValues(d.r.name).Add(float64(len(due) - 1))
		}
	}
	for _, batch := range batches {
		alerts := 0
		for _, m := range batch {
			alerts += len(m.firing) + len(m.ended)
		}
		err := d.begin(ctx, batch)
		if err == nil {
			err = d.send(ctx, batch)
		}
		if err == nil {
			if d.perHour > 0 {
				d.sent = append(d.sent, now)
			}
			err = d.keep(ctx, now, batch)
		}
		d.n.done(d.r, alerts, err)
		if err != nil {
			d.waiting = d.n.deps.Clock().Add(d.pause.Next())
			return minTime(next, d.waiting)
		}
		d.pause.Reset()
	}
	return now // what that makes due, and when
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// groups parts alerts by the labels of group_by.
func (d *dispatch) groups(all map[string]alert) map[string]map[string]alert {
	groups := map[string]map[string]alert{}
	for id, a := range all {
		key := string(d.labels(a).Bytes(nil))
		if groups[key] == nil {
			groups[key] = map[string]alert{}
		}
		groups[key][id] = a
	}
	return groups
}

func (d *dispatch) labels(a alert) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, name := range d.r.cfg.GroupBy {
		b.Set(name, a.Labels.Get(name))
	}
	return b.Labels()
}

// begin makes durable what is about to be told: whatever ends the hub between the
// message and keep, the receiver is told again, and of the end.
func (d *dispatch) begin(ctx context.Context, batch []message) error {
	room := maxUnsure
	for _, t := range d.told {
		room -= len(t.Unsure)
	}
	var news []message
	for _, m := range batch {
		was := d.told[m.key]
		t := told{At: was.At, Labels: m.labels, Firing: maps.Clone(was.Firing), Unsure: maps.Clone(was.Unsure)}
		for _, a := range m.firing {
			if _, known := was.Firing[a.ID]; known || room <= 0 {
				continue
			}
			if t.Firing == nil {
				t.Firing = map[string]alert{}
			}
			if t.Unsure == nil {
				t.Unsure = map[string]bool{}
			}
			t.Firing[a.ID], t.Unsure[a.ID] = a, true
			room--
		}
		if len(t.Firing) > len(was.Firing) {
			d.told[m.key] = t
			news = append(news, m)
		}
	}
	if len(news) == 0 {
		return nil
	}
	return d.write(ctx, news)
}

// keep makes durable what was told. A silenced alert that the receiver knows of
// stays known.
func (d *dispatch) keep(ctx context.Context, now time.Time, batch []message) error {
	for _, m := range batch {
		was := d.told[m.key]
		t := told{At: now, Labels: m.labels, Firing: map[string]alert{}, Unsure: maps.Clone(was.Unsure)}
		maps.Copy(t.Firing, was.Firing)
		for _, a := range m.ended {
			delete(t.Firing, a.ID)
			delete(t.Unsure, a.ID)
		}
		for _, a := range m.firing {
			t.Firing[a.ID] = a
			delete(t.Unsure, a.ID)
		}
		d.put(m.key, t)
		delete(d.since, m.key)
	}
	return d.write(ctx, batch)
}

func (d *dispatch) put(key string, t told) {
	if len(t.Firing) == 0 {
		delete(d.told, key)
		return
	}
	d.told[key] = t
}

// forget takes alerts that ended out of what a receiver knows that is not told of
// it.
func (d *dispatch) forget(ctx context.Context, key string, firing map[string]alert) {
	t := d.told[key]
	t.Firing, t.Unsure = maps.Clone(t.Firing), maps.Clone(t.Unsure)
	maps.DeleteFunc(t.Firing, func(id string, _ alert) bool { _, still := firing[id]; return !still })
	maps.DeleteFunc(t.Unsure, func(id string, _ bool) bool { _, still := firing[id]; return !still })
	d.put(key, t)
	if err := d.write(ctx, []message{{key: key}}); err != nil {
		d.n.done(d.r, 0, err)
	}
}

func (d *dispatch) write(ctx context.Context, batch []message) error {
	return d.n.deps.Records.Together(context.WithoutCancel(ctx), func(tx *sql.Tx) error {
		for _, m := range batch {
			t, known := d.told[m.key]
			if !known {
				if _, err := tx.Exec(`DELETE FROM rule_told WHERE receiver = ? AND key = ?`, d.r.name, m.key); err != nil {
					return err
				}
				continue
			}
			text, err := json.Marshal(t)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(`INSERT INTO rule_told (receiver, key, state) VALUES (?, ?, ?) ON CONFLICT (receiver, key) DO UPDATE SET state = excluded.state`, d.r.name, m.key, string(text)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *dispatch) restore(ctx context.Context) error {
	d.told = map[string]told{}
	return d.n.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var key, text string
		if err := rows.Scan(&key, &text); err != nil {
			return err
		}
		var t told
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return fmt.Errorf("what receiver %s was told: %w", d.r.name, err)
		}
		d.told[key] = t
		return nil
	}, `SELECT key, state FROM rule_told WHERE receiver = ?`, d.r.name)
}
