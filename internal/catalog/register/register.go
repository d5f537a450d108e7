// Package register keeps the public catalogue: the datasets with every version
// they had, who may use them on what terms, and what people object to. What it
// answers from memory is on disk: a change is durable, and on record, before
// anybody sees it. What it shuts is shut to who reads at that moment too.
// Art. 24
package register

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/records"
)

// maxDatasets bounds how many datasets there are, tombstones included.
const maxDatasets = 50_000

// Errors, wrapped with the thing they are about.
var (
	ErrUnknown = errors.New("is not known")
	ErrStale   = errors.New("was changed by somebody else meanwhile")
	ErrState   = errors.New("is not in a state for this")
	ErrShut    = errors.New("is not open")
	ErrFull    = errors.New("are as many as allowed")
	ErrReason  = errors.New("needs a reason")
)

// Deps are what a register works with. All are required.
type Deps struct {
	Records *records.DB
	// Noted returns a context whose transaction also puts a change on record.
	// Before and after hold no secrets and nothing personal; nil for nothing.
	Noted func(ctx context.Context, action access.Action, object, region string, before, after any) context.Context
	// Selection reads a selector of series; an error says what is wrong with it.
	Selection func(selector string) (Selection, error)
	// Series lists what a selector selects in a region prefix, at most limit.
	Series func(ctx context.Context, selector string, limit int) ([]Series, error)
	// Metric says what models know of a metric.
	Metric func(name string) Metric
	// Seal and Unseal protect what is personal; they fit each other and the binding.
	Seal   func(plain []byte, binding string) []byte
	Unseal func(sealed []byte, binding string) ([]byte, error)
	// Changed is told of a dataset once a change of it is durable. It does not block.
	Changed func(id string)
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Register holds every dataset in memory and on disk. All methods may be called
// from any goroutine.
type Register struct {
	cfg      Config
	calendar *calendar
	deps     Deps

	rates rates

	change sync.Mutex // held from before a write until everybody knows of it

	mu     sync.RWMutex // guards all below
	byID   map[string]*Record
	grants map[int64]*Grant  // that are open: applied for, or granted
	open   map[int64]*Ticket // tickets that are not closed
	holds  map[*hold]bool
	shared *index // what published datasets share
	// generation rises with every change of a dataset or a grant.
	generation uint64
}

// Open reads the register into memory.
func Open(ctx context.Context, cfg Config, d Deps) (*Register, error) {
	cal, err := newCalendar(cfg.Calendar)
	if err != nil {
		return nil, fmt.Errorf("catalog.calendar: %w", err)
	}
	r := &Register{
		cfg: cfg, calendar: cal, deps: d, byID: map[string]*Record{}, grants: map[int64]*Grant{}, open: map[int64]*Ticket{},
		holds: map[*hold]bool{}, shared: newIndex(), rates: rates{of: map[int64]*rate{}},
	}
	for _, read := range []struct {
		query string
		row   func(*sql.Rows) error
	}{
		{"SELECT record FROM datasets", r.loadDataset},
		{"SELECT record FROM grants WHERE state IN ('applied', 'reviewing', 'granted')", r.loadGrant},
		{"SELECT record FROM tickets WHERE state <> 'closed'", r.loadTicket},
	} {
		if err := d.Records.Each(ctx, read.row, read.query); err != nil {
			return nil, fmt.Errorf("read the catalogue: %w", err)
		}
	}
	d.Metrics.MustRegister(newGauges(r))
	return r, nil
}

func (r *Register) loadDataset(rows *sql.Rows) error {
	rec := &Record{}
	if err := scanJSON(rows, rec); err != nil {
		return err
	}
	if err := rec.complete(); err != nil {
		return err
	}
	r.byID[rec.ID] = rec
	if s, err := r.sharing(rec); err != nil {
		r.deps.Log.Warn("dataset_selector_not_read", "dataset", rec.ID, "error", err)
	} else if s != nil {
		r.shared.put(s)
	}
	return nil
}

func scanJSON(rows *sql.Rows, into any) error {
	var text string
	if err := rows.Scan(&text); err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

// Get returns a dataset, withdrawn ones too, or ErrUnknown.
func (r *Register) Get(id string) (*Record, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if rec := r.byID[id]; rec != nil {
		return rec, nil
	}
	return nil, fmt.Errorf("dataset %.70q %w; see `hub dataset list`, or make it with `hub dataset apply FILE`", id, ErrUnknown)
}

// List returns all datasets in the order of their ids.
func (r *Register) List() []*Record {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*Record, 0, len(r.byID))
	for _, id := range slices.Sorted(maps.Keys(r.byID)) {
		all = append(all, r.byID[id])
	}
	return all
}

// Published returns what the public may have now, in no order. The datasets are
// not to be changed.
func (r *Register) Published() (all []*catalog.Dataset) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, rec := range r.byID {
		if rec.State == catalog.Published {
			all = append(all, rec.dataset)
		}
	}
	return all
}

// number takes the next one of a sequence. It stays used when what it was taken
// for fails: no number is ever given again.
func (r *Register) number(ctx context.Context, sequence string) (n int64, err error) {
	err = r.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO catalog_sequences (name, last) VALUES (?, 1)
			ON CONFLICT (name) DO UPDATE SET last = catalog_sequences.last + 1 RETURNING last`, sequence).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("take the next number of %s: %w", sequence, err)
	}
	return n, nil
}

// actor is who asks; the hub itself where nobody does.
func actor(ctx context.Context) string { return orElse(access.CallerOf(ctx).Name, "hub") }

// now is the time as it is kept.
func (r *Register) now() time.Time { return records.Time(records.Millis(r.deps.Clock())) }
