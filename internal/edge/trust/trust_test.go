package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair writes a certificate that signed itself, and its key.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rsu-7"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER)
}

func TestTrustAndCertificateAreLoaded(t *testing.T) {
	cert, key := pair(t)
	cfg, err := TLS{CA: cert, Certificate: cert, Key: key, ServerName: "hub.example"}.Load()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.RootCAs == nil || len(cfg.Certificates) != 1 || cfg.ServerName != "hub.example" || cfg.MinVersion < tls.VersionTLS12 {
		t.Errorf("%+v", cfg)
	}
	if cfg, err := (TLS{}).Load(); err != nil || cfg.RootCAs != nil || len(cfg.Certificates) > 0 {
		t.Errorf("without files those of the system are trusted: %+v, %v", cfg, err)
	}
}

func TestFilesThatCannotBeLoadedAreNamed(t *testing.T) {
	cert, key := pair(t)
	for want, in := range map[string]TLS{
		"tls.ca: open /absent":                      {CA: "/absent"},
		"tls.ca: " + key + " holds no PEM":          {CA: key},
		"tls.certificate: open /absent":             {Certificate: "/absent", Key: key},
		"tls.certificate: tls: found a certificate": {Certificate: cert, Key: cert},
	} {
		if _, err := in.Load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", in, err, want)
		}
	}
}
