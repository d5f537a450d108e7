package coap

import (
	"container/list"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/quota"
)

// Certificates are what the DTLS door shows, and whose it takes, besides
// pre-shared keys. The zero value means pre-shared keys only.
type Certificates struct {
	Own []tls.Certificate
	// Clients are the authorities of client certificates; their common name is
	// the device id.
	Clients *x509.CertPool
}

// dtlsServer shares one socket among sessions. pion/dtls answers a first
// ClientHello with a cookie, but keeps state for it; so unfinished handshakes
// are bounded, and the oldest whose sender has not returned its cookie makes
// room for a new one: a flood of forged addresses cannot keep senders out.
type dtlsServer struct {
	door         *Door
	conn         *net.UDPConn
	control      []byte // room for where a datagram was sent to; nil when conn has one address
	certificates func() Certificates
	incoming     chan packet
	running      sync.WaitGroup

	mu      sync.Mutex
	slots   map[netip.AddrPort]*slot
	count   int
	opening *list.List // of *session, the oldest first
	places  map[*session]*list.Element
}

// slot holds the sessions of one address: the one in use, and one that will
// replace it when its handshake is done (RFC 6347 section 4.2.8: a sender that
// lost its state begins anew from the same port).
type slot struct{ current, next *session }

// packet is a decrypted message of a session.
type packet struct {
	from *session
	data []byte
}

// ServeDTLS takes CoAP over DTLS 1.2 from conn until ctx ends, answers what it
// has read, says goodbye to every session, and closes conn. Every handshake
// asks for the certificates of its moment.
func (d *Door) ServeDTLS(ctx context.Context, conn *net.UDPConn, certificates func() Certificates) error {
	defer conn.Close()
	_ = conn.SetReadBuffer(4 << 20) // the kernel may give less
	v := &dtlsServer{
		door: d, conn: conn, certificates: certificates, incoming: make(chan packet, 4*burstSize),
		slots: map[netip.AddrPort]*slot{}, opening: list.New(), places: map[*session]*list.Element{},
	}
	watched, err := watchLocal(conn)
	if err != nil {
		return fmt.Errorf("ask for the local address of DTLS datagrams on %s: %w", conn.LocalAddr(), err)
	}
	if watched {
		v.control = make([]byte, controlSize)
	}
	group, gctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(gctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	group.Go(func() error { d.tend(gctx); return nil })
	group.Go(func() error {
		defer close(v.incoming)
		defer v.running.Wait()
		return v.demultiplex(gctx)
	})
	for range readers {
		group.Go(func() error { v.work(); return nil })
	}
	return group.Wait()
}

// options are those of one handshake.
func (s *session) options() []dtls.ServerOption {
	c := s.server.certificates()
	suites := []dtls.CipherSuiteID{dtls.TLS_PSK_WITH_AES_128_GCM_SHA256, dtls.TLS_PSK_WITH_AES_128_CCM_8, dtls.TLS_PSK_WITH_AES_128_CCM}
	options := []dtls.ServerOption{
		dtls.WithPSK(s.key), dtls.WithPSKIdentityHint([]byte("hub")),
		dtls.WithExtendedMasterSecret(dtls.RequestExtendedMasterSecret),
		dtls.WithLoggerFactory(&logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}),
	}
	if len(c.Own) > 0 && c.Clients != nil {
		suites = append([]dtls.CipherSuiteID{
			dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
		}, suites...)
		// PSK senders have no certificate: that one was shown is checked after the handshake.
		options = append(options, dtls.WithCertificates(c.Own...), dtls.WithClientCAs(c.Clients), dtls.WithClientAuth(dtls.VerifyClientCertIfGiven))
	}
	return append(options, dtls.WithCipherSuites(suites...))
}

func leaf(chain [][]byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	return c, nil
}

// demultiplex leads datagrams to the sessions of their senders until ctx ends.
func (v *dtlsServer) demultiplex(ctx context.Context) error {
	in := make([]byte, datagramSize)
	for {
		n, told, _, from, err := v.conn.ReadMsgUDPAddrPort(in, v.control)
		if err != nil {
			if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			if errors.Is(err, syscall.ECONNREFUSED) {
				continue // an answer of before found nobody
			}
			return fmt.Errorf("read DTLS datagrams on %s: %w", v.conn.LocalAddr(), err)
		}
		local, _ := localOf(v.control[:told])
		if s := v.sessionOf(ctx, from, local, in[:n]); s != nil && !s.pipe.push(append([]byte(nil), in[:n]...)) {
			v.door.metrics.refuse(refusedQueue)
		}
	}
}

// Record header of DTLS 1.2 (RFC 6347 section 4.1): type 1, version 2, epoch
// 2, sequence 6, length 2; then, in a handshake record, the handshake type.
const (
	recordHeader      = 13
	typeChangeCipher  = 20
	typeHandshake     = 22
	handshakeClientHi = 1
)

