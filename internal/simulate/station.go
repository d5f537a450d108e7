package simulate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp"
	udpclient "github.com/plgd-dev/go-coap/v3/udp/client"
)

// station is the radio of one device. One worker uses it.
type station struct {
	dev    *Device
	doors  Doors
	secret string
	log    *slog.Logger

	client  mqtt.Client // nil while not connected
	socket  net.Conn    // of client
	unsent  []Reading   // measured, never acknowledged; the oldest go first
	failing bool
}

const (
	maxUnsent  = 4000             // readings kept while the hub is away
	perMessage = 400              // readings per MQTT message
	perPost    = 60               // readings per CoAP message
	patience   = 10 * time.Second // for one acknowledgement
	window     = 64               // MQTT messages in flight
)

// errRefused is an answer that sending again would not change.
var errRefused = errors.New("hub refused the message")

// deliver sends readings after those that are still unsent. What is not
// acknowledged is kept for the next time.
func (s *station) deliver(ctx context.Context, rs []Reading, garbled bool) {
	rs = append(s.unsent, rs...)
	s.unsent = nil
	limit := perMessage
	if s.dev.Door == CoAP {
		limit = perPost
	}
	msgs, err := s.dev.Format.Encode(s.dev.ID, rs, limit)
	if err != nil {
		s.log.Error("readings cannot be encoded", "error", err)
		return
	}
	if garbled && len(msgs) > 0 {
		p := &msgs[0].Payload
		*p = (*p)[:len(*p)*2/3]
	}
	send := s.publish
	if s.dev.Door == CoAP {
		send = s.post
	}
	done, err := send(ctx, msgs)
	s.note(ctx, err)
	for _, m := range msgs[:done] {
		rs = rs[m.Readings:]
	}
	if n := len(rs); n > 0 {
		s.unsent = append(s.unsent, rs[max(0, n-maxUnsent):]...)
	}
}

// note logs the first failure and the recovery.
func (s *station) note(ctx context.Context, err error) {
	switch {
	case err != nil && !s.failing && ctx.Err() == nil:
		s.log.Warn("simulated device cannot report", "door", string(s.dev.Door), "error", err)
	case err == nil && s.failing:
		s.log.Info("simulated device reports again", "door", string(s.dev.Door))
	}
	s.failing = err != nil
}

// publish sends messages with QoS 1 and returns how many, from the first on,
// were acknowledged.
func (s *station) publish(ctx context.Context, msgs []Message) (int, error) {
	if err := s.connect(ctx); err != nil {
		return 0, err
	}
	topic := "devices/" + s.dev.ID + "/telemetry/" + s.dev.Format.suffix()
	done := 0
	for done < len(msgs) {
		group := msgs[done:min(done+window, len(msgs))]
		tokens := make([]mqtt.Token, len(group))
		for i, m := range group {
			tokens[i] = s.client.Publish(topic, 1, false, m.Payload)
		}
		for _, t := range tokens {
			if err := wait(ctx, t); err != nil {
				s.vanish()
				return done, fmt.Errorf("publish to %s: %w", topic, err)
			}
			done++
		}
	}
	return done, nil
}

func wait(ctx context.Context, t mqtt.Token) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("no answer within %s", patience)
	}
}

func (s *station) connect(ctx context.Context) error {
	if s.client != nil && s.client.IsConnectionOpen() {
		return nil
	}
	s.vanish()
	o := mqtt.NewClientOptions().AddBroker("tcp://" + s.doors.MQTT).
		SetClientID(s.dev.ID).SetUsername(s.dev.ID).SetPassword(s.secret).
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).
		SetKeepAlive(60 * time.Second).SetConnectTimeout(patience).SetProtocolVersion(4).
		SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
			var err error
			s.socket, err = (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", u.Host)
			return s.socket, err
		})
	c := mqtt.NewClient(o)
	if err := wait(ctx, c.Connect()); err != nil {
		return fmt.Errorf("connect to MQTT %s as %s: %w", s.doors.MQTT, s.dev.ID, err)
	}
	s.client = c
	return nil
}

// vanish breaks the connection as a lost link does: without a DISCONNECT.
func (s *station) vanish() {
	if s.client == nil {
		return
	}
	s.socket.Close()
	s.client.Disconnect(0)
	s.client = nil
}

// hangUp says goodbye.
func (s *station) hangUp() {
	if s.client != nil {
		s.client.Disconnect(20)
		s.client = nil
	}
}

// post sends messages as confirmable requests from a socket of its own, as a
// device does that sleeps in between.
func (s *station) post(ctx context.Context, msgs []Message) (int, error) {
	conn, err := udp.Dial(s.doors.CoAP)
	if err != nil {
		return 0, fmt.Errorf("open CoAP to %s: %w", s.doors.CoAP, err)
	}
	defer conn.Close()
	for i, m := range msgs {
		err := s.postOne(ctx, conn, m.Payload)
		if errors.Is(err, errRefused) {
			s.log.Debug("hub refused a message", "error", err)
			continue
		}
		if err != nil {
			return i, err
		}
	}
	return len(msgs), nil
}

func (s *station) postOne(ctx context.Context, conn *udpclient.Conn, payload []byte) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	path := "/devices/" + s.dev.ID + "/telemetry"
	token := message.Option{ID: message.URIQuery, Value: []byte("token=" + s.secret)}
	resp, err := conn.Post(ctx, path, message.MediaType(s.dev.Format.contentFormat()), bytes.NewReader(payload), token)
	if err != nil {
		return fmt.Errorf("post to CoAP %s%s: %w", s.doors.CoAP, path, err)
	}
	switch code := resp.Code(); code {
	case codes.Changed, codes.Created:
		return nil
	case codes.BadRequest, codes.RequestEntityTooLarge, codes.UnsupportedMediaType, codes.Code(4<<5 | 22):
		return fmt.Errorf("%w: %v", errRefused, code)
	default:
		return fmt.Errorf("post to CoAP %s%s: %v", s.doors.CoAP, path, code)
	}
}
