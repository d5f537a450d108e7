package local

import (
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"
)

func TestExpired(t *testing.T) {
	block := func(n byte, end, bytes int64) stored { return stored{id: ulid.ULID{n}, end: end, bytes: bytes} }
	blocks := []stored{block(3, 30, 100), block(1, 10, 100), block(4, 40, 100), block(2, 20, 100)}
	spent := block(4, 40, 100)
	spent.spent = true
	for _, c := range []struct {
		name             string
		blocks           []stored
		oldest, log, max int64
		want             []byte
	}{
		{"nothing is old and nothing bounds the size", blocks, 5, 1000, 0, nil},
		{"a block goes when its last sample is too old", blocks, 20, 0, 0, []byte{1, 2}},
		{"the oldest go until the rest fits", blocks, 0, 0, 250, []byte{1, 2}},
		{"logs count", blocks, 0, 151, 450, []byte{1, 2}},
		{"what fits exactly stays", blocks, 0, 50, 450, nil},
		{"age makes room too", blocks, 10, 0, 300, []byte{1}},
		{"logs alone over the bound leave no block", blocks, 0, 500, 400, []byte{1, 2, 3, 4}},
		{"replaced blocks go", []stored{block(1, 10, 1), spent}, 0, 0, 0, []byte{4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []byte
			for id := range expired(slices.Clone(c.blocks), c.oldest, c.log, c.max) {
				got = append(got, id[0])
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("expired %v, want %v", got, c.want)
			}
		})
	}
}
