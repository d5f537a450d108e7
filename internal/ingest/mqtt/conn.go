package mqtt

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
)

// conn is one connection. The goroutine that runs serve owns the fields of the
// second group; work is held while packets are processed, so that whoever ends
// the connection lets it answer first.
type conn struct {
	s      *Server
	net    net.Conn
	door   string
	from   net.Listener         // nil for WebSocket
	trust  *tls.ConnectionState // of the request that became a WebSocket; nil without TLS
	entry  *quota.Entry         // guarded by Server.mu once the connection is open
	sender quota.Sender
	slot   int // in Server.conns; guarded by Server.mu

	peer    atomic.Pointer[ingest.Peer] // nil until CONNECT was accepted
	ended   atomic.Pointer[ending]
	heard   atomic.Int64 // when the last bytes came, ms
	silence atomic.Int64 // how long it may be silent, ms; 0: for ever
	writing atomic.Int64 // when the write under way began, ms; 0: none

	work   sync.Mutex
	closed bool // guarded by work
	write  sync.Mutex

	version   byte // 4 or 5; 0 until CONNECT was read
	wide      bool // the last read filled its buffer
	noProblem bool // the client wants no reason strings
	id        string
	client    string
	own       string              // devices/{id}/telemetry
	maxPacket int                 // what the client takes; 0: anything
	inFlight  int                 // what the client takes at once
	ahead     *ahead              // what was read while the connection was held; nil almost always
	rest      []byte              // of a packet that has not come whole
	need      int                 // size of that packet, 0 when unknown
	received  map[uint16]struct{} // QoS 2 messages stored and not yet released
	aliases   []string
	spoken    map[string]string       // other devices that this one spoke for
	dialects  map[string]dialectTopic // topics that it used
	sparkplug *codec.Session
	will      *will
	out       *outbox // guarded by Server.mu until set, then for ever the same
	post      post
	behind    atomic.Pointer[children] // nil unless a gateway asked for mail of others

	raw   syscall.RawConn // of a plain TCP socket
	fill  func(fd uintptr) bool
	got   *burst // what fill has read
	err   error
	plain *bufio.Reader // when raw is nil
}

// plainBuffer is what TLS and WebSocket connections read through.
const plainBuffer = 4 << 10

func newConn(s *Server, nc net.Conn, door string, entry *quota.Entry) *conn {
	c := &conn{s: s, net: nc, door: door, entry: entry}
	if tcp, ok := nc.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			c.raw, c.fill = raw, c.fillFrom
		}
	}
	if c.raw == nil {
		c.plain = bufio.NewReaderSize(nc, plainBuffer)
	}
	c.heard.Store(s.deps.Clock().UnixMilli())
	c.silence.Store(s.cfg.ConnectTimeout.Milliseconds())
	if entry.Over != nil {
		c.silence.Store(min(s.cfg.ConnectTimeout, lastWords).Milliseconds())
	}
	return c
}

// serve reads and answers until the connection ends.
func (c *conn) serve() {
	var e *ending
	for e == nil {
		b, err := c.read()
		if err != nil {
			e = c.lost(err)
			break
		}
		e = c.process(b)
		c.s.bursts.put(b)
	}
	c.leave(e)
}

func (c *conn) lost(err error) *ending {
	text := "the connection broke"
	if !errors.Is(err, io.EOF) {
		text = err.Error()
	}
	return &ending{how: ingest.LeftLost, text: text, will: true}
}

// read waits for bytes and returns them, after those of the unfinished packet.
func (c *conn) read() (*burst, error) {
	if c.ahead != nil {
		if b, err := c.resume(); b != nil || err != nil {
			return b, err
		}
	}
	if c.raw == nil {
		return c.readPlain()
	}
	if err := c.raw.Read(c.fill); err != nil {
		return nil, err
	}
	b, err := c.got, c.err
	c.got, c.err = nil, nil
	return b, err
}

// fillFrom tries to read; false leaves the goroutine asleep, without a buffer,
// until the socket is readable.
func (c *conn) fillFrom(fd uintptr) bool {
	b := c.s.bursts.get(c.wide || c.need > narrow)
	into := c.room(b)
	n, err := syscall.Read(int(fd), into)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), into)
	}
	if err == syscall.EAGAIN {
		c.s.bursts.put(b)
		return false
	}
	if err == nil && n <= 0 {
		err = io.EOF
	}
	if err != nil {
		c.s.bursts.put(b)
		c.err = err
		return true
	}
	c.took(b, len(into), n)
	c.got = b
	return true
}

