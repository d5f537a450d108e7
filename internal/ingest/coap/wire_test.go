package coap_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/coap"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// wire is a bare socket towards the door.
type wire struct {
	tb   testing.TB
	conn net.Conn
}

func (h *house) wire(tb testing.TB) *wire {
	conn, err := net.Dial("udp", h.addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return &wire{tb, conn}
}

func (w *wire) send(b []byte) {
	w.tb.Helper()
	if _, err := w.conn.Write(b); err != nil {
		w.tb.Fatal(err)
	}
}

// next returns the next datagram of the door; nil when none comes within d.
func (w *wire) next(d time.Duration) []byte {
	w.tb.Helper()
	b := make([]byte, 4096)
	if err := w.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		w.tb.Fatal(err)
	}
	n, err := w.conn.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		w.tb.Fatal(err)
	}
	return b[:n]
}

// answer sends a datagram and reads the answer by go-coap's decoder.
func (w *wire) answer(b []byte) message.Message {
	w.tb.Helper()
	w.send(b)
	return w.read(patience)
}

func (w *wire) read(d time.Duration) message.Message {
	w.tb.Helper()
	b := w.next(d)
	if b == nil {
		w.tb.Fatal("no answer came")
	}
	var m message.Message
	m.Options = make(message.Options, 0, 16)
	if _, err := coder.DefaultCoder.Decode(b, &m); err != nil {
		w.tb.Fatalf("answer % x: %v", b, err)
	}
	return m
}

type opt struct {
	number int
	value  string
}

// encode writes a message; options come in rising order of their numbers.
func encode(kind, code byte, id uint16, token string, payload string, opts ...opt) []byte {
	b := []byte{0x40 | kind<<4 | byte(len(token)), code, byte(id >> 8), byte(id)}
	b = append(b, token...)
	last := 0
	for _, o := range opts {
		delta, length := o.number-last, len(o.value)
		last = o.number
		var ext []byte
		nibble := func(n int) byte {
			switch {
			case n < 13:
				return byte(n)
			case n < 269:
				ext = append(ext, byte(n-13))
				return 13
			}
			ext = binary.BigEndian.AppendUint16(ext, uint16(n-269))
			return 14
		}
		head := nibble(delta)<<4 | nibble(length)
		b = append(append(append(b, head), ext...), o.value...)
	}
	if payload != "" {
		b = append(append(b, 0xff), payload...)
	}
	return b
}

func telemetryTo(device, payload string, id uint16, more ...opt) []byte {
	opts := append([]opt{{11, "devices"}, {11, device}, {11, "telemetry"}, {12, "\x32"}, {15, "token=" + doortest.Secret(device)}}, more...)
	return encode(0, 2, id, "tk", payload, opts...)
}

func TestARepeatedMessageIsStoredOnce(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	w := h.wire(t)
	// Without a time of its own a second ingest would be a second sample.
	first := telemetryTo("t1", `{"temperature":1}`, 7)
	for range 5 {
		if m := w.answer(first); m.Code != 2<<5|4 || m.MessageID != 7 || m.Type != message.Acknowledgement || string(m.Token) != "tk" {
			t.Fatalf("answered %+v", m)
		}
	}
	if v := h.Values()["temperature{device=t1}"]; len(v) != 1 {
		t.Errorf("stored %v", v)
	}
	if n := h.gauge(t, "hub_coap_duplicates_total"); n != 4 {
		t.Errorf("%v duplicates", n)
	}
	// A sender that wraps its message ids sends another message.
	if m := w.answer(telemetryTo("t1", `{"temperature":2}`, 7)); m.Code != 2<<5|4 {
		t.Fatalf("answered %+v", m)
	}
	if v := h.Values()["temperature{device=t1}"]; len(v) != 2 {
		t.Errorf("stored %v", v)
	}
	// Rejects are told again too.
	bad := telemetryTo("t1", `{"ts":5,"temperature":1}`, 8)
	a, b := w.answer(bad), w.answer(bad)
	if a.Code != 4<<5 || !bytes.Equal(a.Payload, b.Payload) || !strings.Contains(string(a.Payload), "time_past") {
		t.Errorf("answered %q, then %q", a.Payload, b.Payload)
	}
	if n := len(h.Desk()); n != 1 {
		t.Errorf("%d messages on the desk", n)
	}
}

