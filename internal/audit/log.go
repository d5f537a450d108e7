package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/songhua-io/hub/internal/records"
)

// ErrDamaged is wrapped where a record that does not verify is to be signed.
var ErrDamaged = errors.New("the record of changes is damaged")

// Options are what a Log takes. All must be set.
type Options struct {
	Records *records.DB
	Dir     string // of the key and the checkpoints
	Config  Config
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Log is the record itself, with the key that signs it. All methods may be
// called from any goroutine. Art. 76(1)
type Log struct {
	o      Options
	signer note.Signer
	keys   Keys

	signing sync.Mutex // held while a checkpoint is made
	walking sync.Mutex // held while all is verified, which takes two connections

	mu       sync.Mutex // guards all below
	newest   Checkpoint // signed or found; Size 0 for none
	told     Checkpoint // the newest that lies outside of the database too
	verified Verification
}

// Verification is the last walk of the whole record.
type Verification struct {
	Report
	At      time.Time // zero for never
	Problem *Finding  // the first; nil for none
}

// State is what a Log knows of itself.
type State struct {
	Key      string   // public, of the checkpoints to come
	Keys     []string // all that have signed here
	Newest   Checkpoint
	Verified Verification
}

// Open reads the key, which is made when absent. Nothing is signed before Run.
func Open(o Options) (*Log, error) {
	l := &Log{o: o}
	var err error
	if l.signer, l.keys, err = openKey(o.Dir); err != nil {
		return nil, err
	}
	l.register(o.Metrics)
	return l, nil
}

// Add adds an entry for what is changed outside of the database.
func (l *Log) Add(ctx context.Context, e Entry) error {
	return l.o.Records.Tx(ctx, func(tx *sql.Tx) error { return add(ctx, tx, e) })
}

// State returns what is known now.
func (l *Log) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return State{Key: l.keys.text[len(l.keys.text)-1], Keys: l.keys.List(), Newest: l.newest, Verified: l.verified}
}

// Verify walks the whole record and every checkpoint of this directory.
func (l *Log) Verify(ctx context.Context) (Verification, error) {
	l.walking.Lock()
	defer l.walking.Unlock()
	v := Verification{}
	found := func(f Finding) {
		if v.Problem == nil || v.Problem.Seq == 0 && f.Seq > 0 {
			v.Problem = &f
		}
	}
	outside, err := ReadOutside(l.o.Dir, l.keys, l.outside(), found)
	if err == nil {
		v.Report, err = Verify(ctx, l.o.Records, outside, found)
	}
	if err != nil {
		return v, err
	}
	v.At = l.o.Clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.verified = v
	if v.Signed.Size > l.newest.Size {
		l.newest = v.Signed
	}
	l.told.Size = min(l.newest.Size, l.toldEverywhere(outside))
	if v.Problem != nil {
		l.o.Log.Error("audit_damaged", "entry", v.Problem.Seq, "how", string(v.Problem.How), "problem", v.Problem.Text)
	}
	return v, nil
}

// toldEverywhere is the size of the newest checkpoint that every file has.
func (l *Log) toldEverywhere(o Outside) int64 {
	least := int64(math.MaxInt64)
	for _, path := range append([]string{filepath.Join(l.o.Dir, CheckpointsFile)}, l.outside()...) {
		var of []Checkpoint
		for _, c := range o.Checkpoints {
			if c.From == path {
				of = append(of, c)
			}
		}
		least = min(least, sizeOf(of))
	}
	return least
}

// outside is the file that checkpoints go to besides the data directory; none
// when there is no such directory.
func (l *Log) outside() []string {
	if l.o.Config.CheckpointTo == "" || l.o.Config.CheckpointTo == ToLog {
		return nil
	}
	return []string{filepath.Join(l.o.Config.CheckpointTo, l.signer.Name()+".checkpoints")}
}

// How often Run looks for what is to be signed, and verifies all.
const (
	look      = time.Second
	verifying = 24 * time.Hour
	lastWords = 5 * time.Second // to sign at the end
)

