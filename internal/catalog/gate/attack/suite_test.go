package attack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// square is three links by three bins, with totals of both and of all.
func square(counts ...int64) *gate.Table {
	space, times := gate.Dimension{Name: "link"}, gate.Dimension{Name: "time", Time: true}
	for i := range 3 {
		start := midnight.Add(time.Duration(i) * 15 * time.Minute).Unix()
		space.Leaves = append(space.Leaves, gate.Leaf{Code: fmt.Sprintf("l%d", i)})
		times.Leaves = append(times.Leaves, gate.Leaf{Code: fmt.Sprintf("t%d", i), Start: start, End: start + 900})
	}
	t := &gate.Table{Dataset: "flow", Version: 1, Dimensions: []gate.Dimension{space, times}, Measures: []gate.Measure{flow},
		Groupings: []gate.Grouping{{gate.Each, gate.Each}, {gate.Each, gate.All}, {gate.All, gate.Each}, {gate.All, gate.All}}}
	for _, n := range counts {
		t.Cells = append(t.Cells, gate.Cell{Values: []int64{n}, Contributors: n, Largest: []int64{min(1, n)}})
	}
	return t
}

// trips has a contributor of its own for each count.
func trips(t *gate.Table) Trips {
	out := Trips{}
	for b, c := range t.Cells {
		for range c.Values[0] {
			out[uint64(len(out))] = []int{b}
		}
	}
	return out
}

// TestABuildWithoutComplementarySuppressionIsCaught: the attackers are worth
// something only if they find what is there to be found.
func TestABuildWithoutComplementarySuppressionIsCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the package a second time")
	}
	out, err := exec.CommandContext(t.Context(), "go", "test", "-tags", "songhua_no_complementary", "-run", "WithoutComplementarySuppressionCellsAreRecovered", "-v", ".").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestWithoutComplementarySuppressionCellsAreRecovered") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestASmallCellTakesOthersWithIt is what people look at first.
func TestASmallCellTakesOthersWithIt(t *testing.T) {
	in := square(3, 40, 40, 40, 40, 40, 40, 40, 40)
	r, err := gate.Run(gate.Input{Table: in, Policy: gate.VehicleFlow(), Now: later})
	if err != nil {
		t.Fatal(err)
	}
	if r.Figures.Withheld != 4 || r.Figures.Complementary != 3 {
		t.Errorf("%d cells are withheld, %d of them for the one that is small; 4 and 3 suffice", r.Figures.Withheld, r.Figures.Complementary)
	}
	findings, err := (&Suite{Result: r, Trips: trips(in), Seed: 1}).Run()
	if err != nil {
		t.Fatal(err)
	}
	expectNothing(t, findings)
	report, err := r.Report(later, "王芳", findings)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.VerifyReport(stored, r.Published); err != nil {
		t.Error(err)
	}
	changed := bytes.Replace(stored, []byte(`"withheld":4`), []byte(`"withheld":3`), 1)
	if err := gate.VerifyReport(changed, nil); err == nil || bytes.Equal(changed, stored) {
		t.Error("a report that was changed is taken for what it was")
	}
	r.Published.Groupings[0].Values[1].Shown = true
	if err := gate.VerifyReport(stored, r.Published); err == nil {
		t.Error("a report is taken for that of another table")
	}
}

// TestWhatAnAttackFindsStopsTheReport: there is no report of what must not be out.
func TestWhatAnAttackFindsStopsTheReport(t *testing.T) {
	r, err := gate.Run(gate.Input{Table: square(3, 40, 40, 40, 40, 40, 40, 40, 40), Policy: gate.VehicleFlow(), Now: later})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Report(later, "王芳", []gate.Finding{{Attack: "x", Tried: 2, Recovered: 1}}); err == nil {
		t.Error("a report was made of a table that was found out")
	}
	if _, err := r.Report(later, "", nil); err == nil {
		t.Error("a report was made that nobody looked at")
	}
}

// TestAWrongProofIsSeen: a proof that changes what is shown, or reaches less than
// it says, is none.
func TestAWrongProofIsSeen(t *testing.T) {
	in := square(3, 40, 40, 40, 40, 40, 40, 40, 40)
	r, err := gate.Run(gate.Input{Table: in, Policy: gate.VehicleFlow(), Now: later})
	if err != nil {
		t.Fatal(err)
	}
	checks := []*checker{newChecker(r.Published, r.Past.Table)}
	for w := range r.Witnesses() {
		if !holds(checks, &w, w.Higher, w.Up) || !holds(checks, &w, w.Lower, -w.Down) {
			t.Error("a right proof is refused")
		}
		if holds(checks, &w, w.Higher, w.Up+1) {
			t.Error("a proof is taken that reaches less than it says")
		}
		if holds(checks, &w, w.Higher[:1], w.Up) {
			t.Error("a proof is taken that changes totals")
		}
		if holds(checks, &w, []gate.Shift{{Leaves: []string{"l0", "t0"}, By: -40}}, -w.Down) {
			t.Error("a proof is taken with a negative number")
		}
		break // the first is of the small cell
	}
}

