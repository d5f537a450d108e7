package plan

import "math"

var never = float32(math.Inf(1))

// rows are trees of the least, many side by side: a row is one place in all of
// them, a column one tree. A tree of n values that begins at row r has value i in
// row r+n+i, and in row r+j, for j from 1, the lesser of rows r+2j and r+2j+1: so
// the least of all is in row r+1.
type rows struct {
	v     []float32
	width int
}

func (t *rows) at(row, col int) float32     { return t.v[row*t.width+col] }
func (t *rows) put(row, col int, v float32) { t.v[row*t.width+col] = v }
func (t *rows) row(row int) []float32       { return t.v[row*t.width : (row+1)*t.width] }

// grow works out the inner rows of one column.
func (t *rows) grow(from, n, col int) {
	for j := n - 1; j >= 1; j-- {
		t.put(from+j, col, min(t.at(from+2*j, col), t.at(from+2*j+1, col)))
	}
}

// climb changes a value of the tree that begins at row 0, and what follows.
func (t *rows) climb(j, col int, v float32) { t.climbWithin(0, j, col, v) }

func (t *rows) climbWithin(from, j, col int, v float32) {
	if t.at(from+j, col) == v {
		return
	}
	t.put(from+j, col, v)
	for j > 1 {
		j >>= 1
		m := min(t.at(from+2*j, col), t.at(from+2*j+1, col))
		if t.at(from+j, col) == m {
			return
		}
		t.put(from+j, col, m)
	}
}

// climbAll works out the rows above row j for the columns in which it changed,
// and returns those whose least changed.
func (t *rows) climbAll(from, j int, cols []int32) []int32 {
	for j > 1 && len(cols) > 0 {
		j >>= 1
		up, left, right := t.row(from+j), t.row(from+2*j), t.row(from+2*j+1)
		rest := cols[:0]
		for _, col := range cols {
			if m := min(left[col], right[col]); up[col] != m {
				up[col] = m
				rest = append(rest, col)
			}
		}
		cols = rest
	}
	return cols
}

// first is the index of a value that is the least in a column: the left one of
// equal subtrees.
func (t *rows) first(from, n, col int) int {
	j := 1
	for j < n {
		j *= 2
		if t.at(from+j+1, col) < t.at(from+j, col) {
			j++
		}
	}
	return j - n
}

// walk visits the values of one tree from the least, by a heap of subtrees.
type walk struct {
	tree *rows
	col  int
	n    int32
	heap []int32
}

// start begins at the root of the tree of n values at row 0.
func (w *walk) start(tree *rows, n, col int) {
	w.tree, w.col, w.n, w.heap = tree, col, int32(n), w.heap[:0]
	if n > 0 && tree.at(1, col) < never {
		w.heap = append(w.heap, 1)
	}
}

func (w *walk) value(j int32) float32 { return w.tree.at(int(j), w.col) }

// next is the index of the next value, -1 after the last finite one.
func (w *walk) next() int {
	if len(w.heap) == 0 {
		return -1
	}
	j := w.pop()
	for j < w.n {
		j *= 2
		other := j + 1
		if w.value(other) < w.value(j) {
			j, other = other, j
		}
		if w.value(other) < never {
			w.push(other)
		}
	}
	return int(j - w.n)
}

func (w *walk) before(a, b int32) bool {
	x, y := w.value(a), w.value(b)
	return x < y || (x == y && a < b)
}

func (w *walk) push(e int32) {
	w.heap = append(w.heap, e)
	h := w.heap
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !w.before(h[i], h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (w *walk) pop() int32 {
	h := w.heap
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && w.before(h[child+1], h[child]) {
			child++
		}
		if !w.before(h[child], h[i]) {
			break
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
	w.heap = h
	return top
}
