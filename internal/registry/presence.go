package registry

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Transition is one change of a device's presence.
type Transition struct {
	Device   string
	From, To PresenceState
	Reason   Reason
	At       time.Time
}

// Activity is what the write path knows of the devices it has heard of. It
// yields each at most once and stops when yield returns false.
type Activity interface {
	Activity(yield func(device string, a Seen) bool)
}

// PresenceConfig says what presence works with. All fields must be set.
type PresenceConfig struct {
	Registry *Registry
	Records  *records.DB
	Activity Activity
	// On is told of every transition, in order, from Run's goroutine: of all
	// that happened since it returned at once, so that what it waits for (a
	// commit) is waited for once.
	On      func([]Transition)
	Log     *slog.Logger
	Now     func() time.Time
	Metrics prometheus.Registerer
}

// Bounds of presence.
const (
	maxHistory     = 1000    // transitions kept of a device
	maxPending     = 1 << 18 // transitions that wait for the disk
	ticksUntilSave = 300     // between two saves of last_seen, in seconds
	chunk          = 512     // devices looked at without letting others in
)

// Presence follows which devices are there. Art. 76(1) Connected and Left may be called
// from any goroutine and do not block; Run does the rest.
type Presence struct {
	PresenceConfig
	metrics presenceMetrics
	wake    chan struct{}
	failed  atomic.Pointer[error] // of the last write to the database

	longest atomic.Int64  // of the periods that Longest tells of
	shifts  atomic.Uint64 // what Shifts returns

	mu      sync.Mutex // guards all below
	tracks  map[string]*follow
	order   []*follow // all tracks, in no order, to be walked in chunks
	pending []change
}

// follow is a device's track with what the disk has of it.
type follow struct {
	track
	device string
	n      int64     // number of its transitions
	saved  time.Time // LastSeen on disk
}

// change is a transition on its way to the disk.
type change struct {
	Transition
	n        int64
	standing Standing
	told     bool
}

// NewPresence reads where the devices stood when the hub last ran.
func NewPresence(ctx context.Context, c PresenceConfig) (*Presence, error) {
	p := &Presence{PresenceConfig: c, wake: make(chan struct{}, 1), tracks: map[string]*follow{}}
	if err := p.load(ctx); err != nil {
		return nil, err
	}
	for _, f := range p.order {
		p.longest.Store(max(p.longest.Load(), int64(f.Period)))
	}
	p.metrics = newPresenceMetrics(p, c.Metrics) // from here on others read it
	return p, nil
}

// Connected tells that a device opened a connection.
func (p *Presence) Connected(device string) {
	p.input(device, func(t *track, at time.Time) bool { return t.connect(at) })
}

// Left tells how a connection of a device ended.
func (p *Presence) Left(device string, how Reason) {
	p.input(device, func(t *track, at time.Time) bool { return t.leave(how, at) })
}

func (p *Presence) input(device string, f func(*track, time.Time) bool) {
	if p.Registry.Device(device) == nil {
		return // removed: the next tick ends its track
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apply(p.follow(device), func(t *track) bool { return f(t, p.Now()) })
}

// follow returns the track of a device, which begins with Never. p.mu is held.
func (p *Presence) follow(device string) *follow {
	f := p.tracks[device]
	if f == nil {
		f = &follow{device: device, track: track{Standing: Standing{State: Never}}}
		p.tracks[device] = f
		p.order = append(p.order, f)
	}
	return f
}

// apply gives an input to a track and notes the transition. p.mu is held.
func (p *Presence) apply(f *follow, input func(*track) bool) {
	from := f.State
	if !input(&f.track) {
		return
	}
	f.n++
	p.metrics.transitions.WithLabelValues(string(f.State), string(f.Reason)).Inc()
	if len(p.pending) == maxPending {
		p.pending = p.pending[1:]
		p.metrics.dropped.Inc()
	}
	p.pending = append(p.pending, change{Transition{f.device, from, f.State, f.Reason, f.Since}, f.n, f.Standing, false})
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Of returns where a device stands, as of the last second.
func (p *Presence) Of(device string) Standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.tracks[device]; f != nil {
		return f.Standing
	}
	return Standing{State: Never}
}

// Longest is the longest period that was learned of a device which declared none,
// and for up to a second one that was.
func (p *Presence) Longest() time.Duration { return time.Duration(p.longest.Load()) }

// Shifts returns a number that changes when a learned period becomes longer or
// shorter by hours.
func (p *Presence) Shifts() uint64 { return p.shifts.Load() }

// learned takes note that the period of a device became another one. p.mu is held.
func (p *Presence) learned(f *follow, was time.Duration) {
	if f.Period.Truncate(time.Hour) != was.Truncate(time.Hour) {
		p.shifts.Add(1)
	}
	if int64(f.Period) > p.longest.Load() {
		if d := p.Registry.Device(f.device); d != nil && d.Period == 0 {
			p.longest.Store(int64(f.Period))
		}
	}
}

// Counts returns how many devices stand where, by kind, of those that sees lets
// through; nil lets all.
func (p *Presence) Counts(sees func(*telemetry.Device) bool) map[telemetry.Kind]map[PresenceState]int {
	counts := map[telemetry.Kind]map[PresenceState]int{}
	after, more := "", true
	var page []*Device
	for more {
		page, more = p.Registry.List(Filter{Sees: sees}, after, chunk)
		p.mu.Lock()
		for _, d := range page {
			state := Never
			if f := p.tracks[d.ID]; f != nil {
				state = f.State
			}
			if counts[d.Kind] == nil {
				counts[d.Kind] = map[PresenceState]int{}
			}
			counts[d.Kind][state]++
			after = d.ID
		}
		p.mu.Unlock()
	}
	return counts
}

// Run looks at the write path every second, lets time pass for every device,
// tells of transitions and writes them down in batches. It returns nil when ctx
// ends and all is on disk.
func (p *Presence) Run(ctx context.Context) error {
	p.resume()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for ticks := 1; ; {
		select {
		case <-ctx.Done():
			return p.finish(ctx)
		case <-second.C:
			p.tick()
			if ticks++; ticks%ticksUntilSave == 0 {
				p.failing(p.saveSeen(ctx))
			}
		case <-p.wake:
		}
		p.failing(p.flush(ctx))
	}
}

func (p *Presence) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.order {
		f.track.resume(p.Now())
	}
}

