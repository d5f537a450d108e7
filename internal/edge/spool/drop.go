package spool

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// errNothingToDrop is returned when only the active segment is left.
var errNothingToDrop = errors.New("nothing is left to drop")

// dropDone removes the sealed segments of which everything is delivered or
// accounted for. The books are written first: without them the numbers of the
// removed segments would seem to be missing. s.mu is held.
func (s *Spool) dropDone() error {
	sealed := s.segments[:len(s.segments)-1]
	if !slices.ContainsFunc(sealed, func(g *segment) bool { return s.done.covers(g.span()) }) {
		return nil
	}
	if err := s.writeState(); err != nil {
		return err
	}
	for i := len(s.segments) - 2; i >= 0; i-- {
		if s.done.covers(s.segments[i].span()) {
			if err := s.remove(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropOldest gives up the oldest segment of which nothing is under way; if
// something of each is under way, the oldest of all, so that the bound holds.
// s.mu is held.
func (s *Spool) dropOldest(why Reason) error {
	sealed := s.segments[:len(s.segments)-1]
	if len(sealed) == 0 {
		return errNothingToDrop
	}
	i := slices.IndexFunc(sealed, func(g *segment) bool { return !s.underWay(g) })
	return s.giveUp(max(i, 0), why)
}

func (s *Spool) underWay(g *segment) bool {
	for seq := range s.taken {
		if g.first <= seq && seq < g.end() {
			return true
		}
	}
	return false
}

// dropOld gives up the segments whose youngest block is older than the bound.
// s.mu is held.
func (s *Spool) dropOld() error {
	if s.cfg.MaxAge == 0 {
		return nil
	}
	limit := s.now().Add(-s.cfg.MaxAge).UnixMilli()
	if g := s.active(); g.count > 0 && g.newer < limit {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	for i := 0; i < len(s.segments)-1; {
		if s.segments[i].newer >= limit || s.underWay(s.segments[i]) {
			i++
			continue
		}
		if err := s.giveUp(i, ReasonAge); err != nil {
			return err
		}
	}
	return nil
}

// giveUp enters what waits in the segment into the ledger and removes it. The
// entry and the numbers become durable in one write, before the file goes, so a
// crash counts nothing twice.
func (s *Spool) giveUp(i int, why Reason) error {
	g := s.segments[i]
	if err := g.open(os.O_RDONLY); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	l := Loss{Reason: why}
	next := g.first
	g.scan(segmentHeader, func(r record, err error) bool {
		if err != nil && !errors.Is(err, errDamagedData) {
			l.Blocks += g.end() - next - s.done.count(span{next, g.end()})
			return false
		}
		next = r.Seq + 1
		if !s.done.has(r.Seq) {
			l.add(r.Block)
		}
		return true
	})
	s.ledger.record(l)
	s.markDone(g.span())
	if err := s.writeState(); err != nil {
		return err
	}
	s.log.Warn("spool_dropped", "reason", string(why), "blocks", l.Blocks, "samples", l.Samples)
	return s.remove(i)
}

// remove deletes the segment's file. s.mu is held.
func (s *Spool) remove(i int) error {
	g := s.segments[i]
	g.close()
	if err := os.Remove(g.path); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.segments = slices.Delete(s.segments, i, i+1)
	s.bytes -= g.size
	for _, c := range []*cursor{&s.live, &s.history} {
		if c.seg == g {
			c.seg = nil
		}
	}
	return nil
}

// span is the numbers that the segment holds.
func (g *segment) span() span { return span{g.first, g.end()} }
