package edge

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// identity is the device's key with its certificate in files: the key is made
// here and never leaves.
type identity struct{ key, certificate, ca string }

// identityIn names the files of an identity in the agent's data directory.
func identityIn(data string) identity {
	dir := filepath.Join(data, "identity")
	return identity{filepath.Join(dir, "device.key"), filepath.Join(dir, "device.pem"), filepath.Join(dir, "hub-ca.pem")}
}

// request returns a certificate signing request of the key, which is made with
// mode 0600 when absent. The subject is empty: the hub decides it.
func (id identity) request() (string, error) {
	key, err := id.ensureKey()
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

func (id identity) ensureKey() (crypto.Signer, error) {
	text, err := os.ReadFile(id.key)
	if errors.Is(err, fs.ErrNotExist) {
		return id.newKey()
	}
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if key, err := parseKey(block.Bytes); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%s holds no PEM key that can sign; remove it, and enrol anew", id.key)
}

// parseKey reads the forms in which PEM files hold private keys.
func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	return signer, nil
}

func (id identity) newKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(id.key), 0o700); err != nil {
		return nil, err
	}
	return key, replaceFile(id.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// replaceFile writes a file of mode 0600 that is there as a whole or not at
// all, also after a power cut.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // CreateTemp gives mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// credentials is what a hub answers to an enrolment or a renewal.
type credentials struct {
	Device      string            `json:"device"`
	Certificate string            `json:"certificate"`
	NotAfter    time.Time         `json:"not_after"`
	CA          string            `json:"ca"`
	Doors       map[string]string `json:"doors"`
}

// put writes what the hub gave, after it was found to be of this key. The
// authority goes first, so that a certificate is never there without it.
func (id identity) put(c credentials) error {
	key, err := os.ReadFile(id.key)
	if err != nil {
		return err
	}
	if _, err := tls.X509KeyPair([]byte(c.Certificate), key); err != nil {
		return fmt.Errorf("the hub answered with a certificate of another key: %w", err)
	}
	if c.CA != "" && id.ca != "" {
		if err := replaceFile(id.ca, []byte(c.CA)); err != nil {
			return err
		}
	}
	return replaceFile(id.certificate, []byte(c.Certificate))
}

// hubTimeout bounds one question to the hub; maxAnswer its answer.
const (
	hubTimeout = 30 * time.Second
	maxAnswer  = 1 << 20
)

// ask posts a question to the hub's API and reads the answer into credentials.
func ask(ctx context.Context, base, path string, trust *tls.Config, secret string, question any) (c credentials, err error) {
	ctx, cancel := context.WithTimeout(ctx, hubTimeout)
	defer cancel()
	body, err := json.Marshal(question)
	if err != nil {
		return c, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(base, "/")+path, bytes.NewReader(body))
	if err != nil {
		return c, err
	}
	req.Header.Set("Content-Type", "application/json")
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	// A connection of its own: it shows the certificate of this moment.
	client := http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c, err
	}
	if resp.StatusCode/100 != 2 {
		return c, refusalOf(resp, text)
	}
	if err := json.Unmarshal(text, &c); err != nil || c.Certificate == "" {
		return c, fmt.Errorf("what answers at %s is no hub, or one that issues no certificates", base)
	}
	return c, nil
}

// refusalOf says what the hub said (RFC 9457).
func refusalOf(resp *http.Response, text []byte) error {
	var problem struct {
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	if json.Unmarshal(text, &problem) != nil || problem.Detail == "" {
		return fmt.Errorf("the hub answered %s: %.200s", resp.Status, text)
	}
	for _, e := range problem.Errors {
		if !strings.Contains(problem.Detail, e.Message) {
			problem.Detail += "; " + strings.TrimPrefix(e.Location, "body.") + ": " + e.Message
		}
	}
	return fmt.Errorf("the hub answered %d: %s", resp.StatusCode, problem.Detail)
}

// checkHub reports why an address is none of a hub's API: without TLS what is
// shown to it could be read on the way.
func checkHub(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%q is no address of a hub; write it like https://hub.example:8443", address)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return fmt.Errorf("%q would send what the agent shows in clear text; write https://%s:8443, or the hub's listen.https", address, u.Hostname())
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
