package quality

import (
	"math"
	"math/rand/v2"
	"time"
)

// A sketch is what is kept of a series of a day to tell whether another one has
// its values: the third differences of the means of bins. What all sensors of a
// phenomenon have in common (a warm afternoon) changes slowly and is little of
// them, what each has of its own is most. A shift falls out, a scale is taken out.
const (
	bins  = 96 // of 15 minutes: what is measured less often has no sketch
	order = 3
	diffs = bins - order
	// leastBins must be filled, and leastChanges of the differences be different:
	// what hardly changes is like everything else that hardly does.
	leastBins    = 48
	leastChanges = 24
	// coarse is in how many steps a standard deviation is kept.
	coarse = 24
	// alike is the least correlation of copies. Rounding to a tenth of what a series
	// changes by from bin to bin leaves more, and independent sensors have far less.
	alike = 0.98

	signs = 128 // of random projections
	bands = 8   // of 16 signs: alike sketches share one with 97 of 100
)

type sketch struct {
	diffs  [diffs]int8 // in steps of 1/coarse standard deviation; none where a bin is empty
	filled int
	bits   [2]uint64
}

// binned collects the means of the bins of a day.
type binned struct {
	from int64 // ms
	sum  [bins]float64
	n    [bins]int32
}

func (b *binned) reset(from time.Time) { *b = binned{from: from.UnixMilli()} }

func (b *binned) add(at int64, v float64) {
	i := (at - b.from) / (24 * time.Hour / bins).Milliseconds()
	if i >= 0 && i < bins && !math.IsNaN(v) && !math.IsInf(v, 0) {
		b.sum[i] += v
		b.n[i]++
	}
}

// sketch returns what is kept of the bins; false where they tell nothing.
func (b *binned) sketch() (s sketch, ok bool) {
	var values [bins]float64
	for i, n := range b.n {
		values[i] = b.sum[i] / float64(n) // of an empty one NaN, which stays
	}
	for range order {
		for i := range bins - 1 {
			values[i] = values[i+1] - values[i]
		}
	}
	changes := map[int8]bool{}
	scale, n := 0.0, 0
	for _, d := range values[:diffs] {
		if !math.IsNaN(d) {
			scale += d * d
			n++
		}
	}
	if n < leastBins || scale == 0 || math.IsInf(scale, 0) {
		return s, false
	}
	scale = math.Sqrt(scale / float64(n))
	for i, d := range values[:diffs] {
		if math.IsNaN(d) {
			continue
		}
		z := math.Round(d / scale * coarse)
		if s.diffs[i] = int8(max(-127, min(127, z))); z != 0 {
			changes[s.diffs[i]] = true
		}
	}
	s.filled = n
	s.project()
	return s, len(changes) >= leastChanges
}

// project keeps on which side of random planes the sketch lies (SimHash).
func (s *sketch) project() {
	for p := range signs {
		sum := 0
		for i, d := range s.diffs {
			if planes[p][i/64]>>(i%64)&1 == 1 {
				sum += int(d)
			} else {
				sum -= int(d)
			}
		}
		if sum > 0 {
			s.bits[p/64] |= 1 << (p % 64)
		}
	}
}

// planes are the same everywhere and for ever: sketches are found by them.
var planes = func() (all [signs][(bins + 63) / 64]uint64) {
	random := rand.New(rand.NewPCG(0x736f6e67687561, 30))
	for p := range all {
		for i := range all[p] {
			all[p][i] = random.Uint64()
		}
	}
	return all
}()

// band is one of the keys that a sketch is found by.
func (s *sketch) band(i int) uint32 {
	return uint32(i)<<16 | uint32(s.bits[i/4]>>(16*(i%4))&0xffff)
}

// correlation of two sketches where both are known, from -1 to 1.
func (s *sketch) correlation(o *sketch) float64 {
	var ab, aa, bb int
	for i := range s.diffs {
		a, b := int(s.diffs[i]), int(o.diffs[i])
		ab += a * b
		aa += a * a
		bb += b * b
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return float64(ab) / math.Sqrt(float64(aa)*float64(bb))
}

// origin is whose a sketch is.
type origin struct {
	dataset string // empty: of none that is published
	device  string
	metric  string
	name    string // of the series
}

// copies finds series with the values of others, among those that were added.
type copies struct {
	sketches []sketch
	of       []origin
	byBand   map[uint32][]int32
}

func newCopies() *copies { return &copies{byBand: map[uint32][]int32{}} }

// crowd is how many sketches of one key are looked at: more of them are not
// alike, but trivial in a way that is not known here.
const crowd = 64

// add keeps a sketch to find others by.
func (c *copies) add(s sketch, of origin) {
	n := int32(len(c.sketches))
	c.sketches, c.of = append(c.sketches, s), append(c.of, of)
	for i := range bands {
		if k := s.band(i); len(c.byBand[k]) < crowd {
			c.byBand[k] = append(c.byBand[k], n)
		}
	}
}

// find calls back with those that a sketch is a copy of. Series of one device are
// no second collection.
func (c *copies) find(s *sketch, of origin, yield func(origin)) {
	seen := map[int32]bool{}
	for i := range bands {
		for _, n := range c.byBand[s.band(i)] {
			o := &c.of[n]
			if seen[n] || o.device == of.device || o.dataset == of.dataset {
				continue
			}
			seen[n] = true
			if s.correlation(&c.sketches[n]) >= alike {
				yield(*o)
			}
		}
	}
}
