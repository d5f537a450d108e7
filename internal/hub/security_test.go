//lint:file-ignore SA1019 go-coap takes pion's dtls.Config and nothing newer.

package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	piondtls "github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp"

	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// common are names and passwords that other products begin with.
var common = [][2]string{
	{"admin", "admin"}, {"admin", "password"}, {"admin", ""}, {"root", "root"}, {"hub", "hub"}, {"songhua", "songhua"},
	{"guest", "guest"}, {"user", "123456"}, {"", ""}, {"t1", "t1"}, {"t1", "secret"}, {"t1", ""},
}

// TestAFreshHubHasNoDefaultPassword: what lets in is random, different in every
// hub and for every device, and shown once; what other products begin with
// opens no door.
func TestAFreshHubHasNoDefaultPassword(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	other := everyDoor(t, t.TempDir(), func(*config.Config) {})
	seen := map[string]bool{h.admin(t): true, other.admin(t): true}
	for i := range 100 {
		seen[h.register(t, registry.Spec{ID: fmt.Sprintf("t%d", i)})] = true
	}
	if len(seen) != 102 {
		t.Errorf("of 102 secrets %d are different", len(seen))
	}
	for secret := range seen {
		if len(secret) < 43 { // 256 bits in base64
			t.Errorf("a secret has %d characters", len(secret))
		}
	}
	if _, err := h.registry.Create(t.Context(), registry.Spec{ID: "chosen", Secret: "short"}); err == nil {
		t.Error("a secret of five characters is taken")
	}
	if info, err := os.Stat(h.at.TokenFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the admin's token: %v, %v", info, err)
	}
	cc, err := udp.Dial(h.at.CoAP)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	for _, c := range common {
		name, password := c[0], c[1]
		for _, path := range []string{"/api/v1/devices", "/prometheus/api/v1/query?query=up"} {
			for how, set := range map[string]func(*http.Request){
				"basic":  func(r *http.Request) { r.SetBasicAuth(name, password) },
				"bearer": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+password) },
				"cookie": func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "songhua_token", Value: password}) },
			} {
				req := h.request(t, http.MethodGet, path, "", nil)
				req.Header.Del("Authorization")
				set(req)
				if code := status(t, req); code != http.StatusUnauthorized && code != http.StatusForbidden {
					t.Errorf("%s by %s as %q, %q: %d", path, how, name, password, code)
				}
			}
		}
		token := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + h.at.MQTT).SetUsername(name).SetPassword(password).SetConnectRetry(false)).Connect()
		if !token.WaitTimeout(patience) || token.Error() == nil {
			t.Errorf("MQTT lets in %q with %q", name, password)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		resp, err := cc.Post(ctx, "/devices/t1/telemetry", message.AppJSON, strings.NewReader("{}"), message.Option{ID: message.URIQuery, Value: []byte("token=" + password)})
		cancel()
		if err != nil || resp.Code() != codes.Unauthorized {
			t.Errorf("CoAP with %q: %v, %v", password, resp, err)
		}
	}
}

func status(t *testing.T, r *http.Request) int {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r) // redirects are answers too
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestNoDebugEndpointIsServed: neither a stranger nor the admin finds a
// profiler, variables, or a way to stop or reload the hub.
func TestNoDebugEndpointIsServed(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.authority.Root())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	for _, base := range []string{h.at.HTTP, h.at.HTTPS} {
		for _, path := range []string{
			"/debug", "/debug/", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/debug/requests", "/debug/events", "/pprof", "/vars",
			"/prometheus/debug/pprof/", "/prometheus/-/reload", "/prometheus/-/quit", "/-/reload", "/-/quit", "/-/healthy",
			"/prometheus/api/v1/admin/tsdb/snapshot", "/prometheus/api/v1/admin/tsdb/delete_series", "/prometheus/federate", "/admin", "/config", "/trace",
		} {
			for _, token := range []string{"", h.admin(t)} {
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					req, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					if token != "" {
						req.Header.Set("Authorization", "Bearer "+token)
					}
					resp, err := transport.RoundTrip(req)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if refused := resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed; !refused && (token != "" || resp.StatusCode != http.StatusUnauthorized) {
						t.Errorf("%s %s%s: %s", method, base, path, resp.Status)
					}
				}
			}
		}
	}
}

