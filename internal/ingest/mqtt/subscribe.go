package mqtt

import "strings"

// subscription is one filter that a connection holds. Section 3.8.
type subscription struct {
	filter      string
	id          int // subscription identifier; 0: none
	qos         byte
	asPublished bool   // keeps the retain flag of what is delivered live
	child       string // the device behind the gateway whose mail it means; empty: the own
}

// subscribe takes a SUBSCRIBE: each filter is granted or refused for itself.
func (c *conn) subscribe(b *burst, body []byte) error {
	r := &reader{p: body}
	packet := r.uint16()
	var ps properties
	if c.version == 5 {
		ps = r.properties(allowed(propSubscriptionID, propUser))
	}
	if r.err == nil && packet == 0 {
		return malformed("MQTT-2.2.1-3", "the packet identifier is 0")
	}
	if r.err == nil && len(r.p) == 0 {
		return violation("MQTT-3.8.3-2", "SUBSCRIBE has no topic filter")
	}
	codes := []byte{byte(packet >> 8), byte(packet)}
	if c.version == 5 {
		codes = append(codes, 0)
	}
	var granted []grant
	for len(r.p) > 0 {
		filter, options := string(r.text()), r.byte()
		if r.err != nil {
			return r.err
		}
		if err := checkOptions(c.version, filter, options); err != nil {
			return err
		}
		sub := subscription{filter: filter, id: ps.subscription, qos: min(options&3, 1), asPublished: options&8 != 0}
		code := c.mayHold(&sub)
		if code < 0x80 {
			again, full := c.s.hold(c, sub)
			switch handling := options >> 4 & 3; {
			case full:
				code = codeQuota
			case handling == 0, handling == 1 && !again:
				granted = append(granted, grant{sub})
				code = sub.qos
			default:
				code = sub.qos
			}
		}
		codes = append(codes, c.subackCode(code))
		if sub.child != "" && code < 0x80 {
			c.hearChild(sub.child)
		}
	}
	if r.err != nil {
		return r.err
	}
	b.out = appendPacket(b.out, typeSuback<<4, codes)
	c.collect()
	for _, g := range granted {
		if err := c.retained(g.subscription); err != nil {
			return err
		}
	}
	return nil
}

// grant is a subscription that gets the retained messages.
type grant struct{ subscription }

func (c *conn) subackCode(code byte) byte {
	if c.version == 4 && code >= 0x80 {
		return 0x80 // the only failure that 3.1.1 has [MQTT-3.9.3-2]
	}
	return code
}

func checkOptions(version byte, filter string, options byte) error {
	reserved := byte(0xfc)
	if version == 5 {
		reserved = 0xc0
	}
	switch {
	case options&reserved != 0:
		return malformed("MQTT-3.8.3-5", "the reserved bits of the subscription options are set")
	case options&3 == 3:
		return malformed("MQTT-3.8.3-4", "the QoS of a subscription is 3")
	case options>>4&3 == 3:
		return violation("MQTT-3.8.3-5", "retain handling is 3")
	case strings.HasPrefix(filter, "$share/") && options&4 != 0:
		return violation("MQTT-3.8.3-4", "no local on a shared subscription")
	}
	return nil
}

// mayHold returns the reason code for a subscription: 0 when it may be held. It
// notes whose it is.
func (c *conn) mayHold(sub *subscription) byte {
	filter := sub.filter
	switch {
	case version5Shared(filter):
		return codeSharedForbidden
	case !validFilter(filter):
		return codeFilterInvalid
	case maySubscribe(c.id, filter), c.mayHear(filter):
	case c.meansChild(sub):
	default:
		c.s.metrics.refused.WithLabelValues("subscription").Inc()
		return codeNotAuthorized
	}
	return codeSuccess
}

func version5Shared(filter string) bool { return strings.HasPrefix(filter, "$share/") }

// unsubscribe takes an UNSUBSCRIBE. Section 3.10.
func (c *conn) unsubscribe(b *burst, body []byte) error {
	r := &reader{p: body}
	packet := r.uint16()
	out := []byte{byte(packet >> 8), byte(packet)}
	if c.version == 5 {
		r.properties(allowed(propUser))
		out = append(out, 0)
	}
	if r.err == nil && packet == 0 {
		return malformed("MQTT-2.2.1-3", "the packet identifier is 0")
	}
	if r.err == nil && len(r.p) == 0 {
		return violation("MQTT-3.10.3-2", "UNSUBSCRIBE has no topic filter")
	}
	for len(r.p) > 0 {
		filter := string(r.text())
		if r.err != nil {
			return r.err
		}
		code := codeNoSubscription
		if child, ok := c.s.release(c, filter); ok {
			code = codeSuccess
			if child != "" {
				c.hearChild(child)
			}
		}
		if c.version == 5 {
			out = append(out, code)
		}
	}
	if r.err != nil {
		return r.err
	}
	c.collect()
	b.out = appendPacket(b.out, typeUnsuback<<4, out)
	return nil
}
