package rules

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Bounds of silences.
const (
	MaxSilences = 1000 // that are not over
	maxMatchers = 20
	maxComment  = 1000 // bytes
	maxSilence  = 366 * 24 * time.Hour
)

// Matcher is one condition on a label of an alert, in Prometheus' way of writing:
// name="value", !=, =~ or !~.
type Matcher struct{ *labels.Matcher }

// ParseMatcher reads one.
func ParseMatcher(s string) (Matcher, error) {
	m, err := parseMatcher(s)
	return Matcher{m}, err
}

// MarshalText implements encoding.TextMarshaler.
func (m Matcher) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Matcher) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMatcher(string(text))
	return err
}

// Match reports whether all matchers take the labels.
func Match(all []Matcher, ls labels.Labels) bool {
	for _, m := range all {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

// Silence keeps alerts from being told of for a while. Who, why and until when is
// part of it.
type Silence struct {
	ID       string    `json:"id"`
	Matchers []Matcher `json:"matchers"`
	From     time.Time `json:"from"`
	Until    time.Time `json:"until"`
	By       string    `json:"by"`
	Comment  string    `json:"comment"`
	Created  time.Time `json:"created"`
	// Ended is who ended it before Until; empty: nobody.
	Ended string `json:"ended,omitempty"`
	// Region is what the one who made it is narrowed to: alerts of others it leaves.
	Region string `json:"region,omitempty"`
}

// InForce reports whether it silences at a time.
func (s *Silence) InForce(at time.Time) bool { return !at.Before(s.From) && at.Before(s.Until) }

// ErrSilence is wrapped by errors of silences that cannot be made.
var ErrSilence = errors.New("silence")

func (s *Silence) check(now time.Time) error {
	switch {
	case len(s.Matchers) == 0 || len(s.Matchers) > maxMatchers:
		return fmt.Errorf("%w: matchers: there are %d; give 1 to %d, such as alertname=\"DeviceOffline\"", ErrSilence, len(s.Matchers), maxMatchers)
	case !s.From.Before(s.Until):
		return fmt.Errorf("%w: until: %s is not after %s, when it begins", ErrSilence, s.Until.Format(time.RFC3339), s.From.Format(time.RFC3339))
	case !s.Until.After(now):
		return fmt.Errorf("%w: until: %s is over", ErrSilence, s.Until.Format(time.RFC3339))
	case s.Until.Sub(s.From) > maxSilence:
		return fmt.Errorf("%w: until: a silence lasts %d days at most", ErrSilence, int(maxSilence.Hours()/24))
	case s.Comment == "" || len(s.Comment) > maxComment:
		return fmt.Errorf("%w: comment: say why, in 1 to %d bytes", ErrSilence, maxComment)
	}
	for _, m := range s.Matchers {
		if !m.Matches("") {
			return nil
		}
	}
	return fmt.Errorf("%w: matchers: they take every alert; give one that an empty label does not meet", ErrSilence)
}

// Silence makes a silence. The context's riders are durable with it.
func (e *Engine) Silence(ctx context.Context, s Silence) (Silence, error) {
	now := e.deps.Clock().UTC()
	s.ID, s.Created, s.Ended = "s-"+rand.Text()[:12], now, ""
	if s.From.IsZero() {
		s.From = now
	}
	if err := s.check(now); err != nil {
		return s, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, o := range e.silences {
		if o.Until.After(now) {
			n++
		}
	}
	if n >= MaxSilences {
		return s, fmt.Errorf("%w: there are %d already, which is the most; end one", ErrSilence, n)
	}
	return s, e.putSilence(ctx, s)
}

// EndSilence ends a silence now.
func (e *Engine) EndSilence(ctx context.Context, id, by string) (Silence, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.silences[id]
	now := e.deps.Clock().UTC()
	if !ok || !s.Until.After(now) {
		return s, fmt.Errorf("silence %q %w, or is over", id, ErrUnknown)
	}
	s.Until, s.Ended = now, by
	s.From = minTime(s.From, now)
	return s, e.putSilence(ctx, s)
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (e *Engine) putSilence(ctx context.Context, s Silence) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	err = e.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO rule_silences (id, until, silence) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET until = excluded.until, silence = excluded.silence`,
			s.ID, s.Until.UnixMilli(), string(text))
		return err
	})
	if err != nil {
		return err
	}
	e.silences[s.ID] = s
	e.deps.Changed()
	return nil
}

// Silences lists those that are not over, and with all those that are kept.
func (e *Engine) Silences(all bool) []Silence {
	now := e.deps.Clock()
	e.mu.Lock()
	list := slices.Collect(maps.Values(e.silences))
	e.mu.Unlock()
	if !all {
		list = slices.DeleteFunc(list, func(s Silence) bool { return !s.Until.After(now) })
	}
	slices.SortFunc(list, func(a, b Silence) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return list
}

// turnSilences tells when silences began or ended by the clock, and forgets those
// that are long over.
func (e *Engine) turnSilences() {
	now := e.deps.Clock()
	e.mu.Lock()
	defer e.mu.Unlock()
	turned := false
	for id, s := range e.silences {
		since := func(t time.Time) bool { return !now.Before(t) && now.Sub(t) < 2*lookEvery }
		turned = turned || since(s.From) || since(s.Until)
		if now.Sub(s.Until) > e.cfg.Keep {
			delete(e.silences, id)
		}
	}
	if turned {
		e.deps.Changed()
	}
}

func (e *Engine) restoreSilences(ctx context.Context) error {
	return e.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var text string
		if err := rows.Scan(&text); err != nil {
			return err
		}
		var s Silence
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return fmt.Errorf("silence: %w", err)
		}
		e.silences[s.ID] = s
		return nil
	}, `SELECT silence FROM rule_silences`)
}
