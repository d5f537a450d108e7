package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// How long certificates are valid; a device's is set by the config.
const (
	rootLifetime   = 10 * 365 * 24 * time.Hour
	serverLifetime = 90 * 24 * time.Hour
	// serverBackdate lets devices in whose clocks are slow.
	serverBackdate = time.Hour
	// deviceBackdate lets other hubs of the same root be slow, by a tenth of the
	// certificate's time at most.
	deviceBackdate = time.Minute
)

// ErrRequest is every fault of a certificate signing request.
var ErrRequest = errors.New("the certificate signing request cannot be used")

// Bounds of a request: keys that are larger only cost time.
const (
	maxRequestBytes = 16 << 10
	minRSABits      = 2048
	maxRSABits      = 4096
)

// Request is a public key whose owner has shown that it holds the private one.
type Request struct {
	public any
	// Key is the key as in a certificate (SubjectPublicKeyInfo, DER).
	Key []byte
}

// ParseRequest reads a PKCS#10 request in PEM (RFC 2986). Its subject and
// extensions are ignored: who the certificate is for is decided elsewhere. The
// error is an ErrRequest.
func ParseRequest(text []byte) (*Request, error) {
	if len(text) > maxRequestBytes {
		return nil, fmt.Errorf("%w: it has %d bytes; at most %d are read", ErrRequest, len(text), maxRequestBytes)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("%w: it is no PEM that begins with -----BEGIN CERTIFICATE REQUEST-----; `openssl req -new` makes one", ErrRequest)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrRequest, err)
	}
	if err := checkKey(csr.PublicKey); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: its signature is not of its own key (%v)", ErrRequest, err)
	}
	return &Request{public: csr.PublicKey, Key: csr.RawSubjectPublicKeyInfo}, nil
}

const keyAdvice = "make one of P-256, P-384, Ed25519, or RSA with 2048 to 4096 bits"

func checkKey(public any) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
		return fmt.Errorf("its key lies on the curve %s; %s", k.Curve.Params().Name, keyAdvice)
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("its RSA key has %d bits; %s", bits, keyAdvice)
		}
		return nil
	}
	return fmt.Errorf("its key is a %T; %s", public, keyAdvice)
}

// root is a certificate that signs others, with its key.
type root struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newRoot makes the certificate of a key that is its own authority.
func newRoot(key crypto.Signer, now time.Time) (*root, error) {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Songhua hub authority"},
		NotBefore: whole(now.Add(-serverBackdate)), NotAfter: whole(now.Add(rootLifetime)),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &root{cert, key}, nil
}

// device makes the certificate of a device, which ends with the root at last.
func (r *root) device(id string, public any, from, until time.Time) (*x509.Certificate, error) {
	return r.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: id}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, public)
}

// server makes the hub's own certificate for host names and addresses.
func (r *root) server(names []string, public any, now time.Time) (*x509.Certificate, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Songhua hub"}, NotBefore: whole(now.Add(-serverBackdate)), NotAfter: whole(now.Add(serverLifetime)),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return r.issue(template, public)
}

func (r *root) issue(template *x509.Certificate, public any) (*x509.Certificate, error) {
	template.SerialNumber, template.BasicConstraintsValid = serial(), true
	if template.NotAfter.After(r.cert.NotAfter) {
		template.NotAfter = r.cert.NotAfter
	}
	return sign(template, r.cert, public, r.key)
}

func sign(template, parent *x509.Certificate, public any, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

// serial is a random number of 128 bits: nobody can foresee it, and no counter
// is kept.
func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b) //nolint:errcheck // never fails (crypto/rand)
	return new(big.Int).SetBytes(b)
}

// whole is a time as certificates hold it: in whole seconds.
func whole(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return encode("PRIVATE KEY", der), err
}
