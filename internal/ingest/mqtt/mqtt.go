// Package mqtt is the hub's own MQTT server, versions 3.1.1 and 5, over TCP,
// TLS and WebSocket: a QoS 1 or 2 message is acknowledged only after what it
// carries is durable, and a device can do nothing beyond its own name.
//
// One goroutine serves a connection. All packets of one read are one delivery,
// stored together and answered in one write. While a connection is silent it
// holds no buffer: the goroutine sleeps until the socket is readable.
package mqtt

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Deps are what a server works with. All but Mail, Orders and Units are
// required.
type Deps struct {
	// Ingest stores a delivery and returns when it is durable
	// (ingest.Pipeline.Ingest).
	Ingest func(*ingest.Delivery) error
	// Refuse makes a reject of a message that was not read
	// (ingest.Pipeline.Refuse).
	Refuse   func(device string, reason telemetry.Reason, detail string)
	Gate     ingest.Gate
	Presence ingest.Presence
	Quotas   *quota.Quotas
	// Mail is what devices hear on devices/{id}/commands and devices/{id}/config,
	// and where they answer. Without it those topics are silent.
	Mail ingest.Mail
	// Orders is what roadside units hear on topics of their dialects, and where they
	// answer. Without it those topics are silent.
	Orders ingest.Orders
	// Units tells whom messages on topics of V2X dialects are of; nil: they are
	// refused.
	Units   ingest.Units
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Server is an MQTT server for any number of listeners.
type Server struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	bursts  bursts
	unfold  unfolder
	names   atomic.Uint64 // client ids given out
	ahead   atomic.Int64  // bytes that are read, or room to read, of connections that are held

	mu       sync.RWMutex
	closing  bool
	conns    []*conn           // all; conn.slot is the index
	sessions map[session]*conn // those that have connected
	rooms    map[string]*room  // by device, where there is something to deliver
	empty    chan struct{}     // closed when closing and conns is empty
}

// session is what MQTT calls a session's name. The device is part of it: a
// client id takes over only connections of its own device.
type session struct{ device, client string }

// New returns a server. Connections are watched, and ended, by Run. Art. 14(2)
func New(cfg Config, deps Deps) (*Server, error) {
	if err := strict.Join(cfg.Check("mqtt")); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, deps: deps,
		sessions: map[session]*conn{}, rooms: map[string]*room{},
		empty: make(chan struct{}),
	}
	s.metrics = newMetrics(deps.Metrics, s)
	if err := s.unfold.init(cfg.MaxUnfoldedBytes); err != nil {
		return nil, fmt.Errorf("max_unfolded_bytes %d: %w", cfg.MaxUnfoldedBytes, err)
	}
	return s, nil
}

// watchEvery is how often connections are looked at for silence, revocation
// and stalled writes: without a timer or a goroutine for each.
const watchEvery = 400 * time.Millisecond

// stalled is how long a write may take before its reader counts as gone.
const stalled = 20 * time.Second

// Run watches the connections until ctx ends, then ends them: each answers
// what it had begun, says DISCONNECT and closes. It returns when all are gone.
func (s *Server) Run(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	done := ctx.Done()
	var all []*conn
	for {
		select {
		case <-done:
			done = nil
			s.close()
		case <-s.empty:
			return nil
		case <-tick.C:
		}
		all = s.snapshot(all)
		now := s.deps.Clock().UnixMilli()
		for _, c := range all {
			c.inspect(now)
		}
		clear(all)
	}
}

func (s *Server) snapshot(into []*conn) []*conn {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return append(into[:0], s.conns...)
}

// close ends all connections and refuses new ones.
func (s *Server) close() {
	s.mu.Lock()
	s.closing = true
	all := append([]*conn(nil), s.conns...)
	if len(all) == 0 {
		close(s.empty)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.end(&ending{how: ingest.LeftShutdown, code: codeShuttingDown, text: "the hub is shutting down"})
	}
}

// inspect ends a connection that was silent for too long, whose device may no
// longer be here, or that does not read what it is sent.
func (c *conn) inspect(now int64) {
	if since := c.writing.Load(); since != 0 && now-since > stalled.Milliseconds() {
		c.s.metrics.slow.Inc()
		c.end(&ending{how: ingest.LeftLost, text: "the client does not read", will: true})
		c.net.Close()
		return
	}
	if p := c.peer.Load(); p != nil {
		select {
		case <-p.Done:
			c.end(&ending{how: ingest.LeftRevoked, code: codeAdministrative, text: "the device was disabled, removed or given a new secret", will: true})
			return
		default:
		}
	}
	c.recheckChildren()
	silence := c.silence.Load()
	if silence == 0 || now-c.heard.Load() <= silence {
		return
	}
	if c.peer.Load() == nil {
		c.s.metrics.refused.WithLabelValues("connect_timeout").Inc()
		c.end(&ending{how: ingest.LeftProtocol, text: "no CONNECT came in time"})
		return
	}
	c.end(&ending{how: ingest.LeftKeepAlive, code: codeKeepAlive, text: "nothing came for 1.5 keep-alives [MQTT-3.1.2-22]", will: true})
}

// Connections returns how many connections are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}
