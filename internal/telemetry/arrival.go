package telemetry

import "math/bits"

// Delays between when a sample was taken and when it came are counted in buckets:
// the first holds what is below 128 ms, four more each doubling of it, up to about
// 70 days, which the last one holds with all beyond.
const (
	firstDelay   = 7 // bits of a millisecond count
	DelayBuckets = 1 + 4*26
)

// delayBucket is the bucket of a delay in milliseconds; what comes from the
// future has none.
func delayBucket(ms int64) int {
	if ms < 1<<firstDelay {
		return 0
	}
	n := bits.Len64(uint64(ms)) - 1
	return min(1+4*(n-firstDelay)+int(ms>>(n-2))&3, DelayBuckets-1)
}

// DelayBound is the least delay in milliseconds that a bucket does not hold.
func DelayBound(bucket int) int64 {
	n := bucket/4 + firstDelay
	return int64(4+bucket%4) << (n - 2)
}

// Arrivals count how the samples of a device came, over some time.
type Arrivals struct {
	// Samples are those that were taken or repeated.
	Samples uint64 `json:"samples"`
	// Repeated were stored already, Conflicts with another value.
	Repeated  uint64 `json:"repeated,omitempty"`
	Conflicts uint64 `json:"conflicts,omitempty"`
	// Behind are older than one of the device that came before.
	Behind uint64 `json:"behind,omitempty"`
	// Ahead are from the future by the hub's clock, Refused for their time, too far
	// in the future or in the past.
	Ahead   uint64 `json:"ahead,omitempty"`
	Refused uint64 `json:"refused,omitempty"`
	// Delays are by DelayBound.
	Delays [DelayBuckets]uint32 `json:"delays"`
}

// Came counts a sample of a device, in milliseconds: the time, that of the sample,
// and that of the newest one that came before.
func (a *Arrivals) Came(now, at, newest int64) {
	a.Samples++
	if at < newest {
		a.Behind++
	}
	if at > now {
		a.Ahead++
	}
	a.Delays[delayBucket(now-at)]++
}
