package source

import (
	"math/rand/v2"
	"testing"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// TestLateVehiclesAreNew: minutes come late, of links on which some vehicles go round;
// a cell is said to be changed by no more vehicles than truly are in those minutes,
// and of the busy links by some. A quarter of which something was taken back is said
// nothing of.
func TestLateVehiclesAreNew(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	links := []Link{{Code: "busy"}, {Code: "quiet"}, {Code: "replaced"}}
	all, told, later := truth{}, truth{}, truth{}
	vehicle := 100
	for m := range int64(24 * 60) {
		for range 12 {
			vehicle++
			all.pass("busy", m, vehicle)
			all.pass("replaced", m, vehicle)
		}
		all.pass("quiet", m, int(m%5)) // five that go round
	}
	come := func(w truth, share int) {
		for link, by := range all {
			for m, who := range by {
				if w[link][m] == nil && rng.IntN(100) < share {
					for _, v := range who {
						w.pass(link, m, v)
					}
				}
			}
		}
	}
	come(told, 80)
	terms := RoadTerms{Returning: 2, Grown: func(link string, _ int64) bool { return link != "replaced" }}
	first := told.table(t, links, terms)
	for link, by := range told {
		for m, who := range by {
			for _, v := range who {
				later.pass(link, m, v)
			}
		}
	}
	come(later, 50)
	second := later.table(t, links, terms)
	Late(second, []*gate.Table{first}, func(link string, m int64) Passages {
		n := int64(len(later[link][m-aDay.From.Unix()/60]))
		return Passages{n, 11_000 * n}
	}, terms.Returning)
	some := false
	for i, c := range second.Cells {
		link, fresh := links[i/96].Code, map[int]bool{}
		for m := int64(i % 96 * 15); m < int64(i%96*15+15); m++ {
			for _, v := range later[link][m] {
				if told[link][m] == nil {
					fresh[v] = true
				}
			}
		}
		if c.Changed > int64(len(fresh)) || link == "replaced" && c.Changed > 0 {
			t.Errorf("%s, quarter %d: changed by at least %d, and truly %d", link, i%96, c.Changed, len(fresh))
		}
		some = some || link == "busy" && c.Changed >= 12
	}
	if !some {
		t.Error("nothing is known to have come late")
	}
	// Minutes that do not come to what they came to then tell nothing.
	first.Cells[0].Values[0]++
	second.Cells[0].Changed = 0
	Late(second, []*gate.Table{first}, func(string, int64) Passages { return Passages{99, 99} }, 1)
	if n := second.Cells[0].Changed; n != 0 {
		t.Errorf("%d vehicles are new where what was told before is not there any more", n)
	}
}
