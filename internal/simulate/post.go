package simulate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp"
	udpclient "github.com/plgd-dev/go-coap/v3/udp/client"
)

// errRefused is an answer that sending again would not change.
var errRefused = errors.New("hub refused the message")

// postCoAP sends messages as confirmable requests from a socket of its own, as a
// device does that sleeps in between.
func (s *station) postCoAP(ctx context.Context, msgs []Message) (int, error) {
	conn, err := udp.Dial(s.doors.CoAP)
	if err != nil {
		return 0, fmt.Errorf("open CoAP to %s: %w", s.doors.CoAP, err)
	}
	defer conn.Close()
	for i, m := range msgs {
		err := s.confirm(ctx, conn, m.Payload)
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

func (s *station) confirm(ctx context.Context, conn *udpclient.Conn, payload []byte) error {
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

// postHTTP sends each message in a request of its own.
func (s *station) postHTTP(ctx context.Context, msgs []Message) (int, error) {
	for i, m := range msgs {
		err := s.request(ctx, m.Payload)
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

func (s *station) request(ctx context.Context, payload []byte) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	url := s.doors.HTTP + "/api/v1/devices/" + s.dev.ID + "/telemetry"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(payload))
	if err != nil {
		return fmt.Errorf("post to %s: %w", url, err)
	}
	req.Header.Set("Content-Type", s.dev.Format.mediaType())
	req.Header.Set("Authorization", "Bearer "+s.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("post to %s: %w", url, err)
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return fmt.Errorf("%w: %s", errRefused, resp.Status)
	}
	return fmt.Errorf("post to %s: %s", url, resp.Status)
}
