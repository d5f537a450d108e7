package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	noon  = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	later = noon.Add(24 * time.Hour)
)

// lines is a table of links by quarters of an hour from noon on, with hours and
// totals; counts are by link and quarter.
func lines(counts [][]int64) *Table {
	space, times := Dimension{Name: "link"}, Dimension{Name: "time", Time: true}
	hour := Level{Name: "hour", Length: time.Hour}
	t := &Table{Dataset: "flow", Version: 1, Measures: []Measure{{Name: "vehicles", Unit: "1", Kind: Count}},
		Groupings: []Grouping{{Each, Each}, {Each, "hour"}, {All, Each}, {All, All}}}
	for i, row := range counts {
		space.Leaves = append(space.Leaves, Leaf{Code: fmt.Sprintf("l%d", i)})
		for _, n := range row {
			t.Cells = append(t.Cells, Cell{Values: []int64{n}, Contributors: n, Largest: []int64{min(1, n)}})
		}
	}
	for b := range counts[0] {
		start := noon.Add(time.Duration(b) * 15 * time.Minute).Unix()
		times.Leaves = append(times.Leaves, Leaf{Code: fmt.Sprintf("q%d", b), Start: start, End: start + 900})
		if b%4 == 0 {
			hour.Codes = append(hour.Codes, fmt.Sprintf("h%d", b/4))
		}
		hour.Of = append(hour.Of, int32(b/4))
	}
	times.Levels = []Level{hour}
	t.Dimensions = []Dimension{space, times}
	return t
}

func run(t *testing.T, in Input) *Result {
	t.Helper()
	if in.Now.IsZero() {
		in.Now = later
	}
	r, err := Run(in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// number is a published number of the first measure.
func number(r *Result, grouping, cell int) string {
	n := r.Published.Groupings[grouping].Values[cell*len(r.Published.Measures)]
	if !n.Shown {
		return "–"
	}
	return fmt.Sprint(n.Value)
}

func numbers(r *Result, grouping int) string {
	var all []string
	for i := range len(r.Published.Groupings[grouping].Values) / len(r.Published.Measures) {
		all = append(all, number(r, grouping, i))
	}
	return strings.Join(all, " ")
}

// TestTheSameMakesTheSameBytes, in whatever order the machine does it.
func TestTheSameMakesTheSameBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	counts := make([][]int64, 12)
	for i := range counts {
		for range 8 {
			counts[i] = append(counts[i], rng.Int64N(30))
		}
	}
	var first []byte
	for range 5 {
		r := run(t, Input{Table: lines(counts), Policy: VehicleFlow()})
		text, err := Canonical(r.Published)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = text
		}
		if !bytes.Equal(first, text) {
			t.Fatal("two runs differ")
		}
		var back Published
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		again, err := Canonical(&back)
		if err != nil || !bytes.Equal(again, text) {
			t.Fatal("what was published does not read back to itself")
		}
	}
}

// TestAVersionWithoutChangesShowsTheSame: it is checked against the first, and
// nothing more has to be withheld.
func TestAVersionWithoutChangesShowsTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	counts := make([][]int64, 12)
	for i := range counts {
		for range 8 {
			counts[i] = append(counts[i], rng.Int64N(40))
		}
	}
	first := run(t, Input{Table: lines(counts), Policy: VehicleFlow()})
	next := lines(counts)
	next.Version = 2
	second := run(t, Input{Table: next, Policy: VehicleFlow(), Past: []*Past{first.Past}})
	for g := range first.Published.Groupings {
		if got, want := numbers(second, g), numbers(first, g); got != want {
			t.Errorf("%v: %s; the first version has %s", first.Published.Groupings[g].Levels, got, want)
		}
	}
}

