package coap

import (
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
)

// amplification is how many times larger than its request the answer to a
// stranger may be (RFC 7252 section 11.3).
const amplification = 3

// patience is how long a confirmable request waits for the store before it is
// acknowledged without its answer; the sender would repeat it after 2 s.
const patience = time.Second

// exchange is a datagram and its answer. It is reused.
type exchange struct {
	from     endpoint
	datagram []byte
	control  []byte // sends the answer from the address that was asked; nil: the kernel chooses
	cut      bool   // the datagram was longer than the buffer
	msg      message
	print    fingerprint
	known    bool // by an authenticated sender: its outcome is remembered
	waits    bool // for the store
	sender   quota.Sender
	report   report
	answer   answer
	acked    bool   // an empty acknowledgement went ahead
	out      []byte // what goes back; empty is nothing
}

// burst is a group of datagrams that is stored with one commit and answered
// together. One goroutine owns it; mu guards the acknowledgements that go
// ahead when the store is slow.
type burst struct {
	door      *Door
	exchanges []exchange
	delivery  ingest.Delivery
	order     []int // exchange of each message of delivery
	timer     *time.Timer

	mu      sync.Mutex
	waiting int // exchanges that the store may keep waiting; 0 when none
}

func (d *Door) newBurst(size int) *burst {
	b := &burst{door: d, exchanges: make([]exchange, size)}
	b.timer = time.AfterFunc(time.Hour, b.acknowledge)
	b.timer.Stop()
	return b
}

// handle takes the first n exchanges, whose from, datagram and cut are set,
// and fills their out. It returns when what they brought is durable.
func (b *burst) handle(n int) {
	now := b.door.deps.Clock()
	waits := 0
	for i := range b.exchanges[:n] {
		x := &b.exchanges[i]
		x.out, x.known, x.waits, x.acked = x.out[:0], false, false, false
		b.door.open(x, now)
		if x.waits {
			waits++
		}
	}
	if waits > 0 {
		b.ingest(n)
	}
	for i := range b.exchanges[:n] {
		x := &b.exchanges[i]
		if x.answer.code != empty {
			b.door.close(x)
		}
	}
}

// open reads a datagram and decides what becomes of it: an answer at once, a
// report that waits for the store, or nothing.
func (d *Door) open(x *exchange, now time.Time) {
	x.answer = answer{}
	switch x.msg.parse(x.datagram) {
	case foreign:
		d.metrics.refuse(refusedForeign)
		return
	case malformed:
		d.metrics.refuse(refusedMalformed)
		x.reset()
		return
	}
	m := &x.msg
	if m.kind == acknowledgement || m.kind == reset {
		d.separates.confirm(x.from, m.id, m.kind == acknowledgement)
		if m.kind == reset || m.code == empty || m.code > maxReq {
			return
		}
		// go-coap's clients ask for the later blocks of a notification within
		// its acknowledgement, which RFC 7252 does not know: it is answered as a
		// non-confirmable request.
	} else if m.code == empty || m.code > maxReq {
		x.reset() // a ping, or a response that was not asked for (section 4.2)
		return
	}
	x.print = d.memory.fingerprint(x.from.addr, x.datagram)
	if r := d.memory.look(x.print); r != nil {
		d.repeat(x, r)
		return
	}
	peer, rep, a, wanted := d.serve(x, now)
	if peer != nil {
		x.known = d.memory.begin(x.print, now)
		if !x.known {
			return // its twin came in between and is answered
		}
	}
	x.report, x.answer, x.waits = rep, a, wanted
}

// reset rejects a confirmable message; others are ignored.
func (x *exchange) reset() {
	if x.msg.kind == confirmable {
		x.out = appendEmpty(x.out, reset, x.msg.id)
	}
}

// repeat answers a datagram that came before.
func (d *Door) repeat(x *exchange, r *remembered) {
	d.metrics.duplicates.Inc()
	switch {
	case r.acked && x.msg.kind == confirmable:
		x.out = appendEmpty(x.out, acknowledgement, x.msg.id)
	case r.pending:
	case r.answer != nil:
		x.out = append(x.out, r.answer...)
	default:
		bare := answer{code: changed, format: -1}
		x.out = d.encode(x.out, x, &bare)
	}
}

