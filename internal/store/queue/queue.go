// Package queue keeps points on disk until an engine elsewhere has them: what
// Commit returned for is forwarded, however long the engine is away, and each
// series in the order in which it was committed. Its memory does not grow with
// what waits. A queue that is full says so, for doors to refuse before they take
// anything.
//
//	Commit ──► segments on disk ──► reader ──► shards, by series ──► Destination
//	 fsync                                        │
//	                    positions ◄───────────────┘ how far each is
//
// A process that is killed sends again what its shards had under way and what
// they had sent in the last second. What a [Forgetful] server took stays on disk
// until it is durable there. docs/formats/queue.md describes the files.
package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/store/disk"
	"github.com/songhua-io/hub/internal/store/series"
	"github.com/songhua-io/hub/internal/telemetry"
)

// reserve is the free space of the disk below which the queue is full. The
// hub's other files need room, or it ends.
const reserve = 256 << 20

// Poison takes the points of a batch that the destination will never take, and has
// them on disk when it returns: the queue then counts them as forwarded. It may be
// called again with the same points after a crash, here or of the server, keeps none
// of what it is given, and ends Run by an error.
type Poison func([]Poisoned) error

// Poisoned is a point that the destination will never take, and why.
type Poisoned struct {
	Labels []telemetry.Label
	Point  telemetry.Point
	Reason telemetry.Reason
	Detail string
}

// Queue is an open queue. It implements every method of [store.Engine] but
// Querier.
type Queue struct {
	cfg     Config
	log     *slog.Logger
	to      Destination
	poison  Poison
	table   *series.Table[known]
	metrics *metrics
	release func() error // of the directory's lock
	ground
	now   func() time.Time
	sleep func(context.Context, time.Duration) bool

	wake    chan struct{} // holds a token when there may be something to forward
	full    atomic.Pointer[fullError]
	pending atomic.Int64 // samples that wait
	hurry   atomic.Int32 // calls of Settle that wait

	committing sync.Mutex // held by Commit; guards out and what it writes with
	out        writer
	closed     bool
	failed     error

	mu       sync.Mutex // guards all below; taken after committing
	segments []*segment // in order; the last one is written to
	next     uint64     // number of the next sample
	bytes    int64
	tight    bool // the disk has less than room left
	read     uint64
	farthest uint64 // what was read before the shards went back
	lanes    []lane
	moved    chan struct{} // closed and replaced when something was forwarded
	trouble  trouble
	watch    watch

	saved *positionFile // Run's, then Close's
}

// lane is how far a shard is.
type lane struct {
	// under are the batches that are not forwarded yet, in order: the numbers of
	// their first samples, and when those were committed.
	under []mark
	// done is the number below which all is forwarded, while under is empty and
	// read is not beyond it.
	done uint64
	// durable is the number below which all is on the disk of a server that
	// forgets; never above what is forwarded.
	durable uint64
}

type mark struct {
	first uint64
	at    int64 // ms since the Unix epoch
}

// trouble is why forwarding stands still; the zero value when it does not.
type trouble struct {
	since time.Time
	err   error
}

// Open opens or makes the queue in cfg.Dir. What a crash left half-written at
// the end is cut off: no Commit returned for it.
func Open(cfg Config, log *slog.Logger, reg prometheus.Registerer, to Destination, poison Poison) (*Queue, error) {
	if cfg.Dir == "" {
		return nil, errors.New("the queue has no directory")
	}
	if err := strict.Join(cfg.Check("queue")); err != nil {
		return nil, err
	}
	return open(cfg, log, reg, to, poison, ground{disk.Sync, segmentBytes, reserve})
}

// ground is what the queue stands on: how files become durable, how large
// segments are, and with how many free bytes on the disk the queue is full.
type ground struct {
	sync    func(*os.File) error
	segment int64
	room    uint64
}

func open(cfg Config, log *slog.Logger, reg prometheus.Registerer, to Destination, poison Poison, on ground) (*Queue, error) {
	q := &Queue{
		cfg: cfg, log: log, to: to, poison: poison, table: series.NewTable(known{}), ground: on, now: time.Now, sleep: backoff.Sleep,
		wake: make(chan struct{}, 1), moved: make(chan struct{}), watch: watchOf(to),
	}
	if err := q.load(reg); err != nil {
		return nil, explain(cfg.Dir, errors.Join(err, q.closeFiles()))
	}
	return q, nil
}

