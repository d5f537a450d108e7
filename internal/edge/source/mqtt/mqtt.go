// Package mqtt takes the messages of a local broker. A message is acknowledged
// to the broker once it is on disk, and the session outlives the connection, so
// what devices publish while the agent restarts waits at the broker.
package mqtt

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/trust"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Config is one broker.
type Config struct {
	source.Common
	// URL is the broker: mqtt://host:1883 or mqtts://host:8883.
	URL string `yaml:"url"`
	// ClientID is the name of the session at the broker; no other client may
	// have it. Empty means edge-agent- and the device id.
	ClientID string `yaml:"client_id"`
	// Username is the user at the broker.
	Username string `yaml:"username"`
	// Password is the user's password.
	Password string `yaml:"password"`
	// TLS is the trust of mqtts, and a certificate for the broker.
	TLS trust.TLS `yaml:"tls"`
	// Topics are the filters to subscribe to.
	Topics []string `yaml:"topics"`
	// Format is how the payloads are written: auto, senml, senml-cbor, json or influx.
	Format source.Format `yaml:"format"`
	// TopicTag is the tag that holds the topic; empty means none.
	TopicTag string `yaml:"topic_tag"`
	// Levels makes tags of levels of the topic: {room: 2} takes the second one.
	Levels map[string]int `yaml:"levels"`
}

// SetDefaults takes the broker of this machine.
func (c *Config) SetDefaults() { c.URL, c.TopicTag = "mqtt://127.0.0.1:1883", "topic" }

// Check reports values that cannot be used.
func (c Config) Check(path string) []strict.Error {
	errs := c.CheckTags(path)
	u, err := url.Parse(c.URL)
	if err != nil || !slices.Contains([]string{"mqtt", "mqtts"}, u.Scheme) || u.Host == "" {
		errs = append(errs, strict.Fault(path, "url", "%q is no broker; write mqtt://host:1883 or mqtts://host:8883", c.URL))
	}
	if len(c.Topics) == 0 {
		errs = append(errs, strict.Fault(path, "topics", "is empty; name the topics to take, such as sensors/#"))
	}
	for _, t := range c.Topics {
		if t == "" || strings.Contains(strings.TrimSuffix(t, "#"), "#") {
			errs = append(errs, strict.Fault(path, "topics", "%q is no topic filter; # stands at the end only", t))
		}
	}
	for tag, level := range c.Levels {
		if level < 1 || telemetry.IsReserved([]byte(tag)) {
			errs = append(errs, strict.Fault(path, "levels", "%s: %d: levels count from 1, and device, kind, site and region belong to the hub", tag, level))
		}
	}
	return errs
}

const (
	connectTimeout = 15 * time.Second
	// queued bounds the messages that wait for the disk; the broker keeps more.
	queued = 256
	group  = 256
)

// New returns the source.
func New(cfg Config, device string, now func() time.Time) source.Source {
	return source.Func(func(ctx context.Context, put source.Put) error {
		s := &session{cfg: cfg, put: source.Tagged(put, cfg.Tags), in: make(chan paho.Message, queued), lost: make(chan error, 1)}
		s.decoder = source.Decoder{Format: cfg.Format.Format, Device: device, Now: now}
		return s.run(ctx, device)
	})
}

// session is one connection.
type session struct {
	cfg     Config
	put     source.Put
	decoder source.Decoder
	in      chan paho.Message
	lost    chan error
}

