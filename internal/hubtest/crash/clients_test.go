//lint:file-ignore SA1019 go-coap takes pion's dtls.Config and nothing newer.

package crash

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	piondtls "github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/udp"
	coapclient "github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/songhua-io/hub/internal/hubtest"
)

// patience is how long a client waits for an answer, and a test for what must come,
// on a machine that has other things to do. Connections tell of a hub that is gone;
// this bounds what nobody tells.
const patience = 3 * time.Minute

// writer is one device that publishes what a feed gives, and writes down what it
// sent and what was acknowledged.
type writer struct {
	device, secret string
	door           door

	mu          sync.Mutex
	sent, acked map[string]spans // by metric
	states      struct{ sent, acked int64 }
	answers     int // reports acknowledged
}

// door publishes until the feed ends and all of it is acknowledged. It returns
// an error when the hub, the connection or ctx ends before.
type door func(ctx context.Context, w *writer, h *hubtest.Hub, next feed) error

// take returns what is to be sent next and notes it as sent.
func (w *writer) take(next feed, width int64) (report, bool) {
	r, ok := next(width)
	if ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sent[r.metric] = w.sent[r.metric].with(r.span)
		if r.state {
			w.states.sent = max(w.states.sent, r.last)
		}
	}
	return r, ok
}

func (w *writer) ack(r report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked[r.metric] = w.acked[r.metric].with(r.span)
	if r.state {
		w.states.acked = max(w.states.acked, r.last)
	}
	w.answers++
}

func (w *writer) answered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answers
}

// newWriters registers devices for every door.
func newWriters(t *testing.T, h *hubtest.Hub, trust *tls.Config) []*writer {
	t.Helper()
	mqtt := func(h *hubtest.Hub) string { return "tcp://" + h.MQTT }
	mqtts := func(h *hubtest.Hub) string { return "ssl://" + h.MQTTS }
	wss := func(h *hubtest.Hub) string { return "wss" + strings.TrimPrefix(h.HTTP, "https") + "/mqtt" }
	var all []*writer
	for _, kind := range []struct {
		name  string
		count int
		door  door
	}{
		{"mqtt", 2, publishMQTT(mqtt, nil)}, {"mqtts", 1, publishMQTT(mqtts, trust)}, {"wss", 1, publishMQTT(wss, trust)},
		{"coap", 2, publishCoAP(dialUDP)}, {"coaps", 2, publishCoAP(dialDTLS)}, {"https", 2, publishHTTP},
	} {
		for i := range kind.count {
			id := fmt.Sprintf("%s-%d", kind.name, i)
			all = append(all, &writer{device: id, secret: h.AddDevice(t, id, "sensor"), door: kind.door, sent: map[string]spans{}, acked: map[string]spans{}})
		}
	}
	return all
}

// inFlight is how many messages an MQTT writer has unacknowledged.
const inFlight = 64

