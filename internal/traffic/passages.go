package traffic

import (
	"cmp"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// Passages are the motor vehicles that sensors saw pass the detector of a link in
// a minute. Nobody passes the same detector twice in a minute: as many vehicles
// are different ones, which ids, that change, could not tell.
type Passages struct {
	From, To road.NodeID
	// Vehicles are all but special ones, and SpeedSum is the sum of their speeds in
	// mm/s.
	Vehicles, SpeedSum int64
	// Special are vehicles of police, fire, ambulance and the like.
	Special int64
}

// FastestPassage bounds what one passage adds to a sum of speeds, in mm/s: noise
// that is added to it hides no more.
const FastestPassage = 70_000

// releasable counts a passage for what is released of roads, or takes it back.
func (u *unit) releasable(at time.Time, l *link, special bool, speed int32, one float64) {
	if special {
		u.add(at, l.cell(SpecialVehicles, 0), one)
		return
	}
	u.add(at, l.cell(OrdinaryVehicles, 0), one)
	u.add(at, l.cell(OrdinarySpeed, 0), one*float64(min(max(0, speed), FastestPassage)))
}

// passagesOf are those of a minute, by link.
func (u *unit) passagesOf(w *window) (all []Passages) {
	by := map[[2]uint32]*Passages{}
	of := func(a, b uint32) *Passages {
		p := by[[2]uint32{a, b}]
		if p == nil {
			p = &Passages{From: nodeOf(a), To: nodeOf(b)}
			by[[2]uint32{a, b}] = p
		}
		return p
	}
	if u.net != nil {
		for i := range u.net.links {
			of(u.net.links[i].from, u.net.links[i].to)
		}
	}
	for c, v := range w.cells.all {
		switch c.Series {
		case OrdinaryVehicles:
			of(c.A, c.B).Vehicles = int64(v)
		case OrdinarySpeed:
			of(c.A, c.B).SpeedSum = int64(v)
		case SpecialVehicles:
			of(c.A, c.B).Special = int64(v)
		}
	}
	for _, p := range by {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b Passages) int {
		return cmp.Or(cmp.Compare(nodeCell(a.From), nodeCell(b.From)), cmp.Compare(nodeCell(a.To), nodeCell(b.To)))
	})
	return all
}
