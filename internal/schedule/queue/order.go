package queue

// order counts how many that are still there came before another, in the
// logarithm of all (a Fenwick tree).
type order struct {
	tree  []int   // tree[i] is for place i+1
	items []*item // by place; nil where one has left
	live  int
}

// add gives an item the place after all others.
func (o *order) add(i *item) {
	if len(o.tree) > 64 && len(o.tree) > 2*o.live {
		o.close()
	}
	n := len(o.tree) + 1
	sum := 1
	for j := n - 1; j > n-n&-n; j -= j & -j {
		sum += o.tree[j-1]
	}
	o.tree, o.items = append(o.tree, sum), append(o.items, i)
	i.place = n - 1
	o.live++
}

// close makes the places of those that have left free.
func (o *order) close() {
	all := o.items
	o.tree, o.items, o.live = o.tree[:0], make([]*item, 0, o.live), 0
	for _, i := range all {
		if i != nil {
			o.add(i)
		}
	}
}

func (o *order) remove(i *item) {
	for j := i.place + 1; j <= len(o.tree); j += j & -j {
		o.tree[j-1]--
	}
	o.items[i.place] = nil
	o.live--
}

// before is how many are there that came before an item.
func (o *order) before(i *item) (n int) {
	for j := i.place; j > 0; j -= j & -j {
		n += o.tree[j-1]
	}
	return n
}
