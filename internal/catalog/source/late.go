package source

import "github.com/songhua-io/hub/internal/catalog/gate"

// Late sets, in the cells of a table of roads, how many vehicles they have at least
// that no earlier table of the same day has there. Those of minutes that were told
// since are new; within one window of returning minutes all of them are different,
// as those of RoadTable are. Nothing is said of a cell whose passages were not only
// added to, or whose earlier minutes do not come to what they came to then.
func Late(t *gate.Table, earlier []*gate.Table, at func(link string, minute int64) Passages, returning int) {
	links, quarters := t.Dimensions[0].Leaves, t.Dimensions[1].Leaves
	compared := make([]bool, len(t.Cells))
	for _, e := range earlier {
		space, times := indexOf(e.Dimensions[0].Leaves), indexOf(e.Dimensions[1].Leaves)
		for l := range links {
			for q := range quarters {
				i, known := space[links[l].Code]
				j, told := times[quarters[q].Code]
				if !known || !told {
					continue
				}
				b := l*len(quarters) + q
				c, was := &t.Cells[b], &e.Cells[i*len(times)+j]
				if c.Values[0] == was.Values[0] && c.Told == was.Told {
					continue
				}
				first := quarters[q].Start / 60
				n := int64(0)
				if c.Grown {
					n = added(was, min(max(1, returning), minutes), func(m int) int64 { return at(links[l].Code, first+int64(m)).Vehicles })
				}
				if !compared[b] || n < c.Changed {
					c.Changed, compared[b] = n, true
				}
			}
		}
	}
}

func indexOf(leaves []gate.Leaf) map[string]int {
	out := make(map[string]int, len(leaves))
	for i, l := range leaves {
		out[l.Code] = i
	}
	return out
}

// added is the most vehicles of minutes that an earlier cell has nothing of, in one
// window.
func added(was *gate.Cell, window int, vehicles func(minute int) int64) (most int64) {
	var since [minutes]int64
	kept := int64(0)
	for m := range minutes {
		if n := vehicles(m); was.Told>>m&1 == 0 {
			since[m] = n
		} else {
			kept += n
		}
	}
	if kept != was.Values[0] {
		return 0
	}
	for from := range minutes - window + 1 {
		sum := int64(0)
		for _, n := range since[from:][:window] {
			sum += n
		}
		most = max(most, sum)
	}
	return most
}
