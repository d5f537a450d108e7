package ingest

import (
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Delivery is a group of messages that is answered together: what one read of
// a connection brought, or one request. It is reused by its owner, who calls
// Reset, Add for each message, Ingest, and then reads Messages. The zero value
// is ready.
type Delivery struct {
	Messages []Message
	// From is taken over by messages that are added; Reset leaves it.
	From *quota.Sender

	now   time.Time
	batch telemetry.Batch
	write [stores]telemetry.Write
	open  []int32 // indexes of the messages that are taken by this call of Ingest
	// samples[s][i] is the index in batch.Samples of write[s].Points[i].
	samples [stores][]int32
	flags   []flag
	changes []change
	units   map[string]string
	deaths  []int32 // indexes in Messages
	late    []int32 // indexes in batch.Samples of what Deps.Late is told of
	past    []past  // what Deps.Past is told of
	road    bool    // some of open are V2X
	seen    RoadMessage

	done chan error // an answer of each lane
}

// Reset empties the delivery and keeps its memory.
func (d *Delivery) Reset() { d.Messages = d.Messages[:0] }

// Trim gives back memory that a large message made the delivery grow to.
func (d *Delivery) Trim() {
	d.batch.Reset()
	d.batch.Trim()
	if cap(d.Messages) > 1024 || cap(d.write[plainStore].Points)+cap(d.write[sealedStore].Points) > 4096 {
		*d = Delivery{}
	}
}

// Add adds a message. The pointer is valid until the next Add or Reset.
func (d *Delivery) Add(device string, f codec.Format, payload []byte) *Message {
	n := len(d.Messages)
	if n < cap(d.Messages) {
		d.Messages = d.Messages[:n+1]
		d.Messages[n] = Message{Rejects: d.Messages[n].Rejects[:0]}
	} else {
		d.Messages = append(d.Messages, Message{})
	}
	m := &d.Messages[n]
	m.Device, m.From, m.Format, m.Payload = device, d.From, f, payload
	return m
}

// Refuse makes the message a reject of its door: it is counted and kept at the
// desk like others, and nothing of it is stored.
func (m *Message) Refuse(reason telemetry.Reason, detail string) {
	m.refused = true
	m.Rejects = append(m.Rejects[:0], telemetry.Reject{Index: -1, Stage: telemetry.StageDoor, Reason: reason, Detail: detail})
}

func (d *Delivery) begin(now time.Time) {
	d.now = now
	d.batch.Reset()
	for i := range stores {
		d.write[i].Reset()
		d.samples[i] = d.samples[i][:0]
	}
	clear(d.changes)
	clear(d.flags)
	d.open, d.flags, d.changes, d.deaths, d.late, d.past = d.open[:0], d.flags[:0], d.changes[:0], d.deaths[:0], d.late[:0], d.past[:0]
	clear(d.units)
	d.road = false
	if d.done == nil {
		d.done = make(chan error, stores+1)
	}
}

// refuse adds a reject of the whole message and takes its samples out.
func (m *Message) refuse(stage telemetry.Stage, reason telemetry.Reason, detail string) {
	m.Rejects = append(m.Rejects[:0], telemetry.Reject{Index: -1, Stage: stage, Reason: reason, Detail: detail})
	m.last = m.first
	m.states = m.statesEnd
}
