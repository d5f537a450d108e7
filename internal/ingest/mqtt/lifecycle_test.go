package mqtt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/mqtt"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

func TestTakeOverIsWithinOneDevice(t *testing.T) {
	h := start(t, newMemory("t1", "t2"))
	first := login5(t, h, "same")
	stranger := dial(t, h)
	stranger.send(packet(0x10, text("MQTT"), 4, 0xc2, uint16(0), text("same"), text("t2"), text("secret-of-t2")))
	stranger.expect(connack4)

	second := login4(t, h, "same")
	first.ends(0x8e) // [MQTT-3.1.4-3]
	eventually(t, "presence is told", func() bool { return h.happened("left t1 taken_over") })
	for _, w := range []*wire{second, stranger} {
		w.send(packet(0xc0))
		w.expect(packet(0xd0))
	}
}

func connectWithWill(version byte, topic, payload string) []byte {
	fields := []any{text("MQTT"), version, 0xc6, uint16(60)}
	if version == 5 {
		fields = append(fields, 0)
	}
	fields = append(fields, text("w"))
	if version == 5 {
		fields = append(fields, 5, 0x18, uint32(30))
	}
	return packet(0x10, append(fields, text(topic), text(payload), text("t1"), text("secret-of-t1"))...)
}

func TestWill(t *testing.T) {
	const dying = `[{"n":"alive","vb":false}]`
	cases := []struct {
		how       string
		version   byte
		leave     func(*wire)
		published bool
		told      ingest.Leaving
	}{
		{"the connection breaks", 4, func(w *wire) { w.Close() }, true, ingest.LeftWill},
		{"the connection breaks", 5, func(w *wire) { w.Close() }, true, ingest.LeftWill},
		{"a protocol error [MQTT-3.1.2-8]", 4, func(w *wire) { w.send([]byte{0xc1, 0}) }, true, ingest.LeftProtocol},
		{"DISCONNECT [MQTT-3.1.2-10]", 4, func(w *wire) { w.send(packet(0xe0)) }, false, ingest.LeftDisconnect},
		{"DISCONNECT 0x00", 5, func(w *wire) { w.send(packet(0xe0, 0)) }, false, ingest.LeftDisconnect},
		{"DISCONNECT with will 0x04", 5, func(w *wire) { w.send(packet(0xe0, 4)) }, true, ingest.LeftWill},
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.how, " ", c.version), func(t *testing.T) {
			h := start(t, newMemory("t1"))
			w := dial(t, h)
			w.send(connectWithWill(c.version, ownTopic, dying))
			w.next()
			c.leave(w)
			eventually(t, "the connection ends", func() bool { return h.metric(t, "hub_mqtt_disconnects_total") == 1 })
			want := 0
			if c.published {
				want = 1
			}
			eventually(t, "presence is told", func() bool { return h.happened("left t1 " + string(c.told)) })
			if h.count() != want {
				t.Fatalf("the store holds %d samples, want %d", h.count(), want)
			}
		})
	}
}

func TestWillOfAnotherDeviceIsARejectOfTheSender(t *testing.T) {
	h := start(t, newMemory("t1", "t2"))
	w := dial(t, h)
	w.send(connectWithWill(4, "devices/t2/telemetry", "x value=1"))
	w.expect(connack4)
	w.Close()
	eventually(t, "presence is told, of no will", func() bool { return h.happened("left t1 lost") })
	if r := h.rejects()[0]; len(h.rejects()) != 1 || r.Device != "t1" || r.Reason != telemetry.ReasonNotPermitted || h.count() != 0 {
		t.Fatalf("kept %v, stored %d", r, h.count())
	}
}

// pipes is a listener whose connections are made in the process, so that
// synctest's clock rules them.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

