package mqtt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

const (
	// externalQueue is how many messages of a session may wait to be stored, and
	// how many are stored together.
	externalQueue = 1024
	// externalBytes bounds what messages that are stored together may unfold to.
	externalBytes = 64 << 20
	// answerWithin is how long the broker's answer to SUBSCRIBE or PINGREQ may
	// take. It stands behind the messages that the broker sent before it, and
	// those are read no faster than the store takes them.
	answerWithin = 2 * time.Minute
)

// connection is one connection of a session, until it breaks.
type connection struct {
	x         *External
	client    paho.Client
	sparkplug bool // it takes Sparkplug messages too
	inbox     chan paho.Message
	lost      chan error
}

// connected runs one connection until it breaks. A broker sends what the
// session left unacknowledged before it answers SUBSCRIBE, and paho reads
// nothing while a message waits for room in the inbox; so messages are stored
// from before CONNECT on.
func (x *External) connected(ctx context.Context, client string, sparkplug bool) error {
	options, err := x.options(client)
	if err != nil {
		return err
	}
	g, gone := errgroup.WithContext(ctx)
	c := &connection{x: x, sparkplug: sparkplug, inbox: make(chan paho.Message, externalQueue), lost: make(chan error, 1)}
	options.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		select {
		case c.inbox <- m:
		case <-gone.Done(): // not acknowledged: it is sent again
		}
	}).SetConnectionLostHandler(func(_ paho.Client, err error) {
		select {
		case c.lost <- err:
		default:
		}
	})
	c.client = paho.NewClient(options)
	g.Go(func() error { return c.deliver(gone) })
	g.Go(func() error { return c.subscribe(gone) })
	defer c.client.Disconnect(250)
	return g.Wait()
}

// subscribe connects and subscribes, and counts the session while it lasts.
func (c *connection) subscribe(ctx context.Context) error {
	if err := wait(ctx, c.client.Connect()); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	// telemetry/# means telemetry as well. [MQTT-4.7.1-2]
	shared := "$share/" + c.x.cfg.Group + "/devices/+/telemetry/#"
	filters := map[string]byte{shared: 1}
	for _, f := range c.roadFilters("$share/" + c.x.cfg.Group + "/") {
		filters[f] = 1
	}
	if c.sparkplug {
		for _, f := range sparkplugFilters() {
			filters[f] = 1
		}
	}
	tok := c.client.SubscribeMultiple(filters, nil)
	if err := wait(ctx, tok); err != nil {
		return fmt.Errorf("subscribe to %s: %w", shared, err)
	}
	if granted, ok := tok.(*paho.SubscribeToken); ok {
		if err := c.granted(granted.Result(), shared); err != nil {
			return err
		}
	}
	c.x.metrics.connected.Inc()
	defer c.x.metrics.connected.Dec()
	<-ctx.Done()
	return nil
}

// granted looks at the broker's answer for each filter; 0x80 refuses one.
func (c *connection) granted(codes map[string]byte, shared string) error {
	for filter, code := range codes {
		switch {
		case code < 0x80:
		case filter == shared:
			return fmt.Errorf("the broker refuses the subscription to %s; allow it to user %q", filter, c.x.cfg.User)
		default:
			c.x.server.deps.Log.Warn("external mqtt broker refuses a subscription", "filter", filter, "user", c.x.cfg.User)
		}
	}
	return nil
}

func wait(ctx context.Context, tok paho.Token) error {
	select {
	case <-tok.Done():
		return tok.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(answerWithin):
		return fmt.Errorf("no answer within %s", answerWithin)
	}
}

// deliver stores what has come together and acknowledges it.
func (c *connection) deliver(ctx context.Context) error {
	var p parcel
	p.From = &quota.Sender{Door: quota.Broker}
	var group []paho.Message
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-c.lost:
			return fmt.Errorf("connection lost: %w", err)
		case m := <-c.inbox:
			p.Reset()
			group = append(group[:0], m)
		}
		size := c.add(&p, group[0])
		for len(group) < externalQueue && size < externalBytes && len(c.inbox) > 0 {
			m := <-c.inbox
			group = append(group, m)
			size += c.add(&p, m)
		}
		if err := c.store(ctx, &p); err != nil {
			return err
		}
		c.x.metrics.messages.Add(float64(len(group)))
		for _, m := range group {
			m.Ack()
		}
		if c.sparkplug {
			c.x.nodes.settle(&p, group, c.rebirth)
		}
		p.Trim()
		clear(group)
	}
}

// add takes the device and the format from the topic, and returns how many
// bytes the message may unfold to.
func (c *connection) add(p *parcel, m paho.Message) int {
	if strings.HasPrefix(m.Topic(), sparkplugRoot) {
		c.addSparkplug(p, m)
		return len(m.Payload())
	}
	if c.addRoad(p, m) {
		return len(m.Payload())
	}
	rest, _ := strings.CutPrefix(m.Topic(), "devices/")
	id, suffix, _ := strings.Cut(rest, "/telemetry")
	f, known := codec.FromSuffix([]byte(strings.TrimPrefix(suffix, "/")))
	if err := telemetry.CheckDeviceID(id); err != nil {
		c.foreign(p, id, m, telemetry.ReasonUnknownDevice, err.Error())
	} else if suffix != "" && !known {
		c.foreign(p, id, m, telemetry.ReasonUnsupported, "no format of that name")
	} else {
		p.add(id, f, m.Payload())
	}
	if compressed(m.Payload()) {
		return c.x.server.unfold.bound(m.Payload())
	}
	return len(m.Payload())
}

// foreign refuses a message by its topic.
func (c *connection) foreign(p *parcel, device string, m paho.Message, reason telemetry.Reason, why string) {
	c.x.metrics.foreign.Inc()
	p.Add(device, codec.Auto, m.Payload()).Refuse(reason, "topic "+m.Topic()+": "+why)
}

// store waits while the hub is busy or a device too fast: the broker holds the
// messages back meanwhile.
func (c *connection) store(ctx context.Context, p *parcel) error {
	var held time.Duration
	for {
		err := c.x.server.ingest(p)
		if err == nil {
			return nil
		}
		wait, again := retryAfter(err, held)
		if !again && errors.Is(err, ingest.ErrClosed) {
			return err
		}
		if !again {
			return &storeFailure{err}
		}
		held += wait
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
