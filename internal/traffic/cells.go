package traffic

// cells are the numbers of a minute: a table of open addressing, a power of two
// long, at most three quarters full. The zero value is empty. Series 0, which
// nobody has, marks a free place.
type cells struct {
	at []entry
	n  int
}

// entry is a cell and its value.
type entry struct {
	Cell

	v float64
}

func (c Cell) hash() uint64 {
	h := (uint64(c.A)<<32 | uint64(c.B)) * 0x9e3779b97f4a7c15
	h = (h ^ h>>29 ^ uint64(c.Series)<<8 ^ uint64(c.Part)) * 0xbf58476d1ce4e5b9
	return h ^ h>>32
}

// find is the place of a cell, or the free one where it belongs; nil in an empty
// table.
func (t *cells) find(c Cell) *entry {
	if len(t.at) == 0 {
		return nil
	}
	mask := uint64(len(t.at) - 1)
	for i := c.hash() & mask; ; i = (i + 1) & mask {
		if e := &t.at[i]; e.Cell == c || e.Series == 0 {
			return e
		}
	}
}

func (t *cells) has(c Cell) bool {
	e := t.find(c)
	return e != nil && e.Series != 0
}

// get is the value of a cell, 0 when it has none.
func (t *cells) get(c Cell) float64 {
	if e := t.find(c); e != nil {
		return e.v
	}
	return 0
}

// place is the place of a cell; its Series is 0 when it is new, and the caller
// fills it.
func (t *cells) place(c Cell) *entry {
	if t.n >= len(t.at)/4*3 {
		old := t.at
		t.at = make([]entry, max(32, 2*len(old)))
		for _, e := range old {
			if e.Series != 0 {
				*t.find(e.Cell) = e
			}
		}
	}
	e := t.find(c)
	if e.Series == 0 {
		t.n++
	}
	return e
}

// all yields what there is, in no order.
func (t *cells) all(yield func(Cell, float64) bool) {
	for i := range t.at {
		if e := &t.at[i]; e.Series != 0 && !yield(e.Cell, e.v) {
			return
		}
	}
}

func (t *cells) clear() {
	clear(t.at)
	t.n = 0
}

// maxSeen is how many messages a minute of a unit takes: more than a thousand a
// second.
const maxSeen = 1 << 16

// hashes is a set of hashes of messages, which are evenly spread already: a table
// of open addressing as cells is.
type hashes struct {
	at   []uint64
	n    int
	zero bool // the hash 0, which marks a free place, is there
}

// add reports whether a hash was not there.
func (t *hashes) add(h uint64) bool {
	if h == 0 {
		was := t.zero
		t.zero = true
		return !was
	}
	if t.n >= len(t.at)/4*3 {
		old := t.at
		t.at, t.n = make([]uint64, max(64, 2*len(old))), 0
		for _, o := range old {
			if o != 0 {
				t.put(o)
			}
		}
	}
	return t.put(h)
}

// has reports whether a hash, which is not 0, is there.
func (t *hashes) has(h uint64) bool {
	if len(t.at) == 0 {
		return false
	}
	mask := uint64(len(t.at) - 1)
	for i := h & mask; t.at[i] != 0; i = (i + 1) & mask {
		if t.at[i] == h {
			return true
		}
	}
	return false
}

func (t *hashes) put(h uint64) bool {
	mask := uint64(len(t.at) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		switch t.at[i] {
		case h:
			return false
		case 0:
			t.at[i] = h
			t.n++
			return true
		}
	}
}

func (t *hashes) len() int {
	if t.zero {
		return t.n + 1
	}
	return t.n
}

// all yields what there is, in no order.
func (t *hashes) all(yield func(uint64) bool) {
	if t.zero && !yield(0) {
		return
	}
	for _, h := range t.at {
		if h != 0 && !yield(h) {
			return
		}
	}
}

func (t *hashes) clear() {
	clear(t.at)
	t.n, t.zero = 0, false
}
