package mqtt

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"github.com/songhua-io/hub/internal/ingest"
)

// outbox is what waits for one subscriber. Whoever adds to it starts the
// goroutine that writes, which ends when nothing is left: a subscriber to whom
// nothing is sent costs none.
type outbox struct {
	c *conn

	mu      sync.Mutex
	subs    []subscription
	waiting []letter
	bytes   int                 // of waiting
	ids     uint32              // packet identifiers 1 to 32 in use, as bits
	await   [maxInFlight]func() // by packet identifier: what hears of its PUBACK
	writing bool
	closed  bool
}

// mailing is a message towards a client.
type mailing struct {
	child    string // as of a subscription
	topic    string
	payload  []byte
	qos      byte // at most
	retain   bool
	received func() // called when the client has acknowledged it; may be nil
}

// letter is an encoded PUBLISH.
type letter struct {
	packet   []byte
	id       int // where the packet identifier goes; 0 for QoS 0
	child    string
	received func()
}

func newOutbox(c *conn) *outbox { return &outbox{c: c} }

func (o *outbox) hold(sub subscription, most int) (again, full bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	held := 0
	for i := range o.subs {
		if o.subs[i].filter == sub.filter {
			o.subs[i] = sub // [MQTT-3.8.4-3]
			return true, false
		}
		if (o.subs[i].child == "") == (sub.child == "") {
			held++
		}
	}
	if held >= most {
		return false, true
	}
	o.subs = append(o.subs, sub)
	return false, false
}

func (o *outbox) release(filter string) (child string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.IndexFunc(o.subs, func(s subscription) bool { return s.filter == filter })
	if i < 0 {
		return "", false
	}
	child = o.subs[i].child
	o.subs = slices.Delete(o.subs, i, i+1)
	return child, true
}

// forget drops the subscriptions of a device behind the gateway, and what waits
// of its mail.
func (o *outbox) forget(child string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.subs = slices.DeleteFunc(o.subs, func(s subscription) bool { return s.child == child })
	o.waiting = slices.DeleteFunc(o.waiting, func(l letter) bool {
		if l.child == child {
			o.bytes -= len(l.packet)
		}
		return l.child == child
	})
	o.wake()
}

// means reports whether one of the subscriptions means a topic.
func (o *outbox) means(child, topic string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.subs, func(s subscription) bool { return s.child == child && matches(s.filter, topic) })
}

// offer adds the message if one of the subscriptions means its topic: once,
// at the highest QoS of those, with the identifiers of all. [MQTT-3.3.4-2]
func (o *outbox) offer(m mailing) bool {
	o.mu.Lock()
	var meant []subscription
	granted := byte(0)
	for _, s := range o.subs {
		if s.child == m.child && matches(s.filter, m.topic) {
			meant = append(meant, s)
			granted = max(granted, s.qos)
		}
	}
	o.mu.Unlock()
	if len(meant) == 0 {
		return false
	}
	m.qos = min(m.qos, granted)
	return o.put(m, meant)
}

// put adds the message. One that the outbox has no room for ends the
// connection: its reader is too slow.
func (o *outbox) put(m mailing, subs []subscription) bool {
	l := encode(o.c.version, m, subs)
	if o.c.maxPacket > 0 && len(l.packet) > o.c.maxPacket {
		o.c.s.metrics.refused.WithLabelValues("client_packet_size").Inc()
		return false // [MQTT-3.1.2-24]
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	if o.bytes+len(l.packet) > o.c.s.cfg.MaxQueueBytes && o.bytes > 0 {
		o.closed = true
		o.c.s.metrics.slow.Inc()
		o.c.end(&ending{how: ingest.LeftLost, code: codeQuota, text: "messages to the client pile up", will: true})
		return false
	}
	o.waiting = append(o.waiting, l)
	o.bytes += len(l.packet)
	o.wake()
	return true
}

// wake starts the writer if there is something it may write. The caller holds
// mu.
func (o *outbox) wake() {
	if !o.writing && !o.closed && o.mayWrite() {
		o.writing = true
		go o.drain()
	}
}

func (o *outbox) mayWrite() bool {
	return len(o.waiting) > 0 && (o.waiting[0].id == 0 || bits.OnesCount32(o.ids) < o.c.inFlight)
}

// drain writes what waits until nothing is left or the client must first
// acknowledge.
func (o *outbox) drain() {
	for {
		p := o.collect()
		if p == nil || o.c.send(p) != nil {
			return
		}
	}
}

// collect takes what may be written; nil ends the writer.
func (o *outbox) collect() (p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for ; len(p) < wide && !o.closed && o.mayWrite(); n++ {
		l := o.waiting[0]
		if l.id > 0 {
			free := bits.TrailingZeros32(^o.ids)
			o.ids |= 1 << free
			o.await[free] = l.received
			binary.BigEndian.PutUint16(l.packet[l.id:], uint16(free+1))
		}
		o.bytes -= len(l.packet)
		p = append(p, l.packet...)
		o.waiting[0] = letter{}
		o.waiting = o.waiting[1:]
	}
	if p == nil {
		o.writing = false
	}
	if len(o.waiting) == 0 {
		o.waiting = nil
	}
	return p
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closed, o.waiting, o.subs = true, nil, nil
	o.mu.Unlock()
}

// puback frees a packet identifier. One that is not in use is passed over.
func (c *conn) puback(body []byte) error {
	id, err := c.identified(body)
	if err != nil || c.out == nil || id == 0 || id > maxInFlight {
		return err
	}
	o := c.out
	o.mu.Lock()
	received := o.await[id-1]
	o.await[id-1] = nil
	o.ids &^= 1 << (id - 1)
	o.wake()
	o.mu.Unlock()
	if received != nil {
		received()
	}
	return nil
}

// encode writes a PUBLISH towards a client. Section 3.3.
func encode(version byte, m mailing, subs []subscription) letter {
	head := byte(typePublish<<4) | m.qos<<1
	if m.retain {
		head |= 1
	}
	body := appendText(make([]byte, 0, len(m.topic)+len(m.payload)+16), m.topic)
	at := 0
	if m.qos > 0 {
		at = len(body)
		body = append(body, 0, 0)
	}
	if version == 5 {
		var list []byte
		for _, s := range subs {
			if s.id > 0 {
				list = appendLength(append(list, propSubscriptionID), s.id)
			}
		}
		body = appendProperties(body, list)
	}
	body = append(body, m.payload...)
	p := appendPacket(make([]byte, 0, len(body)+5), head, body)
	if at > 0 {
		at += len(p) - len(body)
	}
	return letter{p, at, m.child, m.received}
}
