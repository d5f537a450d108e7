package hubtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates names PEM files of a test's own authority: its certificate, one
// with key for a hub on loopback, and one with key for a device.
type Certificates struct{ CA, Cert, Key, DeviceCert, DeviceKey string }

// NewCertificates makes them, valid for two days: the longest test takes one.
func NewCertificates(t testing.TB, device string) Certificates {
	t.Helper()
	a := authority{t: t, dir: t.TempDir()}
	a.key, a.cert = a.newKey(), a.template("test authority", 1)
	a.cert.IsCA, a.cert.BasicConstraintsValid, a.cert.KeyUsage = true, true, x509.KeyUsageCertSign
	c := Certificates{CA: a.write("ca.pem", "CERTIFICATE", a.sign(a.cert, a.key))}
	server := a.template("hub", 2)
	server.IPAddresses, server.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	c.Cert, c.Key = a.issue(server)
	client := a.template(device, 3)
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	c.DeviceCert, c.DeviceKey = a.issue(client)
	return c
}

// Config writes a config file of a hub with its certificate and returns its path.
func (c Certificates) Config(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hub.yaml")
	text := fmt.Sprintf("tls:\n  certificate: %s\n  key: %s\n  client_ca: %s\n", c.Cert, c.Key, c.CA)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

type authority struct {
	t    testing.TB
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func (a *authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	return key
}

func (a *authority) template(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
}

func (a *authority) sign(c *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	a.must(err)
	return der
}

// issue writes the certificate and its key beside each other.
func (a *authority) issue(c *x509.Certificate) (cert, keyFile string) {
	key := a.newKey()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	a.must(err)
	name := c.Subject.CommonName
	return a.write(name+".pem", "CERTIFICATE", a.sign(c, key)), a.write(name+".key", "PRIVATE KEY", der)
}

func (a *authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	a.must(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}