// ingest stores what waits. A device that sends too fast is refused alone.
func (b *burst) ingest(n int) {
	b.expect(n)
	b.timer.Reset(patience)
	b.collect(n)
	b.settle(b.door.deps.Pipeline.Ingest(&b.delivery))
	b.timer.Stop()
	b.expect(0)
	b.delivery.Trim()
}

// expect says among how many exchanges some wait for the store.
func (b *burst) expect(n int) {
	b.mu.Lock()
	b.waiting = n
	b.mu.Unlock()
}

// collect makes a delivery of all that waits.
func (b *burst) collect(n int) {
	b.delivery.Reset()
	b.order = b.order[:0]
	for i := range b.exchanges[:n] {
		if x := &b.exchanges[i]; x.waits && x.answer.code == empty {
			m := b.delivery.Add(x.report.device, x.report.format, x.report.payload)
			m.From, m.Topic = &x.sender, x.report.topic
			b.order = append(b.order, i)
		}
	}
}

// settle turns what became of the delivery into answers.
func (b *burst) settle(err error) {
	for i, k := range b.order {
		x, m := &b.exchanges[k], &b.delivery.Messages[i]
		switch {
		case m.Done:
			x.answer = outcome(m)
		case m.Over != nil:
			x.answer = failure(m.Over)
		default:
			x.answer = failure(err)
		}
	}
}

// acknowledge tells senders whose messages wait for the store that they were
// received, so that they do not repeat them (RFC 7252 section 5.2.2).
func (b *burst) acknowledge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.exchanges[:b.waiting] {
		x := &b.exchanges[i]
		if !x.waits || x.acked || x.msg.kind != confirmable {
			continue
		}
		x.acked = true
		b.door.memory.ack(x.print)
		b.door.fault("acknowledgement not sent", x.from.addr, x.from.send(appendEmpty(nil, acknowledgement, x.msg.id)))
	}
}

// close writes the answer and remembers it.
func (d *Door) close(x *exchange) {
	a := &x.answer
	d.metrics.count(a.code)
	if x.msg.block1.set {
		a.block1 = x.msg.block1
	}
	if !x.known {
		d.bound(x, a)
	}
	switch {
	case x.acked:
		d.separate(x)
		return
	case x.msg.silent(a.code):
		if x.msg.kind == confirmable {
			x.out = appendEmpty(x.out, acknowledgement, x.msg.id)
		}
	default:
		x.out = d.encode(x.out, x, a)
	}
	if x.known {
		d.remember(x)
	}
}

// encode writes the answer as a piggybacked or non-confirmable message.
func (d *Door) encode(out []byte, x *exchange, a *answer) []byte {
	if x.msg.kind == confirmable {
		return a.appendTo(out, acknowledgement, x.msg.id, x.msg.token)
	}
	return a.appendTo(out, nonConfirmable, d.nextID(), x.msg.token)
}

// silent reports whether the sender does not want this answer (RFC 7967).
func (m *message) silent(c code) bool { return m.mute>>(c.class()-1)&1 == 1 }

// remember keeps the answer for repetitions, unless it is one that passes.
func (d *Door) remember(x *exchange) {
	a := &x.answer
	switch {
	case a.code == unavailable || a.code == tooManyRequests:
		d.memory.forget(x.print)
	case a.code == changed && len(a.payload) == 0 && !a.block1.set && len(x.out) > 4:
		d.memory.accepted(x.print)
	default:
		d.memory.end(x.print, x.out)
	}
}

// bound keeps the answer to a stranger small: a forged sender address must not
// gain much by asking.
func (d *Door) bound(x *exchange, a *answer) {
	room := amplification*len(x.datagram) - len(a.appendTo(nil, reset, 0, x.msg.token)) + len(a.payload)
	if len(a.payload) > room {
		a.payload = a.payload[:max(room, 0)]
	}
}
