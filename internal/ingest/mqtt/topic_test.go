package mqtt_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestTopicsThatAreInjected sends what is no topic of the device's, as the
// topic of a message and of a will, as an alias, and as a subscription. It
// stores nothing, reaches nobody, and what is no topic at all ends the
// connection.
func TestTopicsThatAreInjected(t *testing.T) {
	m := newMemory("t1", "t2")
	h := start(t, m)
	other := dial(t, h)
	other.send(packet(0x10, text("MQTT"), 4, 0xc2, uint16(0), text("other"), text("t2"), text("secret-of-t2")))
	other.expect(connack4)
	other.send(packet(0x82, uint16(1), text("devices/t2/#"), 0))
	other.expect(packet(0x90, uint16(1), 0))

	long := strings.Repeat("x", 600)
	payload := []byte("m value=1")
	for _, c := range []struct {
		what, topic string
		none        bool // it is no topic name
	}{
		{"a NUL", "devices/t1/telemetry/\x00", true},
		{"a NUL before another's name", "devices/t1\x00/../t2/telemetry", true},
		{"a single-level wildcard", "devices/+/telemetry", true},
		{"a multi-level wildcard", "devices/t1/telemetry/#", true},
		{"a wildcard within a level", "devices/t1/tele#metry", true},
		{"too long", "devices/t1/telemetry/" + long, true},
		{"no UTF-8", "devices/t1/telemetry/\xff", true},
		{"an overlong encoding of /", "devices/t1\xc0\xaft2/telemetry", true},
		{"a surrogate", "devices/t1/\xed\xa0\x80", true},
		{"nothing", "", true},
		{"another device", "devices/t2/telemetry", false},
		{"another's commands", "devices/t2/commands", false},
		{"its own commands", "devices/t1/commands", false},
		{"a way up", "devices/t1/../t2/telemetry", false},
		{"an empty level", "devices//telemetry", false},
		{"a name that continues", "devices/t1x/telemetry", false},
		{"the system's", "$SYS/broker/clients", false},
		{"a shared subscription", "$share/g/devices/t2/telemetry", false},
		{"another edge node", "spBv1.0/plant/NDATA/t2", false},
	} {
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprint(c.what, " ", version), func(t *testing.T) {
				w := dial(t, h)
				w.send(connectAs(version, "publish"))
				w.next()
				w.send(publish(version, 2, c.topic, 7, payload))
				if c.none {
					w.rest()
				} else if head, body := w.next(); head != 0x40 || version == 5 && (len(body) < 3 || body[2] < 0x80) {
					t.Errorf("the message is answered %x % x", head, body)
				}

				if w = dial(t, h); c.none {
					w.send(connectWithWill(version, c.topic, string(payload)))
					if answer := w.rest(); len(answer) > 3 && answer[3] == 0 {
						t.Errorf("the will is taken: % x", answer)
					}
				} else {
					w.send(connectWithWill(version, c.topic, string(payload)))
					w.next()
					w.Close() // it is published now
				}

				if version == 5 && c.topic != "" {
					w = login5(t, h, "alias")
					w.send(all(packet(0x32, text(c.topic), uint16(7), 3, 0x23, uint16(1), payload), packet(0x32, text(""), uint16(8), 3, 0x23, uint16(1), payload)))
					if c.none {
						w.rest()
					} else if _, body := w.next(); body[2] < 0x80 {
						t.Errorf("the alias is answered % x", body)
					}
				}
			})
		}
	}
	for _, filter := range []string{"#", "+/#", "devices/#", "devices/+/telemetry", "devices/t2/#", "devices/t1x/#", "$SYS/#", "$share/g/devices/t1/#", "spBv1.0/#", "spBv1.0/+/NCMD/+", "devices/t1/" + long} {
		w := login4(t, h, "subscribe")
		w.send(packet(0x82, uint16(1), text(filter), 0))
		w.expect(packet(0x90, uint16(1), 0x80))
	}
	for _, filter := range []string{"devices/t1/\x00", "devices/t1/\xff"} {
		w := login4(t, h, "subscribe")
		w.send(packet(0x82, uint16(1), text(filter), 0))
		w.ends(0)
	}
	eventually(t, "the connections are gone", func() bool { return h.metric(t, "hub_mqtt_connections") == 1 })
	if h.count() != 0 {
		t.Errorf("%d samples are stored", h.count())
	}
	for _, r := range h.rejects() {
		if r.Device != "t1" {
			t.Errorf("a reject stands in another's name: %+v", r)
		}
	}
	other.send(packet(0xc0))
	other.expect(packet(0xd0)) // and nothing before it
}
