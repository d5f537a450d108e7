package mqtt

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Sizes of read buffers: most devices send little at once.
const (
	narrow = 2 << 10
	wide   = 16 << 10
)

// burst is what one read brought, and everything needed to store and answer
// it. Connections borrow it for as long as that takes.
type burst struct {
	buf  []byte
	data []byte // unfinished packet and what was read; in buf or in conn.rest
	read int    // bytes that were read

	delivery parcel
	acks     []ack
	out      []byte // what is answered, in one write
	rest     []byte // the unfinished packet at the end of data
	broken   bool   // data ends with what breaks the protocol
	ahead    bool   // what comes behind it is read while it is held
	open     int    // QoS 1 and 2 messages in it
	counts   [3]int // messages by QoS
}

// ack is the answer to one PUBLISH.
type ack struct {
	topic   []byte
	message int32 // index in the delivery; -1: none, code stands
	id      uint16
	qos     byte
	code    byte
	over    *quota.Exceeded // nil unless a quota of mail is used up
	again   bool            // DUP
}

// bursts lends out bursts of two sizes.
type bursts struct{ narrow, wide sync.Pool }

func (p *bursts) get(large bool) *burst {
	pool, size := &p.narrow, narrow
	if large {
		pool, size = &p.wide, wide
	}
	if b, ok := pool.Get().(*burst); ok {
		return b
	}
	return &burst{buf: make([]byte, size)}
}

func (p *bursts) put(b *burst) {
	b.reset()
	if cap(b.out) > wide {
		b.out = nil
	}
	b.delivery.Trim()
	if len(b.buf) == wide {
		p.wide.Put(b)
		return
	}
	p.narrow.Put(b)
}

func (b *burst) reset() {
	b.data, b.rest, b.broken, b.ahead = nil, nil, false, false
	b.delivery.Reset()
	b.delivery.From = nil
	clear(b.acks)
	b.acks, b.out = b.acks[:0], b.out[:0]
	b.open, b.counts = 0, [3]int{}
}

// process takes all whole packets of a burst, stores what they carry, and
// answers them. A packet that breaks the protocol ends the connection after
// those before it were answered.
func (c *conn) process(b *burst) *ending {
	c.work.Lock()
	defer c.work.Unlock()
	if e := c.ended.Load(); e != nil {
		return e
	}
	c.s.metrics.bytes.Add(float64(b.read))
	if c.peer.Load() != nil {
		c.heard.Store(c.s.deps.Clock().UnixMilli())
	}
	b.delivery.From = &c.sender
	rest, need, err := c.packets(b)
	b.rest, b.broken = rest, err != nil
	if e := c.store(b); e != nil {
		return e
	}
	if len(b.out) > 0 {
		if werr := c.send(b.out); werr != nil && err == nil {
			return c.lost(werr)
		}
	}
	if err != nil {
		return c.fault(err)
	}
	c.keep(rest, need)
	return nil
}

// packets walks through the burst and returns the unfinished packet at its
// end.
func (c *conn) packets(b *burst) (rest []byte, need int, err error) {
	p := b.data
	for len(p) > 0 {
		head, body, size, need, err := frame(p, c.limit())
		if err != nil {
			c.refuseLarge(p, err)
			return nil, 0, err
		}
		if size == 0 || len(p) < size {
			return p, need, nil
		}
		if head>>4 == typePublish && c.version != 0 {
			err = c.publish(b, head, body)
		} else {
			err = c.packet(b, head, body)
		}
		if err != nil {
			return nil, 0, err
		}
		p = p[size:]
	}
	return nil, 0, nil
}

// refuseLarge makes a reject of a PUBLISH that is larger than the hub reads. p
// is as much of it as has come: the topic may still be missing.
func (c *conn) refuseLarge(p []byte, err error) {
	if f := (*fault)(nil); !errors.As(err, &f) || f.code != codePacketTooLarge || p[0]>>4 != typePublish || c.version == 0 {
		return
	}
	length, header, _ := longLength(p[1:])
	device, topic := c.id, reader{p: p[header:]}
	name := topic.text()
	if rest, ok := strings.CutPrefix(string(name), "devices/"); ok {
		if id, _, _ := strings.Cut(rest, "/"); id != c.id && c.maySpeak(id) {
			device = id
		}
	}
	c.s.deps.Refuse(device, telemetry.ReasonTooLarge, fmt.Sprintf("topic %q: a packet of %d bytes; at most %d are read", clip(string(name), 64), header+length, c.limit()))
}

// fault turns an error of a packet into an ending.
func (c *conn) fault(err error) *ending {
	switch e := err.(type) {
	case *ending:
		return e
	case *fault:
		return &ending{how: ingest.LeftProtocol, code: e.code, text: e.text, will: true}
	}
	return c.lost(err)
}