// TestBinsWaitForTheirDelay, and hours until all of their bins are there.
func TestBinsWaitForTheirDelay(t *testing.T) {
	in := lines([][]int64{{20, 20, 20, 20, 20, 20, 20, 20}, {30, 30, 30, 30, 30, 30, 30, 30}})
	r := run(t, Input{Table: in, Policy: VehicleFlow(), Now: noon.Add(104 * time.Minute)})
	if got, want := numbers(r, 0), "20 20 20 20 20 30 30 30 30 30"; got != want {
		t.Errorf("quarters %s; %s have ended 15 minutes ago", got, want)
	}
	if got, want := numbers(r, 1), "80 – 120 –"; got != want {
		t.Errorf("hours %s; want %s: the second is not over", got, want)
	}
	reasons := map[string]string{}
	for _, a := range r.Published.Absent {
		reasons[a.Code] = a.Reason
	}
	if reasons["q5"] != "too_recent" || reasons["h1"] != "incomplete" || r.Published.Reasons["too_recent"].ZH == "" {
		t.Errorf("absent: %v, %v", r.Published.Absent, r.Published.Reasons)
	}
	if got := number(r, 3, 0); got != "250" {
		t.Errorf("the total of what is published is %s; want 250", got)
	}
}

// TestAZoneIsNotInTotals: a link that touches it is as if it were not there.
func TestAZoneIsNotInTotals(t *testing.T) {
	in := lines([][]int64{{20, 20, 20, 20}, {30, 30, 30, 30}, {40, 40, 40, 40}})
	in.Dimensions[0].Leaves[0].Path = []Point{{125_000_000, 43_000_000}, {125_010_000, 43_000_000}}
	in.Dimensions[0].Leaves[1].Path = []Point{{125_020_000, 43_000_000}, {125_060_000, 43_000_000}} // passes through
	in.Dimensions[0].Leaves[2].Path = []Point{{125_000_000, 43_020_000}, {125_060_000, 43_020_000}} // passes by
	p := VehicleFlow()
	p.Zones = []Zone{{Name: "x", Corners: []int32{125_030_000, 42_990_000, 125_050_000, 42_990_000, 125_050_000, 43_010_000, 125_030_000, 43_010_000}}}
	r := run(t, Input{Table: in, Policy: p})
	if got := numbers(r, 2); got != "60 60 60 60" {
		t.Errorf("totals %s; the link through the zone must not be in them", got)
	}
	inside := Zone{Corners: p.Zones[0].Corners}
	for _, at := range []struct {
		p    Point
		want bool
	}{{Point{125_040_000, 43_000_000}, true}, {Point{125_030_000, 43_000_000}, true}, {Point{125_029_999, 43_000_000}, false}, {Point{125_040_000, 43_010_001}, false}} {
		if inside.touches([]Point{at.p}) != at.want {
			t.Errorf("%v: in the zone is %v", at.p, !at.want)
		}
	}
}

// TestShortBinsAreRefused with the grouping and the way out.
func TestShortBinsAreRefused(t *testing.T) {
	in := lines([][]int64{{20, 20, 20, 20}})
	p := VehicleFlow()
	p.MinBin = time.Hour
	_, err := Run(Input{Table: in, Policy: p, Now: later})
	if err == nil || !strings.Contains(err.Error(), "bins of 15m0s") {
		t.Errorf("%v; quarters under a policy of hours", err)
	}
}