func publishMQTT(address func(*hubtest.Hub) string, trust *tls.Config) door {
	return func(ctx context.Context, w *writer, h *hubtest.Hub, next feed) error {
		ctx, lost := context.WithCancel(ctx) // tokens of a lost connection never end
		defer lost()
		client := paho.NewClient(paho.NewClientOptions().AddBroker(address(h)).SetTLSConfig(trust).SetClientID(w.device).
			SetUsername(w.device).SetPassword(w.secret).SetAutoReconnect(false).SetCleanSession(true).SetConnectTimeout(patience).SetWriteTimeout(patience).
			SetConnectionLostHandler(func(paho.Client, error) { lost() }))
		if token := client.Connect(); token.Wait() && token.Error() != nil {
			return token.Error()
		}
		defer client.Disconnect(0)
		type flight struct {
			report
			token paho.Token
		}
		waiting := make(chan flight, inFlight)
		var taking sync.Mutex
		go func() {
			defer close(waiting)
			for {
				taking.Lock()
				if ctx.Err() != nil {
					taking.Unlock()
					return
				}
				r, ok := w.take(next, 1)
				taking.Unlock()
				if !ok {
					return
				}
				// Where the connection is lost at this moment, paho returns no sooner than
				// after the timeout of writes: nobody waits for that.
				token := client.Publish("devices/"+w.device+"/telemetry/json", 1, false, r.json())
				select {
				case waiting <- flight{r, token}:
				case <-ctx.Done():
					return
				}
			}
		}()
		defer func() { // nothing is taken from here on
			lost()
			taking.Lock()
			defer taking.Unlock()
		}()
		for {
			select {
			case f, more := <-waiting:
				if !more {
					return ctx.Err()
				}
				select {
				case <-f.token.Done():
					if f.token.Error() != nil {
						return f.token.Error()
					}
					w.ack(f.report)
				case <-ctx.Done():
					return ctx.Err()
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func dialUDP(_ context.Context, _ *writer, h *hubtest.Hub) (*coapclient.Conn, error) {
	return udp.Dial(h.CoAP, options.WithErrors(func(error) {}))
}

// oneHandshake bounds a handshake of DTLS: one that a slow machine broke off on one
// side only has no end, and the next succeeds.
const oneHandshake = 20 * time.Second

func dialDTLS(ctx context.Context, w *writer, h *hubtest.Hub) (*coapclient.Conn, error) {
	to, err := net.ResolveUDPAddr("udp", h.CoAPS)
	if err != nil {
		return nil, err
	}
	for {
		conn, err := piondtls.Dial("udp", to, &piondtls.Config{
			PSK: func([]byte) ([]byte, error) { return []byte(w.secret), nil }, PSKIdentityHint: []byte(w.device),
			CipherSuites: []piondtls.CipherSuiteID{piondtls.TLS_PSK_WITH_AES_128_CCM_8},
		})
		if err != nil {
			return nil, err
		}
		one, cancel := context.WithTimeout(ctx, oneHandshake)
		err = conn.HandshakeContext(one)
		late := one.Err() != nil
		cancel()
		if err == nil {
			return dtls.Client(conn, options.WithErrors(func(error) {}), options.WithCloseSocket()), nil
		}
		_ = conn.Close()
		if !late || ctx.Err() != nil {
			return nil, err
		}
	}
}

func publishCoAP(dial func(context.Context, *writer, *hubtest.Hub) (*coapclient.Conn, error)) door {
	return func(ctx context.Context, w *writer, h *hubtest.Hub, next feed) error {
		client, err := dial(ctx, w, h)
		if err != nil {
			return err
		}
		defer client.Close()
		for {
			r, ok := w.take(next, 1)
			if !ok {
				return nil
			}
			request, cancel := context.WithTimeout(ctx, patience)
			resp, err := client.Post(request, "/devices/"+w.device+"/telemetry", message.AppJSON, bytes.NewReader(r.json()),
				message.Option{ID: message.URIQuery, Value: []byte("token=" + w.secret)})
			cancel()
			if err != nil {
				return err
			}
			if resp.Code() != codes.Changed {
				return fmt.Errorf("CoAP answered %v", resp.Code())
			}
			w.ack(r)
		}
	}
}

func publishHTTP(ctx context.Context, w *writer, h *hubtest.Hub, next feed) error {
	for {
		r, ok := w.take(next, 20)
		if !ok {
			return nil
		}
		if err := post(ctx, w, h, r); err != nil {
			return err
		}
		w.ack(r)
	}
}

func post(ctx context.Context, w *writer, h *hubtest.Hub, r report) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.HTTP+"/api/v1/devices/"+w.device+"/telemetry/influx", bytes.NewReader(r.lines()))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+w.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var answer struct{ Accepted int64 }
	if resp.StatusCode != http.StatusOK || json.Unmarshal(text, &answer) != nil || answer.Accepted != r.values() {
		return fmt.Errorf("HTTP answered %s: %s", resp.Status, text)
	}
	return nil
}
