package mqtt_test

import "testing"

// behind makes one device the gateway of others.
func (m *memory) behind(gateway string, children ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.speakers)
	for _, c := range children {
		m.speakers[gateway+">"+c] = true
	}
}

// subscribe asks for one filter by MQTT 5 and returns the code of the SUBACK.
// What is retained must not come with it.
func (w *wire) subscribe(filter string) byte {
	w.send(packet(0x82, uint16(9), 0, text(filter), 1))
	head, body := w.next()
	if head != 0x90 || len(body) != 4 {
		w.t.Fatalf("SUBACK for %s: %x % x", filter, head, body)
	}
	return body[3]
}

func TestAGatewayHearsItsListedDevicesAlone(t *testing.T) {
	h := start(t, newMemory("t1", "t2", "t3", "x"))
	h.behind("t1", "t2", "t3")
	w := login5(t, h, "a")
	for filter, want := range map[string]byte{
		"devices/t2/commands": 1, "devices/t3/+": 1, "devices/t3/config": 1, "devices/t2/#": 1,
		"devices/x/commands": 0x87, "devices/+/commands": 0x87, "devices/#": 0x87, "#": 0x87, "+/t2/commands": 0x87,
		"devices/t2/rejects": 0x87, "devices/t2/telemetry": 0x87, "devices/t2/commands/+": 0x87, "devices/t2": 0x87, "devices//commands": 0x87,
	} {
		if got := w.subscribe(filter); got != want {
			t.Errorf("%s: %#x, want %#x", filter, got, want)
		}
	}
	h.mail.Post("x", "c-0", "not theirs")
	h.mail.Post("t2", "c-1", "go")
	w.expect(packet(0x32, text("devices/t2/commands"), uint16(1), 0, []byte("go")))
	w.send(packet(0x40, uint16(1)))
	eventually(t, "it is confirmed", func() bool { return h.mail.Received("t2", "c-1") })
	w.send(publish(5, 2, "devices/t2/commands/c-1/reply", 7, []byte("done")))
	w.expect(packet(0x40, uint16(7)))
	w.send(publish(5, 2, "devices/t3/config/reported", 8, []byte("{}")))
	w.expect(packet(0x40, uint16(8)))
	if reply, _ := h.mail.Said("t2", "c-1"); reply != "done" {
		t.Errorf("the hub heard %q of t2", reply)
	}
	if _, report := h.mail.Said("t3", ""); report != "{}" {
		t.Errorf("the hub heard %q of t3", report)
	}
	w.send(publish(5, 2, "devices/x/commands/c-0/reply", 9, []byte("done")))
	if _, body := w.next(); len(body) < 3 || body[2] != 0x87 {
		t.Errorf("an answer for another device: % x", body)
	}
	if reply, _ := h.mail.Said("x", "c-0"); reply != "" {
		t.Errorf("the hub heard %q of x", reply)
	}
}

func TestAGatewayGetsTheWantedConfigurationOfAListedDevice(t *testing.T) {
	h := start(t, newMemory("t1", "t2"))
	h.behind("t1", "t2")
	h.mail.Want("t2", "v1")
	w := login5(t, h, "a")
	w.send(packet(0x82, uint16(1), 0, text("devices/t2/config"), 1))
	first, second := whole(w), whole(w)
	suback, retained := packet(0x90, uint16(1), 0, 1), packet(0x33, text("devices/t2/config"), uint16(1), 0, []byte("v1"))
	if !(first == string(suback) && second == string(retained) || first == string(retained) && second == string(suback)) {
		t.Fatalf("% x, % x", first, second)
	}
	h.mail.Want("t2", "v2")
	w.expect(packet(0x32, text("devices/t2/config"), uint16(2), 0, []byte("v2")))
}

// A device that is taken from its gateway is heard there no more; what it is told
// goes to who may hear it.
func TestAGatewayHearsNothingOfADeviceThatWasTakenFromIt(t *testing.T) {
	h := start(t, newMemory("t1", "t2", "t3"))
	h.behind("t1", "t2", "t3")
	gw := login5(t, h, "a")
	for _, filter := range []string{"devices/t2/commands", "devices/t3/commands"} {
		if got := gw.subscribe(filter); got != 1 {
			t.Fatalf("%s: %#x", filter, got)
		}
	}
	h.behind("t1", "t3")
	h.mail.Post("t2", "c-1", "for t2 alone") // at once, before anybody looked
	eventually(t, "the gateway does not listen", func() bool { return h.mail.Listeners("t2") == 0 })
	h.mail.Post("t3", "c-2", "go")
	gw.expect(packet(0x32, text("devices/t3/commands"), uint16(1), 0, []byte("go")))
	gw.send(publish(5, 2, "devices/t2/commands/c-1/reply", 7, []byte("done")))
	if _, body := gw.next(); len(body) < 3 || body[2] != 0x87 {
		t.Errorf("an answer for a device of others: % x", body)
	}
	if got := gw.subscribe("devices/t2/commands"); got != 0x87 {
		t.Errorf("the device of others is granted: %#x", got)
	}
	h.behind("t1", "t2", "t3")
	gw.send(packet(0x82, uint16(9), 0, text("devices/t2/commands"), 1))
	a, b := whole(gw), whole(gw)
	granted, command := string(packet(0x90, uint16(9), 0, 1)), string(packet(0x32, text("devices/t2/commands"), uint16(2), 0, []byte("for t2 alone")))
	if a+b != granted+command && a+b != command+granted {
		t.Errorf("% x, % x", a, b)
	}
	gw.send(packet(0xa2, uint16(3), 0, text("devices/t2/commands")))
	gw.expect(packet(0xb0, uint16(3), 0, 0))
	if h.mail.Listeners("t2") != 0 {
		t.Error("it listens after UNSUBSCRIBE")
	}
	gw.Close()
	eventually(t, "nobody listens", func() bool { return h.mail.Listeners("t3") == 0 })
}
