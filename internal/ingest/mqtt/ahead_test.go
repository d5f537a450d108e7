package mqtt_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/mqtt"
)

// full is a hub that is busy until it is told not to be, and notes what it stores.
type full struct {
	busy   atomic.Bool
	mu     sync.Mutex
	stored []string
}

func (f *full) setting(_ *mqtt.Config, _ *ingest.Config, d *mqtt.Deps) {
	f.busy.Store(true)
	d.Ingest = func(d *ingest.Delivery) error {
		if f.busy.Load() {
			return ingest.ErrBusy
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for i := range d.Messages {
			d.Messages[i].Accepted = 1
			f.stored = append(f.stored, string(d.Messages[i].Payload))
		}
		return nil
	}
}

// pinged holds a connection still, asks whether the hub is there with whatever is
// under way, and lets it go on: each PINGREQ is answered once and at once, each
// message is stored and acknowledged once and in order.
func pinged(t *testing.T, f *full, conn net.Conn, version byte) {
	t.Helper()
	ask := func(p []byte, want ...byte) {
		t.Helper()
		if _, err := conn.Write(p); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x: %v", got, want, err)
		}
	}
	message := func(i int) []byte {
		return publish(version, 2, ownTopic, uint16(i), fmt.Appendf(nil, "m value=%d", i))
	}
	ping, pong := packet(0xc0), packet(0xd0)
	for round := range 2 {
		f.busy.Store(true)
		at := 10*round + 1
		ask(all(message(at), ping, message(at + 1)[:9]), pong...) // in one read, before half a message
		ask(all(message(at + 1)[9:], ping), pong...)
		ask(ping[:1])
		ask(ping[1:], pong...)
		ask(all(message(at+2), ping, message(at + 3)[:5]), pong...)
		f.busy.Store(false)
		ask(nil, all(packet(0x40, uint16(at)), packet(0x40, uint16(at+1)), packet(0x40, uint16(at+2)))...)
		ask(message(at + 3)[5:], packet(0x40, uint16(at+3))...)
		ask(ping, pong...)
	}
	want := ""
	for _, i := range []int{1, 2, 3, 4, 11, 12, 13, 14} {
		want += fmt.Sprintf("m value=%d ", i)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	got := ""
	for _, s := range f.stored {
		got += s + " "
	}
	if got != want {
		t.Errorf("stored are %s, want %s", got, want)
	}
}

// TestPingIsAnsweredWhileAPublishIsHeld, of a client that cannot be told to come
// later, and else would take the hub for gone. [MQTT-3.12.4-1]
func TestPingIsAnsweredWhileAPublishIsHeld(t *testing.T) {
	t.Run("TCP", func(t *testing.T) {
		f := &full{}
		h := start(t, newMemory("t1"), f.setting)
		w := login4(t, h, "a")
		pinged(t, f, w.Conn, 4)
		w.Close()
		eventually(t, "nothing is kept of it", func() bool {
			return h.metric(t, "hub_mqtt_connections") == 0 && h.metric(t, "hub_mqtt_read_ahead_bytes") == 0
		})
	})
	t.Run("a stream as TLS and WebSocket are", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, l := &full{}, newPipes()
			h := startOn(t, newMemory("t1"), l, f.setting)
			defer h.stop()
			conn := l.dial()
			conn.Write(connectAs(4, "a"))
			io.ReadFull(conn, make([]byte, len(connack4)))
			pinged(t, f, conn, 4)
		})
	})
}

// TestWhatIsReadOfAHeldConnectionIsBounded, and all of it stored afterwards.
func TestWhatIsReadOfAHeldConnectionIsBounded(t *testing.T) {
	f := &full{}
	h := start(t, newMemory("t1"), f.setting)
	w := login4(t, h, "a")
	const most, messages, size = 16 << 10, 300, 500
	var sent []byte
	for i := range messages {
		sent = append(sent, publish(4, 2, ownTopic, uint16(i+1), fmt.Appendf(nil, "%0*d", size, i))...)
	}
	written := make(chan error, 1)
	w.send(sent[:size])
	go func() { // as much as TCP takes
		_, err := w.Write(sent[size:])
		written <- err
	}()
	eventually(t, "the bound is reached", func() bool { return h.metric(t, "hub_mqtt_read_ahead_bytes") == most })
	f.busy.Store(false)
	for i := range messages {
		w.expect(packet(0x40, uint16(i+1)))
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, got := range f.stored {
		if want := fmt.Sprintf("%0*d", size, i); got != want {
			t.Fatalf("message %d is %q", i, got)
		}
	}
	if len(f.stored) != messages {
		t.Errorf("%d messages are stored", len(f.stored))
	}
}

// TestAHeldConnectionThatBreaksGivesBackWhatWasRead.
func TestAHeldConnectionThatBreaksGivesBackWhatWasRead(t *testing.T) {
	f := &full{}
	h := start(t, newMemory("t1"), f.setting)
	w := login4(t, h, "a")
	w.send(publish(4, 2, ownTopic, 1, []byte("m value=1")))
	eventually(t, "it is read on", func() bool { return h.metric(t, "hub_mqtt_read_ahead_bytes") > 0 })
	w.Close()
	f.busy.Store(false)
	eventually(t, "all is given back", func() bool {
		return h.metric(t, "hub_mqtt_connections") == 0 && h.metric(t, "hub_mqtt_read_ahead_bytes") == 0
	})
}
