package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/source"
)

// The datasets of the demo are complete, and of different classes and grades; each
// has rows that can be made.
func TestTheDemosDatasetsAreComplete(t *testing.T) {
	all, err := demoDocuments()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, d := range all {
		made, faults := d.Dataset()
		for _, f := range append(faults, made.Check(true)...) {
			t.Errorf("%s: %v", d.ID, f)
		}
		code := strings.Join(d.Path, "-")
		if !slices.ContainsFunc(demoClasses, func(c register.ClassName) bool { return c.Code == code }) {
			t.Errorf("%s: its place %s has no name", d.ID, code)
		}
		if err := source.Check(made); err != nil {
			t.Error(err)
		}
		for _, is := range []string{"kind " + string(made.Source.Kind), "share " + string(made.Share.Class), "open " + string(made.Open.Class), "grade " + made.Grade.String()} {
			kinds[is]++
		}
	}
	for _, is := range strings.Split("kind series,kind roads,kind signals,kind compute,share unconditional,share conditional,open unconditional,open conditional,open none,grade general,grade important", ",") {
		if kinds[is] == 0 {
			t.Errorf("no dataset is of %s", is)
		}
	}
	if len(all) < 6 {
		t.Errorf("%d datasets", len(all))
	}
}
