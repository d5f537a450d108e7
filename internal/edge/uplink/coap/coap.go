//lint:file-ignore SA1019 go-coap takes pion's dtls.Config and nothing newer.

// Package coap sends the agent's messages as confirmable CoAP requests, over
// DTLS with the device's secret as pre-shared key, or plainly on loopback.
package coap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	coapdtls "github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/net/blockwise"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/udp"
	"github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/songhua-io/hub/internal/edge/uplink"
)

const (
	handshakeTimeout = 15 * time.Second
	// answerTimeout is how long a message may take with all its blocks and
	// retransmissions before the session counts as dead.
	answerTimeout = time.Minute
	pingEvery     = 30 * time.Second
	pingTimeout   = 10 * time.Second
	// RFC 7252 section 4.8; NSTART is raised because the hub is ours.
	nstart        = 8
	ackTimeout    = 2 * time.Second
	maxRetransmit = 4
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 64 << 10
	// defaultPause is the pause when the hub names none (Max-Age, RFC 7252
	// section 5.10.5).
	defaultPause = time.Minute
)

// Link is a session with a hub.
type Link struct {
	url *url.URL
	id  uplink.Identity
	log *slog.Logger
	in  uplink.Inbox
	// unpack is needed because CoAP names no content coding.
	unpack *uplink.Unpacker

	mu     sync.Mutex
	conn   *client.Conn // nil while down
	secret string       // of the session
}

// Schemes are the schemes of the URLs that New takes.
func Schemes() []string { return []string{"coap", "coaps"} }

// CheckURL reports why an address cannot be used: without DTLS the secret would
// be readable on the way.
func CheckURL(u *url.URL) error {
	if u.Scheme != "coap" {
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%q would send the secret in clear text; write coaps://%s", u, u.Hostname())
}

// New returns a link to an address such as coaps://hub.example:5684. in takes
// what the hub says.
func New(address *url.URL, id uplink.Identity, log *slog.Logger, in uplink.Inbox) (*Link, error) {
	unpack, err := uplink.NewUnpacker()
	if err != nil {
		return nil, err
	}
	return &Link{url: address, id: id, log: log, in: in, unpack: unpack}, nil
}

// Run keeps the link up until the context ends.
func (l *Link) Run(ctx context.Context, up func(bool)) error {
	session := func(ctx context.Context) error { return l.session(ctx, up) }
	return uplink.Reconnect(ctx, session, func(err error, in time.Duration) {
		l.log.Warn("uplink_lost", "url", l.url.Redacted(), "error", err, "retry_in", in.Round(time.Millisecond))
	})
}

// session lasts as long as the hub answers pings. It ends after the messages
// under way did, because their requests read from the connection.
func (l *Link) session(ctx context.Context, up func(bool)) error {
	conn, err := l.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := ping(ctx, conn); err != nil {
		return fmt.Errorf("the hub does not answer: %w", err)
	}
	heard, err := l.listen(ctx, conn, nil)
	if err != nil {
		return err
	}
	l.set(conn)
	defer l.set(nil)
	up(true)
	defer up(false)
	l.log.Info("uplink_connected", "url", l.url.Redacted())
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-conn.Done():
			return errors.New("the session ended")
		case <-tick.C:
			if err := ping(ctx, conn); err != nil {
				return fmt.Errorf("the hub does not answer any more: %w", err)
			}
			// A hub that was started anew answers too, and knows nothing of those
			// who observed it (RFC 7641 section 3.3.1).
			if heard, err = l.listen(ctx, conn, heard); err != nil {
				return err
			}
		}
	}
}

func ping(ctx context.Context, conn *client.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return conn.Ping(ctx)
}

func (l *Link) set(conn *client.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
}

func (l *Link) dial(ctx context.Context) (*client.Conn, error) {
	secret, err := l.id.Secret.Read()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.secret = secret
	l.mu.Unlock()
	opts := []udp.Option{
		options.WithContext(ctx),
		options.WithTransmission(nstart, ackTimeout, maxRetransmit),
		options.WithBlockwise(true, blockwise.SZX1024, answerTimeout),
		options.WithErrors(func(err error) { l.log.Debug("coap_error", "error", err) }),
	}
	if l.url.Scheme == "coap" {
		return udp.Dial(hostPort(l.url, "5683"), opts...)
	}
	cfg, err := l.config(secret)
	if err != nil {
		return nil, err
	}
	conn, err := coapdtls.Dial(hostPort(l.url, "5684"), cfg, opts...)
	if err != nil {
		return nil, err
	}
	secure, ok := conn.NetConn().(*dtls.Conn)
	if !ok {
		return conn, nil
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("DTLS handshake as %q: %w", l.id.Device, err), conn.Close())
	}
	return conn, nil
}

