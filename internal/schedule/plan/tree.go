package plan

import "math"

// A tree of n values in a slice of 2n keeps their least at index 1: value i at
// n+i, and each inner node the lesser of its two children.

var never = float32(math.Inf(1))

// least is the least value.
func least(tree []float32) float32 {
	if len(tree) == 0 {
		return never
	}
	return tree[1]
}

// grow works out the inner nodes.
func grow(tree []float32) {
	for i := len(tree)/2 - 1; i >= 1; i-- {
		tree[i] = min(tree[2*i], tree[2*i+1])
	}
}

// put changes one value and reports whether the least is another now.
func put(tree []float32, i int, v float32) bool {
	i += len(tree) / 2
	if tree[i] == v {
		return false
	}
	tree[i] = v
	for i > 1 {
		i >>= 1
		m := min(tree[2*i], tree[2*i+1])
		if tree[i] == m {
			return false
		}
		tree[i] = m
	}
	return true
}

// first is the index of a value that is the least: the left one of equal
// subtrees.
func first(tree []float32) int {
	n := len(tree) / 2
	i := 1
	for i < n {
		i *= 2
		if tree[i+1] < tree[i] {
			i++
		}
	}
	return i - n
}

// walk visits the values of a tree from the least, by a heap of subtrees.
type walk struct {
	tree []float32
	heap []int32
}

// start begins at the root, in memory of an earlier walk.
func (w *walk) start(tree []float32) {
	w.tree, w.heap = tree, w.heap[:0]
	if least(tree) < never {
		w.heap = append(w.heap, 1)
	}
}

// next is the index of the next value, -1 after the last finite one.
func (w *walk) next() int {
	if len(w.heap) == 0 {
		return -1
	}
	i, n := w.pop(), int32(len(w.tree)/2)
	for i < n {
		i *= 2
		other := i + 1
		if w.tree[other] < w.tree[i] {
			i, other = other, i
		}
		if w.tree[other] < never {
			w.push(other)
		}
	}
	return int(i - n)
}

func (w *walk) before(a, b int32) bool {
	x, y := w.tree[a], w.tree[b]
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
