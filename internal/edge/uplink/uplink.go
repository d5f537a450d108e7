// Package uplink is the contract between the agent and the ways to its hub: a
// message is sent, and the answer says whether the hub has it.
package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// Message is one message of the agent's device.
type Message struct {
	// Suffix is what follows devices/{id}/ in the topic or path: telemetry/json,
	// v2x/uper.
	Suffix  string
	Payload []byte
	// Zstd says that the payload is compressed. A link whose protocol cannot
	// carry that sends it unpacked.
	Zstd bool
}

// Link carries messages to the hub. Run keeps it connected until the context
// ends and calls up with true and false as the connection comes and goes. Send
// may be called by several goroutines; it returns nil when the hub acknowledged
// the message, a *[TooLarge] when it may take the message in parts, a *[Refused]
// when it never will, a *[Later] when it asks for a pause, and any other error when the message is to be sent again
// once the link is up.
type Link interface {
	Run(ctx context.Context, up func(bool)) error
	Send(ctx context.Context, m Message) error
}

// ErrDown is returned by Send while there is no connection.
var ErrDown = errors.New("not connected to the hub")

// Refused says that the hub will not take a message however often it is sent.
type Refused struct{ Detail string }

func (e *Refused) Error() string { return "the hub refused the message: " + e.Detail }

// TooLarge says that the hub takes no message of this size.
type TooLarge struct{ Detail string }

func (e *TooLarge) Error() string { return "the message is too large: " + e.Detail }

// Later says that the hub asks to be left alone for a while.
type Later struct{ After time.Duration }

func (e *Later) Error() string { return fmt.Sprintf("the hub asks for a pause of %s", e.After) }

// Identity is who the agent is towards the hub.
type Identity struct {
	Device, Secret string
	TLS            TLS
}

// TLS is the trust and the certificate of a connection.
type TLS struct {
	// CA is a PEM file of the authorities that may sign the hub's certificate;
	// empty means those of the system.
	CA string `yaml:"ca"`
	// Certificate is a PEM file of the agent's certificate, whose common name is the device id.
	Certificate string `yaml:"certificate"`
	// Key is a PEM file of the certificate's key.
	Key string `yaml:"key"`
	// ServerName is the name that the hub's certificate must have; empty means
	// the host of the URL.
	ServerName string `yaml:"server_name"`
}

// Load reads the files.
func (t TLS) Load() (*tls.Config, error) {
	cfg := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("uplink.tls.ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("uplink.tls.ca: %s holds no PEM certificate", t.CA)
		}
	}
	if t.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("uplink.tls.certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

const (
	firstPause = time.Second
	maxPause   = time.Minute
	// stable is how long a connection lasts that counts as a good one.
	stable = 30 * time.Second
)

// Reconnect calls session again and again until the context ends. Pauses double
// up to a minute and are jittered, so that a fleet does not come back at once;
// after a session that lasted they begin small again.
func Reconnect(ctx context.Context, session func(context.Context) error, failed func(err error, retryIn time.Duration)) error {
	pause := firstPause
	for {
		began := time.Now()
		err := session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > stable {
			pause = firstPause
		}
		wait := pause/2 + rand.N(pause)
		failed(err, wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		pause = min(2*pause, maxPause)
	}
}
