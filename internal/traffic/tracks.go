package traffic

import (
	"math"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

const (
	// trackLife is how long a track is kept after it was last seen.
	trackLife    = 2 * lateness
	minuteMicros = int64(time.Minute / time.Microsecond)
	// maxGap is how far apart two sights may be, for that between them to be known.
	maxGap = 5e6 // microseconds
	// back is how many metres before the detector somebody is who has passed it, if
	// it is another who has that number now, or another round.
	back = 20.0
)

// sight is somebody seen at a time, so far beyond a line.
type sight struct {
	t     int64 // Unix microseconds; 0: none
	x     float32
	speed float32 // m/s; NaN
}

// bracket is the passage of a line: the last sight before it and the first behind
// it. It is the same in whatever order sights come.
type bracket struct{ before, behind sight }

// see takes a sight, and reports whether the passage is another one by it.
func (b *bracket) see(s sight) bool {
	switch {
	case b.behind.t != 0 && s.t >= b.behind.t || b.before.t != 0 && s.t <= b.before.t:
		return false
	case s.x < 0:
		b.before = s
	default:
		b.behind = s
	}
	return b.before.t != 0 && b.behind.t != 0
}

// at is when the line was passed, in microseconds, and how fast, in mm/s; false
// when that is not known.
func (b *bracket) at() (t int64, speed int32, ok bool) {
	if b.before.t == 0 || b.behind.t == 0 || b.behind.t-b.before.t > maxGap {
		return 0, 0, false
	}
	whole, part := float64(b.behind.x-b.before.x), float64(-b.before.x)
	share := part / whole
	span := float64(b.behind.t - b.before.t)
	v := float64(b.before.speed) + share*float64(b.behind.speed-b.before.speed)
	if math.IsNaN(v) {
		v = whole / span * 1e6
	}
	return b.before.t + int64(math.Round(share*span)), int32(math.Round(v * 1000)), true
}

// track is somebody on a link.
type track struct {
	hash  uint64 // of the id and the link; 0: a free place
	start int64  // what was seen before is of somebody else
	last  int64
	front bracket // of the detector
	rear  bracket // of as far behind it as the vehicle is long
	over  span    // when it was over the detector, as far as told
	odd   oddity
	// minutes are the last two in which it was seen, by parity.
	minutes [2]struct {
		minute int32
		said   uint16 // flags that it said, and sighted
	}
	// kind and lane are those at the first sight behind the detector.
	kind    road.ParticipantType
	lane    uint8
	hasLane bool
	// special says that any sight was of a vehicle that may not be told apart.
	special bool
}

const sighted uint16 = 1 << 15

// again makes a track that of somebody else.
func (t *track) again() { *t = track{hash: t.hash, start: t.last + 1, minutes: t.minutes} }

// overDetector is when it was over the detector, as far as is known: while its
// place is behind the detector, by less than it is long. Of one that may still
// stand there whole minutes are told.
func (t *track) overDetector() span {
	from, _, ok := t.front.at()
	if !ok {
		return span{}
	}
	until, _, ok := t.rear.at()
	if !ok {
		if until = t.rear.before.t; t.rear.behind.t == 0 {
			until -= until % minuteMicros
		}
	}
	if until <= from {
		return span{}
	}
	return span{from, until}
}

// span is from a time until another, in microseconds.
type span struct{ from, until int64 }

// in is how much of a span is in a minute.
func (s span) in(minute int64) int64 {
	return max(0, min(s.until, (minute+1)*minuteMicros)-max(s.from, minute*minuteMicros))
}

// said are the flags of a minute.
func (t *track) said(minute int64) *uint16 {
	m := &t.minutes[minute&1]
	if m.minute != int32(minute) {
		m.minute, m.said = int32(minute), 0
	}
	return &m.said
}

// tracks are those of a unit: a table of open addressing as cells is, for as long
// as tracks live. Its length is bounded.
type tracks struct {
	at     []track
	n      int
	newest int64
	swept  int64 // newest when there was no room
}

func (t *tracks) find(hash uint64) *track {
	if len(t.at) == 0 {
		return nil
	}
	mask := uint64(len(t.at) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if e := &t.at[i]; e.hash == hash || e.hash == 0 {
			return e
		}
	}
}

// of is the track of a participant on a link; nil when there is no room for one
// more. kind is what word is.
func (t *tracks) of(b *Board, word uint64, l *link, kind uint64, now int64) *track {
	way, kind := uint64(l.from)<<32|uint64(l.to), kind|uint64(l.ordinal)<<8
	return t.get(b.keys.now.hash(word, way, kind), func() uint64 {
		if !b.keys.overlaps {
			return 0
		}
		return b.keys.before.hash(word, way, kind)
	}, b.cfg.MaxTracks, now)
}

// get is the track of a hash, or of that by the key before; nil when there is no
// room for one more. before is 0 when there is no such key.
func (t *tracks) get(hash uint64, before func() uint64, limit int, now int64) *track {
	t.newest = max(t.newest, now)
	e := t.find(hash)
	if e != nil && e.hash == hash {
		return e
	}
	var was track
	if h := before(); h != 0 {
		if o := t.find(h); o != nil && o.hash == h {
			was = *o
			t.remove(o)
		}
	}
	if t.n >= min(limit, len(t.at)/4*3) && !t.sweep(limit) {
		return nil
	}
	e = t.find(hash)
	*e = was
	e.hash = hash
	t.n++
	return e
}

// remove takes a track out, and moves those behind it that would not be found
// any more.
func (t *tracks) remove(e *track) {
	mask := uint64(len(t.at) - 1)
	hole := e.hash & mask
	for &t.at[hole] != e {
		hole = (hole + 1) & mask
	}
	for i := (hole + 1) & mask; t.at[i].hash != 0; i = (i + 1) & mask {
		if (i-t.at[i].hash&mask)&mask >= (i-hole)&mask {
			t.at[hole], hole = t.at[i], i
		}
	}
	t.at[hole] = track{}
	t.n--
}

// sweep drops tracks that are dead, and makes room; false when there is none for
// one more.
func (t *tracks) sweep(limit int) bool {
	if t.swept != 0 && t.newest-t.swept < 1e6 {
		return false
	}
	old, live := t.at, 0
	dead := t.newest - trackLife.Microseconds()
	for i := range old {
		if old[i].hash != 0 && old[i].last >= dead {
			live++
		}
	}
	if live >= limit {
		t.swept = t.newest
		return false
	}
	t.swept = 0
	size := 16
	for size < 2*live {
		size *= 2
	}
	t.at, t.n = make([]track, size), live
	for i := range old {
		if old[i].hash != 0 && old[i].last >= dead {
			*t.find(old[i].hash) = old[i]
		}
	}
	return true
}
