package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/telemetry"
)

// ExternalConfig names a broker that stands between the devices and the hub,
// in place of the hub's own doors.
//
// The broker is trusted: it checks who a device is and that it publishes
// beneath its own name; the hub takes the device from the topic.
type ExternalConfig struct {
	// Brokers are the addresses of one broker or cluster, such as tcp://broker:1883 or ssl://broker:8883. Empty: no external broker.
	Brokers []string `yaml:"brokers"`
	// User and PasswordFile are how the hub logs in; the file holds the password alone.
	User         string `yaml:"user"`
	PasswordFile string `yaml:"password_file"`
	// CAFile are the certificates the broker's is checked against; empty means those of the system.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the hub's own certificate, where the broker asks for one.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ClientID names the hub's sessions at the broker. It must stay the same over restarts, or messages that were not acknowledged are not sent again.
	ClientID string `yaml:"client_id"`
	// Group is the shared subscription: hubs with the same group divide the messages among themselves.
	Group string `yaml:"group"`
	// Sessions is how many connections are made; a broker sends each a limited number of unacknowledged messages.
	Sessions int `yaml:"sessions"`
}

// DefaultExternalConfig returns the settings of a hub without a config file.
func DefaultExternalConfig() ExternalConfig {
	return ExternalConfig{ClientID: "hub", Group: "hub", Sessions: 2}
}

// Check returns every setting that makes no sense.
func (c ExternalConfig) Check(path string) []strict.Error {
	errs := strict.Between(path, "sessions", c.Sessions, 1, 64)
	fault := func(key, format string, args ...any) {
		errs = append(errs, strict.Fault(path, key, format, args...))
	}
	for i, broker := range c.Brokers {
		if u, err := url.Parse(broker); err != nil || u.Hostname() == "" || !slices.Contains(brokerSchemes[:], u.Scheme) {
			fault(fmt.Sprintf("brokers[%d]", i), "%q is no address of a broker; write %s followed by ://host:port", broker, strings.Join(brokerSchemes[:], ", "))
		}
	}
	if c.ClientID == "" {
		fault("client_id", "is empty; without a lasting name, messages are lost when the hub restarts, so give one such as hub")
	}
	if c.Group == "" || strings.ContainsAny(c.Group, "/+#") {
		fault("group", "%q is not one level of a topic; write a name without /, + and #", c.Group)
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		fault("", "cert_file and key_file go together; one of them is missing")
	}
	return errs
}

// brokerSchemes are the transports of the client library.
var brokerSchemes = [...]string{"tcp", "mqtt", "ssl", "tls", "mqtts", "ws", "wss"}

// External takes the telemetry of all devices from a broker. A message is
// acknowledged to the broker after it is durable; the broker sends again what
// was not.
type External struct {
	cfg     ExternalConfig
	ingest  func(*ingest.Delivery) error
	log     *slog.Logger
	tls     *tls.Config
	secret  string
	metrics *externalMetrics
}

type externalMetrics struct {
	connected prometheus.Gauge
	messages  prometheus.Counter
	foreign   prometheus.Counter
}

// NewExternal reads the files that the config names. Only Ingest, Log and
// Metrics of deps are used.
func NewExternal(cfg ExternalConfig, deps Deps) (*External, error) {
	if err := strict.Join(cfg.Check("broker")); err != nil {
		return nil, fmt.Errorf("external broker: %w", err)
	}
	x := &External{cfg: cfg, ingest: deps.Ingest, log: deps.Log, metrics: &externalMetrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_mqtt_external_sessions", Help: "Sessions with the external broker that are up."}),
		messages:  prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_mqtt_external_messages_total", Help: "Messages taken from the external broker."}),
		foreign:   prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_mqtt_external_refused_total", Help: "Messages from the external broker whose topic names no device or format."}),
	}}
	deps.Metrics.MustRegister(x.metrics.connected, x.metrics.messages, x.metrics.foreign)
	if err := x.readFiles(); err != nil {
		return nil, fmt.Errorf("external broker: %w", err)
	}
	return x, nil
}

func (x *External) readFiles() error {
	if x.cfg.PasswordFile != "" {
		b, err := os.ReadFile(x.cfg.PasswordFile)
		if err != nil {
			return err
		}
		x.secret = strings.TrimRight(string(b), "\r\n")
	}
	x.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if x.cfg.CAFile != "" {
		b, err := os.ReadFile(x.cfg.CAFile)
		if err != nil {
			return err
		}
		x.tls.RootCAs = x509.NewCertPool()
		if !x.tls.RootCAs.AppendCertsFromPEM(b) {
			return fmt.Errorf("ca_file %s holds no certificate in PEM", x.cfg.CAFile)
		}
	}
	if x.cfg.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(x.cfg.CertFile, x.cfg.KeyFile)
		if err != nil {
			return err
		}
		x.tls.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// Run holds the sessions until ctx ends or the store fails.
func (x *External) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range x.cfg.Sessions {
		g.Go(func() error { return x.session(ctx, fmt.Sprintf("%s-%d", x.cfg.ClientID, i)) })
	}
	return g.Wait()
}

