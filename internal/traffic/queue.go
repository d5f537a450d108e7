package traffic

import (
	"math"
	"math/bits"
	"time"
)

const (
	// instant is how often queues are looked at: at what stands within moment of
	// it, so that units count that look once a second.
	instant = 5 * time.Second
	moment  = time.Second
	// queueGap is the most that may be free before the first of a queue, and
	// between two of it, in metres.
	queueGap = 10
	// queueReach is how far before the stop line queues are seen, in metres.
	queueReach = 512
	// ownRoom is how far before its front a vehicle may cover metres itself, by what
	// places are off.
	ownRoom = 3.0
	// recentInstants before the present one are looked at for who stands ahead.
	recentInstants = 2
	// instants that are remembered: those of the minutes that are open.
	instants = 24
)

// queue is where vehicles stand on a link, at the last instants: a bit for each
// metre before the stop line, of all its lanes together. It is the same in
// whatever order it is told.
type queue struct{ at []stretch }

type stretch struct {
	instant int64
	covered [queueReach / 64]uint64
	length  int // of the queue
}

// stands takes a vehicle that stands with its front so far before the stop line,
// and returns how long the queue of that instant is, and by how much it has grown.
func (q *queue) stands(micros int64, before, length float64) (metres, more int) {
	k := micros / instant.Microseconds()
	if micros-k*instant.Microseconds() >= moment.Microseconds() || math.IsNaN(before) {
		return 0, 0
	}
	if q.at == nil {
		q.at = make([]stretch, instants)
	}
	s := &q.at[k%instants]
	if s.instant > k {
		return 0, 0
	}
	if s.instant < k {
		*s = stretch{instant: k}
	}
	if !s.cover(int(max(0, before)), int(math.Ceil(max(0, before)+length))) {
		return s.length, 0
	}
	was := s.length
	s.length = s.run()
	return s.length, s.length - was
}

// ahead reports whether somebody stood, at one of the last instants, on the so many
// metres that are before one whose front is so far before the stop line.
func (q *queue) ahead(micros int64, before, free float64) bool {
	k := micros / instant.Microseconds()
	from, until := int(max(0, before-free)), min(int(before-ownRoom), queueReach)
	for i := range q.at {
		s := &q.at[i]
		if s.instant > k || s.instant < k-recentInstants {
			continue
		}
		for m := from; m < until; m++ {
			if s.covered[m/64]&(1<<(m%64)) != 0 {
				return true
			}
		}
	}
	return false
}

// cover marks metres, and reports whether some of them were not.
func (s *stretch) cover(from, until int) (fresh bool) {
	for i := from; i < min(until, queueReach); i++ {
		if bit := uint64(1) << (i % 64); s.covered[i/64]&bit == 0 {
			s.covered[i/64] |= bit
			fresh = true
		}
	}
	return fresh
}

// run is how far the queue goes that begins at the stop line.
func (s *stretch) run() (end int) {
	for w, word := range s.covered {
		for ; word != 0; word &= word - 1 {
			i := w*64 + bits.TrailingZeros64(word)
			if i-end > queueGap {
				return end
			}
			end = i + 1
		}
	}
	return end
}
