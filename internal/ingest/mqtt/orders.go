package mqtt

import (
	"context"
	"errors"
	"strings"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/telemetry"
)

// heard is a topic of orders to a roadside unit that a connection subscribed to.
type heard struct {
	ingest.OrderTopic
	stop func() // nil while no subscription means it
}

// mayBeDialect tells topics of roadside units from others, at the cost of a look
// at their beginning.
func mayBeDialect(topic string) bool {
	return strings.HasPrefix(topic, "V2X") || strings.HasPrefix(topic, "v2x/")
}

// mayHear reports whether the connection may hold a filter of a roadside unit's
// topics, and notes what it may hear there.
func (c *conn) mayHear(filter string) bool {
	if c.s.deps.Orders == nil || !mayBeDialect(filter) {
		return false
	}
	topics, ok := c.s.deps.Orders.Hears(c.peer.Load(), filter)
	for _, t := range topics {
		if c.post.orders == nil {
			c.post.orders = map[string]heard{}
		}
		if _, known := c.post.orders[t.Topic]; !known {
			c.post.orders[t.Topic] = heard{OrderTopic: t}
		}
	}
	return ok
}

// collectOrders begins or ends to hear of orders, as the subscriptions mean their
// topics or not.
func (c *conn) collectOrders() {
	for topic, h := range c.post.orders {
		h.stop = follow(h.stop, c.out.means("", topic), func() func() {
			return h.Listen(func(cmd ingest.Command) bool {
				return c.out.offer(mailing{topic: topic, payload: cmd.Message, qos: 1, received: cmd.Received})
			})
		})
		if c.post.orders[topic] = h; h.stop == nil {
			delete(c.post.orders, topic)
		}
	}
}

// deafToOrders ends that the connection hears of orders.
func (c *conn) deafToOrders() {
	for _, h := range c.post.orders {
		follow(h.stop, false, nil)
	}
	c.post.orders = nil
}

// answered takes what a roadside unit says about an order. handled is false for
// topics that are none of it. The bytes of what is refused are kept nowhere: they
// may name people.
func (c *conn) answered(b *burst, a *ack, topic string, payload []byte) (handled bool, err error) {
	if c.s.deps.Orders == nil || !mayBeDialect(topic) {
		return false, nil
	}
	handled, err = c.s.deps.Orders.Answered(context.Background(), c.peer.Load(), topic, payload)
	switch {
	case errors.Is(err, ingest.ErrNotYours):
		c.refuse(b, a, nil, telemetry.ReasonNotPermitted, "topic "+topic+": "+err.Error())
	case errors.Is(err, ingest.ErrNoCommand), errors.Is(err, ingest.ErrRefusedMail):
		c.refuse(b, a, nil, telemetry.ReasonMalformed, "topic "+topic+": "+err.Error())
	case err != nil:
		c.s.deps.Log.Error("a roadside unit's answer could not be kept", "door", "mqtt", "device", c.id, "error", err)
		return true, &fault{codeUnspecified, "the answer could not be kept; send it again"}
	}
	return handled, nil
}