// TestEncryptedDoorsRefuseWhatIsBroken: old versions, suites without
// authenticated encryption or forward secrecy, and certificates of strangers.
func TestEncryptedDoorsRefuseWhatIsBroken(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.authority.Root())
	var broken []uint16
	for _, s := range tls.CipherSuites() {
		if strings.Contains(s.Name, "_CBC_") {
			broken = append(broken, s.ID)
		}
	}
	for _, s := range tls.InsecureCipherSuites() {
		broken = append(broken, s.ID)
	}
	for _, address := range []string{h.at.MQTTS, strings.TrimPrefix(h.at.HTTPS, "https://")} {
		for what, c := range map[string]*tls.Config{
			"TLS 1.0":         {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10},
			"TLS 1.1":         {MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11},
			"broken suites":   {MaxVersion: tls.VersionTLS12, CipherSuites: broken},
			"another's roots": {RootCAs: x509.NewCertPool()},
		} {
			if c.RootCAs == nil {
				c.RootCAs = roots
			}
			if conn, err := tls.Dial("tcp", address, c); err == nil {
				t.Errorf("%s: %s gets in: %s", address, what, tls.CipherSuiteName(conn.ConnectionState().CipherSuite))
				conn.Close()
			}
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, MaxVersion: version})
			if err != nil {
				t.Errorf("%s: %s: %v", address, tls.VersionName(version), err)
				continue
			}
			conn.Close()
		}
	}
	secret := h.register(t, registry.Spec{ID: "t1"})
	to, err := net.ResolveUDPAddr("udp", h.at.CoAPS)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := piondtls.Dial("udp", to, &piondtls.Config{
		PSK: func([]byte) ([]byte, error) { return []byte(secret), nil }, PSKIdentityHint: []byte("t1"),
		CipherSuites: []piondtls.CipherSuiteID{piondtls.TLS_PSK_WITH_AES_128_CBC_SHA256, piondtls.TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("DTLS without authenticated encryption: %v", err)
	}
}

// TestSlowSendersAreSentAway holds fifty connections of each door open from
// bare sockets that send a byte now and then and never a whole request. Others
// are served meanwhile, and the hub ends every one of them.
func TestSlowSendersAreSentAway(t *testing.T) {
	if testing.Short() {
		t.Skip("waits as long as a stranger may take for a header: ten seconds")
	}
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.MQTT.ConnectTimeout = 10 * time.Second }) // as long as the HTTP door waits
	secret := h.register(t, registry.Spec{ID: "t1"})
	web, secured := strings.TrimPrefix(h.at.HTTP, "http://"), strings.TrimPrefix(h.at.HTTPS, "https://")
	connect := "\x10\xff\x7f\x00\x04MQTT\x04\xc2\x00\x00" + strings.Repeat("\x00\x7fa", 100)
	var slow sync.WaitGroup
	for what, d := range map[string]struct{ address, first, drip string }{
		"http header":      {web, "GET / HTTP/1.1\r\n", strings.Repeat("x: y\r\n", 200)},
		"http silence":     {web, "", ""},
		"https handshake":  {secured, "\x16\x03\x01", strings.Repeat("\x01", 200)},
		"mqtt connect":     {h.at.MQTT, connect[:1], connect[1:]},
		"mqtt silence":     {h.at.MQTT, "", ""},
		"mqtts handshake":  {h.at.MQTTS, "\x16\x03\x01", strings.Repeat("\x01", 200)},
		"websocket silent": {web, "GET /mqtt HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", ""},
	} {
		for range 50 {
			conn, err := net.Dial("tcp", d.address)
			if err != nil {
				t.Fatal(err)
			}
			slow.Go(func() {
				defer conn.Close()
				if !drip(conn, d.first, d.drip) {
					t.Errorf("%s: a slow sender is still there after %s", what, patience)
				}
			})
		}
	}
	for range 20 {
		if code := status(t, h.request(t, http.MethodPost, "/api/v1/devices/t1/telemetry", secret, map[string]int{"a": 1})); code != http.StatusOK {
			t.Errorf("a device beside the slow senders is answered %d", code)
		}
	}
	gone := overMQTT(t, "tcp://"+h.at.MQTT, h, "t1", secret)
	slow.Wait()
	select {
	case <-gone:
		t.Error("a device that is connected properly was sent away too")
	default:
	}
}

// drip sends first at once and rest byte by byte, and reports whether the other
// side ended the connection.
func drip(conn net.Conn, first, rest string) (ended bool) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = io.Copy(io.Discard, conn) // ends with the connection
	}()
	_, _ = io.WriteString(conn, first)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for i := 0; ; i++ {
		select {
		case <-over:
			return true
		case <-limit:
			return false
		case <-tick.C:
			if i < len(rest) {
				_, _ = io.WriteString(conn, rest[i:i+1])
			}
		}
	}
}

