// Package backfill brings history into the hub: files of samples that were
// measured before, part by part. It remembers how far each file is in, so that
// whoever was interrupted goes on where the hub stands: a part that was taken is
// counted once, whoever crashed. The samples go the way of all, so that grades,
// models and quality apply; they are no sign of life of a device.
package backfill

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/records"
)

// Errors, wrapped with the import they are about.
var (
	ErrUnknown = errors.New("is no import that this hub knows")
	ErrOrder   = errors.New("is not the next part")
	ErrBusy    = errors.New("is being sent by somebody else")
	ErrInvalid = errors.New("is no import")
)

// Import is how far a file is in. Mark is where in the file what follows begins,
// and Before where the last part began, as the reader of the file writes them.
type Import struct {
	ID     string `json:"id"` // SHA-256 of the file and of how it is read, 64 hex digits
	Name   string `json:"name"`
	Format string `json:"format"`
	Size   int64  `json:"size"` // bytes; 0: not known
	By     string `json:"by"`
	Region string `json:"region,omitempty"` // that whoever began it is narrowed to
	Next   int64  `json:"next"`             // number of the part that follows, from 1
	Mark   string `json:"mark"`
	Before string `json:"before"`
	// Accepted are samples that are durable, repeated ones included; Rejected are
	// samples and lines that were not taken.
	Accepted int64     `json:"accepted"`
	Rejected int64     `json:"rejected"`
	Done     bool      `json:"done"`
	Begun    time.Time `json:"begun"`
	Updated  time.Time `json:"updated"`
}

// maxImports bounds how many are remembered; those that were touched last stay.
const maxImports = 1000

// Ledger remembers imports.
type Ledger struct {
	db  *records.DB
	now func() time.Time

	mu   sync.Mutex
	busy map[string]bool // imports of which a part is taken
}

// NewLedger returns the ledger that lies in the records.
func NewLedger(db *records.DB, now func() time.Time) *Ledger {
	return &Ledger{db: db, now: now, busy: map[string]bool{}}
}

var idForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Begin notes an import, or returns how far it is when it is known.
func (l *Ledger) Begin(ctx context.Context, i Import) (*Import, error) {
	if !idForm.MatchString(i.ID) {
		return nil, fmt.Errorf("%q %w: its id is the SHA-256 of the file, 64 hex digits", i.ID, ErrInvalid)
	}
	known, err := l.find(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	if known != nil {
		return l.Get(ctx, i.ID, i.Region)
	}
	i.Next, i.Begun = 1, l.now().UTC()
	i.Mark, i.Before, i.Accepted, i.Rejected, i.Done = "", "", 0, 0, false
	return &i, l.put(ctx, &i)
}

// Get returns an import that was begun in a region.
func (l *Ledger) Get(ctx context.Context, id, region string) (*Import, error) {
	found, err := l.find(ctx, id)
	if err == nil && (found == nil || !strings.HasPrefix(found.Region, region)) {
		return nil, fmt.Errorf("%.64q %w; `hub import` begins one", id, ErrUnknown)
	}
	return found, err
}

func (l *Ledger) find(ctx context.Context, id string) (found *Import, err error) {
	err = l.db.Each(ctx, func(r *sql.Rows) (err error) {
		found, err = scan(r)
		return err
	}, "SELECT record FROM imports WHERE id = ?", id)
	return found, err
}

// List returns the imports that were begun in a region, by id.
func (l *Ledger) List(ctx context.Context, region string) (all []*Import, err error) {
	err = l.db.Each(ctx, func(r *sql.Rows) error {
		i, err := scan(r)
		if err == nil && strings.HasPrefix(i.Region, region) {
			all = append(all, i)
		}
		return err
	}, "SELECT record FROM imports ORDER BY id")
	return all, err
}

func scan(r *sql.Rows) (*Import, error) {
	text, i := "", &Import{}
	if err := r.Scan(&text); err != nil {
		return nil, err
	}
	return i, json.Unmarshal([]byte(text), i)
}

func (l *Ledger) put(ctx context.Context, i *Import) error {
	i.Updated = l.now().UTC()
	text, err := json.Marshal(i)
	if err != nil {
		return err
	}
	err = l.db.Tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO imports (id, updated, record) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET updated = excluded.updated, record = excluded.record",
			i.ID, records.Millis(i.Updated), string(text)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM imports WHERE id IN (SELECT id FROM imports ORDER BY updated DESC, id LIMIT -1 OFFSET ?)", maxImports)
		return err
	})
	if err != nil {
		return fmt.Errorf("note import %.12s: %w", i.ID, err)
	}
	return nil
}

// Part is one part of an import, as its sender describes it.
type Part struct {
	Number int64
	Mark   string // behind it
	Faults int64  // lines that its sender could not read
	Last   bool
}

// take has a part stored and notes it, once, before it returns: store says how
// many samples are durable and how many were refused. The part that was taken
// last may come again, for its sender may not have heard of it: it is stored
// again, which changes nothing, and not counted. Ended gives the context of the
// transaction that notes the last part.
func (l *Ledger) take(ctx context.Context, id, region string, p Part, ended func(context.Context, *Import) context.Context, store func() (accepted, rejected int64, err error)) (*Import, error) {
	release, err := l.hold(id)
	if err != nil {
		return nil, err
	}
	defer release()
	i, err := l.Get(ctx, id, region)
	if err != nil {
		return nil, err
	}
	again := p.Number == i.Next-1 && p.Mark == i.Mark
	if p.Number != i.Next && !again || i.Done && !again {
		return nil, fmt.Errorf("part %d of import %.12s %w, %d; go on behind %q", p.Number, id, ErrOrder, i.Next, i.Mark)
	}
	accepted, rejected, err := store()
	if err != nil || again {
		return i, err
	}
	i.Next, i.Before, i.Mark, i.Done = i.Next+1, i.Mark, p.Mark, p.Last
	i.Accepted += accepted
	i.Rejected += rejected + p.Faults
	if i.Done {
		ctx = ended(ctx, i)
	}
	return i, l.put(ctx, i)
}

// hold makes sure that one part of an import is taken at a time.
func (l *Ledger) hold(id string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy[id] {
		return nil, fmt.Errorf("import %.12s %w; wait for the other, or end it", id, ErrBusy)
	}
	l.busy[id] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.busy, id)
	}, nil
}
