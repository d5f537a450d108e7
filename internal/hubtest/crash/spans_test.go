package crash

import (
	"cmp"
	"maps"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// tick is the time between samples, in milliseconds: the least. The hub ends a
// series 1 ms after its newest sample when the device leaves; a device that is
// back at once has a sample for that very time.
const tick = 1

// span is a run of samples: times from first to last in ticks, one each.
type span struct{ first, last int64 }

// spans are a set of times, in order and without overlap.
type spans []span

// with returns the set and x.
func (s spans) with(x span) spans {
	for i := range s {
		if s[i].first <= x.first && x.last <= s[i].last {
			return s
		}
		if s[i].last+1 == x.first && (i+1 == len(s) || x.last+1 < s[i+1].first) {
			s[i].last = x.last
			return s
		}
	}
	s = append(s, x)
	slices.SortFunc(s, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	joined := s[:1]
	for _, x := range s[1:] {
		if end := &joined[len(joined)-1]; x.first <= end.last+1 {
			end.last = max(end.last, x.last)
		} else {
			joined = append(joined, x)
		}
	}
	return joined
}

// without returns the times of s that are not in o.
func (s spans) without(o spans) (rest spans) {
	for _, x := range s {
		for _, y := range o {
			if y.last < x.first || y.first > x.last {
				continue
			}
			if y.first > x.first {
				rest = append(rest, span{x.first, y.first - 1})
			}
			x.first = y.last + 1
		}
		if x.first <= x.last {
			rest = append(rest, x)
		}
	}
	return rest
}

func (s spans) count() (n int64) {
	for _, x := range s {
		n += x.last - x.first + 1
	}
	return n
}

// spansOf is the set of the keys.
func spansOf[V any](times map[int64]V) (s spans) {
	for _, at := range slices.Sorted(maps.Keys(times)) {
		s = s.with(span{at, at})
	}
	return s
}

func TestSpansAreSetsOfTimes(t *testing.T) {
	var s spans
	for _, x := range []span{{50, 59}, {10, 19}, {20, 24}, {30, 34}, {25, 29}, {12, 13}, {58, 65}} {
		s = s.with(x)
	}
	if d := gocmp.Diff(spans{{10, 34}, {50, 65}}, s, gocmp.AllowUnexported(span{})); d != "" {
		t.Error(d)
	}
	rest := s.without(spans{{1, 10}, {12, 12}, {30, 52}, {60, 70}})
	if d := gocmp.Diff(spans{{11, 11}, {13, 29}, {53, 59}}, rest, gocmp.AllowUnexported(span{})); d != "" {
		t.Error(d)
	}
	if s.count() != 41 || rest.count() != 25 {
		t.Errorf("%d and %d times", s.count(), rest.count())
	}
}
