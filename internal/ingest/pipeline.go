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

	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Store is what ingest needs of a time-series engine; store.Engine states the
// promises in full. A Commit whose error wraps ErrBusy took nothing, and the next
// may; after any other error nothing is committed any more. The pipeline commits no point under an id after Forget.
type Store interface {
	Series(labels []telemetry.Label) telemetry.SeriesID
	Forget(ids []telemetry.SeriesID)
	Commit(writes []*telemetry.Write) error
	Oldest(now time.Time) time.Time
}

// Directory knows the devices. Device returns the same pointer for as long as
// nothing about the device changed, and nil for one that is not registered. It
// must not block.
type Directory interface {
	Device(id string) *telemetry.Device
}

// Notes keeps what devices report besides numbers. Both calls return when it
// is durable; they are made from one goroutine, with changes only and at most
// one of a state. Refused names by index the changes that were not taken, with
// reason and detail. Of a metric's units the first is kept.
type Notes interface {
	PutStates(ctx context.Context, changes []StateChange) (refused map[int]telemetry.Reject, err error)
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

// Late is told of samples that are older than LateAfter when they come, once they
// are durable. Both are called on the way of samples and do not block; the metric
// is not kept.
type Late interface {
	LateAfter() time.Duration
	CameLate(metric []byte, at int64) // ms
}

// Past is told of samples of days that others may have made something of, history
// included. Before says until when; Came is called once the samples are durable, at
// least once for every hour in which a message has any, and does not block. Keep
// follows, before the answer: what was told outlasts a crash when it returns.
type Past interface {
	Before(now time.Time) int64 // ms
	Came(device string, at int64)
	Keep() error
}

// Deps are what a pipeline works with. All but Full, Period, Roads, Late, Past and one
// of Sealed and Unsealed are required.
type Deps struct {
	Store Store
	// Sealed takes the series of grade important and core; nil when the hub has no
	// encrypted place for them. Unsealed then says why and what to do, as the end
	// of a sentence.
	Sealed    Store
	Unsealed  string
	Directory Directory
	Notes     Notes
	Desk      Desk
	// Roads takes V2X messages; nil: they are refused.
	Roads Roads
	// Full returns why nothing may be taken now and how that comes right; nil while
	// there is room. Nil: there always is.
	Full func() error
	// Late is told of samples that came late; nil: nobody is.
	Late Late
	// Past is told of samples of days that are over; nil: nobody is.
	Past Past
	// Quotas bound what a device may send, and how many series it may have.
	Quotas *quota.Quotas
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
	cfg      Config
	deps     Deps
	metrics  *metrics
	queue    queue
	flights  flights
	holdings [stores]holdings

	accepted, rejected atomic.Uint64 // since the hub started

	mu      sync.RWMutex // taken after a source's
	sources map[string]*source

	unitMu sync.RWMutex
	units  map[string]struct{} // metrics whose unit was noted, at most maxUnits
}

// maxUnits bounds the metrics whose unit is remembered.
const maxUnits = 100_000

// New returns a pipeline. Nothing is committed until Run is called.
func New(cfg Config, deps Deps) *Pipeline {
	p := &Pipeline{cfg: cfg, deps: deps, sources: map[string]*source{}, units: map[string]struct{}{}}
	p.queue.init(cfg.MaxPending)
	p.holdings[plainStore].init(deps.Store, cfg.MaxSeries, &p.flights)
	p.holdings[sealedStore].init(deps.Sealed, cfg.MaxSeries, &p.flights)
	p.metrics = newMetrics(deps.Metrics, p)
	return p
}

// open finds the source of every message that is not done and opens those
// that no quota holds back; it returns the one with the longest wait. Messages
// of one device in a row count together. Unknown devices have no source.
func (p *Pipeline) open(d *Delivery) (longest *quota.Exceeded) {
	var last *Message
	for i := range d.Messages {
		m := &d.Messages[i]
		if m.Done {
			continue
		}
		if last != nil && last.Device == m.Device && last.From == m.From {
			m.source, m.Over = last.source, last.Over
		} else if m.source, m.Over = p.source(m.Device), nil; m.source != nil && !m.Derived && !m.History {
			messages, bytes := d.row(i)
			m.Over = p.deps.Quotas.Messages(&m.source.meter, m.Device, m.From, messages, bytes, d.now)
		}
		if last = m; m.Over == nil {
			d.open = append(d.open, int32(i))
		} else if longest == nil || longest.After < m.Over.After {
			longest = m.Over
		}
	}
	return longest
}

// row counts the messages to be taken from the i-th on that have its device and
// sender, and their bytes.
func (d *Delivery) row(i int) (messages, bytes int) {
	first := &d.Messages[i]
	for ; i < len(d.Messages); i++ {
		m := &d.Messages[i]
		if m.Done {
			continue
		}
		if m.Device != first.Device || m.From != first.From {
			break
		}
		messages, bytes = messages+1, bytes+len(m.Payload)
	}
	return messages, bytes
}

// Standing returns the quota of a device's messages, or of their sender's, that
// is nearest to its end.
func (p *Pipeline) Standing(device string, from *quota.Sender) quota.Standing {
	p.mu.RLock()
	s := p.sources[device]
	p.mu.RUnlock()
	meter := &quota.Meter{} // of one that has sent nothing
	if s != nil {
		meter = &s.meter
	}
	return p.deps.Quotas.Standing(meter, from, p.deps.Clock())
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
		p.renew(s, device)
	}
	return s
}

// renew takes over a device's new state. Series keep their ids unless a label,
// the model or the grade changed; states are those of the device that was added last under
// its id. The directory is asked again, so that of several deliveries at once
// the one with the oldest state does not win.
func (p *Pipeline) renew(s *source, device *telemetry.Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if newest := p.deps.Directory.Device(s.id); newest != nil {
		device = newest
	}
	before := s.device.Swap(device)
	if before == nil || before.Kind != device.Kind || before.Site != device.Site || before.Region != device.Region ||
		before.Model != device.Model || before.Grade != device.Grade {
		p.release(s)
		s.labels, s.store, s.withhold = device.Labels(), storeOf(device.EffectiveGrade()), device.HighestGrade().Sealed()
	}
	if before != nil && !before.Created.Equal(device.Created) {
		clear(s.states)
	}
}

// answer counts what became of the delivery and hands rejects to the desk.
func (p *Pipeline) answer(d *Delivery) {
	accepted, rejected := 0, 0
	for _, i := range d.open {
		m := &d.Messages[i]
		m.Done = true
		accepted += m.Accepted
		p.metrics.messages[m.Format].Inc()
		if m.source != nil {
			m.heard(d.now.UnixMilli())
			if m.Died {
				d.deaths = append(d.deaths, i)
			}
		}
		if len(m.Rejects) > 0 {
			rejected += len(m.Rejects)
			slices.SortStableFunc(m.Rejects, func(a, b telemetry.Reject) int { return cmp.Compare(a.Index, b.Index) })
			for _, r := range m.Rejects {
				p.metrics.rejects.WithLabelValues(string(r.Stage), string(r.Reason)).Inc()
			}
			if m.History {
				continue
			}
			if m.source != nil {
				m.source.rejects.Add(uint64(len(m.Rejects)))
			}
			p.deps.Desk.Keep(d.now, m.keepable())
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
	return p.accepted.Load(), p.rejected.Load(), p.seriesInUse()
}

func (p *Pipeline) seriesInUse() int {
	return p.holdings[plainStore].count() + p.holdings[sealedStore].count()
}
