package coap

import (
	"context"
	"fmt"
	"io"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/songhua-io/hub/internal/edge/uplink"
)

// listen observes what the hub says (RFC 7641). A hub that does not allow it
// takes the samples all the same; one that does not answer is none. before are
// the registrations that these take the place of.
func (l *Link) listen(ctx context.Context, conn *client.Conn, before []registration) (now []registration, err error) {
	for _, r := range before {
		if err := l.forget(ctx, r); err != nil {
			return nil, err
		}
	}
	heard := map[string]func([]byte) error{}
	if l.in.Wanted != nil {
		heard[uplink.Config] = func(payload []byte) error { l.in.Wanted(payload); return nil }
	}
	if l.in.Command != nil {
		heard[uplink.Commands] = l.in.Command
	}
	for resource, take := range heard {
		r, err := l.observe(ctx, conn, resource, take)
		switch {
		case err == nil:
			now = append(now, r)
		case ctx.Err() != nil || conn.Context().Err() != nil:
			return now, err
		default:
			l.log.Warn("hub_not_heard", "topic", resource, "error", err)
		}
	}
	return now, nil
}

// registration is what the hub is observed by.
type registration interface {
	Cancel(ctx context.Context, opts ...message.Option) error
}

// forget takes a registration back. A hub that was started anew does not know it.
func (l *Link) forget(ctx context.Context, r registration) error {
	within, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := r.Cancel(within, l.query()...); err != nil {
		l.log.Debug("registration_not_taken_back", "error", err)
	}
	return ctx.Err()
}

// observe registers for a resource. The library confirms a notification when
// take has returned; a command that could not be kept is confirmed too, and
// ends at its expiry.
func (l *Link) observe(ctx context.Context, conn *client.Conn, resource string, take func([]byte) error) (registration, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return conn.Observe(ctx, l.path(resource), func(m *pool.Message) {
		payload, err := body(m)
		if err == nil && len(payload) > 0 {
			err = take(payload)
		}
		if err != nil {
			l.log.Warn("hub_not_heard", "topic", resource, "error", err)
		}
	}, l.query()...)
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
