package mqtt

import (
	"strings"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/telemetry"
)

// v2xLevel is beneath devices/{id}/; uper and framed are beneath it.
const v2xLevel = "v2x/"

// maxDialectTopics bounds the topics of dialects that a connection remembers.
const maxDialectTopics = 32

// dialectTopic is a topic of a dialect, and the ESN in it.
type dialectTopic struct{ topic, esn string }

// ownV2X reports whether a topic is devices/{id}/v2x/{form} of the device whose
// telemetry goes to own.
func ownV2X(own string, topic []byte) (codec.Format, bool) {
	base := len(own) - len("telemetry")
	if len(topic) <= base || string(topic[:base]) != own[:base] {
		return codec.Auto, false
	}
	form, ok := strings.CutPrefix(string(topic[base:]), v2xLevel)
	if !ok {
		return codec.Auto, false
	}
	return codec.V2XFromSuffix(form)
}

// v2x adds a V2X message of a device to the delivery.
func (c *conn) v2x(b *burst, a *ack, device string, f codec.Format, topic string, payload []byte) {
	a.message = int32(len(b.delivery.Messages))
	m := b.delivery.Add(device, f, payload)
	m.Topic, m.Packet, m.Again = topic, a.id, a.again
}

// remembered takes a message on a topic of a dialect that the connection used
// before.
func (c *conn) remembered(b *burst, a *ack, payload []byte) bool {
	t, ok := c.dialects[string(a.topic)]
	if ok {
		c.dialect(b, a, t, payload)
	}
	return ok
}

// dialectOf takes a message on a topic of a dialect.
func (c *conn) dialectOf(b *burst, a *ack, topic string, payload []byte) bool {
	if c.s.deps.Units == nil {
		return false
	}
	esn, ok := c.s.deps.Units.Topic(topic)
	if !ok {
		return false
	}
	if c.dialects == nil || len(c.dialects) >= maxDialectTopics {
		c.dialects = map[string]dialectTopic{}
	}
	t := dialectTopic{topic, esn}
	c.dialects[topic] = t
	c.dialect(b, a, t, payload)
	return true
}

// dialect takes a message of the unit that its topic names; where it names none,
// of the device itself, or of whom a gateway's message names.
func (c *conn) dialect(b *burst, a *ack, t dialectTopic, payload []byte) {
	esn, units, peer := t.esn, c.s.deps.Units, c.peer.Load()
	if esn == "" && peer.Gateway {
		if esn = units.Named(t.topic, payload); esn == "" {
			c.refuseV2X(b, a, payload, telemetry.ReasonNotPermitted, "topic "+t.topic+": neither topic nor message names the unit that gateway "+c.id+" speaks for; publish to a topic with its ESN, or to devices/{unit}/v2x/uper")
			return
		}
	}
	if esn == "" || units.Is(c.id, esn) {
		c.v2x(b, a, c.id, codec.V2X, t.topic, payload)
		return
	}
	device := units.Device(esn)
	if device != "" && c.maySpeak(device) {
		c.v2x(b, a, c.spokenOf(device), codec.V2X, t.topic, payload)
		return
	}
	if device == "" && peer.Gateway {
		units.Knock(ingest.UnitKnock{ESN: esn, Gateway: c.id, Door: c.door, From: addressOf(c.net.RemoteAddr()), Topic: t.topic, Payload: payload})
	}
	c.refuseV2X(b, a, payload, telemetry.ReasonNotPermitted, "topic "+t.topic+": device "+c.id+" may not speak for the unit with ESN "+clip(esn, 64)+
		"; make the ESN the device's id or its tag esn, or the device a gateway of that unit")
}

// v2xBeneath takes what goes to devices/{id}/v2x/{form}.
func (c *conn) v2xBeneath(b *burst, a *ack, id, form string, payload []byte) error {
	f, known := codec.V2XFromSuffix(form)
	switch {
	case id != c.id && !c.maySpeak(id):
		c.refuseV2X(b, a, payload, telemetry.ReasonNotPermitted, "device "+c.id+" may not speak for "+id)
	case !known:
		c.refuseV2X(b, a, payload, telemetry.ReasonUnsupported, "topic devices/"+id+"/v2x/"+form+": send frames to …/v2x/uper or uplinks to …/v2x/framed")
	default:
		c.v2x(b, a, c.spokenOf(id), f, "", payload)
	}
	return nil
}

// refuseV2X refuses a V2X message: its bytes are kept nowhere.
func (c *conn) refuseV2X(b *burst, a *ack, payload []byte, reason telemetry.Reason, detail string) {
	a.message = int32(len(b.delivery.Messages))
	b.delivery.Add(c.id, codec.V2X, payload).Refuse(reason, detail)
}

// roadFilters are what a broker is asked for besides telemetry. [MQTT-4.8.2-1]
func (c *connection) roadFilters(share string) (all []string) {
	if c.x.server.deps.Units == nil {
		return nil
	}
	all = append(all, share+"devices/+/"+v2xLevel+"+")
	for _, f := range c.x.server.deps.Units.Filters() {
		all = append(all, share+f)
	}
	return all
}

// addRoad adds a V2X message; false when its topic is of none. The broker has
// made sure that the sender is whom the topic, or the message, names.
func (c *connection) addRoad(p *parcel, m paho.Message) bool {
	units := c.x.server.deps.Units
	if units == nil {
		return false
	}
	if rest, ok := strings.CutPrefix(m.Topic(), "devices/"); ok {
		id, form, ok := strings.Cut(rest, "/"+v2xLevel)
		if !ok {
			return false
		}
		f, known := codec.V2XFromSuffix(form)
		if err := telemetry.CheckDeviceID(id); err != nil {
			c.foreignRoad(p, id, m, telemetry.ReasonUnknownDevice, err.Error())
		} else if !known {
			c.foreignRoad(p, id, m, telemetry.ReasonUnsupported, "no form of V2X of that name")
		} else {
			c.road(p, id, f, "", m)
		}
		return true
	}
	esn, ok := units.Topic(m.Topic())
	if !ok {
		return false
	}
	if esn == "" {
		esn = units.Named(m.Topic(), m.Payload())
	}
	device := units.Device(esn)
	if device == "" {
		units.Knock(ingest.UnitKnock{ESN: esn, Door: "broker", Topic: m.Topic(), Payload: m.Payload()})
		c.foreignRoad(p, clip(esn, telemetry.MaxDeviceID), m, telemetry.ReasonUnknownDevice, "no device has this ESN as id or tag esn")
		return true
	}
	c.road(p, device, codec.V2X, m.Topic(), m)
	return true
}

func (c *connection) road(p *parcel, device string, f codec.Format, topic string, m paho.Message) {
	to := p.Add(device, f, m.Payload())
	to.Topic, to.Packet, to.Again = topic, m.MessageID(), m.Duplicate()
}

func (c *connection) foreignRoad(p *parcel, device string, m paho.Message, reason telemetry.Reason, why string) {
	c.x.metrics.foreign.Inc()
	p.Add(device, codec.V2X, m.Payload()).Refuse(reason, "topic "+m.Topic()+": "+why)
}

// isV2X reports whether a topic looks as if V2X were meant.
func isV2X(root string) bool {
	return root == "v2x" || root == "V2X" || strings.HasPrefix(root, "V2X.")
}