func TestNonConfirmableMessagesAreAnsweredInKind(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	w := h.wire(t)
	b := telemetryTo("t1", `{"temperature":1}`, 9)
	b[0] |= 1 << 4
	if m := w.answer(b); m.Code != 2<<5|4 || m.Type != message.NonConfirmable || string(m.Token) != "tk" {
		t.Errorf("answered %+v", m)
	}
	// RFC 7967: the sender does not want to hear of success.
	b = telemetryTo("t1", `{"temperature":2}`, 10, opt{258, "\x02"})
	if m := w.answer(b); m.Code != 0 || m.Type != message.Acknowledgement || m.MessageID != 10 {
		t.Errorf("answered %+v", m)
	}
}

// brief is type and code of a datagram.
func brief(b []byte) string {
	if len(b) < 4 {
		return fmt.Sprintf("% x", b)
	}
	return fmt.Sprintf("%d %d.%02d", b[0]>>4&3, b[1]>>5, b[1]&31)
}

func TestTheMessageLayer(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	for _, c := range []struct {
		name string
		in   []byte
		out  string // type and code, or empty for silence
	}{
		{"ping", encode(0, 0, 1, "", ""), "3 0.00"},
		{"ping that is not confirmable", encode(1, 0, 1, "", ""), ""},
		{"empty message with a token", append(encode(0, 0, 1, "", ""), 1), "3 0.00"},
		{"another version", []byte{0x80, 1, 0, 1}, ""},
		{"three bytes", []byte{0x40, 1, 0}, ""},
		{"nothing", []byte{}, ""},
		{"a token longer than the datagram", []byte{0x48, 1, 0, 1, 2}, "3 0.00"},
		{"a token of reserved length", []byte{0x49, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9}, "3 0.00"},
		{"an option longer than the datagram", []byte{0x40, 1, 0, 1, 0xb5, 'a'}, "3 0.00"},
		{"a reserved option delta", []byte{0x40, 1, 0, 1, 0xf1, 'a'}, "3 0.00"},
		{"a reserved option length", []byte{0x40, 1, 0, 1, 0x1f, 'a'}, "3 0.00"},
		{"a marker without payload", []byte{0x40, 1, 0, 1, 0xff}, "3 0.00"},
		{"malformed and not confirmable", []byte{0x50, 1, 0, 1, 0xff}, ""},
		{"a response that was not asked for", encode(0, 2<<5|5, 1, "x", ""), "3 0.00"},
		{"a reserved class", encode(0, 7<<5|1, 1, "x", ""), "3 0.00"},
		{"an acknowledgement of nothing", encode(2, 0, 1, "", ""), ""},
		{"a reset of nothing", encode(3, 0, 1, "", ""), ""},
		{"a critical option", encode(0, 2, 1, "x", "", opt{9, ""}, opt{11, "devices"}), "2 4.02"},
		{"a proxy request", encode(0, 1, 1, "x", "", opt{35, "coap://elsewhere/"}), "2 5.05"},
		{"GET of telemetry", encode(0, 1, 1, "x", "", opt{11, "devices"}, opt{11, "t1"}, opt{11, "telemetry"}), "2 4.05"},
		{"no path", encode(0, 2, 1, "x", ""), "2 4.04"},
		{"a long path", encode(0, 2, 1, "x", "", opt{11, "devices"}, opt{11, "a"}, opt{11, "telemetry"}, opt{11, "json"}, opt{11, "b"}, opt{11, "c"}, opt{11, "d"}), "2 4.04"},
		{"a block size of TCP", encode(0, 2, 1, "x", "a", opt{11, "devices"}, opt{11, "t1"}, opt{11, "telemetry"}, opt{27, "\x07"}), "2 4.02"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := h.wire(t)
			if len(c.in) > 0 {
				w.send(c.in)
			}
			got := ""
			if c.out != "" {
				got = brief(w.next(patience))
			}
			w.send(encode(0, 0, 0xfffe, "", "")) // its answer shows that nothing else came
			if b := w.next(patience); len(b) < 4 || binary.BigEndian.Uint16(b[2:]) != 0xfffe {
				got = brief(b)
			}
			if c.out != got {
				t.Errorf("answered %q, want %q", got, c.out)
			}
		})
	}
	if h.Commits() != 0 {
		t.Error("something was stored")
	}
}

