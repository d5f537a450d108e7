package attack

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// glpk is the least and the most of a sum by GLPK.
func glpk(t *testing.T, n int, sums []sum, of []int32) (lo, hi float64, feasible bool) {
	t.Helper()
	solve := func(way string) (float64, bool) {
		var b strings.Builder
		fmt.Fprintf(&b, "%s\n z:", way)
		for _, v := range of {
			fmt.Fprintf(&b, " + x%d", v)
		}
		b.WriteString("\nSubject To\n")
		for i, c := range sums {
			row := ""
			for _, v := range c.of {
				row += fmt.Sprintf(" + x%d", v)
			}
			fmt.Fprintf(&b, " a%d:%s >= %d\n b%d:%s <= %d\n", i, row, c.lo, i, row, c.hi)
		}
		b.WriteString("End\n")
		dir := t.TempDir()
		in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
		if err := os.WriteFile(in, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := exec.CommandContext(t.Context(), referee(t, "glpsol"), "--lp", in, "--nopresol", "-w", out).CombinedOutput()
		if err != nil {
			t.Fatalf("glpsol: %v\n%s", err, text)
		}
		raw, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			var rows, columns int
			var primal, dual string
			var objective float64
			if k, _ := fmt.Sscanf(line, "s bas %d %d %s %s %g", &rows, &columns, &primal, &dual, &objective); k == 5 {
				if primal == "f" && dual == "f" {
					return objective, true
				}
				if primal == "f" {
					return math.Inf(1), true
				}
				return 0, false
			}
		}
		t.Fatalf("glpsol said nothing:\n%s", text)
		return 0, false
	}
	if lo, feasible = solve("Minimize"); !feasible {
		return 0, 0, false
	}
	hi, _ = solve("Maximize")
	return lo, hi, true
}

