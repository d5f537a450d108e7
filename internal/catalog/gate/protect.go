package gate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// How a hidden cell is protected. Whoever reads the tables can work out whatever
// all tables with the same published cells have in common. So for each cell that
// must not be found out two other tables are kept at hand that look the same to
// them: one in which it is as small, and one in which it is as large, as the
// policy wants it to be possible. Both differ from the true one by moves. A move
// takes two leaves in some dimensions and adds n to one corner of the rectangle
// that they make and takes it from the next, and so on around: all cells that
// hold both ends of a side stay as they are, and all that change have to be
// hidden. What has to be hidden for that, and is not yet, is the complementary
// suppression. That the moves are there is the proof that it suffices; it is
// handed out, and attack.Witness checks it.

// Move adds By to the corner From, and takes it from, and adds it to, the other
// corners in turn. Leaves are indices of the universe; dimensions whose leaf is
// the same in From and To have no side.
type Move struct {
	From, To []int32
	By       int64
}

// Target is a cell that must not be found out, and how far it has to be
// uncertain in one measure.
type Target struct {
	layer   *layer
	cell    int
	measure int
	Down    int64
	Up      int64
}

// Proof is how another table with the same published cells comes about.
type Proof struct {
	Target   Target
	Up, Down []Move
}

// Refusal tells that a table cannot be published beside what is out already.
type Refusal struct {
	Dataset string
	Cells   []string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("table %s: %d cells would follow from it and what is published already, the first of them %s; publish fewer groupings, or withdraw what overlaps it",
		r.Dataset, len(r.Cells), strings.Join(r.Cells[:min(3, len(r.Cells))], ", "))
}

