package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets of at most 1/32 of their value, from a
// microsecond to hours.
type Histogram struct {
	counts [40 << 5]uint32
	total  uint64
	max    time.Duration
}

// Observe counts d n times.
func (h *Histogram) Observe(d time.Duration, n int) {
	h.counts[bucketOf(d)] += uint32(n)
	h.total += uint64(n)
	h.max = max(h.max, d)
}

// Add counts all that o counted.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// Count is how many durations were observed.
func (h *Histogram) Count() uint64 { return h.total }

// Max is the longest duration.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns the duration that a share of q of all does not exceed.
func (h *Histogram) Quantile(q float64) time.Duration {
	left := uint64(q * float64(h.total))
	for i, n := range h.counts {
		if uint64(n) > left {
			return min(topOf(i), h.max)
		}
		left -= uint64(n)
	}
	return h.max
}

func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < 32 {
		return int(us)
	}
	shift := bits.Len64(us) - 6
	return min(shift<<5+int(us>>shift), 40<<5-1)
}

// topOf is the upper bound of a bucket.
func topOf(i int) time.Duration {
	if i < 64 {
		return time.Duration(i+1) * time.Microsecond
	}
	shift := i>>5 - 1
	return time.Duration((i-shift<<5+1)<<shift) * time.Microsecond
}
