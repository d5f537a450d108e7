//lint:file-ignore SA1019 go-coap takes pion's dtls.Config and nothing newer.

package coap_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/songhua-io/hub/internal/ingest/coap"
	"github.com/songhua-io/hub/internal/ingest/doortest"
)

// secure opens the DTLS door of a hub and returns its address.
func (h *house) secure(tb testing.TB, certificates coap.Certificates) string {
	return h.secureBy(tb, func() coap.Certificates { return certificates })
}

// secureBy is secure with certificates that change.
func (h *house) secureBy(tb testing.TB, certificates func() coap.Certificates) string {
	conn := listen(tb)
	h.run(tb, func(ctx context.Context) error { return h.door.ServeDTLS(ctx, conn, certificates) })
	return conn.LocalAddr().String()
}

func psk(id, key string) *piondtls.Config {
	return &piondtls.Config{
		PSK: func([]byte) ([]byte, error) { return []byte(key), nil }, PSKIdentityHint: []byte(id),
		CipherSuites: []piondtls.CipherSuiteID{piondtls.TLS_PSK_WITH_AES_128_CCM_8},
	}
}

func dialDTLS(tb testing.TB, addr string, cfg *piondtls.Config) (*client.Conn, error) {
	cc, err := dtls.Dial(addr, cfg)
	if err == nil {
		tb.Cleanup(func() { _ = cc.Close() })
	}
	return cc, err
}

func TestTelemetryOverDTLSWithPreSharedKey(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	addr := h.secure(t, coap.Certificates{})
	cc, err := dialDTLS(t, addr, psk("t1", doortest.Secret("t1")))
	if err != nil {
		t.Fatal(err)
	}
	if code, body, _ := post(t, cc, "/devices/t1/telemetry", message.AppJSON, `{"temperature":21}`); code != codes.Changed {
		t.Errorf("answered %v %s", code, body)
	}
	if code, _, _ := post(t, cc, "/devices/t2/telemetry", message.AppJSON, `{"temperature":21}`); code != codes.Forbidden {
		t.Errorf("another's path answered %v", code)
	}
	var lines bytes.Buffer
	at := now()
	for i := range 3000 {
		fmt.Fprintf(&lines, "soil,probe=p%d moisture=%d %d\n", i%10, i, (at-int64(i))*1e6)
	}
	if code, body, _ := post(t, cc, "/devices/t1/telemetry", message.TextPlain, lines.String()); code != codes.Changed {
		t.Errorf("blocks answered %v %s", code, body)
	}
	if h.Points() != 3001 {
		t.Errorf("%d points are stored", h.Points())
	}
}

func TestWrongKeysAndStrangersGetNoSession(t *testing.T) {
	cfg := coap.DefaultConfig()
	cfg.HandshakeTimeout = time.Second
	h := open(t, cfg)
	addr := h.secure(t, coap.Certificates{})
	for _, c := range []struct{ id, key string }{{"t1", "guess"}, {"nobody", "guess"}} {
		remote, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := piondtls.Dial("udp", remote, psk(c.id, c.key))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.HandshakeContext(within(t, 5*time.Second)); err == nil {
			t.Errorf("%s got in", c.id)
		}
		_ = conn.Close()
	}
	eventually(t, "no session is left", func() bool { return h.gauge(t, "hub_coap_sessions") == 0 })
}