// config uses the certificate when there is one, else the secret as pre-shared
// key under the device's id.
func (l *Link) config(secret string) (*dtls.Config, error) {
	if l.id.TLS.Certificate == "" {
		return &dtls.Config{
			PSK:             func([]byte) ([]byte, error) { return []byte(secret), nil },
			PSKIdentityHint: []byte(l.id.Device),
			CipherSuites:    []dtls.CipherSuiteID{dtls.TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256, dtls.TLS_PSK_WITH_AES_128_GCM_SHA256, dtls.TLS_PSK_WITH_AES_128_CCM_8},
		}, nil
	}
	cfg, err := l.id.TLS.Load()
	if err != nil {
		return nil, err
	}
	name := cfg.ServerName
	if name == "" {
		name = l.url.Hostname()
	}
	return &dtls.Config{Certificates: cfg.Certificates, RootCAs: cfg.RootCAs, ServerName: name}, nil
}

func hostPort(u *url.URL, port string) string {
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// Send posts a message and waits for the hub's answer. One that refuses the
// secret ends the session: the next begins with the secret of that moment.
func (l *Link) Send(ctx context.Context, m uplink.Message) error {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		return uplink.ErrDown
	}
	m, err := l.unpack.Unpack(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := conn.Post(ctx, l.path(m.Suffix), contentFormat(m.Suffix), bytes.NewReader(m.Payload), l.query()...)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return errors.Join(err, conn.Close())
		}
		return err
	}
	defer conn.ReleaseMessage(resp)
	if err := verdict(resp); err != nil {
		if resp.Code() == codes.Unauthorized {
			return errors.Join(err, conn.Close())
		}
		return err
	}
	l.tell(resp, m.Samples)
	return nil
}

// tell hands on the rejects of a message that was taken in part; a message that
// was stored whole has no body in its answer.
func (l *Link) tell(resp *pool.Message, samples uint32) {
	if resp.Body() == nil {
		return
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body(), maxAnswer))
	if err != nil || len(body) == 0 {
		return
	}
	r, err := uplink.ParseRejects(body, samples)
	if err != nil {
		l.log.Warn("rejects_unreadable", "error", err)
		return
	}
	l.in.Rejects(r)
}

// path is where a suffix goes: CoAP names the format of telemetry by a number.
func (l *Link) path(suffix string) string {
	if first, _, _ := strings.Cut(suffix, "/"); first != uplink.Commands && first != uplink.Config {
		suffix = first
	}
	return "/devices/" + l.id.Device + "/" + suffix
}

func contentFormat(suffix string) message.MediaType {
	first, _, _ := strings.Cut(suffix, "/")
	switch {
	case suffix == "telemetry/senml-cbor":
		return message.AppSenmlCbor
	case suffix == "telemetry/json", first == uplink.Commands, first == uplink.Config:
		return message.AppJSON
	}
	return message.AppOctets
}

// query names the device on plain loopback, where no handshake does.
func (l *Link) query() message.Options {
	if l.url.Scheme != "coap" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return message.Options{{ID: message.URIQuery, Value: []byte("token=" + l.secret)}}
}

// verdict is what an answer means for the message. Answers about the sender
// rather than the message (4.01, 4.03, 4.04) are failures that an operator can
// mend, so the message stays.
func verdict(resp *pool.Message) error {
	code := resp.Code()
	switch code {
	case codes.Changed, codes.Created, codes.Content, codes.Valid:
		return nil
	case codes.TooManyRequests, codes.ServiceUnavailable:
		return &uplink.Later{After: maxAge(resp)}
	case codes.RequestEntityTooLarge:
		return &uplink.TooLarge{Detail: detail(resp)}
	case codes.BadRequest, codes.BadOption, codes.UnsupportedMediaType:
		return &uplink.Refused{Detail: detail(resp)}
	}
	return fmt.Errorf("the hub answered %s", detail(resp))
}

func maxAge(resp *pool.Message) time.Duration {
	if n, err := resp.GetOptionUint32(message.MaxAge); err == nil {
		return time.Duration(n) * time.Second
	}
	return defaultPause
}

func detail(resp *pool.Message) string {
	text := resp.Code().String()
	if resp.Body() == nil {
		return text
	}
	if body, err := io.ReadAll(io.LimitReader(resp.Body(), 512)); err == nil && len(body) > 0 {
		text += ": " + string(body)
	}
	return text
}
