package mqtt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/songhua-io/hub/internal/telemetry"
)

type (
	text string // a UTF-8 string field
	blob []byte // a binary field
)

// packet writes a control packet: bytes and raw slices as they are, uint16 big
// endian, text and blob with their length.
func packet(head byte, fields ...any) []byte {
	var body []byte
	for _, f := range fields {
		switch f := f.(type) {
		case byte:
			body = append(body, f)
		case int:
			body = append(body, byte(f))
		case uint16:
			body = binary.BigEndian.AppendUint16(body, f)
		case uint32:
			body = binary.BigEndian.AppendUint32(body, f)
		case []byte:
			body = append(body, f...)
		case text:
			body = append(binary.BigEndian.AppendUint16(body, uint16(len(f))), f...)
		case blob:
			body = append(binary.BigEndian.AppendUint16(body, uint16(len(f))), f...)
		default:
			panic(f)
		}
	}
	p := []byte{head}
	n := len(body)
	for n >= 0x80 {
		p = append(p, byte(n)|0x80)
		n >>= 7
	}
	p = append(p, byte(n))
	return append(p, body...)
}

func all(packets ...[]byte) []byte { return bytes.Join(packets, nil) }

// connectAs is the CONNECT of device t1 with a clean start and keep-alive 60 s.
func connectAs(version byte, client string) []byte {
	fields := []any{text("MQTT"), version, 0xc2, uint16(60)}
	if version == 5 {
		fields = append(fields, 0)
	}
	return packet(0x10, append(fields, text(client), text("t1"), text("secret-of-t1"))...)
}

// connack5 is what the server answers an MQTT 5 client that asks for nothing:
// receive maximum 1024, maximum packet size 262144, 16 topic aliases, no
// retained messages of clients, no shared subscriptions.
var connack5 = packet(0x20, 0, 0, 15, 0x21, uint16(1024), 0x27, uint32(262144), 0x22, uint16(16), 0x25, 0, 0x2a, 0)

var connack4 = packet(0x20, 0, 0)

// wire is a client of raw bytes.
type wire struct {
	t *testing.T
	net.Conn
}

func dial(t *testing.T, h *hub) *wire {
	t.Helper()
	c, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &wire{t, c}
}

// login connects as t1.
func login5(t *testing.T, h *hub, client string) *wire {
	t.Helper()
	w := dial(t, h)
	w.send(connectAs(5, client))
	w.expect(connack5)
	return w
}

func login4(t *testing.T, h *hub, client string) *wire {
	t.Helper()
	w := dial(t, h)
	w.send(connectAs(4, client))
	w.expect(connack4)
	return w
}

