// Package records keeps rows: it opens the database, brings its tables up to
// date and runs transactions that are durable when they return. It knows SQL
// and nothing of what the rows mean.
package records

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // and the driver "sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrNewer is wrapped by the error of a database that a newer program wrote.
var ErrNewer = errors.New("a newer version wrote it")

// readers is how many reading connections are open at most. Readers see the
// last committed state and never wait for the writer.
const readers = 4

// DB is an open database: one writer at a time, several readers.
type DB struct {
	write, read *sql.DB
	path        string
	shared      together
	checkpoints *checkpointer
	scratch     string // a file that is removed at the end; empty for none
}

// Open opens the SQLite file at path, which is created when absent, and runs
// the migrations that it lacks. A crash at any moment leaves a file that opens
// without help.
func Open(ctx context.Context, path string) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	d := &DB{path: abs}
	if d.write, err = sql.Open("sqlite", dataSource(abs, "_txlock=immediate", "_pragma=journal_mode(WAL)", fmt.Sprintf("_pragma=wal_autocheckpoint(%d)", maxLog))); err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	d.write.SetMaxOpenConns(1)
	if err := d.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: bring its tables up to date: %w", path, err), d.write.Close())
	}
	if d.read, err = sql.Open("sqlite", dataSource(abs, "_pragma=query_only(1)")); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), d.write.Close())
	}
	d.read.SetMaxOpenConns(readers)
	if d.checkpoints, err = newCheckpointer(abs); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), d.read.Close(), d.write.Close())
	}
	return d, nil
}

// OpenReadOnly opens a file that nobody uses, as the last writer left it, and
// changes nothing: tables are not brought up to date. What a killed writer left
// in the log beside the file is read as part of it; the log stays, and the next
// Open takes it over.
func OpenReadOnly(path string) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	d := &DB{path: abs}
	// Without a log the file is all there is, and SQLite need not make one. The
	// index of a log is kept in memory where the file of it may not be written.
	mode := "immutable=1"
	if log, err := os.Stat(abs + "-wal"); err == nil && log.Size() > 0 {
		mode = "readonly_shm=1"
		if _, err := os.Stat(abs + "-shm"); errors.Is(err, fs.ErrNotExist) {
			mode, d.scratch = "cache=private", abs+"-shm"
		}
	}
	if d.read, err = sql.Open("sqlite", dataSource(abs, "mode=ro", mode, "_pragma=query_only(1)")); err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	d.read.SetMaxOpenConns(readers)
	d.write = d.read
	return d, nil
}

// dataSource names the file with what every connection needs: FULL makes each
// commit reach the disk before it returns, also in WAL mode.
func dataSource(abs string, more ...string) string {
	u := url.URL{Path: filepath.ToSlash(abs)}
	s := "file:" + u.EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"
	for _, m := range more {
		s += "&" + m
	}
	return s
}

func (d *DB) migrate(ctx context.Context) error {
	p, err := d.versions()
	if err != nil {
		return err
	}
	if _, err := p.GetDBVersion(ctx); err != nil { // which makes the table of versions
		return err
	}
	if err := d.refuseNewer(ctx, p.ListSources()); err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// refuseNewer looks for a version that this program does not know: by name, for a
// newer program may have filled a gap.
func (d *DB) refuseNewer(ctx context.Context, known []*goose.Source) error {
	rows, err := d.write.QueryContext(ctx, "SELECT DISTINCT version_id FROM goose_db_version WHERE version_id > 0 ORDER BY version_id DESC")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var has int64
		if err := rows.Scan(&has); err != nil {
			return err
		}
		if !slices.ContainsFunc(known, func(s *goose.Source) bool { return s.Version == has }) {
			return fmt.Errorf("%w: its tables have version %d, and this program knows up to %d and not that one; run the version that wrote it or a newer one, or restore a backup from before the upgrade (`hub restore --at`)", ErrNewer, has, known[len(known)-1].Version)
		}
	}
	return rows.Err()
}

