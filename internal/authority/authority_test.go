package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/time/rate"
)

// house is an authority in a directory whose clock stands still until moved.
type house struct {
	*Authority
	dir     string
	now     atomic.Pointer[time.Time]
	metrics *prometheus.Registry
}

func open(t *testing.T, dir string, files Files) *house {
	t.Helper()
	h := &house{dir: dir, metrics: prometheus.NewRegistry()}
	now := time.Now()
	h.now.Store(&now)
	var err error
	h.Authority, err = Open(Options{
		Dir: dir, Config: DefaultConfig(), Files: files, Names: []string{"hub.example"}, Log: slog.New(slog.DiscardHandler),
		Clock: func() time.Time { return *h.now.Load() }, Metrics: h.metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) move(d time.Duration) {
	later := h.now.Load().Add(d)
	h.now.Store(&later)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func request(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "somebody-else"}, DNSNames: []string{"hub.example"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE REQUEST", der)
}

func parse(t testing.TB, text []byte) *x509.Certificate {
	t.Helper()
	all, err := certificatesOf("it", text)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func TestADeviceGetsACertificateOfItsOwnNameOnly(t *testing.T) {
	a := open(t, t.TempDir(), Files{})
	for name, key := range map[string]crypto.Signer{"P-256": newKey(t), "P-384": key384(t), "Ed25519": keyEd25519(t), "RSA": keyRSA(t, 2048)} {
		req, err := ParseRequest(request(t, key))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		issued, err := a.Issue(t.Context(), "t1", req, time.Time{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cert := parse(t, issued.PEM)
		if cert.Subject.String() != "CN=t1" || len(cert.DNSNames) > 0 || cert.IsCA {
			t.Errorf("%s: it says %s, %v", name, cert.Subject, cert.DNSNames)
		}
		if cert.SerialNumber.BitLen() > 128 || cert.SerialNumber.BitLen() < 64 {
			t.Errorf("%s: serial number %x", name, cert.SerialNumber)
		}
		if life := cert.NotAfter.Sub(cert.NotBefore); life != 30*24*time.Hour+deviceBackdate || cert.NotBefore.After(*a.now.Load()) {
			t.Errorf("%s: valid from %s for %s", name, cert.NotBefore, life)
		}
		_, clients := a.Doors()
		for use, ok := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: true, x509.ExtKeyUsageServerAuth: false} {
			_, err := cert.Verify(x509.VerifyOptions{Roots: clients, KeyUsages: []x509.ExtKeyUsage{use}})
			if (err == nil) != ok {
				t.Errorf("%s: use %v: %v", name, use, err)
			}
		}
	}
	if n := testutil.ToFloat64(a.Authority.metrics.issued); n != 4 {
		t.Errorf("%v certificates were counted", n)
	}
}

func key384(t *testing.T) crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyEd25519(t *testing.T) crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyRSA(t *testing.T, bits int) crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // to make the weak key
	key521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stolen := request(t, newKey(t))
	block, _ := pem.Decode(stolen)
	forged := slices.Clone(block.Bytes)
	forged[len(forged)-1] ^= 1 // of the signature
	for name, c := range map[string]struct {
		text []byte
		says string
	}{
		"nothing":               {nil, "openssl req -new"},
		"a certificate":         {encode("CERTIFICATE", block.Bytes), "BEGIN CERTIFICATE REQUEST"},
		"garbage":               {encode("CERTIFICATE REQUEST", []byte("garbage")), "cannot be used"},
		"P-521":                 {request(t, key521), "P-521"},
		"a short RSA key":       {request(t, keyRSA(t, 1024)), "1024 bits"},
		"somebody else's key":   {encode("CERTIFICATE REQUEST", forged), "not of its own key"},
		"more than is ever one": {append(slices.Clone(stolen), make([]byte, maxRequestBytes)...), "at most"},
	} {
		if _, err := ParseRequest(c.text); !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACertificateBeginsWhenItsCredentialsDo(t *testing.T) {
	a := open(t, t.TempDir(), Files{})
	req, err := ParseRequest(request(t, newKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	since := a.now.Load().Add(time.Second)
	issued, err := a.Issue(t.Context(), "t1", req, since)
	if err != nil || !issued.NotBefore.Equal(since.UTC().Truncate(time.Second)) {
		t.Errorf("since %s: %s, %v", since, issued.NotBefore, err)
	}
}

func TestKeysAreTheOwnersAndOutliveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "authority")
	a := open(t, dir, Files{})
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, rootKeyFile): 0o600, filepath.Join(dir, ownKeyFile): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	before := a.List()
	if after := open(t, dir, Files{}).List(); before[0].Fingerprint != after[0].Fingerprint || before[1].Fingerprint != after[1].Fingerprint {
		t.Errorf("before %v, after %v", before, after)
	}

	// What a crash between the two files of the root leaves needs no help.
	if err := os.Remove(filepath.Join(dir, rootFile)); err != nil {
		t.Fatal(err)
	}
	req, err := ParseRequest(request(t, newKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.Issue(t.Context(), "t1", req, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	_, clients := open(t, dir, Files{}).Doors()
	if _, err := parse(t, issued.PEM).Verify(x509.VerifyOptions{Roots: clients, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("a device's certificate after the root was made anew of its key: %v", err)
	}

	Verify(dir, func(damage string) { t.Error(damage) })

	// Without its key the root is of no use, and the way out is named.
	if err := os.Remove(filepath.Join(dir, rootKeyFile)); err != nil {
		t.Fatal(err)
	}
	_, err = Open(Options{Dir: dir, Config: DefaultConfig(), Log: slog.New(slog.DiscardHandler), Clock: time.Now, Metrics: prometheus.NewRegistry()})
	if err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Error(err)
	}
	told := 0
	Verify(dir, func(string) { told++ })
	Verify(t.TempDir(), func(damage string) { t.Error(damage) })
	if told != 1 {
		t.Errorf("hub verify tells of %d damages", told)
	}
}

// door is a TLS server that shows and takes what an authority has.
func (h *house) door(t *testing.T) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", h.Server())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if c.(*tls.Conn).Handshake() != nil {
					return
				}
				name := ""
				if chains := c.(*tls.Conn).ConnectionState().VerifiedChains; len(chains) > 0 {
					name = chains[0][0].Subject.CommonName
				}
				_, _ = io.WriteString(c, "hello "+name)
			}()
		}
	}()
	return l.Addr().String()
}

// visit connects to a door and returns the certificate it shows and what it says.
func visit(address string, roots []byte, own *tls.Certificate) (*x509.Certificate, string, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	cfg := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	if own != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	c, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		return nil, "", err
	}
	defer c.Close()
	said, err := io.ReadAll(c)
	return c.ConnectionState().PeerCertificates[0], string(said), err
}

// outsider is an authority of somebody else, in files.
type outsider struct {
	t    *testing.T
	root *root
	Files
}

func newOutsider(t *testing.T) *outsider {
	t.Helper()
	r, err := newRoot(newKey(t), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := &outsider{t, r, Files{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")}}
	o.put(o.ClientCA, encode("CERTIFICATE", r.cert.Raw))
	o.renew()
	return o
}

func (o *outsider) put(path string, text []byte) {
	o.t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// renew puts a new certificate with a new key into the files, and returns its
// serial number.
func (o *outsider) renew() *big.Int {
	o.t.Helper()
	key := newKey(o.t)
	cert, err := o.root.server([]string{"localhost"}, key.Public(), time.Now())
	if err != nil {
		o.t.Fatal(err)
	}
	text, err := encodeKey(key)
	if err != nil {
		o.t.Fatal(err)
	}
	o.put(o.Certificate, encode("CERTIFICATE", cert.Raw))
	o.put(o.Key, text)
	return cert.SerialNumber
}

func (o *outsider) device(id string) *tls.Certificate {
	o.t.Helper()
	key := newKey(o.t)
	cert, err := o.root.device(id, key.Public(), time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	if err != nil {
		o.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (h *house) device(t *testing.T, id string) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	req, err := ParseRequest(request(t, key))
	if err != nil {
		t.Fatal(err)
	}
	issued, err := h.Issue(t.Context(), id, req, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{parse(t, issued.PEM).Raw}, PrivateKey: key}
}

func TestFilesThatChangeAreTakenWhileTheDoorIsOpen(t *testing.T) {
	o := newOutsider(t)
	h := open(t, t.TempDir(), o.Files)
	at := h.door(t)
	roots := encode("CERTIFICATE", o.root.cert.Raw)
	first, _, err := visit(at, roots, nil)
	if err != nil {
		t.Fatal(err)
	}

	second := o.renew()
	h.reload()
	if got, _, err := visit(at, roots, nil); err != nil || got.SerialNumber.Cmp(second) != 0 || got.Equal(first) {
		t.Fatalf("after the renewal the door shows %s, %v", got.SerialNumber, err)
	}

	// Half a renewal, or none at all: what was before stays, told once.
	for name, spoil := range map[string]func(){
		"another's key": func() { text, _ := encodeKey(newKey(t)); o.put(o.Key, text) },
		"garbage":       func() { o.put(o.Certificate, []byte("garbage")) },
		"no file":       func() { _ = os.Remove(o.Certificate) },
		"no authority":  func() { o.renew(); o.put(o.ClientCA, nil) },
	} {
		before := testutil.ToFloat64(h.Authority.metrics.reloads.WithLabelValues(resultRefused))
		shown, _, err := visit(at, roots, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		spoil()
		h.reload()
		h.reload()
		if got, _, err := visit(at, roots, nil); err != nil || !got.Equal(shown) {
			t.Errorf("%s: the door shows another, %v", name, err)
		}
		if told := testutil.ToFloat64(h.Authority.metrics.reloads.WithLabelValues(resultRefused)) - before; told != 1 {
			t.Errorf("%s: told %v times", name, told)
		}
		o.put(o.ClientCA, roots)
		o.renew()
		h.reload()
	}
}

func TestBothAuthoritiesAreTakenAndOneThatIsDroppedIsNot(t *testing.T) {
	o := newOutsider(t)
	h := open(t, t.TempDir(), Files{ClientCA: o.ClientCA})
	at := h.door(t)
	inside, outside := h.device(t, "inside"), o.device("outside")
	for name, own := range map[string]*tls.Certificate{"inside": inside, "outside": outside, "": nil} {
		if _, said, err := visit(at, h.Root(), own); err != nil || said != "hello "+name {
			t.Errorf("%q: %q, %v", name, said, err)
		}
	}
	other := newOutsider(t)
	o.put(o.ClientCA, encode("CERTIFICATE", other.root.cert.Raw))
	h.reload()
	if _, said, err := visit(at, h.Root(), outside); err == nil {
		t.Errorf("an authority that was dropped lets in %q", said)
	}
	if _, said, err := visit(at, h.Root(), inside); err != nil || said != "hello inside" {
		t.Errorf("inside: %q, %v", said, err)
	}
}

// A root is replaced by putting a new one before the old: devices of both are
// let in until the old one is taken out.
func TestARootGivesWayToAnother(t *testing.T) {
	h := open(t, t.TempDir(), Files{})
	at := h.door(t)
	old := h.device(t, "old")
	before := h.Root()
	key := newKey(t)
	next, err := newRoot(key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := encodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{rootFile: append(encode("CERTIFICATE", next.cert.Raw), before...), rootKeyFile: text} {
		if err := os.WriteFile(filepath.Join(h.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.reload()
	for name, own := range map[string]*tls.Certificate{"old": old, "new": h.device(t, "new")} {
		if _, said, err := visit(at, encode("CERTIFICATE", next.cert.Raw), own); err != nil || said != "hello "+name {
			t.Errorf("%s: %q, %v", name, said, err)
		}
	}
}

func TestTheHubsOwnCertificateIsRenewedLongBeforeItsEnd(t *testing.T) {
	h := open(t, t.TempDir(), Files{})
	at := h.door(t)
	first, _, err := visit(at, h.Root(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(first.DNSNames, "hub.example") || !slices.ContainsFunc(first.IPAddresses, net.IPv6loopback.Equal) {
		t.Errorf("it is for %v and %v", first.DNSNames, first.IPAddresses)
	}
	h.move(59 * 24 * time.Hour)
	h.reload()
	if got, _, err := visit(at, h.Root(), nil); err != nil || !got.Equal(first) {
		t.Errorf("after 59 days: %v", err)
	}
	h.move(2 * 24 * time.Hour)
	h.reload()
	got := parse(t, encode("CERTIFICATE", h.current.Load().own.Certificate[0]))
	if got.Equal(first) || got.NotAfter.Sub(*h.now.Load()) < 89*24*time.Hour {
		t.Errorf("after 61 days it ends at %s", got.NotAfter)
	}
	want := float64(got.NotAfter.Unix())
	if n, err := testutil.GatherAndCount(h.metrics, "hub_authority_certificate_expiry_seconds"); err != nil || n != 2 {
		t.Errorf("%d certificates are measured, %v", n, err)
	}
	families, _ := h.metrics.Gather()
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "hub_authority_certificate_expiry_seconds" && m.GetLabel()[0].GetValue() == nameOwn && m.GetGauge().GetValue() != want {
				t.Errorf("measured %v, want %v", m.GetGauge().GetValue(), want)
			}
		}
	}
}

func TestNamesAndLifetimesThatCannotBeAreNamed(t *testing.T) {
	for _, c := range []Config{
		{Names: []string{"https://hub.example"}, DeviceLifetime: time.Hour},
		{Names: []string{"hub.example:8443"}, DeviceLifetime: time.Hour},
		{DeviceLifetime: time.Second},
		{DeviceLifetime: 100 * 365 * 24 * time.Hour},
	} {
		if errs := c.Check("authority"); len(errs) != 1 {
			t.Errorf("%+v: %v", c, errs)
		}
	}
	good := DefaultConfig()
	good.Names = []string{"hub.example", "hub", "*.example.com", "10.0.0.1", "fe80::1"}
	if errs := good.Check("authority"); len(errs) > 0 {
		t.Error(errs)
	}
}

// TestHandshakesTakeTurns lets as many begin at once as the pace allows, and
// sends away who would wait too long.
func TestHandshakesTakeTurns(t *testing.T) {
	a := open(t, t.TempDir(), Files{})
	a.pace = rate.NewLimiter(0.001, 3)
	for i := range 5 {
		near, far := net.Pipe()
		ended := make(chan error, 1)
		go func() {
			ended <- tls.Server(far, a.Server()).HandshakeContext(t.Context())
			far.Close()
		}()
		_ = tls.Client(near, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context()) //nolint:gosec // who it is does not matter
		near.Close()
		if err := <-ended; i >= 3 && (err == nil || !strings.Contains(err.Error(), "handshake refused")) || i < 3 && err != nil && strings.Contains(err.Error(), "refused") {
			t.Errorf("handshake %d: %v", i, err)
		}
	}
	if n := testutil.ToFloat64(a.Authority.metrics.refused); n != 2 {
		t.Errorf("%v are counted", n)
	}
}