// finish leaves the states as they are: that the hub stops says nothing of a
// device.
func (p *Presence) finish(ctx context.Context) error {
	if err := p.flush(ctx); err != nil {
		return err
	}
	return p.saveSeen(ctx)
}

// failing keeps the hub running while the database cannot be written: what
// waits is tried again with the next tick.
func (p *Presence) failing(err error) {
	p.failed.Store(&err)
	if err != nil {
		p.metrics.failures.Inc()
		p.Log.Error("presence is not written down", "error", err)
	}
}

// tick takes the time before it asks the write path, so that whatever arrives
// later is later than every change it makes.
func (p *Presence) tick() {
	now := p.Now()
	p.Activity.Activity(func(device string, s Seen) bool {
		if p.Registry.Device(device) != nil {
			p.heard(device, s)
		}
		return true
	})
	longest := time.Duration(0)
	for from := 0; p.pass(now, from, &longest); from += chunk {
	}
	p.longest.Store(int64(longest)) // only a tick raises it
}

// heard gives a track what the write path knows, in the order in which it
// happened.
func (p *Presence) heard(device string, s Seen) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.follow(device)
	was := f.Period
	if !s.Died.After(s.LastReceived) {
		p.apply(f, func(t *track) bool { return t.die(s.Died) })
	}
	p.apply(f, func(t *track) bool { return t.see(s) })
	if s.Died.After(s.LastReceived) {
		p.apply(f, func(t *track) bool { return t.die(s.Died) })
	}
	if f.Period != was {
		p.learned(f, was)
	}
}

// pass lets time pass for one chunk of devices and reports whether there are
// more. It raises longest to the learned periods of devices that declared none.
func (p *Presence) pass(now time.Time, from int, longest *time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := from; i < min(from+chunk, len(p.order)); i++ {
		f := p.order[i]
		d := p.Registry.Device(f.device)
		switch {
		case d == nil:
			p.apply(f, func(t *track) bool { return t.turn(Offline, ReasonRevoked, now) })
			delete(p.tracks, f.device)
			p.order[i] = p.order[len(p.order)-1] // that one waits for the next second
			p.order = p.order[:len(p.order)-1]
		case d.Disabled:
			p.apply(f, func(t *track) bool { return t.State != Never && t.turn(Offline, ReasonRevoked, now) })
		default:
			p.apply(f, func(t *track) bool { return t.tick(now, period(d, t)) })
		}
		if d != nil && d.Period == 0 {
			*longest = max(*longest, f.Period)
		}
	}
	return from+chunk < len(p.order)
}

// period is how often a device is expected to report: as declared, else as
// learned, else as its model says, else the default.
func period(d *telemetry.Device, t *track) time.Duration {
	switch {
	case d.Period > 0:
		return d.Period
	case t.Period > 0:
		return t.Period
	case d.Model.Cycle() > 0:
		return d.Model.Cycle()
	}
	return DefaultPeriod
}