// An answer to a sender that has not shown who it is, is at most three times as
// large as what it sent.
func TestStrangersGainNothingByAsking(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	asks := [][]byte{
		encode(0, 1, 1, "", "", opt{11, ".well-known"}, opt{11, "core"}),
		encode(0, 1, 1, "12345678", "", opt{11, ".well-known"}, opt{11, "core"}),
		encode(0, 2, 1, "", "", opt{11, "devices"}, opt{11, "a"}, opt{11, "telemetry"}),
		encode(0, 2, 1, "12345678", "", opt{11, "x"}),
		encode(0, 1, 1, "", "", opt{6, ""}, opt{11, "devices"}, opt{11, "t1"}, opt{11, "commands"}),
		encode(1, 1, 1, "12345678", "", opt{6, ""}, opt{11, "devices"}, opt{11, "t1"}, opt{11, "config"}, opt{15, "token=guess"}),
		encode(0, 1, 1, "", "", opt{11, ".well-known"}, opt{11, "core"}, opt{23, "\x06"}),
		encode(0, 3, 1, "", ""),
		encode(0, 1, 1, "", "", opt{9, ""}),
		encode(0, 1, 1, "", "", opt{39, ""}),
		encode(0, 0, 1, "", ""),
		{0x40, 1, 0, 1, 0xff},
	}
	for _, ask := range asks {
		w := h.wire(t)
		w.send(ask)
		if got := w.next(patience); len(got) == 0 || len(got) > 3*len(ask) {
			t.Errorf("% x of %d bytes was answered with %d", ask, len(ask), len(got))
		}
	}
	if n := h.gauge(t, "hub_coap_remembered"); n != 0 {
		t.Errorf("%v datagrams of strangers are remembered", n)
	}
	cc := h.dial(t)
	resp, err := cc.Get(within(t, patience), "/.well-known/core")
	if err != nil {
		t.Fatal(err)
	}
	body, err := resp.ReadBody()
	if err != nil || !strings.Contains(string(body), `</devices/{id}/telemetry>;rt="telemetry"`) || !strings.HasSuffix(string(body), `;obs`) {
		t.Errorf("resources are %q, %v", body, err)
	}
}

func TestASlowStoreIsAcknowledgedFirstAndAnsweredLater(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	w := h.wire(t)
	h.Hold()
	ask := telemetryTo("t1", `{"temperature":1}`, 21)
	w.send(ask)
	if m := w.read(patience); m.Type != message.Acknowledgement || m.Code != 0 || m.MessageID != 21 {
		t.Fatalf("first came %+v", m)
	}
	// The sender asks again all the same: it is acknowledged again.
	if m := w.answer(ask); m.Type != message.Acknowledgement || m.Code != 0 || m.MessageID != 21 {
		t.Fatalf("then came %+v", m)
	}
	h.Release()
	m := w.read(patience)
	if m.Type != message.Confirmable || m.Code != 2<<5|4 || string(m.Token) != "tk" {
		t.Fatalf("the answer is %+v", m)
	}
	if h.Points() != 1 {
		t.Errorf("%d points", h.Points())
	}
	// Not confirmed, it comes again.
	again := w.read(patience)
	if again.MessageID != m.MessageID || again.Code != m.Code {
		t.Fatalf("the repetition is %+v", again)
	}
	w.send(encode(2, 0, uint16(m.MessageID), "", ""))
	eventually(t, "the answer is confirmed", func() bool { return h.gauge(t, "hub_coap_unconfirmed") == 0 })
}