func (q *Queue) load(reg prometheus.Registerer) (err error) {
	if err = os.MkdirAll(q.cfg.Dir, 0o700); err != nil {
		return err
	}
	if q.release, err = disk.Hold(q.cfg.Dir); err != nil {
		return err
	}
	if q.saved, err = openPositions(q.cfg.Dir); err != nil {
		return err
	}
	if q.segments, err = listSegments(q.cfg.Dir); err != nil {
		return err
	}
	q.next = 1
	if n := len(q.segments); n > 0 {
		last := q.segments[n-1]
		cut, err := last.recover(q.sync)
		if err != nil {
			return err
		}
		if cut > 0 {
			q.log.Warn("queue_tail_cut", "segment", filepath.Base(last.path), "bytes", cut)
		}
		q.next = last.end
	}
	for _, s := range q.segments {
		q.bytes += s.size
	}
	q.resume()
	if err := q.rotate(); err != nil {
		return err
	}
	q.dropDone()
	if q.metrics, err = newMetrics(reg, q); err != nil {
		return err
	}
	q.measure()
	return nil
}

// resume sets the shards to where the process before was.
func (q *Queue) resume() {
	saved := q.saved.positions
	q.next = max(q.next, slices.Max(append(slices.Clone(saved.done), 0)))
	oldest := q.next
	if len(q.segments) > 0 {
		oldest = q.segments[0].first
	}
	q.lanes = make([]lane, q.cfg.Shards)
	if len(saved.done) != len(q.lanes) { // another number of shards divides the series in another way
		saved.done = slices.Repeat([]uint64{lowest(saved.done)}, len(q.lanes))
		saved.durable = slices.Repeat([]uint64{lowest(saved.durable)}, len(q.lanes))
	}
	for i := range q.lanes {
		q.lanes[i] = lane{done: max(saved.done[i], oldest), durable: max(saved.durable[i], oldest)}
	}
	q.read = max(lowest(saved.done), oldest)
	q.watch.seen = slices.Clone(saved.seen)
	q.pending.Store(int64(q.next - q.read))
}

// lowest returns 0 for none.
func lowest(numbers []uint64) uint64 {
	if len(numbers) == 0 {
		return 0
	}
	return slices.Min(numbers)
}

// Series implements [store.Engine].
func (q *Queue) Series(labels []telemetry.Label) telemetry.SeriesID { return q.table.ID(labels) }

// Forget implements [store.Engine].
func (q *Queue) Forget(ids []telemetry.SeriesID) { q.table.Forget(ids) }

// Oldest implements [store.Engine].
func (q *Queue) Oldest(now time.Time) time.Time {
	if q.cfg.Retention == 0 {
		return time.Time{}
	}
	return now.Add(-q.cfg.Retention)
}

// fullError says why the queue takes nothing, and how it comes right.
type fullError struct{ text string }

func (e *fullError) Error() string { return e.text }

// Unwrap tells it from failures.
func (e *fullError) Unwrap() error { return store.ErrFull }

// Full returns why nothing more should be taken, wrapping [store.ErrFull], and
// how that comes right; nil while there is room. What is under way may still be
// committed.
func (q *Queue) Full() error {
	if e := q.full.Load(); e != nil {
		return e
	}
	return nil
}

// measure sets Full. q.mu is held, or the queue is not in use yet.
func (q *Queue) measure() {
	was := q.full.Load() != nil
	why := ""
	switch {
	case q.bytes >= int64(q.cfg.MaxBytes):
		why = fmt.Sprintf("the queue to the time-series engine is full: %v in %s, at most %v (max_bytes of the queue); it takes samples again when the engine has taken some", strict.Bytes(q.bytes>>20<<20), q.cfg.Dir, q.cfg.MaxBytes)
	case q.tight:
		why = fmt.Sprintf("the queue to the time-series engine is full: the disk of %s has less than %d MiB left; it takes samples again when the engine has taken some, or when space is freed", q.cfg.Dir, q.room>>20)
	default:
		if q.full.Swap(nil); was {
			q.log.Info("queue_takes_again", "bytes", q.bytes)
		}
		return
	}
	if q.trouble.err != nil {
		why += fmt.Sprintf("; since %s it takes none: %v", q.trouble.since.UTC().Format(time.RFC3339), q.trouble.err)
	}
	if q.full.Store(&fullError{why}); !was {
		q.log.Error("queue_full", "error", why)
	}
}

// Settle returns when all that was committed before the call is forwarded, to a
// server that has not lost it meanwhile. It needs Run.
func (q *Queue) Settle(ctx context.Context) error {
	q.hurry.Add(1)
	defer q.hurry.Add(-1)
	q.mu.Lock()
	target := q.next
	q.mu.Unlock()
	for {
		if err := q.reach(ctx, target); err != nil || q.watch.server == nil {
			return err
		}
		err := q.ask(ctx)
		if err != nil && !q.sleep(ctx, 100*time.Millisecond) {
			return fmt.Errorf("see whether the engine was restarted: %w", err)
		}
		q.mu.Lock()
		there := err == nil && q.reached(target)
		q.mu.Unlock()
		if there {
			return nil
		}
	}
}