// sessionOf returns the session that a datagram belongs to. A ClientHello of a
// sender without one opens it; all else of strangers is ignored.
func (v *dtlsServer) sessionOf(ctx context.Context, from netip.AddrPort, local netip.Addr, b []byte) *session {
	if len(b) <= recordHeader {
		v.door.metrics.refuse(refusedForeign)
		return nil
	}
	plain := b[3] == 0 && b[4] == 0
	hello := plain && b[0] == typeHandshake && b[recordHeader] == handshakeClientHi
	v.mu.Lock()
	defer v.mu.Unlock()
	at := v.slots[from]
	var s *session
	switch {
	case at == nil && !hello:
		v.door.metrics.refuse(refusedForeign)
		return nil
	case at == nil, at.next == nil && hello && at.current != nil && at.current.confirmed:
		s = v.begin(ctx, from, local)
	case at.next == nil:
		s = at.current
	case plain:
		s = at.next
		s.changing = s.changing || b[0] == typeChangeCipher
	case at.current == nil || at.next.changing:
		s = at.next
	default:
		s = at.current
	}
	if s != nil {
		s.received++
	}
	return s
}

// begin opens a session within the bounds. The caller holds mu.
func (v *dtlsServer) begin(ctx context.Context, from netip.AddrPort, local netip.Addr) *session {
	if v.count >= v.door.cfg.MaxSessions {
		v.door.metrics.refuse(refusedSessions)
		return nil
	}
	if v.opening.Len() >= v.door.cfg.MaxHandshakes && !v.makeRoom() {
		v.door.metrics.refuse(refusedHandshakes)
		return nil
	}
	entry := v.door.deps.Quotas.Enter(from.Addr(), quota.CoAPS, v.door.deps.Clock())
	if entry == nil {
		v.door.metrics.refuse(refusedSessions)
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &session{server: v, from: from, pipe: newPipe(v.conn, from, local), cancel: cancel, entry: entry}
	at := v.slots[from]
	if at == nil {
		at = &slot{}
		v.slots[from] = at
	}
	at.next = s
	v.places[s] = v.opening.PushBack(s)
	v.count++
	v.door.sessions.Add(1)
	v.running.Go(func() { s.run(ctx) })
	return s
}

// makeRoom ends the oldest handshake whose sender has not returned its cookie,
// or erred too often: who has no key falls silent, and would keep its place
// until handshake_timeout. False when there is none. The caller holds mu.
func (v *dtlsServer) makeRoom() bool {
	now := v.door.deps.Clock()
	for e := v.opening.Front(); e != nil; e = e.Next() {
		if s := e.Value.(*session); s.received < 2 || v.door.deps.Quotas.Suspect(s.from.Addr(), now) {
			v.closeOpening(s)
			s.cancel()
			v.door.metrics.refuse(refusedHandshakes)
			return true
		}
	}
	return false
}

// closeOpening takes a session out of the unfinished ones. The caller holds mu.
func (v *dtlsServer) closeOpening(s *session) {
	if e := v.places[s]; e != nil {
		v.opening.Remove(e)
		delete(v.places, s)
	}
}

// confirm puts a session in use whose sender is known, instead of the one that
// the same address had before.
func (v *dtlsServer) confirm(s *session) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closeOpening(s)
	s.confirmed = true
	if at := v.slots[s.from]; at != nil && at.next == s {
		if at.current != nil {
			at.current.cancel()
		}
		at.current, at.next = s, nil
	}
}

// leave forgets a session that has ended.
func (v *dtlsServer) leave(s *session) {
	s.cancel()
	s.over.Store(true)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closeOpening(s)
	v.count--
	v.door.sessions.Add(-1)
	s.entry.Leave()
	at := v.slots[s.from]
	if at == nil {
		return
	}
	if at.current == s {
		at.current = nil
	}
	if at.next == s {
		at.next = nil
	}
	if at.current == nil && at.next == nil {
		delete(v.slots, s.from)
	}
}

// work answers messages of all sessions, those that wait together, until
// incoming is closed.
func (v *dtlsServer) work() {
	b := v.door.newBurst(burstSize)
	for first := range v.incoming {
		n := b.take(0, first)
		for n < burstSize {
			select {
			case p, ok := <-v.incoming:
				if ok {
					n = b.take(n, p)
					continue
				}
			default:
			}
			break
		}
		b.handle(n)
		for i := range b.exchanges[:n] {
			x := &b.exchanges[i]
			if len(x.out) > 0 {
				// A sender that is gone will come again and repeat its message.
				_ = x.from.session.send(x.out)
			}
			x.datagram, x.from = nil, endpoint{}
		}
	}
}

func (b *burst) take(n int, p packet) int {
	x := &b.exchanges[n]
	x.from, x.datagram, x.cut = endpoint{addr: p.from.from, session: p.from}, p.data, false
	return n + 1
}
