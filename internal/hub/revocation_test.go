//lint:file-ignore SA1019 go-coap takes pion's dtls.Config and nothing newer.

package hub

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	piondtls "github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/udp"
	"github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// sessions are the ways in which a device is in the middle of something, each
// opened by a real client. What they return closes when it is over.
var sessions = []struct {
	door string
	open func(t testing.TB, h *hub, device, secret string) <-chan struct{}
}{
	{"mqtt", func(t testing.TB, h *hub, device, secret string) <-chan struct{} {
		return overMQTT(t, "tcp://"+h.at.MQTT, h, device, secret)
	}},
	{"mqtts", func(t testing.TB, h *hub, device, secret string) <-chan struct{} {
		return overMQTT(t, "ssl://"+h.at.MQTTS, h, device, secret)
	}},
	{"websocket", func(t testing.TB, h *hub, device, secret string) <-chan struct{} {
		return overMQTT(t, "ws://"+strings.TrimPrefix(h.at.HTTP, "http://")+"/mqtt", h, device, secret)
	}},
	{"coap-observe", func(t testing.TB, h *hub, device, secret string) <-chan struct{} {
		cc, err := udp.Dial(h.at.CoAP)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cc.Close() })
		listens(t, cc, device, message.Option{ID: message.URIQuery, Value: []byte("token=" + secret)})
		// A datagram says nothing of its end: the registration is gone.
		return when(t, func() bool { return h.value(t, "hub_coap_observers") == 0 })
	}},
	{"coaps-observe", func(t testing.TB, h *hub, device, secret string) <-chan struct{} {
		cc, err := dtls.Dial(h.at.CoAPS, &piondtls.Config{
			PSK: func([]byte) ([]byte, error) { return []byte(secret), nil }, PSKIdentityHint: []byte(device),
			CipherSuites: []piondtls.CipherSuiteID{piondtls.TLS_PSK_WITH_AES_128_GCM_SHA256},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cc.Close() })
		listens(t, cc, device)
		return cc.Done()
	}},
	{"http-poll", func(t testing.TB, h *hub, device, secret string) <-chan struct{} {
		return h.polls(t, "/api/v1/devices/"+device+"/commands?wait=1m", secret)
	}},
}

func overMQTT(t testing.TB, address string, h *hub, device, secret string) <-chan struct{} {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.authority.Root())
	lost := make(chan struct{})
	c := paho.NewClient(paho.NewClientOptions().AddBroker(address).SetTLSConfig(&tls.Config{RootCAs: roots}).
		SetClientID(device).SetUsername(device).SetPassword(secret).SetAutoReconnect(false).
		SetConnectionLostHandler(func(paho.Client, error) { close(lost) }))
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("%s: %v", address, token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	if token := c.Subscribe("devices/"+device+"/commands", 1, nil); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("%s: %v", address, token.Error())
	}
	return lost
}

func listens(t testing.TB, cc *client.Conn, device string, opts ...message.Option) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	first := make(chan codes.Code, 1)
	_, err := cc.Observe(ctx, "/devices/"+device+"/commands", func(m *pool.Message) {
		select {
		case first <- m.Code():
		default:
		}
	}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	if code := <-first; code != codes.Content {
		t.Fatalf("observing is answered %v", code)
	}
}

// polls asks, and returns when the request is on its way; the channel closes
// when the answer has ended.
func (h *hub) polls(t testing.TB, path, secret string) <-chan struct{} {
	over, wrote := make(chan struct{}), make(chan struct{}, 1)
	req := h.request(t, http.MethodGet, path, secret, nil)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { wrote <- struct{}{} }}))
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	go func() {
		defer close(over)
		if resp, err := transport.RoundTrip(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body) // cut off is over too
			resp.Body.Close()
		}
	}()
	select {
	case <-wrote:
	case <-time.After(patience):
		t.Fatal("the request is not under way")
	}
	return over
}

func (h *hub) request(t testing.TB, method, path, secret string, body any) *http.Request {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, h.at.HTTP+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Content-Type", "application/json")
	return req
}

// must makes a request of the API that must succeed.
func (h *hub) must(t testing.TB, method, path, secret string, body any) (answer struct{ Secret, Token, ID string }) {
	resp, err := http.DefaultClient.Do(h.request(t, method, path, secret, body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s %s, %v", method, path, resp.Status, text, err)
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatal(err)
		}
	}
	return answer
}

