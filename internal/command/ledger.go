package command

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
)

// Config bounds commands.
type Config struct {
	// MaxOpenPerDevice is how many commands may wait for one device.
	MaxOpenPerDevice int `yaml:"max_open_per_device"`
	// MaxOpen is how many commands may be open at all devices together.
	MaxOpen int `yaml:"max_open"`
	// Keep is how long commands that ended are kept.
	Keep time.Duration `yaml:"keep"`
}

// DefaultConfig returns the bounds of a hub without a config file.
func DefaultConfig() Config {
	return Config{MaxOpenPerDevice: 64, MaxOpen: 200_000, Keep: 90 * 24 * time.Hour}
}

// Deps are what a ledger works with. All are required.
type Deps struct {
	Records *records.DB
	// Registered reports whether a device is registered.
	Registered func(device string) bool
	// Check reports why a device may not be asked for something; nil when its
	// model allows it.
	Check   func(device, name string, params json.RawMessage) error
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Ledger holds every command that has not ended in memory and all of them on
// disk. All methods may be called from any goroutine; one goroutine, in Run,
// changes rows.
type Ledger struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	wake    chan struct{} // holds one token while Run has something to do

	mu       sync.Mutex
	open     map[string]*open   // by id
	devices  map[string]*device // those with open commands or listeners
	due      map[string]struct{}
	dirty    map[*open]struct{}
	rollouts map[string]*rollout // those that have not ended
	changed  []Rollout           // rows of rollouts to write
	newest   map[string]int64    // ms of the last command of devices that were asked within the last seconds
	next     *flush
	failed   error // of Run: nothing is taken any more
}

// open is a command that has not ended, or whose end is not on disk yet.
type open struct {
	Command
	to    *listener // who has it; nil: nobody
	ended chan struct{}
}

// device is one device's open commands, the oldest first, and who listens for
// it, the newest last.
type device struct {
	commands  []*open
	listeners []*listener
}

// flush is one writing of what changed; done closes when it is on disk.
type flush struct {
	done chan struct{}
	err  error
}

func newFlush() *flush { return &flush{done: make(chan struct{})} }

// Open reads what has not ended.
func Open(ctx context.Context, cfg Config, deps Deps) (*Ledger, error) {
	l := &Ledger{
		cfg: cfg, deps: deps, wake: make(chan struct{}, 1),
		open: map[string]*open{}, devices: map[string]*device{}, due: map[string]struct{}{}, dirty: map[*open]struct{}{},
		rollouts: map[string]*rollout{}, next: newFlush(), newest: map[string]int64{},
	}
	l.metrics = newMetrics(deps.Metrics, l)
	if err := l.load(ctx); err != nil {
		return nil, fmt.Errorf("read open commands: %w", err)
	}
	return l, nil
}

func (l *Ledger) load(ctx context.Context) error {
	err := l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		r, err := scanRollout(rows)
		l.rollouts[r.ID] = &rollout{Rollout: r}
		return err
	}, "SELECT "+rolloutColumns+" FROM rollouts WHERE ended = 0")
	if err != nil {
		return err
	}
	err = l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		c, err := scan(rows)
		l.add(&c)
		return err
	}, "SELECT "+columns+" FROM commands WHERE ended = 0 ORDER BY id")
	if err != nil {
		return err
	}
	return l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var id string
		var done, failed int
		if err := rows.Scan(&id, &done, &failed); err != nil {
			return err
		}
		if r := l.rollouts[id]; r != nil {
			r.released += done + failed
			r.failed = failed
		}
		return nil
	}, `SELECT rollout, sum(CASE WHEN state = 'done' THEN 1 ELSE 0 END), sum(CASE WHEN state <> 'done' THEN 1 ELSE 0 END)
		FROM commands WHERE ended <> 0 AND rollout IN (SELECT id FROM rollouts WHERE ended = 0) GROUP BY rollout`)
}

// add takes a command into memory. The caller holds mu, or is the only one.
func (l *Ledger) add(c *Command) {
	o := &open{Command: *c, ended: make(chan struct{})}
	l.open[c.ID] = o
	d := l.device(c.Device)
	d.commands = append(d.commands, o)
	if r := l.rollouts[c.Rollout]; r != nil {
		r.take(o)
	}
	l.due[c.Device] = struct{}{}
}

func (l *Ledger) device(id string) *device {
	d := l.devices[id]
	if d == nil {
		d = &device{}
		l.devices[id] = d
	}
	return d
}

// tidy forgets a device for which nothing is held. The caller holds mu.
func (l *Ledger) tidy(id string) {
	if d := l.devices[id]; d != nil && len(d.commands) == 0 && len(d.listeners) == 0 {
		delete(l.devices, id)
		delete(l.due, id)
	}
}

