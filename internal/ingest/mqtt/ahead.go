package mqtt

import "time"

const (
	// heldLong is how long a connection is held still before the hub reads on, to
	// find the PINGREQ of a client that waits for its PUBACK: shorter than any client
	// waits for a PINGRESP.
	heldLong = time.Second
	// maxAhead is how much of a connection is read while it is held, and maxAheadAll
	// of all together, bytes. What is beyond waits in TCP, its PINGREQs too.
	maxAhead    = 16 << 10
	maxAheadAll = 64 << 20
)

// ahead is what a connection has sent while it was held. It is there from then on
// until all of it was processed. The goroutine that serves the connection owns it,
// but for the read under way.
type ahead struct {
	data    []byte       // the unfinished packet, and what was read
	read    int          // how much of data was read, and counts in Server.ahead
	scanned int          // before it, PINGREQs were answered
	pings   int          // PINGREQs in data that were answered
	next    chan arrival // of the read under way; nil: there is none
	err     error        // of the last read
}

// arrival is what one read brought.
type arrival struct {
	data []byte
	err  error
}

// linger waits for a step of a hold. After heldLong it answers PINGREQs meanwhile:
// those that were read with what is held, and those that come. Without a burst it
// only waits.
func (c *conn) linger(b *burst, held, step time.Duration) *ending {
	if b == nil || held < heldLong || b.broken {
		sleep(step)
		return nil
	}
	if len(b.out) > 0 { // answers that wait for no commit
		if err := c.send(b.out); err != nil {
			return c.lost(err)
		}
		b.out = b.out[:0]
	}
	if !b.ahead { // c.ahead may be there, with a read that outlasted a hold before
		b.ahead = true
		if c.ahead == nil {
			c.ahead = &ahead{}
		}
		c.ahead.data = append(c.ahead.data, b.rest...)
	}
	timer := time.NewTimer(step)
	defer timer.Stop()
	for {
		c.readAhead()
		select { // a nil channel never has anything
		case got := <-c.ahead.next:
			c.arrived(got)
			if err := c.pong(); err != nil {
				return c.lost(err)
			}
		case <-timer.C:
			return nil
		}
	}
}

// readAhead begins a read, within the bounds, unless one is under way. It may
// outlast the hold: the next one who reads waits for it.
func (c *conn) readAhead() {
	a := c.ahead
	room := int64(min(narrow, maxAhead-a.read))
	if a.next != nil || a.err != nil || room <= 0 {
		return
	}
	if c.s.ahead.Add(room) > maxAheadAll {
		c.s.ahead.Add(-room)
		return
	}
	next, into := make(chan arrival, 1), make([]byte, room)
	a.next = next
	go func() { // ends with the connection at the latest
		n, err := 0, error(nil)
		if c.plain != nil {
			n, err = c.plain.Read(into)
		} else {
			n, err = c.net.Read(into)
		}
		next <- arrival{into[:n], err}
	}()
}

// arrived takes what a read brought.
func (c *conn) arrived(got arrival) {
	a := c.ahead
	c.s.ahead.Add(int64(len(got.data) - cap(got.data)))
	a.next, a.err = nil, got.err
	a.data = append(a.data, got.data...)
	a.read += len(got.data)
}

// pong answers the PINGREQs that came whole. They stay in data, to be passed over
// when it is processed.
func (c *conn) pong() error {
	a := c.ahead
	for {
		head, body, size, _, err := frame(a.data[a.scanned:], c.limit())
		if err != nil || size == 0 || len(a.data)-a.scanned < size {
			return nil // a packet that breaks the protocol is found when its turn comes
		}
		a.scanned += size
		if head == typePingreq<<4 && len(body) == 0 {
			a.pings++
			if err := c.send([]byte{typePingresp << 4, 0}); err != nil {
				return err
			}
		}
	}
}

// answeredPing reports whether the next PINGREQ was answered while the connection
// was held.
func (c *conn) answeredPing() bool {
	if c.ahead == nil || c.ahead.pings == 0 {
		return false
	}
	c.ahead.pings--
	return true
}

// resume returns what was read while the connection was held, or waits for the
// read that is under way. The caller reads by itself when there is neither.
func (c *conn) resume() (*burst, error) {
	a := c.ahead
	if a.read == 0 && a.next != nil {
		a.data = append(a.data[:0], c.rest...)
		c.arrived(<-a.next)
	}
	if a.read == 0 {
		err := a.err
		c.ahead = nil
		return nil, err
	}
	b := c.s.bursts.get(false)
	b.data, b.read = a.data, a.read
	c.s.ahead.Add(-int64(a.read))
	c.rest, c.need = nil, 0
	a.data, a.read, a.scanned = nil, 0, 0
	return b, nil
}

// forgetAhead gives back what the connection's end leaves. The read under way
// ends with it.
func (c *conn) forgetAhead() {
	if a := c.ahead; a != nil {
		if a.next != nil {
			c.arrived(<-a.next)
		}
		c.s.ahead.Add(-int64(a.read))
		c.ahead = nil
	}
}