func (h *hub) admin(t testing.TB) string {
	text, err := os.ReadFile(h.at.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// value sums one of the hub's own metrics over its labels.
func (h *hub) value(t testing.TB, name string) (sum float64) {
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// when closes the channel once the condition holds.
func when(t testing.TB, holds func() bool) <-chan struct{} {
	met := make(chan struct{})
	go func() {
		defer close(met)
		for t.Context().Err() == nil && !holds() {
			time.Sleep(2 * time.Millisecond)
		}
	}()
	return met
}

// over fails unless the session ends; a poll would end by itself after a minute.
func over(t testing.TB, what string, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(50 * time.Second):
		t.Errorf("%s lives on", what)
	}
}

// TestLosingItsRightEndsADevicesSessions: disabled, given another secret,
// replaced or removed, a device is gone from every door and stays out.
func TestLosingItsRightEndsADevicesSessions(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	admin := h.admin(t)
	for i, action := range []struct{ method, path string }{
		{http.MethodPost, "/disable"}, {http.MethodPost, "/rotate"}, {http.MethodPost, "/replace"}, {http.MethodDelete, ""},
	} {
		id := fmt.Sprintf("t%d", i)
		secret := h.register(t, registry.Spec{ID: id})
		live := map[string]<-chan struct{}{}
		for _, s := range sessions {
			live[s.door] = s.open(t, h, id, secret)
		}
		h.must(t, action.method, "/api/v1/devices/"+id+action.path, admin, struct{}{})
		for door, ended := range live {
			over(t, fmt.Sprintf("after %s %s the session over %s", action.method, action.path, door), ended)
		}
		resp, err := http.DefaultClient.Do(h.request(t, http.MethodPost, "/api/v1/devices/"+id+"/telemetry", secret, map[string]int{"a": 1}))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("after %s %s the device is answered %s", action.method, action.path, resp.Status)
		}
	}
}

// TestRevokingATokenEndsWhatItsHolderHears: a gateway's long poll and
// observation, a wait for a command, and an answer that is being read.
func TestRevokingATokenEndsWhatItsHolderHears(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	admin := h.admin(t)
	h.register(t, registry.Spec{ID: "t1", Region: "220100"})
	asked := h.must(t, http.MethodPost, "/api/v1/devices/t1/commands", admin, map[string]string{"name": "reboot", "expires_in": "1h"}).ID
	gateway := h.must(t, http.MethodPost, "/api/v1/tokens", admin, map[string]any{"name": "gw", "role": access.Gateway}).Token
	reader := h.must(t, http.MethodPost, "/api/v1/tokens", admin, map[string]any{"name": "reader", "role": access.Operator}).Token

	cc, err := udp.Dial(h.at.CoAP)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	listens(t, cc, "t1", message.Option{ID: message.URIQuery, Value: []byte("token=" + gateway)})
	unread := h.readsNothing(t, reader)
	live := map[string]<-chan struct{}{
		"a wanted configuration is waited for": h.polls(t, "/api/v1/devices/t1/config?wait=1m&version=0", gateway),
		"an observation":                       when(t, func() bool { return h.value(t, "hub_coap_observers") == 0 }),
		"a wait for a command":                 h.polls(t, "/api/v1/commands/"+asked+"?wait=1m", reader),
		"an answer that is being read":         unread,
	}
	for _, name := range []string{"gw", "reader"} {
		h.must(t, http.MethodDelete, "/api/v1/tokens/"+name, admin, nil)
	}
	for what, ended := range live {
		over(t, what, ended)
	}
}

// readsNothing asks for a long answer and leaves it unread; the channel closes
// when the hub has given it up.
func (h *hub) readsNothing(t testing.TB, secret string) <-chan struct{} {
	soon(t, "the hub wrote its own metrics", func() bool {
		return h.values(t, `count({job="hub"}) > 300`) > 0
	})
	now := time.Now().Unix()
	path := "/prometheus/api/v1/query_range?" + url.Values{
		"query": {`{job="hub"}`}, "start": {fmt.Sprint(now)}, "end": {fmt.Sprint(now + 240)}, "step": {"0.1"},
	}.Encode()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.at.HTTP, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer %s\r\n\r\n", path, secret)
	soon(t, "the answer waits for its reader", func() bool { return h.value(t, "hub_query_answer_bytes") > 1<<20 })
	return when(t, func() bool { return h.value(t, "hub_query_answer_bytes") == 0 })
}

// BenchmarkRevocation measures, for each door, the time from the request that
// rotates a device's secret until its client has seen its session end.
func BenchmarkRevocation(b *testing.B) {
	h := everyDoor(b, b.TempDir(), func(*config.Config) {})
	admin := h.admin(b)
	secret := h.register(b, registry.Spec{ID: "t1"})
	for _, s := range sessions {
		b.Run(s.door, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				ended := s.open(b, h, "t1", secret)
				begin := time.Now()
				secret = h.must(b, http.MethodPost, "/api/v1/devices/t1/rotate", admin, nil).Secret
				over(b, "the session", ended)
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(took[len(took)/2].Seconds()*1000, "ms-median")
			b.ReportMetric(took[len(took)-1].Seconds()*1000, "ms-max")
		})
	}
}
