package attack

import "slices"

// maxPasses bounds the passes over all sums. Fewer passes leave wider bounds,
// never wrong ones.
const maxPasses = 64

// propagate narrows the bounds of all unknowns by each sum in turn until nothing
// changes. It reports false when the tables contradict each other.
func (s *system) propagate() bool {
	s.simplify()
	s.subtract()
	for range maxPasses {
		changed := false
		for i := range s.sums {
			c, ok := s.narrow(&s.sums[i])
			if !ok {
				return false
			}
			changed = changed || c
		}
		if !changed {
			break
		}
	}
	return true
}

func (s *system) narrow(c *sum) (changed, ok bool) {
	lo, hi := s.span(c.of)
	if lo > c.hi || hi < c.lo {
		return false, false
	}
	for _, v := range c.of {
		low, high := c.lo-min(hi-s.hi[v], unbounded), c.hi-(lo-s.lo[v])
		if hi >= unbounded {
			low = s.lo[v] // others may be anything
		}
		if low > s.lo[v] {
			lo += low - s.lo[v]
			s.lo[v], changed = low, true
		}
		if high < s.hi[v] {
			if hi < unbounded {
				hi -= s.hi[v] - high
			}
			s.hi[v], changed = high, true
		}
		if s.lo[v] > s.hi[v] {
			return changed, false
		}
	}
	return changed, true
}

// span are the bounds of a sum by those of its parts.
func (s *system) span(of []int32) (lo, hi int64) {
	for _, v := range of {
		lo += s.lo[v]
		hi = min(unbounded, hi+s.hi[v])
	}
	return lo, hi
}

// subtract adds what is left of a sum when all smaller ones beneath it are taken
// off: what everybody does with a total first.
func (s *system) subtract() {
	byVar := make(map[int32][]int)
	for i, c := range s.sums {
		for _, v := range c.of {
			byVar[v] = append(byVar[v], i)
		}
	}
	inside := make(map[int32]bool)
	var more []sum
	for i, c := range s.sums {
		if len(c.of) < 3 || len(c.of) > 4096 {
			continue
		}
		clear(inside)
		for _, v := range c.of {
			inside[v] = true
		}
		rest := c
		taken := map[int32]bool{}
		for _, v := range c.of {
			if taken[v] {
				continue
			}
			// The largest sum beneath, of what is not taken yet.
			best := -1
			for _, j := range byVar[v] {
				o := s.sums[j].of
				if j == i || len(o) >= len(c.of) || best >= 0 && len(o) <= len(s.sums[best].of) {
					continue
				}
				if !slices.ContainsFunc(o, func(x int32) bool { return !inside[x] || taken[x] }) {
					best = j
				}
			}
			if best < 0 {
				continue
			}
			for _, x := range s.sums[best].of {
				taken[x] = true
			}
			rest.lo -= s.sums[best].hi
			rest.hi -= s.sums[best].lo
		}
		if len(taken) == 0 || len(taken) == len(c.of) {
			continue
		}
		rest.of = nil
		for _, v := range c.of {
			if !taken[v] {
				rest.of = append(rest.of, v)
			}
		}
		rest.lo = max(0, rest.lo)
		more = append(more, rest)
	}
	s.sums = append(s.sums, more...)
}