// TestLateContributionsWaitForEachOther until k of them changed a cell.
func TestLateContributionsWaitForEachOther(t *testing.T) {
	first := run(t, Input{Table: lines([][]int64{{40, 40, 40, 40}, {40, 40, 40, 40}}), Policy: VehicleFlow()})
	second := lines([][]int64{{43, 52, 40, 40}, {40, 40, 40, 40}})
	second.Version = 2
	r := run(t, Input{Table: second, Policy: VehicleFlow(), Past: []*Past{first.Past}})
	if got := numbers(r, 0); got != "40 52 40 40 40 40 40 40" {
		t.Errorf("%s; three late vehicles wait, twelve do not", got)
	}
	if got := numbers(r, 3); got != "332" {
		t.Errorf("the total is %s; want 332, without those that wait", got)
	}
	if !slices.Equal(r.Published.Groupings[0].Held, []int{0}) || r.Published.Reasons["held"].EN == "" {
		t.Errorf("held are %v", r.Published.Groupings[0].Held)
	}
	broken := stored(t, first.Past)
	broken.State = broken.State[1:]
	if _, err := Run(Input{Table: lines([][]int64{{40, 40, 40, 40}, {40, 40, 40, 40}}), Policy: VehicleFlow(), Now: later, Past: []*Past{broken}}); err == nil {
		t.Error("half of a past is taken for all of it")
	}
	third := lines([][]int64{{51, 52, 40, 40}, {40, 40, 40, 40}})
	third.Version = 3
	r = run(t, Input{Table: third, Policy: VehicleFlow(), Past: []*Past{stored(t, first.Past), stored(t, r.Past)}})
	if got := number(r, 0, 0); got != "51" {
		t.Errorf("%s; now there are eleven", got)
	}
	corrected := lines([][]int64{{40, 40, 40, 40}, {40, 40, 40, 40}})
	corrected.Version, corrected.Cells[0].Values[0], corrected.Cells[0].Contributors, corrected.Cells[0].Changed = 2, 41, 41, 25
	r = run(t, Input{Table: corrected, Policy: VehicleFlow(), Past: []*Past{first.Past}})
	if got := number(r, 0, 0); got != "41" {
		t.Errorf("%s; 25 vehicles are in the difference of 1", got)
	}
}

// stored is a past as it comes back from a file.
func stored(t *testing.T, p *Past) *Past {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Past
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	return &back
}

// TestWhatIsOutIsNotHelpedByHiding: where an earlier table tells the rest, there
// is nothing left but to refuse.
func TestWhatIsOutIsNotHelpedByHiding(t *testing.T) {
	in := lines([][]int64{{3, 40, 40, 40}, {40, 40, 40, 40}})
	in.Groupings = []Grouping{{All, Each}}
	first := run(t, Input{Table: in, Policy: VehicleFlow()})
	if got := number(first, 0, 0); got != "43" {
		t.Fatalf("the total is %s", got)
	}
	other := lines([][]int64{{3, 40, 40, 40}, {40, 40, 40, 40}})
	other.Dataset = "flow of one link"
	other.Groupings = []Grouping{{Each, Each}}
	r := run(t, Input{Table: other, Policy: VehicleFlow(), Past: []*Past{first.Past}})
	if got := numbers(r, 0); got != "– 40 40 40 – 40 40 40" {
		t.Errorf("%s; the other link's cell, and the total that is out, would tell the small one", got)
	}
	// When the other link is out too there is nothing left to hide behind.
	second := lines([][]int64{{3, 40, 40, 40}, {40, 40, 40, 40}})
	second.Dataset, second.Groupings = "the second link", []Grouping{{"second", Each}}
	second.Dimensions[0].Levels = []Level{{Name: "second", Codes: []string{"first", "second"}, Of: []int32{0, 1}}}
	alone := *second
	alone.Dimensions = slices.Clone(second.Dimensions)
	alone.Dimensions[0].Leaves, alone.Dimensions[0].Levels = second.Dimensions[0].Leaves[1:], []Level{{Name: "second", Codes: []string{"second"}, Of: []int32{0}}}
	alone.Cells = second.Cells[4:]
	_, err := Run(Input{Table: &alone, Policy: VehicleFlow(), Now: later, Past: []*Past{first.Past, r.Past}})
	if err != nil {
		t.Fatal(err)
	}
	blind := run(t, Input{Table: &alone, Policy: VehicleFlow()}) // by somebody who did not tell
	var no *Refusal
	if _, err := Run(Input{Table: other, Policy: VehicleFlow(), Now: later, Past: []*Past{first.Past, blind.Past}}); !errors.As(err, &no) {
		t.Errorf("%v; the small cell follows from what is out, whatever is hidden now", err)
	}
}

