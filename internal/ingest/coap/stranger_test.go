//lint:file-ignore SA1019 go-coap takes pion's dtls.Config and nothing newer.

package coap_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"

	"github.com/songhua-io/hub/internal/ingest/coap"
	"github.com/songhua-io/hub/internal/ingest/doortest"
)

// received reads what comes until done holds, and a little longer.
func (w *wire) received(done func() bool) (all [][]byte) {
	for {
		over := done()
		b := w.next(50 * time.Millisecond)
		if b == nil && over {
			return all
		}
		if b != nil {
			all = append(all, bytes.Clone(b))
		}
	}
}

// A ClientHello without a cookie, or with a forged one, is answered by less
// than it has, once, and nobody's key is looked up for it: a forged sender
// address gains nothing, and its handshake is forgotten.
func TestAClientHelloWithoutItsCookieGainsNothing(t *testing.T) {
	cfg := coap.DefaultConfig()
	cfg.HandshakeTimeout = 1500 * time.Millisecond // longer than a first retransmission would take
	h := open(t, cfg)
	addr := h.secure(t, coap.Certificates{})
	hello := clientHello(t)
	for name, datagrams := range map[string][][]byte{
		"without a cookie":      {hello},
		"twice without":         {hello, hello},
		"with a forged cookie":  {hello, withCookie(hello, "forged-cookie-xxxxxx")},
		"forged from the start": {withCookie(hello, "forged-cookie-xxxxxx")},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("udp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			w := &wire{t, conn}
			refused := h.gauge(t, "hub_coap_refused_total")
			asked := h.Keys()
			sent, got := 0, 0
			for _, b := range datagrams {
				w.send(b)
				sent += len(b)
			}
			for _, b := range w.received(func() bool {
				return h.gauge(t, "hub_coap_refused_total") > refused && h.gauge(t, "hub_coap_sessions") == 0
			}) {
				got += len(b)
			}
			if got == 0 && name == "without a cookie" || got > sent {
				t.Errorf("%d bytes were answered with %d", sent, got)
			}
			if n := h.Keys() - asked; n != 0 {
				t.Errorf("the keys of %d devices were looked up", n)
			}
		})
	}
}

// withCookie returns a ClientHello as its sender would repeat it with a cookie
// (RFC 6347 section 4.2.1): the next message, in the next record.
func withCookie(hello []byte, cookie string) []byte {
	const record, handshake, random = 13, 12, 2 + 32
	at := record + handshake + random
	at += 1 + int(hello[at]) // session id
	b := bytes.Clone(hello[:at])
	b = append(append(append(b, byte(len(cookie))), cookie...), hello[at+1+int(hello[at]):]...)
	b[10]++       // record sequence
	b[record+5]++ // message sequence
	put := func(at, n int) { b[at], b[at+1] = byte(n>>8), byte(n) }
	put(11, len(b)-record)
	put(record+2, len(b)-record-handshake)
	put(record+10, len(b)-record-handshake)
	return b
}

// recording is a socket that remembers what was sent through it.
type recording struct {
	*net.UDPConn
	mu   sync.Mutex
	sent [][]byte
}

func (r *recording) WriteTo(b []byte, to net.Addr) (int, error) {
	r.mu.Lock()
	r.sent = append(r.sent, bytes.Clone(b))
	r.mu.Unlock()
	return r.UDPConn.WriteTo(b, to)
}

// Whoever recorded a session and sends its datagrams again, from its own
// address or from another, stores nothing.
func TestARecordedSessionCannotBeReplayed(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	addr := h.secure(t, coap.Certificates{})
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	tape := &recording{UDPConn: listen(t)}
	conn, err := piondtls.Client(tape, to, psk("t1", doortest.Secret("t1")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		t.Fatal(err)
	}
	ask := func(id int) {
		t.Helper()
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(telemetryTo("t1", fmt.Sprintf(`{"n":%d}`, id), uint16(id))); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1500)
		if n, err := conn.Read(answer); err != nil || n < 4 || answer[1] != 2<<5|4 {
			t.Fatalf("answered % x, %v", answer[:n], err)
		}
	}
	for i := range 5 {
		ask(i)
	}
	before, duplicates := h.Points(), h.gauge(t, "hub_coap_duplicates_total")
	other := listen(t)
	defer other.Close()
	tape.mu.Lock()
	recorded := tape.sent
	tape.mu.Unlock()
	for _, b := range recorded {
		for _, from := range []*net.UDPConn{tape.UDPConn, other} {
			if _, err := from.WriteTo(b, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(5) // behind what was replayed, on the same socket
	if n := h.Points(); n != before+1 {
		t.Errorf("%d points were stored from a recording", n-before-1)
	}
	if n := h.gauge(t, "hub_coap_duplicates_total"); n != duplicates {
		t.Errorf("%v recorded messages came as far as the message layer", n-duplicates)
	}
}