func TestSilenceEndsConnections(t *testing.T) {
	cases := []struct {
		what     string
		connect  []byte // nil: says nothing at all
		answer   int    // bytes of CONNACK
		survives time.Duration
		gone     time.Duration
	}{
		{"no CONNECT within 10 s", nil, 0, 9 * time.Second, 11 * time.Second},
		{"1.5 keep-alives of 60 s [MQTT-3.1.2-22]", connectAs(5, "a"), len(connack5), 89 * time.Second, 91 * time.Second},
		{"1.5 keep-alives of 60 s, 3.1.1", connectAs(4, "a"), len(connack4), 89 * time.Second, 91 * time.Second},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				h := startOn(t, newMemory("t1"), l)
				defer h.stop()
				conn := l.dial()
				ended := make(chan time.Duration, 1)
				if c.connect != nil {
					conn.Write(c.connect)
					io.ReadFull(conn, make([]byte, c.answer))
				}
				begin := time.Now()
				go func() {
					io.Copy(io.Discard, conn)
					ended <- time.Since(begin)
				}()
				if d := <-ended; d < c.survives || d > c.gone {
					t.Errorf("ended after %s, want between %s and %s", d, c.survives, c.gone)
				}
			})
		})
	}
}

func TestPingKeepsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		h := startOn(t, newMemory("t1"), l)
		defer h.stop()
		conn := l.dial()
		conn.Write(connectAs(4, "a"))
		io.ReadFull(conn, make([]byte, len(connack4)))
		for range 10 {
			time.Sleep(80 * time.Second) // synctest's clock, not the wall's
			conn.Write(packet(0xc0))
			if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
				t.Fatalf("no PINGRESP: %v", err)
			}
		}
	})
}

func TestARevokedDeviceIsGoneWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		h := startOn(t, newMemory("t1", "t2"), l)
		defer h.stop()
		login := func(p []byte, answer int) net.Conn {
			conn := l.dial()
			conn.Write(p)
			io.ReadFull(conn, make([]byte, answer))
			return conn
		}
		gone := []net.Conn{login(connectAs(5, "a"), len(connack5)), login(connectAs(4, "b"), len(connack4))}
		other := login(packet(0x10, text("MQTT"), 4, 0xc2, uint16(0), text("a"), text("t2"), text("secret-of-t2")), len(connack4))
		h.revoke("t1")
		revoked := time.Now() // synctest's clock, as is the server's
		for i, conn := range gone {
			last, _ := io.ReadAll(conn)
			if d := time.Since(revoked); d > time.Second {
				t.Errorf("connection %d lived on for %s", i, d)
			}
			if told := len(last) > 2 && last[0] == 0xe0 && last[2] == 0x98; told != (i == 0) {
				t.Errorf("connection %d was sent % x at last", i, last)
			}
		}
		other.Write(packet(0xc0))
		if _, err := io.ReadFull(other, make([]byte, 2)); err != nil {
			t.Errorf("the connection of another device ended: %v", err)
		}
		again := l.dial()
		again.Write(connectAs(4, "a"))
		if answer, _ := io.ReadAll(again); !bytes.Equal(answer, packet(0x20, 0, 4)) {
			t.Errorf("it is answered % x when it connects again", answer)
		}
	})
}

func TestShutdownAnswersWhatWasReceived(t *testing.T) {
	m := newMemory("t1")
	m.hold = make(chan struct{})
	h := start(t, m)
	busy, idle := login5(t, h, "busy"), login5(t, h, "idle")
	busy.send(publish(5, 2, ownTopic, 7, []byte("m value=1")))
	eventually(t, "the message is read", func() bool { return h.metric(t, "hub_mqtt_messages_total") == 1 })
	stopped := make(chan struct{})
	go func() { h.stop(); close(stopped) }()
	idle.ends(0x8b)
	close(m.hold)
	busy.expect(packet(0x40, uint16(7)))
	busy.ends(0x8b)
	<-stopped
	if h.count() != 1 {
		t.Fatalf("%d samples are stored", h.count())
	}
}

func TestNothingIsAcknowledgedWhenTheStoreFails(t *testing.T) {
	for _, version := range []byte{4, 5} {
		m := newMemory("t1")
		h := start(t, m)
		w := dial(t, h)
		w.send(connectAs(version, "a"))
		w.next()
		m.mu.Lock()
		m.fail = errDisk
		m.mu.Unlock()
		w.send(all(publish(version, 2, ownTopic, 7, []byte("m value=1")), publish(version, 4, ownTopic, 8, []byte("m value=2"))))
		if version == 5 {
			w.ends(0x80)
		} else {
			w.ends(0)
		}
	}
}

// refusing is an ingest that first answers with the given errors.
func refusing(m *memory, errs ...error) setting {
	return func(_ *mqtt.Config, _ *ingest.Config, d *mqtt.Deps) {
		var mu sync.Mutex
		d.Ingest = func(d *ingest.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			if len(errs) > 0 {
				err := errs[0]
				errs = errs[1:]
				return err
			}
			for range d.Messages {
				m.note("stored")
			}
			return nil
		}
	}
}

