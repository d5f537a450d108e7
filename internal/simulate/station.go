package simulate

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
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

// deliver sends readings after those that are still unsent. What is not
// acknowledged is kept for the next time.
func (s *station) deliver(ctx context.Context, rs []Reading, garbled bool) {
	rs = append(s.unsent, rs...)
	s.unsent = nil
	send, limit := s.publish, perMessage
	switch s.dev.Door {
	case CoAP:
		send, limit = s.postCoAP, perPost
	case HTTP:
		send = s.postHTTP
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

// publish sends messages with QoS 1 to their topics, or to that of telemetry, and
// returns how many, from the first on, were acknowledged.
func (s *station) publish(ctx context.Context, msgs []Message) (int, error) {
	if err := s.connect(ctx); err != nil {
		return 0, err
	}
	telemetry := "devices/" + s.dev.ID + "/telemetry/" + s.dev.Format.suffix()
	done := 0
	for done < len(msgs) {
		group := msgs[done:min(done+window, len(msgs))]
		tokens := make([]mqtt.Token, len(group))
		for i, m := range group {
			tokens[i] = s.client.Publish(cmp.Or(m.Topic, telemetry), 1, false, m.Payload)
		}
		for i, t := range tokens {
			if err := wait(ctx, t); err != nil {
				s.vanish()
				return done, fmt.Errorf("publish to %s: %w", cmp.Or(group[i].Topic, telemetry), err)
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
