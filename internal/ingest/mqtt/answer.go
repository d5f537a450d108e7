package mqtt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// store makes the burst's delivery durable and writes down its answers. While
// the hub is busy or the device too fast the connection stands still: TCP
// holds the device back.
func (c *conn) store(b *burst) *ending {
	for qos, n := range b.counts {
		if n > 0 {
			c.s.metrics.messages[qos].Add(float64(n))
		}
	}
	if len(b.delivery.Messages) > 0 {
		if e := c.ingest(b); e != nil {
			return e
		}
	}
	for i := range b.acks {
		c.answer(b, &b.acks[i])
	}
	return nil
}

// ingest stores the delivery; an ending leaves it unacknowledged.
func (c *conn) ingest(b *burst) *ending {
	var held time.Duration
	for {
		err := c.s.ingest(&b.delivery)
		if err == nil {
			return nil
		}
		wait, again := retryAfter(err, held)
		if !again {
			return c.failed(err)
		}
		if c.version == 5 && (held+wait > c.s.cfg.MaxHold || b.partly()) {
			c.overQuota(b, err, wait)
			return nil
		}
		c.s.metrics.held.Inc()
		if e := c.pause(b, held, wait); e != nil {
			return e
		}
		held += wait
	}
}

func (c *conn) failed(err error) *ending {
	if errors.Is(err, ingest.ErrClosed) {
		return &ending{how: ingest.LeftShutdown, code: codeShuttingDown, text: "the hub is shutting down"}
	}
	return &ending{how: ingest.LeftLost, code: codeUnspecified, text: "the hub could not store the message"}
}

// retryAfter says how long to wait before a refused delivery is tried again.
func retryAfter(err error, held time.Duration) (wait time.Duration, again bool) {
	if e := (*quota.Exceeded)(nil); errors.As(err, &e) {
		return max(e.After, time.Millisecond), true
	}
	if errors.Is(err, ingest.ErrBusy) {
		return min(max(held, 20*time.Millisecond), time.Second), true
	}
	return 0, false
}

// pause waits, unless the connection is ended meanwhile, which has been held for
// some time before.
func (c *conn) pause(b *burst, held, wait time.Duration) *ending {
	for wait > 0 {
		if e := c.ended.Load(); e != nil {
			return e
		}
		step := min(wait, 100*time.Millisecond)
		if e := c.linger(b, held, step); e != nil {
			return e
		}
		held, wait = held+step, wait-step
		c.heard.Store(c.s.deps.Clock().UnixMilli())
	}
	return nil
}

func sleep(d time.Duration) { <-time.After(d) }

// partly reports whether some messages of the burst are stored and answered
// while others are held back: a gateway is not held for one of its devices.
func (b *burst) partly() bool {
	return slices.ContainsFunc(b.delivery.Messages, func(m ingest.Message) bool { return m.Done })
}

