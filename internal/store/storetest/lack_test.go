package storetest

import "testing"

func TestLack(t *testing.T) {
	for _, c := range []struct {
		name  string
		check func(*bench)
		wrong int
	}{
		{"kept after all", func(*bench) {}, 1},
		{"error", func(b *bench) { b.Error("not there"); b.Errorf("nor %s", "here") }, 0},
		{"fatal", func(b *bench) { b.Fatalf("not there"); panic("went on") }, 0},
	} {
		outer := &verdict{TB: t}
		Lack{Promise: c.name, Why: "it is so"}.confirm(&bench{TB: outer}, c.check)
		if len(outer.wrong) != c.wrong {
			t.Errorf("%s: told %q, want %d", c.name, outer.wrong, c.wrong)
		}
	}
}
