package coap

import (
	"context"
	"fmt"
	"io"

	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/songhua-io/hub/internal/edge/uplink"
)

// listen observes what the hub says (RFC 7641). A hub that does not allow it
// takes the samples all the same; one that does not answer is none.
func (l *Link) listen(ctx context.Context, conn *client.Conn) error {
	heard := map[string]func([]byte) error{}
	if l.in.Wanted != nil {
		heard[uplink.Config] = func(payload []byte) error { l.in.Wanted(payload); return nil }
	}
	if l.in.Command != nil {
		heard[uplink.Commands] = l.in.Command
	}
	for resource, take := range heard {
		if err := l.observe(ctx, conn, resource, take); err != nil {
			if ctx.Err() != nil || conn.Context().Err() != nil {
				return err
			}
			l.log.Warn("hub_not_heard", "topic", resource, "error", err)
		}
	}
	return nil
}

// observe registers for a resource. The library confirms a notification when
// take has returned; a command that could not be kept is confirmed too, and
// ends at its expiry.
func (l *Link) observe(ctx context.Context, conn *client.Conn, resource string, take func([]byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := conn.Observe(ctx, l.path(resource), func(m *pool.Message) {
		payload, err := body(m)
		if err == nil && len(payload) > 0 {
			err = take(payload)
		}
		if err != nil {
			l.log.Warn("hub_not_heard", "topic", resource, "error", err)
		}
	}, l.query()...)
	return err
}

// body reads what a notification shows; nothing is no error.
func body(m *pool.Message) ([]byte, error) {
	if m.Body() == nil {
		return nil, nil
	}
	payload, err := io.ReadAll(io.LimitReader(m.Body(), uplink.MaxHeard+1))
	if err == nil && len(payload) > uplink.MaxHeard {
		err = fmt.Errorf("it has more than %d B", uplink.MaxHeard)
	}
	return payload, err
}
