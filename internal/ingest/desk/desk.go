// Package desk keeps rejected messages on disk for people to look at, send
// through the pipeline again, or drop; it holds a bounded number of them and
// never makes ingest wait.
//
// It stands on bbolt rather than on a segment log: entries leave one by one,
// by filter and in any order, and a log would need tombstones and compaction
// for that, while a transaction a few times a second costs nothing.
package desk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/songhua-io/hub/internal/ingest"
)

// Config bounds what the desk keeps. The oldest entries go first.
type Config struct {
	// MaxEntries is how many rejected messages are kept.
	MaxEntries int `yaml:"max_entries"`
	// MaxBytes is how many bytes they may take together.
	MaxBytes int64 `yaml:"max_bytes"`
	// MaxAge is how long one is kept.
	MaxAge time.Duration `yaml:"max_age"`
}

// DefaultConfig returns the bounds of a hub without a config file.
func DefaultConfig() Config {
	return Config{MaxEntries: 100_000, MaxBytes: 256 << 20, MaxAge: 30 * 24 * time.Hour}
}

const (
	// maxPayload is how much of a message is kept; a longer one is cut and
	// cannot be sent through the pipeline again.
	maxPayload = 64 << 10
	// maxRejects is how many rejects of one message are kept.
	maxRejects = 100
	// maxWaiting and maxWaitingBytes bound what waits to be written.
	maxWaiting      = 4096
	maxWaitingBytes = 16 << 20
	// writeEvery is how often what waits is written.
	writeEvery = 200 * time.Millisecond
)

// Deps are what a desk works with. All are required.
type Deps struct {
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Desk is a bounded pile of rejected messages. All methods may be called from
// any goroutine.
type Desk struct {
	cfg     Config
	deps    Deps
	db      *bolt.DB
	metrics *metrics

	// What stands on disk. Written inside transactions, of which there is one
	// at a time.
	entries, bytes atomic.Int64

	mu           sync.Mutex
	waiting      []record
	waitingBytes int

	replay sync.Mutex
	// replayed are the first bytes of the payloads that are being sent through
	// the pipeline again: their entries are here already. The map is only read.
	replayed atomic.Pointer[map[*byte]bool]
}

// Open opens or creates the desk in the file at path. Its directory must exist.
func Open(path string, cfg Config, deps Deps) (*Desk, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			return nil, fmt.Errorf("desk %s is in use by another process; stop it first", path)
		}
		return nil, fmt.Errorf("open desk %s: %w", path, err)
	}
	d := &Desk{cfg: cfg, deps: deps, db: db}
	if err := db.Update(d.load); err != nil {
		return nil, errors.Join(fmt.Errorf("read desk %s: %w", path, err), db.Close())
	}
	d.metrics = newMetrics(deps.Metrics, d)
	return d, nil
}

// Close writes what waits and closes the file.
func (d *Desk) Close() error { return errors.Join(d.write(), d.db.Close()) }

// Keep notes a rejected message. It does not block: what comes faster than it
// can be written is counted in hub_desk_overflow_total and let go.
func (d *Desk) Keep(at time.Time, m *ingest.Message) {
	if here := d.replayed.Load(); here != nil && len(m.Payload) > 0 && (*here)[&m.Payload[0]] {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	size := min(len(m.Payload), maxPayload)
	if len(d.waiting) >= maxWaiting || d.waitingBytes+size > maxWaitingBytes {
		d.metrics.overflow.Inc()
		return
	}
	d.waitingBytes += size
	d.waiting = append(d.waiting, newRecord(at, m))
}

// Run writes what Keep noted, and lets go what is too old, until ctx ends.
func (d *Desk) Run(ctx context.Context) error {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	age := time.NewTicker(time.Minute)
	defer age.Stop()
	for {
		select {
		case <-ctx.Done():
			return d.write()
		case <-age.C:
			d.report(d.db.Update(d.trim))
		case <-tick.C:
			d.report(d.write())
		}
	}
}

// report tells of a failed write; what it held was counted. A desk that cannot
// write must not keep good telemetry from being stored.
func (d *Desk) report(err error) {
	if err != nil {
		d.deps.Log.Error("rejected messages could not be kept", "error", err)
	}
}

// write puts everything that waits on disk, in one transaction.
func (d *Desk) write() error {
	d.mu.Lock()
	waiting := d.waiting
	d.waiting, d.waitingBytes = nil, 0
	d.mu.Unlock()
	if len(waiting) == 0 {
		return nil
	}
	err := d.store(waiting)
	if err != nil {
		d.metrics.overflow.Add(float64(len(waiting)))
	}
	return err
}

// store puts records on disk, in one transaction.
func (d *Desk) store(all []record) error {
	err := d.update(func(tx *bolt.Tx) error {
		for i := range all {
			if err := d.put(tx, &all[i]); err != nil {
				return err
			}
		}
		return d.trim(tx)
	})
	if err != nil {
		return fmt.Errorf("write %d entries to desk: %w", len(all), err)
	}
	return nil
}

// Copy writes what is kept, as it is at one moment, to a file.
func (d *Desk) Copy(to string) error {
	if err := d.write(); err != nil {
		return err
	}
	return d.db.View(func(tx *bolt.Tx) error { return tx.CopyFile(to, 0o600) })
}
