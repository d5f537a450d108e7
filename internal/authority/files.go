package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/access"
)

// Names of the files in the authority's directory.
const (
	rootFile    = "root.pem" // the first certificate signs; the others are trusted still
	rootKeyFile = "root.key"
	ownFile     = "hub.pem"
	ownKeyFile  = "hub.key"
)

// ensureRoot makes the root when there is none. A key without its certificate
// is what a crash left, or what was restored: what it has signed stays valid.
func ensureRoot(dir string, now time.Time) error {
	path := filepath.Join(dir, rootFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ensureKey(filepath.Join(dir, rootKeyFile))
	if err != nil {
		return err
	}
	r, err := newRoot(key, now)
	if err != nil {
		return err
	}
	return access.WriteSecret(path, encode("CERTIFICATE", r.cert.Raw))
}

// ensureKey reads a private key, or makes one of P-256 with mode 0600.
func ensureKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		return parseKey(path, text)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if text, err = encodeKey(key); err != nil {
		return nil, err
	}
	return key, access.WriteSecret(path, text)
}

func parseKey(path string, text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM key; restore it from a backup", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T, which cannot sign", path, key)
	}
	return signer, nil
}

// ensureOwn makes the hub's own certificate when there is none that is of this
// root, has these names and is valid for more than a third of its time.
func ensureOwn(dir string, r *root, names []string, now time.Time) error {
	path := filepath.Join(dir, ownFile)
	pair, err := tls.LoadX509KeyPair(path, filepath.Join(dir, ownKeyFile))
	if err == nil && fits(pair.Leaf, r, names, now) {
		return nil
	}
	key, err := ensureKey(filepath.Join(dir, ownKeyFile))
	if err != nil {
		return err
	}
	cert, err := r.server(names, key.Public(), now)
	if err != nil {
		return err
	}
	// The root follows, so that who knows only its fingerprint can check it.
	return access.WriteSecret(path, append(encode("CERTIFICATE", cert.Raw), encode("CERTIFICATE", r.cert.Raw)...))
}

func fits(cert *x509.Certificate, r *root, names []string, now time.Time) bool {
	if cert.CheckSignatureFrom(r.cert) != nil || now.After(renewal(cert)) && cert.NotAfter.Before(r.cert.NotAfter) {
		return false
	}
	have := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		have = append(have, ip.String())
	}
	for _, name := range names {
		if !slices.Contains(have, name) {
			return false
		}
	}
	return true
}

// renewal is when two thirds of a certificate's time have passed.
func renewal(cert *x509.Certificate) time.Time {
	return cert.NotAfter.Add(-cert.NotAfter.Sub(cert.NotBefore) / 3)
}

// readAll reads the files that exist of a list; an empty name is none.
func readAll(paths ...string) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, path := range paths {
		if path == "" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		all[path] = text
	}
	return all, nil
}

// certificatesOf reads every certificate of a PEM file.
func certificatesOf(path string, text []byte) (all []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return all, nil
}

// Verify reports what is damaged in an authority's directory, and changes
// nothing. A hub that has not run since there are authorities has none.
func Verify(dir string, found func(string)) {
	if _, err := os.Stat(filepath.Join(dir, rootFile)); errors.Is(err, fs.ErrNotExist) {
		return
	}
	h := &holding{clients: x509.NewCertPool()}
	if err := h.loadRoot(dir); err != nil {
		found(err.Error())
	}
}
