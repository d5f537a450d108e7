package registry

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"time"

	"github.com/songhua-io/hub/internal/records"
)

// Rotate gives a device a new generated secret and ends its live sessions; the
// old secret, and certificates from before, stop to work at once.
func (r *Registry) Rotate(ctx context.Context, id string, version int64) (Created, error) {
	return r.newCredential(ctx, id, version, true, func(d *Device) error {
		d.Awaited = false
		return nil
	})
}

// Replace is Rotate for new hardware in the place of old: the device stays what
// it was, with these tags besides, and so do its series, states and history. An
// awaited one gets its credentials when it enrols; nobody has the secret then.
func (r *Registry) Replace(ctx context.Context, id string, version int64, tags map[string]string, awaited bool) (Created, error) {
	return r.newCredential(ctx, id, version, true, func(d *Device) error {
		s := d.Spec()
		s.Tags = maps.Clone(s.Tags)
		if s.Tags == nil {
			s.Tags = map[string]string{}
		}
		maps.Copy(s.Tags, tags)
		if _, err := s.parse(); err != nil {
			return err
		}
		t := *d.Device
		t.Tags = s.Tags
		d.Device, d.Awaited = &t, awaited
		return nil
	})
}

// Bind gives an awaited device its credentials; ErrExists when it has some. Its
// certificates begin where they would have before.
func (r *Registry) Bind(ctx context.Context, id string) (Created, error) {
	return r.newCredential(ctx, id, 0, false, func(d *Device) error {
		if !d.Awaited {
			return fmt.Errorf("device %q %w and has its credentials; `hub device replace %s` lets other hardware take its place", id, ErrExists, id)
		}
		d.Awaited = false
		return nil
	})
}

// newCredential makes a device's secret anew and changes a copy of the device
// by next. Revoking ends what lived on the old credential.
func (r *Registry) newCredential(ctx context.Context, id string, version int64, revoke bool, next func(*Device) error) (Created, error) {
	secret := newSecret()
	c, err := r.credentialOf(ctx, id, secret, true)
	if err != nil {
		return Created{}, err
	}
	r.change.Lock()
	defer r.change.Unlock()
	old, err := r.at(id, version)
	if err != nil {
		return Created{}, err
	}
	d := *old
	if err := next(&d); err != nil {
		return Created{}, err
	}
	d.Version, d.Updated = old.Version+1, records.Time(records.Millis(r.now()))
	c.since = r.devices[id].cred.since
	if revoke {
		c.since = r.devices[id].cred.following(d.Updated)
	}
	if err := r.db.Tx(ctx, func(tx *sql.Tx) error { return updateCredential(ctx, tx, &d, c) }); err != nil {
		return Created{}, fmt.Errorf("change the secret of device %s: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.devices[id]
	r.unindex(e)
	r.unindexUnit(e.device)
	e.device, e.cred, e.ends = &d, c.held(), time.Time{}
	r.regrade(d.Device)
	r.index(e)
	r.indexUnit(e.device)
	if revoke {
		e.revoke()
	}
	return created(&d, secret), nil
}

func updateCredential(ctx context.Context, tx *sql.Tx, d *Device, c *credential) error {
	if _, err := tx.ExecContext(ctx, updateDevice, append(columns(d), d.ID)...); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE credentials SET verifier = ?, key_id = ?, mac = ?, sealed = ?, created = ?, awaited = ?, ends = 0 WHERE device = ?",
		c.verifier, c.key[:], c.mark[:], c.sealed, records.Millis(c.since), d.Awaited, d.ID)
	return err
}

// created is what is told of a credential: nothing of the secret that an
// awaited device has in the meantime.
func created(d *Device, secret string) Created {
	if d.Awaited {
		secret = ""
	}
	return Created{d, secret}
}
