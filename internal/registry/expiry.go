package registry

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/records"
)

// Certified notes when a certificate that was issued to a device ends.
func (r *Registry) Certified(ctx context.Context, id string, ends time.Time) error {
	err := r.db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE credentials SET ends = ? WHERE device = ? AND ends < ?", records.Millis(ends), id, records.Millis(ends))
		return err
	})
	if err != nil {
		return fmt.Errorf("note the certificate of device %s: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.devices[id]; e != nil {
		e.ends = later(e.ends, ends)
	}
	return nil
}

// CertificateEnds returns when the newest certificate of a device ends, of those
// that were issued to it and, since the hub started, those that it showed; zero
// when none is known of its present credentials.
func (r *Registry) CertificateEnds(id string) time.Time {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.devices[id]; e != nil {
		return e.ends
	}
	return time.Time{}
}

// EachCertificateEnd calls back with CertificateEnds of every device in use that
// has one, in no order. The callback must not ask the registry.
func (r *Registry) EachCertificateEnd(yield func(ends time.Time)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, e := range r.devices {
		if !e.ends.IsZero() && !e.device.Disabled {
			yield(e.ends)
		}
	}
}
