package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
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
	// Sessions is how many connections are made; a broker sends each a limited number of unacknowledged messages. The first also takes Sparkplug B.
	Sessions int `yaml:"sessions"`
}

// DefaultExternalConfig returns the settings of a hub without a config file.
func DefaultExternalConfig() ExternalConfig {
	return ExternalConfig{ClientID: "hub", Group: "hub", Sessions: 2}
}

// Check reports the first setting that makes no sense.
func (c ExternalConfig) Check() error {
	switch {
	case len(c.Brokers) == 0:
		return nil
	case c.ClientID == "":
		return errors.New("client_id is empty: without a lasting name, messages are lost when the hub restarts")
	case c.Group == "" || strings.ContainsAny(c.Group, "/+#"):
		return fmt.Errorf("group %q: one level of a topic, without wildcards", c.Group)
	case c.Sessions < 1 || c.Sessions > 64:
		return fmt.Errorf("sessions %d: use 1 to 64", c.Sessions)
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("cert_file and key_file go together")
	}
	return nil
}

// External takes the telemetry of all devices from a broker. A message is
// acknowledged to the broker after it is durable; the broker sends again what
// was not.
type External struct {
	cfg     ExternalConfig
	server  *Server // whose pipeline and bounds it shares
	tls     *tls.Config
	secret  string
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
	if err := cfg.Check(); err != nil {
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

func (x *External) options(client string) *paho.ClientOptions {
	o := paho.NewClientOptions().SetClientID(client).SetUsername(x.cfg.User).SetPassword(x.secret).
		SetTLSConfig(x.tls).SetProtocolVersion(4).SetCleanSession(false).SetAutoReconnect(false).SetConnectRetry(false).
		SetAutoAckDisabled(true).SetOrderMatters(true).SetKeepAlive(30 * time.Second).SetPingTimeout(answerWithin).
		SetConnectTimeout(10 * time.Second).SetWriteTimeout(10 * time.Second)
	for _, b := range x.cfg.Brokers {
		o.AddBroker(b)
	}
	return o
}
