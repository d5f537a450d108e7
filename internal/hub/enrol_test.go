//lint:file-ignore SA1019 go-coap takes pion's dtls.Config and nothing newer.

package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	piondtls "github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/edge"
	"github.com/songhua-io/hub/internal/enrolment"
	"github.com/songhua-io/hub/internal/registry"
)

// everyDoor builds a hub with every door on a free port of loopback.
func everyDoor(t testing.TB, dir string, change func(*config.Config)) *hub {
	t.Helper()
	cfg := config.Default()
	cfg.Data = dir
	const free = "127.0.0.1:0"
	cfg.Listen = config.Listen{HTTP: free, HTTPS: free, MQTT: free, MQTTS: free, CoAP: free, CoAPS: free}
	cfg.Releases.Publish.At = time.Now().In(source.China).Add(12 * time.Hour).Format("15:04") // tests release days themselves
	cfg.MQTT.ConnectTimeout, cfg.CoAP.HandshakeTimeout = patience, patience                   // a machine that stalls is no slow sender
	change(&cfg)
	log := slog.New(slog.DiscardHandler)
	h := &hub{cfg: cfg, options: Options{Log: log}, log: log, clock: time.Now, started: time.Now(), metrics: prometheus.NewRegistry(), stack: newStack(log)}
	if err := h.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.end(t) })
	return h
}

// patience is how long a test waits for what a machine that is busy with others does
// in its own time.
const patience = 3 * time.Minute

