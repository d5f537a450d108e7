package ingest

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Credentials are what a device shows at a door: a secret, or a verified
// client certificate whose common name is the device id, or a PSK identity
// that DTLS has already proven.
type Credentials struct {
	ID          string // empty when only the secret names the device (HTTP bearer)
	Secret      []byte
	Certificate *x509.Certificate
	Proven      bool // the transport has proven that it is ID (DTLS PSK)
	// About is the device that the sender speaks of, where only the secret
	// names the sender: it helps to tell devices apart that share a secret.
	About string
	// Door names where it came, as presence does: mqtt, coaps, http.
	Door    string
	Address netip.Addr
}

// Peer is a device that has shown who it is. It stays valid until Done closes:
// the device was disabled or removed, or its secret rotated. A door ends the
// peer's connections then.
type Peer struct {
	Device *telemetry.Device
	// Token is the name of a program's token; empty for devices.
	Token string
	// Gateway peers may speak for other devices; a door asks Gate.MaySpeak.
	Gateway bool
	Done    <-chan struct{}
}

// Gate is whom the doors ask. Implementations keep no state for strangers.
type Gate interface {
	// Authenticate returns the peer behind the credentials, or ErrUnauthorized
	// (wrapped with a reason for logs, never for the sender), or a *quota.Exceeded
	// (which the sender may read) where its address erred too often.
	Authenticate(ctx context.Context, c Credentials) (*Peer, error)
	// PSK returns the key of a device for DTLS; ErrUnauthorized when there is
	// none. From is who asks for it.
	PSK(id string, from netip.Addr) ([]byte, error)
	// MaySpeak reports whether the peer may send telemetry of a device.
	MaySpeak(p *Peer, device string) bool
	// MayHear reports whether the peer may hear what the hub says to a device, and
	// answer for it: one that it may speak for, and that is not disabled. The answer
	// changes while the peer is connected.
	MayHear(p *Peer, device string) bool
}

// ErrUnauthorized is what every failed authentication is.
var ErrUnauthorized = errors.New("unauthorized")

// Leaving says how a connection ended.
type Leaving string

// The ways in which a connection ends.
const (
	LeftDisconnect Leaving = "disconnect" // the device said goodbye
	LeftLost       Leaving = "lost"       // the connection broke
	LeftKeepAlive  Leaving = "keep_alive" // nothing came for 1.5 keep-alives
	LeftWill       Leaving = "last_will"  // no goodbye, or one that asks for it: its last will was published
	LeftTakenOver  Leaving = "taken_over" // the same client id connected again
	LeftRevoked    Leaving = "revoked"    // disabled, removed or rotated
	LeftProtocol   Leaving = "protocol"   // it broke the protocol or a limit
	LeftShutdown   Leaving = "shutdown"   // the hub stops
)

// Presence is told of connections. Calls do not block.
type Presence interface {
	Connected(device, door string)
	Left(device, door string, how Leaving)
}