func TestAFailedStoreIsNotAcknowledged(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	h.Break(errors.New("disk full"))
	m := h.wire(t).answer(telemetryTo("t1", `{"temperature":1}`, 3))
	if age, err := m.Options.GetUint32(message.MaxAge); m.Code != 5<<5|3 || err != nil || age == 0 {
		t.Errorf("answered %+v", m)
	}
}

func TestBlocks(t *testing.T) {
	cfg := coap.DefaultConfig()
	cfg.MaxMessage, cfg.MaxTransfersPerAddress = 200, 3
	h := open(t, cfg)
	block := func(num int, more bool, id uint16, payload string, extra ...opt) []byte {
		v := byte(num << 4)
		if more {
			v |= 8
		}
		return telemetryTo("t1", payload, id, append([]opt{{27, string([]byte{v})}}, extra...)...)
	}
	w := h.wire(t)
	sixteen := `{"temperature": `
	if m := w.answer(block(0, true, 1, sixteen)); m.Code != 2<<5|31 {
		t.Fatalf("block 0 answered %v", m.Code)
	}
	if m := w.answer(block(0, true, 1, sixteen)); m.Code != 2<<5|31 {
		t.Fatalf("block 0 again answered %v", m.Code)
	}
	m := w.answer(block(1, false, 2, `5}`))
	if v, err := m.Options.GetUint32(message.Block1); m.Code != 2<<5|4 || err != nil || v != 1<<4 {
		t.Errorf("the last block answered %+v", m)
	}
	if v := h.Values()["temperature{device=t1}"]; len(v) != 1 || v[0] != 5 {
		t.Errorf("stored %v", v)
	}
	if m := w.answer(block(3, true, 4, sixteen)); m.Code != 4<<5|8 {
		t.Errorf("a block out of order answered %v", m.Code)
	}
	if m := w.answer(block(0, true, 5, "short")); m.Code != 4<<5 {
		t.Errorf("a short block answered %v", m.Code)
	}
	m = w.answer(block(0, true, 6, sixteen, opt{60, "\xff\xff"}))
	if size, err := m.Options.GetUint32(message.Size1); m.Code != 4<<5|13 || err != nil || size != 200 {
		t.Errorf("too large answered %+v", m)
	}
	for num := range 12 {
		m = w.answer(block(num, true, uint16(100+num), sixteen))
	}
	if m = w.answer(block(12, true, 120, sixteen)); m.Code != 4<<5|13 {
		t.Errorf("growing too large answered %v", m.Code)
	}
	for i := range 5 {
		m = w.answer(block(0, true, uint16(200+i), sixteen, opt{292, string(rune('a' + i))}))
	}
	if m.Code != 5<<5|3 {
		t.Errorf("the transfer beyond the bound answered %v", m.Code)
	}
	if n := h.gauge(t, "hub_coap_transfers"); n != 3 {
		t.Errorf("%v transfers are under way", n)
	}
	before := h.gauge(t, "hub_coap_transfer_bytes")
	stranger := encode(0, 2, 9, "x", sixteen, opt{11, "devices"}, opt{11, "t1"}, opt{11, "telemetry"}, opt{27, "\x08"})
	if m := w.answer(stranger); m.Code != 4<<5|1 || h.gauge(t, "hub_coap_transfer_bytes") != before {
		t.Errorf("a stranger's block answered %v", m.Code)
	}
}

