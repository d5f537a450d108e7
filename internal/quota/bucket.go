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

// flow is a rate as buckets reckon with it; the zero value has no bound.
type flow struct {
	per  int64   // ns in which a bucket fills
	unit float64 // ns in which it earns a unit
}

func (r Rate) flow() flow {
	if r.N == 0 {
		return flow{}
	}
	return flow{int64(r.Per), float64(r.Per) / float64(r.N)}
}

// cost is how long the bucket takes to earn n units, in ns.
func (f *flow) cost(n int) int64 { return int64(float64(n) * f.unit) }

// moment is a time in nanoseconds from an arbitrary point that lies centuries
// before the hub's start.
type moment int64

// momentOf goes by the monotonic clock where both times have one: a clock that
// is set back locks nobody out.
func momentOf(now, start time.Time) moment { return moment(now.Sub(start)) + 1<<62 }

// bucket is a token bucket, by the generic cell rate algorithm (ITU-T I.371).
// The zero value is full. Whoever finds a unit in it may take more than there
// are: they are owed, so that no message is too large to ever get through.
// Takers at the same time may each find the last unit.
type bucket struct{ full atomic.Int64 } // when it is full again, as a moment

// wait returns how long until there is a unit in the bucket; 0 when there is.
func (b *bucket) wait(now moment, f *flow) time.Duration { return f.wait(moment(b.full.Load()), now) }

func (f *flow) wait(full, now moment) time.Duration {
	if f.per == 0 {
		return 0
	}
	return time.Duration(max(0, int64(full-now)+int64(f.unit)-f.per))
}

// charge takes n units.
func (b *bucket) charge(now moment, n int, f *flow) {
	if f.per == 0 || n == 0 {
		return
	}
	cost := f.cost(n)
	for {
		old := b.full.Load()
		if b.full.CompareAndSwap(old, max(old, int64(now))+cost) {
			return
		}
	}
}

// take takes n units, or returns how long to wait for one.
func (b *bucket) take(now moment, n int, f *flow) (wait time.Duration) {
	if wait = b.wait(now, f); wait == 0 {
		b.charge(now, n, f)
	}
	return wait
}

// Limiter is one bucket, for all together.
type Limiter struct {
	bucket bucket
	flow   flow
	start  time.Time
}

// NewLimiter returns a full bucket. Start is a reading of the clock that the
// times of Take come from.
func NewLimiter(r Rate, start time.Time) *Limiter { return &Limiter{flow: r.flow(), start: start} }

// Take takes a unit, or returns how long to wait for one.
func (l *Limiter) Take(now time.Time) (wait time.Duration) {
	return l.bucket.take(momentOf(now, l.start), 1, &l.flow)
}

// standing is what is left in a bucket that will be full at a moment.
func (p *Policy) standing(full, now moment) Standing {
	r := p.Rate
	if r.N == 0 {
		return Standing{}
	}
	missing := time.Duration(max(full-now, 0))
	left := int(max(r.Per-missing, 0).Seconds() / r.Per.Seconds() * float64(r.N))
	return Standing{Policy: p, Left: left, Full: missing}
}
