package optimise

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/schedule"
)

// writeLP writes a problem in the LP format of CPLEX: x<class>_<option>_<start>
// is how many jobs of a class get a start, w<class> how many get none.
func writeLP(to io.Writer, p *Problem, whole bool) error {
	b := bufio.NewWriter(to)
	terms := map[[3]int][]string{} // by place, slot and dimension
	var names []string
	fmt.Fprintln(b, "Minimize\n cost:")
	for i := range p.Classes {
		k := &p.Classes[i]
		fmt.Fprintf(b, " + %.12g w%d\n", k.Wait, i)
		names = append(names, fmt.Sprintf("w%d", i))
		for o, option := range k.Options {
			for n, cost := range option.Cost {
				if math.IsInf(cost, 1) {
					continue
				}
				name := fmt.Sprintf("x%d_%d_%d", i, o, option.First+n)
				names = append(names, name)
				fmt.Fprintf(b, " + %.12g %s\n", cost, name)
				for d, use := range k.Use {
					for t := option.First + n; use > 0 && t < min(p.Slots, option.First+n+option.Length); t++ {
						at := [3]int{option.Place, t, d}
						terms[at] = append(terms[at], fmt.Sprintf(" + %d %s\n", use, name))
					}
				}
			}
		}
	}
	fmt.Fprintln(b, "Subject To")
	for i := range p.Classes {
		fmt.Fprintf(b, " c%d: w%d\n", i, i)
		for o, option := range p.Classes[i].Options {
			for n, cost := range option.Cost {
				if !math.IsInf(cost, 1) {
					fmt.Fprintf(b, " + x%d_%d_%d\n", i, o, option.First+n)
				}
			}
		}
		fmt.Fprintf(b, " = %d\n", p.Classes[i].Count)
	}
	for place := range p.Places {
		for t := range p.Slots {
			for d, room := range p.Places[place].Room[t] {
				if all := terms[[3]int{place, t, d}]; len(all) > 0 {
					fmt.Fprintf(b, " r%d_%d_%d:\n", place, t, d)
					for _, term := range all {
						b.WriteString(term)
					}
					fmt.Fprintf(b, " <= %d\n", room)
				}
			}
		}
	}
	if whole {
		fmt.Fprintln(b, "General")
		for _, name := range names {
			fmt.Fprintln(b, " "+name)
		}
	}
	fmt.Fprintln(b, "End")
	return b.Flush()
}

// program finds a program that the tests ask, and skips where it is not there.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not there; run scripts/install-test-tools", name)
	}
	t.Skipf("%s is not there; run scripts/install-test-tools", name)
	return ""
}

// written is a file with a problem.
func written(t *testing.T, p *Problem, whole bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "problem.lp")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writeLP(f, p, whole), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// relaxed is the optimum of the linear program, by GLPK.
func relaxed(t *testing.T, p *Problem) float64 {
	t.Helper()
	out := filepath.Join(t.TempDir(), "raw")
	text, err := exec.CommandContext(t.Context(), program(t, "glpsol"), "--lp", written(t, p, false), "-w", out).CombinedOutput()
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
		var value float64
		if n, _ := fmt.Sscanf(line, "s bas %d %d %s %s %g", &rows, &columns, &primal, &dual, &value); n == 5 && primal == "f" && dual == "f" {
			return value
		}
	}
	t.Fatalf("glpsol found no optimum:\n%s", text)
	return 0
}

// integral is the optimum of whole jobs, by CBC.
func integral(t *testing.T, p *Problem) float64 {
	t.Helper()
	out := filepath.Join(t.TempDir(), "solution")
	text, err := exec.CommandContext(t.Context(), program(t, "cbc"), written(t, p, true), "ratio", "0", "allow", "0", "solve", "solution", out).CombinedOutput()
	if err != nil {
		t.Fatalf("cbc: %v\n%s", err, text)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var value float64
	if _, err := fmt.Sscanf(string(raw), "Optimal - objective value %g", &value); err != nil {
		t.Fatalf("cbc found no optimum: %v\n%.300s", err, raw)
	}
	return value
}

// examine adds up a solution from scratch: its cost, whether all jobs are there
// and each capacity holds.
func examine(t testing.TB, p *Problem, s *Solution) float64 {
	t.Helper()
	cost := 0.0
	used := make([][]schedule.Vector, len(p.Places))
	for i := range used {
		used[i] = make([]schedule.Vector, p.Slots)
	}
	for i, k := range p.Classes {
		if len(s.Jobs[i]) != k.Count {
			t.Fatalf("class %d has %d jobs, and %d choices", i, k.Count, len(s.Jobs[i]))
		}
		for _, c := range s.Jobs[i] {
			if c.Option < 0 {
				cost += k.Wait
				continue
			}
			o := &k.Options[c.Option]
			cost += o.Cost[c.Start-o.First]
			for at := c.Start; at < min(c.Start+o.Length, p.Slots); at++ {
				used[o.Place][at] = used[o.Place][at].Add(k.Use)
			}
		}
	}
	for i := range used {
		for at, v := range used[i] {
			if !v.Within(p.Places[i].Room[at]) {
				t.Fatalf("place %d in slot %d: %v of %v is used", i, at, v, p.Places[i].Room[at])
			}
		}
	}
	if math.Abs(cost-s.Cost) > 1e-6*max(1, cost) {
		t.Fatalf("it costs %v, and says %v", cost, s.Cost)
	}
	return cost
}

func TestTheBoundIsThatOfTheLinearProgram(t *testing.T) {
	for _, s := range []shape{
		{40, 4, 24, 0.7, false}, {60, 5, 48, 0.8, false}, {80, 8, 48, 0.9, false}, {60, 6, 48, 0.95, false},
		{40, 5, 32, 0.6, true}, {60, 8, 48, 0.7, true}, {150, 12, 48, 0.8, false},
	} {
		t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
			p := instance(7, s)
			got := Solve(p, Limits{Ascents: 1500})
			cost, optimum := examine(t, p, &got), relaxed(t, p)
			t.Logf("linear program %.6f, bound %.6f (%.4f%% below), cost %.4f, gap %.3f%%", optimum, got.Bound, 100*(optimum-got.Bound)/optimum, cost, 100*got.Gap)
			if got.Bound > optimum*(1+1e-6) {
				t.Errorf("the bound %v is above the optimum %v", got.Bound, optimum)
			}
			// The ascent ends where the gap is a thousandth.
			if got.Bound < optimum*(1-0.005) {
				t.Errorf("the bound %v is more than 0.5 %% below the optimum %v", got.Bound, optimum)
			}
			if cost < optimum*(1-1e-6) {
				t.Errorf("a feasible solution costs %v, less than the optimum %v of the relaxation", cost, optimum)
			}
		})
	}
}

func TestTinyQueuesComeNearTheIntegerOptimum(t *testing.T) {
	for seed := range uint64(8) {
		p := instance(seed, shape{jobs: 12, places: 3, slots: 16, load: 0.7, lumps: true})
		got := Solve(p, Limits{})
		cost, optimum := examine(t, p, &got), integral(t, p)
		t.Logf("seed %d: bound %.4f, optimum %.4f, cost %.4f", seed, got.Bound, optimum, cost)
		if got.Bound > optimum+1e-6*max(1, optimum) {
			t.Errorf("seed %d: the bound %v is above the integer optimum %v", seed, got.Bound, optimum)
		}
		if cost < optimum-1e-5*max(1, optimum) || cost > 1.05*optimum+1e-6 {
			t.Errorf("seed %d: it costs %v, and the integer optimum is %v", seed, cost, optimum)
		}
	}
}
