package coap

import (
	"net/netip"
	"sync"
	"time"
)

// transferIdle is how long a message may wait for its next block.
const transferIdle = time.Minute

// transferKey names a message that comes in blocks: by endpoint, resource and
// Request-Tag (RFC 7959 section 2.5, RFC 9175 section 3.3), never by token,
// which may differ from block to block.
type transferKey struct {
	from     netip.AddrPort
	session  *session
	sender   string
	resource string
	tag      string
}

type transfer struct {
	body []byte
	last time.Time
}

// transfers are the messages that are coming in blocks. Only authenticated
// senders get one.
type transfers struct {
	cfg Config

	mu     sync.Mutex
	all    map[transferKey]*transfer
	byAddr map[netip.Addr]int
	bytes  int
}

func newTransfers(cfg Config) *transfers {
	return &transfers{cfg: cfg, all: map[transferKey]*transfer{}, byAddr: map[netip.Addr]int{}}
}

// add takes a block. With the last one it returns the whole message; before
// that it returns what the sender is to be answered.
func (t *transfers) add(key transferKey, b block, size1 uint32, payload []byte, now time.Time) (whole []byte, a answer, refused string) {
	if b.more && len(payload) != b.size() {
		return nil, text(badRequest, "a block that is not the last has the size it names"), refusedMalformed
	}
	if int(size1) > t.cfg.MaxMessage || b.offset()+len(payload) > t.cfg.MaxMessage {
		t.mu.Lock()
		t.drop(key)
		t.mu.Unlock()
		return nil, t.tooLarge(), ""
	}
	if b.num == 0 && !b.more {
		return payload, answer{}, ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if b.num == 0 {
		t.drop(key)
		if len(t.all) >= t.cfg.MaxTransfers || t.byAddr[key.from.Addr()] >= t.cfg.MaxTransfersPerAddress {
			return nil, busy("too many messages are coming in blocks"), refusedTransfers
		}
		t.all[key] = &transfer{}
		t.byAddr[key.from.Addr()]++
	}
	return t.append(key, b, payload, now)
}

// append adds the block where it belongs. The caller holds mu.
func (t *transfers) append(key transferKey, b block, payload []byte, now time.Time) ([]byte, answer, string) {
	tr := t.all[key]
	if tr == nil || b.offset() > len(tr.body) {
		return nil, text(incomplete, "blocks before this one are missing; begin again with block 0"), ""
	}
	if b.offset() == len(tr.body) {
		if t.bytes+len(payload) > t.cfg.MaxTransferMemory {
			t.drop(key)
			return nil, busy("too much memory is taken by messages that come in blocks"), refusedTransfers
		}
		t.bytes += len(payload)
		tr.body, tr.last = append(tr.body, payload...), now
		if !b.more {
			t.drop(key)
			return tr.body, answer{}, ""
		}
	}
	return nil, answer{code: continues, format: -1, block1: b}, ""
}

// tooLarge is 4.13 with the size that would be taken (RFC 7959 section 2.9.3).
func (t *transfers) tooLarge() answer {
	a := text(tooLarge, "the message is too large; send smaller batches")
	a.size1 = uint32(t.cfg.MaxMessage)
	return a
}

// drop forgets a transfer. The caller holds mu.
func (t *transfers) drop(key transferKey) {
	tr := t.all[key]
	if tr == nil {
		return
	}
	delete(t.all, key)
	t.bytes -= len(tr.body)
	if t.byAddr[key.from.Addr()]--; t.byAddr[key.from.Addr()] <= 0 {
		delete(t.byAddr, key.from.Addr())
	}
}

// sweep forgets transfers whose sender went silent.
func (t *transfers) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, tr := range t.all {
		if now.Sub(tr.last) > transferIdle {
			t.drop(key)
		}
	}
}

func (t *transfers) size() (count, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all), t.bytes
}