// Issue asks a device for something. The command is on disk when it returns,
// and on its way when the device listens. Errors: ErrUnknown, ErrInvalid,
// ErrFull, and what Deps.Check says.
func (l *Ledger) Issue(ctx context.Context, device string, r Request) (Command, error) {
	if err := l.may(device, &r); err != nil {
		return Command{}, err
	}
	if err := l.room(device, 1); err != nil {
		return Command{}, err
	}
	c := r.to(device, "", l.moment(device, l.deps.Clock()))
	if err := l.deps.Records.Together(ctx, func(tx *sql.Tx) error { return insert(ctx, tx, []*Command{c}) }); err != nil {
		return Command{}, fmt.Errorf("keep a command for device %s: %w", device, err)
	}
	l.mu.Lock()
	l.add(c)
	l.mu.Unlock()
	l.metrics.states.WithLabelValues(string(Queued)).Inc()
	l.nudge()
	return *c, nil
}

func (l *Ledger) may(device string, r *Request) error {
	if !l.deps.Registered(device) {
		return fmt.Errorf("device %q %w; see `hub device list`", device, ErrUnknown)
	}
	if err := r.check(); err != nil {
		return err
	}
	return l.deps.Check(device, r.Name, r.Params)
}

// room reports why n more commands cannot be held. Callers that come together
// may pass the bound by as many as they are.
func (l *Ledger) room(device string, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	if len(l.open)+n > l.cfg.MaxOpen {
		return fmt.Errorf("the hub %w (%d): wait until some have ended, or raise commands.max_open", ErrFull, l.cfg.MaxOpen)
	}
	if d := l.devices[device]; d != nil && len(d.commands)+n > l.cfg.MaxOpenPerDevice {
		return fmt.Errorf("device %q %w (%d): wait until some have ended, cancel some, or raise commands.max_open_per_device", device, ErrFull, l.cfg.MaxOpenPerDevice)
	}
	return nil
}

// nudge wakes Run.
func (l *Ledger) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// mark notes that a command changed and returns the flush that will write it.
// The caller holds mu.
func (l *Ledger) mark(o *open) *flush {
	l.dirty[o] = struct{}{}
	return l.next
}

// written waits until a flush is on disk.
func (l *Ledger) written(ctx context.Context, f *flush) error {
	l.nudge()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Cancel ends a command that has not ended; its device may have it already.
// Errors: ErrUnknown, ErrEnded.
func (l *Ledger) Cancel(ctx context.Context, id string) error {
	l.mu.Lock()
	o := l.open[id]
	if o == nil {
		l.mu.Unlock()
		c, err := l.Get(ctx, id)
		if err != nil {
			return err
		}
		return fmt.Errorf("command %q %w: it is %s", id, ErrEnded, c.State)
	}
	l.end(o, Failed, Canceled)
	f := l.mark(o)
	l.mu.Unlock()
	return l.written(ctx, f)
}

// end takes a command to its end. The caller holds mu.
func (l *Ledger) end(o *open, to State, why Reason) {
	if o.advance(to, l.deps.Clock()) {
		o.Reason = why
		l.mark(o)
	}
}

// Get returns a command as it is on disk, or ErrUnknown.
func (l *Ledger) Get(ctx context.Context, id string) (Command, error) {
	found, err := l.read(ctx, "id = ?", 1, id)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("command %q %w; see `hub command list`", id, ErrUnknown)
	}
	if err != nil {
		return Command{}, err
	}
	return found[0], nil
}

// Wait returns a command when it has ended, or as it is when ctx ends.
func (l *Ledger) Wait(ctx context.Context, id string) (Command, error) {
	l.mu.Lock()
	o := l.open[id]
	l.mu.Unlock()
	if o != nil {
		select {
		case <-o.ended:
		case <-ctx.Done():
		}
	}
	return l.Get(context.WithoutCancel(ctx), id)
}

// Filter narrows a list of commands; empty fields let everything through.
type Filter struct {
	Device, Rollout string
	State           State
	Region          string // prefix of the device's division code
}

// List returns up to limit commands, the newest first, that are older than the
// id before; empty begins with the newest.
func (l *Ledger) List(ctx context.Context, f Filter, before string, limit int) ([]Command, error) {
	return l.read(ctx, `(? = '' OR id < ?) AND (? = '' OR device = ?) AND (? = '' OR rollout = ?) AND (? = '' OR state = ?)
		AND (? = '' OR device IN (SELECT id FROM devices WHERE substr(region, 1, length(?)) = ?))`, limit,
		before, before, f.Device, f.Device, f.Rollout, f.Rollout, string(f.State), string(f.State), f.Region, f.Region, f.Region)
}

func (l *Ledger) read(ctx context.Context, where string, limit int, args ...any) (all []Command, err error) {
	err = l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		c, err := scan(rows)
		all = append(all, c)
		return err
	}, "SELECT "+columns+" FROM commands WHERE "+where+" ORDER BY id DESC LIMIT ?", append(slices.Clone(args), limit)...)
	return all, err
}
