package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
)

// The doors, as presence and logs name them.
const (
	doorTCP       = "mqtt"
	doorTLS       = "mqtts"
	doorWebSocket = "mqtt-websocket"
)

// Serve takes connections until ctx ends, then ends those it took and returns
// when they are gone. A listener whose connections are *tls.Conn serves MQTT
// over TLS.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	err := s.acceptAll(l, &open)
	if ctx.Err() != nil {
		s.endAll(l)
		return nil
	}
	return fmt.Errorf("mqtt on %s: %w", l.Addr(), err)
}

func (s *Server) acceptAll(l net.Listener, open *sync.WaitGroup) error {
	wait := time.Millisecond
	for {
		nc, err := l.Accept()
		if err != nil {
			if !temporary(err) {
				return err
			}
			// Out of file descriptors: those that wait are taken when others end.
			s.deps.Log.Warn("mqtt connection not accepted", "error", err)
			sleep(wait)
			wait = min(2*wait, time.Second)
			continue
		}
		wait = time.Millisecond
		door := doorTCP
		if _, ok := nc.(*tls.Conn); ok {
			door = doorTLS
		}
		c := s.admit(nc, door, l)
		if c == nil {
			nc.Close()
			continue
		}
		open.Go(c.serve)
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// endAll ends the connections that a listener took.
func (s *Server) endAll(l net.Listener) {
	for _, c := range s.snapshot(nil) {
		if c.from == l {
			c.end(&ending{how: ingest.LeftShutdown, code: codeShuttingDown, text: "the hub is shutting down"})
		}
	}
}

// admit registers a connection, or returns nil when there are too many. A
// connection over the quota of its address may be registered to be told so.
func (s *Server) admit(nc net.Conn, door string, from net.Listener) *conn {
	entry := s.deps.Quotas.Within(quota.WebSocket) // the HTTP door has counted it
	if from != nil {
		entry = s.deps.Quotas.Enter(addressOf(nc.RemoteAddr()), quota.DoorOf(door), s.deps.Clock())
	}
	if entry == nil {
		return nil
	}
	c := newConn(s, nc, door, entry)
	c.from = from
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		entry.Leave()
		return nil
	case len(s.conns) >= s.cfg.MaxConnections:
		entry.Leave()
		s.metrics.refused.WithLabelValues("connections").Inc()
		return nil
	}
	c.slot = len(s.conns)
	s.conns = append(s.conns, c)
	return c
}

// enter makes the connection the one of its device's client id; the one before
// ends. [MQTT-3.1.4-3]
func (s *Server) enter(c *conn) {
	key := session{c.id, c.client}
	s.mu.Lock()
	before := s.sessions[key]
	s.sessions[key] = c
	s.mu.Unlock()
	if before != nil {
		before.end(&ending{how: ingest.LeftTakenOver, code: codeTakenOver, text: "the same client id connected again", will: true})
	}
}

// connected reports whether a device is connected by a client id.
func (s *Server) connected(device, client string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sessions[session{device, client}] != nil
}

// forget takes a connection out of all tables.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.conns[len(s.conns)-1]
	s.conns[c.slot], last.slot = last, c.slot
	s.conns[len(s.conns)-1] = nil
	s.conns = s.conns[:len(s.conns)-1]
	c.entry.Leave()
	if key := (session{c.id, c.client}); s.sessions[key] == c {
		delete(s.sessions, key)
	}
	s.silenceOf(c)
	if c.out != nil {
		c.out.close()
	}
	if s.closing && len(s.conns) == 0 {
		close(s.empty)
	}
}

// Handler serves MQTT over WebSocket. [MQTT-6.0.0-1] to [MQTT-6.0.0-4]. It may
// be reached from pages of any origin: a client shows its secret in CONNECT, and
// a certificate, which a foreign page could borrow as it could a cookie, does not
// count for one.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			Subprotocols: []string{"mqtt"}, InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled,
		})
		if err != nil {
			return // Accept has answered
		}
		if ws.Subprotocol() != "mqtt" {
			ws.Close(websocket.StatusPolicyViolation, "the subprotocol is mqtt")
			return
		}
		nc := websocket.NetConn(context.WithoutCancel(r.Context()), ws, websocket.MessageBinary)
		c := s.admit(nc, doorWebSocket, nil)
		if c == nil {
			ws.Close(websocket.StatusTryAgainLater, "too many connections")
			return
		}
		if !ingest.FromAnotherSite(r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin"), r.Host) {
			c.trust = r.TLS
		}
		c.serve()
	})
}