// TestValuesOfOneAreNotShown: maxima, and quantiles of few, and what does not add
// up where it overlaps what is hidden.
func TestValuesOfOneAreNotShown(t *testing.T) {
	in := lines([][]int64{{40, 40, 40, 40}, {40, 3, 40, 40}})
	in.Measures = append(in.Measures, Measure{Name: "fastest", Kind: Max}, Measure{Name: "median", Kind: Quantile, Mille: 500}, Measure{Name: "p95", Kind: Quantile, Mille: 950})
	for i := range in.Cells {
		in.Cells[i].Values = append(in.Cells[i].Values, 97, 50, 80)
		in.Cells[i].Largest = nil
	}
	shown := func(r *Result, measure int) string {
		out := ""
		for i := range 8 {
			n := r.Published.Groupings[0].Values[i*4+measure]
			out += map[bool]string{true: "x", false: "."}[n.Shown]
		}
		return out
	}
	r := run(t, Input{Table: in, Policy: VehicleFlow()})
	if got := shown(r, 1) + " " + shown(r, 2) + " " + shown(r, 3); strings.Contains(got, "x") != true || shown(r, 1) != "........" || shown(r, 3) != "........" {
		t.Errorf("fastest, median, p95: %s; only medians have five vehicles on each side", got)
	}
	for i := range 8 {
		v := r.Published.Groupings[0].Values[i*4:]
		if v[2].Shown != v[0].Shown {
			t.Errorf("cell %d: the median is shown is %v, the count %v", i, v[2].Shown, v[0].Shown)
		}
	}
	p := VehicleFlow()
	p.ExtremeStep = 10
	r = run(t, Input{Table: in, Policy: p})
	if v := r.Published.Groupings[0].Values[1]; v.Shown && v.Value != 100 {
		t.Errorf("the fastest is %d; up to the next ten it is 100", v.Value)
	}
	if v := r.Published.Groupings[3].Values[1]; v.Shown {
		t.Error("a maximum is shown that nobody told")
	}
}

// TestOneCustomerIsNotMostOfACell: energy of fifteen, one of which uses a sixth.
func TestOneCustomerIsNotMostOfACell(t *testing.T) {
	in := lines([][]int64{{100, 100, 100, 100}, {100, 100, 100, 100}, {100, 100, 100, 100}})
	in.Measures = append(in.Measures, Measure{Name: "energy", Unit: "W.h", Kind: Sum})
	for i := range in.Cells {
		in.Cells[i].Values = append(in.Cells[i].Values, 1000)
		in.Cells[i].Largest = []int64{1, 150}
	}
	r := run(t, Input{Table: in, Policy: Energy()})
	if r.Figures.Withheld != 0 {
		t.Errorf("%d cells are withheld; 15 %% are allowed", r.Figures.Withheld)
	}
	in.Cells[0].Largest[1] = 151
	r = run(t, Input{Table: in, Policy: Energy()})
	found := false
	for d := range r.Decisions() {
		found = found || d.Reason == Dominated && slices.Equal(d.Codes, []string{"l0", "q0"})
	}
	if !found || r.Figures.Withheld < 2 {
		t.Errorf("%+v; the first cell is dominated, and would follow from totals", r.Figures)
	}
}

