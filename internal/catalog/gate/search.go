package gate

import (
	"math/bits"
	"slices"
)

// search looks for the moves that cost least.
type search struct {
	u       *universe
	hint    [][][]int32 // by dimension, ring and code: the partner that served one of its leaves last; -1
	near    [][][]int32 // by dimension and leaf: partners, the nearest first; made when asked for
	shifted []int64     // of each base cell, by the moves so far
	touched []int       // base cells that are shifted

	wide bool // look at all partners

	// Of the scan that runs:
	target  Target
	sign    int64
	need    int64
	crowd   *pair // with it, mates of the target beneath the same cell have K contributors
	beneath int
	from    []int32
	to      []int32
	corners [1 << maxSides]int // base cells of the move that is looked at
	spare   [1 << maxSides]int // of another
	moves   []Move             // taken so far
	proofs  []Proof            // of cells that were hidden for others
	sides   [][]side           // partners of the source, by dimension
	within  []layerSet         // layers that hold the source's leaf, by dimension
	best    candidate
	hints   []int32
}

const (
	maxSides    = 3
	maxPartners = 48  // of a leaf in a dimension that are looked at
	maxSources  = 16  // base cells of a target that are tried at once
	maxMoves    = 512 // of one proof
	maxLayers   = 256
)

// layerSet is a set of layers by their index.
type layerSet [maxLayers / 64]uint64

func (s *layerSet) add(i int) { s[i/64] |= 1 << (i % 64) }
func (s layerSet) and(o *layerSet) layerSet {
	for i := range s {
		s[i] &= o[i]
	}
	return s
}

// side is a partner of a leaf.
type side struct {
	leaf  int32
	by    int      // from the base cell to that of the partner
	apart layerSet // layers in which the two are in different cells
}

// candidate is a move, and what it would cost.
type candidate struct {
	from, to []int32
	by, cost int64
}

func newSearch(u *universe) *search {
	n := len(u.dims)
	s := &search{u: u, hint: make([][][]int32, n), near: make([][][]int32, n), shifted: make([]int64, u.size), to: make([]int32, n), sides: make([][]side, n), within: make([]layerSet, n)}
	for d := range u.dims {
		s.near[d] = make([][]int32, len(u.dims[d].codes))
		for _, r := range u.dims[d].rings {
			s.hint[d] = append(s.hint[d], slices.Repeat([]int32{-1}, len(r.members)))
		}
	}
	return s
}

// rate is what a candidate costs for what it moves.
func rate(cost, by int64) int64 { return cost << 20 / min(by, 1<<20) }

// better orders candidates.
func (c *candidate) better(than *candidate) bool {
	if than.by == 0 {
		return true
	}
	if x, y := rate(c.cost, c.by), rate(than.cost, than.by); x != y {
		return x < y
	}
	return c.by > than.by
}

// join finds a move of a target by which one with K contributors joins it beneath
// the same coarser cell, and hides what it takes.
func (s *search) join(t Target, p *pair) bool {
	s.crowd, s.beneath = p, p.up(t.cell)
	_, ok := s.find(t, +1, 1)
	s.crowd = nil
	return ok
}

// find moves a target by need, up or down.
func (s *search) find(t Target, sign, need int64) (moves []Move, ok bool) {
	for _, b := range s.touched {
		s.shifted[b] = 0
	}
	s.touched, s.moves = s.touched[:0], nil
	s.target, s.sign, s.need = t, sign, need
	for s.need > 0 {
		before := len(s.moves)
		s.scan()
		// What was free has been taken meanwhile, and may have used up the best.
		s.best.by = min(s.best.by, s.need, s.most(s.best.from, s.best.to))
		if s.best.by > 0 && !t.free {
			s.accept(s.best)
		}
		if s.need > 0 && len(s.moves) == before || len(s.moves) > maxMoves {
			return nil, false
		}
	}
	return s.moves, true
}

// accept takes a move, and hides what it changes.
func (s *search) accept(c candidate) {
	n := s.u.corners(c.from, c.to, &s.spare)
	for d := range c.from {
		if c.from[d] == c.to[d] {
			continue
		}
		for r, ring := range s.u.dims[d].rings {
			if code := ring.of[c.from[d]]; code >= 0 {
				s.hint[d][r][code] = c.to[d]
			}
		}
	}
	for j := range n {
		s.shifted[s.spare[j]] += s.sign * parity(j) * c.by
		s.touched = append(s.touched, s.spare[j])
	}
	s.need -= c.by
	s.moves = append(s.moves, Move{From: slices.Clone(c.from), To: slices.Clone(c.to), By: s.sign * c.by})
	if c.cost > 0 {
		s.hide(&c)
	}
}