func TestBusyHubHoldsTheConnection(t *testing.T) {
	for _, version := range []byte{4, 5} {
		m := newMemory("t1")
		h := start(t, m, refusing(m, ingest.ErrBusy, tooFast("t1", 5*time.Millisecond), ingest.ErrBusy))
		w := dial(t, h)
		w.send(connectAs(version, "a"))
		w.next()
		w.send(publish(version, 2, ownTopic, 7, []byte("m value=1")))
		w.expect(packet(0x40, uint16(7)))
		if !h.happened("stored") || h.metric(t, "hub_mqtt_held_total") != 3 {
			t.Fatalf("held %v times", h.metric(t, "hub_mqtt_held_total"))
		}
	}
}

func TestOverQuotaIsTold(t *testing.T) {
	m := newMemory("t1")
	h := start(t, m, refusing(m, tooFast("t1", time.Minute)))
	w := login5(t, h, "a")
	w.send(all(publish(5, 0, ownTopic, 0, []byte("m value=1")), publish(5, 2, ownTopic, 7, []byte("m value=1")), publish(5, 4, ownTopic, 8, []byte("m value=1"))))
	for _, want := range []byte{0x40, 0x50} {
		head, body := w.next()
		if head != want || body[2] != 0x97 || !bytes.Contains(body, []byte("retry-after\x00\x0260")) {
			t.Fatalf("answer %x %q", head, body)
		}
	}
	if h.metric(t, "hub_mqtt_refused_total") != 3 {
		t.Fatal("the refused messages are not counted")
	}
	w.send(publish(5, 4, ownTopic, 8, []byte("m value=1"))) // the identifier is free again
	w.expect(packet(0x50, uint16(8)))
}

func TestHeldConnectionCanEnd(t *testing.T) {
	m := newMemory("t1")
	h := start(t, m, refusing(m, tooFast("t1", time.Hour)))
	w := login4(t, h, "a")
	w.send(publish(4, 2, ownTopic, 7, []byte("m value=1")))
	eventually(t, "held", func() bool { return h.metric(t, "hub_mqtt_held_total") == 1 })
	h.stop()
	w.ends(0)
}

func TestHeldConnectionsKeepNobodyFromUnfolding(t *testing.T) {
	const held = 40 // more than may unfold at once
	m := newMemory("t1", "t2")
	h := start(t, m, func(_ *mqtt.Config, _ *ingest.Config, d *mqtt.Deps) {
		d.Ingest = func(d *ingest.Delivery) error {
			m := &d.Messages[0]
			if m.Device == "t1" {
				return tooFast("t1", time.Hour)
			}
			m.Accepted = bytes.Count(m.Payload, []byte("value"))
			return nil
		}
	})
	folded := gzipped([]byte("m value=1"))
	var waiting []*wire
	for i := range held {
		w := login4(t, h, fmt.Sprint("held ", i))
		w.send(publish(4, 2, ownTopic, 7, folded))
		waiting = append(waiting, w)
	}
	eventually(t, "every connection is held, none waits to unfold", func() bool { return h.metric(t, "hub_mqtt_held_total") == held })
	free := dial(t, h)
	free.send(packet(0x10, text("MQTT"), 4, 0xc2, uint16(0), text("free"), text("t2"), text("secret-of-t2")))
	free.expect(connack4)
	free.send(publish(4, 2, "devices/t2/telemetry", 7, folded))
	free.expect(packet(0x40, uint16(7)))
	h.revoke("t1")
	for _, w := range waiting {
		w.ends(0)
	}
}

func TestCompressedMessageIsReadWhenTheHubIsNoLongerBusy(t *testing.T) {
	m := newMemory("t1")
	busy := 2
	h := start(t, m, func(_ *mqtt.Config, _ *ingest.Config, d *mqtt.Deps) {
		d.Ingest = func(d *ingest.Delivery) error {
			if string(d.Messages[0].Payload) != "m value=1" || len(d.Messages[1].Rejects) != 1 {
				t.Errorf("ingest is given %q with %v", d.Messages[0].Payload, d.Messages[1].Rejects)
			}
			if busy--; busy >= 0 {
				return ingest.ErrBusy
			}
			d.Messages[0].Accepted = 1
			return nil
		}
	})
	w := login4(t, h, "a")
	w.send(all(publish(4, 2, ownTopic, 7, gzipped([]byte("m value=1"))), publish(4, 2, ownTopic, 8, []byte("\x1f\x8b\x08\x00"))))
	w.expect(all(packet(0x40, uint16(7)), packet(0x40, uint16(8))))
}

