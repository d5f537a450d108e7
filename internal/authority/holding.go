package authority

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"
)

// holding is what the files held when they were last read and found good. It is
// immutable.
type holding struct {
	raw     map[string][]byte // by path
	root    *root
	roots   []*x509.Certificate // the root's and those before it
	own     tls.Certificate
	clients *x509.CertPool
	server  *tls.Config
	// outside means that the hub's certificate is of an outside authority.
	outside bool
	listed  []Certificate
}

// Certificate describes one that the hub holds.
type Certificate struct {
	// Name is root, root before, hub, tls.certificate or tls.client_ca.
	Name                string
	Subject             string
	Names               []string // host names and addresses
	NotBefore, NotAfter time.Time
	Fingerprint         string // SHA-256, hexadecimal
}

func describe(name string, c *x509.Certificate) Certificate {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	sum := sha256.Sum256(c.Raw)
	return Certificate{name, c.Subject.String(), names, c.NotBefore, c.NotAfter, hex.EncodeToString(sum[:])}
}

// The names of certificates, as metrics and people see them.
const (
	nameRoot    = "root"
	nameBefore  = "root before"
	nameOwn     = "hub"
	nameOutside = "tls.certificate"
	nameClients = "tls.client_ca"
)

// load reads every file; what it returns is good as a whole.
func load(dir string, files Files, names []string, now time.Time) (*holding, error) {
	h := &holding{outside: files.Certificate != "", clients: x509.NewCertPool()}
	if err := h.loadRoot(dir); err != nil {
		return nil, err
	}
	certificate, key := files.Certificate, files.Key
	if !h.outside {
		certificate, key = filepath.Join(dir, ownFile), filepath.Join(dir, ownKeyFile)
		if err := ensureOwn(dir, h.root, names, now); err != nil {
			return nil, fmt.Errorf("the hub's own certificate: %w", err)
		}
	}
	more, err := readAll(certificate, key, files.ClientCA)
	if err != nil {
		return nil, err
	}
	maps.Copy(h.raw, more)
	if h.own, err = tls.X509KeyPair(more[certificate], more[key]); err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certificate, key, err)
	}
	name := nameOwn
	if h.outside {
		name = nameOutside
	}
	h.list(name, h.own.Leaf)
	if files.ClientCA != "" {
		outside, err := certificatesOf(files.ClientCA, more[files.ClientCA])
		if err != nil {
			return nil, err
		}
		h.trust(nameClients, outside)
	}
	h.server = &tls.Config{
		MinVersion: tls.VersionTLS12, CipherSuites: suites(),
		Certificates: []tls.Certificate{h.own}, ClientCAs: h.clients, ClientAuth: tls.VerifyClientCertIfGiven,
	}
	return h, nil
}

func (h *holding) loadRoot(dir string) (err error) {
	path, keyPath := filepath.Join(dir, rootFile), filepath.Join(dir, rootKeyFile)
	if h.raw, err = readAll(path, keyPath); err != nil {
		return fmt.Errorf("%w; restore it from a backup, or remove %s: a new root is made, and every device enrols again", err, dir)
	}
	if h.roots, err = certificatesOf(path, h.raw[path]); err != nil {
		return err
	}
	key, err := parseKey(keyPath, h.raw[keyPath])
	if err != nil {
		return err
	}
	h.root = &root{h.roots[0], key}
	if public, ok := key.Public().(interface{ Equal(x any) bool }); ok && !public.Equal(h.root.cert.PublicKey) {
		return fmt.Errorf("%s is not the key of the first certificate in %s; restore both from one backup", keyPath, path)
	}
	h.trust(nameRoot, h.roots[:1])
	h.trust(nameBefore, h.roots[1:])
	return nil
}

// trust takes client certificates of authorities. They are listed by the one
// that ends first.
func (h *holding) trust(name string, all []*x509.Certificate) {
	if len(all) == 0 {
		return
	}
	for _, c := range all {
		h.clients.AddCert(c)
	}
	h.list(name, slices.MinFunc(all, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }))
}

func (h *holding) list(name string, c *x509.Certificate) {
	h.listed = append(h.listed, describe(name, c))
}

// same reports whether the files hold what they held.
func (h *holding) same() bool {
	now, err := readAll(slices.Collect(maps.Keys(h.raw))...)
	return err == nil && maps.EqualFunc(now, h.raw, bytes.Equal)
}

// suites are those of TLS 1.2 that are taken: with forward secrecy and
// authenticated encryption (RFC 9325 section 4.2). Those of 1.3 all have both.
func suites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}
