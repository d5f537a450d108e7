package mqtt_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/ingest/mqtt"
)

// orders gives each device what is beneath V2X/RSU/{id}/.
type orders struct{ mail *doortest.Mail }

func (o orders) Hears(p *ingest.Peer, filter string) ([]ingest.OrderTopic, bool) {
	base := "V2X/RSU/" + p.Device.ID + "/"
	if !strings.HasPrefix(filter, base) {
		return nil, false
	}
	return []ingest.OrderTopic{{Topic: base + "CONFIG/DOWN", Listen: func(deliver func(ingest.Command) bool) func() { return o.mail.Listen(p.Device.ID, deliver) }}}, true
}

func (o orders) Answered(ctx context.Context, p *ingest.Peer, topic string, payload []byte) (bool, error) {
	switch esn, rest, _ := strings.Cut(strings.TrimPrefix(topic, "V2X/RSU/"), "/"); {
	case rest != "CONFIG/DOWN/ACK":
		return false, nil
	case esn != p.Device.ID:
		return true, fmt.Errorf("unit %s %w", esn, ingest.ErrNotYours)
	}
	return true, o.mail.Reply(ctx, p.Device.ID, "c-1", payload)
}

// TestUnitsHearOrdersOnTheirTopics: a wildcard beneath a unit's own topics hears
// the orders, and nobody else's may be held.
func TestUnitsHearOrdersOnTheirTopics(t *testing.T) {
	m := newMemory("t1", "t2")
	var mail doortest.Mail
	h := start(t, m, func(_ *mqtt.Config, _ *ingest.Config, d *mqtt.Deps) { d.Orders = orders{&mail} })
	mail.Post("t1", "c-1", `{"seqNum":"1"}`)
	w := login5(t, h, "a")
	w.send(packet(0x82, uint16(1), 0, text("V2X/RSU/t2/#"), 1, text("V2X/RSU/+/CONFIG/DOWN"), 1, text("V2X/#"), 1, text("v2x/v1/rsu/t1/#"), 1))
	w.expect(packet(0x90, uint16(1), 0, 0x87, 0x87, 0x87, 0x87))
	if n := mail.Listeners("t1"); n != 0 {
		t.Fatalf("%d listen", n)
	}
	w.send(packet(0x82, uint16(2), 0, text("V2X/RSU/t1/#"), 1, text("V2X/RSU/t1/CONFIG/DOWN"), 0))
	first, second := whole(w), whole(w)
	suback, order := packet(0x90, uint16(2), 0, 1, 0), packet(0x32, text("V2X/RSU/t1/CONFIG/DOWN"), uint16(1), 0, []byte(`{"seqNum":"1"}`))
	if !(first == string(suback) && second == string(order) || first == string(order) && second == string(suback)) {
		t.Fatalf("% x, % x", first, second)
	}
	w.send(packet(0x40, uint16(1)))
	eventually(t, "the order is confirmed", func() bool { return mail.Received("t1", "c-1") })
	w.send(publish(5, 2, "V2X/RSU/t1/CONFIG/DOWN/ACK", 7, []byte("ok")))
	w.expect(packet(0x40, uint16(7)))
	if reply, _ := mail.Said("t1", "c-1"); reply != "ok" {
		t.Errorf("the hub heard %q", reply)
	}
	w.send(publish(5, 2, "V2X/RSU/t2/CONFIG/DOWN/ACK", 8, []byte("ok")))
	if _, body := w.next(); body[2] != 0x87 {
		t.Errorf("PUBACK % x", body)
	}
	w.send(publish(5, 2, "V2X/RSU/t1/CONFIG/DOWN/ACK", 9, []byte("bad")))
	if _, body := w.next(); body[2] != 0x99 {
		t.Errorf("PUBACK % x", body)
	}
	if n := mail.Listeners("t1"); n != 1 {
		t.Errorf("%d listen", n)
	}
	w.send(packet(0xa2, uint16(3), 0, text("V2X/RSU/t1/#")))
	w.expect(packet(0xb0, uint16(3), 0, 0))
	if n := mail.Listeners("t1"); n != 1 {
		t.Errorf("%d listen although a filter still means the topic", n)
	}
	w.send(packet(0xa2, uint16(4), 0, text("V2X/RSU/t1/CONFIG/DOWN")))
	w.expect(packet(0xb0, uint16(4), 0, 0))
	if n := mail.Listeners("t1"); n != 0 {
		t.Errorf("%d listen", n)
	}
}
