package enrolment

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/registry"
)

// Request is what a device shows and says of itself.
type Request struct {
	Token  string
	Device string
	// CSR is a PKCS#10 request in PEM of the key that the device made.
	CSR string
	// Kind, Site and Region count where the token leaves them open.
	Kind, Site, Region string
	Tags               map[string]string
	Address            netip.Addr
}

// Enrolled is what a device gets.
type Enrolled struct {
	Device      *registry.Device
	Secret      string
	Certificate authority.Issued
}

// An address may err so often at once, and then so often again. A token cannot
// be guessed; the bound keeps strangers from using up the hub's time.
func failures() quota.Policy {
	return quota.Policy{Of: quota.Address, What: "enrolments", Rate: quota.Rate{N: 20, Per: time.Minute}}
}

// A device may renew so often at once, and then so often again.
func renewals() quota.Policy {
	return quota.Policy{Of: quota.Device, What: "renewals", Rate: quota.Rate{N: 10, Per: 10 * time.Minute}}
}

// limited is a quota of ours.
type limited struct {
	*quota.Sketch
	policy quota.Policy
}

func newLimited(p quota.Policy, start time.Time) limited {
	return limited{quota.NewSketch(p.Rate, start), p}
}

// Attempt returns an error when an address erred too often, before anything it
// shows is looked at.
func (r *Registrar) Attempt(from netip.Addr) *quota.Exceeded {
	if after := r.failures.Wait(r.failures.Address(from), r.o.Clock()); after > 0 {
		r.metrics.refused.WithLabelValues(refusedRate).Inc()
		return &quota.Exceeded{Policy: &r.failures.policy, Name: from.String(), After: after}
	}
	return nil
}

// Failed counts an attempt that showed what is no token, secret or certificate.
func (r *Registrar) Failed(from netip.Addr) {
	r.failures.Take(r.failures.Address(from), r.o.Clock())
	r.metrics.refused.WithLabelValues(refusedToken).Inc()
}

// Enrol registers the device of a request, or gives an awaited one its
// credentials, and uses the token once. The same device may ask again with the
// same token and key when the answer got lost; that uses nothing. Errors:
// ErrToken, ErrScope, authority.ErrRequest, and those of the registry.
func (r *Registrar) Enrol(ctx context.Context, q Request) (Enrolled, error) {
	t, h, err := r.find(q.Token)
	if err != nil {
		r.Failed(q.Address)
		return Enrolled{}, err
	}
	req, err := authority.ParseRequest([]byte(q.CSR))
	if err != nil {
		return Enrolled{}, err
	}
	made, err := r.admit(ctx, &t, h, q, sha256.Sum256(req.Key))
	if err != nil {
		r.metrics.refused.WithLabelValues(refusedScope).Inc()
		return Enrolled{}, err
	}
	issued, err := r.issue(ctx, made.ID, req)
	if err != nil {
		return Enrolled{}, err
	}
	r.metrics.enrolled.Inc()
	return Enrolled{made.Device, made.Secret, issued}, nil
}

func (r *Registrar) issue(ctx context.Context, device string, req *authority.Request) (authority.Issued, error) {
	since, err := r.o.Registry.CertificatesFrom(device)
	if err != nil {
		return authority.Issued{}, err
	}
	issued, err := r.o.Authority.Issue(ctx, device, req, since)
	if err != nil {
		return authority.Issued{}, err
	}
	return issued, r.o.Registry.Certified(ctx, device, issued.NotAfter)
}

// admit finds the way in: a new device, an awaited one, or one that comes again.
func (r *Registrar) admit(ctx context.Context, t *Token, h hash, q Request, key hash) (registry.Created, error) {
	d, err := r.o.Registry.Get(q.Device)
	if err == nil && !d.Awaited {
		return r.again(ctx, d, h, key)
	}
	if t.Used >= t.Uses {
		r.Failed(q.Address)
		return registry.Created{}, usedUp(t)
	}
	var made registry.Created
	if err == nil {
		if err := t.covers(d.ID, string(d.Kind), d.Site, d.Region); err != nil {
			return registry.Created{}, err
		}
		made, err = r.o.Registry.Bind(r.using(ctx, t, h, key, d.Spec(), q.Address), d.ID)
	} else {
		var s registry.Spec
		if s, err = t.spec(q); err != nil {
			return registry.Created{}, err
		}
		made, err = r.o.Registry.Create(r.using(ctx, t, h, key, s, q.Address), s)
	}
	if errors.Is(err, registry.ErrExists) { // somebody was faster
		if d, err := r.o.Registry.Get(q.Device); err == nil {
			return r.again(ctx, d, h, key)
		}
	}
	if err == nil {
		r.counted(h)
	}
	return made, err
}

