package coap

import (
	"bytes"
	"context"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/ingest"
)

// Bounds of observation (RFC 7641).
const (
	maxObservers          = 100_000
	maxObserversPerDevice = 4
	maxNotifications      = 16 // that wait for one observer
)

// observers are the senders that observe commands or configurations. Each
// notification is confirmable, one at a time to each.
type observers struct {
	mu     sync.Mutex
	all    map[observerKey]*observer
	device map[string][]*observer // the oldest first
}

// observerKey is a sender's registration. A sender observes a resource once:
// with another token it does so anew.
type observerKey struct {
	from     endpoint
	resource string // device/commands or device/config
}

type observer struct {
	key    observerKey
	token  []byte
	peer   *ingest.Peer
	device string
	stop   func() // ends that it is told of mail; set before it is told

	mu      sync.Mutex
	gone    bool
	seq     uint32
	waiting []notification
	flying  bool
	shown   []byte // what the last notification shows, for its later blocks
	whole   func() // called when the last of these blocks is fetched; nil when none is awaited
}

type notification struct {
	payload  []byte
	received func() // may be nil
}

func newObservers() *observers {
	return &observers{all: map[observerKey]*observer{}, device: map[string][]*observer{}}
}

// observe answers a GET on commands or config: it registers the sender
// (Observe 0), ends its registration (Observe 1), shows the configuration, or
// gives a later block of what was shown.
func (d *Door) observe(x *exchange, peer *ingest.Peer, device string) answer {
	m := &x.msg
	kind := string(m.path[2])
	key := observerKey{x.from, device + "/" + kind}
	if m.observe == 1 {
		d.observers.end(key)
	}
	if m.block2.set && m.block2.num > 0 {
		if o := d.observers.find(key); o != nil {
			return o.block(m.block2)
		}
	}
	if m.observe == 0 {
		return d.register(m, key, peer, device, kind)
	}
	if kind == commandsSegment && m.observe == 1 {
		return show(nil, m.block2)
	}
	if kind == commandsSegment {
		return text(badRequest, "commands come to those who observe them: GET with Observe 0")
	}
	wanted, err := d.deps.Mail.Wanted(context.Background(), device)
	if err != nil {
		d.fault("wanted configuration could not be read", x.from.addr, err)
		return busy("the configuration cannot be read at this moment")
	}
	return show(wanted, m.block2)
}

func (d *Door) register(m *message, key observerKey, peer *ingest.Peer, device, kind string) answer {
	o := &observer{key: key, token: bytes.Clone(m.token), peer: peer, device: device, seq: 2}
	if !d.observers.add(o) {
		d.metrics.refuse(refusedObservers)
		a := text(tooManyRequests, "too many observe already; end another registration first")
		a.maxAge = 10
		return a
	}
	var first []byte
	if kind == configSegment {
		wanted, err := d.deps.Mail.Wanted(context.Background(), device)
		if err != nil {
			d.observers.drop(o)
			d.fault("wanted configuration could not be read", key.from.addr, err)
			return busy("the configuration cannot be read at this moment")
		}
		first = wanted
	}
	o.mu.Lock()
	o.shown = first
	o.mu.Unlock()
	if kind == configSegment {
		o.started(d.deps.Mail.Watch(device, func(wanted []byte) { d.notify(o, notification{payload: wanted}) }))
	} else {
		o.started(d.deps.Mail.Listen(device, func(c ingest.Command) bool { return d.notify(o, notification{c.Message, c.Received}) }))
	}
	a := show(first, m.block2)
	a.observe, a.observed = 1, true
	return a
}

// started keeps how the observer stops to be told, or stops at once when it
// has gone meanwhile.
func (o *observer) started(stop func()) {
	o.mu.Lock()
	gone := o.gone
	o.stop = stop
	o.mu.Unlock()
	if gone {
		stop()
	}
}

// show answers with a block of a representation: JSON, or nothing.
func show(shown []byte, b block) answer {
	a := answer{code: content, format: formatJSON}
	if len(shown) == 0 {
		return a
	}
	if !b.set || b.size() > maxAnswer {
		b = block{num: b.num, szx: 6, set: true}
	}
	if b.offset() >= len(shown) {
		return text(badRequest, "there is no such block")
	}
	end := min(b.offset()+b.size(), len(shown))
	b.more = end < len(shown)
	a.payload = shown[b.offset():end]
	if b.more || b.num > 0 {
		a.block2 = b
		h := fnv.New64a()
		h.Write(shown)
		a.etag = h.Sum64()
	}
	return a
}

