package attack

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog/gate"
	"pgregory.net/rapid"
)

var (
	midnight = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	later    = midnight.Add(48 * time.Hour)
)

// partition draws a level of a dimension.
func partition(t *rapid.T, name string, leaves int) gate.Level {
	n := rapid.IntRange(1, max(1, leaves/2)).Draw(t, name)
	l := gate.Level{Name: name, Of: make([]int32, leaves)}
	for i := range n {
		l.Codes = append(l.Codes, fmt.Sprintf("%s%d", name, i))
	}
	for i := range l.Of {
		l.Of[i] = int32(rapid.IntRange(0, n-1).Draw(t, "code"))
	}
	return l
}

// table draws a table with hierarchies, and single values that are often small.
func table(t *rapid.T, most int, measures ...gate.Measure) *gate.Table {
	links, bins := rapid.IntRange(1, most).Draw(t, "links"), rapid.IntRange(1, most).Draw(t, "bins")
	space, times := gate.Dimension{Name: "link"}, gate.Dimension{Name: "time", Time: true}
	for i := range links {
		space.Leaves = append(space.Leaves, gate.Leaf{Code: fmt.Sprintf("l%d", i)})
	}
	for i := range bins {
		start := midnight.Add(time.Duration(i) * 15 * time.Minute).Unix()
		times.Leaves = append(times.Leaves, gate.Leaf{Code: fmt.Sprintf("t%d", i), Start: start, End: start + 900})
	}
	space.Levels = []gate.Level{partition(t, "road", links), partition(t, "district", links)}
	times.Levels = []gate.Level{partition(t, "part", bins)}
	out := &gate.Table{Dataset: "flow", Version: 1, Dimensions: []gate.Dimension{space, times}, Measures: measures}
	for _, s := range []string{gate.Each, "road", "district", gate.All} {
		for _, b := range []string{gate.Each, "part", gate.All} {
			if s == gate.Each && b == gate.Each || rapid.Bool().Draw(t, "published") {
				out.Groupings = append(out.Groupings, gate.Grouping{s, b})
			}
		}
	}
	for range links * bins {
		n := rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, 12), rapid.Int64Range(5, 60)).Draw(t, "contributors")
		c := gate.Cell{Contributors: n}
		for _, m := range measures {
			switch m.Kind {
			case gate.Count:
				c.Values, c.Largest = append(c.Values, n), append(c.Largest, min(1, n))
			default:
				big := int64(0)
				if n > 0 {
					big = rapid.Int64Range(1, 40).Draw(t, "largest")
				}
				c.Values, c.Largest = append(c.Values, big+max(0, n-1)*rapid.Int64Range(1, 20).Draw(t, "mean")), append(c.Largest, big)
			}
		}
		out.Cells = append(out.Cells, c)
	}
	return out
}

var flow = gate.Measure{Name: "vehicles", Unit: "1", Kind: gate.Count}

func expectNothing(t rapid.TB, findings []gate.Finding) {
	t.Helper()
	for _, f := range findings {
		if f.Recovered > 0 {
			t.Errorf("%s: %d of %d recovered", f.Attack, f.Recovered, f.Tried)
		}
		if strings.Contains(f.Detail.EN, "contradict") {
			t.Errorf("%s: %s", f.Attack, f.Detail.EN)
		}
	}
}

// TestNothingIsRecoveredFromRandomTables: whatever the table and its hierarchies.
func TestNothingIsRecoveredFromRandomTables(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := gate.Input{Table: table(t, 5, flow), Policy: gate.VehicleFlow(), Now: later}
		r, err := gate.Run(in)
		if err != nil {
			t.Fatal(err)
		}
		s := Suite{Result: r, Again: func() (*gate.Published, error) {
			r, err := gate.Run(in)
			if err != nil {
				return nil, err
			}
			return r.Published, nil
		}}
		findings, err := s.Run()
		if err != nil {
			t.Fatal(err)
		}
		expectNothing(t, findings)
	})
}

// TestNothingIsRecoveredFromThreeDimensions: links, bins and classes of vehicles,
// with versions.
func TestNothingIsRecoveredFromThreeDimensions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := table(t, 3, flow)
		class := gate.Dimension{Name: "class", Leaves: []gate.Leaf{{Code: "car"}, {Code: "bus"}}}
		in.Dimensions = append(in.Dimensions, class)
		var groupings []gate.Grouping
		for _, g := range in.Groupings {
			for _, c := range []string{gate.Each, gate.All} {
				if len(groupings) == 0 || rapid.Bool().Draw(t, "published by class") {
					groupings = append(groupings, append(slices.Clone(g), c))
				}
			}
		}
		in.Groupings = groupings
		var cells []gate.Cell
		for _, c := range in.Cells {
			n := rapid.OneOf(rapid.Int64Range(0, 5), rapid.Int64Range(8, 50)).Draw(t, "buses")
			cells = append(cells, c, gate.Cell{Values: []int64{n}, Contributors: n, Largest: []int64{min(1, n)}})
		}
		in.Cells = cells
		first, err := gate.Run(gate.Input{Table: in, Policy: gate.VehicleFlow(), Now: later})
		if err != nil {
			t.Fatal(err)
		}
		findings, err := (&Suite{Result: first}).Run()
		if err != nil {
			t.Fatal(err)
		}
		expectNothing(t, findings)
		next := *in
		next.Version, next.Groupings = 2, []gate.Grouping{{gate.Each, gate.Each, gate.All}, {"road", gate.All, gate.Each}}
		second, err := gate.Run(gate.Input{Table: &next, Policy: gate.VehicleFlow(), Now: later, Past: []*gate.Past{first.Past}})
		var no *gate.Refusal
		if errors.As(err, &no) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		findings, err = (&Suite{Result: second, Earlier: []*gate.Published{first.Published}, Past: []*gate.Past{first.Past}}).Run()
		if err != nil {
			t.Fatal(err)
		}
		expectNothing(t, findings)
	})
}
