// Package registry knows the devices: what they are, how they prove it, where
// they stand and whether they are there. What it answers from memory is what
// is on disk: a change is durable before anybody sees it.
package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Errors of the registry, wrapped with the thing they are about.
var (
	ErrUnknown = errors.New("is not registered")
	ErrExists  = errors.New("is already registered")
	ErrStale   = errors.New("was changed by somebody else meanwhile")
	// ErrUnauthorized is every failed authentication; what it wraps is for
	// logs, never for the sender.
	ErrUnauthorized = errors.New("unauthorized")
)

// Device is what the registry keeps of a device. It is immutable: a change
// makes a new one.
type Device struct {
	*telemetry.Device
	Lat, Lon *float64
	Gateway  string
	// Awaited devices have no credentials yet: they get them when they enrol.
	Awaited bool
	// Version rises with every change.
	Version int64
	Updated time.Time
}

// Config says what a registry works with. All fields but Model must be set.
type Config struct {
	Records *records.DB
	Sealer  *Sealer
	Log     *slog.Logger
	Now     func() time.Time
	// Model returns the present state of a device model, nil for an unknown one.
	// It must not ask the registry. Nil when there are no models.
	Model func(id string) *telemetry.Model
}

// Registry holds every device in memory and on disk. All methods may be called
// from any goroutine.
type Registry struct {
	db      *records.DB
	sealer  *Sealer
	log     *slog.Logger
	now     func() time.Time
	model   func(string) *telemetry.Model
	hashing chan struct{}

	// change is held from before a write's transaction until memory shows it,
	// so that memory and disk change in the same order. It guards nothing else.
	change sync.Mutex

	changes atomic.Uint64 // what Changes returns
	notable atomic.Int64  // periods beyond it count in changes

	mu      sync.RWMutex // guards all below
	devices map[string]*entry
	byMark  map[mark][]string   // ids whose secret has the mark; rarely more than one
	byESN   map[string][]string // ids by their tag esn; bounded by the devices
	sorted  []string            // ids in order; nil when it must be made anew
	sites   map[string]*Site
	units   map[string]string

	graded gradings
	states stateMarks
}

// entry is a device with its credential and the people that hold it live.
type entry struct {
	device *Device
	cred   *credential
	ends   time.Time     // of the newest certificate; zero when none is known
	done   chan struct{} // closed at revocation; nil until somebody authenticates
}

// Open reads everything that is registered into memory.
func Open(ctx context.Context, c Config) (*Registry, error) {
	r := &Registry{
		db: c.Records, sealer: c.Sealer, log: c.Log, now: c.Now, model: c.Model,
		hashing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		devices: map[string]*entry{}, byMark: map[mark][]string{}, byESN: map[string][]string{},
		sites: map[string]*Site{}, units: map[string]string{},
		graded: gradings{devices: map[string]*telemetry.Device{}, departed: map[string]telemetry.Grade{}},
		states: stateMarks{known: map[stateKey]stateMark{}, seed: maphash.MakeSeed()},
	}
	for _, load := range []func(context.Context) error{r.loadDevices, r.loadDeparted, r.loadSites, r.loadUnits} {
		if err := load(ctx); err != nil {
			return nil, fmt.Errorf("read the registry: %w", err)
		}
	}
	return r, nil
}

func (r *Registry) loadDevices(ctx context.Context) error {
	foreign := 0
	err := r.db.Each(ctx, func(rows *sql.Rows) error {
		e, err := r.scanDevice(rows)
		if err != nil {
			return err
		}
		if e.cred.key != r.sealer.id {
			foreign++
		}
		r.devices[e.device.ID] = e
		r.index(e)
		r.indexUnit(e.device)
		r.regrade(e.device.Device)
		return nil
	}, `SELECT d.id, kind, site, region, tags, period, lat, lon, gateway, grade, disabled, version, d.created, updated, key_id, mac, sealed, c.created, awaited, coalesce(model, ''), ends
		FROM devices d JOIN credentials c ON c.device = d.id`)
	if foreign > 0 {
		r.log.Warn("secrets were sealed with another key", "devices", foreign,
			"way_out", "each is sealed anew when the device next shows its id and secret; DTLS with a pre-shared key works from then on")
	}
	return err
}

func (r *Registry) scanDevice(rows *sql.Rows) (*entry, error) {
	d := &Device{Device: &telemetry.Device{}}
	c := &credential{}
	var tags, model string
	var period, created, updated, since, ends int64
	var key, mac []byte
	if err := rows.Scan(&d.ID, &d.Kind, &d.Site, &d.Region, &tags, &period, &d.Lat, &d.Lon, &d.Gateway, &d.Grade, &d.Disabled,
		&d.Version, &created, &updated, &key, &mac, &c.sealed, &since, &d.Awaited, &model, &ends); err != nil {
		return nil, err
	}
	if tags != "" {
		if err := json.Unmarshal([]byte(tags), &d.Tags); err != nil {
			return nil, fmt.Errorf("tags of device %s: %w", d.ID, err)
		}
	}
	if len(key) != len(c.key) || len(mac) != len(c.mark) {
		return nil, fmt.Errorf("credential of device %s is damaged", d.ID)
	}
	c.key, c.mark = keyID(key), mark(mac)
	var err error
	if d.Device.Model, err = r.modelOf(model); err != nil {
		return nil, fmt.Errorf("device %s: %w", d.ID, err)
	}
	d.Period = time.Duration(period) * time.Millisecond
	d.Created, d.Updated, c.since = records.Time(created), records.Time(updated), records.Time(since)
	return &entry{device: d, cred: c, ends: records.Time(ends)}, nil
}

// index and unindex keep byMark; marks of another key mean nothing here.
func (r *Registry) index(e *entry) {
	if e.cred.key == r.sealer.id {
		r.byMark[e.cred.mark] = append(r.byMark[e.cred.mark], e.device.ID)
	}
}

func (r *Registry) unindex(e *entry) {
	ids := r.byMark[e.cred.mark]
	kept := make([]string, 0, len(ids))
	for _, id := range ids {
		if id != e.device.ID {
			kept = append(kept, id)
		}
	}
	if len(kept) == 0 {
		delete(r.byMark, e.cred.mark)
		return
	}
	r.byMark[e.cred.mark] = kept
}

// Device returns the state of a device; nil when it is not registered. Two
// equal pointers are the same state.
func (r *Registry) Device(id string) *telemetry.Device {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.devices[id]; e != nil {
		return e.device.Device
	}
	return nil
}

// Changes returns a number that changes with every device that comes, goes or becomes
// another one, by its model too, and has or had a period beyond what Notable was told.
func (r *Registry) Changes() uint64 { return r.changes.Load() }

// Notable says beyond which period devices count in Changes. Who keeps what follows
// from the longest sets it to zero before reading devices, and to the longest after:
// what changes meanwhile is not missed, and what makes no difference costs nothing.
func (r *Registry) Notable(beyond time.Duration) { r.notable.Store(int64(beyond)) }

// changed counts a state that a device has or had.
func (r *Registry) changed(d *telemetry.Device) {
	if int64(max(d.Period, d.Model.Period(nil))) > r.notable.Load() {
		r.changes.Add(1)
	}
}

// Get returns all that is kept of a device, or ErrUnknown.
func (r *Registry) Get(id string) (*Device, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.devices[id]; e != nil {
		return e.device, nil
	}
	return nil, unknown(id)
}

func unknown(id string) error {
	return fmt.Errorf("device %q %w; see `hub device list`", id, ErrUnknown)
}

// Len returns how many devices are registered.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.devices)
}
