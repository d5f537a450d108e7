package gate

import (
	"errors"
	"slices"
	"testing"
)

// crowded is a table of two links by four quarters, of which only totals of both are
// out: 16 vehicles passed both links in each quarter, 8 of them sure on each.
func crowded(version int64) *Table {
	t := lines([][]int64{{8, 8, 8, 8}, {8, 8, 8, 8}})
	t.Version, t.Groupings = version, []Grouping{{All, Each}}
	t.Totals = [][]Cell{make([]Cell, 4)}
	for i := range t.Totals[0] {
		t.Totals[0][i] = Cell{Values: []int64{0}, Contributors: 16}
	}
	return t
}

// TestATotalThatIsOutStaysKnown beside late data: a link that a few changed is held,
// and with it what was measured of the total; what was known of it before is sure.
func TestATotalThatIsOutStaysKnown(t *testing.T) {
	first := run(t, Input{Table: crowded(1), Policy: VehicleFlow()})
	second := crowded(2)
	second.Cells[0] = Cell{Values: []int64{9}, Contributors: 9, Largest: []int64{1}}
	r := run(t, Input{Table: second, Policy: VehicleFlow(), Past: []*Past{first.Past}})
	if got := numbers(r, 0); got != "16 16 16 16" || !slices.Equal(r.Published.Groupings[0].Held, []int{0}) {
		t.Errorf("%s, held %v; nothing that is told has changed", got, r.Published.Groupings[0].Held)
	}
	var no *Refusal
	if _, err := Run(Input{Table: second, Policy: VehicleFlow(), Now: later, Past: []*Past{first.Past}, Former: true}); !errors.As(err, &no) {
		t.Errorf("%v; it was refused before", err)
	}
}

// TestATotalThatGrewStaysKnown where contributions were only added, and not where
// others may have taken their place.
func TestATotalThatGrewStaysKnown(t *testing.T) {
	first := run(t, Input{Table: crowded(1), Policy: VehicleFlow()})
	next := func(grown bool) *Result {
		second := crowded(2)
		second.Cells[0] = Cell{Values: []int64{9}, Contributors: 9, Largest: []int64{1}} // waits
		second.Cells[4] = Cell{Values: []int64{28}, Contributors: 9, Largest: []int64{1}, Changed: 20, Grown: grown}
		return run(t, Input{Table: second, Policy: VehicleFlow(), Past: []*Past{first.Past}})
	}
	if got := numbers(next(true), 0); got != "36 16 16 16" {
		t.Errorf("%s; the 16 are still among the 36", got)
	}
	r := next(false)
	if got := numbers(r, 0); got != "16 16 16 16" {
		t.Errorf("%s; nobody knows how many the 36 are, and that they were 16 is out: the new number has to wait", got)
	}
	if r.Figures.Held != 1 {
		t.Errorf("%d cells are held", r.Figures.Held)
	}
}