func (w *wire) send(p []byte) {
	w.t.Helper()
	if _, err := w.Write(p); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

func (w *wire) expect(want []byte) {
	w.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(w, got)
	if diff := cmp.Diff(want, got[:n], cmpopts.EquateEmpty()); diff != "" || err != nil {
		w.t.Fatalf("answer (-want +got), %v:\n%s", err, diff)
	}
}

// next returns the next packet.
func (w *wire) next() (head byte, body []byte) {
	w.t.Helper()
	b := make([]byte, 2)
	if _, err := io.ReadFull(w, b); err != nil {
		w.t.Fatalf("no packet: %v", err)
	}
	n := int(b[1] & 0x7f)
	if b[1] >= 0x80 {
		more := make([]byte, 1)
		io.ReadFull(w, more)
		n |= int(more[0]) << 7
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(w, body); err != nil {
		w.t.Fatalf("no packet: %v", err)
	}
	return b[0], body
}

// rest returns everything until the server closes.
func (w *wire) rest() []byte {
	w.t.Helper()
	p, err := io.ReadAll(w)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Fatalf("the server did not close; it sent % x", p)
	}
	return p
}

// ends checks that the server closes, with DISCONNECT of that code before;
// code 0 expects none.
func (w *wire) ends(code byte) {
	w.t.Helper()
	p := w.rest()
	switch {
	case code == 0 && len(p) > 0:
		w.t.Fatalf("the server sent % x before it closed", p)
	case code != 0 && (len(p) < 3 || p[0] != 0xe0 || p[2] != code):
		w.t.Fatalf("the server sent % x (%q) before it closed, no DISCONNECT 0x%02x", p, p, code)
	}
}

func publish(version byte, flags byte, topic string, id uint16, payload []byte) []byte {
	fields := []any{text(topic)}
	if flags&6 != 0 {
		fields = append(fields, id)
	}
	if version == 5 {
		fields = append(fields, 0)
	}
	return packet(0x30|flags, append(fields, payload)...)
}

const ownTopic = "devices/t1/telemetry"

// TestClauses checks what the server may not do, or not take, by the clauses
// of MQTT 5 (those of 3.1.1 where only it has them). Every case first connects
// as t1 with the version, unless fresh.
func TestClauses(t *testing.T) {
	senml := []byte(`[{"n":"a","v":1}]`)
	ok5 := packet(0x40, uint16(7))
	cases := []struct {
		clause  string
		what    string
		version byte
		fresh   bool
		send    []byte
		want    []byte // answered
		closed  bool   // and then closed
		code    byte   // with this DISCONNECT
	}{
		{"MQTT-3.1.0-1", "the first packet must be CONNECT", 5, true, packet(0xc0), nil, true, 0},
		{"MQTT-3.1.0-2", "a second CONNECT", 5, false, connectAs(5, "a"), nil, true, 0x82},
		{"MQTT-3.1.0-2", "a second CONNECT", 4, false, connectAs(4, "a"), nil, true, 0},
		{"MQTT-3.1.2-1", "another protocol name", 4, true, packet(0x10, text("HTTP"), 4, 2, uint16(0), text("a")), nil, true, 0},
		{"MQTT-3.1.2-2", "version 3", 4, true, packet(0x10, text("MQIsdp"), 3, 2, uint16(0), text("a")), packet(0x20, 0, 1), true, 0},
		{"MQTT-3.1.2-2", "version 6", 4, true, packet(0x10, text("MQTT"), 6, 2, uint16(0), text("a")), packet(0x20, 0, 1), true, 0},
		{"MQTT-3.1.2-3", "the reserved connect flag", 4, true, packet(0x10, text("MQTT"), 4, 0xc3, uint16(0), text("a"), text("t1"), text("secret-of-t1")), nil, true, 0},
		{"MQTT-3.1.2-11", "will QoS without will", 4, true, packet(0x10, text("MQTT"), 4, 0xca, uint16(0), text("a"), text("t1"), text("secret-of-t1")), nil, true, 0},
		{"MQTT-3.1.2-12", "will QoS 3", 4, true, packet(0x10, text("MQTT"), 4, 0xde, uint16(0), text("a"), text("w"), text(""), text("t1"), text("secret-of-t1")), nil, true, 0},
		{"MQTT-3.1.2-22 of 3.1.1", "password without user", 4, true, packet(0x10, text("MQTT"), 4, 0x42, uint16(0), text("a"), text("secret-of-t1")), nil, true, 0},
		{"MQTT-3.1.3-1", "a user name is announced and missing", 4, true, packet(0x10, text("MQTT"), 4, 0xc2, uint16(0), text("a")), nil, true, 0},
		{"MQTT-4.13.1-1", "bytes behind the last field", 4, true, packet(0x10, text("MQTT"), 4, 0xc2, uint16(0), text("a"), text("t1"), text("secret-of-t1"), 1), nil, true, 0},
		{"MQTT-3.1.3-4", "a client id with a NUL", 4, true, connectAs(4, "a\x00b"), nil, true, 0},
		{"MQTT-1.5.4-1", "a client id that is no UTF-8", 5, true, connectAs(5, "a\xff"), nil, true, 0},
		{"MQTT-1.5.4-1", "a surrogate", 5, true, connectAs(5, "\xed\xa0\x80"), nil, true, 0},
		{"MQTT-3.1.3-8", "no client id and no clean session", 4, true, packet(0x10, text("MQTT"), 4, 0xc0, uint16(0), text(""), text("t1"), text("secret-of-t1")), packet(0x20, 0, 2), true, 0},
		{"MQTT-3.1.3-7", "no client id, clean session", 4, true, connectAs(4, ""), connack4, false, 0},
		{"MQTT-3.1.4-2", "a wrong password", 4, true, packet(0x10, text("MQTT"), 4, 0xc2, uint16(0), text("a"), text("t1"), text("guess")), packet(0x20, 0, 4), true, 0},
		{"MQTT-3.1.4-2", "a wrong password", 5, true, packet(0x10, text("MQTT"), 5, 0xc2, uint16(0), 0, text("a"), text("t1"), text("guess")), packet(0x20, 0, 0x86, 0), true, 0},
		{"MQTT-3.1.4-2", "no password", 5, true, packet(0x10, text("MQTT"), 5, 0x82, uint16(0), 0, text("a"), text("t1")), packet(0x20, 0, 0x86, 0), true, 0},
		{"MQTT-4.12.0-1", "enhanced authentication", 5, true, packet(0x10, text("MQTT"), 5, 0xc2, uint16(60), 9, 0x15, text("SCRAM1"), text("a"), text("t1"), text("secret-of-t1")), packet(0x20, 0, 0x8c, 0), true, 0},
		{"MQTT-3.1.2-23", "a session expiry is answered with 0", 5, true, packet(0x10, text("MQTT"), 5, 0xc2, uint16(60), 5, 0x11, uint32(3600), text("a"), text("t1"), text("secret-of-t1")),
			packet(0x20, 0, 0, 20, 0x11, uint32(0), 0x21, uint16(1024), 0x27, uint32(262144), 0x22, uint16(16), 0x25, 0, 0x2a, 0), false, 0},
		{"MQTT-3.2.2-21", "no keep-alive is answered with the server's", 5, true, packet(0x10, text("MQTT"), 5, 0xc2, uint16(0), 0, text("a"), text("t1"), text("secret-of-t1")),
			packet(0x20, 0, 0, 18, 0x13, uint16(3600), 0x21, uint16(1024), 0x27, uint32(262144), 0x22, uint16(16), 0x25, 0, 0x2a, 0), false, 0},
		{"MQTT-3.2.2-13", "a will that is to be retained", 5, true, packet(0x10, text("MQTT"), 5, 0xe6, uint16(60), 0, text("a"), 0, text(ownTopic), blob("m value=1"), text("t1"), text("secret-of-t1")), packet(0x20, 0, 0x9a, 0), true, 0},
		{"MQTT-3.2.2-14", "a message that is to be retained", 5, false, publish(5, 3, ownTopic, 7, senml), nil, true, 0x9a},
		{"MQTT-3.3.1-5 of 3.1.1", "a message that is to be retained is stored as any other", 4, false, publish(4, 3, ownTopic, 7, senml), ok5, false, 0},
		{"3.1.2.11.3", "receive maximum 0", 5, true, packet(0x10, text("MQTT"), 5, 0xc2, uint16(60), 3, 0x21, uint16(0), text("a"), text("t1"), text("secret-of-t1")), nil, true, 0},
		{"MQTT-2.2.2", "a property twice", 5, true, packet(0x10, text("MQTT"), 5, 0xc2, uint16(60), 6, 0x21, uint16(5), 0x21, uint16(5), text("a"), text("t1"), text("secret-of-t1")), nil, true, 0},
		{"MQTT-2.1.3-1", "reserved flags of PINGREQ", 5, false, []byte{0xc1, 0}, nil, true, 0x81},
		{"MQTT-2.1.3-1", "reserved flags of SUBSCRIBE", 5, false, packet(0x80, uint16(1), 0, text("devices/t1/commands"), 0), nil, true, 0x81},
		{"MQTT-1.5.5-1", "a remaining length of five bytes", 5, false, []byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}, nil, true, 0x81},
		{"MQTT-1.5.5-1", "a remaining length longer than need be", 5, false, []byte{0xc0, 0x80, 0}, nil, true, 0x81},
		{"MQTT-3.1.2-24", "a packet above the maximum, before it comes", 5, false, []byte{0x32, 0xff, 0xff, 0x7f}, nil, true, 0x95},
		{"MQTT-3.12.4-1", "PINGREQ", 5, false, packet(0xc0), packet(0xd0), false, 0},
		{"MQTT-3.12.4-1", "PINGREQ", 4, false, packet(0xc0), packet(0xd0), false, 0},
		{"MQTT-3.3.4-1", "QoS 1 is answered with PUBACK", 5, false, publish(5, 2, ownTopic, 7, senml), ok5, false, 0},
		{"MQTT-3.3.4-1", "QoS 1 is answered with PUBACK", 4, false, publish(4, 2, ownTopic, 7, senml), ok5, false, 0},
		{"MQTT-3.3.4-1", "QoS 2 is answered with PUBREC", 5, false, publish(5, 4, ownTopic, 7, senml), packet(0x50, uint16(7)), false, 0},
		{"MQTT-4.3.3-11", "PUBREL is answered with PUBCOMP", 4, false, all(publish(4, 4, ownTopic, 7, senml), packet(0x62, uint16(7))), all(packet(0x70, uint16(7)), packet(0x50, uint16(7))), false, 0},
		{"3.7.2.1", "PUBREL of an unknown packet", 5, false, packet(0x62, uint16(9)), packet(0x70, uint16(9), 0x92), false, 0},
		{"MQTT-4.3.3-10", "a QoS 2 packet sent again is answered again", 5, false, all(publish(5, 4, ownTopic, 7, senml), publish(5, 12, ownTopic, 7, senml)), all(packet(0x50, uint16(7)), packet(0x50, uint16(7))), false, 0},
		{"MQTT-4.6.0-2", "PUBACKs in the order of the PUBLISHes", 4, false, all(publish(4, 2, ownTopic, 9, senml), publish(4, 2, ownTopic, 3, senml)), all(packet(0x40, uint16(9)), packet(0x40, uint16(3))), false, 0},
		{"MQTT-3.3.1-4", "QoS 3", 5, false, publish(5, 6, ownTopic, 7, senml), nil, true, 0x81},
		{"MQTT-3.3.1-2", "DUP with QoS 0", 5, false, publish(5, 8, ownTopic, 0, senml), nil, true, 0x81},
		{"MQTT-2.2.1-3", "packet identifier 0", 5, false, publish(5, 2, ownTopic, 0, senml), nil, true, 0x81},
		{"MQTT-3.3.2-2", "a wildcard in a topic name", 5, false, publish(5, 2, "devices/+/telemetry", 7, senml), nil, true, 0x81},
		{"MQTT-3.3.2-2", "a wildcard in a topic name", 4, false, publish(4, 2, "devices/#", 7, senml), nil, true, 0},
		{"MQTT-4.7.3-1", "an empty topic", 4, false, publish(4, 2, "", 7, senml), nil, true, 0},
		{"MQTT-4.7.3-2", "a NUL in a topic", 5, false, publish(5, 2, "devices/t1/\x00", 7, senml), nil, true, 0x81},
		{"MQTT-3.3.2-6", "no topic and no alias", 5, false, publish(5, 2, "", 7, senml), nil, true, 0x82},
		{"MQTT-3.3.2-8", "topic alias 0", 5, false, packet(0x32, text(ownTopic), uint16(7), 3, 0x23, uint16(0), senml), nil, true, 0x94},
		{"MQTT-3.3.2-9", "a topic alias above the maximum", 5, false, packet(0x32, text(ownTopic), uint16(7), 3, 0x23, uint16(17), senml), nil, true, 0x94},
		{"MQTT-3.3.2-7", "a topic alias that stands for nothing", 5, false, packet(0x32, text(""), uint16(7), 3, 0x23, uint16(4), senml), nil, true, 0x82},
		{"MQTT-3.3.2-12", "a topic alias", 5, false, all(packet(0x32, text(ownTopic), uint16(7), 3, 0x23, uint16(4), senml), packet(0x32, text(""), uint16(7), 3, 0x23, uint16(4), senml)), all(ok5, ok5), false, 0},
		{"MQTT-3.3.2-14", "a wildcard in the response topic", 5, false, packet(0x32, text(ownTopic), uint16(7), 6, 0x08, text("a/#"), senml), nil, true, 0x82},
		{"MQTT-3.3.4-6", "a subscription identifier from a client", 5, false, packet(0x32, text(ownTopic), uint16(7), 2, 0x0b, 1, senml), nil, true, 0x81},
		{"3.3.2.3.2", "payload format indicator 2", 5, false, packet(0x32, text(ownTopic), uint16(7), 2, 0x01, 2, senml), nil, true, 0x82},
		{"3.3.2.3", "properties that are longer than the packet", 5, false, packet(0x32, text(ownTopic), uint16(7), 0x7f, senml), nil, true, 0x81},
		{"3.3.2.3", "all properties that a PUBLISH may have", 5, false, packet(0x32, text(ownTopic), uint16(7), 36, 0x01, 1, 0x02, uint32(60), 0x03, text("x"), 0x08, text("r"), 0x09, blob("c"), 0x26, text("k"), text("v"), 0x26, text("k"), text("w"), 0x23, uint16(1), senml), ok5, false, 0},
		{"MQTT-3.8.3-2", "SUBSCRIBE without a filter", 5, false, packet(0x82, uint16(1), 0), nil, true, 0x82},
		{"MQTT-3.8.3-2", "SUBSCRIBE without a filter", 4, false, packet(0x82, uint16(1)), nil, true, 0},
		{"MQTT-3.8.3-4", "SUBSCRIBE with QoS 3", 4, false, packet(0x82, uint16(1), text("devices/t1/commands"), 3), nil, true, 0},
		{"MQTT-3.8.3-5", "reserved subscription options", 5, false, packet(0x82, uint16(1), 0, text("devices/t1/commands"), 0x40), nil, true, 0x81},
		{"MQTT-3.8.4-2", "SUBACK has the packet identifier", 4, false, packet(0x82, uint16(0x1234), text("devices/t1/commands"), 1), packet(0x90, uint16(0x1234), 1), false, 0},
		{"MQTT-3.8.4-6", "a code for every filter, QoS at most 1", 5, false, packet(0x82, uint16(1), 0, text("devices/t1/#"), 2, text("devices/t2/commands"), 1, text("devices/t1/a#"), 1, text("$share/g/devices/t1/x"), 1), packet(0x90, uint16(1), 0, 1, 0x87, 0x8f, 0x9e), false, 0},
		{"MQTT-3.9.3-2", "3.1.1 has one code for all failures", 4, false, packet(0x82, uint16(1), text("devices/+/commands"), 1, text("#"), 0, text("$SYS/#"), 0), packet(0x90, uint16(1), 0x80, 0x80, 0x80), false, 0},
		{"MQTT-3.10.4-4", "UNSUBACK", 4, false, packet(0xa2, uint16(5), text("devices/t1/commands")), packet(0xb0, uint16(5)), false, 0},
		{"MQTT-3.11.3-1", "UNSUBACK has a code for every filter", 5, false, all(packet(0x82, uint16(1), 0, text("devices/t1/config"), 0), packet(0xa2, uint16(5), 0, text("devices/t1/config"), text("x"))), all(packet(0x90, uint16(1), 0, 0), packet(0xb0, uint16(5), 0, 0, 0x11)), false, 0},
		{"MQTT-3.10.3-2", "UNSUBSCRIBE without a filter", 4, false, packet(0xa2, uint16(5)), nil, true, 0},
		{"MQTT-3.14.4-2", "DISCONNECT", 5, false, packet(0xe0), nil, true, 0},
		{"MQTT-3.14.4-2", "DISCONNECT", 4, false, packet(0xe0), nil, true, 0},
		{"MQTT-3.14.1-1", "DISCONNECT with flags", 5, false, []byte{0xe1, 0}, nil, true, 0x81},
		{"4.13", "what precedes a malformed packet is answered", 5, false, all(publish(5, 2, ownTopic, 7, senml), []byte{0xc1, 0}), ok5, true, 0x81},
		{"4.13", "what precedes DISCONNECT is answered", 4, false, all(publish(4, 2, ownTopic, 7, senml), packet(0xe0)), ok5, true, 0},
		{"MQTT-2.1.2-1", "packet type 0", 5, false, []byte{0, 0}, nil, true, 0x82},
		{"MQTT-4.12.1-1", "AUTH", 5, false, packet(0xf0), nil, true, 0x82},
		{"MQTT-2.1.2-1", "a packet that only a server sends", 5, false, packet(0xd0), nil, true, 0x82},
	}
	h := start(t, newMemory("t1", "t2"))
	for _, c := range cases {
		t.Run(c.clause+" "+c.what, func(t *testing.T) {
			w := dial(t, h)
			if !c.fresh {
				w.send(connectAs(c.version, t.Name()))
				w.expect(map[byte][]byte{4: connack4, 5: connack5}[c.version])
			}
			w.send(c.send)
			w.expect(c.want)
			if c.closed {
				w.ends(c.code)
				return
			}
			w.send(packet(0xc0))
			w.expect(packet(0xd0))
		})
	}
}