func (d *DB) versions() (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	// Work that goes on side by side has its numbers beforehand: a directory may have
	// a later one without an earlier one.
	return goose.NewProvider(goose.DialectSQLite3, d.write, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()), goose.WithAllowOutofOrder(true))
}

// Tx runs f in a transaction. What f wrote is durable when Tx returns nil and
// undone when it returns an error. Transactions run one after the other; f
// must not begin another one.
func (d *DB) Tx(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing; after an error that one counts
	if err := f(tx); err != nil {
		return err
	}
	for _, also := range Riders(ctx) {
		if err := also(tx); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	d.checkpoints.committed()
	return nil
}

// Prepare compiles a statement for transactions, which take it by
// tx.StmtContext; it lives as long as the database is open.
func (d *DB) Prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	s, err := d.write.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	return s, nil
}

type riderKey struct{}

// Also returns a context whose transactions run f too, just before they
// commit: f's rows and the transaction's own are durable together or not at
// all.
func Also(ctx context.Context, f func(tx *sql.Tx) error) context.Context {
	return context.WithValue(ctx, riderKey{}, append(Riders(ctx), f))
}

// Riders are what Also gave a context.
func Riders(ctx context.Context) []func(*sql.Tx) error {
	r, _ := ctx.Value(riderKey{}).([]func(*sql.Tx) error)
	return r[:len(r):len(r)]
}

// Each calls row for every row that the query returns, on a snapshot of what
// is committed.
func (d *DB) Each(ctx context.Context, row func(*sql.Rows) error, query string, args ...any) error {
	rows, err := d.read.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Copy writes the database, as it is at one moment, to a file that is not there
// yet. Pages keep their places, so that two copies differ where the database
// does. Others read and write meanwhile.
func (d *DB) Copy(ctx context.Context, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("copy database %s: %s: %w", d.path, to, fs.ErrExist)
	}
	if err := d.copy(ctx, to); err != nil {
		return errors.Join(fmt.Errorf("copy database %s: %w", d.path, err), os.RemoveAll(to))
	}
	return nil
}

func (d *DB) copy(ctx context.Context, to string) error {
	c, err := d.read.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Raw(func(driver any) error {
		b, err := driver.(interface {
			NewBackup(uri string) (*sqlite.Backup, error)
		}).NewBackup("file:" + (&url.URL{Path: filepath.ToSlash(to)}).EscapedPath())
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			// All at once: it holds up nobody, and begins anew when others write
			// between two steps.
			more, err = b.Step(-1)
		}
		return errors.Join(err, b.Finish())
	})
}

// Counts returns how many rows each table has.
func (d *DB) Counts(ctx context.Context) (map[string]int64, error) {
	tx, err := d.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	rows, err := tx.QueryContext(ctx, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]int64{}
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, name := range names {
		var n int64
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM "`+name+`"`).Scan(&n); err != nil {
			return nil, fmt.Errorf("count the rows of %s: %w", name, err)
		}
		all[name] = n
	}
	return all, nil
}

// Check reads the whole file and reports the first damage it finds.
func (d *DB) Check(ctx context.Context) error {
	err := d.Each(ctx, func(r *sql.Rows) error {
		var found string
		if err := r.Scan(&found); err != nil || found == "ok" {
			return err
		}
		return errors.New(found)
	}, "PRAGMA integrity_check(1)")
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("database %s is damaged: %w; restore it from a backup", d.path, err)
	}
	return err
}

// Close waits for the running transaction and closes the file.
func (d *DB) Close() error {
	err := errors.Join(d.checkpoints.close(), d.read.Close(), d.write.Close())
	if d.scratch != "" {
		_ = os.Remove(d.scratch) // the index of a log, made by a reader
	}
	return err
}

// Millis returns t as the number that columns hold: milliseconds since the
// Unix epoch, 0 for the zero time.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Time is the inverse of Millis, in UTC.
func Time(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
