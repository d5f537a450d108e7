package gate

import (
	"cmp"
	"fmt"
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
	// soft targets could be published by themselves: nobody is found out when they
	// are, but what is withheld should stay so.
	soft bool
	// free targets take nothing more than what is hidden already.
	free bool
}

// Proof is how another table with the same published cells comes about.
type Proof struct {
	Target   Target
	Up, Down []Move
}

// Refusal tells that a table cannot be published beside what is out already, even
// where all that it shares with that stays as it was.
type Refusal struct {
	Dataset string
	Cells   []string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("table %s: %d cells would follow from it and what is published already, the first of them %s, even where all that is out stays as it is; publish fewer groupings, or leave the day at what is out",
		r.Dataset, len(r.Cells), strings.Join(r.Cells[:min(3, len(r.Cells))], ", "))
}

// targets are what has to stay uncertain, the coarsest and largest first.
func (u *universe) targets(t *Table, which func(*layer, Reason) bool) []Target {
	var all []Target
	for _, l := range u.layers {
		for i, s := range l.state {
			if !which(l, s) {
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
	out := Target{layer: l, cell: i, measure: m, soft: !l.state[i].Sensitive()}
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

// exposed is a hidden cell of which nothing proves that it cannot be found out.
type exposed struct {
	layer *layer
	cell  int
	soft  bool // nobody would be found out by it
}

// protect hides what is needed so that no target can be found out, and tells of
// which that is in vain.
func (u *universe) protect(t *Table) (proofs []Proof, open []exposed) {
	s := newSearch(u)
	var soft []Target
	prove := func(all []Target) {
		for _, target := range all {
			proof := Proof{Target: target}
			var up, down bool
			find := s.reach
			if target.soft {
				find = s.find
			}
			proof.Up, up = find(target, +1, target.Up)
			proof.Down, down = find(target, -1, target.Down)
			switch {
			case up && down:
				proofs = append(proofs, proof)
			case !target.soft:
				open = append(open, exposed{layer: target.layer, cell: target.cell})
			default:
				soft = append(soft, target)
			}
		}
	}
	prove(u.targets(t, func(l *layer, why Reason) bool {
		return why.Sensitive() || why == Before || why == Complementary && !l.own
	}))
	pairs := u.comparable()
	for i := range pairs {
		prove(s.joinCrowds(t, &pairs[i], nil))
	}
	for i := range pairs {
		for j := range pairs { // coarse, middle, fine
			if pairs[j].fine == pairs[i].fine && pairs[j].coarse != pairs[i].coarse && u.between(&pairs[i], &pairs[j]) {
				prove(s.joinCrowds(t, &pairs[i], &pairs[j]))
			}
		}
	}
	// Proofs of the others too: how many there are then tells nobody how many of
	// the hidden cells are small.
	proofs = append(proofs, s.proofs...)
	proven := make(map[Target]bool, len(proofs))
	for i := range proofs {
		proven[proofs[i].Target.alone()] = true
	}
	rest := u.targets(t, func(l *layer, why Reason) bool { return why == Complementary && l.own })
	if !u.former {
		rest = append(rest, soft...)
	}
	for _, target := range rest {
		if proven[target.alone()] {
			continue
		}
		if proof, ok := s.proveAny(target); ok {
			proofs = append(proofs, proof)
		} else {
			open = append(open, exposed{target.layer, target.cell, true})
		}
	}
	return proofs, open
}

// alone is the target without how uncertain it has to be.
func (t Target) alone() Target { return Target{layer: t.layer, cell: t.cell, measure: t.measure} }

// reach finds moves as find does, and looks at all partners where those nearby do
// not serve.
func (s *search) reach(t Target, sign, need int64) (moves []Move, ok bool) {
	if moves, ok = s.find(t, sign, need); ok || s.u.former {
		return moves, ok
	}
	s.wide = true
	moves, ok = s.find(t, sign, need)
	s.wide = false
	return moves, ok
}

// proveAny proves that a cell does not follow exactly, in one direction. What is
// free is taken first, and what is near.
func (s *search) proveAny(t Target) (Proof, bool) {
	for _, find := range []func(Target, int64, int64) ([]Move, bool){s.find, s.reach} {
		for _, t.free = range []bool{true, false} {
			if moves, ok := find(t, +1, 1); ok {
				return Proof{Target: Target{layer: t.layer, cell: t.cell, measure: t.measure, Up: 1}, Up: moves}, true
			}
			if moves, ok := find(t, -1, 1); ok {
				return Proof{Target: Target{layer: t.layer, cell: t.cell, measure: t.measure, Down: 1}, Down: moves}, true
			}
		}
		if s.u.former {
			break
		}
	}
	return Proof{}, false
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

// between reports whether the coarse layer of b lies between both of a, and is
// like neither.
func (u *universe) between(a, b *pair) bool {
	_, within := newPair(a.coarse, b.coarse)
	_, coarse := newPair(b.coarse, a.coarse)
	_, fine := newPair(b.fine, b.coarse)
	return within && !coarse && !fine
}

// crowd is what is hidden beneath a shown cell.
type crowd struct {
	hidden       int
	parts        int
	contributors int64 // for certain
	count        int64
	best         int // the largest hidden part
}

// joinCrowds sees to it that what is hidden beneath a shown cell is a crowd: the
// sum of it follows from the cell and its shown parts, so it has to have K
// contributors of its own. A sum of small cells may be one contributor who comes
// again and again. Where it is no crowd a cell that has K joins it; where there
// is none the coarse cell is hidden too, and is what is returned. With a middle
// layer, its shown cells are taken off first, and parts of hidden ones are left.
func (s *search) joinCrowds(t *Table, p, middle *pair) (more []Target) {
	count := slices.IndexFunc(t.Measures, func(m Measure) bool { return m.Kind == Count })
	crowds := s.crowds(p, middle, count)
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
			if s.join(Target{layer: p.fine, cell: k.best, measure: measure}, p) {
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

// crowds are those beneath each coarse cell.
func (s *search) crowds(p, middle *pair, count int) []crowd {
	over := p
	if middle != nil {
		over = middle
	}
	open := make([]bool, over.coarse.size) // cells of the nearest coarser layer with a part that is shown
	for i, state := range p.fine.state {
		if m := over.up(i); m >= 0 && state == Shown {
			open[m] = true
		}
	}
	crowds := make([]crowd, p.coarse.size)
	for i, state := range p.fine.state {
		c, m := p.up(i), over.up(i)
		if c >= 0 {
			crowds[c].parts++
		}
		if c < 0 || m < 0 || state == Shown || middle != nil && middle.coarse.state[m] == Shown {
			continue
		}
		k := &crowds[c]
		k.hidden++
		if state.forPeople() && (k.hidden == 1 || p.fine.contributors[i] > p.fine.contributors[k.best]) {
			k.best = i
		}
		k.contributors = max(k.contributors, p.fine.contributors[i])
		if !open[m] { // all of it is hidden
			k.contributors = max(k.contributors, over.coarse.contributors[m])
		}
		if count >= 0 && p.fine.values[count] != nil {
			k.count += p.fine.values[count][i]
		}
	}
	return crowds
}
