package mqtt

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Topics on which a device hears from the hub, beneath devices/{id}/.
const (
	commandsSuffix = "commands"
	configSuffix   = "config"
	reportedSuffix = "config/reported"
)

// post is what a connection hears of the hub's mail. The connection's
// goroutine owns it.
type post struct {
	stopCommands, stopConfig func() // nil while not subscribed
	orders                   map[string]heard
}

// collect begins or ends to hear of mail, as the connection's subscriptions
// mean its topics or not.
func (c *conn) collect() {
	m := c.s.deps.Mail
	if c.out == nil {
		return
	}
	c.collectOrders()
	if m == nil {
		return
	}
	base := "devices/" + c.id + "/"
	c.post.stopCommands = follow(c.post.stopCommands, c.out.means(base+commandsSuffix), func() func() {
		return m.Listen(c.id, func(cmd ingest.Command) bool {
			return c.out.offer(mailing{topic: base + commandsSuffix, payload: cmd.Message, qos: 1, received: cmd.Received})
		})
	})
	c.post.stopConfig = follow(c.post.stopConfig, c.out.means(base+configSuffix), func() func() {
		return m.Watch(c.id, func(wanted []byte) {
			c.out.offer(mailing{topic: base + configSuffix, payload: wanted, qos: 1})
		})
	})
}

// follow starts what is wanted and stops what is not.
func follow(stop func(), wanted bool, start func() func()) func() {
	switch {
	case wanted && stop == nil:
		return start()
	case !wanted && stop != nil:
		stop()
		return nil
	}
	return stop
}

// deaf ends that the connection hears of mail.
func (c *conn) deaf() {
	c.post.stopCommands = follow(c.post.stopCommands, false, nil)
	c.post.stopConfig = follow(c.post.stopConfig, false, nil)
	c.deafToOrders()
}

// retained gives a new subscription the wanted configuration if it means it:
// that is the one topic whose last message is kept. [MQTT-3.3.1-9]
func (c *conn) retained(sub subscription) error {
	topic := "devices/" + c.id + "/" + configSuffix
	if c.s.deps.Mail == nil || !matches(sub.filter, topic) {
		return nil
	}
	over, err := c.admitted()
	switch {
	case err != nil:
		return err
	case over != nil:
		return &fault{codeQuota, over.Error()}
	}
	wanted, err := c.s.deps.Mail.Wanted(context.Background(), c.id)
	if err != nil {
		c.s.deps.Log.Error("wanted configuration could not be read", "door", "mqtt", "device", c.id, "error", err)
		return &fault{codeUnspecified, "the wanted configuration could not be read; subscribe again"}
	}
	if wanted != nil {
		c.out.put(mailing{topic: topic, payload: wanted, qos: min(1, sub.qos), retain: true}, []subscription{sub})
	}
	return nil
}

// report takes what a device says beneath its own name besides telemetry.
// handled is false for topics that are none of mail's.
func (c *conn) report(b *burst, a *ack, suffix string, payload []byte) (handled bool, err error) {
	m := c.s.deps.Mail
	id, answers := repliedTo(suffix)
	if m == nil || !answers && suffix != reportedSuffix {
		return false, nil
	}
	if a.over, err = c.admitted(); a.over != nil || err != nil {
		a.message, a.code = -1, codeQuota
		return true, err
	}
	if answers {
		err = m.Reply(context.Background(), c.id, id, payload)
	} else {
		err = m.Reported(context.Background(), c.id, payload)
	}
	switch {
	case errors.Is(err, ingest.ErrNoCommand), errors.Is(err, ingest.ErrRefusedMail):
		c.refuse(b, a, payload, telemetry.ReasonMalformed, suffix+": "+err.Error())
	case err != nil:
		c.s.deps.Log.Error("a device's answer could not be kept", "door", "mqtt", "device", c.id, "error", err)
		return true, &fault{codeUnspecified, "the answer could not be kept; send it again"}
	}
	return true, nil
}

// admitted waits until the device may say or ask something besides telemetry. A
// device of MQTT 5 is refused when that would take longer than max_hold; others
// cannot be told, and are held still.
func (c *conn) admitted() (over *quota.Exceeded, err error) {
	for held := time.Duration(0); ; {
		peer := c.peer.Load()
		_, over = c.s.deps.Quotas.Hear(peer.Device.ID, peer.Token, netip.Addr{}, quota.DoorOf(c.door), c.s.deps.Clock())
		if over == nil {
			return nil, nil
		}
		wait := max(over.After, time.Millisecond)
		if c.version == 5 && held+wait > c.s.cfg.MaxHold {
			c.s.metrics.refused.WithLabelValues("quota").Inc()
			return over, nil
		}
		c.s.metrics.held.Inc()
		if e := c.pause(wait); e != nil {
			return nil, e
		}
		held += wait
	}
}

// repliedTo returns the command that a device answers on commands/{id}/reply.
func repliedTo(suffix string) (id string, ok bool) {
	id, ok = strings.CutPrefix(suffix, "commands/")
	if !ok {
		return "", false
	}
	id, ok = strings.CutSuffix(id, "/reply")
	return id, ok && id != "" && !strings.Contains(id, "/")
}
