package registry

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Peer is a device that has proven who it is. Done closes when it was
// disabled, removed or its secret rotated.
type Peer struct {
	Device  *telemetry.Device
	Gateway bool
	Done    <-chan struct{}
}

// Authenticate returns the peer of an id and secret, or ErrUnauthorized. It
// takes microseconds, and the same work for an unknown id, a wrong and a right
// secret: the secret's mark is compared with the stored one. Only a credential
// sealed under a key file that was lost since is checked by its verifier, and
// sealed anew when right.
func (r *Registry) Authenticate(ctx context.Context, id string, secret []byte) (*Peer, error) {
	var stored credential
	r.mu.RLock()
	e := r.devices[id]
	if e != nil {
		stored = *e.cred
	}
	r.mu.RUnlock()

	m := r.sealer.markOf(secret)
	right := subtle.ConstantTimeCompare(m[:], stored.mark[:]) == 1
	switch {
	case e == nil:
		return nil, fmt.Errorf("%w: device %q %w", ErrUnauthorized, id, ErrUnknown)
	case stored.key != r.sealer.id:
		return r.authenticateAnew(ctx, id, secret)
	case !right:
		return nil, fmt.Errorf("%w: wrong secret of device %q", ErrUnauthorized, id)
	}
	return r.admit(id, m)
}

// admit makes the peer unless the device was disabled or its secret changed
// while it was checked.
func (r *Registry) admit(id string, m mark) (*Peer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.devices[id]
	if e == nil || subtle.ConstantTimeCompare(e.cred.mark[:], m[:]) != 1 {
		return nil, fmt.Errorf("%w: secret of device %q was changed", ErrUnauthorized, id)
	}
	return r.peer(e)
}

func (r *Registry) peer(e *entry) (*Peer, error) {
	if e.device.Disabled {
		return nil, fmt.Errorf("%w: device %q is disabled", ErrUnauthorized, e.device.ID)
	}
	if e.done == nil {
		e.done = make(chan struct{})
	}
	return &Peer{Device: e.device.Device, Gateway: e.device.Kind == telemetry.KindGateway, Done: e.done}, nil
}

// authenticateAnew checks a secret by its verifier and seals it under the
// present key.
func (r *Registry) authenticateAnew(ctx context.Context, id string, secret []byte) (*Peer, error) {
	verifier := ""
	err := r.db.Each(ctx, func(rows *sql.Rows) error { return rows.Scan(&verifier) },
		"SELECT verifier FROM credentials WHERE device = ?", id)
	if err != nil {
		return nil, err
	}
	right, err := r.verify(ctx, verifier, secret)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", id, err)
	}
	if !right {
		return nil, fmt.Errorf("%w: wrong secret of device %q", ErrUnauthorized, id)
	}
	c := &credential{verifier: verifier, key: r.sealer.id, mark: r.sealer.markOf(secret), sealed: r.sealer.Seal(secret, id)}
	if err := r.reseal(ctx, id, c); err != nil {
		return nil, err
	}
	return r.admit(id, c.mark)
}

func (r *Registry) reseal(ctx context.Context, id string, c *credential) error {
	r.change.Lock()
	defer r.change.Unlock()
	changed := int64(0)
	err := r.db.Tx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE credentials SET key_id = ?, mac = ?, sealed = ? WHERE device = ? AND verifier = ?",
			c.key[:], c.mark[:], c.sealed, id, c.verifier)
		if err != nil {
			return err
		}
		changed, err = res.RowsAffected()
		return err
	})
	if err != nil || changed == 0 {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.devices[id]; e != nil && e.cred.key != c.key {
		c.since = e.cred.since
		e.cred = c.held()
		r.index(e)
	}
	return nil
}

// held is the credential without what need not stay in memory.
func (c *credential) held() *credential {
	return &credential{key: c.key, mark: c.mark, sealed: c.sealed, since: c.since}
}

// AuthenticateBearer returns the peer of a secret that stands alone, as in an
// HTTP bearer token. Where several devices share a secret that people gave
// them, about names the one that is meant (from the request's path); otherwise
// about may be empty.
func (r *Registry) AuthenticateBearer(ctx context.Context, secret []byte, about string) (*Peer, error) {
	m := r.sealer.markOf(secret)
	r.mu.RLock()
	ids := r.byMark[m]
	r.mu.RUnlock()
	switch {
	case len(ids) == 1:
		return r.admit(ids[0], m)
	case about == "" && len(ids) > 1:
		return nil, fmt.Errorf("%w: %d devices have this secret; name the device in the path, or rotate the secrets", ErrUnauthorized, len(ids))
	case about == "":
		return nil, fmt.Errorf("%w: no device has this secret", ErrUnauthorized)
	}
	p, err := r.Authenticate(ctx, about, secret)
	if err == nil || len(ids) == 0 {
		return p, err
	}
	return r.admitGateway(ids, m, about)
}

