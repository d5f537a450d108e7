package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// MaxBatch is how many devices one CreateBatch takes.
const MaxBatch = 10_000

// Created is a new device and its secret, which is shown this once.
type Created struct {
	*Device
	Secret string
}

// ItemError says what is wrong with one item of a batch.
type ItemError struct {
	Index int
	ID    string
	Err   error
}

// BatchError lists the items for which nothing of a batch was done.
type BatchError struct{ Items []ItemError }

func (e *BatchError) Error() string {
	first := e.Items[0]
	return fmt.Sprintf("%d of the devices cannot be added, so none was; the first is item %d (%q): %v", len(e.Items), first.Index, first.ID, first.Err)
}

// Unwrap returns the errors of the items.
func (e *BatchError) Unwrap() []error {
	all := make([]error, len(e.Items))
	for i, item := range e.Items {
		all[i] = item.Err
	}
	return all
}

// Create registers one device. Errors: *Invalid, ErrExists.
func (r *Registry) Create(ctx context.Context, s Spec) (Created, error) {
	made, err := r.CreateBatch(ctx, []Spec{s})
	var batch *BatchError
	if errors.As(err, &batch) {
		return Created{}, batch.Items[0].Err
	}
	if err != nil {
		return Created{}, err
	}
	return made[0], nil
}

// CreateBatch registers up to MaxBatch devices in one transaction: all, or
// none and a *BatchError.
func (r *Registry) CreateBatch(ctx context.Context, specs []Spec) ([]Created, error) {
	if len(specs) > MaxBatch {
		return nil, &Invalid{[]Fault{{"devices", len(specs), fmt.Sprintf("%d devices in one batch; at most %d are allowed: send several batches", len(specs), MaxBatch)}}}
	}
	entries, err := r.prepare(ctx, specs)
	if err != nil {
		return nil, err
	}
	r.change.Lock()
	defer r.change.Unlock()
	if err := r.refuseExisting(entries); err != nil {
		return nil, err
	}
	if err := r.resolveAll(entries, specs); err != nil {
		return nil, err
	}
	r.inherit(entries)
	if err := r.db.Tx(ctx, func(tx *sql.Tx) error { return insertDevices(ctx, tx, entries) }); err != nil {
		return nil, fmt.Errorf("add devices: %w", err)
	}
	made := make([]Created, len(entries))
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, e := range entries {
		made[i] = created(e.device, e.secret)
		kept := &entry{device: e.device, cred: e.cred.held()}
		r.devices[e.device.ID] = kept
		r.index(kept)
		r.indexUnit(kept.device)
		delete(r.graded.departed, e.device.ID)
		r.regrade(e.device.Device)
	}
	r.sorted = nil
	return made, nil
}

// candidate is a device about to be registered.
type candidate struct {
	device *Device
	cred   *credential
	secret string
}

