package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/config/strict"
)

// ExternalConfig names a broker that stands between the devices and the hub,
// in place of the hub's own doors.
//
// The broker is trusted: it checks who a device is and that it publishes
// beneath its own name; the hub takes the device from the topic.
type ExternalConfig struct {
	// Brokers are the addresses of one broker or cluster, such as tcp://broker:1883 or ssl://broker:8883. Empty: no external broker.
	Brokers []string `yaml:"brokers"`
	// User and PasswordFile are how the hub logs in; the file holds the password alone and, as those below, is read at every connection.
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
	// Sessions is how many connections are made; a broker sends each a limited number of unacknowledged messages. The first also takes Sparkplug B.
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
	server  *Server // whose pipeline and bounds it shares
	metrics *externalMetrics
	nodes   nodes // owned by the first session
}

type externalMetrics struct {
	connected prometheus.Gauge
	messages  prometheus.Counter
	foreign   prometheus.Counter
	nodes     prometheus.Gauge
}

// NewExternal reads the files that the config names. The external broker has
// the server's pipeline, log, metrics and bounds of compressed payloads.
func (s *Server) NewExternal(cfg ExternalConfig) (*External, error) {
	if err := strict.Join(cfg.Check("broker")); err != nil {
		return nil, fmt.Errorf("external broker: %w", err)
	}
	x := &External{cfg: cfg, server: s, metrics: &externalMetrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_mqtt_external_sessions", Help: "Sessions with the external broker that are up and subscribed."}),
		messages:  prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_mqtt_external_messages_total", Help: "Messages taken from the external broker."}),
		foreign:   prometheus.NewCounter(prometheus.CounterOpts{Name: "hub_mqtt_external_refused_total", Help: "Messages from the external broker whose topic names no device or format."}),
		nodes:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_mqtt_external_sparkplug_nodes", Help: "Sparkplug edge nodes behind the external broker whose births are remembered, at most 10000."}),
	}}
	s.deps.Metrics.MustRegister(x.metrics.connected, x.metrics.messages, x.metrics.foreign, x.metrics.nodes)
	x.nodes = nodes{known: map[nodeName]*node{}, count: x.metrics.nodes}
	if _, _, err := x.readFiles(); err != nil {
		return nil, fmt.Errorf("external broker: %w", err)
	}
	return x, nil
}

// readFiles reads what the hub shows to the broker and trusts, for every
// connection anew: files that changed need no restart.
func (x *External) readFiles() (secret string, trust *tls.Config, err error) {
	if x.cfg.PasswordFile != "" {
		b, err := os.ReadFile(x.cfg.PasswordFile)
		if err != nil {
			return "", nil, err
		}
		secret = strings.TrimRight(string(b), "\r\n")
	}
	trust = &tls.Config{MinVersion: tls.VersionTLS12}
	if x.cfg.CAFile != "" {
		b, err := os.ReadFile(x.cfg.CAFile)
		if err != nil {
			return "", nil, err
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(b) {
			return "", nil, fmt.Errorf("ca_file %s holds no certificate in PEM", x.cfg.CAFile)
		}
	}
	if x.cfg.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(x.cfg.CertFile, x.cfg.KeyFile)
		if err != nil {
			return "", nil, err
		}
		trust.Certificates = []tls.Certificate{pair}
	}
	return secret, trust, nil
}

// Run holds the sessions until ctx ends or the store fails.
func (x *External) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range x.cfg.Sessions {
		g.Go(func() error { return x.session(ctx, i) })
	}
	return g.Wait()
}

// session connects again for as long as ctx lasts.
func (x *External) session(ctx context.Context, number int) error {
	client := fmt.Sprintf("%s-%d", x.cfg.ClientID, number)
	wait := 100 * time.Millisecond
	for ctx.Err() == nil {
		begin := time.Now()
		err := x.connected(ctx, client, number == 0)
		if failed := (*storeFailure)(nil); errors.As(err, &failed) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begin) > time.Minute {
			wait = 100 * time.Millisecond
		}
		x.server.deps.Log.Warn("external mqtt broker is not connected", "client", client, "error", err, "again_in", wait.String())
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

func (x *External) options(client string) (*paho.ClientOptions, error) {
	secret, trust, err := x.readFiles()
	if err != nil {
		return nil, err
	}
	o := paho.NewClientOptions().SetClientID(client).SetUsername(x.cfg.User).SetPassword(secret).
		SetTLSConfig(trust).SetProtocolVersion(4).SetCleanSession(false).SetAutoReconnect(false).SetConnectRetry(false).
		SetAutoAckDisabled(true).SetOrderMatters(true).SetKeepAlive(30 * time.Second).SetPingTimeout(answerWithin).
		SetConnectTimeout(10 * time.Second).SetWriteTimeout(10 * time.Second)
	for _, b := range x.cfg.Brokers {
		o.AddBroker(b)
	}
	return o, nil
}
