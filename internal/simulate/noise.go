package simulate

import (
	"math"
	"math/rand/v2"
	"time"
)

// lattice is a uniform value in [0, 1) that belongs to a key, a stream of it
// and an integer position.
func lattice(key, stream uint64, n int64) float64 {
	var p rand.PCG
	p.Seed(key^stream*0x9e3779b97f4a7c15, uint64(n))
	p.Uint64() // the first value of neighbouring seeds is still alike
	return float64(p.Uint64()>>11) / (1 << 53)
}

// wander is smooth noise in about [-1, 1] that changes over the given time. It
// is continuous, and the same at the same t whoever asks.
func wander(key, stream uint64, t time.Time, over time.Duration) float64 {
	sum, weight := 0.0, 0.0
	for octave, amp := 0, 1.0; octave < 3; octave, amp = octave+1, amp/2.2 {
		x := float64(t.UnixMilli()) / float64(over.Milliseconds()) * float64(int(1)<<octave)
		sum += amp * smooth(key, stream+uint64(octave)<<32, x)
		weight += amp
	}
	return 1.6 * sum / weight
}

func smooth(key, stream uint64, x float64) float64 {
	n := math.Floor(x)
	f := x - n
	f = f * f * (3 - 2*f)
	a, b := lattice(key, stream, int64(n)), lattice(key, stream, int64(n)+1)
	return 2*(a+(b-a)*f) - 1
}

// jitter is noise in [-1, 1] without memory: the error of a single measurement.
func jitter(key, stream uint64, t time.Time) float64 {
	return 2*lattice(key, stream, t.UnixMilli()) - 1
}

// steps is a value in [0, 1) that holds for a while and then jumps: work that
// comes and goes.
func steps(key, stream uint64, t time.Time, hold time.Duration) float64 {
	return lattice(key, stream, t.UnixMilli()/hold.Milliseconds())
}

// round keeps three decimals of small values and none of large ones, as
// instruments do.
func round(v float64) float64 {
	if math.Abs(v) >= 1e5 {
		return math.Round(v)
	}
	return math.Round(v*1000) / 1000
}

func round4(v float64) float64 { return math.Round(v*1e4) / 1e4 }

func clamp(v, lo, hi float64) float64 { return min(max(v, lo), hi) }