// targets are what has to stay uncertain, the coarsest and largest first.
func (u *universe) targets(t *Table) []Target {
	var all []Target
	for _, l := range u.layers {
		for i, s := range l.state {
			if !s.Sensitive() && s != Before {
				continue
			}
			for m := range t.Measures {
				if l.values[m] != nil {
					all = append(all, l.target(t.Measures[m].Kind, m, i))
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Target) int {
		return cmp.Or(cmp.Compare(b.layer.weight, a.layer.weight), cmp.Compare(b.Down, a.Down))
	})
	return all
}

func (l *layer) target(kind Kind, m, i int) Target {
	out := Target{layer: l, cell: i, measure: m}
	out.Down, out.Up = Uncertainty(l.policy, l.state[i], kind, l.values[m][i])
	return out
}

// Uncertainty says how far below and above its value a hidden cell has to be
// possible in a measure: whether anybody was in a small one, and whether it was
// small at all; the sum of a small one from nothing to twice of what it is; that
// of another by the policy's share; and whatever else by 1.
func Uncertainty(p *Policy, why Reason, kind Kind, value int64) (down, up int64) {
	share := value/100*p.IntervalPercent + (value%100*p.IntervalPercent+99)/100
	switch {
	case why == BelowK && kind == Count:
		return value, max(1, p.K-value)
	case why == BelowK:
		return value, max(1, value)
	case why == Special, why == Dominated && kind != Count:
		return share, max(1, share)
	}
	return min(1, value), 1
}

// protect hides what is needed so that no target can be found out.
func (u *universe) protect(t *Table) ([]Proof, error) {
	s := newSearch(u)
	var proofs []Proof
	var failed []string
	prove := func(all []Target) {
		for _, target := range all {
			proof := Proof{Target: target}
			var up, down bool
			proof.Up, up = s.find(target, +1, target.Up, false)
			proof.Down, down = s.find(target, -1, target.Down, false)
			if !up || !down {
				failed = append(failed, target.layer.name(target.cell))
				continue
			}
			proofs = append(proofs, proof)
		}
	}
	prove(u.targets(t))
	for _, pair := range u.comparable() {
		prove(s.joinCrowds(t, pair))
	}
	if len(failed) > 0 {
		return nil, &Refusal{Dataset: t.Dataset, Cells: failed}
	}
	return proofs, nil
}

// pair is a layer and a finer one: each cell of the first is the sum of cells of
// the second.
type pair struct {
	coarse, fine *layer
	of           [][]int32 // by dimension and code of the finer one: the code of the coarser; -1 outside
}

// comparable finds the pairs with a finer layer of the new table.
func (u *universe) comparable() (all []pair) {
	for _, c := range u.layers {
		for _, f := range u.layers {
			if p, ok := newPair(c, f); ok && c != f && (c.own || f.own) {
				all = append(all, p)
			}
		}
	}
	return all
}

func newPair(c, f *layer) (pair, bool) {
	p := pair{coarse: c, fine: f, of: make([][]int32, len(c.members))}
	for d := range p.of {
		p.of[d] = make([]int32, len(f.members[d]))
		for code, leaves := range f.members[d] {
			p.of[d][code] = -1
			for i, leaf := range leaves {
				to := c.axes[d][leaf]
				if i > 0 && to != p.of[d][code] {
					return p, false
				}
				p.of[d][code] = to
			}
		}
		for _, leaves := range c.members[d] {
			for _, leaf := range leaves {
				if f.axes[d][leaf] < 0 {
					return p, false
				}
			}
		}
	}
	return p, true
}

// up is the coarser cell that holds a finer one; -1 for none.
func (p *pair) up(cell int) int {
	i := 0
	for d := range p.of {
		c := p.of[d][p.fine.code(cell, d)]
		if c < 0 {
			return -1
		}
		i += int(c) * p.coarse.stride[d]
	}
	return i
}

// joinCrowds sees to it that what is hidden beneath a shown cell is a crowd: the
// sum of it follows from the cell and its shown parts, so it has to have K
// contributors of its own. A sum of small cells may be one contributor who comes
// again and again. Where it is no crowd a cell that has K joins it; where there
// is none the coarse cell is hidden too, and is what is returned.
func (s *search) joinCrowds(t *Table, p pair) (more []Target) {
	type crowd struct {
		hidden, parts int
		contributors  int64
		count         int64
		best          int // the largest hidden part
	}
	count := slices.IndexFunc(t.Measures, func(m Measure) bool { return m.Kind == Count })
	crowds := make([]crowd, p.coarse.size)
	for i, state := range p.fine.state {
		c := p.up(i)
		if c < 0 {
			continue
		}
		crowds[c].parts++
		if state == Shown {
			continue
		}
		k := &crowds[c]
		k.hidden++
		if state.forPeople() && (k.hidden == 1 || p.fine.contributors[i] > p.fine.contributors[k.best]) {
			k.best = i
		}
		k.contributors = max(k.contributors, p.fine.contributors[i])
		if count >= 0 && p.fine.values[count] != nil {
			k.count += p.fine.values[count][i]
		}
	}
	for c, k := range crowds {
		if p.coarse.state[c] != Shown || k.hidden == 0 {
			continue
		}
		if k.hidden == k.parts {
			k.contributors = max(k.contributors, p.coarse.contributors[c])
		}
		if b := t.Bound; b > 0 {
			k.contributors = max(k.contributors, (k.count+b-1)/b)
		}
		least := max(p.fine.policy.K, p.coarse.policy.K)
		if k.contributors >= least {
			continue
		}
		measure := max(count, 0)
		if p.fine.own && p.fine.state[k.best].forPeople() && p.fine.values[measure] != nil {
			if _, ok := s.find(Target{layer: p.fine, cell: k.best, measure: measure}, +1, 1, true); ok {
				continue
			}
		}
		if p.coarse.own {
			p.coarse.state[c] = Complementary
		}
		for m := range t.Measures {
			if p.coarse.values[m] != nil {
				v := p.coarse.values[m][c]
				more = append(more, Target{layer: p.coarse, cell: c, measure: m, Down: min(v, least), Up: least})
			}
		}
	}
	return more
}

// search looks for the moves that cost least.
type search struct {
	u       *universe
	hint    [][]int32          // by dimension and leaf: the partner that served last; -1
	near    [][][]int32        // by dimension and leaf: partners, the nearest first; made when asked for
	shifted map[int]int64      // of base cells, by the moves so far
	corners [1 << maxSides]int // base cells of the move that is looked at
}

const (
	maxSides    = 3
	maxPartners = 48  // of a leaf in a dimension that are looked at
	maxSources  = 32  // base cells of a target that are tried at once
	maxMoves    = 512 // of one proof
)

func newSearch(u *universe) *search {
	s := &search{u: u, hint: make([][]int32, len(u.dims)), near: make([][][]int32, len(u.dims)), shifted: map[int]int64{}}
	for d := range u.dims {
		s.near[d] = make([][]int32, len(u.dims[d].codes))
		s.hint[d] = make([]int32, len(u.dims[d].codes))
		for i := range s.hint[d] {
			s.hint[d][i] = -1
		}
	}
	return s
}

// candidate is a move, and what it would cost.
type candidate struct {
	from, to []int32
	by, cost int64
}

// better orders candidates: what costs least for what it moves.
func (c *candidate) better(than *candidate) bool {
	if than.by == 0 {
		return c.by > 0
	}
	if c.by == 0 {
		return false
	}
	// Costs are a few thousand at most, and what is moved is below 2^55: the
	// larger of two products may not fit, so compare as quotients.
	x, y := c.cost*(1<<20)/min(c.by, 1<<20), than.cost*(1<<20)/min(than.by, 1<<20)
	if x != y {
		return x < y
	}
	return c.by > than.by
}

// find moves a target by need, up or down. With crowd, the first move has to do,
// and all that changes in the target's layer beside it has K contributors.
func (s *search) find(t Target, sign, need int64, crowd bool) (moves []Move, ok bool) {
	clear(s.shifted)
	for need > 0 {
		if len(moves) == maxMoves {
			return nil, false
		}
		best := s.scan(t, sign, need, crowd)
		if best.by == 0 {
			return nil, false
		}
		s.accept(&best, sign, crowd)
		need -= best.by
		moves = append(moves, Move{From: best.from, To: best.to, By: sign * best.by})
		if crowd {
			break
		}
	}
	return moves, true
}

// accept hides what a move changes.
func (s *search) accept(c *candidate, sign int64, crowd bool) {
	n, mask := s.setCorners(c.from, c.to)
	for j := range n {
		s.shifted[s.corners[j]] += sign * parity(j) * c.by
	}
	for d := range c.from {
		if c.from[d] != c.to[d] {
			s.hint[d][c.from[d]] = c.to[d]
		}
	}
	for _, l := range s.u.layers {
		s.changed(l, c.from, c.to, mask, func(cell int) bool {
			if l.own && l.state[cell] == Shown {
				l.state[cell] = Complementary
			}
			return true
		})
	}
}

// scan looks at the moves of a target.
func (s *search) scan(t Target, sign, need int64, crowd bool) candidate {
	var best candidate
	sources := s.sources(t, sign)
	for _, from := range sources { // what served before may serve again
		to := slices.Clone(from)
		for d := range to {
			if h := s.hint[d][from[d]]; h >= 0 {
				to[d] = h
			}
		}
		if s.consider(t, sign, need, crowd, from, to, &best); best.by == need && best.cost == 0 {
			return best
		}
	}
	for _, from := range sources {
		to := slices.Clone(from)
		if s.spread(t, sign, need, crowd, from, to, 0, 0, &best) {
			return best
		}
	}
	return best
}

// sources are base cells of a target that may be changed.
func (s *search) sources(t Target, sign int64) (all [][]int32) {
	members := make([][]int32, len(s.u.dims))
	size := 1
	for d := range members {
		members[d] = t.layer.members[d][t.layer.code(t.cell, d)]
		size *= len(members[d])
	}
	low := s.u.low[t.measure]
	each(size, members, func(_ int, at []int) {
		if len(all) == maxSources {
			return
		}
		b := 0
		for d := range at {
			b += int(members[d][at[d]]) * s.u.dims[d].stride
		}
		if !s.u.inside[b] || sign < 0 && low[b]+s.shifted[b] <= 0 {
			return
		}
		from := make([]int32, len(at))
		for d := range at {
			from[d] = members[d][at[d]]
		}
		all = append(all, from)
	})
	return all
}

// spread tries the partners of a source in each dimension from d on; it reports
// whether there is nothing better to find.
func (s *search) spread(t Target, sign, need int64, crowd bool, from, to []int32, d, sides int, best *candidate) bool {
	if d == len(from) {
		s.consider(t, sign, need, crowd, from, to, best)
		return best.by == need && best.cost == 0
	}
	to[d] = from[d]
	if s.spread(t, sign, need, crowd, from, to, d+1, sides, best) {
		return true
	}
	if sides == maxSides {
		return false
	}
	partners := s.partners(d, from[d])
	if sides == 2 {
		partners = partners[:min(len(partners), maxPartners/4)]
	}
	code := t.layer.axes[d][from[d]]
	for _, p := range partners {
		if t.layer.axes[d][p] == code {
			continue // the target would hold both ends
		}
		to[d] = p
		if s.spread(t, sign, need, crowd, from, to, d+1, sides+1, best) {
			return true
		}
	}
	to[d] = from[d]
	return false
}

// partners of a leaf, the nearest first: those that more layers join it with.
func (s *search) partners(d int, leaf int32) []int32 {
	if s.near[d][leaf] != nil {
		return s.near[d][leaf]
	}
	a := &s.u.dims[d]
	seen := map[int32]bool{leaf: true}
	var all []int32
	rings := len(a.rings) - 1
	for r := 1; r <= rings; r++ {
		code := a.rings[r].of[leaf]
		if code < 0 {
			continue
		}
		members := a.rings[r].members[code]
		start, _ := slices.BinarySearch(members, leaf)
		most := len(all) + max(4, (maxPartners-len(all))/(rings-r+1))
		for i := range members {
			m := members[(start+i)%len(members)]
			if len(all) < most && !seen[m] {
				seen[m] = true
				all = append(all, m)
			}
		}
	}
	s.near[d][leaf] = all
	return all
}

// consider keeps a move when it is better than the best so far.
func (s *search) consider(t Target, sign, need int64, crowd bool, from, to []int32, best *candidate) {
	n, mask := s.setCorners(from, to)
	if n == 0 {
		return
	}
	c := candidate{by: need}
	low := s.u.low[t.measure]
	for j := range n {
		b := s.corners[j]
		if !s.u.inside[b] {
			return
		}
		if sign*parity(j) < 0 {
			have := low[b] + s.shifted[b]
			if have <= 0 {
				return
			}
			c.by = min(c.by, have)
		}
	}
	if crowd && c.by < need || best.by > 0 && best.cost == 0 && c.by <= best.by {
		return
	}
	hits := false
	for _, l := range s.u.layers {
		ok := s.changed(l, from, to, mask, func(cell int) bool {
			if l == t.layer {
				if cell == t.cell {
					hits = true
				} else if crowd && l.contributors[cell] < l.policy.K {
					return false
				}
			}
			if l.state[cell] == Shown {
				if !l.own {
					return false
				}
				c.cost += l.weight
			}
			return true
		})
		if !ok {
			return
		}
	}
	if hits && c.better(best) {
		c.from, c.to = slices.Clone(from), slices.Clone(to)
		*best = c
	}
}

// setCorners lists the base cells of a move; the bits of an index say in which of
// its sides the corner is at the far end. It returns none for too many sides.
func (s *search) setCorners(from, to []int32) (n int, mask uint32) {
	s.corners[0] = 0
	n = 1
	for d := range from {
		stride := s.u.dims[d].stride
		for j := range n {
			s.corners[j] += int(from[d]) * stride
		}
		if from[d] == to[d] {
			continue
		}
		if n == len(s.corners) {
			return 0, 0
		}
		mask |= 1 << d
		by := (int(to[d]) - int(from[d])) * stride
		for j := range n {
			s.corners[n+j] = s.corners[j] + by
		}
		n *= 2
	}
	return n, mask
}

// parity is -1 for an odd number of bits.
func parity(j int) int64 {
	if (j^j>>1^j>>2)&1 == 1 {
		return -1
	}
	return 1
}

// changed calls do for each cell of a layer that a move changes; it stops, and
// says so, when do returns false.
func (s *search) changed(l *layer, from, to []int32, mask uint32, do func(cell int) bool) bool {
	var cells [1 << maxSides]int
	n := 1
	outside := false
	for d, axis := range l.axes {
		a := axis[from[d]]
		if mask&(1<<d) == 0 {
			if a < 0 {
				return true
			}
			for j := range n {
				cells[j] += int(a) * l.stride[d]
			}
			continue
		}
		b := axis[to[d]]
		if a == b {
			return true // both ends in one cell, or both outside
		}
		for j := range n {
			cells[n+j] = cells[j] + int(b)*l.stride[d]
			cells[j] += int(a) * l.stride[d]
			if b < 0 {
				cells[n+j] = math.MinInt / 2
			}
			if a < 0 {
				cells[j] = math.MinInt / 2
			}
		}
		outside = outside || a < 0 || b < 0
		n *= 2
	}
	for j := range n {
		if outside && cells[j] < 0 {
			continue
		}
		if !do(cells[j]) {
			return false
		}
	}
	return true
}
