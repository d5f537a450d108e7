// Package traffic makes of what roadside units say what an operator watches: how
// good each unit, signal and road is, in numbers of a minute of event time. It is
// pure: time comes in with messages, and nothing goes out but numbers, states and
// places. Ids of participants live in its memory only, as hashes whose key
// rotates. Art. 15(2)
//
// What a message adds to the minutes is told as a record, which holds no id. Who
// keeps the records can have the open minutes back after a restart.
package traffic

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// Bounds in time of a minute's window.
const (
	// lateness is how far a unit's event time goes beyond the end of a minute
	// before that closes.
	lateness = 30 * time.Second
	// silence closes the minutes of a unit that says nothing about them any more.
	silence = 90 * time.Second
	// oldest is how long after its end a minute may still open.
	oldest = 24 * time.Hour
	// ahead is how far an event may be in the future; less than oldest.
	ahead = 12 * time.Hour
)

// Config bounds a board.
type Config struct {
	// MaxUnits, and the intersections, links and events of one of them.
	MaxUnits, MaxNodes, MaxLinks, MaxEvents int
	// Expect says what a unit is configured to do; nil where nobody knows. It is
	// called while the unit is locked, and must not ask the board.
	Expect func(unit string) Expected
	// MaxTracks are the participants that one unit follows at a time, 2,048 when it
	// is 0; MaxIDs the ids of vehicles that all units have heard in the last quarter
	// of an hour, 100,000 when it is 0.
	MaxTracks, MaxIDs int
	// Random fills keys for the hashes of ids; nil is crypto/rand.
	Random func(key []byte)
}

// Board is what is known of all units and roads. It is safe for concurrent use;
// messages of one unit are taken one after another.
type Board struct {
	cfg Config

	mu    sync.RWMutex // of units, not of what they hold
	units map[string]*unit

	clock    atomic.Int64 // newest time of arrival, or of Close, in ns since 1970
	evidence atomic.Int64 // octets that are kept
	tellings tellings
	made     uint32 // units ever

	// Locks are taken in this order: of a unit, of keys, of ids.
	keys *keys
	ids  *saidIDs
}

// New returns an empty board.
func New(c Config) *Board {
	c.MaxTracks, c.MaxIDs = cmp.Or(c.MaxTracks, 2048), cmp.Or(c.MaxIDs, 100_000)
	return &Board{cfg: c, units: map[string]*unit{}, keys: newKeys(c.Random), ids: newSaidIDs(c.MaxIDs)}
}

// Arrival is a message as it came.
type Arrival struct {
	Unit    string // id of the device
	Message *road.Message
	// Raw are the bytes of the message, kept for minutes where a check finds fault;
	// nil keeps none.
	Raw []byte
	// Hash is a keyed hash of the bytes: the same message again is not counted
	// again.
	Hash uint64
	// Delivery is a keyed hash of the bytes and of what the transport names their
	// delivery by, where Hash is another one each time they come; else 0. Again says
	// that the sender may have sent them before: if one of the same Delivery was
	// counted in a minute that is open, this one is not.
	Delivery uint64
	Again    bool
	Received time.Time
	// Live is false for history that is sent again: it never counts as a sign of
	// life.
	Live bool
}

// Refused says why a message is not taken.
type Refused struct {
	Reason RefusedReason
	Detail string
}

// RefusedReason is one of a closed list.
type RefusedReason string

// The reasons.
const (
	TimeUnresolved RefusedReason = "time_unresolved" // no time, or none that can be resolved
	WindowClosed   RefusedReason = "window_closed"   // its minute is written already, or too old
	TooMany        RefusedReason = "too_many"        // the board holds as many as it may
)

// Error implements error.
func (r *Refused) Error() string { return r.Detail }

// ErrRecord is wrapped where a record cannot be read.
var ErrRecord = errors.New("is no record of traffic")

// Take takes a message and appends what it adds to record; a message that came
// before appends nothing. The error is a *Refused. The message, and what it
// points to, belong to the caller again when it returns.
func (b *Board) Take(a *Arrival, record []byte) ([]byte, error) {
	u, err := b.unit(a.Unit)
	if err != nil {
		return record, err
	}
	b.advance(a.Received)
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.take(b, a, record)
}

// Apply takes a record again, after a restart.
func (b *Board) Apply(record []byte) error {
	for len(record) > 0 {
		r, rest, err := readHead(record)
		if err != nil {
			return err
		}
		u, err := b.unit(r.unit)
		if err != nil {
			return err
		}
		u.mu.Lock()
		record, err = u.apply(b, r, rest)
		u.mu.Unlock()
		if err != nil {
			return fmt.Errorf("record of unit %.64q: %w", r.unit, err)
		}
	}
	return nil
}

// Snapshot hands out records that make an empty board what this one is, but for
// what lives in memory only.
func (b *Board) Snapshot(keep func(record []byte) error) error {
	var buf []byte
	for _, u := range b.all() {
		u.mu.Lock()
		buf = u.snapshot(buf[:0])
		u.mu.Unlock()
		if err := keep(buf); err != nil {
			return err
		}
	}
	return nil
}

// Close hands out the minutes that are over at a time. They take nothing any
// more, and are handed out again until Written.
func (b *Board) Close(now time.Time, over func(Minute)) {
	b.advance(now)
	b.keys.turn(now)
	b.ids.age(now)
	for _, u := range b.all() {
		u.mu.Lock()
		u.evidence.expire(b, now)
		all := u.closing(now)
		u.mu.Unlock()
		for _, m := range all {
			over(m)
		}
	}
}

// Written forgets a minute whose samples are durable, and appends to record that
// it is not to open again.
func (b *Board) Written(m Minute, record []byte) []byte {
	u, err := b.unit(m.Unit)
	if err != nil {
		return record
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.written(m.minute)
	return appendWritten(record, m.Unit, m.minute)
}

// Remove forgets a unit. Its minutes that are open are lost.
func (b *Board) Remove(unit string) {
	b.mu.Lock()
	u := b.units[unit]
	delete(b.units, unit)
	b.mu.Unlock()
	if u != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.leave(b)
	}
}

// now is the newest time that anybody told the board.
func (b *Board) now() time.Time { return time.Unix(0, b.clock.Load()).UTC() }

func (b *Board) advance(now time.Time) {
	for n := now.UnixNano(); ; {
		if old := b.clock.Load(); n <= old || b.clock.CompareAndSwap(old, n) {
			return
		}
	}
}

// known is a unit that is there; nil where it is not.
func (b *Board) known(id string) *unit {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.units[id]
}

func (b *Board) unit(id string) (*unit, error) {
	b.mu.RLock()
	u := b.units[id]
	b.mu.RUnlock()
	if u != nil {
		return u, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if u = b.units[id]; u == nil {
		if len(b.units) >= b.cfg.MaxUnits {
			return nil, &Refused{TooMany, fmt.Sprintf("unit %q is one more than the %d that the hub watches", id, b.cfg.MaxUnits)}
		}
		id = strings.Clone(id)
		u = newUnit(id)
		b.made++
		u.number = b.made
		b.units[id] = u
	}
	return u, nil
}

// all are the units by name.
func (b *Board) all() []*unit {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]*unit, 0, len(b.units))
	for _, u := range b.units {
		out = append(out, u)
	}
	slices.SortFunc(out, func(x, y *unit) int { return strings.Compare(x.id, y.id) })
	return out
}