// Run verifies the record, signs it when that is due, and once more at the end.
// A record that is damaged is signed no more: a signature would hide it.
func (l *Log) Run(ctx context.Context) error {
	ticks := time.NewTicker(look)
	defer ticks.Stop()
	var pause time.Time // after a failure
	for {
		if at := l.State().Verified.At; l.o.Clock().Sub(at) >= verifying {
			if _, err := l.Verify(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("verify the record of changes: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return l.finish(ctx)
		case <-ticks.C:
			if due, err := l.due(ctx); err != nil || !due || l.o.Clock().Before(pause) {
				continue // a database that cannot be read is told by who needs it
			}
			if !l.attempt(ctx) {
				pause = l.o.Clock().Add(l.o.Config.CheckpointAfter)
			}
		}
	}
}

func (l *Log) attempt(ctx context.Context) bool {
	_, err := l.Checkpoint(ctx)
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrDamaged) {
		l.o.Log.Error("audit_checkpoint_failed", "error", err)
	}
	return err == nil
}

// finish signs what is not signed, at an orderly end.
func (l *Log) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if l.State().Verified.At.IsZero() {
		return nil // the end came before the first look
	}
	l.attempt(ctx)
	return nil
}

// due reports whether entries wait for a checkpoint for long or in numbers, or
// the last checkpoint lies in the database alone.
func (l *Log) due(ctx context.Context) (due bool, err error) {
	l.mu.Lock()
	signed, told, damaged := l.newest.Size, l.told.Size, l.verified.Problem != nil || l.verified.At.IsZero()
	l.mu.Unlock()
	if damaged {
		return false, nil
	}
	err = l.o.Records.Each(ctx, func(rows *sql.Rows) error {
		var last, oldest int64
		if err := rows.Scan(&last, &oldest); err != nil {
			return err
		}
		waits := last - signed
		due = waits >= int64(l.o.Config.CheckpointEntries) || waits > 0 && l.o.Clock().Sub(records.Time(oldest)) >= l.o.Config.CheckpointAfter || waits == 0 && told < signed
		return nil
	}, "SELECT coalesce(max(seq), 0), coalesce((SELECT at FROM audit WHERE seq = ?), 0) FROM audit", signed+1)
	return due, err
}

// chunk bounds the entries that one transaction signs, and so for how long other
// writers wait.
const chunk = 1000

// Checkpoint signs all entries that are there, after looking at those that are
// new, and returns the newest checkpoint. It is durable, also outside of the
// database.
func (l *Log) Checkpoint(ctx context.Context) (Checkpoint, error) {
	l.signing.Lock()
	defer l.signing.Unlock()
	for {
		s := l.State()
		if p := s.Verified.Problem; p != nil {
			return s.Newest, fmt.Errorf("%w: %w", ErrDamaged, p)
		}
		c, more, err := l.signChunk(ctx)
		if err != nil {
			return s.Newest, err
		}
		if !more {
			return c, l.tell(c)
		}
	}
}