// TestOurProgramsAgreeWithGLPK on random sums, exact and within bounds, of which
// some contradict each other.
func TestOurProgramsAgreeWithGLPK(t *testing.T) {
	referee(t, "glpsol")
	rng := rand.New(rand.NewPCG(7, 7))
	feasible, rounds := 0, 60
	if testing.Short() {
		rounds = 15
	}
	for range rounds {
		n := 2 + rng.IntN(8)
		truth := make([]int64, n)
		for i := range truth {
			truth[i] = rng.Int64N(12)
		}
		var sums []sum
		for range 1 + rng.IntN(8) {
			var c sum
			for v := range n {
				if rng.IntN(2) == 0 {
					c.of = append(c.of, int32(v))
					c.lo += truth[v]
				}
			}
			c.hi = c.lo
			if rng.IntN(3) == 0 {
				c.lo, c.hi = max(0, c.lo-2), c.hi+2
			}
			if rng.IntN(12) == 0 {
				c.lo, c.hi = c.lo+9, c.hi+9
			}
			if len(c.of) > 0 {
				sums = append(sums, c)
			}
		}
		if len(sums) == 0 {
			continue
		}
		of := slices.Clone(sums[0].of[:1+rng.IntN(len(sums[0].of))])
		if rng.IntN(2) == 0 {
			of = []int32{int32(rng.IntN(n))}
		}
		wantLo, wantHi, ok := glpk(t, n, sums, of)
		p, err := newProgram(n, sums)
		if !ok {
			if !errors.Is(err, errInfeasible) {
				t.Fatalf("GLPK finds no solution of %v, and we: %v", sums, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%v: %v; GLPK finds a solution", sums, err)
		}
		feasible++
		lo, hi, err := p.bounds(of)
		if err != nil {
			t.Fatal(err)
		}
		if hi == unbounded {
			if !math.IsInf(wantHi, 1) {
				t.Fatalf("%v: %v is unbounded for us, and at most %g by GLPK", sums, of, wantHi)
			}
			wantHi = unbounded
		}
		if float64(lo) != math.Ceil(wantLo-1e-7) || float64(hi) != math.Floor(wantHi+1e-7) {
			t.Fatalf("%v: %v is within %d and %d; by GLPK %g and %g", sums, of, lo, hi, wantLo, wantHi)
		}
	}
	if feasible < rounds/2 {
		t.Errorf("%d of %d had a solution: that tests little", feasible, rounds)
	}
}

// TestWithholdingIsNearTheLeast: on tables small enough to try every choice, the
// cells that are withheld are compared with the fewest that suffice.
func TestWithholdingIsNearTheLeast(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	ours, least, rounds, exact := 0, 0, 60, 0
	if testing.Short() {
		rounds = 12
	}
	for range rounds {
		counts := make([]int64, 9)
		for i := range counts {
			counts[i] = 10 + rng.Int64N(40)
			if rng.IntN(5) == 0 {
				counts[i] = rng.Int64N(10)
			}
		}
		in := square(counts...)
		r, err := gate.Run(gate.Input{Table: in, Policy: gate.VehicleFlow(), Now: later})
		if err != nil {
			t.Fatal(err)
		}
		n := optimum(t, counts)
		ours, least = ours+int(r.Figures.Withheld), least+n
		if int(r.Figures.Withheld) < n {
			t.Fatalf("%v: %d cells are withheld, and the least that suffices is %d", counts, r.Figures.Withheld, n)
		}
		if int(r.Figures.Withheld) == n {
			exact++
		}
	}
	t.Logf("%d cells of %d withheld, %d at least: %.1f %% more; %d of %d tables have the fewest", ours, 16*rounds, least, 100*float64(ours-least)/float64(least), exact, rounds)
	if ours > least*5/4 {
		t.Errorf("%d cells are withheld where %d would do", ours, least)
	}
}

// optimum is the least number of cells of a square that have to be hidden, of
// all choices, so that each small cell may be nothing or ten.
func optimum(t *testing.T, counts []int64) int {
	t.Helper()
	cells := make([][]int32, 16) // their base cells
	for i := range 3 {
		for j := range 3 {
			b := int32(3*i + j)
			for _, c := range []int{4*i + j, 4*i + 3, 12 + j, 15} {
				cells[c] = append(cells[c], b)
			}
		}
	}
	value := func(c int) (v int64) {
		for _, b := range cells[c] {
			v += counts[b]
		}
		return v
	}
	must := 0
	for c := range cells {
		most := int64(0) // contributors for certain
		for _, b := range cells[c] {
			most = max(most, counts[b])
		}
		if most < 10 {
			must |= 1 << c
		}
	}
	if must == 0 {
		return 0
	}
	suffices := func(hidden int) bool {
		var sums []sum
		for c := range cells {
			if hidden&(1<<c) == 0 {
				sums = append(sums, sum{cells[c], value(c), value(c)})
			}
		}
		p, err := newProgram(9, sums)
		if err != nil {
			t.Fatal(err)
		}
		for c := range cells {
			if must&(1<<c) == 0 {
				continue
			}
			lo, hi, err := p.bounds(cells[c])
			if err != nil {
				t.Fatal(err)
			}
			if lo > 0 || hi < 10 {
				return false
			}
		}
		// What is left of a shown cell has ten for certain.
		for coarse := range cells {
			for _, fine := range [][]int{{0, 1, 2, 4, 5, 6, 8, 9, 10}, {3, 7, 11}, {12, 13, 14}} {
				if hidden&(1<<coarse) != 0 {
					continue
				}
				most, any := int64(0), false
				for _, f := range fine {
					inside := !slices.ContainsFunc(cells[f], func(b int32) bool { return !slices.Contains(cells[coarse], b) })
					if inside && f != coarse && hidden&(1<<f) != 0 {
						any = true
						for _, b := range cells[f] {
							most = max(most, counts[b])
						}
					}
				}
				if any && most < 10 {
					return false
				}
			}
		}
		return true
	}
	best := 17
	var try func(hidden, from, n int)
	try = func(hidden, from, n int) {
		if n >= best {
			return
		}
		if suffices(hidden) {
			best = n
			return
		}
		for c := from; c < 16; c++ {
			if hidden&(1<<c) == 0 {
				try(hidden|1<<c, c+1, n+1)
			}
		}
	}
	n := 0
	for c := range cells {
		if must&(1<<c) != 0 {
			n++
		}
	}
	for best = n + 1; best <= 16; best++ { // deepen
		limit := best
		try(must, 0, n)
		if best < limit {
			return best
		}
		best = limit
	}
	return best
}
