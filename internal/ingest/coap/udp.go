package coap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sync/errgroup"
)

const (
	// datagram is the largest datagram in bytes that is read whole. RFC 7252
	// section 4.6 asks senders to stay below 1,152; larger messages come in blocks.
	datagramSize = 4096
	// burstSize is how many datagrams are read and answered together.
	burstSize = 128
	// readers is how many bursts may be under way: while one waits for the
	// store, the next is read.
	readers = 4
)

// socket is a UDP socket whose datagrams are read and written in bursts.
type socket struct {
	conn  *net.UDPConn
	batch *ipv4.PacketConn // works on IPv6 sockets too: addresses carry their family
	// watched: datagrams tell to which address of this host they were sent.
	watched bool
}

// Serve takes plain CoAP from conn until ctx ends, answers what it has read,
// and closes conn.
func (d *Door) Serve(ctx context.Context, conn *net.UDPConn) error {
	defer conn.Close()
	// The bursts of many senders wait here while commits are under way; the
	// kernel may give less than asked for.
	_ = conn.SetReadBuffer(8 << 20)
	watched, err := watchLocal(conn)
	if err != nil {
		return fmt.Errorf("ask for the local address of CoAP datagrams on %s: %w", conn.LocalAddr(), err)
	}
	s := &socket{conn, ipv4.NewPacketConn(conn), watched}
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	group.Go(func() error { d.tend(ctx); return nil })
	for range readers {
		group.Go(func() error { return d.read(ctx, s) })
	}
	return group.Wait()
}

// read takes bursts from the socket until ctx ends.
func (d *Door) read(ctx context.Context, s *socket) error {
	b := d.newBurst(burstSize)
	in := make([]ipv4.Message, burstSize)
	out := make([]ipv4.Message, 0, burstSize)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, datagramSize)}
		if s.watched {
			in[i].OOB = make([]byte, controlSize)
		}
	}
	for {
		n, err := s.batch.ReadBatch(in, 0)
		if err != nil {
			if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			if errors.Is(err, syscall.ECONNREFUSED) {
				continue // an answer of before found nobody
			}
			return fmt.Errorf("read CoAP datagrams on %s: %w", s.conn.LocalAddr(), err)
		}
		for i := range in[:n] {
			x := &b.exchanges[i]
			x.from = endpoint{addr: in[i].Addr.(*net.UDPAddr).AddrPort(), plain: s}
			x.control = nil
			if s.watched {
				x.from.local, x.control = localOf(in[i].OOB[:in[i].NN])
			}
			x.datagram, x.cut = in[i].Buffers[0][:in[i].N], in[i].Flags&syscall.MSG_TRUNC != 0
		}
		b.handle(n)
		out = s.answer(b, in[:n], out[:0])
	}
}

// answer sends the answers of a burst. One that cannot be sent is skipped: its
// sender will repeat the request.
func (s *socket) answer(b *burst, in, out []ipv4.Message) []ipv4.Message {
	for i := range in {
		if x := &b.exchanges[i]; len(x.out) > 0 {
			out = append(out, ipv4.Message{Buffers: [][]byte{x.out}, OOB: x.control, Addr: in[i].Addr})
		}
	}
	for rest := out; len(rest) > 0; {
		n, err := s.batch.WriteBatch(rest, 0)
		if err != nil {
			n = max(n, 0) + 1
		}
		rest = rest[min(n, len(rest)):]
	}
	return out
}