func TestATooFastDeviceIsRefusedAlone(t *testing.T) {
	h := openWith(t, coap.DefaultConfig(), ingest.DefaultConfig(), func(q *quota.Config) { q.Device.SamplesPerSecond = 1 })
	w := h.wire(t)
	var last message.Message
	for i := range 20 {
		last = w.answer(telemetryTo("t1", `{"a":1,"b":2,"c":3}`, uint16(i)))
	}
	if age, err := last.Options.GetUint32(message.MaxAge); last.Code != 4<<5|29 || err != nil || age == 0 {
		t.Errorf("answered %+v", last)
	}
	if m := w.answer(telemetryTo("t2", `{"a":1}`, 99)); m.Code != 2<<5|4 {
		t.Errorf("another device was answered %v", m.Code)
	}
}

func TestTheDoorEndsWithItsAnswersSent(t *testing.T) {
	hub := doortest.Start(t, ingest.DefaultConfig())
	hub.Register("t1", "sensor")
	door := coap.New(coap.DefaultConfig(), coap.Deps{Pipeline: hub.Pipeline, Gate: hub, Mail: &hub.Mail, Quotas: hub.Quotas, Log: hub.Log, Clock: time.Now, Metrics: hub.Metrics})
	conn := listen(t)
	h := &house{hub, door, conn.LocalAddr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- door.Serve(ctx, conn) }()
	w := h.wire(t)
	hub.Hold()
	w.send(telemetryTo("t1", `{"temperature":1}`, 5))
	eventually(t, "the message waits for the store", func() bool { return h.gauge(t, "hub_ingest_pending_samples") == 1 })
	cancel()
	hub.Release()
	if m := w.read(patience); m.Code != 2<<5|4 {
		t.Errorf("answered %v", m.Code)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWhatTheDoorRefusesUnreadIsAReject(t *testing.T) {
	cfg := coap.DefaultConfig()
	cfg.MaxMessage = 200
	h := open(t, cfg)
	w := h.wire(t)
	to := func(device string, id uint16, format, payload string, more ...opt) []byte {
		opts := []opt{{11, "devices"}, {11, device}, {11, "telemetry"}, {12, format}, {15, "token=" + doortest.Secret("t1")}}
		return encode(0, 2, id, "tk", payload, append(opts, more...)...)
	}
	for _, c := range []struct {
		what string
		in   []byte
		code codes.Code
		want telemetry.Reason
	}{
		{"too large", to("t1", 1, "\x32", strings.Repeat("x", 201)), codes.RequestEntityTooLarge, telemetry.ReasonTooLarge},
		{"larger than a datagram may be", to("t1", 2, "\x32", strings.Repeat("x", 5000)), codes.RequestEntityTooLarge, telemetry.ReasonTooLarge},
		{"announced as too large", to("t1", 3, "\x32", strings.Repeat("x", 16), opt{27, "\x08"}, opt{60, "\xff\xff"}), codes.RequestEntityTooLarge, telemetry.ReasonTooLarge},
		{"a format that is none", to("t1", 4, "\x29", "<a/>"), codes.UnsupportedMediaType, telemetry.ReasonUnsupported},
		{"another's path", to("t2", 5, "\x32", `{"a":1}`), codes.Forbidden, telemetry.ReasonNotPermitted},
	} {
		before := len(h.Desk())
		for range 2 { // sent again it is no other message
			if m := w.answer(c.in); m.Code != c.code {
				t.Errorf("%s: answered %v", c.what, m.Code)
			}
		}
		kept := h.Desk()[before:]
		if len(kept) != 1 || kept[0].Device != "t1" || kept[0].Rejects[0].Reason != c.want || kept[0].Rejects[0].Stage != telemetry.StageDoor {
			t.Errorf("%s: kept %+v", c.what, kept)
		}
	}
	if n := h.gauge(t, "hub_ingest_rejects_total"); n != 5 {
		t.Errorf("%v rejects are counted", n)
	}
	stranger := encode(0, 2, 9, "x", strings.Repeat("x", 201), opt{11, "devices"}, opt{11, "t1"}, opt{11, "telemetry"})
	if m := w.answer(stranger); m.Code != codes.Unauthorized || len(h.Desk()) != 5 {
		t.Errorf("a stranger is answered %v and leaves %v", m.Code, h.Desk()[5:])
	}
}
