package ingest

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Store is what ingest needs of a time-series engine; store.Engine states the
// promises in full.
type Store interface {
	Series(labels []telemetry.Label) telemetry.SeriesID
	Forget(ids []telemetry.SeriesID)
	Commit(writes []*telemetry.Write) error
	Oldest(now time.Time) time.Time
}

// Directory knows the devices. Device returns the same pointer for as long as
// nothing about the device changed, and nil for one that is not registered. It
// is asked once per delivery and must not block.
type Directory interface {
	Device(id string) *telemetry.Device
}

// Notes keeps what devices report besides numbers. Both calls return when it
// is durable; they are made by the committer, with changes only. Refused names
// by index the changes that were not taken and why.
type Notes interface {
	PutStates(ctx context.Context, changes []StateChange) (refused map[int]error, err error)
	PutUnits(ctx context.Context, units map[string]string) error
}

// StateChange is a string that a device reported and that differs from the
// one before.
type StateChange struct {
	Device, Name, Value string
	Time                int64 // milliseconds since the Unix epoch
}

// Desk keeps rejected messages for people to look at. Keep does not block: it
// copies what it needs, and counts what it has no room for.
type Desk interface {
	Keep(at time.Time, m *Message)
}

// Deps are what a pipeline works with. All but Period are required.
type Deps struct {
	Store     Store
	Directory Directory
	Notes     Notes
	Desk      Desk
	// Period returns the reporting period of a device that was learned before
	// the hub started, 0 when there is none. It is asked once per device.
	Period  func(device string) time.Duration
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Pipeline is the way of a sample. Ingest may be called from any goroutine;
// Run owns the store's Commit.
type Pipeline struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	queue   queue

	accepted, rejected atomic.Uint64 // since the hub started

	mu      sync.RWMutex
	sources map[string]*source

	seriesMu sync.Mutex
	series   int // series in use by all sources, at most cfg.MaxSeries

	unitMu sync.RWMutex
	units  map[string]string // metric → unit as last noted, at most maxUnits
}

// maxUnits bounds the metrics whose unit is remembered.
const maxUnits = 100_000

// New returns a pipeline. Nothing is committed until Run is called.
func New(cfg Config, deps Deps) *Pipeline {
	p := &Pipeline{cfg: cfg, deps: deps, sources: map[string]*source{}, units: map[string]string{}}
	p.queue.init(cfg.MaxPending)
	p.metrics = newMetrics(deps.Metrics, p)
	return p
}

// sourcesOf finds the source of every message and refuses the delivery when
// one of them is over its rate. Unknown devices have none.
func (p *Pipeline) sourcesOf(d *Delivery) error {
	var last *source
	for i := range d.Messages {
		m := &d.Messages[i]
		if last == nil || last.id != m.Device {
			last = p.source(m.Device)
			if last == nil {
				continue
			}
			if wait := last.overRate(d.now.UnixMilli(), p.cfg.SamplesPerSecond); wait > 0 {
				p.metrics.rateLimited.Inc()
				return &RateError{Device: m.Device, After: wait}
			}
		}
		m.source = last
	}
	return nil
}

// source returns the memory of a registered device, nil for an unknown one: a
// stranger makes no state.
func (p *Pipeline) source(id string) *source {
	device := p.deps.Directory.Device(id)
	if device == nil {
		return nil
	}
	p.mu.RLock()
	s := p.sources[id]
	p.mu.RUnlock()
	if s == nil {
		fresh := newSource(id)
		if p.deps.Period != nil {
			fresh.knew(p.deps.Period(id))
		}
		p.mu.Lock()
		if s = p.sources[id]; s == nil {
			s = fresh
			p.sources[id] = s
		}
		p.mu.Unlock()
	}
	if s.device.Load() != device {
		p.rename(s, device)
	}
	return s
}

// rename takes over a device's new state. Series keep their ids unless a label
// of theirs changed.
func (p *Pipeline) rename(s *source, device *telemetry.Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.device.Swap(device)
	if before == nil || before.Kind != device.Kind || before.Site != device.Site || before.Region != device.Region {
		p.release(s)
		s.labels = device.Labels()
	}
}

// release gives the series of a source back. The caller holds s.mu.
func (p *Pipeline) release(s *source) {
	ids := s.takeSeries()
	if len(ids) == 0 {
		return
	}
	p.deps.Store.Forget(ids)
	p.seriesMu.Lock()
	p.series -= len(ids)
	p.seriesMu.Unlock()
}

// answer counts what became of the delivery and hands rejects to the desk.
func (p *Pipeline) answer(d *Delivery) {
	accepted, rejected := 0, 0
	for i := range d.Messages {
		m := &d.Messages[i]
		accepted += m.Accepted
		p.metrics.messages[m.Format].Inc()
		if m.source != nil {
			m.source.observe(d.now.UnixMilli(), m.newest, m.Accepted)
			if m.Died {
				d.deaths = append(d.deaths, int32(i))
			}
		}
		if len(m.Rejects) > 0 {
			rejected += len(m.Rejects)
			slices.SortStableFunc(m.Rejects, func(a, b telemetry.Reject) int { return cmp.Compare(a.Index, b.Index) })
			for _, r := range m.Rejects {
				p.metrics.rejects.WithLabelValues(string(r.Stage), string(r.Reason)).Inc()
			}
			if m.source != nil {
				m.source.rejects.Add(uint64(len(m.Rejects)))
			}
			p.deps.Desk.Keep(d.now, m)
		}
	}
	p.accepted.Add(uint64(accepted))
	p.rejected.Add(uint64(rejected))
}

// bury takes note of the deaths that the delivery told of. What was reported is
// durable and answered, so a unit whose series could not be ended is no error.
func (p *Pipeline) bury(d *Delivery) {
	for _, i := range d.deaths {
		m := &d.Messages[i]
		if m.Unit == "" {
			m.source.died.Store(d.now.UnixMilli())
		} else if err := p.End(Ending{m.Device, m.Unit}); err != nil {
			p.deps.Log.Warn("series_not_ended", "device", m.Device, "unit", m.Unit, "error", err)
		}
	}
}

// Totals returns how many samples were accepted and how many rejects there
// were since the hub started, and how many series are in use.
func (p *Pipeline) Totals() (accepted, rejected uint64, series int) {
	p.seriesMu.Lock()
	defer p.seriesMu.Unlock()
	return p.accepted.Load(), p.rejected.Load(), p.series
}
