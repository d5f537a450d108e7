// Package coap is the door for telemetry over CoAP, plain and in DTLS: it
// answers 2.04 only when what it acknowledges is durable, and keeps nothing
// for senders that have not shown who they are.
//
// The message layer of a server is here whole (RFC 7252 sections 3 and 4, RFC
// 7959 Block1): datagrams that wait in the socket are read together, stored
// with one commit and answered together.
package coap

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
)

// Config bounds what senders may cost.
type Config struct {
	// PlainBeyondLoopback takes CoAP without DTLS from other machines too; secrets then cross the network in the clear.
	PlainBeyondLoopback bool `yaml:"plain_beyond_loopback"`
	// MaxMessage is the largest message in bytes, put together from its blocks.
	MaxMessage int `yaml:"max_message"`
	// MaxTransfers is how many messages may be coming in blocks at once.
	MaxTransfers int `yaml:"max_transfers"`
	// MaxTransfersPerAddress is the same for one IP address.
	MaxTransfersPerAddress int `yaml:"max_transfers_per_address"`
	// MaxTransferMemory is how many bytes all of them may hold together.
	MaxTransferMemory int `yaml:"max_transfer_memory"`
	// MaxRemembered is how many answers are remembered for repeated datagrams.
	MaxRemembered int `yaml:"max_remembered"`
	// MaxSessions is how many DTLS sessions there may be.
	MaxSessions int `yaml:"max_sessions"`
	// MaxHandshakes is how many DTLS handshakes may be under way.
	MaxHandshakes int `yaml:"max_handshakes"`
	// HandshakeTimeout is how long a DTLS handshake may take.
	HandshakeTimeout time.Duration `yaml:"handshake_timeout"`
	// SessionIdle is after how long without a message a DTLS session ends.
	SessionIdle time.Duration `yaml:"session_idle"`
}

// DefaultConfig returns the bounds of a hub without a config file.
func DefaultConfig() Config {
	return Config{
		MaxMessage: 1 << 20, MaxTransfers: 4096, MaxTransfersPerAddress: 64, MaxTransferMemory: 64 << 20, MaxRemembered: 1 << 19,
		MaxSessions: 20_000, MaxHandshakes: 256, HandshakeTimeout: 10 * time.Second, SessionIdle: 15 * time.Minute,
	}
}

// Deps are what the door works with. All but Units are required.
type Deps struct {
	Pipeline *ingest.Pipeline
	Gate     ingest.Gate
	Mail     ingest.Mail
	// Units names the kinds of V2X messages; nil: they are refused.
	Units   ingest.Units
	Quotas  *quota.Quotas
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Door takes telemetry over CoAP.
type Door struct {
	cfg       Config
	deps      Deps
	metrics   *metrics
	memory    *memory
	transfers *transfers
	separates *separates
	observers *observers
	waiting   chan struct{} // a token for each answer that is being kept
	ids       atomic.Uint32 // of messages that the door begins
	sessions  atomic.Int64
}

// New returns a door that serves when Serve or ServeDTLS is called. Art. 14(2)
func New(cfg Config, deps Deps) *Door {
	d := &Door{cfg: cfg, deps: deps, memory: newMemory(cfg.MaxRemembered), transfers: newTransfers(cfg), separates: newSeparates(), observers: newObservers(), waiting: make(chan struct{}, maxLater)}
	d.ids.Store(uint32(deps.Clock().UnixNano()))
	d.metrics = newMetrics(deps.Metrics, d)
	return d
}

// endpoint is where a message came from and where its answer goes.
type endpoint struct {
	addr    netip.AddrPort
	local   netip.Addr // of this host, where the socket has several
	session *session   // nil on plain UDP
	plain   *socket    // nil in DTLS
}

// send sends one datagram outside of a burst's answers.
func (e endpoint) send(b []byte) error {
	if e.session != nil {
		return e.session.send(b)
	}
	_, _, err := e.plain.conn.WriteMsgUDPAddrPort(b, controlFrom(e.local), e.addr)
	return err
}

// nextID returns a message id for a message that the door begins.
func (d *Door) nextID() uint16 { return uint16(d.ids.Add(1)) }

// fault reports an error that ends the way of nothing but itself.
func (d *Door) fault(what string, from netip.AddrPort, err error) {
	if err != nil && !errors.Is(err, ingest.ErrUnauthorized) {
		d.deps.Log.Warn(what, "door", "coap", "address", from.Addr().String(), "error", err)
	}
}