// overQuota refuses all messages of the burst that are not done and can be
// refused: QoS 1 and 2 of MQTT 5.
func (c *conn) overQuota(b *burst, err error, wait time.Duration) {
	refused := 0
	later := appendReason(nil, err.Error())
	later = appendUser(later, "retry-after", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	for i := range b.acks {
		a := &b.acks[i]
		if a.message < 0 || b.delivery.Messages[a.message].Done {
			c.answer(b, a)
			continue
		}
		refused++
		list := later
		if over := b.delivery.Messages[a.message].Over; over != nil {
			list = explain(over, 0)
		}
		a.message, a.code = -1, codeQuota
		if a.qos == 0 {
			continue
		}
		c.acknowledge(b, a, list)
	}
	c.s.metrics.refused.WithLabelValues("quota").Add(float64(refused))
	b.acks = b.acks[:0]
}

// answer writes the acknowledgement of one message.
func (c *conn) answer(b *burst, a *ack) {
	var list []byte
	if a.message >= 0 {
		if m := &b.delivery.Messages[a.message]; len(m.Rejects) > 0 {
			list = c.rejected(a, m)
		}
	}
	if a.over != nil {
		list = explain(a.over, 0)
	}
	if a.qos > 0 {
		c.acknowledge(b, a, list)
	}
}

// acknowledge adds PUBACK or PUBREC. Sections 3.4 and 3.5; the short form
// without reason code stands for success.
func (c *conn) acknowledge(b *burst, a *ack, list []byte) {
	head := byte(typePuback << 4)
	if a.qos == 2 {
		head = typePubrec << 4
		if a.code >= 0x80 {
			delete(c.received, a.id)
		}
	}
	if c.version != 5 || a.code == codeSuccess && len(list) == 0 {
		b.out = append(b.out, head, 2, byte(a.id>>8), byte(a.id))
		return
	}
	body := append(binary.BigEndian.AppendUint16(nil, a.id), a.code)
	if len(list) > 0 && !c.noProblem && (c.maxPacket == 0 || len(list)+12 <= c.maxPacket) {
		body = appendProperties(body, list)
	}
	b.out = appendPacket(b.out, head, body)
}

// rejected chooses the reason code of a message with rejects, tells the
// device's subscribers, and returns the properties that explain it.
func (c *conn) rejected(a *ack, m *ingest.Message) []byte {
	c.tell(a, m)
	first := m.Rejects[0]
	if m.Accepted == 0 {
		a.code = codeOf(first.Reason)
	}
	if c.version != 5 || c.noProblem || a.qos == 0 {
		return nil
	}
	list := appendReason(nil, string(first.Reason)+": "+clip(first.Detail, 512))
	list = appendUser(list, "accepted", strconv.Itoa(m.Accepted))
	return appendUser(list, "rejected", strconv.Itoa(len(m.Rejects)))
}

// codeOf returns the reason code of a message of which nothing was stored.
func codeOf(r telemetry.Reason) byte {
	switch r {
	case telemetry.ReasonNotPermitted, telemetry.ReasonForeignName, telemetry.ReasonUnknownDevice, telemetry.ReasonDeviceDisabled:
		return codeNotAuthorized
	case telemetry.ReasonSeriesLimit, telemetry.ReasonStateLimit, telemetry.ReasonTooLarge, telemetry.ReasonDecompression:
		return codeQuota
	case telemetry.ReasonUnsupported:
		return codeTopicInvalid
	case telemetry.ReasonGradeUnsupported:
		return codeImplementation
	}
	return codePayloadFormat
}

// reasonOf returns the reason that a codec or the unfolder named.
func reasonOf(err error) telemetry.Reason {
	if e := (*codec.Error)(nil); errors.As(err, &e) && e.Reason != "" {
		return e.Reason
	}
	return telemetry.ReasonMalformed
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// answerJSON is what a device reads on devices/{id}/rejects: the answer that
// HTTP gives, and the topic it is about.
type answerJSON struct {
	Topic    string       `json:"topic"`
	Accepted int          `json:"accepted"`
	Total    int          `json:"rejected_total"`
	Rejected []rejectJSON `json:"rejected"`
}

type rejectJSON struct {
	Index  int    `json:"index"`
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
}

// tell publishes the rejects of a message on the device's rejects topic.
func (c *conn) tell(a *ack, m *ingest.Message) {
	if !c.s.listened(c.id) {
		return
	}
	out := answerJSON{Topic: string(a.topic), Accepted: m.Accepted, Total: len(m.Rejects)}
	for _, r := range m.Rejects[:min(len(m.Rejects), maxListed)] {
		out.Rejected = append(out.Rejected, rejectJSON{r.Index, string(r.Stage), string(r.Reason), clip(r.Detail, 512)})
	}
	p, err := json.Marshal(out)
	if err != nil {
		return
	}
	c.s.deliver(c.id, "devices/"+c.id+"/rejects", p, 1)
}

func (c *conn) tellRejects(b *burst) {
	for i := range b.acks {
		if a := &b.acks[i]; a.message >= 0 && len(b.delivery.Messages[a.message].Rejects) > 0 {
			c.tell(a, &b.delivery.Messages[a.message])
		}
	}
}
