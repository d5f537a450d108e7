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
	ears
	orders map[string]heard
}

// ears hear the mail of one device. The functions are nil while they do not.
type ears struct{ stopCommands, stopConfig func() }

// collect begins or ends to hear of mail, as the connection's subscriptions
// mean its topics or not.
func (c *conn) collect() {
	if c.out == nil {
		return
	}
	c.collectOrders()
	c.hear(&c.post.ears, c.id)
}

// hear begins or ends to hear of a device's mail, as the subscriptions mean its
// topics or not. What the connection may not hear at that moment is left to
// others.
func (c *conn) hear(e *ears, device string) {
	m := c.s.deps.Mail
	if m == nil {
		return
	}
	base, child := "devices/"+device+"/", c.child(device)
	e.stopCommands = follow(e.stopCommands, c.out.means(child, base+commandsSuffix), func() func() {
		return m.Listen(device, func(cmd ingest.Command) bool {
			return c.mayAnswer(device) && c.out.offer(mailing{child: child, topic: base + commandsSuffix, payload: cmd.Message, qos: 1, received: cmd.Received})
		})
	})
	e.stopConfig = follow(e.stopConfig, c.out.means(child, base+configSuffix), func() func() {
		return m.Watch(device, func(wanted []byte) {
			if c.mayAnswer(device) {
				c.out.offer(mailing{child: child, topic: base + configSuffix, payload: wanted, qos: 1})
			}
		})
	})
}

// deaf ends that they hear.
func (e *ears) deaf() {
	e.stopCommands = follow(e.stopCommands, false, nil)
	e.stopConfig = follow(e.stopConfig, false, nil)
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
	c.post.deaf()
	c.deafToOrders()
	c.deafToChildren()
}

// retained gives a new subscription the wanted configuration if it means it:
// that is the one topic whose last message is kept. [MQTT-3.3.1-9]
func (c *conn) retained(sub subscription) error {
	device := c.id
	if sub.child != "" {
		device = sub.child
	}
	topic := "devices/" + device + "/" + configSuffix
	if c.s.deps.Mail == nil || !matches(sub.filter, topic) {
		return nil
	}
	over, err := c.admitted(device)
	switch {
	case err != nil:
		return err
	case over != nil:
		return &fault{codeQuota, over.Error()}
	}
	wanted, err := c.s.deps.Mail.Wanted(context.Background(), device)
	if err != nil {
		c.s.deps.Log.Error("wanted configuration could not be read", "door", "mqtt", "device", device, "error", err)
		return &fault{codeUnspecified, "the wanted configuration could not be read; subscribe again"}
	}
	if wanted != nil {
		c.out.put(mailing{child: sub.child, topic: topic, payload: wanted, qos: min(1, sub.qos), retain: true}, []subscription{sub})
	}
	return nil
}

// report takes what is said of a device besides telemetry, by itself or by its
// gateway. handled is false for topics that are none of mail's.
func (c *conn) report(b *burst, a *ack, device, suffix string, payload []byte) (handled bool, err error) {
	m := c.s.deps.Mail
	id, answers := repliedTo(suffix)
	if m == nil || !answers && suffix != reportedSuffix {
		return false, nil
	}
	if a.over, err = c.admitted(device); a.over != nil || err != nil {
		a.message, a.code = -1, codeQuota
		return true, err
	}
	if answers {
		err = m.Reply(context.Background(), device, id, payload)
	} else {
		err = m.Reported(context.Background(), device, payload)
	}
	switch {
	case errors.Is(err, ingest.ErrNoCommand), errors.Is(err, ingest.ErrRefusedMail):
		c.refuse(b, a, payload, telemetry.ReasonMalformed, suffix+": "+err.Error())
	case err != nil:
		c.s.deps.Log.Error("a device's answer could not be kept", "door", "mqtt", "device", device, "error", err)
		return true, &fault{codeUnspecified, "the answer could not be kept; send it again"}
	}
	return true, nil
}

// admitted waits until a device, or its gateway for it, may say or ask something besides telemetry. A
// device of MQTT 5 is refused when that would take longer than max_hold; others
// cannot be told, and are held still.
func (c *conn) admitted(device string) (over *quota.Exceeded, err error) {
	for held := time.Duration(0); ; {
		peer := c.peer.Load()
		_, over = c.s.deps.Quotas.Hear(device, peer.Token, netip.Addr{}, quota.DoorOf(c.door), c.s.deps.Clock())
		if over == nil {
			return nil, nil
		}
		wait := max(over.After, time.Millisecond)
		if c.version == 5 && held+wait > c.s.cfg.MaxHold {
			c.s.metrics.refused.WithLabelValues("quota").Inc()
			return over, nil
		}
		c.s.metrics.held.Inc()
		if e := c.pause(nil, held, wait); e != nil {
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
