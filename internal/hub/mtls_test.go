package hub

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// certified returns how a client trusts the hub and shows the certificate of a
// device, which has no other credentials in its hands.
func (h *hub) certified(t *testing.T, device string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	req, err := authority.ParseRequest(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	since, err := h.registry.CertificatesFrom(device)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := h.authority.Issue(t.Context(), device, req, since)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(issued.PEM)
	trust := h.trusting()
	trust.Certificates = []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}}
	return trust
}

func (h *hub) trusting() *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.authority.Root())
	return &tls.Config{RootCAs: roots}
}

func requesting(t *testing.T, trust *tls.Config) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: trust}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// family registers a gateway, its child and a stranger to both.
func (h *hub) family(t *testing.T) {
	t.Helper()
	h.register(t, registry.Spec{ID: "gw", Kind: "gateway"})
	h.register(t, registry.Spec{ID: "child", Gateway: "gw"})
	h.register(t, registry.Spec{ID: "other"})
}

// TestACertificateIsEnoughForHTTP: no secret is needed, and it speaks for its own
// device and the children of a gateway alone.
func TestACertificateIsEnoughForHTTP(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	h.family(t)
	gateway := requesting(t, h.certified(t, "gw"))
	do := func(c *http.Client, method, path string, headers ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, h.at.HTTPS+path, strings.NewReader(`{"level": 1}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	const post = http.MethodPost
	path := func(device string) string { return "/api/v1/devices/" + device + "/telemetry" }
	for _, c := range []struct {
		name    string
		client  *http.Client
		device  string
		headers []string
		want    int
	}{
		{"its own", gateway, "gw", nil, 200},
		{"a child", gateway, "child", nil, 200},
		{"no child", gateway, "other", nil, 403},
		{"nobody", gateway, "nobody", nil, 403},
		{"a child of the gateway", requesting(t, h.certified(t, "child")), "gw", nil, 403},
		{"without a certificate", requesting(t, h.trusting()), "gw", nil, 401},
		{"with a wrong secret beside it", gateway, "gw", []string{"Authorization", "Bearer wrong-horse"}, 401},
		{"for a page of another site", gateway, "gw", []string{"Sec-Fetch-Site", "cross-site"}, 401},
		{"for a page of another origin", gateway, "gw", []string{"Origin", "https://evil.example"}, 401},
		{"for a page of its own", gateway, "gw", []string{"Origin", h.at.HTTPS}, 200},
	} {
		if code, text := do(c.client, post, path(c.device), c.headers...); code != c.want {
			t.Errorf("%s: %d, want %d: %s", c.name, code, c.want, text)
		}
	}
	if code, text := do(gateway, http.MethodGet, "/api/v1/devices/child/config"); code != 200 && code != 204 && code != 404 {
		t.Errorf("its child's configuration: %d %s", code, text)
	}
	if n := h.values(t, `level{device=~"gw|child"}`); n != 2 {
		t.Errorf("%d series", n)
	}
	if n := h.values(t, `level{device="other"}`); n != 0 {
		t.Errorf("a stranger's certificate spoke for it: %d", n)
	}
	// The connection is there, and what it was opened with counts no longer.
	if _, err := h.registry.Rotate(t.Context(), "gw", 0); err != nil {
		t.Fatal(err)
	}
	if code, text := do(gateway, post, path("gw")); code != 401 || !strings.Contains(text, "enrol it anew") {
		t.Errorf("after its credentials changed: %d %s", code, text)
	}
}

// TestACertificateIsEnoughForMQTTOverWebSocket with clients of both versions.
func TestACertificateIsEnoughForMQTTOverWebSocket(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	h.family(t)
	at := "wss" + strings.TrimPrefix(h.at.HTTPS, "https") + "/mqtt"
	trust := h.certified(t, "gw")
	options := func() *paho3.ClientOptions {
		return paho3.NewClientOptions().AddBroker(at).SetClientID("three").SetConnectRetry(false).SetAutoReconnect(false).SetTLSConfig(trust)
	}
	wait := func(token paho3.Token) error {
		t.Helper()
		if !token.WaitTimeout(patience) {
			t.Fatalf("no answer within %s", patience)
		}
		return token.Error()
	}
	three := paho3.NewClient(options())
	if err := wait(three.Connect()); err != nil {
		t.Fatal(err)
	}
	defer three.Disconnect(0)
	for _, device := range []string{"gw", "child"} {
		if err := wait(three.Publish("devices/"+device+"/telemetry", 1, false, `{"level": 1}`)); err != nil {
			t.Errorf("%s: %v", device, err)
		}
	}
	if err := wait(paho3.NewClient(options().SetUsername("other")).Connect()); err == nil {
		t.Error("the certificate of gw let other in")
	}
	if err := wait(paho3.NewClient(options().SetUsername("gw").SetPassword("wrong")).Connect()); err == nil {
		t.Error("a wrong secret counts less than a certificate")
	}
	if err := wait(paho3.NewClient(options().SetHTTPHeaders(http.Header{"Origin": {"https://evil.example"}})).Connect()); err == nil {
		t.Error("a page of another site borrowed the certificate")
	}
	if err := wait(paho3.NewClient(options().SetTLSConfig(h.trusting())).Connect()); err == nil {
		t.Error("neither certificate nor secret, and let in")
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, at, &websocket.DialOptions{Subprotocols: []string{"mqtt"}, HTTPClient: requesting(t, h.certified(t, "gw"))}) //nolint:bodyclose // the socket's
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	five := paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(websocket.NetConn(ctx, ws, websocket.MessageBinary)), // it writes packets in pieces
		PacketTimeout: patience, OnClientError: func(err error) { gone <- err }, OnServerDisconnect: func(d *paho.Disconnect) { gone <- nil }})
	if ack, err := five.Connect(ctx, &paho.Connect{ClientID: "five", CleanStart: true, KeepAlive: 30}); err != nil || ack.ReasonCode != 0 {
		t.Fatalf("%+v %v", ack, err)
	}
	if ack, err := five.Publish(ctx, &paho.Publish{Topic: "devices/child/telemetry", QoS: 1, Payload: []byte(`{"level": 2}`)}); err != nil || ack.ReasonCode != 0 {
		t.Errorf("%+v %v", ack, err)
	}
	if ack, err := five.Publish(ctx, &paho.Publish{Topic: "devices/other/telemetry", QoS: 1, Payload: []byte(`{"level": 2}`)}); err == nil && ack.ReasonCode < 0x80 {
		t.Errorf("it spoke for a stranger: %+v", ack)
	}
	if n := h.values(t, `level{device="other"}`); n != 0 {
		t.Errorf("%d series of a stranger", n)
	}
	if _, err := h.registry.Disable(t.Context(), "gw", 0); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-ctx.Done():
		t.Error("disabled, and still connected")
	}
}
