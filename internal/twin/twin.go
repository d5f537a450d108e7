// Package twin keeps the configuration that each device is to have and the one
// that it says it has, and tells where they differ. Wanted configurations have
// versions, and the past ones stay.
package twin

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/records"
)

// Bounds of configurations.
const (
	MaxConfig   = 64 << 10 // bytes of JSON
	MaxDepth    = 32       // objects and arrays within each other
	KeptVersion = 100      // past versions of one device
)

// Errors, wrapped with the thing they are about.
var (
	ErrInvalid = errors.New("is not valid")
	ErrStale   = errors.New("was changed by somebody else meanwhile")
)

// Standing is how a device's configuration stands.
type Standing string

// The standings.
const (
	Unmanaged Standing = "unmanaged" // nobody wants anything of it
	Pending   Standing = "pending"   // the device has not said that it has the newest version
	Refused   Standing = "refused"   // it could not apply the newest version
	InStep    Standing = "in_step"   // it has what is wanted
	Drifted   Standing = "drifted"   // it has the newest version, and something else than it says
)

// Standings lists every standing.
func Standings() []Standing { return []Standing{Unmanaged, Pending, Refused, InStep, Drifted} }

// Wanted is one version of what a device is to have. Config is nil where
// nothing is wanted (any more).
type Wanted struct {
	Version int64
	Config  json.RawMessage
	Actor   string
	At      time.Time
}

// Fault is what a device says is wrong with a configuration.
type Fault struct {
	Path    string `json:"path"` // key path, such as sources.host.interval
	Message string `json:"message"`
}

// Reported is what a device says that it has.
type Reported struct {
	Version int64 // of Wanted, as the device saw it; 0 for none
	Config  json.RawMessage
	Faults  []Fault
	At      time.Time
}

// Twin is both sides of a device's configuration.
type Twin struct {
	Device   string
	Wanted   Wanted
	Reported Reported
	Standing Standing
	Drift    []Difference
}

// Deps are what twins work with. All but Changed are required.
type Deps struct {
	Records *records.DB
	// Check reports why a device may not have a configuration; nil when its
	// model allows it.
	Check func(device string, config json.RawMessage) error
	// Changed is told that something else is wanted of a device. It does not block.
	Changed func(device string)
	Clock   func() time.Time
}

// Twins keeps the twins of all devices. All methods may be called from any
// goroutine.
type Twins struct {
	deps Deps

	// change is held while a wanted configuration is replaced, so that watchers
	// hear of versions in their order.
	change sync.Mutex

	mu       sync.Mutex
	watchers map[string][]*watcher // by device
}

type watcher struct{ changed func(message []byte) }

// New returns the twins that are on disk.
func New(deps Deps) *Twins { return &Twins{deps: deps, watchers: map[string][]*watcher{}} }

// Set makes config what a device is to have; nil ends that anything is wanted.
// With a version other than 0 it fails with ErrStale unless that is the present
// one. It is on disk when Set returns, and those who watch have it.
func (t *Twins) Set(ctx context.Context, device string, config json.RawMessage, version int64, actor string) (Wanted, error) {
	return t.replace(ctx, device, version, actor, func(json.RawMessage) (json.RawMessage, error) { return config, nil })
}

// Patch changes what a device is to have by a merge patch (RFC 7396).
func (t *Twins) Patch(ctx context.Context, device string, patch json.RawMessage, version int64, actor string) (Wanted, error) {
	return t.replace(ctx, device, version, actor, func(old json.RawMessage) (json.RawMessage, error) { return merge(old, patch) })
}

func (t *Twins) replace(ctx context.Context, device string, version int64, actor string, next func(old json.RawMessage) (json.RawMessage, error)) (Wanted, error) {
	t.change.Lock()
	defer t.change.Unlock()
	old, err := t.wanted(ctx, device)
	if err != nil {
		return Wanted{}, err
	}
	if version != 0 && version != old.Version {
		return Wanted{}, fmt.Errorf("wanted configuration of device %q %w: it has version %d, not %d; read it again and repeat the change", device, ErrStale, old.Version, version)
	}
	config, err := next(old.Config)
	if err != nil {
		return Wanted{}, err
	}
	if config != nil {
		if config, err = tidy(config); err != nil {
			return Wanted{}, fmt.Errorf("wanted configuration of device %q: %w", device, err)
		}
		if err := t.deps.Check(device, config); err != nil {
			return Wanted{}, err
		}
	}
	w := Wanted{Version: old.Version + 1, Config: config, Actor: actor, At: records.Time(records.Millis(t.deps.Clock()))}
	err = t.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO wanted (device, version, config, actor, at) VALUES (?, ?, ?, ?, ?)", device, w.Version, string(config), actor, records.Millis(w.At)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM wanted WHERE device = ? AND version <= ?", device, w.Version-KeptVersion)
		return err
	})
	if err != nil {
		return Wanted{}, fmt.Errorf("keep the wanted configuration of device %s: %w", device, err)
	}
	t.mu.Lock()
	watchers := t.watchers[device]
	t.mu.Unlock()
	for _, n := range watchers {
		n.changed(w.message())
	}
	if t.deps.Changed != nil {
		t.deps.Changed(device)
	}
	return w, nil
}

