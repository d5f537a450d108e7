package coap

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// exchangeLifetime is how long a message id stays with its message (RFC 7252
// section 4.8.2).
const exchangeLifetime = 247 * time.Second

// fingerprint names a datagram of a sender. The whole datagram counts, not the
// message id alone: a sender that wraps its 65,536 ids within their lifetime
// must not have new messages answered as old ones. 128 bits with secret seeds
// cannot be made to meet.
type fingerprint [2]uint64

// remembered is what became of a datagram.
type remembered struct {
	// answer is the message that was sent; nil stands for a bare 2.04.
	answer []byte
	// pending datagrams wait for the store; acked ones got an empty
	// acknowledgement and their answer will come by itself.
	pending, acked bool
}

// memory knows the datagrams of authenticated senders, so that a repeated one
// is answered without being ingested again. It holds at most two generations:
// entries live for one to two lifetimes, or less when more come than it may
// hold. An entry that was given up too early does no harm: the store knows
// what it has.
type memory struct {
	seeds [2]maphash.Seed
	most  int // of one generation

	mu         sync.Mutex
	young, old map[fingerprint]*remembered
	turned     time.Time
	// The usual outcomes are shared.
	waiting, done *remembered
}

func newMemory(most int) *memory {
	return &memory{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, most: max(most/2, 1),
		young: map[fingerprint]*remembered{}, waiting: &remembered{pending: true}, done: &remembered{},
	}
}

func (m *memory) fingerprint(from netip.AddrPort, datagram []byte) fingerprint {
	var f fingerprint
	for i := range f {
		f[i] = maphash.Bytes(m.seeds[i], datagram) ^ maphash.Comparable(m.seeds[i], from)*0x9e3779b97f4a7c15
	}
	return f
}

// look returns what became of a datagram; nil when it is new.
func (m *memory) look(f fingerprint) *remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.young[f]; r != nil {
		return r
	}
	return m.old[f]
}

// begin notes that a datagram is being taken; false when it is already known.
func (m *memory) begin(f fingerprint, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.young[f] != nil || m.old[f] != nil {
		return false
	}
	if len(m.young) >= m.most || now.Sub(m.turned) > exchangeLifetime {
		m.old, m.young, m.turned = m.young, map[fingerprint]*remembered{}, now
	}
	m.young[f] = m.waiting
	return true
}

// ack notes that an empty acknowledgement was sent for a pending datagram.
func (m *memory) ack(f fingerprint) { m.set(f, &remembered{pending: true, acked: true}) }

// accepted notes that the answer was a bare 2.04.
func (m *memory) accepted(f fingerprint) { m.set(f, m.done) }

// end notes any other answer; an empty one is none.
func (m *memory) end(f fingerprint, answer []byte) {
	m.set(f, &remembered{answer: append([]byte{}, answer...)})
}

// forget lets the next such datagram be taken as new: this one was refused for
// a reason that passes.
func (m *memory) forget(f fingerprint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.young, f)
	delete(m.old, f)
}

func (m *memory) set(f fingerprint, r *remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.old[f] != nil {
		m.old[f] = r
		return
	}
	m.young[f] = r
}

func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.young) + len(m.old)
}