// signChunk signs up to chunk more entries; more says that there may be others.
func (l *Log) signChunk(ctx context.Context) (c Checkpoint, more bool, err error) {
	err = l.o.Records.Tx(ctx, func(tx *sql.Tx) error {
		var w *walk
		if c, w, err = l.resume(ctx, tx); err != nil {
			return err
		}
		from := w.tree.size
		if err := w.follow(ctx, tx); err != nil || w.tree.size == from && c.Note != "" {
			return err
		}
		more = w.tree.size-from == chunk
		if c, err = sign(l.signer, w.tree.size, w.tree.root(), l.o.Clock()); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO audit_checkpoints (origin, size, at, note) VALUES (?, ?, ?, ?)", c.Origin, c.Size, records.Millis(c.At), c.Note)
		return err
	})
	var f *Finding
	if errors.As(err, &f) {
		l.damaged(f)
		return c, false, fmt.Errorf("%w: %w", ErrDamaged, f)
	}
	if err != nil {
		return c, false, fmt.Errorf("sign the record of changes: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest = c
	return c, more, nil
}

func (l *Log) damaged(f *Finding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.verified = Verification{At: l.o.Clock(), Problem: f}
	l.o.Log.Error("audit_damaged", "entry", f.Seq, "how", string(f.How), "problem", f.Text)
}

// resume returns the newest checkpoint of the database and a walk that goes on
// behind it.
func (l *Log) resume(ctx context.Context, tx *sql.Tx) (c Checkpoint, w *walk, err error) {
	w = newWalk(nil)
	var text string
	err = tx.QueryRowContext(ctx, "SELECT note FROM audit_checkpoints ORDER BY size DESC LIMIT 1").Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return c, w, nil
	}
	if err != nil {
		return c, w, err
	}
	if c, err = l.keys.Open(text); err != nil {
		f := badCheckpoint("the database's newest checkpoint", err)
		return c, w, &f
	}
	c.From = "the database"
	tree, err := frontierAt(c.Size, readHashes(func(place int64, take func(*sql.Rows) error) error {
		rows, err := tx.QueryContext(ctx, hashAt, place)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := take(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	}))
	if err != nil {
		return c, w, err
	}
	if tree.root() != c.Root {
		return c, w, &Finding{How: BadTree, Text: "the stored Merkle tree is not the one that was signed"}
	}
	if w.tree, w.fits = *tree, c; c.Size == 0 {
		return c, w, nil
	}
	w.last, err = scan(tx.QueryRowContext(ctx, "SELECT "+columns+" FROM audit WHERE seq = ?", c.Size))
	if errors.Is(err, sql.ErrNoRows) {
		return c, w, &Finding{Seq: c.Size, How: Truncated, Text: fmt.Sprintf("entry %d, which was signed, is gone", c.Size)}
	}
	return c, w, err
}

// follow takes up to chunk entries and stores what the tree gains.
func (w *walk) follow(ctx context.Context, tx *sql.Tx) error {
	place := tlog.StoredHashCount(w.tree.size)
	all, err := behind(ctx, tx, w.last.Seq)
	if err != nil {
		return err
	}
	put, err := tx.PrepareContext(ctx, "INSERT INTO audit_tree (place, hash) VALUES (?, ?) ON CONFLICT (place) DO UPDATE SET hash = excluded.hash")
	if err != nil {
		return err
	}
	defer put.Close() //nolint:errcheck // of a transaction that ends
	for i := range all {
		if !w.linked(&all[i]) {
			return &Finding{Seq: all[i].Seq, How: Changed, Text: fmt.Sprintf("entry %d does not follow entry %d; `hub audit verify` says what happened", all[i].Seq, w.last.Seq)}
		}
		gained, _ := w.take(all[i]) // no marks, no finding
		for _, h := range gained {
			if _, err := put.ExecContext(ctx, place, h[:]); err != nil {
				return err
			}
			place++
		}
	}
	return nil
}

func behind(ctx context.Context, tx *sql.Tx, seq int64) (all []Entry, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT "+columns+" FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", seq, chunk)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scan(rows)
		if err != nil && !errors.Is(err, errCut) {
			return nil, err
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

// tell takes a checkpoint out of the database. It is done again with the next
// one, or at the next look, when a place did not take it.
func (l *Log) tell(c Checkpoint) error {
	l.mu.Lock()
	done := c.Size == 0 || l.told.Size == c.Size
	l.mu.Unlock()
	if done {
		return nil
	}
	for _, path := range append([]string{filepath.Join(l.o.Dir, CheckpointsFile)}, l.outside()...) {
		if err := keep(path, c); err != nil {
			return fmt.Errorf("keep a checkpoint of the record of changes: %w", err)
		}
	}
	if l.o.Config.CheckpointTo == ToLog {
		l.o.Log.Info("audit_checkpoint", "entries", c.Size, "note", c.Note)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = c
	return nil
}

func (l *Log) register(reg prometheus.Registerer) {
	gauge := func(name, help string, of func(State) float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return of(l.State()) }))
	}
	gauge("hub_audit_signed_entries", "Entries of the record of changes that the newest checkpoint covers.", func(s State) float64 { return float64(s.Newest.Size) })
	gauge("hub_audit_damaged", "1 when the record of changes did not verify; it is signed no more.", func(s State) float64 {
		if s.Verified.Problem != nil {
			return 1
		}
		return 0
	})
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_audit_entries", Help: "Entries of the record of changes."}, func() float64 {
		n, _ := l.waiting()
		return float64(n)
	}), prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_audit_unsigned_seconds", Help: "For how long the oldest entry that no checkpoint covers has waited; 0 when all are covered."}, func() float64 {
		_, age := l.waiting()
		return age.Seconds()
	}))
}

// waiting returns the number of entries, and the age of the oldest that is not
// signed.
func (l *Log) waiting() (n int64, age time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), look)
	defer cancel()
	_ = l.o.Records.Each(ctx, func(rows *sql.Rows) error { // a database that is gone shows as 0
		var at sql.NullInt64
		err := rows.Scan(&n, &at)
		if at.Valid {
			age = max(0, l.o.Clock().Sub(records.Time(at.Int64)))
		}
		return err
	}, "SELECT coalesce(max(seq), 0), (SELECT at FROM audit WHERE seq = ?) FROM audit", l.State().Newest.Size+1)
	return n, age
}