func (c *conn) readPlain() (*burst, error) {
	if _, err := c.plain.Peek(1); err != nil {
		return nil, err
	}
	b := c.s.bursts.get(c.wide || c.need > narrow)
	into := c.room(b)
	n, err := c.plain.Read(into[:min(len(into), c.plain.Buffered())])
	if err != nil {
		c.s.bursts.put(b)
		return nil, err
	}
	c.took(b, len(into), n)
	return b, nil
}

// room returns where to read to: the burst's buffer behind the unfinished
// packet, or, for a packet larger than that, a buffer of the connection, which
// grows only as bytes arrive.
func (c *conn) room(b *burst) []byte {
	if c.need <= len(b.buf) {
		return b.buf[copy(b.buf, c.rest):]
	}
	if len(c.rest) == cap(c.rest) {
		grown := make([]byte, len(c.rest), min(max(2*cap(c.rest), 2*wide), c.need))
		copy(grown, c.rest)
		c.rest = grown
	}
	return c.rest[len(c.rest):cap(c.rest)]
}

// took notes that n bytes came into room.
func (c *conn) took(b *burst, room, n int) {
	if c.need <= len(b.buf) {
		b.data = b.buf[:len(c.rest)+n]
	} else {
		c.rest = c.rest[:len(c.rest)+n]
		b.data = c.rest
	}
	b.read = n
	c.wide = n == room || c.wide && n > narrow/2
}

// keptRest is what an unfinished packet's buffer may hold on to.
const keptRest = 2 << 10

// keep remembers the unfinished packet at the end of a burst.
func (c *conn) keep(p []byte, need int) {
	c.need = need
	if cap(c.rest) > keptRest && need <= wide {
		c.rest = nil
	}
	c.rest = append(c.rest[:0], p...)
}

// end ends the connection from outside: what is being processed is answered,
// then the client is told why. It does not block.
func (c *conn) end(e *ending) {
	if !c.ended.CompareAndSwap(nil, e) {
		return
	}
	go c.farewell(e)
}

// lastWords is how long the last packet may take to be written.
const lastWords = 2 * time.Second

// farewell sends the DISCONNECT that MQTT 5 clients get, and closes.
func (c *conn) farewell(e *ending) {
	c.net.SetWriteDeadline(time.Now().Add(lastWords))
	c.work.Lock()
	defer c.work.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.version == 5 && e.code != codeSuccess && c.peer.Load() != nil {
		c.send(c.disconnect(e))
	}
	c.net.Close()
}

func (c *conn) disconnect(e *ending) []byte {
	body := []byte{e.code}
	if c.noProblem {
		return appendPacket(nil, typeDisconnect<<4, body)
	}
	return appendPacket(nil, typeDisconnect<<4, appendProperties(body, appendReason(nil, e.text)))
}

// send writes whole packets.
func (c *conn) send(p []byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	c.writing.Store(c.s.deps.Clock().UnixMilli())
	_, err := c.net.Write(p)
	c.writing.Store(0)
	return err
}

// leave gives everything back. Its caller is the connection's goroutine, at
// its end.
func (c *conn) leave(e *ending) {
	if !c.ended.CompareAndSwap(nil, e) {
		e = c.ended.Load()
	}
	c.farewell(e)
	c.forgetAhead()
	c.deaf()
	c.s.forget(c)
	c.s.metrics.disconnects.WithLabelValues(string(e.how)).Inc()
	peer := c.peer.Load()
	if peer == nil {
		return
	}
	c.s.deps.Log.Debug("mqtt connection ended", "device", c.id, "client", c.client, "how", string(e.how), "reason", e.text)
	how := e.how
	if e.will && c.will != nil && c.publishWill() {
		how = withWill(how)
	}
	c.s.deps.Presence.Left(c.id, c.door, how)
}

// withWill is how a connection ended whose will was published. An ending that
// has a cause to put right keeps it.
func withWill(how ingest.Leaving) ingest.Leaving {
	switch how {
	case ingest.LeftLost, ingest.LeftKeepAlive, ingest.LeftDisconnect:
		return ingest.LeftWill
	}
	return how
}
