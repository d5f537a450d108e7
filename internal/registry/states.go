package registry

import (
	"context"
	"database/sql"
	"fmt"
	"hash/maphash"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/telemetry"
)

const (
	maxStateMarks = 1 << 20
	// stateTimeLag is how far the stored time of an unchanged value may lie
	// behind its last report.
	stateTimeLag = 10 * time.Minute
)

// StateChange is a string that a device reported.
type StateChange struct {
	Device, Name, Value string
	Time                time.Time
}

// State is the newest value of one name.
type State struct {
	Value string
	Time  time.Time
}

type stateKey struct{ device, name string }

// stateMark remembers what is stored, so that a device that repeats its
// firmware version in every message costs no write.
type stateMark struct {
	hash       uint64
	seen, save int64 // milliseconds: newest report, and what is stored
}

type stateMarks struct {
	mu    sync.Mutex
	known map[stateKey]stateMark
	seed  maphash.Seed
}

// fresh reports whether a change must be written.
func (s *stateMarks) fresh(c StateChange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, at := stateKey{c.Device, c.Name}, c.Time.UnixMilli()
	m, ok := s.known[k]
	switch {
	case !ok:
		return true
	case at < m.seen:
		return false // late
	case maphash.String(s.seed, c.Value) != m.hash || at-m.save > stateTimeLag.Milliseconds():
		return true
	}
	m.seen = at
	s.known[k] = m
	return false
}

// stored remembers a change after its commit.
func (s *stateMarks) stored(c StateChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, at := stateKey{c.Device, c.Name}, c.Time.UnixMilli()
	if m, ok := s.known[k]; ok && m.seen > at {
		return
	}
	if len(s.known) >= maxStateMarks {
		for old := range s.known { // any: it only costs that one a write
			delete(s.known, old)
			break
		}
	}
	s.known[k] = stateMark{maphash.String(s.seed, c.Value), at, at}
}

func (s *stateMarks) forget(device string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.known {
		if k.device == device {
			delete(s.known, k)
		}
	}
}

// PutStates keeps what devices reported; the newest time of each name wins.
// What it took is durable when it returns. Refused holds, by index, reason and
// detail of a change that was not taken: bounds, or a device that is not
// registered.
func (r *Registry) PutStates(ctx context.Context, changes []StateChange) (refused map[int]telemetry.Reject, err error) {
	refused = map[int]telemetry.Reject{}
	var write []int
	for i, c := range changes {
		if why := r.checkState(c); why.Reason != "" {
			refused[i] = why
		} else if r.states.fresh(c) {
			write = append(write, i)
		}
	}
	if len(write) == 0 {
		return refused, nil
	}
	r.change.Lock() // a device is not removed between the check and the commit
	defer r.change.Unlock()
	err = r.db.Tx(ctx, func(tx *sql.Tx) error {
		for _, i := range write {
			if r.Device(changes[i].Device) == nil {
				refused[i] = stateOfUnknown(changes[i])
				continue
			}
			if taken, err := putState(ctx, tx, changes[i]); err != nil {
				return err
			} else if !taken {
				refused[i] = refuseState(telemetry.ReasonStateLimit, "state %q: device %s has %d states, which is the most; report fewer names", changes[i].Name, changes[i].Device, telemetry.MaxStates)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("keep states: %w", err)
	}
	for _, i := range write {
		if _, no := refused[i]; !no {
			r.states.stored(changes[i])
		}
	}
	return refused, nil
}

func refuseState(reason telemetry.Reason, format string, args ...any) telemetry.Reject {
	return telemetry.Reject{Index: -1, Stage: telemetry.StageCommit, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

func stateOfUnknown(c StateChange) telemetry.Reject {
	return refuseState(telemetry.ReasonUnknownDevice, "state %q: %v", c.Name, unknown(c.Device))
}

// checkState is ingest's own check, for callers that make none.
func (r *Registry) checkState(c StateChange) telemetry.Reject {
	switch {
	case r.Device(c.Device) == nil:
		return stateOfUnknown(c)
	case c.Name == "" || len(c.Name) > telemetry.MaxStateName || !utf8.ValidString(c.Name):
		return refuseState(telemetry.ReasonStateInvalid, "state name %.40q: it has 1 to %d bytes of UTF-8", c.Name, telemetry.MaxStateName)
	case len(c.Value) > telemetry.MaxStateValue || !utf8.ValidString(c.Value):
		return refuseState(telemetry.ReasonStateInvalid, "state %q: value of %d bytes; at most %d bytes of UTF-8 are kept", c.Name, len(c.Value), telemetry.MaxStateValue)
	}
	return telemetry.Reject{}
}

// putState reports false when the device has as many states as it may.
func putState(ctx context.Context, tx *sql.Tx, c StateChange) (bool, error) {
	res, err := tx.ExecContext(ctx, `INSERT INTO states (device, name, value, time)
		SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM states WHERE device = ? AND name = ?)
			OR (SELECT count(*) FROM states WHERE device = ?) < ?
		ON CONFLICT (device, name) DO UPDATE SET
			value = CASE WHEN excluded.time >= time THEN excluded.value ELSE value END,
			time = CASE WHEN excluded.time >= time THEN excluded.time ELSE time END`,
		c.Device, c.Name, c.Value, c.Time.UnixMilli(), c.Device, c.Name, c.Device, telemetry.MaxStates)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// States returns what is known of a device by its own reports.
func (r *Registry) States(ctx context.Context, device string) (map[string]State, error) {
	all := map[string]State{}
	err := r.db.Each(ctx, func(rows *sql.Rows) error {
		var name string
		var s State
		var at int64
		if err := rows.Scan(&name, &s.Value, &at); err != nil {
			return err
		}
		s.Time = time.UnixMilli(at).UTC()
		all[name] = s
		return nil
	}, "SELECT name, value, time FROM states WHERE device = ?", device)
	return all, err
}