// TestTheTallyBoundsAndForgets: special ones are not counted, nobody counts more
// than the bound a day, and the order of arrival does not matter.
func TestTheTallyBoundsAndForgets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := make([]Contribution, rapid.IntRange(0, 60).Draw(rt, "contributions"))
		for i := range all {
			who := rapid.Uint64Range(0, 8).Draw(rt, "who")
			all[i] = Contribution{Who: who, Special: who == 0, Leaf: []int{rapid.IntRange(0, 1).Draw(rt, "link"), rapid.IntRange(0, 3).Draw(rt, "bin")}, Values: []int64{0, 0, rapid.Int64Range(0, 9).Draw(rt, "value")}}
		}
		fill := func(order []int) *Table {
			in := lines([][]int64{{0, 0, 0, 0}, {0, 0, 0, 0}})
			in.Bound = 3
			in.Measures = append(in.Measures, Measure{Name: "distinct", Kind: Distinct}, Measure{Name: "value", Kind: Sum, Cap: 5})
			y, err := NewTally(in, bytes.Repeat([]byte{1}, KeySize))
			if err != nil {
				rt.Fatal(err)
			}
			for _, i := range order {
				if err := y.Add(all[i]); err != nil {
					rt.Fatal(err)
				}
			}
			y.Fill()
			return in
		}
		order := make([]int, len(all))
		byWho := map[uint64]int64{}
		for i := range order {
			order[i] = i
			if !all[i].Special {
				byWho[all[i].Who]++
			}
		}
		in := fill(order)
		slices.Reverse(order)
		other := fill(order)
		a, _ := json.Marshal(in)
		b, _ := json.Marshal(other)
		if !bytes.Equal(a, b) {
			rt.Error("the order of arrival makes another table")
		}
		want := int64(0)
		for _, n := range byWho {
			want += min(3, n)
		}
		total := in.Totals[3][0]
		if total.Values[0] != want || total.Contributors != int64(len(byWho)) || total.Values[1] != total.Contributors {
			rt.Errorf("%d contributions of %d, %d by the measure; want %d of %d", total.Values[0], total.Contributors, total.Values[1], want, len(byWho))
		}
		if total.Values[2] > 5*want || total.Largest[0] > 3 {
			rt.Errorf("a sum of %d, and %d of one", total.Values[2], total.Largest[0])
		}
		if _, err := Run(Input{Table: in, Policy: Policy{Name: "x", K: 2, IntervalPercent: 10, MinBin: time.Minute, Beside: 1, MaxBound: 3}, Now: later}); err != nil {
			rt.Error(err)
		}
	})
}

// TestTheLedgerIsNeverOverdrawn, whatever is asked of it and in which order.
func TestTheLedgerIsNeverOverdrawn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &Ledger{Budget: 1_000_000, Shared: rapid.SampledFrom([]int64{0, 1_500_000}).Draw(t, "shared")}
		for range rapid.IntRange(1, 30).Draw(t, "requests") {
			var want []Spent
			for range rapid.IntRange(1, 3).Draw(t, "days") {
				want = append(want, Spent{Dataset: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "dataset"), Day: rapid.Int64Range(1, 2).Draw(t, "day"),
					Version: rapid.Int64Range(1, 5).Draw(t, "version"), MicroEpsilon: rapid.OneOf(rapid.Int64Range(1, 700_000), rapid.Int64()).Draw(t, "amount")})
			}
			before := slices.Clone(l.Entries)
			if err := l.Spend(want); err != nil && !slices.Equal(before, l.Entries) {
				t.Fatal("a refused request has spent")
			}
			own, shared := map[string]int64{}, map[int64]int64{}
			for _, e := range l.Entries {
				own[fmt.Sprint(e.Dataset, e.Day)] += e.MicroEpsilon
				shared[e.Day] += e.MicroEpsilon
			}
			for k, v := range own {
				if v > l.Budget {
					t.Fatalf("%s has spent %d", k, v)
				}
			}
			for k, v := range shared {
				if l.Shared > 0 && v > l.Shared {
					t.Fatalf("day %d has spent %d", k, v)
				}
			}
		}
	})
}

