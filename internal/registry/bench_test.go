package registry

import (
	"fmt"
	"testing"
)

func fleet(n, from int) []Spec {
	all := make([]Spec, n)
	for i := range all {
		all[i] = Spec{ID: fmt.Sprintf("device-%06d", from+i), Region: "220100", Site: "plant-a", Tags: map[string]string{"floor": "2"}}
	}
	return all
}

func BenchmarkCreateBatch10000(b *testing.B) {
	r := open(b, b.TempDir())
	for i := 0; b.Loop(); i++ {
		if _, err := r.CreateBatch(b.Context(), fleet(MaxBatch, i*MaxBatch)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen100000(b *testing.B) {
	dir := b.TempDir()
	r := open(b, dir)
	for i := range 10 {
		if _, err := r.CreateBatch(b.Context(), fleet(MaxBatch, i*MaxBatch)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if r := open(b, dir); r.Len() != 100_000 {
			b.Fatal(r.Len())
		}
	}
}

func BenchmarkDevice(b *testing.B) {
	r := open(b, b.TempDir())
	if _, err := r.CreateBatch(b.Context(), fleet(MaxBatch, 0)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if r.Device("device-005000") == nil {
			b.Fatal("unknown")
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	r := open(b, b.TempDir())
	made := add(b, r, Spec{ID: "generated"})
	add(b, r, Spec{ID: "chosen", Secret: chosen})
	for _, c := range []struct{ name, id, secret string }{
		{"generated", "generated", made.Secret},
		{"chosen", "chosen", chosen},
		{"wrong", "chosen", made.Secret},
		{"unknown", "nobody", chosen},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Authenticate(b.Context(), c.id, []byte(c.secret)); (err == nil) != (c.name == c.id) {
					b.Fatal(err)
				}
			}
		})
	}
}