// tidy returns a configuration without white space, or says why it is none.
func tidy(config json.RawMessage) (json.RawMessage, error) {
	if len(config) > MaxConfig {
		return nil, fmt.Errorf("%d bytes %w: at most %d are kept", len(config), ErrInvalid, MaxConfig)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(config, &object); err != nil || object == nil || !utf8.Valid(config) {
		return nil, fmt.Errorf("%.40q %w: it is a JSON object", config, ErrInvalid)
	}
	if d := depth(config); d > MaxDepth {
		return nil, fmt.Errorf("%d objects and arrays within each other %w: at most %d are kept", d, ErrInvalid, MaxDepth)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, config); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// depth counts how deep objects and arrays lie within each other, in JSON that
// is known to be well formed.
func depth(b []byte) (most int) {
	n, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			n++
			most = max(most, n)
		case c == '}' || c == ']':
			n--
		}
	}
	return most
}

// message is what a device reads. Without a configuration nothing is wanted,
// and the device goes by its own.
func (w Wanted) message() []byte {
	if w.Version == 0 {
		return nil
	}
	b, err := json.Marshal(struct {
		Version int64           `json:"version"`
		Config  json.RawMessage `json:"config"`
	}{w.Version, w.Config})
	if err != nil {
		panic(err) // configurations were checked to be JSON
	}
	return b
}

// Message returns what a device reads of its wanted configuration; nil when
// nobody ever wanted anything of it.
func (t *Twins) Message(ctx context.Context, device string) ([]byte, error) {
	w, err := t.wanted(ctx, device)
	return w.message(), err
}

// Watch calls changed with every new message for a device until stop is
// called. changed must not block.
func (t *Twins) Watch(device string, changed func(message []byte)) (stop func()) {
	n := &watcher{changed}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watchers[device] = append(t.watchers[device][:len(t.watchers[device]):len(t.watchers[device])], n)
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		var left []*watcher
		for _, o := range t.watchers[device] {
			if o != n {
				left = append(left, o)
			}
		}
		if t.watchers[device] = left; len(left) == 0 {
			delete(t.watchers, device)
		}
	})
}

// Report takes what a device says that it has, {"version": 3, "config": {…},
// "errors": [{"path": "…", "message": "…"}]}, and returns when it is on disk.
// What it does not understand is refused: ErrInvalid.
func (t *Twins) Report(ctx context.Context, device string, payload []byte) error {
	var in struct {
		Version int64           `json:"version"`
		Config  json.RawMessage `json:"config"`
		Errors  []Fault         `json:"errors"`
	}
	if len(payload) > 2*MaxConfig {
		return fmt.Errorf("report of %d bytes %w: at most %d are read", len(payload), ErrInvalid, 2*MaxConfig)
	}
	if err := json.Unmarshal(payload, &in); err != nil || in.Version < 0 {
		return fmt.Errorf("report %.40q %w: it is a JSON object such as {\"version\": 1, \"config\": {}}", payload, ErrInvalid)
	}
	if len(in.Config) == 0 {
		in.Config = json.RawMessage("{}")
	}
	config, err := tidy(in.Config)
	if err != nil {
		return fmt.Errorf("reported configuration: %w", err)
	}
	faults := ""
	if len(in.Errors) > 0 {
		b, err := json.Marshal(in.Errors)
		if err != nil || len(b) > MaxConfig {
			return fmt.Errorf("errors of a report of %d bytes %w: at most %d are kept", len(b), ErrInvalid, MaxConfig)
		}
		faults = string(b)
	}
	at := records.Millis(t.deps.Clock())
	return t.deps.Records.Together(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO reported (device, version, config, faults, at) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (device) DO UPDATE SET version = excluded.version, config = excluded.config, faults = excluded.faults, at = excluded.at`,
			device, in.Version, string(config), faults, at)
		return err
	})
}