// hide withholds what a move changes. The moves so far are the proof that it does
// not follow: it was shown before the last of them, so that alone changes it.
func (s *search) hide(c *candidate) {
	for _, l := range s.u.layers {
		cells, n := l.changed(c.from, c.to)
		for j, cell := range cells[:n] {
			if cell < 0 || !l.own || l.state[cell] != Shown {
				continue
			}
			l.state[cell] = Complementary
			p := Proof{Target: Target{layer: l, cell: cell, measure: s.target.measure}}
			if moves := s.moves[:len(s.moves):len(s.moves)]; s.sign*parity(j) > 0 {
				p.Target.Up, p.Up = c.by, moves
			} else {
				p.Target.Down, p.Down = c.by, moves
			}
			s.proofs = append(s.proofs, p)
		}
	}
}

// most is how much a move can move.
func (s *search) most(from, to []int32) int64 {
	if from == nil {
		return 0
	}
	n := s.u.corners(from, to, &s.spare)
	most := int64(1) << 62
	for j := range n {
		if s.sign*parity(j) < 0 {
			most = min(most, s.have(s.spare[j]))
		}
	}
	return most
}

// corners lists the base cells of a move; the bits of an index say which of its
// sides the corner is at the far end of.
func (u *universe) corners(from, to []int32, into *[1 << maxSides]int) (n int) {
	into[0] = u.base(from)
	n = 1
	for d := range from {
		if from[d] == to[d] {
			continue
		}
		for j := range n {
			into[n+j] = into[j] + int(to[d]-from[d])*u.dims[d].stride
		}
		n *= 2
	}
	return n
}

// scan takes all moves of the target that cost nothing, as far as they are
// needed, and finds the best of the others.
func (s *search) scan() {
	s.best = candidate{}
	sources := s.sources()
	for _, hinted := range []bool{true, false} { // what served before may serve again
		for i, from := range sources {
			if s.look(from, hinted) {
				return
			}
			if i >= 3 && s.best.by == s.need {
				break
			}
		}
	}
}

// look considers the moves from a source; it reports whether no more is needed.
func (s *search) look(from []int32, hinted bool) bool {
	s.from = from
	copy(s.to, from)
	for d := range from {
		s.sides[d] = s.sides[d][:0]
		s.within[d] = layerSet{}
		for i, l := range s.u.layers {
			if l.axes[d][from[d]] >= 0 {
				s.within[d].add(i)
			}
		}
		if hinted {
			s.setSides(d, from[d], s.hinted(d, from[d]))
		} else {
			s.setSides(d, from[d], s.partners(d, from[d]))
		}
	}
	s.corners[0] = s.u.base(from)
	var all layerSet
	for i := range all {
		all[i] = ^uint64(0)
	}
	by := s.need
	if s.sign < 0 {
		by = min(by, s.have(s.corners[0]))
	}
	return s.spread(0, 1, by, all)
}

// hinted are the partners that served a leaf, or one near it, last.
func (s *search) hinted(d int, leaf int32) []int32 {
	s.hints = s.hints[:0]
	for r, ring := range s.u.dims[d].rings {
		if code := ring.of[leaf]; code >= 0 {
			if h := s.hint[d][r][code]; h >= 0 && h != leaf && !slices.Contains(s.hints, h) {
				s.hints = append(s.hints, h)
			}
		}
	}
	return s.hints
}

// setSides keeps the partners that the target does not hold with the source.
func (s *search) setSides(d int, leaf int32, partners []int32) {
	code := s.target.layer.axes[d][leaf]
	for _, p := range partners {
		if s.target.layer.axes[d][p] == code {
			continue
		}
		x := side{leaf: p, by: int(p-leaf) * s.u.dims[d].stride}
		for i, l := range s.u.layers {
			if l.axes[d][p] != l.axes[d][leaf] {
				x.apart.add(i)
			}
		}
		s.sides[d] = append(s.sides[d], x)
	}
}

// have is what can be taken from a base cell.
func (s *search) have(b int) int64 {
	return s.u.low[s.target.measure][b] + s.shifted[b]
}

// sources are base cells of the target that may be changed.
func (s *search) sources() (all [][]int32) {
	l := s.target.layer
	members := make([][]int32, len(s.u.dims))
	for d := range members {
		members[d] = l.members[d][l.code(s.target.cell, d)]
	}
	at := make([]int32, len(members))
	var walk func(d int)
	walk = func(d int) {
		if d == len(members) {
			if b := s.u.base(at); s.u.inside[b] && (s.sign > 0 || s.have(b) > 0) {
				all = append(all, slices.Clone(at))
			}
			return
		}
		for _, leaf := range members[d] {
			if len(all) == maxSources {
				return
			}
			at[d] = leaf
			walk(d + 1)
		}
	}
	walk(0)
	return all
}

