package whole

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge"
	"github.com/songhua-io/hub/internal/hubtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	hubtest.Clean()
	os.Exit(code)
}

// site is a hub with certificates of its own authority, on ports that stay the
// same when it is started again.
type site struct {
	*hubtest.Hub
	t           *testing.T
	binary, dir string
	args        []string
	files       files
}

type files struct{ ca, cert, key, deviceCert, deviceKey string }

func newSite(t *testing.T) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("runs whole programs; make test")
	}
	s := &site{t: t, binary: hubtest.Build(t, ""), dir: t.TempDir(), files: certificates(t)}
	config := filepath.Join(t.TempDir(), "hub.yaml")
	text := fmt.Sprintf("tls:\n  certificate: %s\n  key: %s\n  client_ca: %s\n", s.files.cert, s.files.key, s.files.ca)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = []string{"serve", "--config", config, "--mqtts", "127.0.0.1:0", "--coaps", "127.0.0.1:0"}
	hubtest.Trust(t, s.files.ca)
	s.start()
	t.Cleanup(func() { s.Kill() })
	at, err := url.Parse(s.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	s.args = []string{"serve", "--config", config, "--http", at.Host, "--mqtt", s.MQTT, "--mqtts", s.MQTTS, "--coap", s.CoAP, "--coaps", s.CoAPS}
	return s
}

func (s *site) start() {
	s.t.Helper()
	var err error
	if s.Hub, err = hubtest.Launch(s.binary, s.dir, s.args...); err != nil {
		s.t.Fatal(err)
	}
}

// certificates makes an authority, a certificate for the hub on loopback and
// one for the device agent-cert.
func certificates(t *testing.T) files {
	t.Helper()
	dir := t.TempDir()
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	template := func(name string, serial int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
	}
	caKey, ca := newKey(), template("test authority", 1)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string, serial int64, c *x509.Certificate) (cert, keyFile string) {
		key := newKey()
		der, err := x509.CreateCertificate(rand.Reader, c, ca, key.Public(), caKey)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return write(name+".pem", "CERTIFICATE", der), write(name+".key", "PRIVATE KEY", keyDER)
	}
	f := files{ca: write("ca.pem", "CERTIFICATE", caDER)}
	server := template("hub", 2)
	server.IPAddresses, server.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	f.cert, f.key = issue("hub", 2, server)
	device := template("agent-cert", 3)
	device.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	f.deviceCert, f.deviceKey = issue("agent-cert", 3, device)
	return f
}

// counter is a program that counts, a sample each time, until it is told to
// stop, and then says how far it came.
type counter struct{ at, stop string }

func newCounter(t *testing.T) counter {
	dir := t.TempDir()
	return counter{filepath.Join(dir, "at"), filepath.Join(dir, "stop")}
}

func (c counter) script() string {
	return fmt.Sprintf(`i=0; while [ ! -e %s ]; do i=$((i+1)); echo "count value=$i $(date +%%s%%N)"; echo $i > %s; sleep 0.02; done; echo "counted value=$i"; sleep 600`, c.stop, c.at)
}

// reach waits until the program counted to n, which it does without a hub.
func (c counter) reach(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); c.now() < n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the count stands at %d, never at %d", c.now(), n)
		}
	}
}

func (c counter) now() (n int) {
	if text, err := os.ReadFile(c.at); err == nil {
		n, _ = strconv.Atoi(strings.TrimSpace(string(text))) // empty while it is written
	}
	return n
}

// TestTheAgentLosesNothingOverAnyUplink kills the hub while the agents report
// a count, and finds every number of it afterwards.
func TestTheAgentLosesNothingOverAnyUplink(t *testing.T) {
	s := newSite(t)
	_, wsHost, _ := strings.Cut(s.HTTP, "://")
	agents := []struct{ name, url, extra string }{
		{"agent-mqtt", "mqtt://" + s.MQTT, ""},
		{"agent-mqtts", "mqtts://" + s.MQTTS, "  tls: {ca: " + s.files.ca + "}\n"},
		{"agent-cert", "mqtts://" + s.MQTTS, "  tls: {ca: " + s.files.ca + ", certificate: " + s.files.deviceCert + ", key: " + s.files.deviceKey + "}\n"},
		{"agent-wss", "wss://" + wsHost + "/mqtt", "  tls: {ca: " + s.files.ca + "}\n"},
		{"agent-coap", "coap://" + s.CoAP, ""},
		{"agent-coaps", "coaps://" + s.CoAPS, ""},
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, len(agents))
	counters := make([]counter, len(agents))
	for i, a := range agents {
		counters[i] = newCounter(t)
		secret := s.AddDevice(t, a.name, "gateway")
		if a.name == "agent-cert" {
			secret = `""`
		}
		text := fmt.Sprintf(`device: %s
data: %s
status_interval: 1s
uplink:
  url: %s
  secret: %s
%ssources:
  host: {enabled: true, interval: 1s}
  exec:
    - name: count
      stream: true
      format: influx
      command: [sh, -c, '%s']
`, a.name, filepath.Join(t.TempDir(), a.name), a.url, secret, a.extra, counters[i].script())
		cfg, errs := edge.ParseConfig([]byte(text))
		if len(errs) > 0 {
			t.Fatalf("%s: %v\n%s", a.name, errs, text)
		}
		go func() { ended <- edge.Run(ctx, cfg, slog.New(slog.DiscardHandler), time.Now) }()
	}
	defer func() {
		stop()
		for range agents {
			if err := <-ended; err != nil {
				t.Errorf("an agent ended: %v", err)
			}
		}
	}()
	s.until("every uplink brings the count", `count(count_over_time(count[1h])) == 6`)
	s.Kill()
	for _, c := range counters { // nobody stopped it: it is not at its end
		c.reach(t, c.now()+100)
	}
	s.start()
	for i, a := range agents {
		s.until(a.name+" is back", fmt.Sprintf(`count{device=%q} > %d`, a.name, counters[i].now()))
		if err := os.WriteFile(counters[i].stop, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s.until(a.name+" lost nothing", fmt.Sprintf(`sum(count_over_time(count{device=%q}[1h])) == sum(counted{device=%q}) > 100`, a.name, a.name))
		s.until(a.name+" reports its host", fmt.Sprintf(`host_uptime_seconds{device=%q} > 0`, a.name))
		s.until(a.name+" has an empty loss ledger", fmt.Sprintf(`edge_spool_lost_samples_total{device=%q} == 0`, a.name))
	}
}

// until asks until the query gives something.
func (s *site) until(what, promql string) {
	s.t.Helper()
	var last error
	for end := time.Now().Add(120 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		found, err := s.Query(s.t.Context(), promql, time.Time{})
		if last = err; err == nil && len(found) > 0 {
			return
		}
	}
	now, _ := s.Query(s.t.Context(), strings.Split(promql, "==")[0], time.Time{})
	s.t.Fatalf("never: %s: %s (now %v, %v)\n%s", what, promql, now, last, s.Output())
}
