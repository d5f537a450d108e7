package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp"

	"github.com/songhua-io/hub/internal/hubtest"
)

// writer is one device that publishes until its door is gone, and writes down
// what was acknowledged.
type writer struct {
	device, secret string
	door           func(ctx context.Context, w *writer, h *hubtest.Hub, metric string, base int64) error

	mu    sync.Mutex
	acked map[string][]span // by metric
}

// span is a run of acknowledged samples: times from first to last in
// milliseconds, one each. The value of a sample is its time modulo 1e6.
type span struct{ first, last int64 }

func value(ms int64) int64 { return ms % 1_000_000 }

func (w *writer) ack(metric string, first, last int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.acked[metric]
	if n := len(all); n > 0 && all[n-1].last+1 == first {
		all[n-1].last = last
		return
	}
	w.acked[metric] = append(all, span{first, last})
}

func (w *writer) count() (n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, spans := range w.acked {
		for _, s := range spans {
			n += s.last - s.first + 1
		}
	}
	return n
}

// newWriters registers devices for every door.
func newWriters(t *testing.T, h *hubtest.Hub) []*writer {
	t.Helper()
	var all []*writer
	for _, kind := range []struct {
		name  string
		count int
		door  func(context.Context, *writer, *hubtest.Hub, string, int64) error
	}{{"mqtt", 4, publishMQTT}, {"coap", 4, publishCoAP}, {"http", 2, publishHTTP}} {
		for i := range kind.count {
			id := fmt.Sprintf("%s-%d", kind.name, i)
			all = append(all, &writer{device: id, secret: h.AddDevice(t, id, "sensor"), door: kind.door, acked: map[string][]span{}})
		}
	}
	return all
}

// inFlight is how many messages an MQTT writer has unacknowledged.
const inFlight = 64

func publishMQTT(ctx context.Context, w *writer, h *hubtest.Hub, metric string, base int64) error {
	ctx, lost := context.WithCancel(ctx) // tokens of a lost connection never end
	defer lost()
	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + h.MQTT).SetClientID(w.device).
		SetUsername(w.device).SetPassword(w.secret).SetAutoReconnect(false).SetCleanSession(true).SetConnectTimeout(2 * time.Second).SetWriteTimeout(time.Second).
		SetConnectionLostHandler(func(paho.Client, error) { lost() }))
	if token := client.Connect(); token.Wait() && token.Error() != nil {
		return token.Error()
	}
	defer client.Disconnect(0)
	type sent struct {
		at    int64
		token paho.Token
	}
	waiting := make(chan sent, inFlight)
	done := make(chan error, 1)
	go func() {
		for s := range waiting {
			select {
			case <-s.token.Done():
				if s.token.Error() != nil {
					done <- s.token.Error()
					return
				}
				w.ack(metric, s.at, s.at)
			case <-ctx.Done():
				done <- ctx.Err()
				return
			}
		}
	}()
	defer close(waiting)
	for at := base; ; at++ {
		body := fmt.Appendf(nil, `{"ts":%d,%q:%d}`, at, metric, value(at))
		token := client.Publish("devices/"+w.device+"/telemetry/json", 1, false, body)
		select {
		case waiting <- sent{at, token}:
		case err := <-done:
			return err
		}
	}
}

func publishCoAP(ctx context.Context, w *writer, h *hubtest.Hub, metric string, base int64) error {
	client, err := udp.Dial(h.CoAP)
	if err != nil {
		return err
	}
	defer client.Close()
	for at := base; ; at++ {
		request, cancel := context.WithTimeout(ctx, 2*time.Second)
		body := fmt.Appendf(nil, `{"ts":%d,%q:%d}`, at, metric, value(at))
		resp, err := client.Post(request, "/devices/"+w.device+"/telemetry", message.AppJSON, bytes.NewReader(body),
			message.Option{ID: message.URIQuery, Value: []byte("token=" + w.secret)})
		cancel()
		if err != nil {
			return err
		}
		if resp.Code() != codes.Changed {
			return fmt.Errorf("CoAP answered %v", resp.Code())
		}
		w.ack(metric, at, at)
	}
}

func publishHTTP(ctx context.Context, w *writer, h *hubtest.Hub, metric string, base int64) error {
	const lines = 20
	for at := base; ; at += lines {
		var body bytes.Buffer
		for k := range int64(lines) {
			fmt.Fprintf(&body, "%s value=%d %d\n", metric, value(at+k), (at+k)*1e6)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.HTTP+"/api/v1/devices/"+w.device+"/telemetry/influx", &body)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+w.secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		var answer struct{ Accepted int }
		if resp.StatusCode != http.StatusOK || json.Unmarshal(text, &answer) != nil || answer.Accepted != lines {
			return fmt.Errorf("HTTP answered %s: %s", resp.Status, text)
		}
		w.ack(metric, at, at+lines-1)
	}
}