func usedUp(t *Token) error {
	return fmt.Errorf("%w: all of its %d uses are taken; `hub enrol add` makes a new one", ErrToken, t.Uses)
}

// using returns a context whose next transaction uses the token, notes the key
// and records the change.
func (r *Registrar) using(ctx context.Context, t *Token, h, key hash, s registry.Spec, from netip.Addr) context.Context {
	now := r.o.Clock()
	ctx = records.Also(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE enrolments SET used = used + 1 WHERE hash = ? AND used < uses AND expires >= ?", h[:], records.Millis(now))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, usedUp(t))
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO enrolled (device, token, key, since) SELECT device, ?, ?, created FROM credentials WHERE device = ?
			ON CONFLICT (device) DO UPDATE SET token = excluded.token, key = excluded.key, since = excluded.since`, h[:], key[:], s.ID)
		return err
	})
	after, err := json.Marshal(map[string]any{"enrolment": t.Name, "kind": s.Kind, "site": s.Site, "region": s.Region, "tags": s.Tags})
	if err != nil {
		panic(err) // strings always have a JSON form
	}
	return audit.With(ctx, audit.Entry{
		At: now, Actor: t.Name, Role: access.Device, Origin: from.String(), Action: access.WriteDevices,
		Object: "device " + s.ID, Region: s.Region, After: string(after),
	})
}

// again lets a device in that has enrolled with this token and key and whose
// credentials did not change since: the answer got lost.
func (r *Registrar) again(ctx context.Context, d *registry.Device, h, key hash) (registry.Created, error) {
	same := false
	err := r.o.Records.Each(ctx, func(rows *sql.Rows) error { return rows.Scan(&same) },
		`SELECT e.token = ? AND e.key = ? AND e.since = c.created FROM enrolled e JOIN credentials c ON c.device = e.device WHERE e.device = ?`,
		h[:], key[:], d.ID)
	if err != nil {
		return registry.Created{}, err
	}
	if !same || d.Disabled {
		return registry.Created{}, fmt.Errorf("device %q %w and has its credentials; `hub device replace %s` lets other hardware take its place", d.ID, registry.ErrExists, d.ID)
	}
	secret, err := r.o.Registry.PSK(d.ID)
	return registry.Created{Device: d, Secret: string(secret)}, err
}

// Renew issues a new certificate to a device that has shown who it is. Those
// from before stay valid until their own end.
func (r *Registrar) Renew(ctx context.Context, device, csr string, from netip.Addr) (authority.Issued, error) {
	if after := r.renewals.Take(r.renewals.Name(device), r.o.Clock()); after > 0 {
		r.metrics.refused.WithLabelValues(refusedRate).Inc()
		return authority.Issued{}, &quota.Exceeded{Policy: &r.renewals.policy, Name: device, After: after}
	}
	req, err := authority.ParseRequest([]byte(csr))
	if err != nil {
		return authority.Issued{}, err
	}
	issued, err := r.issue(ctx, device, req)
	if err != nil {
		return issued, err
	}
	d, err := r.o.Registry.Get(device)
	if err == nil {
		err = r.o.Records.Tx(audit.With(ctx, audit.Entry{
			At: r.o.Clock(), Actor: device, Role: access.Device, Origin: from.String(), Action: access.WriteDevices, Object: "device " + device, Region: d.Region,
			After: `{"certificate_until":"` + issued.NotAfter.UTC().Format(time.RFC3339) + `"}`,
		}), func(*sql.Tx) error { return nil })
	}
	if err != nil {
		return authority.Issued{}, err
	}
	r.metrics.renewed.Inc()
	return issued, nil
}
