package mqtt

import (
	"strings"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// publish takes a PUBLISH into the burst's delivery. Section 3.3.
func (c *conn) publish(b *burst, head byte, body []byte) error {
	if len(body) < 2 || len(body) < 2+int(body[0])<<8+int(body[1]) {
		return malformed("MQTT-3.3.2-1", "the topic is longer than its packet")
	}
	n := 2 + int(body[0])<<8 + int(body[1])
	topic, payload := body[2:n], body[n:]
	a := ack{qos: head >> 1 & 3, message: -1, again: head&8 != 0}
	switch {
	case a.qos == 3:
		return malformed("MQTT-3.3.1-4", "QoS 3 is none")
	case a.qos == 0 && head&8 != 0:
		return malformed("MQTT-3.3.1-2", "a QoS 0 message is marked as sent before")
	case head&1 != 0 && c.version == 5:
		return &fault{codeRetain, "messages of clients are not retained, as CONNACK says; publish without the RETAIN flag [MQTT-3.2.2-14]"}
	case a.qos > 0:
		if len(payload) < 2 || payload[0] == 0 && payload[1] == 0 {
			return malformed("MQTT-2.2.1-3", "a packet identifier is missing or 0")
		}
		a.id, payload = uint16(payload[0])<<8|uint16(payload[1]), payload[2:]
	}
	if c.version == 5 {
		var err error
		if topic, payload, err = c.withProperties(topic, payload); err != nil {
			return err
		}
	}
	b.counts[a.qos]++
	if a.qos > 0 {
		if err := c.open(b, &a); err != nil {
			return err
		}
	}
	a.topic = topic
	if a.qos == 2 && c.repeated(a.id) {
		b.acks = append(b.acks, a)
		return nil
	}
	if err := c.route(b, &a, payload); err != nil {
		return err
	}
	b.acks = append(b.acks, a)
	return nil
}

// withProperties reads the properties of an MQTT 5 PUBLISH and returns the
// topic that a topic alias stands for. [MQTT-3.3.2-7] to [MQTT-3.3.2-14]
func (c *conn) withProperties(topic, p []byte) (name, payload []byte, err error) {
	if len(p) > 0 && p[0] == 0 && len(topic) > 0 {
		return topic, p[1:], nil
	}
	r := reader{p: p}
	ps := r.properties(publishProperties())
	switch {
	case r.err != nil:
		return nil, nil, r.err
	case ps.alias == 0 && len(topic) == 0:
		return nil, nil, violation("MQTT-3.3.2-6", "the topic is empty and no topic alias is given")
	case ps.alias == 0:
		return topic, r.p, nil
	case len(topic) > maxTopicBytes:
		return topic, r.p, nil
	}
	if c.aliases == nil {
		c.aliases = make([]string, maxAliases+1)
	}
	if len(topic) == 0 {
		if c.aliases[ps.alias] == "" {
			return nil, nil, violation("MQTT-3.3.2-7", "topic alias %d stands for nothing", ps.alias)
		}
		return []byte(c.aliases[ps.alias]), r.p, nil
	}
	if c.aliases[ps.alias] != string(topic) {
		c.aliases[ps.alias] = string(topic)
	}
	return topic, r.p, nil
}

// open enforces the receive maximum. [MQTT-3.3.4-7]
func (c *conn) open(b *burst, a *ack) error {
	b.open++
	over := b.open+len(c.received) > c.s.cfg.ReceiveMaximum
	if over && (c.version == 5 || a.qos == 2 && len(c.received) >= c.s.cfg.ReceiveMaximum) {
		return &fault{codeReceiveMaximum, "more messages are unacknowledged than the receive maximum allows [MQTT-3.3.4-7]"}
	}
	return nil
}

// repeated reports whether a QoS 2 message was stored before, and else notes
// that it is about to be. [MQTT-4.3.3-10]
func (c *conn) repeated(id uint16) bool {
	if _, ok := c.received[id]; ok {
		return true
	}
	if c.received == nil {
		c.received = map[uint16]struct{}{}
	}
	c.received[id] = struct{}{}
	return false
}

// route adds a message to the delivery by its topic. Telemetry beneath the
// device's own name comes first and costs one comparison.
func (c *conn) route(b *burst, a *ack, payload []byte) error {
	if f, ok := ownTelemetry(c.own, a.topic); ok {
		c.telemetry(b, a, c.id, f, payload)
		return nil
	}
	if f, ok := ownV2X(c.own, a.topic); ok {
		c.v2x(b, a, c.id, f, "", payload)
		return nil
	}
	if c.remembered(b, a, payload) {
		return nil
	}
	if !validTopic(a.topic) || !validText(a.topic) {
		return malformed("MQTT-3.3.2-2", "the topic %.64q is empty, too long, no UTF-8, or has wildcards", a.topic)
	}
	return c.elsewhere(b, a, string(a.topic), payload)
}

// ownTelemetry reports whether topic is own (devices/{id}/telemetry) or own
// with the name of a format behind it.
func ownTelemetry(own string, topic []byte) (codec.Format, bool) {
	switch {
	case len(topic) < len(own) || string(topic[:len(own)]) != own:
		return codec.Auto, false
	case len(topic) == len(own):
		return codec.Auto, true
	case topic[len(own)] != '/':
		return codec.Auto, false
	}
	return codec.FromSuffix(topic[len(own)+1:])
}

// telemetry adds a message of a device to the delivery.
func (c *conn) telemetry(b *burst, a *ack, device string, f codec.Format, payload []byte) {
	a.message = int32(len(b.delivery.Messages))
	b.delivery.add(device, f, payload)
}

// elsewhere takes what does not go to the device's own telemetry topic.
func (c *conn) elsewhere(b *burst, a *ack, topic string, payload []byte) error {
	if handled, err := c.answered(b, a, topic, payload); handled || err != nil {
		return err
	}
	root, rest, _ := strings.Cut(topic, "/")
	switch root {
	case "spBv1.0":
		c.sparkplugB(b, a, topic, payload)
		return nil
	case "devices":
		if id, suffix, ok := strings.Cut(rest, "/"); ok {
			return c.beneathDevice(b, a, id, suffix, payload)
		}
	}
	if c.dialectOf(b, a, topic, payload) {
		return nil
	}
	if isV2X(root) {
		c.refuseV2X(b, a, payload, telemetry.ReasonUnsupported, "topic "+topic+" is of no V2X dialect; or send to devices/"+c.id+"/v2x/uper")
		return nil
	}
	c.refuse(b, a, payload, telemetry.ReasonNotPermitted, "topic "+topic+": a device publishes beneath devices/"+c.id+"/ and spBv1.0/ only")
	return nil
}

func (c *conn) beneathDevice(b *burst, a *ack, id, suffix string, payload []byte) error {
	last, ok := strings.CutPrefix(suffix, "telemetry")
	f, known := codec.FromSuffix([]byte(strings.TrimPrefix(last, "/")))
	isTelemetry := ok && (last == "" || last[0] == '/' && known)
	if form, ok := strings.CutPrefix(suffix, v2xLevel); ok {
		return c.v2xBeneath(b, a, id, form, payload)
	}
	switch {
	case id != c.id && isTelemetry && c.maySpeak(id):
		c.telemetry(b, a, c.spokenOf(id), f, payload)
	case !c.mayAnswer(id):
		c.refuse(b, a, payload, telemetry.ReasonNotPermitted, "device "+c.id+" may not speak for "+id)
	default:
		if handled, err := c.report(b, a, id, suffix, payload); handled || err != nil {
			return err
		}
		c.refuse(b, a, payload, telemetry.ReasonUnsupported, "topic devices/"+id+"/"+suffix+" is none that the hub takes")
	}
	return nil
}

func (c *conn) maySpeak(device string) bool {
	return telemetry.CheckDeviceID(device) == nil && c.s.deps.Gate.MaySpeak(c.peer.Load(), device)
}

// maxSpoken bounds the names that a gateway's connection keeps.
const maxSpoken = 1024

// spokenOf returns a lasting copy of a device's name.
func (c *conn) spokenOf(device string) string {
	if s, ok := c.spoken[device]; ok {
		return s
	}
	if c.spoken == nil || len(c.spoken) >= maxSpoken {
		c.spoken = map[string]string{}
	}
	s := strings.Clone(device)
	c.spoken[s] = s
	return s
}

// refuse takes a message to the desk that is not stored.
func (c *conn) refuse(b *burst, a *ack, payload []byte, reason telemetry.Reason, detail string) {
	a.message = int32(len(b.delivery.Messages))
	b.delivery.Add(c.id, codec.Auto, payload).Refuse(reason, detail)
}

// sparkplugB takes a Sparkplug B message of the device's own edge node.
func (c *conn) sparkplugB(b *burst, a *ack, topic string, payload []byte) {
	t, err := codec.ParseSparkplugTopic(topic)
	switch {
	case err != nil:
		c.refuse(b, a, payload, reasonOf(err), err.Error())
		return
	case t.Node != c.id:
		c.refuse(b, a, payload, telemetry.ReasonNotPermitted, "edge node "+t.Node+" is not device "+c.id)
		return
	}
	if c.sparkplug == nil {
		c.sparkplug = &codec.Session{}
	}
	a.message = int32(len(b.delivery.Messages))
	m, at := b.delivery.Add(c.id, codec.Sparkplug, payload), a.message
	m.Decode = func(batch *telemetry.Batch, in codec.Input) error {
		note, err := c.sparkplug.Decode(batch, t, in)
		c.s.metrics.missed.Add(float64(note.Missed))
		if note.Died || err == nil && t.Type == codec.DDeath {
			b.delivery.Messages[at].Died, b.delivery.Messages[at].Unit = true, t.Device
		}
		if note.Rebirth {
			c.s.deliver(c.id, "spBv1.0/"+t.Group+"/NCMD/"+t.Node, rebirth(in.Now), 0)
		}
		return err
	}
}

// rebirth is the Sparkplug payload that asks an edge node to announce its
// metrics again: timestamp (1), one metric (2) of name (1), data type (4)
// Boolean and boolean_value (14) true.
func rebirth(now int64) []byte {
	const name = "Node Control/Rebirth"
	metric := append([]byte{0x0a, byte(len(name))}, name...)
	metric = append(metric, 0x20, 11, 0x70, 1)
	p := []byte{0x08}
	p = appendLength(p, int(now))
	p = append(p, 0x12, byte(len(metric)))
	return append(p, metric...)
}

// will is what a device wants published when it goes without a goodbye.
type will struct {
	topic   string
	payload []byte
}

// publishWill publishes the will as if the device had sent it at that moment,
// and reports whether it came through.
func (c *conn) publishWill() (published bool) {
	b := c.s.bursts.get(false)
	defer c.s.bursts.put(b)
	a := ack{topic: []byte(c.will.topic), message: -1}
	if c.route(b, &a, c.will.payload) != nil {
		return false
	}
	b.acks = append(b.acks, a)
	for range 100 {
		err := c.s.ingest(&b.delivery)
		if err == nil {
			c.tellRejects(b)
			return a.message < 0 || b.delivery.Messages[a.message].Accepted > 0
		}
		wait, again := retryAfter(err, 0)
		if !again {
			return false
		}
		sleep(wait)
	}
	return false
}
