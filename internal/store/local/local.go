// Package local keeps time series in a directory of this machine: what Commit
// took is on the disk when it returns, and is there again after any crash.
//
// It is the Prometheus TSDB with four things around it: a table of series
// (series.go), commits that tell of every point they do not take (commit.go)
// and wait for the disk (journal.go), and a second TSDB for samples too late
// for the first (the folder late).
package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/store/disk"
	"github.com/songhua-io/hub/internal/telemetry"
)

// DB is an open store. It implements [store.Engine].
type DB struct {
	release func() error // of the directory's lock
	cfg     Config
	log     *slog.Logger
	reg     prometheus.Registerer
	table   *table
	metrics *metrics
	sync    func(*os.File) error // makes a log segment durable
	free    func(dir string) (uint64, error)

	recent *part
	late   atomic.Pointer[part] // nil until a late point comes; set under mu
	since  atomic.Int64         // see Since

	mu     sync.Mutex // guards failed, closed and everything a commit uses
	failed error
	closed bool
	round  round

	// steady is held while blocks come and go, and while they are frozen. It is
	// taken before mu.
	steady sync.Mutex

	// gate lets a commit look into the head's chunks by reference: they are not
	// taken away while it holds the gate and compacting is false.
	gate       sync.RWMutex
	compacting bool
}

var _ store.Engine = (*DB)(nil)

// Open opens the store in cfg.Dir and replays its logs. A log that a crash cut
// short is repaired; what was durable is kept.
func Open(ctx context.Context, cfg Config, log *slog.Logger, reg prometheus.Registerer) (*DB, error) {
	return open(ctx, cfg, log, reg, disk.Sync)
}

func open(ctx context.Context, cfg Config, log *slog.Logger, reg prometheus.Registerer, sync func(*os.File) error) (*DB, error) {
	if cfg.Dir == "" {
		return nil, errors.New("the store has no directory")
	}
	if err := strict.Join(cfg.Check("store")); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d := &DB{cfg: cfg, log: log, reg: reg, table: newTable(), sync: sync, free: disk.Free}
	if err := d.openParts(); err != nil {
		return nil, explain(cfg.Dir, err)
	}
	return d, nil
}

func (d *DB) openParts() (err error) {
	if err := os.MkdirAll(d.cfg.Dir, 0o750); err != nil {
		return err
	}
	if err := d.checkSpace(); err != nil {
		return err
	}
	if d.release, err = disk.Hold(d.cfg.Dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.release())
		}
	}()
	if d.metrics, err = newMetrics(d.reg, d.table, d.room); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.metrics.close()
		}
	}()
	if err = d.loadSince(); err != nil {
		return err
	}
	if d.recent, err = openPart("recent", d.cfg.Dir, d.recentOptions(), d.sync, d.log, d.reg); err != nil {
		return err
	}
	if _, statErr := os.Stat(d.lateDir()); statErr == nil {
		if err := d.openLate(); err != nil {
			return errors.Join(err, d.recent.close())
		}
	}
	return nil
}

func (d *DB) lateDir() string { return filepath.Join(d.cfg.Dir, "late") }

func (d *DB) openLate() error {
	p, err := openPart("late", d.lateDir(), d.lateOptions(), d.sync, d.log, d.reg)
	if err != nil {
		return err
	}
	d.late.Store(p)
	return disk.SyncDir(d.cfg.Dir)
}

// explain names the directory and the way out of an error of the file system.
func explain(dir string, err error) error {
	way := ""
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		way = "; make it writable for the user the hub runs as"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG), errors.Is(err, errNoSpace):
		way = "; free space, or move it to a larger disk, and start again"
	case errors.Is(err, syscall.EAGAIN):
		way = "; another process uses it: end that one, or choose another directory"
	case errors.Is(err, syscall.EIO):
		way = "; the disk failed: check it (dmesg, smartctl), then run `hub verify`"
	case errors.Is(err, errNewer):
		way = "; run that one or a newer one, or restore a backup from before the upgrade"
	}
	return fmt.Errorf("store in %s: %w%s", dir, err, way)
}

// Series implements [store.Engine].
func (d *DB) Series(labels []telemetry.Label) telemetry.SeriesID { return d.table.ID(labels) }

// Forget implements [store.Engine]. An id still counts in the next commit to
// begin, so points already on their way under it are not lost.
func (d *DB) Forget(ids []telemetry.SeriesID) { d.table.Forget(ids) }

// Querier implements [storage.Queryable]. It shows nothing older than what is
// kept, though the disk may hold it until its block goes.
func (d *DB) Querier(mint, maxt int64) (storage.Querier, error) {
	mint = max(mint, d.oldestTaken())
	if mint > maxt {
		return storage.NoopQuerier(), nil
	}
	recent, err := d.recent.db.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	late := d.late.Load()
	if late == nil {
		return recent, nil
	}
	old, err := late.db.Querier(mint, maxt)
	if err != nil {
		return nil, errors.Join(err, recent.Close())
	}
	return storage.NewMergeQuerier([]storage.Querier{recent, old}, nil, mergeParts), nil
}

// Oldest implements [store.Engine].
func (d *DB) Oldest(now time.Time) time.Time { return now.Add(-d.cfg.Retention) }

// Newest returns the time of the newest stored sample; the zero time when
// there is none.
func (d *DB) Newest() time.Time {
	t, ok := d.recent.newest()
	if !ok {
		return time.Time{}
	}
	return time.UnixMilli(t)
}

// Close implements [store.Engine].
func (d *DB) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	defer d.metrics.close()
	if d.failed != nil {
		d.abandon()
		return d.release()
	}
	var errs []error
	if late := d.late.Load(); late != nil {
		errs = append(errs, late.close())
	}
	errs = append(errs, d.recent.close(), d.release())
	if err := errors.Join(errs...); err != nil {
		return explain(d.cfg.Dir, err)
	}
	return nil
}

// abandon ends the TSDBs of a store that failed. The logs hold all that was
// acknowledged; what the TSDBs still write goes to the disk that failed, and
// they panic when that fails too.
func (d *DB) abandon() {
	for _, p := range []*part{d.recent, d.late.Load()} {
		if p == nil || errors.Is(d.failed, errPanic) {
			continue // after a panic the head's locks are in an unknown state
		}
		func() {
			defer func() { _ = recover() }()
			_ = p.close()
		}()
	}
}

// reserve is the free space below which the store stops. Out of space the TSDB
// ends the process in the middle of a compaction, without a word about why.
const reserve = 32 << 20

var errNoSpace = errors.New("disk is full")

// room is the space that the disk still has, in bytes; NaN when it cannot be told.
func (d *DB) room() float64 {
	free, err := d.free(d.cfg.Dir)
	if err != nil {
		return math.NaN()
	}
	return float64(free)
}

// checkSpace fails when the disk has less free space than the reserve.
func (d *DB) checkSpace() error {
	free, err := d.free(d.cfg.Dir)
	if err != nil {
		return err
	}
	if free < reserve {
		return fmt.Errorf("%w: %d MiB are free, the store stops below %d MiB", errNoSpace, free>>20, reserve>>20)
	}
	return nil
}

// oldestTaken returns the time before which points are refused.
func (d *DB) oldestTaken() int64 {
	newest, ok := d.recent.newest()
	if !ok {
		return math.MinInt64
	}
	return newest - (d.cfg.Retention + slack).Milliseconds()
}

// slack is how much older than Retention a point may be, counted from the
// newest stored sample. That one may be from the near future, so every point
// that Oldest admits by the clock is admitted by a commit.
const slack = day