// externalQueue is how many messages of a session may wait to be stored.
const externalQueue = 1024

// session connects again for as long as ctx lasts.
func (x *External) session(ctx context.Context, client string) error {
	wait := 100 * time.Millisecond
	for ctx.Err() == nil {
		begin := time.Now()
		err := x.connected(ctx, client)
		if failed := (*storeFailure)(nil); errors.As(err, &failed) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begin) > time.Minute {
			wait = 100 * time.Millisecond
		}
		x.log.Warn("external mqtt broker is not connected", "client", client, "error", err, "again_in", wait.String())
		// Between half and the whole of wait, so that hubs do not come in step.
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
		wait = min(2*wait, 30*time.Second)
	}
	return nil
}

// storeFailure ends the hub: nothing of the delivery may be acknowledged.
type storeFailure struct{ error }

func (e *storeFailure) Unwrap() error { return e.error }

// connected runs one connection until it breaks.
func (x *External) connected(ctx context.Context, client string) error {
	inbox := make(chan paho.Message, externalQueue)
	lost := make(chan error, 1)
	gone, leave := context.WithCancel(ctx)
	defer leave()
	c := paho.NewClient(x.options(client, func(_ paho.Client, m paho.Message) {
		select {
		case inbox <- m:
		case <-gone.Done(): // not acknowledged: it is sent again
		}
	}, func(_ paho.Client, err error) {
		select {
		case lost <- err:
		default:
		}
	}))
	if tok := c.Connect(); !tok.WaitTimeout(30*time.Second) || tok.Error() != nil {
		return fmt.Errorf("connect: %w", reasonFor(tok))
	}
	x.metrics.connected.Inc()
	defer x.metrics.connected.Dec()
	defer c.Disconnect(250)
	defer leave()
	// telemetry/# means telemetry as well. [MQTT-4.7.1-2]
	share := "$share/" + x.cfg.Group + "/devices/+/telemetry/#"
	if tok := c.Subscribe(share, 1, nil); !tok.WaitTimeout(30*time.Second) || tok.Error() != nil {
		return fmt.Errorf("subscribe to %s: %w", share, reasonFor(tok))
	}
	return x.deliver(gone, inbox, lost)
}

func reasonFor(tok paho.Token) error {
	if err := tok.Error(); err != nil {
		return err
	}
	return errors.New("no answer in 30 s")
}

func (x *External) options(client string, take paho.MessageHandler, lost paho.ConnectionLostHandler) *paho.ClientOptions {
	o := paho.NewClientOptions().SetClientID(client).SetUsername(x.cfg.User).SetPassword(x.secret).
		SetTLSConfig(x.tls).SetProtocolVersion(4).SetCleanSession(false).SetAutoReconnect(false).SetConnectRetry(false).
		SetAutoAckDisabled(true).SetOrderMatters(true).SetKeepAlive(30 * time.Second).SetConnectTimeout(10 * time.Second).
		SetDefaultPublishHandler(take).SetConnectionLostHandler(lost)
	for _, b := range x.cfg.Brokers {
		o.AddBroker(b)
	}
	return o
}

// deliver stores what has come together and acknowledges it.
func (x *External) deliver(ctx context.Context, inbox <-chan paho.Message, lost <-chan error) error {
	var d ingest.Delivery
	var group []paho.Message
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return fmt.Errorf("connection lost: %w", err)
		case m := <-inbox:
			group = append(group[:0], m)
		}
		for len(group) < externalQueue && len(inbox) > 0 {
			group = append(group, <-inbox)
		}
		d.Reset()
		for _, m := range group {
			x.add(&d, m)
		}
		if err := x.store(ctx, &d); err != nil {
			return err
		}
		x.metrics.messages.Add(float64(len(group)))
		for _, m := range group {
			m.Ack()
		}
		d.Trim()
		clear(group)
	}
}

// add takes the device and the format from the topic.
func (x *External) add(d *ingest.Delivery, m paho.Message) {
	rest, _ := strings.CutPrefix(m.Topic(), "devices/")
	id, suffix, _ := strings.Cut(rest, "/telemetry")
	f, known := codec.FromSuffix([]byte(strings.TrimPrefix(suffix, "/")))
	msg := d.Add(id, f, m.Payload())
	if err := telemetry.CheckDeviceID(id); err != nil {
		x.metrics.foreign.Inc()
		msg.Refuse(telemetry.ReasonUnknownDevice, "topic "+m.Topic()+": "+err.Error())
	} else if suffix != "" && !known {
		x.metrics.foreign.Inc()
		msg.Refuse(telemetry.ReasonUnsupported, "topic "+m.Topic()+": no format of that name")
	}
}

// store waits while the hub is busy or a device too fast: the broker holds the
// messages back meanwhile.
func (x *External) store(ctx context.Context, d *ingest.Delivery) error {
	var held time.Duration
	for {
		err := x.ingest(d)
		if err == nil {
			return nil
		}
		wait, again := retryAfter(err, held)
		if !again && errors.Is(err, ingest.ErrClosed) {
			return err
		}
		if !again {
			return &storeFailure{err}
		}
		held += wait
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