// block answers with a later block of what the observer was shown.
func (o *observer) block(b block) answer {
	o.mu.Lock()
	a := show(o.shown, b)
	var whole func()
	if a.code == content && !a.block2.more {
		whole, o.whole = o.whole, nil
	}
	o.mu.Unlock()
	if whole != nil {
		go whole()
	}
	return a
}

// fetchTimeout is how long a sender may take for the later blocks of a notification.
const fetchTimeout = 30 * time.Second

// awaitBlocks calls done when the last block of what is shown was fetched, and drops
// the observer when that takes too long.
func (d *Door) awaitBlocks(o *observer, done func()) {
	late := time.AfterFunc(fetchTimeout, func() { d.observers.drop(o) })
	o.mu.Lock()
	defer o.mu.Unlock()
	o.whole = func() {
		late.Stop()
		done()
	}
}

// notify queues a notification; false when too many wait or the observer is
// gone.
func (d *Door) notify(o *observer, n notification) bool {
	o.mu.Lock()
	if o.gone || len(o.waiting) >= maxNotifications {
		o.mu.Unlock()
		return false
	}
	o.waiting = append(o.waiting, n)
	begin := !o.flying
	o.flying = true
	o.mu.Unlock()
	if begin {
		go d.fly(o)
	}
	return true
}

// fly sends the next notification. Whoever hears what became of it sends the
// one after.
func (d *Door) fly(o *observer) {
	o.mu.Lock()
	if o.gone || len(o.waiting) == 0 {
		o.flying = false
		o.mu.Unlock()
		return
	}
	n := o.waiting[0]
	o.waiting = slices.Delete(o.waiting, 0, 1)
	o.shown = n.payload
	seq := o.seq
	o.seq = (o.seq + 1) & 0xffffff
	o.mu.Unlock()
	if d.revoked(o) {
		d.observers.drop(o)
		return
	}
	a := show(n.payload, block{})
	a.observe, a.observed = seq, true
	id := d.nextID()
	out := a.appendTo(nil, confirmable, id, o.token)
	kept := d.separates.await(o.key.from, id, out, d.deps.Clock(), func(confirmed bool) {
		if !confirmed { // a reset, or no answer: it does not listen any more (RFC 7641 sections 3.6, 4.5)
			d.observers.drop(o)
			return
		}
		taken := func() {
			if n.received != nil {
				n.received()
			}
			d.fly(o)
		}
		if a.block2.more {
			d.awaitBlocks(o, taken)
			return
		}
		go taken()
	})
	if !kept {
		d.observers.drop(o)
		return
	}
	d.metrics.notifications.Inc()
	d.fault("notification not sent", o.key.from.addr, o.key.from.send(out))
}

// add registers an observer in place of the one with the same key, and of its
// device's oldest where that has too many: it was left behind by a sender that
// lost its port. False when all devices together have too many.
func (s *observers) add(o *observer) bool {
	s.end(o.key)
	s.mu.Lock()
	var oldest *observer
	if of := s.device[o.device]; len(of) >= maxObserversPerDevice {
		oldest = of[0]
	}
	room := len(s.all) < maxObservers
	if room {
		s.all[o.key] = o
		s.device[o.device] = append(s.device[o.device], o)
	}
	s.mu.Unlock()
	if oldest != nil {
		s.drop(oldest)
	}
	return room
}

// end drops the registration of a key.
func (s *observers) end(key observerKey) {
	if o := s.find(key); o != nil {
		s.drop(o)
	}
}

// drop forgets an observer.
func (s *observers) drop(o *observer) {
	s.mu.Lock()
	if s.all[o.key] == o {
		delete(s.all, o.key)
		s.device[o.device] = slices.DeleteFunc(s.device[o.device], func(other *observer) bool { return other == o })
		if len(s.device[o.device]) == 0 {
			delete(s.device, o.device)
		}
	}
	s.mu.Unlock()
	o.mu.Lock()
	stop, first := o.stop, !o.gone
	o.gone, o.waiting = true, nil
	o.mu.Unlock()
	if first && stop != nil {
		stop()
	}
}

func (s *observers) find(key observerKey) *observer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[key]
}

// revoked reports whether an observer may not hear its device any more.
func (d *Door) revoked(o *observer) bool {
	select {
	case <-o.peer.Done:
		return true
	default:
		return !d.mayHear(o.peer, o.device)
	}
}

// sweep drops the observers that were revoked and those of sessions that have
// ended.
func (s *observers) sweep(revoked func(*observer) bool) {
	s.mu.Lock()
	var gone []*observer
	for key, o := range s.all {
		if key.from.session != nil && key.from.session.over.Load() || revoked(o) {
			gone = append(gone, o)
		}
	}
	s.mu.Unlock()
	for _, o := range gone {
		s.drop(o)
	}
}

func (s *observers) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}
