// Package intake is the way of V2X messages to the board of package traffic: it
// reads them, takes them there, and keeps what they add to open minutes in a
// journal, so that what was acknowledged is counted once whatever happens to the
// process. Nothing that names a participant is on disk. Art. 15(2)
//
//	read.go     bytes → messages of package road → board → record
//	units.go    whom a message is of
//	journal.go  records → disk, one fsync for all that wait; replay.go the way back
//	keys.go     keyed hashes, by which a message that comes again is known
//	minutes.go  minutes that are over → samples, on the way of everybody's
package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/road/dialect"
	"github.com/songhua-io/hub/internal/traffic"
)

// Deps are what an intake works with. All but Over, Found, Reported and Knock are
// required.
type Deps struct {
	Board *traffic.Board
	// Dirs are where journals may lie: the first is written, the others are read at
	// the start and emptied.
	Dirs []string
	// Ingest takes the samples of minutes that are over (ingest.Pipeline.Ingest).
	Ingest func(*ingest.Delivery) error
	// Over is told of minutes that are over, before they are forgotten; a minute
	// whose telling fails, or that a crash cuts short, is told again, and is the
	// same.
	Over func([]traffic.Minute) error
	// Registered reports whether there is a device; Unit returns the one with a
	// serial number, empty when there is none or several; IsUnit reports whether
	// a device has it. They do not block.
	Registered func(device string) bool
	Unit       func(esn string) (device string)
	IsUnit     func(device, esn string) bool
	// Found is told how messages of a unit deviate from the standard.
	Found func(unit string, kind road.Kind, code, path, zh, en string, at time.Time)
	// Reported is told what a unit says of itself and its configuration, the newest
	// where it says so faster than Reported returns.
	Reported func(ctx context.Context, device string, s *road.Status)
	// Knock is told of a unit that nobody registered. Status is nil where its
	// message says nothing of it.
	Knock   func(esn, gateway, door string, from netip.Addr, s *road.Status)
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// shards is how many units are read for at once: messages of one unit go to the
// board and into the journal in one order.
const shards = 64

// Intake implements ingest.Roads and ingest.Units.
type Intake struct {
	deps    Deps
	set     *dialect.Set
	keys    *keys
	journal *journal
	metrics *metrics
	shards  [shards]shard
	reports reports
	swept   time.Time // when units that were removed were last looked for; of upkeep alone
}

// shard is the memory with which messages of some units are read. mu guards the
// rest, and the order of records.
type shard struct {
	mu      sync.Mutex
	frames  dialect.Frames
	arrival traffic.Arrival
	record  []byte
	hashed  []byte
}

// Open brings the minutes back that were open when the hub ended.
func Open(deps Deps) (*Intake, error) {
	set, err := dialect.Load()
	if err != nil {
		return nil, fmt.Errorf("dialects of roadside units: %w", err)
	}
	in := &Intake{deps: deps, set: set, keys: newKeys()}
	in.metrics = newMetrics(deps.Metrics, in)
	in.journal = newJournal(deps.Dirs[0], in.metrics, deps.Clock)
	in.reports.init()
	last, err := in.restore()
	if err != nil {
		return nil, fmt.Errorf("journal of traffic: %w", err)
	}
	in.sweep()
	deps.Board.Restored(deps.Clock())
	if err := in.journal.begin(last + 1); err != nil {
		return nil, fmt.Errorf("journal of traffic: %w", err)
	}
	if err := in.snapshot(); err != nil {
		return nil, errors.Join(fmt.Errorf("journal of traffic: %w", err), in.journal.close())
	}
	return in, nil
}

// Close makes durable what waits. Nothing is observed any more.
func (in *Intake) Close() error { return in.journal.close() }

// Sync implements ingest.Roads.
func (in *Intake) Sync() error { return in.journal.sync() }

// How long a journal is written before another begins with what is still open,
// and how large it gets.
const (
	maxJournalAge   = time.Hour
	maxJournalBytes = 64 << 20
)

// Run closes minutes, and keeps the journal short, until ctx ends. It returns an
// error after which nothing may be acknowledged any more.
func (in *Intake) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return in.every(ctx, time.Second, in.closeMinutes) })
	g.Go(func() error { return in.every(ctx, time.Second, in.upkeep) })
	g.Go(func() error { return in.report(ctx) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-in.journal.broken:
			return in.journal.sync()
		}
	})
	return g.Wait()
}

func (in *Intake) every(ctx context.Context, d time.Duration, do func() error) error {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := do(); err != nil {
				return err
			}
		}
	}
}

// upkeep begins another journal when this one is long, and forgets units that
// were removed, within a minute.
func (in *Intake) upkeep() error {
	now := in.deps.Clock()
	if now.Sub(in.swept) >= time.Minute {
		in.swept = now
		in.sweep()
	}
	if size, since := in.journal.length(); size < maxJournalBytes && now.Sub(since) < maxJournalAge {
		return nil
	}
	if err := in.rotate(); err != nil {
		return fmt.Errorf("journal of traffic: %w", err)
	}
	return nil
}

// sweep forgets units whose device was removed.
func (in *Intake) sweep() {
	for _, unit := range in.deps.Board.Names() {
		if !in.deps.Registered(unit) {
			in.deps.Board.Remove(unit)
		}
	}
}

func (in *Intake) shard(device string) *shard {
	h := uint32(2166136261) // FNV-1a
	for i := range len(device) {
		h = (h ^ uint32(device[i])) * 16777619
	}
	return &in.shards[h%shards]
}
