package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/compression"
)

// part is one TSDB with the journals that make it durable. The store has two:
// recent, and late for what is older than recent's window.
type part struct {
	db       *tsdb.DB
	opened   atomic.Pointer[tsdb.DB] // db, once it is open
	dir      string
	wal, wbl *journal
	metrics  *tap

	appended   func() float64 // samples that the head took
	wblFailed  func() float64 // writes to the out-of-order log that failed
	wblFailure float64        // wblFailed when the part was last found sound

	inOrder bool // what begin was told last
	// What was written since the last flush.
	dirty, dirtyBehind bool

	// Scratch of lookups.
	builder labels.ScratchBuilder
	chks    []chunks.Meta
	it      chunkenc.Iterator
}

func openPart(name, dir string, opts *tsdb.Options, sync func(*os.File) error, log *slog.Logger, reg prometheus.Registerer) (*part, error) {
	if err := refuseNewer(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if torn, err := dropTornHeadChunks(dir); err != nil {
		return nil, err
	} else if len(torn) > 0 {
		log.Warn("torn files removed; the logs hold what was in them", "part", name, "files", torn)
	}
	p := &part{dir: dir, metrics: newTap(prometheus.WrapRegistererWith(prometheus.Labels{"part": name}, reg))}
	opts.BlockCompactionExcludeFunc = p.apart
	db, err := tsdb.Open(dir, slog.New(quiet{log.Handler()}).With("part", name), p.metrics, opts, nil)
	if err != nil {
		p.metrics.close()
		return nil, err
	}
	db.DisableCompactions() // Run compacts
	p.db = db
	p.opened.Store(db)
	if err := p.attach(sync); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// attach opens the journals and finds the counters of an open TSDB.
func (p *part) attach(sync func(*os.File) error) (err error) {
	if p.wal, err = openJournal(filepath.Join(p.dir, "wal"), sync); err != nil {
		return err
	}
	if p.wbl, err = openJournal(filepath.Join(p.dir, "wbl"), sync); err != nil {
		return err
	}
	if p.appended, err = p.metrics.counter("prometheus_tsdb_head_samples_appended_total"); err != nil {
		return err
	}
	if p.wblFailed, err = p.metrics.counter("prometheus_tsdb_out_of_order_wbl_writes_failed_total"); err != nil {
		return err
	}
	return nil
}

// options are the TSDB options that both parts share.
func options(blocks, window time.Duration) *tsdb.Options {
	o := tsdb.DefaultOptions()
	o.MinBlockDuration = blocks.Milliseconds()
	o.MaxBlockDuration = (27 * blocks).Milliseconds()
	o.OutOfOrderTimeWindow = window.Milliseconds()
	o.RetentionDuration = 0 // retention.go decides
	o.NoLockfile = true     // openParts holds one for both
	o.WALCompression = compression.None
	// A reader may see a part of a commit that is running: nobody is told that
	// it is stored before it is, and the ids that isolation keeps per sample
	// cost more than they give.
	o.IsolationDisabled = true
	return o
}

// begin returns an appender and the count of samples taken before it. With
// inOrder it refuses what would go to the out-of-order log.
func (p *part) begin(inOrder bool) (storage.Appender, float64) {
	app := p.db.Appender(context.Background())
	p.inOrder = inOrder
	app.SetOptions(&storage.AppendOptions{DiscardOutOfOrder: inOrder})
	return app, p.appended()
}

// commit commits the appender and returns how many of its samples the head did
// not take.
func (p *part) commit(app storage.Appender, before float64, samples int) (missing int, err error) {
	p.dirty, p.dirtyBehind = true, p.dirtyBehind || !p.inOrder
	if err := app.Commit(); err != nil {
		return 0, err
	}
	if failed := p.wblFailed(); failed != p.wblFailure {
		return 0, fmt.Errorf("writing the out-of-order log %s failed; the process' log says why", p.wbl.dir)
	}
	return samples - int(p.appended()-before), nil
}

// flush returns when all that was committed is durable.
func (p *part) flush() error {
	if !p.dirty {
		return nil
	}
	behind := p.dirtyBehind
	p.dirty, p.dirtyBehind = false, false
	if err := p.wal.flush(); err != nil || !behind {
		return err
	}
	return p.wbl.flush()
}

// fresh reports whether the head has no sample, so that it does not know yet
// what is in order.
func (p *part) fresh() bool {
	_, ok := p.db.Head().AppendableMinValidTime()
	return !ok
}

// newest returns the time of the newest sample; false when there is none.
func (p *part) newest() (int64, bool) {
	newest, ok := int64(0), false
	if !p.fresh() {
		newest, ok = p.db.Head().MaxTime(), true
	}
	for _, b := range p.db.Blocks() {
		if t := b.MaxTime() - 1; !ok || t > newest {
			newest, ok = t, true
		}
	}
	return newest, ok
}

// holds reports whether samples between two times may be stored in blocks.
func (p *part) holdsBlocks(mint, maxt int64) bool {
	for _, b := range p.db.Blocks() {
		if b.OverlapsClosedInterval(mint, maxt) {
			return true
		}
	}
	return false
}

func (p *part) close() error {
	var errs []error
	for _, j := range []*journal{p.wal, p.wbl} {
		if j != nil {
			errs = append(errs, j.close())
		}
	}
	errs = append(errs, p.db.Close())
	p.metrics.close()
	return errors.Join(errs...)
}
