package plan

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTreesFindTheFirstOfTheLeast compares with a plain list, for sizes of one to
// three levels, through changes and with more columns on the way.
func TestTreesFindTheFirstOfTheLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{1, 2, fan, fan + 1, 100, fan * fan, fan*fan + 1, 700}).Draw(t, "values")
		trees, columns := newTrees(n, 2), [][]float32{make([]float32, n), make([]float32, n)}
		value := rapid.SampledFrom([]float32{never, -3.5, -1, 0, 1e-6, 1, 1, 2, 1e9})
		for col := range columns {
			for i := range n {
				columns[col][i] = never
			}
			for range rapid.IntRange(0, 20).Draw(t, "filled") {
				i := rapid.IntRange(0, n-1).Draw(t, "at")
				columns[col][i] = value.Draw(t, "value")
				trees.fill(i, col, columns[col][i])
			}
			trees.grow(col)
		}
		for range rapid.IntRange(0, 60).Draw(t, "changes") {
			col, i := rapid.IntRange(0, 1).Draw(t, "column"), rapid.IntRange(0, n-1).Draw(t, "at")
			columns[col][i] = value.Draw(t, "value")
			trees.put(i, col, columns[col][i])
			if rapid.IntRange(0, 20).Draw(t, "wider") == 0 {
				trees = trees.widen(trees.width + 3)
			}
			least := slices.Min(columns[col])
			want := slices.Index(columns[col], least)
			if least == never {
				want = -1
			}
			if at, v := trees.first(col); at != want || v != least || trees.root(col) != least {
				t.Fatalf("%v at %d is the least, and %v at %d was found (%v)", least, want, v, at, trees.root(col))
			}
			if v := trees.at(i, col); v != columns[col][i] {
				t.Fatalf("%v was kept as %v", columns[col][i], v)
			}
		}
	})
}
