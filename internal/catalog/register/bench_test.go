package register

import (
	"fmt"
	"testing"
)

// full is a register with many published datasets, in memory alone.
func full(b *testing.B, n int) *Register {
	b.Helper()
	r := &Register{byID: map[string]*Record{}, shared: newIndex(), holds: map[*hold]bool{}, deps: Deps{Selection: selection}}
	d, err := Parse([]byte(soil))
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		rec := &Record{ID: fmt.Sprintf("soil-%d", i), Edition: Edition{Document: *d, State: "published"}}
		rec.Document.ID, rec.Document.Source.Selector = rec.ID, fmt.Sprintf("soil_moisture{region='220100',site='s%d'}", i)
		if err := rec.complete(); err != nil {
			b.Fatal(err)
		}
		s, err := r.sharing(rec)
		if err != nil {
			b.Fatal(err)
		}
		r.byID[rec.ID] = rec
		r.shared.put(s)
	}
	return r
}

func BenchmarkOpen(b *testing.B) {
	r := full(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Open("soil-77", "moisture"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOneSource(b *testing.B) {
	r := full(b, 10_000)
	d, err := Parse([]byte(soil))
	if err != nil {
		b.Fatal(err)
	}
	made, _ := d.Dataset()
	b.ReportAllocs()
	for b.Loop() {
		if err := r.oneSource(made); err != nil {
			b.Fatal(err)
		}
	}
}
