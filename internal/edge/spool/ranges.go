package spool

import (
	"slices"
	"sort"
)

// span is the numbers from lo up to, not including, hi.
type span struct{ lo, hi uint64 }

// ranges is a set of numbers: spans in rising order that do not touch.
type ranges []span

// find returns the index of the first span that ends behind n.
func (r ranges) find(n uint64) int {
	return sort.Search(len(r), func(i int) bool { return r[i].hi > n })
}

func (r ranges) has(n uint64) bool {
	i := r.find(n)
	return i < len(r) && r[i].lo <= n
}

// covers reports whether all numbers of s are in the set.
func (r ranges) covers(s span) bool {
	if s.lo >= s.hi {
		return true
	}
	i := r.find(s.lo)
	return i < len(r) && r[i].lo <= s.lo && r[i].hi >= s.hi
}

// add puts the numbers of s into the set.
func (r *ranges) add(s span) {
	if s.lo >= s.hi {
		return
	}
	i := sort.Search(len(*r), func(i int) bool { return (*r)[i].hi >= s.lo })
	j := i
	for j < len(*r) && (*r)[j].lo <= s.hi {
		s.lo, s.hi = min(s.lo, (*r)[j].lo), max(s.hi, (*r)[j].hi)
		j++
	}
	*r = slices.Replace(*r, i, j, s)
}

// skip returns the first number from n on that is not in the set.
func (r ranges) skip(n uint64) uint64 {
	if i := r.find(n); i < len(r) && r[i].lo <= n {
		return r[i].hi
	}
	return n
}

// count returns how many numbers of s are in the set.
func (r ranges) count(s span) (n uint64) {
	for _, e := range r[r.find(s.lo):] {
		if e.lo >= s.hi {
			break
		}
		n += min(e.hi, s.hi) - max(e.lo, s.lo)
	}
	return n
}

// end is the number behind the last one of the set; 0 when it is empty.
func (r ranges) end() uint64 {
	if len(r) == 0 {
		return 0
	}
	return r[len(r)-1].hi
}