func key(b byte) []byte { return bytes.Repeat([]byte{b}, gate.KeySize) }

func noisy() (*gate.Table, gate.Policy) {
	in, p := square(30, 40, 50, 40, 40, 40, 40, 40, 40), gate.VehicleFlow()
	in.Bound, p.MaxBound, p.MicroEpsilon = 2, 2, 500_000
	return in, p
}

// TestNoiseIsDrawnOnceAndPaidFor: the same version has the same noise and is paid
// for once; a version in which nothing changed has it too.
func TestNoiseIsDrawnOnceAndPaidFor(t *testing.T) {
	in, p := noisy()
	ledger := &gate.Ledger{Budget: 1_000_000}
	run := func(version int64, k byte, past ...*gate.Past) *gate.Result {
		next := *in
		next.Version = version
		r, err := gate.Run(gate.Input{Table: &next, Policy: p, Now: later, Past: past, Key: key(k), Ledger: ledger})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := run(1, 1)
	findings, err := (&Suite{Result: first, Ledger: ledger, Random: rand.NewChaCha8([32]byte{2}), Again: func() (*gate.Published, error) { return run(1, 1).Published, nil }}).Run()
	if err != nil {
		t.Fatal(err)
	}
	expectNothing(t, findings)
	if left := ledger.Left("flow", 20783); left != 500_000 {
		t.Errorf("%d millionths are left of the day; 500000 were spent once of 1000000", left)
	}
	second := run(2, 1, first.Past)
	for g := range first.Published.Groupings {
		for i, n := range first.Published.Groupings[g].Values {
			if n != second.Published.Groupings[g].Values[i] {
				t.Fatalf("grouping %d, number %d: %v, and %v in a version that changed nothing", g, i, n, second.Published.Groupings[g].Values[i])
			}
		}
	}
	next := *in
	next.Version = 3
	if _, err := gate.Run(gate.Input{Table: &next, Policy: p, Now: later, Key: key(1), Ledger: ledger}); err == nil {
		t.Error("a third version was paid for with what is not there")
	}
	changed, _ := noisy()
	changed.Cells[0].Values[0]++
	if _, err := gate.Run(gate.Input{Table: changed, Policy: p, Now: later, Key: key(1), Ledger: ledger}); err == nil {
		t.Error("the same version was made of other data: the difference to the first is exact")
	}
	other := &gate.Ledger{Budget: 1_000_000}
	o, err := gate.Run(gate.Input{Table: in, Policy: p, Now: later, Key: key(2), Ledger: other})
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for g := range first.Published.Groupings {
		for i, n := range first.Published.Groupings[g].Values {
			if n == o.Published.Groupings[g].Values[i] {
				same++
			}
		}
	}
	if same == 16 {
		t.Error("another key makes the same noise")
	}
}

// TestNoisyTotalsAddUp: each is the sum of the parts as they are out, and a version
// that changes one cell draws anew for that one alone.
func TestNoisyTotalsAddUp(t *testing.T) {
	in, p := noisy()
	ledger := &gate.Ledger{Budget: 1_000_000}
	first, err := gate.Run(gate.Input{Table: in, Policy: p, Now: later, Key: key(1), Ledger: ledger})
	if err != nil {
		t.Fatal(err)
	}
	next, _ := noisy()
	next.Version = 2
	next.Cells[0].Values[0], next.Cells[0].Contributors = 90, 90
	second, err := gate.Run(gate.Input{Table: next, Policy: p, Now: later, Past: []*gate.Past{first.Past}, Key: key(1), Ledger: ledger})
	if err != nil {
		t.Fatal(err)
	}
	base := slices.IndexFunc(in.Groupings, func(g gate.Grouping) bool { return slices.Equal(g, first.Published.Noise) })
	if base < 0 || !slices.Equal(first.Published.Noise, gate.Grouping{gate.Each, gate.Each}) {
		t.Fatalf("noise is added to %v", first.Published.Noise)
	}
	for _, r := range []*gate.Result{first, second} {
		parts := r.Past.Noisy[base]
		for g, levels := range r.Published.Groupings {
			for i, n := range levels.Values {
				want := int64(0)
				for b, v := range parts {
					if (levels.Levels[0] == gate.All || i/width(levels) == b/3) && (levels.Levels[1] == gate.All || i%width(levels) == b%3) {
						want += v
					}
				}
				if n.Shown && n.Value != max(0, want) {
					t.Errorf("grouping %d, number %d is %d, and its parts are %d", g, i, n.Value, want)
				}
			}
		}
	}
	changed := 0
	for i, v := range second.Past.Noisy[base] {
		if v != first.Past.Noisy[base][i] {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("one cell changed, and %d numbers did", changed)
	}
}

// width is how many cells a row of a grouping of three by three has.
func width(g gate.PublishedGrouping) int {
	if g.Levels[1] == gate.All {
		return 1
	}
	return 3
}

// TestNoiseHasItsShape at scales of both kinds, and another shape is seen.
func TestNoiseHasItsShape(t *testing.T) {
	source := rand.NewChaCha8([32]byte{1})
	for _, s := range []gate.Scale{{T: 1, S: 1}, {T: 1, S: 3}, {T: 7, S: 2}, {T: 16_000_000, S: 500_000}, {T: 1_000_003, S: 7}} {
		f, err := ChiSquare(s, draws, source)
		if err != nil {
			t.Fatal(err)
		}
		if f.Recovered > 0 {
			t.Errorf("noise of scale %d/%d has another shape", s.T, s.S)
		}
	}
	// Noise of bytes that are not random.
	f, err := ChiSquare(gate.Scale{T: 7, S: 2}, draws, &lowBits{source})
	if err != nil {
		t.Fatal(err)
	}
	if f.Recovered == 0 {
		t.Error("noise from half of the bits is taken for what is declared")
	}
}

// lowBits is randomness with a defect: the last byte of eight is even.
type lowBits struct{ from *rand.ChaCha8 }

func (l *lowBits) Read(p []byte) (int, error) {
	n, err := l.from.Read(p)
	p[n-1] &^= 1
	return n, err
}

// TestTheBudgetIsNotOverdrawn, and a ledger that could be is seen.
func TestTheBudgetIsNotOverdrawn(t *testing.T) {
	l := &gate.Ledger{Budget: 1_000_000, Entries: []gate.Spent{{Dataset: "flow", Day: 1, Version: 1, MicroEpsilon: 400_000}}}
	if f := Overdraw(l, "flow", 1, 1); f.Recovered > 0 || f.Tried < 20 {
		t.Errorf("%+v", f)
	}
	l.Entries[0].MicroEpsilon = 1_000_001 // as a ledger without a check would have it
	if f := Overdraw(l, "flow", 1, 1); f.Recovered == 0 {
		t.Error("a ledger that is overdrawn is not noticed")
	}
}

// TestASecondDrawIsSeen: answers that differ are draws to average.
func TestASecondDrawIsSeen(t *testing.T) {
	in, p := noisy()
	n := byte(0)
	again := func() (*gate.Published, error) {
		n++
		r, err := gate.Run(gate.Input{Table: in, Policy: p, Now: later, Key: key(n), Ledger: &gate.Ledger{Budget: 1_000_000}})
		if err != nil {
			return nil, err
		}
		return r.Published, nil
	}
	first, err := again()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Repeat(first, again, 2)
	if err != nil {
		t.Fatal(err)
	}
	if f.Recovered == 0 {
		t.Error("other noise for the same version is not noticed")
	}
}

// TestADifferenceOfAFewIsSeen: two versions as a gate without memory would
// publish them.
func TestADifferenceOfAFewIsSeen(t *testing.T) {
	var tables []*gate.Published
	var past []*gate.Past
	var last *gate.Result
	for version, first := range []int64{40, 43} {
		in := square(first, 40, 40, 40, 40, 40, 40, 40, 40)
		in.Version = int64(version + 1)
		r, err := gate.Run(gate.Input{Table: in, Policy: gate.VehicleFlow(), Now: later})
		if err != nil {
			t.Fatal(err)
		}
		last = r
		tables, past = append(tables, r.Published), append(past, r.Past)
	}
	findings, err := (&Suite{Result: last, Earlier: tables[:1], Past: past[:1]}).Run()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Attack == "differencing" && f.Recovered != 4 {
			t.Errorf("%+v; three vehicles came late, and four cells tell of them", f)
		}
	}
}

// referee finds a program that the tests ask, and skips where it is not there.
func referee(t *testing.T, name string) string {
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
