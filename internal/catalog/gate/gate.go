// Package gate lets a table of measured cells become public only where nobody in
// it can be found out, and proves it. What is decided depends on the table, the
// policy, the time and the key it is handed, and on what was published before,
// and on nothing else: the same make the same bytes. Art. 33, Art. 39
//
// What it promises of all that it has let out together, with the values it lets
// out exact: no cell with fewer contributors than the policy's k, and none that
// one contributor dominates, is shown; from a cell that is withheld nobody can
// tell whether anybody was in it, nor whether there were k; and what is left of
// a total when the cells shown beneath it are taken off has k contributors.
package gate

import (
	"fmt"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Input is what one decision depends on.
type Input struct {
	Table  *Table
	Policy Policy
	Now    time.Time
	// Past are tables that were published and overlap this one, the oldest first:
	// earlier versions, and other datasets of the same source. Their dimensions
	// have the same names, in the same order, and leaves with the same codes are
	// the same.
	Past []*Past
	// Key derives the noise; see NewKey. Only needed with noise.
	Key []byte
	// Ledger pays for the noise. Only needed with noise.
	Ledger *Ledger
	// Former decides as it was done before late data were shown in part, so that what
	// was decided then comes out the same.
	Former bool
}

// Result is what came through the gate, and what is to be kept of it.
type Result struct {
	Published *Published
	Past      *Past
	Figures   Figures

	policy Policy
	u      *universe
	proofs []Proof
	spent  []Spent
	paid   Paid
}

// Figures are what a report says of a table.
type Figures struct {
	Cells          int64 // that could have been published
	Shown          int64
	Withheld       int64
	Complementary  int64 // of those withheld; not for the public
	Held           int64 // that are, at least in part, those of an earlier version
	SmallestK      int64 // contributors of the smallest cell that is shown; 0 where none is
	Proven         int64 // cells whose uncertainty is proven, by measure
	MicroEpsilon   int64 // spent for each day
	Days           int64
	EarlierChecked int64
}

type gate struct {
	policy *Policy
	told   *Table // as it was measured
	table  *Table // as it is to be published: some of it as it was before
	former bool
	key    []byte
	past   []*Past
	u      *universe
	single map[*layer][][]Reason
	heldIn map[*layer][]bool
	noise  noise
	absent []Absent
}

// Run decides. It returns an *Overdraw where the privacy budget does not
// suffice, and a *Refusal where no withholding helps against what is out.
func Run(in Input) (*Result, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	g := &gate{policy: &in.Policy, key: in.Key, past: in.Past, former: in.Former, noise: noise{scale: make([]Scale, len(in.Table.Measures))}}
	var err error
	if g.told, g.absent, err = cut(in.Table, &in.Policy, in.Now); err != nil {
		return nil, err
	}
	proofs, err := g.decide()
	if err != nil {
		return nil, err
	}
	g.single = g.u.markNotAdditive(g.table, g.policy)
	out := &Result{policy: in.Policy, u: g.u, proofs: proofs}
	if out.spent, err = g.addNoise(in.covered()); err != nil {
		return nil, err
	}
	g.absentCodes()
	out.Published = g.publish()
	if len(out.spent) > 0 {
		if err := in.Ledger.Spend(out.spent); err != nil {
			return nil, err
		}
		out.paid = in.Ledger.paid(out.spent)
	}
	out.Past = g.keep()
	out.Figures = g.figures(out)
	return out, nil
}

func (in *Input) check() error {
	if err := strict.Join(in.Policy.Check("policy")); err != nil {
		return err
	}
	t, p := in.Table, &in.Policy
	if err := t.check(); err != nil {
		return err
	}
	if err := t.checkBins(p); err != nil {
		return err
	}
	for _, e := range in.Past {
		if err := e.Table.check(); err != nil {
			return fmt.Errorf("what was kept of an earlier table: %w", err)
		}
		same := func(x, y Dimension) bool { return x.Name == y.Name && x.Time == y.Time }
		if !slices.EqualFunc(t.Dimensions, e.Table.Dimensions, same) {
			return fmt.Errorf("table %s and earlier %s version %d: their dimensions differ, so what one tells of the other cannot be checked; give both the same base", t.Dataset, e.Table.Dataset, e.Table.Version)
		}
	}
	if p.MaxBound > 0 && (t.Bound == 0 || t.Bound > p.MaxBound) {
		return fmt.Errorf("table %s: a contributor is counted up to %d times a day (0: nobody knows); policy %s wants at most %d: tally it with that bound", t.Dataset, t.Bound, p.Name, p.MaxBound)
	}
	return in.checkNoise()
}

func (in *Input) checkNoise() error {
	t := in.Table
	if in.Policy.MicroEpsilon == 0 {
		return nil
	}
	if len(in.Key) != KeySize || in.Ledger == nil || in.covered() == 0 {
		return fmt.Errorf("table %s: noise takes a key of %d bytes, a ledger, and a bound of how often a contributor is counted", t.Dataset, KeySize)
	}
	for _, m := range t.Measures {
		if !m.Kind.additive() {
			return fmt.Errorf("table %s: measure %q is a %s, to which noise cannot be added; leave it out", t.Dataset, m.Name, m.Kind)
		}
		if m.Kind != Count && m.Cap == 0 {
			return fmt.Errorf("table %s: measure %q takes noise only with a cap of single contributions", t.Dataset, m.Name)
		}
	}
	return nil
}

// covered is how many contributions of one contributor to a day the noise hides
// together: all that there may be, where somebody sees to that.
func (in *Input) covered() int64 {
	if in.Table.Bound > 0 {
		return in.Table.Bound
	}
	return in.Policy.NoiseBound
}

// checkBins holds all published levels of time to the shortest bin.
func (t *Table) checkBins(p *Policy) error {
	for _, g := range t.Groupings {
		for d := range t.Dimensions {
			dim := &t.Dimensions[d]
			if !dim.Time {
				continue
			}
			level, _ := dim.level(g[d])
			length := make([]time.Duration, len(level.Codes))
			for leaf, code := range level.Of {
				length[code] += time.Duration(dim.Leaves[leaf].End-dim.Leaves[leaf].Start) * time.Second
			}
			for c, long := range length {
				if level.Length > 0 {
					long = level.Length
				}
				if long > 0 && long < p.MinBin {
					return fmt.Errorf("table %s: grouping %v has bins of %s (%s); policy %s publishes none shorter than %s", t.Dataset, g, long, level.Codes[c], p.Name, p.MinBin)
				}
			}
		}
	}
	return nil
}

// cut leaves out bins that are too recent and what touches a zone, from totals
// too, so that nothing is left to work out.
func cut(t *Table, p *Policy, now time.Time) (*Table, []Absent, error) {
	var absent []Absent
	kept := make([][]int32, len(t.Dimensions))
	latest := now.Add(-p.Delay).Unix()
	for d := range t.Dimensions {
		dim := &t.Dimensions[d]
		for i, l := range dim.Leaves {
			why := Shown
			if dim.Time && l.End > latest {
				why = TooRecent
			}
			if slices.ContainsFunc(p.Zones, func(z Zone) bool { return z.touches(l.Path) }) {
				why = Excluded
			}
			if why == Shown {
				kept[d] = append(kept[d], int32(i))
				continue
			}
			absent = append(absent, Absent{Dimension: dim.Name, Level: Each, Code: l.Code, Reason: why.Code()})
		}
		if len(kept[d]) == 0 {
			return nil, nil, fmt.Errorf("table %s: no leaf of dimension %q may be published (delay %s, %d zones)", t.Dataset, dim.Name, p.Delay, len(p.Zones))
		}
	}
	return t.keep(kept), absent, nil
}

// decide finds what is hidden, and what stays as it was before.
func (g *gate) decide() (proofs []Proof, err error) {
	h := newHolding(g.told, g.policy, g.past)
	for {
		g.table = h.table(g.former)
		if err := g.overlay(h.held()); err != nil {
			return nil, err
		}
		g.u.hideByRule(g.table, g.policy)
		if !complementary {
			return nil, nil
		}
		var open []exposed
		if proofs, open = g.u.protect(g.table); len(open) == 0 {
			return proofs, nil
		}
		if !g.former && h.more(g.u, open) {
			continue
		}
		if no := g.refusal(open); no != nil {
			return nil, no
		}
		return proofs, nil
	}
}

// refusal names the cells that would be found out; nil where nobody would be.
func (g *gate) refusal(open []exposed) error {
	var names []string
	for _, x := range open {
		if !x.soft {
			names = append(names, x.layer.name(x.cell))
		}
	}
	if names == nil {
		return nil
	}
	return &Refusal{Dataset: g.table.Dataset, Cells: names}
}

// overlay lays the table over the earlier ones.
func (g *gate) overlay(held []int) (err error) {
	if g.u, err = newUniverse(g.table, g.policy, g.past); err != nil {
		return err
	}
	g.u.former = g.former
	g.heldIn = map[*layer][]bool{}
	for _, l := range g.u.layers {
		if l.own {
			g.heldIn[l] = make([]bool, l.size)
		}
	}
	g.eachHeld(held, func(l *layer, i int) { g.heldIn[l][i] = true })
	return nil
}

// eachHeld calls do with each cell of the new table's layers that holds a base
// cell. The leaves of the new table are the first of the universe.
func (g *gate) eachHeld(held []int, do func(l *layer, i int)) {
	at := make([]int32, len(g.table.Dimensions))
	for _, b := range held {
		for d := len(at) - 1; d >= 0; d-- {
			n := len(g.table.Dimensions[d].Leaves)
			at[d] = int32(b % n)
			b /= n
		}
		for _, l := range g.u.layers {
			if l.own {
				do(l, l.cell(at))
			}
		}
	}
}

// absentCodes lists codes of which nothing is published.
func (g *gate) absentCodes() {
	seen := map[Absent]bool{}
	for _, l := range g.u.layers {
		if !l.own {
			continue
		}
		for d, codes := range g.u.missing(l, g.table) {
			dim := &g.table.Dimensions[d]
			level, _ := dim.level(g.table.Groupings[l.group][d])
			for c, gone := range codes {
				a := Absent{Dimension: dim.Name, Level: level.Name, Code: level.Codes[c], Reason: Incomplete.Code()}
				if gone && !seen[a] {
					seen[a] = true
					g.absent = append(g.absent, a)
				}
			}
		}
	}
}

// keep is what later tables are checked against.
func (g *gate) keep() *Past {
	p := &Past{Table: g.table, Policy: *g.policy}
	for _, l := range g.u.layers {
		if l.own {
			p.State = append(p.State, l.state)
			if g.noise.base != nil {
				p.Noisy = append(p.Noisy, g.noise.values[l])
			}
		}
	}
	return p
}

func (g *gate) figures(r *Result) Figures {
	f := Figures{Proven: int64(len(r.proofs)), Days: int64(len(r.spent)), EarlierChecked: int64(len(g.past))}
	if len(r.spent) > 0 {
		f.MicroEpsilon = g.policy.MicroEpsilon
	}
	for _, l := range g.u.layers {
		for i, s := range l.state {
			switch {
			case !l.own || s == Incomplete:
				continue
			case s == Shown:
				f.Shown++
				if f.SmallestK == 0 || l.contributors[i] < f.SmallestK {
					f.SmallestK = l.contributors[i]
				}
			default:
				f.Withheld++
				if s == Complementary || s == Before {
					f.Complementary++
				}
			}
			f.Cells++
			if l.own && g.heldIn[l][i] {
				f.Held++
			}
		}
	}
	return f
}
