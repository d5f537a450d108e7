package attack

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// Trips are where each contributor was, as base cells of a table; only who
// judges has them.
type Trips map[uint64][]int

// points of a contributor's trip that an attacker knows, as in de Montjoye et
// al., "Unique in the Crowd", 2013.
const points = 4

// Unicity samples contributors and a few cells in which each was. In the raw data
// these mostly single out one contributor. In the published table they must not:
// every shown cell that holds one of them, and what is left of a shown cell when
// those beneath it are taken off, has k contributors.
func Unicity(p *gate.Published, t *gate.Table, trips Trips, k int64, samples int, random *rand.Rand) gate.Finding {
	f := gate.Finding{Attack: "unicity"}
	who := make([]uint64, 0, len(trips))
	at := map[int][]uint64{} // contributors by base cell
	for w, cells := range trips {
		who = append(who, w)
		for _, c := range cells {
			at[c] = append(at[c], w)
		}
	}
	slices.Sort(who)
	u := &crowd{checker: newChecker(p, t), at: at, sizes: map[[2]int]int64{}, rests: map[[4]int]int64{}}
	alone := int64(0)
	for range samples {
		if len(who) == 0 {
			break
		}
		w := who[random.IntN(len(who))]
		cells := slices.Clone(trips[w])
		slices.Sort(cells)
		cells = slices.Compact(cells)
		random.Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
		cells = cells[:min(points, len(cells))]
		f.Tried++
		if u.together(cells, trips) == 1 {
			alone++
		}
		for _, c := range cells {
			if u.smallest(c) < k {
				f.Recovered++
				break
			}
		}
	}
	f.Detail = gate.Text{
		ZH: fmt.Sprintf("随机抽取轨迹点：原始数据中每千次有 %d 次可唯一定位，发布数据中为 0", alone*1000/max(1, f.Tried)),
		EN: fmt.Sprintf("%d points of random trips: they single out one contributor %d times in a thousand in the raw data, and never here", points, alone*1000/max(1, f.Tried)),
	}
	if f.Recovered > 0 {
		f.Detail = gate.Text{ZH: "随机抽取轨迹点：落入过小的单元格", EN: "points of random trips lie in cells that are too small"}
	}
	return f
}

// crowd counts distinct contributors of what is shown.
type crowd struct {
	*checker
	at    map[int][]uint64
	sizes map[[2]int]int64 // by grouping and cell
	rests map[[4]int]int64 // by grouping, cell, and the finer groupings
}

// together is how many contributors were in all of some cells.
func (u *crowd) together(cells []int, trips Trips) (n int) {
	for _, w := range u.at[cells[0]] {
		if !slices.ContainsFunc(cells[1:], func(c int) bool { return !slices.Contains(trips[w], c) }) {
			n++
		}
	}
	return n
}

// smallest is the smallest crowd that is told of and holds a base cell.
func (u *crowd) smallest(b int) int64 {
	least := int64(1) << 62
	for g := range u.views {
		cell := u.cell(g, b)
		if !u.isShown(g, cell) {
			continue
		}
		least = min(least, u.count(g, cell))
		for fine := range u.views {
			if !u.beneath(g, fine) {
				continue
			}
			for middle := range u.views {
				if n, ok := u.rest(g, cell, middle, fine, b); ok {
					least = min(least, n)
				}
			}
		}
	}
	return least
}

func (u *crowd) count(g, cell int) int64 {
	key := [2]int{g, cell}
	if n, ok := u.sizes[key]; ok {
		return n
	}
	n := u.distinct(g, cell, func(int) bool { return true })
	u.sizes[key] = n
	return n
}

func (u *crowd) distinct(g, cell int, take func(b int) bool) int64 {
	seen := map[uint64]bool{}
	s := &system{}
	for d := range u.truth.Dimensions {
		s.size = append(s.size, len(u.truth.Dimensions[d].Leaves))
	}
	s.bases(u.views[g], u.views[g].at(cell), func(b int) {
		if take(b) {
			for _, w := range u.at[b] {
				seen[w] = true
			}
		}
	})
	return int64(len(seen))
}

// rest is the crowd left of a shown cell, when the shown cells of a grouping
// between are taken off, and then those of a finer one, if b is in it and
// somebody is left.
func (u *crowd) rest(g, cell, middle, fine, b int) (int64, bool) {
	left := func(x int) bool {
		return !u.isShown(fine, u.cell(fine, x)) && (middle == g || middle == fine || !u.isShown(middle, u.cell(middle, x)))
	}
	if fine == g || !left(b) || middle != g && middle != fine && !(u.beneath(g, middle) && u.beneath(middle, fine)) {
		return 0, false
	}
	key := [4]int{g, cell, middle, fine}
	n, ok := u.rests[key]
	if !ok {
		n = u.distinct(g, cell, left)
		u.rests[key] = n
	}
	return n, n > 0
}

// beneath reports whether each code of fine lies in one of g.
func (u *crowd) beneath(g, fine int) bool {
	for d := range u.views[fine].members {
		for _, leaves := range u.views[fine].members[d] {
			for _, l := range leaves {
				if u.ofLeaf[g][d][l] != u.ofLeaf[g][d][leaves[0]] {
					return false
				}
			}
		}
	}
	return true
}