// admitGateway finds, among devices with one secret, the gateway of a device.
func (r *Registry) admitGateway(ids []string, m mark, about string) (*Peer, error) {
	for _, id := range ids {
		if p, err := r.admit(id, m); err == nil && r.MaySpeak(p, about) {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w: no device with this secret may speak for %q", ErrUnauthorized, about)
}

// AuthenticateCertificate returns the peer that the common name of a verified
// client certificate names, unless the device's credentials changed since it
// was issued. One of the hub's own is refused too when the device was removed
// and registered anew since; an outside authority may have issued its own long
// before the device was registered.
func (r *Registry) AuthenticateCertificate(c *x509.Certificate, own bool) (*Peer, error) {
	return r.proven(c.Subject.CommonName, func(e *entry) error {
		if now := r.now(); now.After(c.NotAfter) { // a connection may outlive it
			return fmt.Errorf("%w: the certificate of device %q ended at %s", ErrUnauthorized, e.device.ID, c.NotAfter.Format(time.RFC3339))
		}
		outside := !own && !e.cred.since.After(e.device.Created)
		if since := e.cred.from(); !outside && c.NotBefore.Before(since) {
			return fmt.Errorf("%w: the certificate of device %q begins at %s, and its credentials changed at %s", ErrUnauthorized, e.device.ID, c.NotBefore.Format(time.RFC3339), since.Format(time.RFC3339))
		}
		e.ends = later(e.ends, c.NotAfter)
		return nil
	})
}

// from is the earliest beginning of a certificate that is taken, in whole
// seconds as certificates have it.
func (c *credential) from() time.Time { return c.since.Truncate(time.Second) }

// following is when a credential begins that takes the place of c: now, but a
// second after c at least, so that no certificate of one is taken for one of
// the other.
func (c *credential) following(now time.Time) time.Time {
	if next := c.from().Add(time.Second); now.Before(next) {
		return next
	}
	return now
}

// CertificatesFrom returns the moment before which no certificate of the device
// may begin.
func (r *Registry) CertificatesFrom(id string) (time.Time, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.devices[id]; e != nil {
		return e.cred.from(), nil
	}
	return time.Time{}, unknown(id)
}

// AuthenticateProven returns the peer whose identity the transport has proven
// with the key that PSK gave.
func (r *Registry) AuthenticateProven(id string) (*Peer, error) {
	return r.proven(id, func(*entry) error { return nil })
}

func (r *Registry) proven(id string, check func(*entry) error) (*Peer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.devices[id]
	if e == nil {
		return nil, fmt.Errorf("%w: device %q %w", ErrUnauthorized, id, ErrUnknown)
	}
	if err := check(e); err != nil {
		return nil, err
	}
	return r.peer(e)
}

// PSK returns the secret of a device as the pre-shared key of DTLS.
func (r *Registry) PSK(id string) ([]byte, error) {
	r.mu.RLock()
	e := r.devices[id]
	var c *credential
	if e != nil && !e.device.Disabled {
		c = e.cred
	}
	r.mu.RUnlock()
	switch {
	case e == nil:
		return nil, fmt.Errorf("%w: device %q %w", ErrUnauthorized, id, ErrUnknown)
	case c == nil:
		return nil, fmt.Errorf("%w: device %q is disabled", ErrUnauthorized, id)
	case c.key != r.sealer.id:
		return nil, fmt.Errorf("%w: the secret of device %q was sealed with a key file that is gone; `hub device rotate %s`", ErrUnauthorized, id, id)
	}
	secret, err := r.sealer.Open(c.sealed, id)
	if err != nil {
		return nil, errors.Join(ErrUnauthorized, fmt.Errorf("sealed secret of device %q is damaged: %w; `hub device rotate %s`", id, err, id))
	}
	return secret, nil
}

// MaySpeak reports whether a peer may send telemetry of a device: of itself,
// and of the devices that name it as their gateway.
func (r *Registry) MaySpeak(p *Peer, device string) bool {
	if p.Device.ID == device {
		return true
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.devices[device]
	return e != nil && e.device.Gateway == p.Device.ID
}