// spread adds sides in the dimensions from d on to a move with n corners; by is
// how much its corners allow, and in the layers in which it changes something.
// It reports whether no more is needed.
func (s *search) spread(d, n int, by int64, in layerSet) bool {
	if d == len(s.from) {
		s.consider(n, in)
		return s.need == 0
	}
	s.to[d] = s.from[d]
	if s.spread(d+1, n, by, in.and(&s.within[d])) {
		return true
	}
	if n == 1<<maxSides {
		return false
	}
	sides := s.sides[d]
	if n == 1<<(maxSides-1) {
		sides = sides[:min(len(sides), maxPartners/4)]
	}
	for i := range sides {
		x := &sides[i]
		most := s.extend(n, x.by, by)
		if most <= 0 {
			continue
		}
		s.to[d] = x.leaf
		if s.spread(d+1, 2*n, most, in.and(&x.apart)) {
			return true
		}
	}
	s.to[d] = s.from[d]
	return false
}

// extend adds the far corners of a side, and returns how much the move can move
// then.
func (s *search) extend(n, to int, by int64) int64 {
	for j := range n {
		b := s.corners[j] + to
		s.corners[n+j] = b
		if !s.u.inside[b] {
			return 0
		}
		if s.sign*parity(n+j) < 0 {
			if by = min(by, s.have(b)); by <= 0 {
				return 0
			}
		}
	}
	return by
}

// consider takes a move with n corners that costs nothing, and keeps one that is
// better than the best so far.
func (s *search) consider(n int, in layerSet) {
	by := s.need
	for j := range n {
		if s.sign*parity(j) < 0 {
			by = min(by, s.have(s.corners[j]))
		}
	}
	if by <= 0 {
		return
	}
	best := &s.best
	limit := int64(1) << 62
	if best.by > 0 {
		limit = rate(best.cost, best.by)
	}
	cost := int64(0)
	for w, word := range in {
		for ; word != 0; word &= word - 1 {
			i := w*64 + bits.TrailingZeros64(word)
			if i >= len(s.u.layers) {
				break
			}
			more := s.costIn(s.u.layers[i])
			if more < 0 {
				return
			}
			if cost += more; rate(cost, by) > limit {
				return
			}
		}
	}
	c := candidate{by: by, cost: cost, from: s.from, to: s.to}
	if cost == 0 {
		s.accept(c)
	} else if c.better(best) {
		c.from, c.to = slices.Clone(s.from), slices.Clone(s.to)
		*best = c
	}
}

// costIn is what hiding costs that a move asks for in a layer; -1 where it
// cannot be.
func (s *search) costIn(l *layer) (cost int64) {
	cells, n := l.changed(s.from, s.to)
	for _, cell := range cells[:n] {
		if cell < 0 {
			continue
		}
		if s.crowd != nil && l == s.target.layer && cell != s.target.cell && l.contributors[cell] < l.policy.K && s.crowd.up(cell) == s.beneath {
			return -1
		}
		if l.state[cell] == Shown {
			if !l.own {
				return -1
			}
			cost += l.weight
		}
	}
	return cost
}

// changed are the cells that a move changes in a layer, each once; -1 for what
// lies outside.
func (l *layer) changed(from, to []int32) (cells [1 << maxSides]int, n int) {
	n = 1
	for d, axis := range l.axes {
		a, b := axis[from[d]], axis[to[d]]
		if from[d] == to[d] {
			if a < 0 {
				return cells, 0
			}
			for j := range n {
				if cells[j] >= 0 {
					cells[j] += int(a) * l.stride[d]
				}
			}
			continue
		}
		if a == b {
			return cells, 0 // both ends in one cell, or both outside
		}
		for j := range n {
			near, far := cells[j], -1
			cells[j] = -1
			if near >= 0 && b >= 0 {
				far = near + int(b)*l.stride[d]
			}
			if near >= 0 && a >= 0 {
				cells[j] = near + int(a)*l.stride[d]
			}
			cells[n+j] = far
		}
		n *= 2
	}
	return cells, n
}

// partners of a leaf, the nearest first: those that more layers join it with.
func (s *search) partners(d int, leaf int32) []int32 {
	if s.wide {
		return s.others(d, leaf)
	}
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

// others are all leaves but one.
func (s *search) others(d int, leaf int32) []int32 {
	all := upTo(len(s.u.dims[d].codes))
	return slices.Delete(all, int(leaf), int(leaf)+1)
}

// base is the index of a base cell.
func (u *universe) base(at []int32) int {
	b := 0
	for d, leaf := range at {
		b += int(leaf) * u.dims[d].stride
	}
	return b
}

// parity is -1 for an odd number of bits.
func parity(j int) int64 {
	if (j^j>>1^j>>2)&1 == 1 {
		return -1
	}
	return 1
}
