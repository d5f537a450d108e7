// Package mqtt sends the agent's messages by MQTT 3.1.1 at QoS 1. The library
// is a transport only: it never reconnects, stores or resends, so a message
// without its PUBACK stays with the caller.
package mqtt

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/edge/uplink"
)

const (
	keepAlive      = 30 * time.Second
	connectTimeout = 15 * time.Second
	writeTimeout   = 15 * time.Second
	// ackTimeout is how long a PUBACK may take before the connection counts as dead.
	ackTimeout = 30 * time.Second
)

// Link is a connection to a broker or hub.
type Link struct {
	url *url.URL
	id  uplink.Identity
	log *slog.Logger
	in  uplink.Inbox

	mu   sync.Mutex
	conn *connection // nil while down
}

// connection is one session of the library's client. lost is closed when it is
// gone.
type connection struct {
	client paho.Client
	lost   chan struct{}
	once   sync.Once
	cause  error
}

// Schemes are the schemes of the URLs that New takes.
func Schemes() []string { return []string{"mqtt", "mqtts", "ws", "wss"} }

// New returns a link to an address such as mqtts://hub.example:8883. in takes
// what the hub says.
func New(address *url.URL, id uplink.Identity, log *slog.Logger, in uplink.Inbox) *Link {
	return &Link{url: address, id: id, log: log, in: in}
}

// Run keeps the link connected until the context ends.
func (l *Link) Run(ctx context.Context, up func(bool)) error {
	session := func(ctx context.Context) error { return l.session(ctx, up) }
	return uplink.Reconnect(ctx, session, func(err error, in time.Duration) {
		l.log.Warn("uplink_lost", "url", l.url.Redacted(), "error", err, "retry_in", in.Round(time.Millisecond))
	})
}

// session is one connection from its CONNECT to its end.
func (l *Link) session(ctx context.Context, up func(bool)) error {
	c := &connection{lost: make(chan struct{})}
	opts, err := l.options(c)
	if err != nil {
		return err
	}
	c.client = paho.NewClient(opts)
	token := c.client.Connect()
	select {
	case <-ctx.Done():
	case <-token.Done():
		if token.Error() != nil {
			return fmt.Errorf("connect as %q: %w", l.id.Device, token.Error())
		}
		l.listen(ctx, c)
		l.set(c)
		up(true)
		l.log.Info("uplink_connected", "url", l.url.Redacted())
		select {
		case <-ctx.Done():
		case <-c.lost:
		}
		l.set(nil)
		up(false)
	}
	c.client.Disconnect(100)
	c.drop(uplink.ErrDown)
	return c.cause
}

func (l *Link) options(c *connection) (*paho.ClientOptions, error) {
	address := *l.url
	switch address.Scheme {
	case "mqtt":
		address.Scheme = "tcp"
	case "mqtts":
		address.Scheme = "ssl"
	}
	secret, err := l.id.Secret.Read()
	if err != nil {
		return nil, err
	}
	opts := paho.NewClientOptions().AddBroker(address.String())
	opts.SetClientID(l.id.Device).SetUsername(l.id.Device).SetPassword(secret)
	opts.SetProtocolVersion(4).SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false)
	opts.SetOrderMatters(false).SetAutoAckDisabled(true).SetKeepAlive(keepAlive).SetPingTimeout(keepAlive / 2)
	opts.SetConnectTimeout(connectTimeout).SetWriteTimeout(writeTimeout)
	opts.SetConnectionLostHandler(func(_ paho.Client, err error) { c.drop(err) })
	if address.Scheme == "ssl" || address.Scheme == "wss" {
		cfg, err := l.id.TLS.Load()
		if err != nil {
			return nil, err
		}
		opts.SetTLSConfig(cfg)
	}
	return opts, nil
}

// listen asks for what the hub says, before anything is sent that could have
// rejects. A broker may not allow it; the samples go their way all the same.
func (l *Link) listen(ctx context.Context, c *connection) {
	heard := map[string]func(payload []byte) error{"rejects": l.rejects}
	if l.in.Wanted != nil {
		heard[uplink.Config] = func(payload []byte) error { l.in.Wanted(payload); return nil }
	}
	if l.in.Command != nil {
		heard[uplink.Commands] = l.in.Command
	}
	for topic, take := range heard {
		l.subscribe(ctx, c, topic, take)
	}
}

// subscribe waits for the SUBACK. What take has an error for is not
// acknowledged: it comes again over the next connection.
func (l *Link) subscribe(ctx context.Context, c *connection, topic string, take func(payload []byte) error) {
	failed := func(err error) { l.log.Warn("hub_not_heard", "topic", topic, "error", err) }
	token := c.client.Subscribe("devices/"+l.id.Device+"/"+topic, 1, func(_ paho.Client, m paho.Message) {
		if err := take(m.Payload()); err != nil {
			failed(err)
			return
		}
		m.Ack()
	})
	late := time.NewTimer(ackTimeout)
	defer late.Stop()
	select {
	case <-token.Done():
		if err := token.Error(); err != nil {
			failed(err)
		}
	case <-c.lost:
	case <-ctx.Done():
	case <-late.C:
		failed(fmt.Errorf("no SUBACK within %s", ackTimeout))
	}
}

// rejects hands them on; what cannot be read would not be mended by another
// delivery.
func (l *Link) rejects(payload []byte) error {
	r, err := uplink.ParseRejects(payload, 0)
	if err != nil {
		l.log.Warn("rejects_unreadable", "error", err)
		return nil
	}
	l.in.Rejects(r)
	return nil
}

// drop ends the connection's use; the first cause is kept.
func (c *connection) drop(cause error) {
	c.once.Do(func() {
		c.cause = cause
		close(c.lost)
	})
}

func (l *Link) set(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = c
}

// Send publishes a message and waits for its PUBACK.
func (l *Link) Send(ctx context.Context, m uplink.Message) error {
	l.mu.Lock()
	c := l.conn
	l.mu.Unlock()
	if c == nil {
		return uplink.ErrDown
	}
	token := c.client.Publish("devices/"+l.id.Device+"/"+m.Suffix, 1, false, m.Payload)
	late := time.NewTimer(ackTimeout)
	defer late.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case <-c.lost:
		return c.cause
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		c.drop(fmt.Errorf("no PUBACK within %s", ackTimeout))
		return c.cause
	}
}
