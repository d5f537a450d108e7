package attack

import (
	"slices"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// Secret is a hidden cell as who judges an attack knows it: its value, and how
// uncertain it was to stay.
type Secret struct {
	Value    int64
	Down, Up int64
}

// Sizes up to which the exact attacks are run on what hangs together.
const (
	maxProgram     = 64   // unknowns of a linear program
	maxProgramSums = 96   // sums of it
	maxElimination = 1024 // unknowns of an elimination
	maxNearby      = 64   // cells of larger ones that are looked at
)

// Reconstruct tries to work out hidden cells of one measure from everything that
// is shown, by bounds, by elimination, and by linear programs. Of the truth, the
// tables behind the published ones, it takes which cells changed. Secrets are by
// the name that CellName gives.
func Reconstruct(tables []*gate.Published, truth []*gate.Table, measure string, secrets map[string]Secret) []gate.Finding {
	s := newSystem(tables, truth, measure)
	r := &reconstruction{system: s, secrets: secrets}
	r.findings = [3]gate.Finding{
		{Attack: "bounds:" + measure, Detail: gate.Text{ZH: "由合计反复收紧区间", EN: "intervals narrowed by totals until nothing changes"}},
		{Attack: "elimination:" + measure, Detail: gate.Text{ZH: "线性方程消元", EN: "elimination in the equations of all totals"}},
		{Attack: "linear_program:" + measure, Detail: gate.Text{ZH: "精确有理线性规划求上下界", EN: "least and most of each hidden cell by exact linear programs"}},
	}
	if !s.propagate() {
		for i := range r.findings {
			r.findings[i].Unfinished = int64(len(s.cells))
			r.findings[i].Detail = gate.Text{ZH: "公布的数字相互矛盾", EN: "the published numbers contradict each other"}
		}
		return r.findings[:]
	}
	r.byBounds()
	s.simplify()
	r.byParts()
	r.nearby()
	return r.findings[:]
}

// CellName is how Secrets are named.
func CellName(t *gate.Published, levels gate.Grouping, codes []string) string {
	return cellName(t.Dataset, t.Version, levels, codes)
}

type reconstruction struct {
	*system
	secrets  map[string]Secret
	findings [3]gate.Finding
	large    []int // cells of parts that are too large for a linear program
}

// judge says whether bounds tell of a hidden cell what they were not to tell.
func (r *reconstruction) judge(f *gate.Finding, c *hidden, lo, hi int64) {
	f.Tried++
	secret, ok := r.secrets[c.name]
	switch {
	case lo == hi:
		f.Recovered++
	case ok && (lo > secret.Value-secret.Down || hi < secret.Value+secret.Up):
		f.Recovered++
	}
}

func (r *reconstruction) byBounds() {
	for i := range r.cells {
		c := &r.cells[i]
		lo, hi := r.span(c.of)
		r.judge(&r.findings[0], c, lo, hi)
	}
}

// part is what hangs together by sums.
type part struct {
	vars  []int32
	sums  []sum
	cells []int
}

// byParts runs the exact attacks on each part that is not too large.
func (r *reconstruction) byParts() {
	parts, where := r.parts()
	local := make([]int32, len(r.lo))
	for _, p := range parts {
		for i, v := range p.vars {
			local[v] = int32(i)
		}
		sums := make([]sum, len(p.sums))
		for i, c := range p.sums {
			sums[i] = sum{rename(c.of, local), c.lo, c.hi}
		}
		r.attackPart(p, sums, func(c *hidden) (of []int32, known int64, whole bool) {
			for _, v := range c.of {
				if r.lo[v] == r.hi[v] {
					known += r.lo[v]
					continue
				}
				if where[v] != where[p.vars[0]] {
					return nil, 0, false
				}
				of = append(of, local[v])
			}
			return of, known, true
		})
	}
	r.free(where)
}

func rename(of, to []int32) []int32 {
	out := make([]int32, len(of))
	for i, v := range of {
		out[i] = to[v]
	}
	return out
}

// attackPart runs elimination and linear programs. A cell over several parts is
// as uncertain as each, and is left to where it lies in one.
func (r *reconstruction) attackPart(p *part, sums []sum, in func(*hidden) ([]int32, int64, bool)) {
	small := len(p.vars) <= maxProgram && len(sums) <= maxProgramSums
	var lp *program
	if small {
		var err error
		if lp, err = newProgram(len(p.vars), sums); err != nil {
			small = false
		}
	}
	var e *elimination
	if len(p.vars) <= maxElimination {
		e = newElimination(len(p.vars), sums)
	}
	for _, i := range p.cells {
		c := &r.cells[i]
		of, known, whole := in(c)
		if !whole || len(of) == 0 {
			continue
		}
		if f := &r.findings[1]; e == nil {
			f.Unfinished++
		} else {
			f.Tried++
			if e.follows(of) {
				f.Recovered++
			}
		}
		if !small {
			r.large = append(r.large, i)
			continue
		}
		lo, hi, err := lp.bounds(of)
		if err != nil {
			r.large = append(r.large, i)
			continue
		}
		r.judge(&r.findings[2], c, lo+known, hi+known)
	}
}

// nearby attacks cells of large parts by linear programs of the sums around them.
// What is left out only widens bounds: a cell that is found out is found out.
// Cells beyond maxNearby, evenly spread, are left unfinished.
func (r *reconstruction) nearby() {
	f := &r.findings[2]
	step := max(1, (len(r.large)+maxNearby-1)/maxNearby)
	byVar := map[int32][]int{}
	for i, c := range r.sums {
		for _, v := range c.of {
			byVar[v] = append(byVar[v], i)
		}
	}
	for n, i := range r.large {
		if n%step != 0 {
			f.Unfinished++
			continue
		}
		c := &r.cells[i]
		vars, sums := r.around(c, byVar)
		local := make(map[int32]int32, len(vars))
		for j, v := range vars {
			local[v] = int32(j)
		}
		var of []int32
		known := int64(0)
		for _, v := range c.of {
			if r.lo[v] == r.hi[v] {
				known += r.lo[v]
			} else if j, ok := local[v]; ok {
				of = append(of, j)
			} else {
				of = nil // larger than what is looked at
				break
			}
		}
		renamed := make([]sum, len(sums))
		for j, x := range sums {
			renamed[j] = sum{lo: x.lo, hi: x.hi}
			for _, v := range x.of {
				renamed[j].of = append(renamed[j].of, local[v])
			}
		}
		lp, err := newProgram(len(vars), renamed)
		if err != nil || of == nil {
			f.Unfinished++
			continue
		}
		lo, hi, err := lp.bounds(of)
		if err != nil {
			f.Unfinished++
			continue
		}
		r.judge(f, c, lo+known, hi+known)
	}
}

// around collects the shortest sums that hang together with a cell.
func (r *reconstruction) around(c *hidden, byVar map[int32][]int) (vars []int32, sums []sum) {
	in := map[int32]bool{}
	taken := map[int]bool{}
	for _, v := range c.of {
		if r.lo[v] < r.hi[v] && len(vars) < maxProgram {
			in[v] = true
			vars = append(vars, v)
		}
	}
	for len(sums) < maxProgramSums {
		best, more := -1, maxProgram-len(vars)+1
		for _, v := range vars {
			for _, i := range byVar[v] {
				if taken[i] || len(r.sums[i].of) > maxProgram {
					continue
				}
				fresh := 0
				for _, x := range r.sums[i].of {
					if !in[x] {
						fresh++
					}
				}
				if fresh < more {
					best, more = i, fresh
				}
			}
		}
		if best < 0 {
			break
		}
		taken[best] = true
		sums = append(sums, r.sums[best])
		for _, x := range r.sums[best].of {
			if !in[x] {
				in[x] = true
				vars = append(vars, x)
			}
		}
	}
	return vars, sums
}

// free counts cells whose unknowns are in no sum: nothing is said of them.
func (r *reconstruction) free(where []int32) {
	for i := range r.cells {
		if !slices.ContainsFunc(r.cells[i].of, func(v int32) bool { return where[v] >= 0 }) {
			r.findings[1].Tried++
			r.findings[2].Tried++
		}
	}
}

// parts splits unknowns by which sums they share; where is the first unknown of
// the part of each, -1 for what is known or in no sum.
func (r *reconstruction) parts() (all []*part, where []int32) {
	where = make([]int32, len(r.lo))
	for v := range where {
		where[v] = int32(v)
	}
	root := func(v int32) int32 {
		for where[v] != v {
			where[v] = where[where[v]]
			v = where[v]
		}
		return v
	}
	inSum := make([]bool, len(r.lo))
	for _, c := range r.sums {
		for _, v := range c.of {
			inSum[v] = true
			where[root(v)] = root(c.of[0])
		}
	}
	index := map[int32]*part{}
	for v := range where {
		if !inSum[v] {
			continue
		}
		at := root(int32(v))
		if index[at] == nil {
			index[at] = &part{}
			all = append(all, index[at])
		}
		index[at].vars = append(index[at].vars, int32(v))
	}
	for v := range where {
		if inSum[v] {
			where[v] = root(int32(v))
		}
	}
	for v := range where {
		if !inSum[v] {
			where[v] = -1
		}
	}
	for _, c := range r.sums {
		p := index[where[c.of[0]]]
		p.sums = append(p.sums, c)
	}
	for i, c := range r.cells {
		seen := map[int32]bool{}
		for _, v := range c.of {
			if at := where[v]; at >= 0 && !seen[at] {
				seen[at] = true
				index[at].cells = append(index[at].cells, i)
			}
		}
	}
	return all, where
}

// measures that add up, and that totals tell of: with noise they do not.
func measures(t *gate.Published) (names []string) {
	for _, m := range t.Measures {
		if m.NoiseT == 0 && (m.Kind == gate.Count || m.Kind == gate.Sum || m.Kind == gate.Mean) {
			names = append(names, m.Name)
		}
	}
	return names
}