// prepare checks all specs and makes their credentials, on all processors for
// the sake of secrets that people made.
func (r *Registry) prepare(ctx context.Context, specs []Spec) ([]candidate, error) {
	all := make([]candidate, len(specs))
	var bad BatchError
	for i, s := range specs {
		d, err := s.parse()
		if err != nil {
			bad.Items = append(bad.Items, ItemError{i, s.ID, err})
			continue
		}
		d.Version = 1
		d.Created = records.Time(records.Millis(r.now()))
		d.Updated = d.Created
		all[i].device = d
	}
	if len(bad.Items) > 0 {
		return nil, &bad
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, s := range specs {
		g.Go(func() (err error) {
			c := &all[i]
			c.secret = orElse(s.Secret, newSecret())
			if c.cred, err = r.credentialOf(ctx, s.ID, c.secret, s.Secret == ""); err == nil {
				c.cred.since = c.device.Created
			}
			return err
		})
	}
	return all, g.Wait()
}

// resolveAll finds the models that the candidates name.
func (r *Registry) resolveAll(entries []candidate, specs []Spec) error {
	var bad BatchError
	for i, s := range specs {
		if err := r.resolve(entries[i].device, s.Model); err != nil {
			bad.Items = append(bad.Items, ItemError{i, s.ID, err})
		}
	}
	if len(bad.Items) > 0 {
		return &bad
	}
	return nil
}

func (r *Registry) refuseExisting(entries []candidate) error {
	var bad BatchError
	seen := make(map[string]int, len(entries))
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i, e := range entries {
		id := e.device.ID
		if r.devices[id] != nil {
			bad.Items = append(bad.Items, ItemError{i, id, fmt.Errorf("device %q %w; change it with PATCH /api/v1/devices/%s, or remove it first", id, ErrExists, id)})
		} else if first, twice := seen[id]; twice {
			bad.Items = append(bad.Items, ItemError{i, id, fmt.Errorf("device %q %w: item %d of this batch has the same id", id, ErrExists, first)})
		}
		seen[id] = i
	}
	if len(bad.Items) > 0 {
		return &bad
	}
	return nil
}

func insertDevices(ctx context.Context, tx *sql.Tx, entries []candidate) error {
	device, err := tx.PrepareContext(ctx, `INSERT INTO devices
		(id, kind, site, region, tags, period, lat, lon, gateway, grade, disabled, version, created, updated, model)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer device.Close()
	secret, err := tx.PrepareContext(ctx, "INSERT INTO credentials (device, verifier, key_id, mac, sealed, created, awaited) VALUES (?, ?, ?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer secret.Close()
	for _, e := range entries {
		if e.device.Grade.Sealed() { // it may have inherited that
			if _, err := tx.ExecContext(ctx, "DELETE FROM departed WHERE device = ?", e.device.ID); err != nil {
				return err
			}
		}
		if _, err := device.ExecContext(ctx, append([]any{e.device.ID}, columns(e.device)...)...); err != nil {
			return err
		}
		c := e.cred
		if _, err := secret.ExecContext(ctx, e.device.ID, c.verifier, c.key[:], c.mark[:], c.sealed, records.Millis(c.since), e.device.Awaited); err != nil {
			return err
		}
	}
	return nil
}

const updateDevice = `UPDATE devices SET kind = ?, site = ?, region = ?, tags = ?, period = ?, lat = ?, lon = ?,
	gateway = ?, grade = ?, disabled = ?, version = ?, created = ?, updated = ?, model = ? WHERE id = ?`

// columns are the values of a device's row after its id, in the table's order.
func columns(d *Device) []any {
	tags := ""
	if len(d.Tags) > 0 {
		b, err := json.Marshal(d.Tags)
		if err != nil {
			panic(err) // a map of strings always has a JSON form
		}
		tags = string(b)
	}
	return []any{string(d.Kind), d.Site, d.Region, tags, d.Period.Milliseconds(), d.Lat, d.Lon, d.Gateway, int(d.Grade), d.Disabled,
		d.Version, records.Millis(d.Created), records.Millis(d.Updated), sql.NullString{String: d.modelID(), Valid: d.Model != nil}}
}

func (d *Device) modelID() string {
	if d.Model == nil {
		return ""
	}
	return d.Model.ID
}

// Spec returns the description that makes a device what it is, without its
// secret.
func (d *Device) Spec() Spec {
	s := Spec{ID: d.ID, Kind: string(d.Kind), Site: d.Site, Region: d.Region, Tags: d.Tags, Period: d.Period,
		Lat: d.Lat, Lon: d.Lon, Gateway: d.Gateway, Awaited: d.Awaited, Model: d.modelID()}
	if d.Grade != telemetry.Ungraded {
		s.Grade = d.Grade.String()
	}
	return s
}

// Update makes a device what the description says; id and secret stay. With a
// version other than 0 it fails with ErrStale unless that is the present one.
func (r *Registry) Update(ctx context.Context, s Spec, version int64) (*Device, error) {
	s.Secret = ""
	d, err := s.parse()
	if err != nil {
		return nil, err
	}
	return r.replace(ctx, s.ID, version, func(old *Device) (*Device, error) {
		d.Disabled, d.Awaited = old.Disabled, old.Awaited
		return d, r.resolve(d, s.Model)
	}, false)
}

// Disable ends the device's live sessions and refuses it until Enable.
func (r *Registry) Disable(ctx context.Context, id string, version int64) (*Device, error) {
	return r.replace(ctx, id, version, withDisabled(true), true)
}

// Enable lets a disabled device in again.
func (r *Registry) Enable(ctx context.Context, id string, version int64) (*Device, error) {
	return r.replace(ctx, id, version, withDisabled(false), false)
}

func withDisabled(disabled bool) func(*Device) (*Device, error) {
	return func(old *Device) (*Device, error) {
		d, t := *old, *old.Device
		t.Disabled = disabled
		d.Device = &t
		return &d, nil
	}
}

// replace puts a new state of a device in the place of the old one, on disk
// and then in memory.
func (r *Registry) replace(ctx context.Context, id string, version int64, next func(old *Device) (*Device, error), revoke bool) (*Device, error) {
	r.change.Lock()
	defer r.change.Unlock()
	old, err := r.at(id, version)
	if err != nil {
		return nil, err
	}
	d, err := next(old)
	if err != nil {
		return nil, err
	}
	d.Version, d.Created, d.Updated = old.Version+1, old.Created, records.Time(records.Millis(r.now()))
	err = r.db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, updateDevice, append(columns(d), id)...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("change device %s: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.devices[id]
	r.unindexUnit(e.device)
	if r.changed(e.device.Device); d.Period == 0 && e.device.Period > 0 {
		r.changes.Add(1) // from here on what was learned counts
	}
	e.device = d
	r.indexUnit(d)
	r.regrade(d.Device)
	if revoke {
		e.revoke()
	}
	return d, nil
}

// at returns a device if it still has the version; 0 stands for any.
func (r *Registry) at(id string, version int64) (*Device, error) {
	d, err := r.Get(id)
	if err != nil {
		return nil, err
	}
	if version != 0 && version != d.Version {
		return nil, fmt.Errorf("device %q %w: it has version %d, not %d; read it again and repeat the change", id, ErrStale, d.Version, version)
	}
	return d, nil
}

// revoke ends everything that lives on the device's present credential.
func (e *entry) revoke() {
	if e.done != nil {
		close(e.done)
		e.done = nil
	}
}

// Remove forgets a device, its secret, states and presence, and ends its live
// sessions. Its series stay.
func (r *Registry) Remove(ctx context.Context, id string, version int64) error {
	r.change.Lock()
	defer r.change.Unlock()
	old, err := r.at(id, version)
	if err != nil {
		return err
	}
	err = r.db.Tx(ctx, func(tx *sql.Tx) error {
		if err := leave(ctx, tx, old.Device); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM devices WHERE id = ?", id)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove device %s: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.devices[id]
	r.unindex(e)
	r.unindexUnit(e.device)
	delete(r.devices, id)
	r.ungrade(e.device.Device)
	r.sorted = nil
	e.revoke()
	r.states.forget(id)
	return nil
}