// pipes is a listener whose connections are made in the process, so that
// synctest's clock rules them.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p pipes) Close() error   { close(p.done); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestASlowBodyIsCutOff sends a byte of a body every second.
func TestASlowBodyIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{log: slog.New(slog.DiscardHandler)}
		failed := make(chan error, 1)
		server := h.newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			failed <- err
		}))
		l := pipes{make(chan net.Conn), make(chan struct{})}
		go server.Serve(l) //nolint:errcheck // ends with the server
		near, far := net.Pipe()
		l.conns <- far
		go io.Copy(io.Discard, near) //nolint:errcheck // ends with the connection
		begin := time.Now()
		_, _ = io.WriteString(near, "POST / HTTP/1.1\r\nHost: hub\r\nContent-Length: 1000\r\n\r\n")
		var sender sync.WaitGroup
		sender.Go(func() {
			for {
				if _, err := io.WriteString(near, "x"); err != nil {
					return
				}
				time.Sleep(time.Second) // synctest's clock
			}
		})
		if err := <-failed; err == nil {
			t.Error("the body was read whole")
		}
		if d := time.Since(begin); d > bodyTimeout+time.Second {
			t.Errorf("the body was waited for for %s", d)
		}
		near.Close()
		sender.Wait()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestTheDoorsOfAFreshHubAreLoopback: nobody else reaches a hub without a
// config file.
func TestTheDoorsOfAFreshHubAreLoopback(t *testing.T) {
	l := config.Default().Listen
	for _, address := range []string{l.HTTP, l.HTTPS, l.MQTT, l.MQTTS, l.CoAP, l.CoAPS} {
		if !loopbackOnly(address) {
			t.Errorf("%s is reached from elsewhere", address)
		}
	}
}

// tells sends the same message over MQTT, CoAP and HTTP, and returns what HTTP
// answers.
func (h *hub) tells(t *testing.T, device, secret, body string) string {
	t.Helper()
	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + h.at.MQTT).SetClientID("c").SetUsername(device).SetPassword(secret))
	for _, token := range []func() paho.Token{client.Connect, func() paho.Token { return client.Publish("devices/"+device+"/telemetry", 1, false, body) }} {
		if token := token(); !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("MQTT: %v", token.Error())
		}
	}
	client.Disconnect(100)
	cc, err := udp.Dial(h.at.CoAP)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := cc.Post(ctx, "/devices/"+device+"/telemetry", message.AppJSON, strings.NewReader(body), message.Option{ID: message.URIQuery, Value: []byte("token=" + secret)}); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(h.request(t, http.MethodPost, "/api/v1/devices/"+device+"/telemetry", secret, json.RawMessage(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAWrongClockPoisonsNothing: whatever time a device claims, over every
// door, it neither becomes the latest value nor keeps later ones out.
func TestAWrongClockPoisonsNothing(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	secret := h.register(t, registry.Spec{ID: "t1"})
	now := time.Now()
	for _, c := range []struct {
		what, reason string
		ts           int64
	}{
		{"a year ahead", "time_future", now.AddDate(1, 0, 0).UnixMilli()},
		{"an hour ahead", "time_future", now.Add(time.Hour).UnixMilli()},
		{"microseconds", "time_future", now.UnixMicro()},
		{"nanoseconds", "malformed", now.UnixNano()},
		{"the end of time", "malformed", 1<<63 - 1},
		{"seconds", "time_past", now.Unix()},
		{"an unset clock", "time_past", 1},
		{"before all time", "malformed", -1 << 62},
	} {
		if answer := h.tells(t, "t1", secret, fmt.Sprintf(`{"ts": %d, "level": 99}`, c.ts)); !strings.Contains(answer, c.reason) {
			t.Errorf("%s: %s", c.what, answer)
		}
	}
	if n := h.values(t, `last_over_time(level{device="t1"}[1y])`) + h.values(t, `last_over_time(level{device="t1"}[1y] offset -1y)`); n != 0 {
		t.Errorf("%d series are of a wrong time", n)
	}
	h.tells(t, "t1", secret, fmt.Sprintf(`{"ts": %d, "level": 1}`, now.UnixMilli()))
	if h.values(t, `level{device="t1"} == 1`) != 1 {
		t.Error("the right time is not the latest")
	}
}

// TestAMessageSentAgainIsStoredOnce: what was recorded on the way and is sent
// again, over any door, changes nothing.
func TestAMessageSentAgainIsStoredOnce(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	secret := h.register(t, registry.Spec{ID: "t1"})
	at := time.Now().Add(-time.Second).UnixMilli()
	for range 3 {
		h.tells(t, "t1", secret, fmt.Sprintf(`{"ts": %d, "level": 1}`, at))
	}
	h.tells(t, "t1", secret, fmt.Sprintf(`{"ts": %d, "level": 2}`, at)) // forged
	if h.values(t, `count_over_time(level{device="t1"}[1h]) == 1 and level{device="t1"} == 1`) != 1 {
		t.Error("more than the first was stored")
	}
}
