package traffic

import (
	"math"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// mapped is what the map says of the signals of a node.
type mapped struct {
	id     road.NodeID
	phases [256 / 64]uint64 // that movements have
	any    bool
	// clashes are pairs of phases, the lower first, that let ways go that cross.
	clashes map[[2]uint8]struct{}
	hash    uint64    // of what it was made of
	since   time.Time // when the map first said so, by event time
}

func (m *mapped) has(phase uint8) bool { return m.phases[phase/64]&(1<<(phase%64)) != 0 }

// way is a movement over the middle of a node, as bearings from there: it enters
// on the right of one arm and leaves on the right of another.
type way struct {
	link     int
	phase    uint8
	in, out  float64 // degrees, of the arms
	left     bool
	yielding bool // a left turn with the phase of the way straight on: it gives way to those who come
}

// beside is how far from the middle of its arm a way enters and leaves, in
// degrees seen from the node. Traffic keeps right.
const beside = 10

// maxWays bounds those of a node.
const maxWays = 256

// mapOf reads what a node of the map says of signals.
func mapOf(n *road.Node) *mapped {
	m := &mapped{id: n.ID, clashes: map[[2]uint8]struct{}{}}
	ways := waysOf(n, m)
	for i := range ways {
		for j := range ways[:i] {
			a, b := &ways[i], &ways[j]
			if a.phase == b.phase || a.link == b.link || !cross(a, b) || gives(a, b) || gives(b, a) {
				continue
			}
			m.clashes[[2]uint8{min(a.phase, b.phase), max(a.phase, b.phase)}] = struct{}{}
		}
	}
	return m
}

// waysOf are the movements whose arms the map shows, and notes all phases.
func waysOf(n *road.Node, m *mapped) (ways []way) {
	arms := map[road.NodeID]float64{}
	for i := range n.Links {
		if bearing, ok := armOf(n, &n.Links[i]); ok {
			arms[n.Links[i].From] = bearing
		}
	}
	for i := range n.Links {
		in, known := arms[n.Links[i].From]
		from := len(ways)
		movements(&n.Links[i], func(v *road.Movement) {
			m.phases[v.Phase/64] |= 1 << (v.Phase % 64)
			m.any = true
			out, ok := arms[v.To]
			if turn := around(out - in); known && ok && turn > beside && turn < 360-beside && len(ways) < maxWays {
				ways = append(ways, way{link: i, phase: v.Phase, in: in, out: out, left: turn < 135})
			}
		})
		for j := from; j < len(ways); j++ {
			for k := from; k < len(ways); k++ {
				ways[j].yielding = ways[j].yielding || ways[j].left && !ways[k].left && ways[j].phase == ways[k].phase
			}
		}
	}
	return ways
}

// hashOf is a number that is another when a node of the map says something else
// of signals.
func hashOf(n *road.Node) uint64 {
	h := uint64(14695981039346656037)
	mix := func(v uint64) { h = (h ^ v) * 1099511628211 }
	place := func(p road.Position) { mix(math.Float64bits(p.Lat)); mix(math.Float64bits(p.Lon)) }
	mix(uint64(nodeCell(n.ID)))
	place(n.At)
	for i := range n.Links {
		l := &n.Links[i]
		mix(uint64(nodeCell(l.From)))
		for _, p := range l.Points {
			place(p)
		}
		movements(l, func(v *road.Movement) { mix(uint64(nodeCell(v.To))<<8 | uint64(v.Phase)) })
	}
	return h
}

// movements calls f for each movement of a link, or of its lanes, that has a
// phase.
func movements(l *road.Link, f func(*road.Movement)) {
	for i := range l.Movements {
		if l.Movements[i].HasPhase {
			f(&l.Movements[i])
		}
	}
	for i := range l.Lanes {
		for j := range l.Lanes[i].To {
			if l.Lanes[i].To[j].HasPhase {
				f(&l.Lanes[i].To[j])
			}
		}
	}
}

// armOf is the bearing from the node of the road that a link comes on.
func armOf(n *road.Node, l *road.Link) (float64, bool) {
	points := l.Points
	if len(points) == 0 && len(l.Lanes) > 0 {
		points = l.Lanes[0].Points
	}
	for i := len(points) - 1; i >= 0; i-- {
		if d := metres(n.At, points[i]); d > 3 { // nearer, a lane beside the middle turns the bearing
			return bearing(n.At, points[i]), true
		}
	}
	return 0, false
}

// cross reports whether two ways cross: their ends alternate around the node.
// Ways that end in one arm merge, and do not cross.
func cross(a, b *way) bool {
	begin := around(a.in - beside)
	end := around(a.out + beside - begin)
	first, second := around(b.in-beside-begin), around(b.out+beside-begin)
	if around(a.out-b.out) < 1 || around(b.out-a.out) < 1 {
		return false
	}
	return (first < end) != (second < end)
}

// gives reports whether a gives way to b, which comes from the other side.
func gives(a, b *way) bool {
	opposite := around(a.in - b.in)
	return a.yielding && opposite > 135 && opposite < 225
}

// around is an angle from 0 to 360.
func around(degrees float64) float64 {
	d := math.Mod(degrees, 360)
	if d < 0 {
		d += 360
	}
	return d
}

// metres is the distance of two places that are near each other; NaN where one is
// not known.
func metres(a, b road.Position) float64 {
	return math.Hypot((b.Lat-a.Lat)*metresPerDegree, (b.Lon-a.Lon)*metresPerDegree*math.Cos(a.Lat*math.Pi/180))
}

func bearing(from, to road.Position) float64 {
	return around(math.Atan2((to.Lon-from.Lon)*math.Cos(from.Lat*math.Pi/180), to.Lat-from.Lat) * 180 / math.Pi)
}