func TestOversizedPublishIsARejectOfItsDevice(t *testing.T) {
	m := newMemory("t1", "t2")
	m.speakers["t1>t2"] = true
	for _, c := range []struct{ topic, device string }{
		{ownTopic, "t1"}, {"devices/t2/telemetry", "t2"}, {"devices/t3/telemetry", "t1"}, {"", "t1"},
	} {
		h := start(t, m)
		w := login5(t, h, "a")
		large := publish(5, 2, c.topic, 7, bytes.Repeat([]byte("x"), 300_000))
		w.send(large[:100])
		w.ends(0x95)
		kept := append([]keptReject{{}}, h.rejects()...)
		if r := kept[len(kept)-1]; r.Device != c.device || r.Reason != telemetry.ReasonTooLarge || r.Stage != telemetry.StageDoor || r.Payload != "" {
			t.Errorf("on topic %q: kept %v", c.topic, r)
		}
		if n := h.metric(t, "hub_ingest_rejects_total"); n != 1 {
			t.Errorf("on topic %q: %v rejects are counted", c.topic, n)
		}
	}
	h := start(t, m)
	before := len(h.rejects())
	stranger := dial(t, h)
	stranger.send([]byte{0x32, 0xff, 0xff, 0x7f, 0, 1, 'a'})
	stranger.ends(0)
	w := login5(t, h, "a")
	w.send([]byte{0x82, 0xff, 0xff, 0x7f}) // no telemetry
	w.ends(0x95)
	if kept := h.rejects(); len(kept) != before {
		t.Errorf("kept %v", kept[before:])
	}
}

func TestAFloodOfSeriesHurtsOnlyItsSender(t *testing.T) {
	h := start(t, newMemory("t1", "t2"), within(func(q *quota.Config) { q.Device.Series = 100 }))
	flood, calm := login5(t, h, "flood"), dial(t, h)
	calm.send(packet(0x10, text("MQTT"), 5, 0xc2, uint16(60), 0, text("calm"), text("t2"), text("secret-of-t2")))
	calm.expect(connack5)
	for i := range 1000 {
		flood.send(publish(5, 2, ownTopic+"/influx", 7, fmt.Appendf(nil, "m,run=%d value=1", i)))
		_, body := flood.next()
		if over := len(body) > 2 && body[2] == 0x97; over != (i >= 100) {
			t.Fatalf("series %d is answered % x", i, body)
		}
		calm.send(publish(5, 2, "devices/t2/telemetry/influx", 7, fmt.Appendf(nil, "level value=%d", i)))
		calm.expect(packet(0x40, uint16(7)))
	}
	if n := h.metric(t, "hub_ingest_series"); n != 101 || h.count() != 1100 {
		t.Errorf("%v series of %d samples", n, h.count())
	}
}

func TestSlowReaderIsDisconnectedAndHoldsUpNobody(t *testing.T) {
	h := start(t, newMemory("t1"), func(c *mqtt.Config, _ *ingest.Config, _ *mqtt.Deps) { c.MaxQueueBytes = 64 << 10 })
	slow, quick := login4(t, h, "slow"), login4(t, h, "quick")
	for _, w := range []*wire{slow, quick} {
		w.send(packet(0x82, uint16(1), text("devices/t1/commands"), 0))
		w.expect(packet(0x90, uint16(1), 0))
	}
	var received atomic.Int64
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, err := quick.Read(b)
			received.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	payload := bytes.Repeat([]byte("x"), 10_000)
	sent := 0
	for h.metric(t, "hub_mqtt_slow_readers_total") == 0 {
		if h.server.Deliver("t1", "commands", payload, 0) == 0 {
			t.Fatal("nobody is subscribed")
		}
		sent++
		if sent > 10_000 {
			t.Fatal("100 MB wait for a reader that does not read")
		}
		eventually(t, "the quick reader has them all", func() bool { return received.Load() >= int64(sent*len(payload)) })
	}
	eventually(t, "the slow reader is gone", func() bool { return h.metric(t, "hub_mqtt_connections") == 1 })
	if n := h.server.Deliver("t1", "commands", payload, 0); n != 1 {
		t.Fatalf("%d subscribers are left", n)
	}
}

