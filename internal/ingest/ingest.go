// Package ingest is the way of a sample through the hub: one list of stages,
// then one commit for all that wait, then the acknowledgement. Transports
// bring bytes and the sender's identity and take the answer back; they live in
// the folders below and know nothing of each other.
package ingest

import (
	"errors"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// stages is the way of a sample, whatever kind of thing sent it. Art. 14(1)
//
// Each works on all messages of a delivery;
// metrics, dashboards and documents take names and order from here. Commit
// follows: it is shared by all deliveries that wait (commit.go).
var stages = [...]struct {
	name telemetry.Stage
	run  func(*Pipeline, *Delivery)
	// road: only deliveries with V2X messages go through it.
	road bool
}{
	{telemetry.StageDecode, (*Pipeline).decode, false},
	{telemetry.StageIdentify, (*Pipeline).identify, false},
	{telemetry.StageValidate, (*Pipeline).validate, false},
	{telemetry.StageGrade, (*Pipeline).grade, false},
	{telemetry.StageObserve, (*Pipeline).observe, true}, // Art. 15(2)
}

// Message is one message of one device, as a transport received it.
type Message struct {
	// Device is whose telemetry it is: the sender itself, or a device the
	// transport has made sure the sender may speak for.
	Device string
	// From is whose quota the message counts for besides the device's; nil: nobody's.
	From   *quota.Sender
	Format codec.Format
	// Payload must stay as it is until Ingest returns.
	Payload []byte
	// Topic is the topic of a dialect that a V2X message came on; it says what the
	// message is about. Empty where its bytes say all.
	Topic string
	// Packet is the MQTT packet identifier of a V2X message, 0 without one, and Again
	// says that its sender may have sent it before (DUP).
	Packet uint16
	Again  bool
	// Derived says that the hub itself has made the samples of what it was sent:
	// they are no sign of life of the device, and count for no quota.
	Derived bool
	// History says that somebody brings what was measured before: it is no sign of
	// life of the device, and how it comes tells nothing of how the device sends. It
	// counts for no quota, and what is refused of it is the bringer's to keep, not
	// the desk's. A delivery holds no other messages beside.
	History bool
	// Decode reads formats that need the memory of their connection
	// (Sparkplug); nil otherwise.
	Decode func(*telemetry.Batch, codec.Input) error
	// Died is set by Decode when the message is the death of its device, or of
	// Unit behind it (Sparkplug NDEATH and DDEATH). Ingest ends the series of the
	// unit; those of the device are ended by whoever watches Activity.
	Died bool
	Unit string

	// Done says that the message may be acknowledged: Accepted and Rejects are
	// final. Ingest leaves messages alone that are done.
	Done bool
	// Over is set where a quota is used up, until it may be tried again: nothing
	// of it was stored.
	Over *quota.Exceeded
	// Accepted is the number of samples and states that are durable.
	Accepted int
	// Rejects are what was not stored of this message, by rising Index.
	Rejects []telemetry.Reject

	refused           bool // by its door
	withhold          bool // nothing of it may lie on the plain disk
	source            *source
	first, last       int   // its samples in the delivery's batch
	states, statesEnd int   // its states in the delivery's batch
	newest            int64 // newest time of its valid samples, ms
	live              bool  // a V2X message that is no history
	// observed is when it was first taken to Roads: a delivery that is tried again
	// comes there again.
	observed time.Time
}

// Unreadable reports whether the message as a whole could not be read.
func (m *Message) Unreadable() bool {
	return len(m.Rejects) > 0 && m.Rejects[0].Index < 0 && m.Rejects[0].Stage == telemetry.StageDecode
}

// Errors of Ingest that refuse all of a delivery that was not done; nothing of
// it was stored.
var (
	// ErrBusy: too much waits for the store. Try again after a second.
	ErrBusy = errors.New("hub is busy: too many samples wait for the store")
	// ErrClosed: the hub is shutting down.
	ErrClosed = errors.New("hub is shutting down")
)

// errFull is what senders read; the hub's log and /readyz say more.
var errFull = fmt.Errorf("%w; they are taken again when its time-series engine has taken some of them", ErrBusy)

// Try takes the messages of d through the stages and answers what would be
// accepted and refused of them, and stores nothing. What only the store can tell,
// that a time has another value, it does not know.
func (p *Pipeline) Try(d *Delivery) {
	d.begin(p.deps.Clock())
	round := p.flights.begin()
	defer p.flights.end(round)
	p.open(d)
	for _, s := range stages {
		if !s.road {
			s.run(p, d)
		}
	}
	p.settle(d)
	for _, i := range d.open {
		if m := &d.Messages[i]; m.source != nil {
			m.source.brought.Store(d.now.UnixMilli()) // the series it claimed are given back when it falls silent
		}
	}
}

// Ingest takes the messages of d through all stages and returns when what was
// accepted of them is durable. The answers stand in d.Messages. It blocks for
// as long as the store needs: the caller's waiting is the back-pressure.
//
// With an error, only messages that are Done may be acknowledged, and calling
// again with the same delivery tries the others. A *quota.Exceeded holds back
// those of whom sends more than it may, ErrBusy and ErrClosed all of them; any other
// error is a failure of the store after which the process ends.
func (p *Pipeline) Ingest(d *Delivery) error {
	if err := p.noRoom(); err != nil {
		return err
	}
	begin := p.deps.Clock()
	d.begin(begin)
	round := p.flights.begin()
	defer p.flights.end(round)
	over := p.open(d)
	if len(d.open) > 0 {
		if err := p.take(d); err != nil {
			return err
		}
	}
	if over != nil {
		return over
	}
	return nil
}

// noRoom returns an ErrBusy while nothing may be taken.
func (p *Pipeline) noRoom() error {
	if p.deps.Full == nil || p.deps.Full() == nil {
		return nil
	}
	p.metrics.busy.Inc()
	return errFull
}

// take takes the open messages through all stages.
func (p *Pipeline) take(d *Delivery) error {
	at := d.now
	for i, s := range stages {
		if s.road && !d.road {
			continue
		}
		s.run(p, d)
		end := p.deps.Clock()
		p.metrics.stage[i].Observe(end.Sub(at).Seconds())
		at = end
	}
	if err := p.commit(d); err != nil {
		return err
	}
	if err := p.syncRoads(d); err != nil {
		return err
	}
	if err := p.writeFlags(d); err != nil {
		return err
	}
	p.metrics.commitWait.Observe(p.deps.Clock().Sub(at).Seconds())
	p.tellLate(d)
	if err := p.tellPast(d); err != nil {
		return err
	}
	p.answer(d)
	p.bury(d)
	return nil
}