// reach waits until all below target is forwarded.
func (q *Queue) reach(ctx context.Context, target uint64) error {
	for {
		q.mu.Lock()
		there, done, moved := q.reached(target), q.done(), q.moved
		q.mu.Unlock()
		if there {
			return nil
		}
		q.signal()
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d samples wait for the engine: %w", target-min(done, target), ctx.Err())
		case <-moved:
		}
	}
}

// reached reports whether all below target is forwarded, and the shards are not
// about to go back. q.mu is held.
func (q *Queue) reached(target uint64) bool { return q.done() >= target && len(q.watch.strangers) == 0 }

// done returns the number below which all is forwarded. q.mu is held.
func (q *Queue) done() uint64 {
	done := q.next
	for i := range q.lanes {
		done = min(done, q.doneOf(i))
	}
	return done
}

func (q *Queue) doneOf(lane int) uint64 {
	l := &q.lanes[lane]
	if len(l.under) > 0 {
		return l.under[0].first
	}
	return max(l.done, q.read)
}

// Trouble returns since when the destination takes nothing and why; a nil error
// while it does, or while there is nothing to take.
func (q *Queue) Trouble() (since time.Time, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.trouble.since, q.trouble.err
}

// oldest returns when the sample that waits longest was committed; the zero time
// when none waits, or none was read yet. q.mu is held.
func (q *Queue) oldest() (at time.Time) {
	for _, l := range q.lanes {
		if len(l.under) > 0 && (at.IsZero() || l.under[0].at < at.UnixMilli()) {
			at = time.UnixMilli(l.under[0].at)
		}
	}
	return at
}

// signal wakes the reader.
func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// save makes the positions durable, and looks how much room there is.
func (q *Queue) save() error {
	free, err := disk.Free(q.cfg.Dir)
	if err != nil {
		return explain(q.cfg.Dir, err)
	}
	q.mu.Lock()
	q.tight = free < q.room
	q.measure()
	q.mu.Unlock()
	return q.savePositions()
}

// allDone returns how far each shard is. q.mu is held.
func (q *Queue) allDone() []uint64 {
	done := make([]uint64, len(q.lanes))
	for i := range done {
		done[i] = q.doneOf(i)
	}
	return done
}

// savePositions waits for the disk without q.mu, so that commits do not.
func (q *Queue) savePositions() error {
	q.mu.Lock()
	now := positions{done: q.allDone(), seen: slices.Clone(q.watch.seen)}
	for i := range q.lanes {
		now.durable = append(now.durable, q.durableOf(i))
	}
	q.mu.Unlock()
	if now.equal(q.saved.positions) {
		return nil
	}
	if err := q.saved.write(now, q.sync); err != nil {
		return explain(q.cfg.Dir, fmt.Errorf("write positions: %w", err))
	}
	return nil
}

// dropDone removes the segments of which all is forwarded for good. q.mu is held.
func (q *Queue) dropDone() {
	done := q.next
	for i := range q.lanes {
		done = min(done, q.durableOf(i))
	}
	for len(q.segments) > 1 && q.segments[0].end <= done {
		s := q.segments[0]
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			q.log.Error("queue_segment_not_removed", "segment", s.path, "error", err)
			return // the next one to be done tries again
		}
		q.segments = q.segments[1:]
		q.bytes -= s.size
	}
}

// Close gives the directory free. What waits is forwarded by the next process.
// Run must have ended.
func (q *Queue) Close() error {
	q.committing.Lock()
	defer q.committing.Unlock()
	if q.closed {
		return nil
	}
	q.closed = true
	err := q.savePositions()
	q.metrics.close()
	return errors.Join(err, q.closeFiles())
}

func (q *Queue) closeFiles() (err error) {
	if q.out.file != nil {
		err = q.out.file.Close()
	}
	if q.saved != nil {
		err = errors.Join(err, q.saved.file.Close())
	}
	if q.release != nil {
		err = errors.Join(err, q.release())
	}
	return err
}

// explain names the directory and the way out of an error of the file system.
func explain(dir string, err error) error {
	if err == nil {
		return nil
	}
	way := ""
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		way = "; make it writable for the user the hub runs as"
	case isFull(err):
		way = "; free space, or move it to a larger disk"
	case errors.Is(err, syscall.EAGAIN):
		way = "; another process uses it: end that one"
	case errors.Is(err, syscall.EIO):
		way = "; the disk failed: check it (dmesg, smartctl)"
	}
	return fmt.Errorf("queue in %s: %w%s", dir, err, way)
}
