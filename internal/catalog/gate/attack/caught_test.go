//go:build songhua_no_complementary

package attack

import (
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// TestWithoutComplementarySuppressionCellsAreRecovered: this build hides small
// cells only, and each way of working them out from totals has to say so.
func TestWithoutComplementarySuppressionCellsAreRecovered(t *testing.T) {
	in := square(3, 40, 40, 40, 40, 40, 40, 40, 40)
	r, err := gate.Run(gate.Input{Table: in, Policy: gate.VehicleFlow(), Now: later})
	if err != nil {
		t.Fatal(err)
	}
	findings, err := (&Suite{Result: r, Trips: trips(in)}).Run()
	if err != nil {
		t.Fatal(err)
	}
	expectRecovered(t, findings, "bounds", "unicity")

	// Four small cells in a rectangle: no total tells of one alone, but what they
	// are together is not enough for any to be 10.
	in = square(1, 1, 40, 1, 1, 40, 40, 40, 40)
	if r, err = gate.Run(gate.Input{Table: in, Policy: gate.VehicleFlow(), Now: later}); err != nil {
		t.Fatal(err)
	}
	if findings, err = (&Suite{Result: r, Trips: trips(in)}).Run(); err != nil {
		t.Fatal(err)
	}
	expectRecovered(t, findings, "linear_program", "unicity")
}

func expectRecovered(t *testing.T, findings []gate.Finding, attacks ...string) {
	t.Helper()
	for _, name := range attacks {
		found := false
		for _, f := range findings {
			found = found || strings.HasPrefix(f.Attack, name) && f.Recovered > 0
		}
		if !found {
			t.Errorf("the attack %s did not notice: %+v", name, findings)
		}
	}
}
