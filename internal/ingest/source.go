package ingest

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// source is what ingest remembers of one registered device between messages.
// mu guards the fields below it; the atomics above are read by Activity.
type source struct {
	id     string
	device atomic.Pointer[telemetry.Device]

	heard    atomic.Int64 // hub's time of the last delivery, ms
	brought  atomic.Int64 // hub's time of the last history that somebody brought, ms
	received atomic.Int64 // hub's time of the last delivery of live samples, ms
	event    atomic.Int64 // newest sample time, ms
	died     atomic.Int64 // hub's time when it last announced its death, ms; 0: never
	samples  atomic.Uint64
	rejects  atomic.Uint64
	period   atomic.Int64 // reporting period as far as learned, ms
	known    atomic.Int64 // the same, once it was seen often enough; 0 before
	count    atomic.Int64 // series in use
	meter    quota.Meter

	mu     sync.Mutex
	labels []telemetry.Label // of the device, sorted
	store  int               // for series whose metric has no grade of its own
	// withhold: what the device sends must not lie on the plain disk.
	withhold bool
	// plain and tagged find a series by the metric alone, or by metric and
	// tags as sent: senders repeat themselves, so labels are built once.
	plain  map[string]series
	tagged map[string]series
	// foreign: some keys of tagged name a unit that is not the model's.
	foreign bool
	// ids are the series that the spellings lead to, by store.
	ids     [stores]map[telemetry.SeriesID]struct{}
	states  map[string]*state
	gone    bool  // the device was removed: no series is claimed any more
	stamped int64 // last time that was given to samples without one, ms
	// A gap much longer than the period, seen once, and the time of its end.
	outlier, outlierAt int64
	cycles             int // gaps that the period was learned from
	arrivals           telemetry.Arrivals
	key                []byte
}

// state is the newest value of a state that is durable, and when it was last
// reported.
type state struct {
	value string
	time  int64
}

func newSource(id string) *source {
	s := &source{id: id, plain: map[string]series{}}
	for i := range stores {
		s.ids[i] = map[telemetry.SeriesID]struct{}{}
	}
	return s
}

// release gives up all series of a source. The caller holds s.mu.
func (p *Pipeline) release(s *source) {
	for i := range stores {
		if len(s.ids[i]) > 0 {
			p.holdings[i].release(s.ids[i])
			clear(s.ids[i])
		}
	}
	clear(s.plain)
	s.tagged, s.foreign = nil, false
	s.count.Store(0)
}

// seriesOf calls f for every series in use, or for those of one Sparkplug unit:
// its samples carry one tag, and so end every key of theirs (appendKey). The
// caller holds mu.
func (s *source) seriesOf(unit string, f func(store int, id telemetry.SeriesID)) {
	if unit == "" {
		for i := range stores {
			for id := range s.ids[i] {
				f(i, id)
			}
		}
		return
	}
	for key, to := range s.tagged {
		if !strings.HasSuffix(key, "\xffsparkplug_device\xfe"+unit) || to.id == 0 {
			continue
		}
		store := s.storeOf(to)
		f(store, to.id)
		if to.rule != nil && to.rule.flag != 0 {
			f(store, to.rule.flag)
		}
	}
}

// stamp returns the time for samples that carry none: now, but later than the
// one before, so that two messages in one millisecond are two samples. It runs
// ahead of the clock by at most a second.
func (s *source) stamp(now int64) int64 {
	if s.stamped >= now && s.stamped < now+1000 {
		return s.stamped + 1
	}
	return now
}

// liveFor is how old the newest sample of a delivery may be to count as live,
// where the device's period does not make it longer.
const liveFor = 5 * 60 * 1000

// observe notes a delivery that was answered. History that comes late tells
// nothing of whether the device is there.
func (s *source) observe(now, newest int64, accepted int) {
	s.heard.Store(now)
	if accepted == 0 {
		return
	}
	if newest >= now-max(liveFor, s.period.Load()*5/2) {
		s.received.Store(now)
	}
	s.samples.Add(uint64(accepted))
	before := s.event.Load()
	if newest <= before || !s.event.CompareAndSwap(before, newest) || before == 0 {
		return
	}
	s.learn(newest-before, newest)
}

// learn follows the reporting period by the gaps between newest sample times:
// a longer gap raises it at once, unless it is over four periods and comes
// alone: an outage. Shorter gaps lower it slowly, by time and not by count, so
// that a device which sends its values one by one keeps its cycle.
func (s *source) learn(gap, at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.period.Load()
	switch {
	case p == 0:
		p = gap
	case gap > 4*p:
		again := gap <= 2*s.outlier && s.outlier <= 2*gap && at-s.outlierAt <= 3*gap
		s.outlier, s.outlierAt = gap, at
		if !again {
			return
		}
		p = gap
	case gap >= p:
		p = gap
	default:
		p -= gap / 16
	}
	if 2*gap >= p {
		s.cycles++
	}
	s.period.Store(p)
	if s.cycles >= enoughCycles {
		s.known.Store(max(p, shortestPeriod))
	}
}

// A period is told to others once it was seen often enough that a few messages
// sent by hand are none, and never below what keeps readers from missing a
// device between two looks.
const (
	enoughCycles   = 5
	shortestPeriod = 10_000 // ms
)

// knew takes over a period that was learned before the hub started, from where
// it is followed on.
func (s *source) knew(period time.Duration) {
	if period > 0 {
		s.period.Store(period.Milliseconds())
		s.known.Store(period.Milliseconds())
		s.cycles = enoughCycles
	}
}

// Seen is what a device's telemetry tells of it.
type Seen struct {
	LastReceived time.Time // of live samples, by the hub's clock; 1970 when none came
	LastEvent    time.Time // newest sample time
	Died         time.Time // when it last announced its death; 1970 when it did not
	Samples      uint64    // accepted since the hub started
	Rejects      uint64    // since the hub started
	Series       int       // in use
	// Period is the learned reporting period, at least 10 s; 0 until it was seen
	// five times.
	Period time.Duration
}

func (s *source) seen() Seen {
	return Seen{
		LastReceived: time.UnixMilli(s.received.Load()),
		LastEvent:    time.UnixMilli(s.event.Load()),
		Died:         time.UnixMilli(s.died.Load()),
		Samples:      s.samples.Load(),
		Rejects:      s.rejects.Load(),
		Series:       int(s.count.Load()),
		Period:       time.Duration(s.known.Load()) * time.Millisecond,
	}
}

// Seen returns what is known of one device; false when it sent nothing since
// the hub started.
func (p *Pipeline) Seen(device string) (Seen, bool) {
	p.mu.RLock()
	s := p.sources[device]
	p.mu.RUnlock()
	if s == nil || s.heard.Load() == 0 {
		return Seen{}, false
	}
	return s.seen(), true
}

// Activity calls yield for every device that sent something since the hub
// started, until yield returns false.
func (p *Pipeline) Activity(yield func(device string, seen Seen) bool) {
	for _, s := range p.all() {
		if s.heard.Load() != 0 && !yield(s.id, s.seen()) {
			return
		}
	}
}
