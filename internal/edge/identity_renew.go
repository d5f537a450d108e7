package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/songhua-io/hub/internal/edge/uplink"
)

// renewer renews the certificate of the uplink when two thirds of its time have
// passed. The next connection uses the new one; the old one stays valid until
// its end, so nothing needs to be restarted.
type renewer struct {
	hub    string   // empty: nothing is renewed
	files  identity // ca is empty unless it is the agent's own to write
	trust  func() (*tls.Config, error)
	secret uplink.Secret // may stand for a certificate that has ended
	log    *slog.Logger
	now    func() time.Time
}

func newRenewer(cfg Config, log *slog.Logger, now func() time.Time) (*renewer, error) {
	id, err := cfg.identity()
	if err != nil {
		return nil, err
	}
	r := &renewer{
		hub: cfg.Uplink.Renew, files: identity{key: id.TLS.Key, certificate: id.TLS.Certificate}, trust: id.TLS.Load,
		secret: id.Secret, log: log, now: now,
	}
	if own := identityIn(cfg.Data).ca; id.TLS.CA == own {
		r.files.ca = own
	}
	return r, nil
}

// Bounds of the pause before a renewal that failed is tried again.
const (
	minRenewPause = time.Second
	maxRenewPause = time.Hour
	// maxRest is how long the clock is not looked at: a machine may sleep, and
	// its clock be set.
	maxRest = time.Hour
)

// run works until the context ends. A renewal that fails is tried again, more
// often as the end comes near.
func (r *renewer) run(ctx context.Context) error {
	for r.hub != "" {
		wait, err := r.due()
		if err == nil && wait == 0 {
			err = r.renew(ctx)
			if err == nil {
				continue
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			wait = r.pause()
			r.log.Error("certificate_not_renewed", "hub", r.hub, "error", err, "retry_in", wait.Round(time.Second))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(wait, maxRest)):
		}
	}
	return nil
}

// certificate reads the one that is in use.
func (r *renewer) certificate() (*x509.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(r.files.certificate, r.files.key)
	if err != nil {
		return nil, fmt.Errorf("uplink.tls.certificate: %w", err)
	}
	return pair.Leaf, nil
}

// due returns how long the certificate need not be renewed: until between six
// and seven tenths of its time have passed, so that a fleet that enrolled
// together does not renew together.
func (r *renewer) due() (time.Duration, error) {
	c, err := r.certificate()
	if err != nil {
		return 0, err
	}
	// The same for one certificate, however often it is asked.
	jitter := rand.New(rand.NewPCG(c.SerialNumber.Uint64(), 0)).Float64()
	life := c.NotAfter.Sub(c.NotBefore)
	at := c.NotBefore.Add(time.Duration(float64(life) * (2.0/3 - jitter/15)))
	return max(0, at.Sub(r.now())), nil
}

// pause is a tenth of what is left of the certificate.
func (r *renewer) pause() time.Duration {
	left := maxRenewPause
	if c, err := r.certificate(); err == nil {
		left = c.NotAfter.Sub(r.now()) / 10
	}
	if left < 0 { // it ended: the hub may be told a new secret, or the clock be set
		left = time.Minute
	}
	return min(max(left, minRenewPause), maxRenewPause)
}

func (r *renewer) renew(ctx context.Context) error {
	trust, err := r.trust()
	if err != nil {
		return err
	}
	secret, err := r.secret.Read()
	if err != nil {
		return err
	}
	csr, err := r.files.request()
	if err != nil {
		return err
	}
	got, err := ask(ctx, r.hub, "/api/v1/renew", trust, secret, map[string]string{"csr": csr})
	if err != nil {
		return err
	}
	if err := r.files.put(got); err != nil {
		return err
	}
	r.log.Info("certificate_renewed", "hub", r.hub, "not_after", got.NotAfter)
	return nil
}

// checkRenew reports what is wrong with the address of renewals.
func (c UplinkConfig) checkRenew() error {
	if c.Renew == "" {
		return nil
	}
	if c.TLS.Certificate == "" {
		return fmt.Errorf("%q stands without tls.certificate: there is nothing to renew", c.Renew)
	}
	if u, err := url.Parse(c.Renew); err == nil && u.Scheme == "http" && c.Secret == "" && c.SecretFile == "" {
		return fmt.Errorf("%q carries no certificate, and there is no secret to show instead; write the https address", c.Renew)
	}
	return checkHub(c.Renew)
}
