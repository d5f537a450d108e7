package coap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
)

// recordSize is the largest message in bytes that is read from a DTLS session;
// a larger one ends it. Records fit in one packet of a network, as do blocks.
const recordSize = 2048

// session is a DTLS association with one sender.
type session struct {
	server *dtlsServer
	from   netip.AddrPort
	pipe   *pipe
	cancel context.CancelFunc
	over   atomic.Bool // nothing reaches its sender any more

	// Set by the session's goroutine before its first message is handed on.
	conn     *dtls.Conn
	peer     *ingest.Peer
	identity atomic.Pointer[string] // that the sender claims to have the key of

	entry    *quota.Entry
	admitted atomic.Bool // the device has no more sessions than it may

	// Guarded by server.mu.
	received  int  // datagrams; two mean that the cookie came back
	changing  bool // the sender changed to the new keys of this handshake
	confirmed bool // the handshake is done and the sender known
}

func (s *session) send(b []byte) error {
	_, err := s.conn.Write(b)
	return err
}

// run does the handshake, then hands messages on until the sender says
// goodbye, goes silent, is revoked, or ctx ends.
func (s *session) run(ctx context.Context) {
	err := s.open(ctx)
	if err != nil {
		s.server.door.metrics.refuse(refusedHandshake)
		s.server.door.deps.Log.Debug("DTLS handshake failed", "address", s.from.Addr().String(), "error", err)
	} else {
		said := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(said)
			_ = s.conn.Close()
		})
		s.read(ctx)
		if !stop() {
			<-said // the goodbye needs the pipe
		}
	}
	if s.conn != nil {
		_ = s.conn.Close() // says goodbye where it still can
	}
	_ = s.pipe.Close()
	s.server.leave(s)
}

func (s *session) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.server.door.cfg.HandshakeTimeout)
	defer cancel()
	conn, err := dtls.ServerWithOptions(s.pipe, s.pipe.addr, s.options()...)
	if err != nil {
		return err
	}
	s.conn = conn
	if err := conn.HandshakeContext(ctx); err != nil {
		if id := s.identity.Load(); id != nil { // a wrong key looks like a sender that fell silent
			d := s.server.door
			_ = d.deps.Quotas.Failed(s.from.Addr(), *id, quota.CoAPS, d.deps.Clock())
		}
		return err
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return errors.New("the handshake left no state")
	}
	s.peer, err = s.server.authenticate(ctx, state, s.from)
	if err != nil {
		return err
	}
	s.server.confirm(s)
	return nil
}

// authenticate finds who the handshake has proven the sender to be.
func (v *dtlsServer) authenticate(ctx context.Context, state dtls.State, from netip.AddrPort) (*ingest.Peer, error) {
	c := ingest.Credentials{Door: "coaps", Address: from.Addr().Unmap()}
	switch {
	case len(state.IdentityHint) > 0:
		c.ID, c.Proven = string(state.IdentityHint), true
	case len(state.PeerCertificates) > 0:
		certificate, err := leaf(state.PeerCertificates)
		if err != nil {
			return nil, err
		}
		c.Certificate, c.ID = certificate, certificate.Subject.CommonName
	default:
		return nil, fmt.Errorf("neither key nor certificate: %w", ingest.ErrUnauthorized)
	}
	return v.door.deps.Gate.Authenticate(ctx, c)
}

// key returns the pre-shared key of a device. For one that is unknown it is a
// random key, so that the handshake fails as it does with a wrong key.
func (s *session) key(id []byte) ([]byte, error) {
	identity := string(id)
	s.identity.Store(&identity)
	d := s.server.door
	if over := d.deps.Quotas.Attempt(s.from.Addr(), identity, quota.CoAPS, d.deps.Clock()); over != nil {
		return nil, over
	}
	psk, err := d.deps.Gate.PSK(identity, s.from.Addr().Unmap())
	if errors.Is(err, ingest.ErrUnauthorized) {
		psk = make([]byte, 32)
		_, err = rand.Read(psk)
	}
	return psk, err
}

// admit makes sure that the device has no more sessions than it may. One that
// is over stays, to be told so, and is in as soon as another ends.
func (s *session) admit() *quota.Exceeded {
	if s.admitted.Load() {
		return nil
	}
	over := s.entry.As(s.peer.Device.ID, false)
	if over == nil {
		s.admitted.Store(true)
	}
	return over
}

// read hands messages on to the workers.
func (s *session) read(ctx context.Context) {
	revoked := make(chan struct{})
	defer close(revoked)
	go func() {
		select {
		case <-s.peer.Done:
			s.cancel()
		case <-revoked:
		}
	}()
	buffer := make([]byte, recordSize)
	for {
		if err := s.conn.SetReadDeadline(time.Now().Add(s.server.door.cfg.SessionIdle)); err != nil {
			return
		}
		n, err := s.conn.Read(buffer)
		if err != nil {
			return
		}
		select {
		case s.server.incoming <- packet{s, append([]byte(nil), buffer[:n]...)}:
		case <-ctx.Done():
			return
		}
	}
}
