package model

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// maxModels bounds how many models there are.
const maxModels = 2000

// Deps are what models work with. All but Dir are
// required.
type Deps struct {
	Records *records.DB
	// Dir is the directory whose files are models; empty for none.
	Dir string
	// Users returns how many devices name a model.
	Users func(id string) int
	// Changed is told of a new or changed model, after it is durable and before
	// the change returns; calls come one at a time.
	Changed func(*telemetry.Model)
	// Noted returns a context whose transaction also writes the record of a
	// change that a file made. Before and after are JSON, empty for nothing.
	Noted   func(ctx context.Context, id, file string, before, after []byte) context.Context
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Models holds every model in memory and on disk. All methods may be called
// from any goroutine.
type Models struct {
	deps   Deps
	faulty prometheus.Gauge

	change sync.Mutex // held from before a write until everybody knows of it

	mu   sync.RWMutex // guards byID
	byID map[string]*Model

	// Files as they were last read, and what was last wrong with them; both
	// guarded by change.
	seen  map[string]stamp
	wrong map[string]string
}

// Open reads all models into memory.
func Open(ctx context.Context, d Deps) (*Models, error) {
	ms := &Models{deps: d, byID: map[string]*Model{}, seen: map[string]stamp{}}
	if err := d.Records.Each(ctx, ms.load, "SELECT id, document, file, version, updated FROM models"); err != nil {
		return nil, fmt.Errorf("read the models: %w", err)
	}
	ms.faulty = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hub_model_faulty_files", Help: "Files of models.dir that could not be taken as they are; the log says why.",
	})
	d.Metrics.MustRegister(ms.faulty, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hub_model_models", Help: "Device models.",
	}, func() float64 {
		ms.mu.RLock()
		defer ms.mu.RUnlock()
		return float64(len(ms.byID))
	}))
	return ms, nil
}

func (ms *Models) load(rows *sql.Rows) error {
	var id, text, file string
	var version, updated int64
	if err := rows.Scan(&id, &text, &file, &version, &updated); err != nil {
		return err
	}
	m, err := Parse([]byte(text))
	if err != nil {
		return fmt.Errorf("model %s, as it was kept, is not taken by this version of the hub: %w", id, err)
	}
	m.File, m.Version, m.Updated = file, version, records.Time(updated)
	ms.byID[id] = m
	return nil
}

// Get returns a model, or ErrUnknown.
func (ms *Models) Get(id string) (*Model, error) {
	ms.mu.RLock()
	defer ms.mu.RUnlock()
	if m := ms.byID[id]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("model %.140q %w; see `hub model list`, or add it with `hub model add FILE`", id, ErrUnknown)
}

// View returns what ingest needs of a model; nil for an unknown one.
func (ms *Models) View(id string) *telemetry.Model {
	ms.mu.RLock()
	defer ms.mu.RUnlock()
	if m := ms.byID[id]; m != nil {
		return m.view
	}
	return nil
}

// Of returns the model that a device names; nil when it names none.
func (ms *Models) Of(d *telemetry.Device) *Model {
	if d == nil || d.Model == nil {
		return nil
	}
	ms.mu.RLock()
	defer ms.mu.RUnlock()
	return ms.byID[d.Model.ID]
}

// List returns all models in the order of their ids.
func (ms *Models) List() []*Model {
	ms.mu.RLock()
	defer ms.mu.RUnlock()
	all := make([]*Model, 0, len(ms.byID))
	for _, id := range slices.Sorted(maps.Keys(ms.byID)) {
		all = append(all, ms.byID[id])
	}
	return all
}

// Put creates or replaces a model. With a version other than 0 the model must
// have it. What changes nothing is not written. Models of files are changed
// there (ErrOfFile).
func (ms *Models) Put(ctx context.Context, m *Model, version int64) (*Model, error) {
	ms.change.Lock()
	defer ms.change.Unlock()
	old, err := ms.at(m.ID, version)
	if err != nil && (version != 0 || !errors.Is(err, ErrUnknown)) {
		return nil, err
	}
	if old != nil {
		if err := ms.ofFile(old); err != nil {
			return nil, err
		}
	}
	return ms.put(ctx, m, old, "")
}

// ofFile is ErrOfFile for a model that a file decides about.
func (ms *Models) ofFile(m *Model) error {
	if m.File == "" || ms.deps.Dir == "" {
		return nil
	}
	return fmt.Errorf("model %s %w, %s of models.dir; change it there, and the hub follows within %v", m.ID, ErrOfFile, m.File, lookEvery)
}

// at returns a model if it still has the version; 0 stands for any.
func (ms *Models) at(id string, version int64) (*Model, error) {
	m, err := ms.Get(id)
	if err == nil && version != 0 && version != m.Version {
		return nil, fmt.Errorf("model %s %w: it has version %d, not %d; read it again and repeat the change", id, ErrStale, m.Version, version)
	}
	return m, err
}

// put writes a model and tells of it. The caller holds change.
func (ms *Models) put(ctx context.Context, m, old *Model, file string) (*Model, error) {
	next := *m
	next.File, next.Version, next.Updated = file, 1, records.Time(records.Millis(ms.deps.Clock()))
	switch {
	case old != nil && old.File == file && bytes.Equal(old.text, m.text):
		return old, nil
	case old != nil:
		next.Version = old.Version + 1
	case ms.count() >= maxModels:
		return nil, fmt.Errorf("models %w, %d; remove one that no device names", ErrFull, maxModels)
	}
	err := ms.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO models (id, document, file, version, updated) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET document = excluded.document, file = excluded.file, version = excluded.version, updated = excluded.updated`,
			next.ID, string(next.text), next.File, next.Version, records.Millis(next.Updated))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("keep model %s: %w", m.ID, err)
	}
	ms.mu.Lock()
	ms.byID[next.ID] = &next
	ms.mu.Unlock()
	ms.deps.Changed(next.view)
	return &next, nil
}

func (ms *Models) count() int {
	ms.mu.RLock()
	defer ms.mu.RUnlock()
	return len(ms.byID)
}

// Remove forgets a model that no device names (ErrInUse).
func (ms *Models) Remove(ctx context.Context, id string, version int64) error {
	ms.change.Lock()
	defer ms.change.Unlock()
	m, err := ms.at(id, version)
	if err != nil {
		return err
	}
	if err := ms.ofFile(m); err != nil {
		return err
	}
	return ms.remove(ctx, id)
}

// remove takes a model away. A device that comes to name it meanwhile keeps it:
// the database refuses one of the two. The caller holds change.
func (ms *Models) remove(ctx context.Context, id string) error {
	if err := ms.inUse(id); err != nil {
		return err
	}
	err := ms.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM models WHERE id = ?", id)
		return err
	})
	if err != nil {
		return cmp.Or(ms.inUse(id), fmt.Errorf("remove model %s: %w", id, err))
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	delete(ms.byID, id)
	return nil
}

func (ms *Models) inUse(id string) error {
	if n := ms.deps.Users(id); n > 0 {
		return fmt.Errorf("model %s %w: %d devices name it; give them another with PATCH /api/v1/devices/ID (`hub device list --model %s` lists them)", id, ErrInUse, n, id)
	}
	return nil
}