func (h *house) gauge(tb testing.TB, name string) float64 {
	families, err := h.Metrics.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			tb.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

func TestRevocationEndsTheSession(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	addr := h.secure(t, coap.Certificates{})
	cc, err := dialDTLS(t, addr, psk("t1", doortest.Secret("t1")))
	if err != nil {
		t.Fatal(err)
	}
	if code, _, _ := post(t, cc, "/devices/t1/telemetry", message.AppJSON, `{"temperature":21}`); code != codes.Changed {
		t.Fatalf("answered %v", code)
	}
	h.Revoke("t1")
	select {
	case <-cc.Done():
	case <-time.After(patience):
		t.Error("the session did not end")
	}
	eventually(t, "no session is left", func() bool { return h.gauge(t, "hub_coap_sessions") == 0 })
}

// A device that lost power begins a new handshake from the port that it had:
// the old session stays until the new one is proven, then goes.
func TestASenderBeginsAnewFromItsPort(t *testing.T) {
	h := open(t, coap.DefaultConfig())
	addr := h.secure(t, coap.Certificates{})
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	socket := listen(t)
	defer socket.Close()
	for i := range 3 {
		// Each life reads from the same port and never says goodbye.
		if err := socket.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		conn, err := piondtls.Client(deaf{socket}, to, psk("t1", doortest.Secret("t1")))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.HandshakeContext(within(t, patience)); err != nil {
			t.Fatalf("life %d: %v", i, err)
		}
		answer := make([]byte, 1500)
		n, err := 0, error(nil)
		for range 60 { // a datagram may be lost: a confirmable message is sent again
			if _, err := conn.Write(telemetryTo("t1", fmt.Sprintf(`{"life":%d}`, i), uint16(i))); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			if n, err = conn.Read(answer); err == nil {
				break
			}
		}
		if err != nil || n < 4 || answer[1] != 2<<5|4 {
			t.Fatalf("life %d answered %x, %v", i, answer[:n], err)
		}
		_ = conn.Close()
	}
	eventually(t, "one session is left", func() bool { return h.gauge(t, "hub_coap_sessions") == 1 })
}

// deaf sends no goodbye: alerts are records of type 21.
type deaf struct{ *net.UDPConn }

func (d deaf) WriteTo(b []byte, to net.Addr) (int, error) {
	if len(b) > 0 && b[0] == 21 {
		return len(b), nil
	}
	return d.UDPConn.WriteTo(b, to)
}

func (d deaf) Close() error { return d.SetReadDeadline(time.Unix(1, 0)) }

func TestHandshakesAreBounded(t *testing.T) {
	cfg := coap.DefaultConfig()
	cfg.MaxHandshakes = 4
	h := open(t, cfg)
	addr := h.secure(t, coap.Certificates{})
	// The first ClientHello of many senders that never answer the cookie.
	hello := clientHello(t)
	for range 50 {
		c, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(hello); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the flood was bounded", func() bool { return h.gauge(t, "hub_coap_refused_total") >= 46 })
	cc, err := dialDTLS(t, addr, psk("t1", doortest.Secret("t1")))
	if err != nil {
		t.Fatalf("a sender was kept out: %v", err)
	}
	if code, _, _ := post(t, cc, "/devices/t1/telemetry", message.AppJSON, `{"temperature":21}`); code != codes.Changed {
		t.Errorf("answered %v", code)
	}
	eventually(t, "few sessions are held", func() bool { return h.gauge(t, "hub_coap_sessions") <= 5 })
}

// clientHello records the first datagram of a handshake.
func clientHello(tb testing.TB) []byte {
	server := listen(tb)
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn, err := piondtls.Client(listen(tb), server.LocalAddr(), psk("t1", "key"))
	if err != nil {
		tb.Fatal(err)
	}
	go func() { _ = conn.HandshakeContext(ctx) }()
	b := make([]byte, 2048)
	n, _, err := server.ReadFrom(b)
	if err != nil {
		tb.Fatal(err)
	}
	return b[:n]
}

func TestTelemetryOverDTLSWithCertificates(t *testing.T) {
	authority, sign := newAuthority(t)
	server := sign("hub")
	h := open(t, coap.DefaultConfig())
	addr := h.secure(t, coap.Certificates{Own: []tls.Certificate{server}, Clients: authority})
	cc, err := dialDTLS(t, addr, &piondtls.Config{Certificates: []tls.Certificate{sign("t1")}, RootCAs: authority, ServerName: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	if code, body, _ := post(t, cc, "/devices/t1/telemetry", message.AppJSON, `{"temperature":21}`); code != codes.Changed {
		t.Errorf("answered %v %s", code, body)
	}
	if cc, err := dialDTLS(t, addr, psk("t2", doortest.Secret("t2"))); err != nil {
		t.Error("keys beside certificates:", err)
	} else if code, _, _ := post(t, cc, "/devices/t2/telemetry", message.AppJSON, `{"temperature":22}`); code != codes.Changed {
		t.Errorf("answered %v", code)
	}
	if cc, err := dialDTLS(t, addr, &piondtls.Config{RootCAs: authority, ServerName: "hub"}); err == nil {
		if _, err := cc.Get(within(t, 3*time.Second), "/.well-known/core"); err == nil {
			t.Error("a sender without certificate got in")
		}
	}
	_, other := newAuthority(t)
	if cc, err := dialDTLS(t, addr, &piondtls.Config{Certificates: []tls.Certificate{other("t1")}, RootCAs: authority, ServerName: "hub"}); err == nil {
		if _, err := cc.Get(within(t, 3*time.Second), "/.well-known/core"); err == nil {
			t.Error("a certificate of another authority was taken")
		}
	}
}

func TestAHandshakeTakesTheCertificatesOfItsMoment(t *testing.T) {
	before, signBefore := newAuthority(t)
	after, signAfter := newAuthority(t)
	var current atomic.Pointer[coap.Certificates]
	current.Store(&coap.Certificates{Own: []tls.Certificate{signBefore("hub")}, Clients: before})
	h := open(t, coap.DefaultConfig())
	addr := h.secureBy(t, func() coap.Certificates { return *current.Load() })
	old, err := dialDTLS(t, addr, &piondtls.Config{Certificates: []tls.Certificate{signBefore("t1")}, RootCAs: before, ServerName: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	if code, body, _ := post(t, old, "/devices/t1/telemetry", message.AppJSON, `{"temperature":21}`); code != codes.Changed {
		t.Fatalf("answered %v %s", code, body)
	}
	current.Store(&coap.Certificates{Own: []tls.Certificate{signAfter("hub")}, Clients: after})
	next, err := dialDTLS(t, addr, &piondtls.Config{Certificates: []tls.Certificate{signAfter("t2")}, RootCAs: after, ServerName: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	for device, cc := range map[string]*client.Conn{"t1": old, "t2": next} { // a session outlives the change
		if code, body, _ := post(t, cc, "/devices/"+device+"/telemetry", message.AppJSON, `{"temperature":22}`); code != codes.Changed {
			t.Errorf("%s is answered %v %s", device, code, body)
		}
	}
	if cc, err := dialDTLS(t, addr, &piondtls.Config{Certificates: []tls.Certificate{signBefore("t1")}, RootCAs: after, ServerName: "hub"}); err == nil {
		if _, err := cc.Get(within(t, 3*time.Second), "/.well-known/core"); err == nil {
			t.Error("a certificate of the authority from before was taken")
		}
	}
}

func newAuthority(tb testing.TB) (*x509.CertPool, func(name string) tls.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool, func(name string) tls.Certificate {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}
		raw, err := x509.CreateCertificate(rand.Reader, c, parsed, &k.PublicKey, key)
		if err != nil {
			tb.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: k}
	}
}
