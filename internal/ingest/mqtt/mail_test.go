package mqtt_test

import "testing"

func TestDevicesAnswerAndReport(t *testing.T) {
	h := start(t, newMemory("t1"))
	h.mail.Post("t1", "c-1", "go")
	w := login5(t, h, "a")
	w.send(publish(5, 2, "devices/t1/commands/c-1/reply", 7, []byte("done")))
	w.expect(packet(0x40, uint16(7)))
	w.send(publish(5, 2, "devices/t1/config/reported", 8, []byte("{}")))
	w.expect(packet(0x40, uint16(8)))
	if reply, report := h.mail.Said("t1", "c-1"); reply != "done" || report != "{}" {
		t.Fatalf("the hub heard %q, %q", reply, report)
	}
	for i, c := range []struct{ topic, payload string }{
		{"config/reported", "bad"}, {"commands/c-1/reply", "bad"}, {"commands/c-9/reply", "done"},
	} {
		w.send(publish(5, 2, "devices/t1/"+c.topic, uint16(20+i), []byte(c.payload)))
		if _, body := w.next(); body[2] != 0x99 {
			t.Errorf("%s %s: PUBACK % x", c.topic, c.payload, body)
		}
	}
}

func TestTheWantedConfigurationIsRetained(t *testing.T) {
	h := start(t, newMemory("t1"))
	h.mail.Want("t1", "v1")
	w := login5(t, h, "a")
	w.send(packet(0x82, uint16(1), 2, 0x0b, 9, text("devices/t1/#"), 1))
	first, second := whole(w), whole(w) // [MQTT-3.8.4-1]: in either order
	suback, retained := packet(0x90, uint16(1), 0, 1), packet(0x33, text("devices/t1/config"), uint16(1), 2, 0x0b, 9, []byte("v1"))
	if !(first == string(suback) && second == string(retained) || first == string(retained) && second == string(suback)) {
		t.Fatalf("% x, % x", first, second)
	}
	h.mail.Want("t1", "v2")
	w.expect(packet(0x32, text("devices/t1/config"), uint16(2), 2, 0x0b, 9, []byte("v2"))) // [MQTT-3.3.1-12]: live
	w.send(packet(0x40, uint16(1)))
	w.send(packet(0x40, uint16(2)))
	w.send(packet(0xa2, uint16(2), 0, text("devices/t1/#")))
	w.expect(packet(0xb0, uint16(2), 0, 0))
	h.mail.Want("t1", "v3")
	w.send(packet(0xc0))
	w.expect(packet(0xd0))
	other := login4(t, h, "other")
	other.send(packet(0x82, uint16(1), text("devices/t1/commands"), 0)) // does not mean the configuration
	other.expect(packet(0x90, uint16(1), 0))
	other.send(packet(0xc0))
	other.expect(packet(0xd0))
}

// A connection that is gone hears nothing more, and what it did not confirm
// goes to the next.
func TestCommandsOutliveAConnection(t *testing.T) {
	h := start(t, newMemory("t1"))
	subscribe := packet(0x82, uint16(1), 0, text("devices/t1/commands"), 1)
	granted := packet(0x90, uint16(1), 0, 1)
	command := packet(0x32, text("devices/t1/commands"), uint16(1), 0, []byte("go"))
	first := login5(t, h, "a")
	first.send(subscribe)
	first.expect(granted)
	h.mail.Post("t1", "c-1", "go")
	first.expect(command)
	first.Close()
	eventually(t, "nobody listens", func() bool { return h.mail.Listeners("t1") == 0 })
	second := login5(t, h, "a")
	second.send(subscribe)
	a, b := whole(second), whole(second)
	if a != string(command) && b != string(command) {
		t.Fatalf("% x, % x", a, b)
	}
	second.send(packet(0x40, uint16(1)))
	eventually(t, "the device has confirmed it", func() bool { return h.mail.Received("t1", "c-1") })
}

// whole returns the next packet as it came.
func whole(w *wire) string {
	head, body := w.next()
	return string(packet(head, body))
}