func TestReceiveMaximumIsEnforced(t *testing.T) {
	h := start(t, newMemory("t1"))
	w := login5(t, h, "a")
	for i := range 1024 {
		w.send(publish(5, 4, ownTopic, uint16(i+1), []byte("m value=1")))
		w.expect(packet(0x50, uint16(i+1)))
	}
	w.send(publish(5, 2, ownTopic, 2000, []byte("m value=1")))
	w.ends(0x93) // [MQTT-3.3.4-7]
}

func TestEmptyClientIDIsAssigned(t *testing.T) {
	h := start(t, newMemory("t1"))
	w := dial(t, h)
	w.send(connectAs(5, ""))
	head, body := w.next()
	if head != 0x20 || body[1] != 0 || body[3] != 0x12 || body[5] == 0 {
		t.Fatalf("CONNACK % x assigns no client id [MQTT-3.2.2-16]", body)
	}
}

func TestRejectsAreTold(t *testing.T) {
	const other = "devices/t2/telemetry"
	cases := []struct {
		what    string
		topic   string
		payload string
		code    byte
		reason  telemetry.Reason
		stage   telemetry.Stage
	}{
		{"no telemetry at all", ownTopic, "{", 0x99, telemetry.ReasonMalformed, telemetry.StageDecode},
		{"a time in the future", ownTopic, `[{"n":"a","v":1,"t":9000000000}]`, 0x99, telemetry.ReasonTimeFuture, telemetry.StageValidate},
		{"another device", other, `[{"n":"a","v":1}]`, 0x87, telemetry.ReasonNotPermitted, telemetry.StageDoor},
		{"a topic that is no one's", "home/kitchen", `1`, 0x87, telemetry.ReasonNotPermitted, telemetry.StageDoor},
		{"a format that is none", ownTopic + "/xml", `<a/>`, 0x90, telemetry.ReasonUnsupported, telemetry.StageDoor},
		{"V2X frames, and no hub that takes them", "devices/t1/v2x/uper", "\x00\x01", 0x90, telemetry.ReasonUnsupported, telemetry.StageDecode},
		{"V2X frames in a dialect", "V2X/RSU/1/BSM/UP", "{}", 0x90, telemetry.ReasonUnsupported, telemetry.StageDoor},
		{"an answer to no command", "devices/t1/commands/7/reply", "{}", 0x99, telemetry.ReasonMalformed, telemetry.StageDoor},
		{"another edge node", "spBv1.0/g/NDATA/t2", "x", 0x87, telemetry.ReasonNotPermitted, telemetry.StageDoor},
		{"half a gzip stream", ownTopic, "\x1f\x8b\x08\x00", 0x99, telemetry.ReasonMalformed, telemetry.StageDoor},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			h := start(t, newMemory("t1", "t2"))
			w5, w4 := login5(t, h, "five"), login4(t, h, "four")
			w4.send(packet(0x82, uint16(1), text("devices/t1/rejects"), 0))
			w4.expect(packet(0x90, uint16(1), 0))

			w5.send(publish(5, 2, c.topic, 7, []byte(c.payload)))
			head, body := w5.next()
			if head != 0x40 || len(body) < 4 || body[2] != c.code || body[4] != 0x1f {
				t.Fatalf("PUBACK % x, want code 0x%02x with a reason string", body, c.code)
			}
			head, body = w4.next()
			if head != 0x30 || !bytes.Contains(body, []byte(`"reason":"`+c.reason+`"`)) || !bytes.Contains(body, []byte(`"topic":"`+c.topic+`"`)) {
				t.Fatalf("on the rejects topic: %x %q", head, body)
			}
			kept := h.rejects()
			if len(kept) != 1 || kept[0].Device != "t1" || kept[0].Reason != c.reason || kept[0].Stage != c.stage || h.count() != 0 {
				t.Fatalf("the desk holds %v, the store %d samples", kept, h.count())
			}

			// 3.1.1 cannot refuse: the message is acknowledged, and told of.
			w4.send(publish(4, 2, c.topic, 8, []byte(c.payload)))
			want := map[byte]bool{0x30: true, 0x40: true}
			for range 2 {
				head, _ := w4.next()
				delete(want, head)
			}
			if len(want) > 0 {
				t.Fatalf("missing packets: %v", want)
			}
		})
	}
}

func TestPartOfAMessageIsRejected(t *testing.T) {
	h := start(t, newMemory("t1"))
	w := login5(t, h, "a")
	w.send(publish(5, 2, ownTopic, 7, []byte(`[{"n":"a","v":1},{"n":"b","v":1,"t":9000000000}]`)))
	head, body := w.next()
	if head != 0x40 || body[2] != 0 || !bytes.Contains(body, all([]byte("\x26\x00\x08accepted\x00\x011"), []byte("\x26\x00\x08rejected\x00\x011"))) {
		t.Fatalf("PUBACK %x %q does not name the counts", head, body)
	}
	if h.count() != 1 {
		t.Fatalf("%d samples are stored", h.count())
	}
	quiet := dial(t, h)
	quiet.send(packet(0x10, text("MQTT"), 5, 0xc2, uint16(60), 2, 0x17, 0, text("q"), text("t1"), text("secret-of-t1")))
	quiet.expect(connack5)
	quiet.send(publish(5, 2, ownTopic, 8, []byte("{")))
	quiet.expect(packet(0x40, uint16(8), 0x99)) // [MQTT-3.1.2-29]: no reason string when none is wanted
}
