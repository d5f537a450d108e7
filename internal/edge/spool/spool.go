// Package spool keeps opaque blocks on disk until somebody says that they
// arrived: what Append returned for survives kill -9 and power loss, the newest
// is offered first, the space has a bound, and what the bound cost is written
// in a ledger. It knows nothing of what is in a block, and of no network.
//
// docs/formats/spool.md describes the files.
package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Config bounds the spool.
type Config struct {
	// Dir is created when it is absent; one process may have it open.
	Dir string
	// MaxBytes bounds the segments on disk, at least MinBytes. Beyond it the
	// oldest segment goes and its blocks are in the ledger.
	MaxBytes int64
	// MaxAge is how long a block waits, counted from its Append; 0 means as
	// long as there is room. Whole segments go, so a block may stay longer by
	// the time that its segment took to fill.
	MaxAge time.Duration
}

// MinBytes is the smallest bound: room for the segment that is written, the one
// that is sent from, and two between.
const MinBytes = 4 * segmentBytes

// MaxBlock is the largest block in bytes.
const MaxBlock = 1 << 20

// Block is one opaque block and what the ledger has to know of it.
type Block struct {
	// Seq is the block's number, given by Append, rising by one.
	Seq uint64
	// Samples, From and To say what is lost when the block is: how many
	// samples, and the times of the first and last in milliseconds since the
	// Unix epoch.
	Samples  uint32
	From, To int64
	Data     []byte
}

// ErrBroken is wrapped by every error after an fsync failed: what the disk holds
// is no longer known, so the process has to end and open the spool anew.
var ErrBroken = errors.New("the spool cannot go on after a failed fsync")

// Spool is safe for use by several goroutines.
type Spool struct {
	cfg Config
	log *slog.Logger
	now func() time.Time

	lock *os.File
	wake chan struct{}

	syncing sync.Mutex // held around the fsync of the active segment

	mu       sync.Mutex // guards everything below
	segments []*segment // in order of seq; the last one is written to
	next     uint64     // seq of the next block
	synced   uint64     // blocks below are on disk
	broken   error
	bytes    int64
	done     ranges // delivered, or accounted for in the ledger
	taken    map[uint64]struct{}
	live     cursor // next block of the live lane
	history  cursor // where the search for the oldest waiting block goes on
	recent   [recentBlocks]mark
	ledger   ledger
	state    *stateFile
	dirty    bool // done changed since the state was last written
	buf      []byte
}

