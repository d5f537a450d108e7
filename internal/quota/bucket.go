package quota

import (
	"sync/atomic"
	"time"
)

// Rate lets N units through in a time, all at once or one by one. With N 0
// there is no bound.
type Rate struct {
	N   int
	Per time.Duration
}

// cost is how long the bucket takes to earn n units. It holds for n up to a
// thousand million.
func (r Rate) cost(n int) int64 { return int64(n) * int64(r.Per) / int64(r.N) }

// moment is a time in nanoseconds from an arbitrary point that lies centuries
// before the hub's start.
type moment int64

// momentOf goes by the monotonic clock where both times have one: a clock that
// is set back locks nobody out.
func momentOf(now, start time.Time) moment { return moment(now.Sub(start)) + 1<<62 }

// Bucket is a token bucket, by the generic cell rate algorithm (ITU-T I.371).
// The zero value is full. Whoever finds a unit in it may take more than there
// are: they are owed, so that no message is too large to ever get through.
// Takers at the same time may each find the last unit.
type Bucket struct{ full atomic.Int64 } // when it is full again, as a moment

// Wait returns how long until there is a unit in the bucket; 0 when there is.
func (b *Bucket) Wait(now moment, r Rate) time.Duration { return r.wait(moment(b.full.Load()), now) }

func (r Rate) wait(full, now moment) time.Duration {
	if r.N == 0 {
		return 0
	}
	return max(0, time.Duration(int64(full)+r.cost(1)-int64(now))-r.Per)
}

// Charge takes n units.
func (b *Bucket) Charge(now moment, n int, r Rate) {
	if r.N == 0 || n == 0 {
		return
	}
	cost := r.cost(n)
	for {
		old := b.full.Load()
		if b.full.CompareAndSwap(old, max(old, int64(now))+cost) {
			return
		}
	}
}

// Take takes n units, or returns how long to wait for one.
func (b *Bucket) Take(now moment, n int, r Rate) (wait time.Duration) {
	if wait = b.Wait(now, r); wait == 0 {
		b.Charge(now, n, r)
	}
	return wait
}

// standing is what is left in a bucket that will be full at a moment.
func (r Rate) standing(p *Policy, full, now moment) Standing {
	if r.N == 0 {
		return Standing{}
	}
	missing := time.Duration(max(full-now, 0))
	left := int(max(r.Per-missing, 0).Seconds() / r.Per.Seconds() * float64(r.N))
	return Standing{Policy: p, Left: left, Full: missing}
}