func (s *session) run(ctx context.Context, device string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opts, err := s.options(ctx, device)
	if err != nil {
		return err
	}
	client := paho.NewClient(opts)
	defer func() {
		cancel() // Disconnect waits for the handler, which this ends
		client.Disconnect(100)
	}()
	if err := await(ctx, client.Connect()); err != nil {
		return fmt.Errorf("connect to %s: %w", s.cfg.URL, err)
	}
	filters := map[string]byte{}
	for _, t := range s.cfg.Topics {
		filters[t] = 1
	}
	token := client.SubscribeMultiple(filters, nil)
	if err := await(ctx, token); err != nil {
		return fmt.Errorf("subscribe at %s: %w", s.cfg.URL, err)
	}
	for topic, qos := range token.(*paho.SubscribeToken).Result() {
		if qos == 0x80 {
			return fmt.Errorf("the broker refuses the subscription to %q; allow it for the user %q", topic, s.cfg.Username)
		}
	}
	if err := s.put(ctx, source.Record{}); err != nil {
		return err
	}
	return s.forward(ctx)
}

func (s *session) options(ctx context.Context, device string) (*paho.ClientOptions, error) {
	address := strings.Replace(strings.Replace(s.cfg.URL, "mqtts://", "ssl://", 1), "mqtt://", "tcp://", 1)
	id := s.cfg.ClientID
	if id == "" {
		id = "edge-agent-" + device
	}
	opts := paho.NewClientOptions().AddBroker(address).SetClientID(id).SetUsername(s.cfg.Username).SetPassword(s.cfg.Password)
	opts.SetProtocolVersion(4).SetCleanSession(false).SetAutoReconnect(false).SetConnectRetry(false)
	opts.SetConnectTimeout(connectTimeout).SetAutoAckDisabled(true).SetOrderMatters(true)
	opts.SetConnectionLostHandler(func(_ paho.Client, err error) { s.lost <- err })
	opts.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		select {
		case s.in <- m:
		case <-ctx.Done():
		}
	})
	if strings.HasPrefix(address, "ssl:") {
		cfg, err := s.cfg.TLS.Load()
		if err != nil {
			return nil, err
		}
		opts.SetTLSConfig(cfg)
	}
	return opts, nil
}

func await(ctx context.Context, t paho.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forward puts messages and acknowledges them, those that are there together.
func (s *session) forward(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	defer func() { cancel(nil); <-ended }()
	go func() {
		defer close(ended)
		select {
		case err := <-s.lost:
			cancel(fmt.Errorf("%s: %w", s.cfg.URL, err))
		case <-ctx.Done():
		}
	}()
	var messages []paho.Message
	for {
		var ok bool
		if messages, ok = source.Gather(ctx, s.in, messages[:0], group); !ok {
			if cause := context.Cause(ctx); cause != context.Canceled {
				return cause
			}
			return nil
		}
		if err := s.put(ctx, s.record(messages)); err != nil {
			return err
		}
		for _, m := range messages {
			m.Ack()
		}
	}
}

// record decodes the messages. One that cannot be read is a fault, and is
// acknowledged: sending it again would not mend it.
func (s *session) record(messages []paho.Message) source.Record {
	s.decoder.Begin()
	var faults []error
	var ends []int // of each message's samples
	for _, m := range messages {
		if err := s.decoder.Add(m.Payload()); err != nil {
			faults = append(faults, fmt.Errorf("topic %s: %w", m.Topic(), err))
		}
		ends = append(ends, len(s.decoder.Record().Samples))
	}
	r := s.decoder.Record()
	r.Faults = append(r.Faults, faults...)
	from := 0
	for i, m := range messages {
		tags := s.tags(m.Topic())
		for j := from; j < ends[i]; j++ {
			source.AddTags(&r.Samples[j], tags)
		}
		from = ends[i]
	}
	return r
}

// tags are those that the topic gives.
func (s *session) tags(topic string) (tags []telemetry.Tag) {
	if s.cfg.TopicTag != "" {
		tags = append(tags, telemetry.Tag{Name: []byte(s.cfg.TopicTag), Value: []byte(topic)})
	}
	levels := strings.Split(topic, "/")
	for name, n := range s.cfg.Levels {
		if n <= len(levels) {
			tags = append(tags, telemetry.Tag{Name: []byte(name), Value: []byte(levels[n-1])})
		}
	}
	return tags
}
