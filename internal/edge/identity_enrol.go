package edge

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Enrolment is what an agent enrols with. Hub, Token, Device and Config must be
// set.
type Enrolment struct {
	Hub    string // URL of the hub's API
	Token  string // of `hub enrol add`
	Device string
	// Kind, Site and Region say what the device is where the token does not.
	Kind, Site, Region string
	Tags               map[string]string
	// CA is a PEM file of the authorities that may sign the hub's certificate;
	// empty means the root that the token names, or those of the system.
	CA string
	// Config is where a config is written, unless there is one.
	Config string
	// Data is the agent's data directory; empty means that of the config, or the
	// usual one.
	Data string
}

// Enrolled says what became of an enrolment.
type Enrolled struct {
	Device, Data string
	// Written is false when there was a config already; Uplink are the settings
	// that it needs.
	Written bool
	Uplink  UplinkConfig
}

// Enrol makes a key, gets a certificate for it and writes both, and a config
// that works with them. When it fails it may be called again with the same
// token: the hub knows the key.
func Enrol(ctx context.Context, e Enrolment) (Enrolled, error) {
	if err := checkHub(e.Hub); err != nil {
		return Enrolled{}, err
	}
	if err := telemetry.CheckDeviceID(e.Device); err != nil {
		return Enrolled{}, fmt.Errorf("%w; name another with --device", err)
	}
	cfg, written, err := e.config()
	if err != nil {
		return Enrolled{}, err
	}
	id := identityIn(cfg.Data)
	csr, err := id.request()
	if err != nil {
		return Enrolled{}, fmt.Errorf("make a key in %s: %w", cfg.Data, err)
	}
	trust, err := e.trust()
	if err != nil {
		return Enrolled{}, err
	}
	got, err := ask(ctx, e.Hub, "/api/v1/enroll", trust, "", map[string]any{
		"token": e.Token, "device": e.Device, "csr": csr, "kind": e.Kind, "site": e.Site, "region": e.Region, "tags": e.Tags,
	})
	if err != nil {
		return Enrolled{}, e.mistrusted(err)
	}
	if err := id.put(got); err != nil {
		return Enrolled{}, err
	}
	if got.CA == "" {
		id.ca = e.CA // the hub is known by an outside authority
	}
	if cfg.Uplink, err = got.uplink(cfg.Uplink, e.Hub, id); err != nil {
		return Enrolled{}, err
	}
	out := Enrolled{Device: got.Device, Data: cfg.Data, Uplink: cfg.Uplink}
	if written {
		return out, nil
	}
	out.Written = true
	cfg.Device = got.Device
	return out, replaceFile(e.Config, strict.Annotate(&cfg, configDocs()))
}

// config returns the config that there is, or the one to be written.
func (e Enrolment) config() (cfg Config, written bool, err error) {
	text, err := os.ReadFile(e.Config)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		cfg = DefaultConfig()
		if e.Data != "" {
			if cfg.Data, err = filepath.Abs(e.Data); err != nil {
				return cfg, false, err
			}
		}
		return cfg, false, os.MkdirAll(filepath.Dir(e.Config), 0o755)
	case err != nil:
		return cfg, false, err
	}
	cfg = DefaultConfig()
	// What is wrong with the rest of it is for `edge-agent check` to say.
	_ = strict.Decode(text, &cfg)
	if e.Data != "" && e.Data != cfg.Data {
		return cfg, true, fmt.Errorf("%s names the data directory %s, not %s; leave --data out", e.Config, cfg.Data, e.Data)
	}
	if cfg.Device != "" && cfg.Device != e.Device {
		return cfg, true, fmt.Errorf("%s is of the device %s, not %s; name another file with --config", e.Config, cfg.Device, e.Device)
	}
	return cfg, true, nil
}

// uplink points the uplink to the hub: over MQTT with TLS where the hub has it,
// else over DTLS.
func (c credentials) uplink(u UplinkConfig, hub string, id identity) (UplinkConfig, error) {
	u.URL = c.Doors["mqtts"]
	if u.URL == "" {
		u.URL = c.Doors["coaps"]
	}
	if u.URL == "" {
		return u, errors.New("the hub has no encrypted door for telemetry: neither listen.mqtts nor listen.coaps is open")
	}
	u.Secret, u.SecretFile = "", ""
	u.TLS.CA, u.TLS.Certificate, u.TLS.Key = id.ca, id.certificate, id.key
	if u.Renew = c.Doors["https"]; strings.HasPrefix(hub, "https://") {
		u.Renew = hub
	}
	return u, nil
}

// trust is whom the agent takes for the hub before it has the hub's authority:
// by a file, by the root's fingerprint in the token, or as the system does.
func (e Enrolment) trust() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	_, fingerprint, _ := strings.Cut(e.Token, ".")
	if e.CA != "" {
		text, err := os.ReadFile(e.CA)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no PEM certificate", e.CA)
		}
		return cfg, nil
	}
	if fingerprint == "" {
		return cfg, nil
	}
	cfg.InsecureSkipVerify = true // VerifyConnection does it, with the root that the hub shows
	cfg.VerifyConnection = func(s tls.ConnectionState) error { return verifyBy(fingerprint, s) }
	return cfg, nil
}

// mistrusted says what to do where nothing told by what root the hub is known.
func (e Enrolment) mistrusted(err error) error {
	if e.CA != "" || strings.Contains(e.Token, ".") || !errors.As(err, new(*tls.CertificateVerificationError)) {
		return err
	}
	return fmt.Errorf("the token does not say by what root the hub is known: give all of it, with what follows its dot, or the authority's file with --ca (%w)", err)
}

// verifyBy checks a server by the root of this fingerprint when it shows that
// one, else by the authorities of the system.
func verifyBy(fingerprint string, s tls.ConnectionState) error {
	options := x509.VerifyOptions{DNSName: s.ServerName, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		if sum := sha256.Sum256(c.Raw); hex.EncodeToString(sum[:]) == fingerprint {
			options.Roots = x509.NewCertPool()
			options.Roots.AddCert(c)
		}
		options.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(options)
	if err != nil && options.Roots == nil {
		return fmt.Errorf("it is not the hub that the token is of (root %.16s…), nor one that this system trusts; give the authority's file with --ca (%w)", fingerprint, err)
	}
	return err
}