func TestConnectionLimit(t *testing.T) {
	h := start(t, newMemory("t1"), func(cfg *mqtt.Config, _ *ingest.Config, _ *mqtt.Deps) { cfg.MaxConnections = 2 })
	a, _ := login4(t, h, "a"), login4(t, h, "b")
	over := dial(t, h)
	over.Write(connectAs(4, "c"))
	if _, err := over.Read(make([]byte, 1)); err == nil {
		t.Fatal("a third connection is served")
	}
	a.send(packet(0xe0))
	a.ends(0)
	eventually(t, "there is room again", func() bool { return h.metric(t, "hub_mqtt_connections") == 1 })
	login4(t, h, "c")
}

func TestGatewaySpeaksForOthers(t *testing.T) {
	m := newMemory("t1", "t2", "t3")
	m.speakers["t1>t2"] = true
	h := start(t, m)
	w := login5(t, h, "gw")
	w.send(publish(5, 2, "devices/t2/telemetry/influx", 7, []byte("m value=1")))
	w.expect(packet(0x40, uint16(7)))
	w.send(publish(5, 2, "devices/t3/telemetry/influx", 8, []byte("m value=1")))
	if _, body := w.next(); body[2] != 0x87 {
		t.Fatalf("PUBACK % x", body)
	}
	if h.count() != 1 {
		t.Fatalf("%d samples are stored", h.count())
	}
}

func TestOutboundFlowControl(t *testing.T) {
	h := start(t, newMemory("t1"))
	w := dial(t, h)
	w.send(packet(0x10, text("MQTT"), 5, 0xc2, uint16(60), 3, 0x21, uint16(2), text("a"), text("t1"), text("secret-of-t1")))
	w.expect(connack5)
	w.send(packet(0x82, uint16(1), 0, text("devices/t1/commands"), 1))
	w.expect(packet(0x90, uint16(1), 0, 1))
	for i := range 4 {
		h.mail.Post("t1", fmt.Sprintf("c-%d", i), string(rune('a'+i)))
	}
	message := func(id uint16, s string) []byte {
		return packet(0x32, text("devices/t1/commands"), id, 0, []byte(s))
	}
	w.expect(all(message(1, "a"), message(2, "b"))) // [MQTT-3.3.4-9]: no more than the client's receive maximum
	w.send(packet(0xc0))
	w.expect(packet(0xd0))
	w.send(packet(0x40, uint16(1)))
	w.expect(message(1, "c"))
	if !h.mail.Received("t1", "c-0") || h.mail.Received("t1", "c-1") {
		t.Error("what the device acknowledged is not what the hub holds for received")
	}
	w.send(packet(0x40, uint16(2)))
	w.expect(message(2, "d"))
}

func TestSparkplugIsReadInItsSession(t *testing.T) {
	h := start(t, newMemory("t1"))
	w := login5(t, h, "a")
	w.send(packet(0x82, uint16(1), 0, text("spBv1.0/+/NCMD/t1/#"), 0, text("spBv1.0/STATE/host"), 0, text("spBv1.0/+/NCMD/t2"), 0))
	w.expect(packet(0x90, uint16(1), 0, 0, 0, 0x87))
	// NDATA before any birth asks for one.
	w.send(publish(5, 2, "spBv1.0/plant/NDATA/t1", 7, []byte{0x08, 1, 0x12, 4, 0x10, 3, 0x50, 5, 0x18, 1}))
	var rebirth bool
	for range 2 {
		head, body := w.next()
		rebirth = rebirth || head == 0x30 && bytes.Contains(body, []byte("spBv1.0/plant/NCMD/t1")) && bytes.Contains(body, []byte("Node Control/Rebirth"))
	}
	if !rebirth {
		t.Fatal("no rebirth was asked for")
	}
}

func TestServeReturnsTheListenersError(t *testing.T) {
	s, _, _ := newServer(t, newMemory())
	l := newPipes()
	l.Close()
	if err := s.Serve(context.Background(), l); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("got %v", err)
	}
}
