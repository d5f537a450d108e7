package coap

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Transmission parameters of confirmable messages (RFC 7252 section 4.8).
const (
	ackTimeout    = 2 * time.Second
	maxRetransmit = 4
	maxSeparates  = 1 << 16
)

// separates are answers that went out by themselves, because the store took
// longer than a sender waits for its acknowledgement. Each is sent again until
// its receiver confirms it.
type separates struct {
	mu  sync.Mutex
	all map[separateKey]*separate
}

type separateKey struct {
	from endpoint
	id   uint16
}

type separate struct {
	out     []byte
	due     time.Time
	timeout time.Duration
	sent    int
	// done hears whether the receiver confirmed it; nil for those of whom
	// nobody wants to know.
	done func(confirmed bool)
}

func newSeparates() *separates { return &separates{all: map[separateKey]*separate{}} }

// separate sends the answer of an exchange that was acknowledged before, as a
// confirmable message of its own.
func (d *Door) separate(x *exchange) {
	if !x.msg.silent(x.answer.code) {
		d.metrics.separate.Inc()
		id := d.nextID()
		out := x.answer.appendTo(nil, confirmable, id, x.msg.token)
		d.separates.add(x.from, id, out, d.deps.Clock())
		d.fault("separate answer not sent", x.from.addr, x.from.send(out))
	}
	x.out = appendEmpty(x.out[:0], acknowledgement, x.msg.id)
	d.remember(x)
	x.out = x.out[:0]
}

// add notes an answer for repetition. When too many are unconfirmed, it is
// sent once only; the sender will ask again.
func (s *separates) add(to endpoint, id uint16, out []byte, now time.Time) {
	s.await(to, id, out, now, nil)
}

// await is add for messages of which somebody wants to know whether they were
// confirmed; false when too many are unconfirmed.
func (s *separates) await(to endpoint, id uint16, out []byte, now time.Time, done func(confirmed bool)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= maxSeparates {
		return false
	}
	timeout := ackTimeout + rand.N(ackTimeout/2)
	s.all[separateKey{to, id}] = &separate{out: out, due: now.Add(timeout), timeout: timeout, sent: 1, done: done}
	return true
}

// confirm forgets a message that was acknowledged, or rejected by a reset.
func (s *separates) confirm(from endpoint, id uint16, acknowledged bool) {
	key := separateKey{from, id}
	s.mu.Lock()
	a := s.all[key]
	delete(s.all, key)
	s.mu.Unlock()
	if a != nil && a.done != nil {
		a.done(acknowledged)
	}
}

// due returns what is to be sent again at this time, and forgets what was sent
// as often as may be.
func (s *separates) due(now time.Time) map[separateKey][]byte {
	var lost []func(bool)
	defer func() {
		for _, done := range lost {
			done(false)
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	var again map[separateKey][]byte
	for key, a := range s.all {
		if now.Before(a.due) {
			continue
		}
		if a.sent > maxRetransmit {
			delete(s.all, key)
			if a.done != nil {
				lost = append(lost, a.done)
			}
			continue
		}
		a.sent++
		a.timeout *= 2
		a.due = now.Add(a.timeout)
		if again == nil {
			again = map[separateKey][]byte{}
		}
		again[key] = a.out
	}
	return again
}

func (s *separates) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// tendEvery is how often observers are looked at for revocation, and what was
// not acknowledged for its next sending.
const tendEvery = 400 * time.Millisecond

// tend repeats separate answers and forgets idle transfers until ctx ends.
func (d *Door) tend(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := d.deps.Clock()
			d.transfers.sweep(now)
			d.observers.sweep(d.revoked)
			for key, out := range d.separates.due(now) {
				d.fault("separate answer not sent", key.from.addr, key.from.send(out))
			}
		}
	}
}
