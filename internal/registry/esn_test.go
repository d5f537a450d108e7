package registry

import (
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/telemetry"
)

func unit(r *Registry, esn string) string {
	if d := r.Unit(esn); d != nil {
		return d.ID
	}
	return ""
}

// A roadside unit is known by one serial number: its tag, else its id. No other
// can take it.
func TestUnitsAreKnownByTheirSerialNumbers(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	add(t, r, Spec{ID: "R1", Kind: "rsu"})
	add(t, r, Spec{ID: "rsu-2", Kind: "rsu", Tags: map[string]string{"esn": "R2"}})
	add(t, r, Spec{ID: "probe", Tags: map[string]string{"esn": "R3"}}) // no roadside unit
	check := func(want map[string]string) {
		t.Helper()
		for esn, id := range want {
			if got := unit(r, esn); got != id {
				t.Errorf("%s is %q, not %q", esn, got, id)
			}
		}
	}
	check(map[string]string{"R1": "R1", "R2": "rsu-2", "rsu-2": "", "R3": "", "probe": "", "": ""})
	for _, s := range []Spec{
		{ID: "R2", Kind: "rsu"},
		{ID: "x", Kind: "rsu", Tags: map[string]string{"esn": "R1"}},
		{ID: "y", Kind: "rsu", Tags: map[string]string{"esn": "R2"}},
	} {
		if _, err := r.Create(t.Context(), s); err == nil || !strings.Contains(err.Error(), "is that of roadside unit") {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if _, err := r.CreateBatch(t.Context(), []Spec{{ID: "a", Kind: "rsu"}, {ID: "b", Kind: "rsu", Tags: map[string]string{"esn": "a"}}}); err == nil {
		t.Error("two of one batch have the same serial number")
	}
	if _, err := r.Update(t.Context(), Spec{ID: "R1", Kind: "rsu", Tags: map[string]string{"esn": "R2"}}, 0); err == nil {
		t.Error("a change took the serial number of another")
	}
	if _, err := r.Update(t.Context(), Spec{ID: "R1", Kind: "rsu", Tags: map[string]string{"esn": "R9"}}, 0); err != nil {
		t.Fatal(err)
	}
	check(map[string]string{"R1": "", "R9": "R1"})
	if err := r.Remove(t.Context(), "rsu-2", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Disable(t.Context(), "R1", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Rotate(t.Context(), "R1", 0); err != nil {
		t.Fatal(err)
	}
	add(t, r, Spec{ID: "R2", Kind: string(telemetry.KindRSU)})
	check(map[string]string{"R9": "R1", "R2": "R2"})
	r = open(t, dir)
	check(map[string]string{"R1": "", "R9": "R1", "R2": "R2"})
}
