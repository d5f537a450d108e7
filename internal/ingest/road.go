package ingest

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Roads takes V2X messages to the minutes of their roadside units. Both methods
// may be called from any goroutine.
type Roads interface {
	// Observe reads the payload and takes what it says, and fills in the last part
	// of the message. The same bytes again change nothing. It keeps nothing of the
	// payload when it returns.
	Observe(*RoadMessage)
	// Sync returns when all that was observed before it was called is durable: one
	// fsync for all that wait. After an error nothing is ever durable again, and the
	// process ends.
	Sync() error
}

// RoadMessage is a V2X message on its way.
type RoadMessage struct {
	Device   string
	Format   codec.Format
	Topic    string // of a dialect; empty: the bytes say what they are
	Payload  []byte
	Received time.Time
	// First is when it was first observed: before Received where its delivery is
	// tried again.
	First time.Time
	// Packet and Again are those of Message.
	Packet uint16
	Again  bool
	// Oldest and Newest bound the times that are taken.
	Oldest, Newest time.Time
	// LiveFor is how old what it says may be to count as a sign of life.
	LiveFor time.Duration

	// Taken is how many messages it held that are taken, those that came before
	// among them.
	Taken int
	Live  bool
	// At is the newest time in it; zero when nothing was taken.
	At      time.Time
	Rejects []telemetry.Reject
}

// Units is how doors find the roadside unit that a V2X message is of. A unit has
// a serial number (ESN), which is the id of its device or the tag esn of it.
// Implementations allocate nothing for what they know.
type Units interface {
	// Topic reports whether a topic is one of a dialect, and the ESN in it; empty
	// where it has none.
	Topic(topic string) (esn string, ok bool)
	// Filters are what an MQTT broker is asked for, to get the topics of all dialects
	// but those where the ESN is only part of a level.
	Filters() []string
	// ByKind returns the topic that stands for a kind of message, such as heartbeat.
	ByKind(kind string) (topic string, ok bool)
	// Named returns the ESN that a message itself names; empty when it names none.
	Named(topic string, payload []byte) (esn string)
	// Is reports whether a device has the ESN.
	Is(device, esn string) bool
	// Device returns the device with an ESN; empty when there is none, or several.
	Device(esn string) string
	// Knock tells of a unit that nobody registered, and that a gateway speaks for.
	// It does not block.
	Knock(k UnitKnock)
}

// UnitKnock is a message of a unit that is not registered.
type UnitKnock struct {
	ESN, Gateway, Door string
	From               netip.Addr
	Topic              string
	Payload            []byte
}

// Bounds of what counts as a sign of life: with a period that is declared, two
// and a half of them, but no less than this.
const roadLiveFor = time.Minute

// observe takes V2X messages to the minutes of their units.
func (p *Pipeline) observe(d *Delivery) {
	for _, i := range d.open {
		m := &d.Messages[i]
		if !m.Format.Road() || m.source == nil || len(m.Rejects) > 0 {
			continue
		}
		if p.deps.Roads == nil {
			m.refuse(telemetry.StageDecode, telemetry.ReasonUnsupported, "V2X messages are not taken by this hub")
			continue
		}
		if m.observed.IsZero() {
			m.observed = d.now
		}
		device := m.source.device.Load()
		w := p.window(device, d.now)
		d.seen = RoadMessage{
			Device: m.source.id, Format: m.Format, Topic: m.Topic, Payload: m.Payload, Received: d.now,
			First: m.observed, Packet: m.Packet, Again: m.Again,
			Oldest: time.UnixMilli(w.oldest), Newest: time.UnixMilli(w.newest), LiveFor: max(roadLiveFor, device.Period*5/2), Rejects: m.Rejects,
		}
		p.deps.Roads.Observe(&d.seen)
		m.Accepted, m.Rejects, m.live = d.seen.Taken, d.seen.Rejects, d.seen.Live
		if m.newest = math.MinInt64; !d.seen.At.IsZero() {
			m.newest = d.seen.At.UnixMilli()
		}
	}
	d.seen = RoadMessage{}
}

// syncRoads waits until what the delivery's V2X messages said is durable, also
// where it came before: that may not be on disk yet.
func (p *Pipeline) syncRoads(d *Delivery) error {
	if !d.road || p.deps.Roads == nil {
		return nil
	}
	for _, i := range d.open {
		if m := &d.Messages[i]; !m.Format.Road() || m.Accepted == 0 {
			continue
		}
		if err := p.deps.Roads.Sync(); err != nil {
			err = fmt.Errorf("keep what V2X messages said failed, none of them was acknowledged: %w", err)
			p.queue.close(err)
			return err
		}
		return nil
	}
	return nil
}

// heard notes that the message was answered.
func (m *Message) heard(now int64) {
	switch {
	case m.History:
		m.source.brought.Store(now)
		m.source.samples.Add(uint64(m.Accepted))
	case m.Derived:
		m.source.derived(m.newest, m.Accepted)
	case m.Format.Road():
		m.source.passed(now, m.newest, m.Accepted, m.live)
	default:
		m.source.observe(now, m.newest, m.Accepted)
	}
}

// derived notes samples that the hub made: they end the series when the device
// leaves, and tell nothing of whether it is there.
func (s *source) derived(newest int64, accepted int) {
	if accepted > 0 {
		s.samples.Add(uint64(accepted))
		s.eventAt(newest)
	}
}

// passed notes V2X messages. How often they come is no period of the device: that
// is its heartbeat's.
func (s *source) passed(now, newest int64, accepted int, live bool) {
	s.heard.Store(now)
	if accepted == 0 {
		return
	}
	if live {
		s.received.Store(now)
	}
	s.samples.Add(uint64(accepted))
	s.eventAt(newest)
}

// eventAt raises the newest time of the device.
func (s *source) eventAt(ms int64) {
	for before := s.event.Load(); ms > before && !s.event.CompareAndSwap(before, ms); before = s.event.Load() {
	}
}