// Open opens or makes the spool in cfg.Dir. What a crash left half-written at
// the end is cut off: no Append returned for it.
func Open(cfg Config, log *slog.Logger, now func() time.Time) (*Spool, error) {
	if cfg.MaxBytes < MinBytes {
		return nil, fmt.Errorf("spool: max size %d B is too small; it must be at least %d B", cfg.MaxBytes, MinBytes)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: make directory: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{cfg: cfg, log: log, now: now, lock: lock, wake: make(chan struct{}, 1), taken: map[uint64]struct{}{}}
	if err := s.load(); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("spool %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func (s *Spool) load() error {
	var err error
	if s.state, err = openState(s.cfg.Dir); err != nil {
		return err
	}
	s.done, s.ledger = s.state.done, s.state.ledger
	if s.segments, err = listSegments(s.cfg.Dir); err != nil {
		return err
	}
	s.next = 1
	if n := len(s.segments); n > 0 {
		last := s.segments[n-1]
		cut, err := last.recover()
		if err != nil {
			return err
		}
		if cut > 0 {
			s.log.Warn("spool_tail_cut", "segment", filepath.Base(last.path), "bytes", cut)
		}
		s.next = last.first + last.count
	}
	// Numbers that were delivered are never given out again, even when the
	// segment that held them is gone.
	s.next = max(s.next, s.done.end())
	s.synced = s.next
	s.live.seq = s.next
	for _, g := range s.segments {
		s.bytes += g.size
	}
	// Every process writes a segment of its own, so a sealed one never grows.
	return s.rotate()
}

// Append writes blocks and returns the number of the last one when all are on
// disk. All that wait at the same time share one fsync. An error means that not
// all are kept; with ErrBroken no block will be.
func (s *Spool) Append(blocks ...Block) (uint64, error) {
	for _, b := range blocks {
		if len(b.Data) > MaxBlock {
			return 0, fmt.Errorf("spool: a block has %d B; at most %d are kept", len(b.Data), MaxBlock)
		}
	}
	seq, err := s.writeAll(blocks)
	if err != nil {
		return 0, err
	}
	return seq, s.sync(seq)
}

func (s *Spool) writeAll(blocks []Block) (seq uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range blocks {
		if seq, err = s.write(b); err != nil {
			return 0, err
		}
	}
	return seq, nil
}

// write puts the block at the end of the active segment. s.mu is held.
func (s *Spool) write(b Block) (uint64, error) {
	if s.broken != nil {
		return 0, s.broken
	}
	b.Seq = s.next
	s.buf = appendRecord(s.buf[:0], b, s.now().UnixMilli())
	if err := s.makeRoom(int64(len(s.buf))); err != nil {
		return 0, err
	}
	offset := s.active().size
	err := s.active().write(s.buf)
	if isFull(err) && s.dropOldest(ReasonDiskFull) == nil {
		err = s.active().write(s.buf)
	}
	if err != nil {
		return 0, fmt.Errorf("spool: write block: %w", err)
	}
	s.recent[b.Seq%recentBlocks] = mark{b.Seq, s.active(), offset}
	s.next++
	s.bytes += int64(len(s.buf))
	return b.Seq, nil
}

// makeRoom starts a new segment when the active one is full, and drops what the
// bounds no longer allow. s.mu is held.
func (s *Spool) makeRoom(n int64) error {
	if s.active().size+n > segmentBytes && s.active().count > 0 {
		// Without room for another file the segment just grows.
		if err := s.rotate(); err != nil && !isFull(err) {
			return err
		}
	}
	for s.bytes+n > s.cfg.MaxBytes {
		if err := s.dropOldest(ReasonFull); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spool) active() *segment { return s.segments[len(s.segments)-1] }

// rotate seals the active segment and begins the next. s.mu is held, or the
// spool is not in use yet.
func (s *Spool) rotate() error {
	if n := len(s.segments); n > 0 {
		if err := s.active().seal(); err != nil {
			return s.fail(err)
		}
		s.synced = s.next
		s.signal()
		if s.active().count == 0 {
			if err := s.remove(n - 1); err != nil {
				return err
			}
		}
	}
	g, err := createSegment(s.cfg.Dir, s.next)
	if err != nil {
		return fmt.Errorf("spool: begin segment: %w", err)
	}
	s.segments = append(s.segments, g)
	s.bytes += g.size
	return s.dropDone()
}

// sync returns when the block seq is on disk. Whoever gets the lock first syncs
// for all that wait behind.
func (s *Spool) sync(seq uint64) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	file, end, synced, broken := s.active().file, s.next, s.synced, s.broken
	s.mu.Unlock()
	if broken != nil {
		return broken
	}
	if seq < synced {
		return nil
	}
	err := file.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq < s.synced { // a rotation sealed the segment meanwhile
		return nil
	}
	if err != nil {
		return s.fail(err)
	}
	s.synced = max(s.synced, end)
	s.signal()
	return nil
}

// fail remembers that the disk cannot be trusted. s.mu is held.
func (s *Spool) fail(err error) error {
	if s.broken == nil {
		s.broken = fmt.Errorf("spool: %w: %w", ErrBroken, err)
	}
	return s.broken
}

// Wake receives when there may be something new to take.
func (s *Spool) Wake() <-chan struct{} { return s.wake }

func (s *Spool) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Save writes down what was delivered, and drops what is too old. Without it a
// crash makes blocks be delivered twice, none be lost. To be called about once
// a second.
func (s *Spool) Save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	if err := s.dropOld(); err != nil {
		return err
	}
	if !s.dirty {
		return nil
	}
	return s.writeState()
}

// writeState makes durable what was delivered and lost. s.mu is held.
func (s *Spool) writeState() error {
	err := s.state.write(s.done, s.ledger)
	switch {
	case isFull(err):
		return fmt.Errorf("spool: write state: %w", err)
	case err != nil:
		return s.fail(err)
	}
	s.dirty = false
	return nil
}

// Close saves and gives the directory free.
func (s *Spool) Close() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.broken == nil {
		err = s.active().seal()
		err = errors.Join(err, s.writeState())
		s.broken = fmt.Errorf("spool: %w", os.ErrClosed)
	}
	s.closeFiles()
	return err
}

func (s *Spool) closeFiles() {
	for _, g := range s.segments {
		g.close()
	}
	if s.state != nil {
		s.state.close()
	}
	_ = s.lock.Close() // read-only descriptor: nothing to lose
}
