package coap

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pion/transport/v4/deadline"
)

// pipeDepth is how many datagrams may wait for a session's goroutine.
const pipeDepth = 32

// pipe is one sender's share of the DTLS socket: what pion/dtls reads from and
// writes to.
type pipe struct {
	conn    *net.UDPConn
	remote  netip.AddrPort
	control []byte // sends from the address that the sender knows
	addr    net.Addr
	in      chan []byte
	closed  chan struct{}
	once    sync.Once
	read    *deadline.Deadline
}

func newPipe(conn *net.UDPConn, remote netip.AddrPort, local netip.Addr) *pipe {
	return &pipe{
		conn: conn, remote: remote, control: controlFrom(local), addr: net.UDPAddrFromAddrPort(remote),
		in: make(chan []byte, pipeDepth), closed: make(chan struct{}), read: deadline.New(),
	}
}

// push hands a datagram over; false when too many wait.
func (p *pipe) push(b []byte) bool {
	select {
	case p.in <- b:
		return true
	default:
		return false
	}
}

func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-p.in:
		return copy(b, d), p.addr, nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	case <-p.read.Done():
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-p.closed:
		return 0, net.ErrClosed
	default:
		n, _, err := p.conn.WriteMsgUDPAddrPort(b, p.control, p.remote)
		return n, err
	}
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipe) LocalAddr() net.Addr { return p.conn.LocalAddr() }

func (p *pipe) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

func (p *pipe) SetReadDeadline(t time.Time) error {
	p.read.Set(t)
	return nil
}

// SetWriteDeadline does nothing: a UDP socket does not keep writers waiting.
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
