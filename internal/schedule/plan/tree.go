package plan

import "math"

var never = float32(math.Inf(1))

// fan is how many children a node of a tree has: a line of the cache.
const fan = 16

// trees find the least of n values, for many columns side by side: one tree a
// column. Values lie in tiles of fan, and the least of a tile is a value of the
// level above. A tile of one column lies beside those of the others for the same
// values.
type trees struct {
	v      []key
	width  int   // columns
	n      int   // values
	levels []int // the first tile of each level, the values first
}

// key is a float32 in the order of integers, of which a machine finds the least
// without branches.
type key int32

func keyOf(v float32) key {
	b := int32(math.Float32bits(v + 0)) // -0 is 0
	return key(b ^ b>>31&math.MaxInt32)
}

func (k key) value() float32 { return math.Float32frombits(uint32(k ^ k>>31&math.MaxInt32)) }

const neverKey = key(0x7f800000)

// newTrees makes trees in which all is never.
func newTrees(n, width int) trees {
	t := trees{width: width, n: n}
	tiles := 0
	if width > 0 {
		t.levels, tiles = levels(n)
	}
	t.v = make([]key, tiles*width*fan)
	t.blank()
	return t
}

// levels are the first tiles of the levels above n values, and how many tiles
// there are.
func levels(n int) (first []int, tiles int) {
	for n > 0 {
		first = append(first, tiles)
		tiles += (n + fan - 1) / fan
		if n <= fan {
			break
		}
		n = (n + fan - 1) / fan
	}
	return first, tiles
}

// widen returns the trees with room for more columns.
func (t *trees) widen(width int) trees {
	w := newTrees(t.n, width)
	if t.width > 0 {
		for tile := 0; tile*t.width*fan < len(t.v); tile++ {
			copy(w.v[tile*width*fan:], t.v[tile*t.width*fan:(tile+1)*t.width*fan])
		}
	}
	return w
}

// in is where element e of a level lies.
func (t *trees) in(level, e, col int) int {
	return ((t.levels[level]+e/fan)*t.width+col)*fan + e%fan
}

func (t *trees) at(i, col int) float32 { return t.v[((i/fan)*t.width+col)*fan+i%fan].value() }

// tile is the tile of a level in which element e lies.
func (t *trees) tile(level, e, col int) *[fan]key {
	at := ((t.levels[level]+e/fan)*t.width + col) * fan
	return (*[fan]key)(t.v[at : at+fan])
}

// fill sets a value without what follows; grow does that for all of a column.
func (t *trees) fill(i, col int, v float32) { t.v[t.in(0, i, col)] = keyOf(v) }

func (t *trees) grow(col int) {
	n := t.n
	for level := 1; level < len(t.levels); level++ {
		n = (n + fan - 1) / fan
		for e := range n {
			t.v[t.in(level, e, col)] = least(t.tile(level-1, e*fan, col))
		}
	}
}

// put changes a value.
func (t *trees) put(i, col int, v float32) {
	k := keyOf(v)
	at := &t.v[t.in(0, i, col)]
	was := *at
	*at = k
	if k < was {
		for level := 1; level < len(t.levels); level++ {
			i /= fan
			if at = &t.v[t.in(level, i, col)]; *at <= k {
				return
			}
			*at = k
		}
		return
	}
	for level := 1; level < len(t.levels); level++ {
		if at = &t.v[t.in(level, i/fan, col)]; *at != was {
			return
		}
		if k = least(t.tile(level-1, i, col)); k == was {
			return
		}
		*at = k
		i /= fan
	}
}

// root is the least of a column.
func (t *trees) root(col int) float32 {
	return least(t.tile(len(t.levels)-1, 0, col)).value()
}

// blank makes all never.
func (t *trees) blank() {
	for i := range t.v {
		t.v[i] = neverKey
	}
}

// first is the index of the least value of a column, the first of equal ones;
// -1 when all are never.
func (t *trees) first(col int) (int, float32) {
	e, k := 0, neverKey
	for level := len(t.levels) - 1; level >= 0; level-- {
		var j int
		if j, k = first(t.tile(level, e*fan, col)); k == neverKey {
			return -1, never
		}
		e = e*fan + j
	}
	if k == neverKey {
		return -1, never
	}
	return e, k.value()
}

// least is the least of a tile.
func least(t *[fan]key) key {
	a, b := min(t[0], t[1], t[2], t[3]), min(t[4], t[5], t[6], t[7])
	c, d := min(t[8], t[9], t[10], t[11]), min(t[12], t[13], t[14], t[15])
	return min(min(a, b), min(c, d))
}

// first is the first of the least of a tile.
func first(t *[fan]key) (int, key) {
	at := func(i int) int64 { return int64(t[i])<<8 | int64(i) }
	a, b := min(at(0), at(1), at(2), at(3)), min(at(4), at(5), at(6), at(7))
	c, d := min(at(8), at(9), at(10), at(11)), min(at(12), at(13), at(14), at(15))
	m := min(min(a, b), min(c, d))
	return int(m & 0xff), key(m >> 8)
}
