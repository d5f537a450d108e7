package mqtt_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/klauspost/compress/zstd"

	"github.com/songhua-io/hub/internal/telemetry"
)

// paho5 connects the MQTT 5 client of Eclipse.
func paho5(t *testing.T, conn net.Conn, client string, messages func(*paho.Publish)) *paho.Client {
	t.Helper()
	c := paho.NewClient(paho.ClientConfig{
		Conn: conn, ClientID: client, PacketTimeout: patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			if messages != nil {
				messages(p.Packet)
			}
			return true, nil
		}},
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ack, err := c.Connect(ctx, &paho.Connect{
		ClientID: client, CleanStart: true, KeepAlive: 30,
		UsernameFlag: true, Username: "t1", PasswordFlag: true, Password: []byte("secret-of-t1"),
	})
	if err != nil || ack.ReasonCode != 0 {
		t.Fatalf("connect: %v, %v", ack, err)
	}
	t.Cleanup(func() { c.Disconnect(&paho.Disconnect{}) })
	return c
}

func TestPaho5(t *testing.T) {
	h := start(t, newMemory("t1"))
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	c := paho5(t, conn, "five", func(p *paho.Publish) { got <- p.Topic + " " + string(p.Payload) })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	now := time.Now().UnixMilli()
	for qos := range byte(3) {
		for i := range 50 {
			r, err := c.Publish(ctx, &paho.Publish{QoS: qos, Topic: ownTopic + "/influx", Payload: line(fmt.Sprint("m", qos), i, now+int64(i))})
			if err != nil || r != nil && r.ReasonCode != 0 {
				t.Fatalf("publish with QoS %d: %v, %v", qos, r, err)
			}
		}
	}
	eventually(t, "150 samples", func() bool { return h.count() == 150 })

	if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "devices/t1/+", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	h.mail.Post("t1", "c-1", "reboot")
	if m := <-got; m != "devices/t1/commands reboot" {
		t.Fatalf("received %q", m)
	}
	eventually(t, "the device has confirmed it", func() bool { return h.mail.Received("t1", "c-1") })
	r, err := c.Publish(ctx, &paho.Publish{QoS: 1, Topic: ownTopic, Payload: []byte("{")})
	if err == nil || r == nil || r.ReasonCode != 0x99 || !strings.Contains(r.Properties.ReasonString, "malformed") {
		t.Fatalf("a reject is answered with %+v, %v", r, err)
	}
	if m := <-got; !strings.Contains(m, `"reason":"malformed"`) {
		t.Fatalf("received %q", m)
	}
}

// authority makes certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	n    int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.key = newKey(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (a *authority) issue(name string) tls.Certificate {
	a.n++
	key := newKey(a.t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1 + a.n), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// files writes a certificate, its key and the authority's certificate as PEM.
func (a *authority) files(c tls.Certificate) (cert, key, ca string) {
	dir := a.t.TempDir()
	write := func(name, kind string, der []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return p
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	return write("cert.pem", "CERTIFICATE", c.Certificate[0]), write("key.pem", "PRIVATE KEY", der), write("ca.pem", "CERTIFICATE", a.cert.Raw)
}

// startTLS serves MQTT over TLS with client certificates welcome.
func startTLS(t *testing.T, m *memory, a *authority) *hub {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{a.issue("hub")}, ClientCAs: a.pool, ClientAuth: tls.VerifyClientCertIfGiven})
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, m, l)
}

func TestTLSWithSecretAndWithCertificate(t *testing.T) {
	a := newAuthority(t)
	h := startTLS(t, newMemory("t1", "t2"), a)
	now := time.Now().UnixMilli()

	c := paho311(t, "ssl://"+h.address, "t1", "secret", func(o *paho3.ClientOptions) { o.SetTLSConfig(&tls.Config{RootCAs: a.pool}) })
	wait(t, c.Publish(ownTopic, 1, false, line("m", 1, now)))

	certified := &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{a.issue("t2")}}
	conn, err := tls.Dial("tcp", h.address, certified)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t, conn}
	w.send(packet(0x10, text("MQTT"), 4, 0x02, uint16(0), text("certified")))
	w.expect(connack4)
	large := bytes.Repeat([]byte("m value=1\n"), 5_000) // over several TLS records
	w.send(publish(4, 2, "devices/t2/telemetry/influx", 7, large))
	w.expect(packet(0x40, uint16(7)))
	if !h.happened("connected t1 mqtts") || !h.happened("connected t2 mqtts") {
		t.Fatal("presence was not told")
	}

	conn, err = tls.Dial("tcp", h.address, certified)
	if err != nil {
		t.Fatal(err)
	}
	w = &wire{t, conn}
	w.send(packet(0x10, text("MQTT"), 4, 0x82, uint16(0), text("forged"), text("t1")))
	w.expect(packet(0x20, 0, 5))
}

func TestWebSocket(t *testing.T) {
	h := start(t, newMemory("t1"))
	web := httptest.NewServer(h.server.Handler())
	t.Cleanup(web.Close)
	c := paho311(t, strings.Replace(web.URL, "http", "ws", 1)+"/mqtt", "t1", "web")
	now := time.Now().UnixMilli()
	for i := range 20 {
		wait(t, c.Publish(ownTopic, 1, false, line("m", i, now+int64(i))))
	}
	big := bytes.Repeat([]byte("big value=1\n"), 10_000)
	wait(t, c.Publish(ownTopic, 1, false, big))
	got := make(chan string, 1)
	wait(t, c.Subscribe("devices/t1/commands", 1, func(_ paho3.Client, m paho3.Message) { got <- string(m.Payload()) }))
	h.mail.Post("t1", "c-1", "go")
	if m := <-got; m != "go" {
		t.Fatalf("received %q", m)
	}
	if !h.happened("connected t1 mqtt-websocket") {
		t.Fatal("presence was not told")
	}
	c.Disconnect(100)
	eventually(t, "presence is told", func() bool { return h.happened("left t1 disconnect") })
}

