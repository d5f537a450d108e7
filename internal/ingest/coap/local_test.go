package coap_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/songhua-io/hub/internal/ingest/coap"
	"github.com/songhua-io/hub/internal/ingest/doortest"
)

// A host with several addresses answers from the one that was asked, also
// where the route to the sender would suggest another. The sender's sockets
// are connected: they hear nobody else.
func TestAnswersLeaveFromTheAddressThatWasAsked(t *testing.T) {
	for _, network := range []string{"udp", "udp4"} { // of both families, and of one
		t.Run(network, func(t *testing.T) {
			h := open(t, coap.DefaultConfig())
			everywhere := func(serve func(context.Context, *net.UDPConn) error) string {
				conn, err := net.ListenUDP(network, nil)
				if err != nil {
					t.Fatal(err)
				}
				h.run(t, func(ctx context.Context) error { return serve(ctx, conn) })
				return fmt.Sprintf("127.0.0.2:%d", conn.LocalAddr().(*net.UDPAddr).Port)
			}
			secured := everywhere(func(ctx context.Context, c *net.UDPConn) error {
				return h.door.ServeDTLS(ctx, c, func() coap.Certificates { return coap.Certificates{} })
			})
			h.addr = everywhere(h.door.Serve)

			w := h.wire(t)
			// What comes before the door is open may be answered from elsewhere; senders repeat it.
			eventually(t, "an answer from the address that was asked", func() bool {
				w.send(telemetryTo("t1", `{"temperature":1}`, 1))
				return w.next(100*time.Millisecond) != nil
			})
			read := func() message.Message {
				t.Helper()
				for { // each repetition of the first is answered too, whenever that is
					if m := w.read(patience); m.MessageID != 1 {
						return m
					}
				}
			}
			h.Hold() // the acknowledgement goes ahead, the answer comes by itself
			w.send(telemetryTo("t1", `{"temperature":2}`, 2))
			if m := read(); m.Type != message.Acknowledgement || m.Code != 0 {
				t.Errorf("first came %v", m)
			}
			h.Release()
			if m := read(); m.Type != message.Confirmable || m.Code != codes.Changed {
				t.Errorf("then came %v", m)
			}
			cc, err := dialDTLS(t, secured, psk("t1", doortest.Secret("t1")))
			if err != nil {
				t.Fatal(err)
			}
			if code, _, _ := post(t, cc, "/devices/t1/telemetry", message.AppJSON, `{"temperature":21}`); code != codes.Changed {
				t.Errorf("over DTLS answered %v", code)
			}
		})
	}
}
