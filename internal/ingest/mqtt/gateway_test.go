package mqtt_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/quota"
)

func TestAGatewayIsRefusedForItsTooFastDeviceAlone(t *testing.T) {
	m := newMemory("t1", "t2")
	h := start(t, m, within(func(q *quota.Config) { q.Device.SamplesPerSecond = 1 }))
	m.mu.Lock()
	m.speakers["t1>t2"] = true
	m.mu.Unlock()
	w := login5(t, h, "gw")
	w.send(publish(5, 2, "devices/t2/telemetry/influx", 6, []byte(strings.Repeat("m value=1\n", 1000)))) // 1,000 s in debt
	if head, body := w.next(); head != 0x40 || len(body) > 2 && body[2] >= 0x80 {
		t.Fatalf("answer %x % x", head, body)
	}
	stored := h.count()
	w.send(all(
		publish(5, 2, "devices/t2/telemetry/influx", 7, []byte("m value=1")),
		publish(5, 2, ownTopic, 8, []byte("m value=1")),
		publish(5, 2, "devices/t2/telemetry/influx", 9, []byte("m value=1")),
	))
	if _, body := w.next(); body[1] != 7 || body[2] != 0x97 || !bytes.Contains(body, []byte("retry-after")) {
		t.Errorf("the fast device: % x", body)
	}
	w.expect(packet(0x40, uint16(8)))
	if _, body := w.next(); body[1] != 9 || body[2] != 0x97 {
		t.Errorf("the fast device: % x", body)
	}
	if n := h.count() - stored; n != 1 {
		t.Errorf("%d samples were stored, want the other device's one", n)
	}
}