func TestWebSocketConnectionEndsWithTheHub(t *testing.T) {
	h := start(t, newMemory("t1"))
	web := httptest.NewServer(h.server.Handler())
	t.Cleanup(web.Close)
	lost := make(chan error, 1)
	paho311(t, strings.Replace(web.URL, "http", "ws", 1)+"/mqtt", "t1", "web", func(o *paho3.ClientOptions) {
		o.SetConnectionLostHandler(func(_ paho3.Client, err error) { lost <- err })
	})
	h.stop()
	<-lost
}

// program finds a program that the test needs.
func program(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err == nil {
			return path
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing: install the Debian package %s", name, debian)
		}
		t.Skipf("%s is missing: install the Debian package %s", name, debian)
	}
	return path
}

func TestMosquittoClients(t *testing.T) {
	pub, sub := program(t, "mosquitto_pub", "mosquitto-clients"), program(t, "mosquitto_sub", "mosquitto-clients")
	a := newAuthority(t)
	for _, version := range []string{"311", "5"} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprint("V", version, " tls=", secure), func(t *testing.T) {
				m := newMemory("t1")
				var h *hub
				base := []string{"-V", version, "-u", "t1", "-P", "secret-of-t1", "-h", "127.0.0.1"}
				if secure {
					h = startTLS(t, m, a)
					_, _, ca := a.files(a.issue("unused"))
					base = append(base, "--cafile", ca)
				} else {
					h = start(t, m)
				}
				_, port, _ := net.SplitHostPort(h.address)
				base = append(base, "-p", port)
				for qos := range 3 {
					args := slices.Concat(base, []string{"-t", ownTopic, "-q", fmt.Sprint(qos), "-m", fmt.Sprintf(`{"m%d": 1}`, qos)})
					if out, err := exec.Command(pub, args...).CombinedOutput(); err != nil {
						t.Fatalf("mosquitto_pub: %v\n%s", err, out)
					}
				}
				eventually(t, "three samples", func() bool { return h.count() == 3 })

				// 3.1.1 cannot be told that nothing is retained; with 5 the client is, and leaves the flag away.
				args := slices.Concat(base, []string{"-t", ownTopic, "-q", "1", "-r", "-m", `{"kept": 1}`})
				if said, err := exec.Command(pub, args...).CombinedOutput(); err != nil || h.count() != 4 {
					t.Fatalf("mosquitto_pub -r: %v, %d samples\n%s", err, h.count(), said)
				}

				var out bytes.Buffer
				cmd := exec.Command(sub, slices.Concat(base, []string{"-t", "devices/t1/#", "-q", "1", "-C", "2", "-W", "20", "-v"})...)
				cmd.Stdout, cmd.Stderr = &out, &out
				h.mail.Want("t1", "kept")
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				h.mail.Post("t1", "c-1", "go")
				if err := cmd.Wait(); err != nil {
					t.Fatalf("mosquitto_sub: %v\n%s", err, &out)
				}
				if got := out.String(); !strings.Contains(got, "devices/t1/config kept") || !strings.Contains(got, "devices/t1/commands go") {
					t.Fatalf("mosquitto_sub received %q", got)
				}

				bad := exec.Command(pub, slices.Concat(base, []string{"-P", "guess", "-t", ownTopic, "-q", "1", "-m", "{}"})...)
				if out, err := bad.CombinedOutput(); err == nil {
					t.Fatalf("mosquitto_pub with a wrong password succeeds: %s", out)
				}
			})
		}
	}
}

func gzipped(p []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(p)
	z.Close()
	return b.Bytes()
}

func TestCompressedPayloads(t *testing.T) {
	fold := map[string]func([]byte) []byte{
		"gzip": gzipped,
		"zstd": func(p []byte) []byte {
			z, _ := zstd.NewWriter(nil)
			return z.EncodeAll(p, nil)
		},
	}
	for name, f := range fold {
		t.Run(name, func(t *testing.T) {
			h := start(t, newMemory("t1"))
			w := login5(t, h, "a")
			now := time.Now().UnixMilli()
			var all []byte
			for i := range 500 {
				all = append(append(all, line("m", i, now+int64(i))...), '\n')
			}
			w.send(publish(5, 2, ownTopic, 7, f(all)))
			w.expect(packet(0x40, uint16(7)))
			if h.count() != 500 {
				t.Fatalf("%d samples are stored", h.count())
			}
			bomb := f(bytes.Repeat([]byte("m value=1\n"), 1<<20))
			if len(bomb) > 200<<10 {
				t.Fatalf("the bomb has %d bytes", len(bomb))
			}
			var senders sync.WaitGroup
			for i := range 20 {
				senders.Go(func() {
					w := login5(t, h, fmt.Sprint("bomber", i))
					w.send(publish(5, 2, ownTopic, 8, bomb))
					if _, body := w.next(); body[2] != 0x97 {
						t.Errorf("PUBACK %q", body)
					}
				})
			}
			senders.Wait()
			kept := h.rejects()
			if len(kept) != 20 || kept[0].Reason != telemetry.ReasonDecompression || h.count() != 500 {
				t.Fatalf("%d rejects, %d samples", len(kept), h.count())
			}
		})
	}
}