// TestFaultyTablesAreNamed with what is wrong and where.
func TestFaultyTablesAreNamed(t *testing.T) {
	for _, c := range []struct {
		want  string
		spoil func(*Table)
	}{
		{"dataset is empty", func(t *Table) { t.Dataset = "" }},
		{"3 cells", func(t *Table) { t.Cells = t.Cells[:3] }},
		{"one of time", func(t *Table) { t.Dimensions[1].Time = false }},
		{`no level "week"`, func(t *Table) { t.Groupings[0] = Grouping{Each, "week"} }},
		{"named twice", func(t *Table) { t.Groupings[1] = Grouping{Each, Each} }},
		{"cannot be negative", func(t *Table) { t.Cells[2].Values[0] = -1 }},
		{"no count", func(t *Table) { t.Measures[0] = Measure{Name: "x", Kind: Mean, Of: "y"} }},
		{"no index", func(t *Table) { t.Dimensions[1].Levels[0].Of[0] = 7 }},
		{"named twice", func(t *Table) { t.Dimensions[0].Leaves[1].Code = "l0" }},
		{"contributors, and", func(t *Table) { t.Totals = [][]Cell{nil, {{Values: []int64{0}, Contributors: 1}, {}}, nil, nil} }},
		{"use a larger unit", func(t *Table) { t.Cells[0].Values[0] = 1 << 60 }},
		{"tally it with that bound", func(t *Table) { t.Bound = 9 }},
	} {
		in := lines([][]int64{{20, 20, 20, 20}, {20, 20, 20, 20}})
		in.Bound = 1
		c.spoil(in)
		p := VehicleFlow()
		p.MaxBound = 1
		if _, err := Run(Input{Table: in, Policy: p, Now: later}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v; want %q", err, c.want)
		}
	}
	var bad Policy
	bad.K, bad.MaxSharePercent, bad.Zones = 1, 101, []Zone{{Name: "z", Corners: []int32{1, 2, 3}}}
	if faults := bad.Check("gate"); len(faults) < 5 {
		t.Errorf("%v", faults)
	}
	for _, p := range []Policy{VehicleFlow(), Personal(), Energy()} {
		if faults := p.Check("gate"); len(faults) > 0 {
			t.Errorf("%s: %v", p.Name, faults)
		}
	}
}

// TestEveryReasonHasBothTexts, and those that tell cells apart are not public.
func TestEveryReasonHasBothTexts(t *testing.T) {
	for r := Shown; r < reasons; r++ {
		if x := r.Text(); r.Code() == "" || x.ZH == "" || x.EN == "" {
			t.Errorf("reason %d: %q %+v", r, r.Code(), x)
		}
	}
	for _, r := range []Reason{BelowK, Dominated, Special, Complementary, Before} {
		if r.Public() != Withheld {
			t.Errorf("%s is told to the public", r.Code())
		}
	}
}

// TestRoundingIsAsDeclared: half up, extremes up, negatives too.
func TestRoundingIsAsDeclared(t *testing.T) {
	for _, c := range []struct {
		v, step int64
		up      bool
		want    int64
	}{{12, 5, false, 10}, {13, 5, false, 15}, {5, 10, false, 10}, {4, 10, false, 0}, {11, 10, true, 20}, {10, 10, true, 10}, {-12, 5, false, -10}, {-13, 5, false, -15}, {7, 1, true, 7}} {
		if got := round(c.v, c.step, c.up); got != c.want {
			t.Errorf("%d to %d is %d; want %d", c.v, c.step, got, c.want)
		}
	}
}

// TestNoiseFailsWithItsRandomness instead of going on without.
func TestNoiseFailsWithItsRandomness(t *testing.T) {
	if _, err := Geometric(bytes.NewReader(make([]byte, 8)), Scale{T: 5, S: 1}); err == nil {
		t.Error("noise was drawn from nothing")
	}
	if _, err := newScale(1<<41, 1); err == nil {
		t.Error("a scale above the bound is taken")
	}
	if s, err := newScale(6_000_000, 500_000); err != nil || s != (Scale{12, 1}) {
		t.Errorf("%v, %v", s, err)
	}
	var over *Overdraw
	l := &Ledger{Budget: 10}
	if err := l.Spend([]Spent{{Dataset: "d", Day: 1, Version: 1, MicroEpsilon: 11}}); !errors.As(err, &over) || over.Left != 10 {
		t.Errorf("%v", err)
	}
}

// TestTheCanonicalFormIsThatOfRFC8785 for what we write.
func TestTheCanonicalFormIsThatOfRFC8785(t *testing.T) {
	got, err := Canonical(map[string]any{"b": 1, "a": "<\u2028\\u2028é\n>", "c": []any{nil, true}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "{\"a\":\"<\u2028\\\\u2028é\\n>\",\"b\":1,\"c\":[null,true]}"; string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