// soon waits until something holds.
func soon(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func TestStrangersKnockAtEveryDoorAndLeaveNothingElse(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	h.register(t, registry.Spec{ID: "known", Secret: "correct-horse-battery"})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.authority.Root())

	for url, id := range map[string]string{"tcp://" + h.at.MQTT: "by-mqtt", "ssl://" + h.at.MQTTS: "by-mqtts", "ws://" + strings.TrimPrefix(h.at.HTTP, "http://") + "/mqtt": "by-websocket"} {
		opts := paho.NewClientOptions().AddBroker(url).SetClientID("c").SetUsername(id).SetPassword("x").SetConnectRetry(false)
		token := paho.NewClient(opts.SetTLSConfig(&tls.Config{RootCAs: roots})).Connect()
		if !token.WaitTimeout(patience) || token.Error() == nil {
			t.Errorf("%s got in, or no answer", id)
		}
	}
	post := func(device, secret string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.at.HTTP+"/api/v1/devices/"+device+"/telemetry", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	post("by-http", "x")
	post("known", "wrong-horse-battery")           // a wrong secret is no unknown device
	post("spoken-of", "correct-horse-battery")     // nor is one that a known one speaks of
	post(strings.Repeat("long", 30), "whatever-x") // nor what is no id

	conn, err := udp.Dial(h.at.CoAP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := conn.Post(ctx, "/devices/by-coap/telemetry", message.AppJSON, strings.NewReader("{}"), message.Option{ID: message.URIQuery, Value: []byte("token=x")}); err != nil {
		t.Error(err)
	}
	done := handshake(t, h.at.CoAPS, "by-psk")

	want := map[string]string{"by-mqtt": "mqtt", "by-mqtts": "mqtts", "by-websocket": "mqtt-websocket", "by-http": "http", "by-coap": "coap", "by-psk": "coaps"}
	soon(t, "all knocks are listed", func() bool { return len(h.enrolment.Knocks()) == len(want) })
	for _, k := range h.enrolment.Knocks() {
		if want[k.Device] != k.Door || !k.Address.IsLoopback() {
			t.Errorf("%+v", k)
		}
	}
	if h.registry.Len() != 1 {
		t.Errorf("%d devices", h.registry.Len())
	}
	if err := done(); err == nil {
		t.Error("by-psk got in")
	}
}

// handshake tries to open a DTLS session by pre-shared key until it is done.
func handshake(t *testing.T, address, id string) (done func() error) {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := piondtls.Client(socket, to, &piondtls.Config{
		PSK: func([]byte) ([]byte, error) { return []byte("x"), nil }, PSKIdentityHint: []byte(id),
		CipherSuites: []piondtls.CipherSuiteID{piondtls.TLS_PSK_WITH_AES_128_GCM_SHA256},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- conn.HandshakeContext(ctx) }()
	return func() error {
		cancel()
		defer socket.Close()
		return <-failed
	}
}

// TestAnAgentEnrolsRenewsAndIsRevoked is the whole life of an identity: the key
// is made beside the agent, the certificate is renewed while it runs, the next
// connection shows the new one, and a rotation ends it.
func TestAnAgentEnrolsRenewsAndIsRevoked(t *testing.T) {
	if testing.Short() {
		t.Skip("waits until a certificate ends")
	}
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Authority.DeviceLifetime = 40 * time.Second })
	_, token, err := h.enrolment.Create(t.Context(), enrolment.Token{Name: "one", Kind: "node", Region: "220100", Uses: 1})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e := edge.Enrolment{Hub: h.at.HTTPS, Token: token, Device: "agent-1", Config: filepath.Join(dir, "agent.yaml"), Data: dir, Tags: map[string]string{"serial": "A7"}}
	if _, err := edge.Enrol(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	cfg, faults := edge.ParseConfig(text)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if info, err := os.Stat(cfg.Uplink.TLS.Key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its key: %v, %v", info, err)
	}
	if d, err := h.registry.Get("agent-1"); err != nil || d.Kind != "node" || d.Tags["serial"] != "A7" {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := edge.Enrol(t.Context(), e); err != nil { // the answer may have got lost
		t.Errorf("enrolled again: %v", err)
	}

	cfg.StatusInterval = time.Second
	running, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- edge.Run(running, cfg, slog.New(slog.DiscardHandler), time.Now) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	online := func() bool { return h.presence.Of("agent-1").State == registry.Online }
	soon(t, "the agent is there", online)
	soon(t, "its samples are stored", func() bool { return h.values(t, `edge_uptime_seconds{device="agent-1"}`) == 1 })
	first := certificateIn(t, cfg.Uplink.TLS.Certificate)
	soon(t, "the certificate is renewed", func() bool { return !certificateIn(t, cfg.Uplink.TLS.Certificate).Equal(first) })
	if left := time.Until(first.NotAfter); left <= 0 {
		t.Errorf("it was renewed %s after its end", -left)
	}
	soon(t, "the first certificate has ended", func() bool { return time.Now().After(first.NotAfter) })
	if !online() {
		t.Error("the connection ended with the certificate")
	}
	if _, err := h.registry.Disable(t.Context(), "agent-1", 0); err != nil {
		t.Fatal(err)
	}
	soon(t, "a disabled agent is gone", func() bool { return !online() })
	if _, err := h.registry.Enable(t.Context(), "agent-1", 0); err != nil {
		t.Fatal(err)
	}
	soon(t, "it comes back with the new certificate", online)

	peer, err := h.registry.AuthenticateCertificate(certificateIn(t, cfg.Uplink.TLS.Certificate), true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.registry.Rotate(t.Context(), "agent-1", 0); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	<-peer.Done
	soon(t, "a rotation ends its session", func() bool { return !online() })
	t.Logf("its session ended %s after the rotation", time.Since(begin).Round(time.Millisecond))
	if err := showAt(h, cfg.Uplink.TLS.Certificate, cfg.Uplink.TLS.Key); err == nil {
		t.Error("the certificate from before the rotation lets it in")
	}
}

func certificateIn(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(text, keyBeside(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func keyBeside(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(strings.TrimSuffix(path, ".pem") + ".key")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// showAt connects by MQTT with a certificate.
func showAt(h *hub, certificate, key string) error {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.authority.Root())
	opts := paho.NewClientOptions().AddBroker("ssl://" + h.at.MQTTS).SetClientID("c").SetConnectRetry(false)
	token := paho.NewClient(opts.SetTLSConfig(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}})).Connect()
	if !token.WaitTimeout(patience) {
		return fmt.Errorf("no answer within %s", patience)
	}
	return token.Error()
}

func TestDoorsAreNamedByTheHostThatADeviceReached(t *testing.T) {
	h := &hub{at: Addresses{HTTP: "http://[::]:8080", HTTPS: "https://0.0.0.0:8443", MQTTS: "[::]:8883", CoAPS: "10.1.2.3:5684"}}
	for host, want := range map[string]map[string]string{
		"hub.example:8443":    {"http": "http://hub.example:8080", "https": "https://hub.example:8443", "mqtts": "mqtts://hub.example:8883", "coaps": "coaps://10.1.2.3:5684"},
		"hub.example":         {"http": "http://hub.example:8080", "https": "https://hub.example:8443", "mqtts": "mqtts://hub.example:8883", "coaps": "coaps://10.1.2.3:5684"},
		"[2001:db8::1]:18443": {"http": "http://[2001:db8::1]:8080", "https": "https://[2001:db8::1]:8443", "mqtts": "mqtts://[2001:db8::1]:8883", "coaps": "coaps://10.1.2.3:5684"},
	} {
		if got := h.doors(host); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v", host, got)
		}
	}
}
