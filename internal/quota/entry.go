package quota

import (
	"net/netip"
	"time"
)

// Entry is a connection that counts until it leaves.
type Entry struct {
	// Over is set where the connection is one too many: it may be told so, and
	// nothing else.
	Over *Exceeded

	q       *Quotas
	door    Door
	origin  netip.Prefix
	counted bool // of origin
	device  string
	gone    bool
}

// Enter counts a new connection of an address. It returns nil for one that is
// to be closed without a word: it is over its quota, and to tell it so costs too
// much (an encrypted door), or too many are being told already.
func (q *Quotas) Enter(from netip.Addr, door Door, now time.Time) *Entry {
	e := &Entry{q: q, door: door, origin: Origin(from), counted: true}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.Over = q.mayOpen(e.origin, from, door, now); e.Over == nil {
		q.open[e.origin]++
		return e
	}
	encrypted := door == MQTTS || door == HTTPS || door == CoAPS
	if encrypted || q.waiting >= maxWaiting || q.tell.Take(now) > 0 {
		return nil
	}
	q.waiting++
	return e
}

func (q *Quotas) mayOpen(origin netip.Prefix, from netip.Addr, door Door, now time.Time) *Exceeded {
	if q.open[origin] >= q.cfg.Address.Connections {
		return q.addr.connections.refuse(door, from.String(), crowded)
	}
	key := q.address(from)
	if after := q.addresses.arrivals.Take(key, now); after > 0 {
		return q.addr.arrivals.refuse(door, from.String(), after)
	}
	if q.addresses.failures.Wait(key, now) > 0 {
		return q.addr.failures.refuse(door, from.String(), q.addresses.suspects.Take(key, now))
	}
	return nil
}

// Within returns an entry for a connection inside of one that is counted.
func (q *Quotas) Within(door Door) *Entry { return &Entry{q: q, door: door} }

// As counts the connection as one of a device, unless the device has as many as
// it may. One that takes the place of another always may. It counts once,
// however often As is called, and any goroutine may call it.
func (e *Entry) As(device string, instead bool) *Exceeded {
	e.q.mu.Lock()
	defer e.q.mu.Unlock()
	if e.gone || e.device != "" {
		return nil
	}
	if e.q.devices[device] >= e.q.cfg.Device.Connections && !instead {
		return e.q.device.connections.refuse(e.door, device, crowded)
	}
	e.device = device
	e.q.devices[device]++
	return nil
}

// Leave ends that the connection counts. Further calls do nothing.
func (e *Entry) Leave() {
	e.q.mu.Lock()
	defer e.q.mu.Unlock()
	if e.gone {
		return
	}
	e.gone = true
	switch {
	case e.Over != nil:
		e.q.waiting--
	case e.counted:
		if e.q.open[e.origin]--; e.q.open[e.origin] == 0 {
			delete(e.q.open, e.origin)
		}
	}
	if e.device != "" {
		if e.q.devices[e.device]--; e.q.devices[e.device] == 0 {
			delete(e.q.devices, e.device)
		}
	}
}
