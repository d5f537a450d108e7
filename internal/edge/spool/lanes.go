package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Lane is one of the two orders in which blocks are taken.
type Lane uint8

const (
	// Live gives blocks as they come in. When more than liveLag wait in it, it
	// goes on at the newest and leaves what it passes over to History.
	Live Lane = iota
	// History gives what Live passed over, what was released, and what an
	// earlier process left, oldest first.
	History
)

const (
	liveLag      = 64
	recentBlocks = liveLag
)

// cursor is a place in the log. seg is nil when the place has to be looked up.
type cursor struct {
	seq    uint64
	seg    *segment
	offset int64
}

// mark remembers where one of the newest blocks stands.
type mark struct {
	seq    uint64
	seg    *segment
	offset int64
}

// Take returns the next block of the lane that is on disk, not delivered and
// not taken; false when there is none. It stays taken until Ack, Refuse or
// Release. The data is the caller's.
func (s *Spool) Take(lane Lane) (Block, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return Block{}, false, s.broken
	}
	c, limit := &s.history, min(s.live.seq, s.synced)
	if lane == Live {
		if s.synced > s.live.seq+liveLag {
			s.live = cursor{seq: s.synced - 1}
		}
		c, limit = &s.live, s.synced
	}
	b, ok, err := s.advance(c, limit)
	if ok {
		s.taken[b.Seq] = struct{}{}
	}
	return b, ok, err
}

// advance moves the cursor to the next block below limit that waits, and
// behind it.
func (s *Spool) advance(c *cursor, limit uint64) (Block, bool, error) {
	for {
		s.skipDone(c)
		if c.seq >= limit {
			return Block{}, false, nil
		}
		if !s.locate(c) {
			return Block{}, false, nil
		}
		if err := c.seg.open(os.O_RDONLY); err != nil {
			return Block{}, false, fmt.Errorf("spool: %w", err)
		}
		r, err := c.seg.header(c.offset)
		if err == nil && !s.waits(r.Seq, c.seq) {
			c.seq, c.offset = max(c.seq, r.Seq+1), r.end
			continue
		}
		if err == nil {
			r, err = c.seg.record(c.offset)
		}
		switch {
		case err == nil:
			c.seq, c.offset = r.Seq+1, r.end
			return r.Block, true, nil
		case errors.Is(err, errDamagedData):
			s.loseBlock(r)
			c.seq, c.offset = r.Seq+1, r.end
		default:
			s.loseRest(c, err)
		}
	}
}

// waits reports whether the block is to be given out by a cursor at from.
func (s *Spool) waits(seq, from uint64) bool {
	_, taken := s.taken[seq]
	return seq >= from && !taken && !s.done.has(seq)
}

// skipDone moves the cursor over what is delivered, when that leads out of its
// segment: within it the records have to be passed one by one.
func (s *Spool) skipDone(c *cursor) {
	if next := s.done.skip(c.seq); next != c.seq {
		c.seq = next
		if c.seg != nil && next >= c.seg.end() {
			c.seg = nil
		}
	}
}

// locate makes sure that the cursor stands in the segment of its number, or of
// the next number there is; false when there is no segment of it or behind it.
func (s *Spool) locate(c *cursor) bool {
	i := s.segmentOf(c.seq)
	if i == len(s.segments) {
		return false
	}
	g := s.segments[i]
	if c.seg == g {
		return true
	}
	c.seq, c.seg, c.offset = max(c.seq, g.first), g, segmentHeader
	if m := s.recent[c.seq%recentBlocks]; m.seq == c.seq && m.seg == g {
		c.offset = m.offset
	}
	return true
}

// segmentOf returns the index of the first segment that ends behind seq.
func (s *Spool) segmentOf(seq uint64) int {
	for i, g := range s.segments {
		if seq < g.end() {
			return i
		}
	}
	return len(s.segments)
}

func (s *Spool) loseBlock(r record) {
	l := Loss{Reason: ReasonDamaged}
	l.add(r.Block)
	s.ledger.record(l)
	s.markDone(span{r.Seq, r.Seq + 1})
	s.log.Error("spool_block_damaged", "seq", r.Seq, "samples", r.Samples)
}

// loseRest gives up what a segment holds from the cursor on. At a clean end
// there is nothing: the numbers up to the next segment were delivered and their
// segment is gone.
func (s *Spool) loseRest(c *cursor, cause error) {
	rest := span{c.seq, c.seg.end()}
	if cause != io.EOF {
		s.ledger.record(Loss{Reason: ReasonDamaged, Blocks: rest.hi - rest.lo - s.done.count(rest)})
		s.log.Error("spool_segment_damaged", "segment", c.seg.path, "offset", c.offset, "blocks", rest.hi-rest.lo)
	}
	s.markDone(rest)
	*c = cursor{seq: rest.hi}
}

func (s *Spool) markDone(n span) {
	s.done.add(n)
	s.dirty = true
}

// Ack says that the block arrived: it will not be given out again.
func (s *Spool) Ack(seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settle(seq)
}

// Refuse says that the receiver will never take the block; it goes to the
// ledger.
func (s *Spool) Refuse(b Block) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done.has(b.Seq) {
		return nil
	}
	l := Loss{Reason: ReasonRefused}
	l.add(b)
	s.ledger.record(l)
	return s.settle(b.Seq)
}

func (s *Spool) settle(seq uint64) error {
	delete(s.taken, seq)
	s.markDone(span{seq, seq + 1})
	i := s.segmentOf(seq)
	if i >= len(s.segments)-1 || !s.done.covers(s.segments[i].span()) {
		return nil
	}
	return s.dropDone()
}

// Release gives a taken block back, to be taken again from History.
func (s *Spool) Release(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.taken, seq)
	if s.history.seq > seq {
		s.history = cursor{seq: seq}
	}
	s.signal()
}
