package attack

import (
	"errors"
	"slices"
	"testing"

	"github.com/songhua-io/hub/internal/catalog/gate"
	"pgregory.net/rapid"
)

// TestNothingIsRecoveredFromVersions: late contributions come in, bins are
// added, and another dataset of the same source joins links otherwise.
func TestNothingIsRecoveredFromVersions(t *testing.T) {
	refused, released := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		first := table(t, 5, flow)
		var tables []*gate.Published
		var past []*gate.Past
		for version := range rapid.IntRange(2, 4).Draw(t, "versions") {
			next := *first
			next.Version = int64(version + 1)
			next.Cells = slices.Clone(first.Cells)
			if version > 0 {
				for i := range next.Cells {
					late := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 4), rapid.Int64Range(-12, 30)).Draw(t, "late")
					n := max(0, next.Cells[i].Values[0]+late)
					next.Cells[i] = gate.Cell{Values: []int64{n}, Contributors: n, Largest: []int64{min(1, n)}}
				}
				if rapid.Bool().Draw(t, "another dataset") {
					next.Dataset = "flow by corridor"
					next.Dimensions = slices.Clone(first.Dimensions)
					space := next.Dimensions[0]
					space.Levels = []gate.Level{partition(t, "corridor", len(space.Leaves))}
					next.Dimensions[0] = space
					next.Groupings = []gate.Grouping{{"corridor", gate.Each}, {"corridor", gate.All}}
				}
			}
			r, err := gate.Run(gate.Input{Table: &next, Policy: gate.VehicleFlow(), Now: later, Past: past})
			var no *gate.Refusal
			if errors.As(err, &no) {
				refused++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			released++
			findings, err := (&Suite{Result: r, Earlier: tables, Past: past}).Run()
			if err != nil {
				t.Fatal(err)
			}
			expectNothing(t, findings)
			tables, past = append(tables, r.Published), append(past, r.Past)
		}
	})
	t.Logf("%d released, %d refused", released, refused)
}

// TestNothingIsRecoveredOfSums: customers and what they use, with some who use
// most of it.
func TestNothingIsRecoveredOfSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := gate.Input{Table: table(t, 4, gate.Measure{Name: "customers", Unit: "1", Kind: gate.Count}, gate.Measure{Name: "energy", Unit: "kW.h", Kind: gate.Sum}), Policy: gate.Energy(), Now: later}
		r, err := gate.Run(in)
		if err != nil {
			t.Fatal(err)
		}
		findings, err := (&Suite{Result: r}).Run()
		if err != nil {
			t.Fatal(err)
		}
		expectNothing(t, findings)
	})
}

// TestLateDataOnlyAdd: what somebody gave before is no more than what a cell has
// later, and attackers know that. The second version was made by somebody who did not
// tell of the first.
func TestLateDataOnlyAdd(t *testing.T) {
	in := func(version, customers, energy int64) *gate.Table {
		return &gate.Table{Dataset: "energy", Version: version,
			Dimensions: []gate.Dimension{
				{Name: "place", Leaves: []gate.Leaf{{Code: "a"}}},
				{Name: "time", Time: true, Leaves: []gate.Leaf{{Code: "q0", Start: midnight.Unix(), End: midnight.Unix() + 900}}}},
			Measures:  []gate.Measure{flow, {Name: "energy", Unit: "kW.h", Kind: gate.Sum}},
			Groupings: []gate.Grouping{{gate.Each, gate.Each}},
			Cells:     []gate.Cell{{Values: []int64{customers, energy}, Contributors: customers}}}
	}
	var tables []*gate.Published
	var past []*gate.Past
	var truth []*gate.Table
	for _, table := range []*gate.Table{in(1, 3, 30), in(2, 13, 40)} {
		r, err := gate.Run(gate.Input{Table: table, Policy: gate.VehicleFlow(), Now: later})
		if err != nil {
			t.Fatal(err)
		}
		tables, past, truth = append(tables, r.Published), append(past, r.Past), append(truth, r.Past.Table)
	}
	if f := Reconstruct(tables, truth, "energy", secrets(tables, past, "energy"))[0]; f.Recovered == 0 {
		t.Errorf("%+v; the three have at most the 40 that there are later, and were to be possible up to 60", f)
	}
}
