package roads

import (
	"math"
	"time"
)

// The net is a grid of avenues around the middle of Changchun: each node is an
// intersection with signals and a roadside unit, each pair of neighbours has a
// link in both directions.
const (
	originLat, originLon = 43.86, 125.30
	spacing              = 500.0 // metres between nodes
	stopLine             = 20.0  // metres before the node, where a link ends
	laneWidth            = 3.5
	metresPerDegree      = 111_320.0
	// Detector is how far before its stop line a link is counted.
	Detector = 30.0
	// Region is that of all nodes.
	Region = 2201
)

// direction is where a link leads.
type direction int

const (
	north direction = iota
	east
	south
	west
)

func (d direction) step() (dx, dy float64) {
	switch d {
	case north:
		return 0, 1
	case east:
		return 1, 0
	case south:
		return 0, -1
	}
	return -1, 0
}

// heading is in degrees clockwise from north.
func (d direction) heading() float64 { return float64(d) * 90 }

func (d direction) turned(by int) direction { return (d + direction(by) + 4) % 4 }

// node is an intersection.
type node struct {
	id   uint16 // from 1
	x, y float64
	in   [4]*link // by the direction of travel; nil at the edge
	out  [4]*link
	// shift is when its cycle begins.
	shift time.Duration
}

// link is a road to a node, of one lane.
type link struct {
	from, to *node
	way      direction
	length   float64    // to the stop line
	cars     []*vehicle // the first is nearest to the stop line
}

func newNet(n int, shift func() time.Duration) []*node {
	columns := int(math.Ceil(math.Sqrt(float64(n))))
	all := make([]*node, n)
	for i := range all {
		all[i] = &node{id: uint16(i + 1), x: float64(i%columns) * spacing, y: float64(i/columns) * spacing, shift: shift()}
	}
	join := func(a, b int, d direction) {
		if b >= n {
			return
		}
		for _, l := range []*link{{from: all[a], to: all[b], way: d}, {from: all[b], to: all[a], way: d.turned(2)}} {
			l.length = spacing - 2*stopLine
			l.from.out[l.way], l.to.in[l.way] = l, l
		}
	}
	for i := range all {
		if (i+1)%columns != 0 {
			join(i, i+1, east)
		}
		join(i, i+columns, north)
	}
	return all
}

// place is so many metres along a link, in degrees.
func (l *link) place(s float64) (lat, lon float64) {
	dx, dy := l.way.step()
	s += stopLine // links begin behind the node
	return degrees(l.from.x+dx*s, l.from.y+dy*s)
}

func degrees(x, y float64) (lat, lon float64) {
	return originLat + y/metresPerDegree, originLon + x/(metresPerDegree*math.Cos(originLat*math.Pi/180))
}

// The phases of an intersection: those who go north or south, then those who go
// east or west, each green, yellow, and red for all.
const (
	phaseNorthSouth = 1
	phaseEastWest   = 2

	greenTime  = 25 * time.Second
	yellowTime = 3 * time.Second
	clearTime  = 2 * time.Second
	half       = greenTime + yellowTime + clearTime
	cycle      = 2 * half
)

// light is what a phase shows.
type light int

const (
	red light = iota
	green
	yellow
)

func phaseOf(d direction) int {
	if d == north || d == south {
		return phaseNorthSouth
	}
	return phaseEastWest
}

// light is what a phase shows at a time, and until when.
func (n *node) light(phase int, t time.Time) (light, time.Time) {
	in := (time.Duration(t.UnixNano()%int64(cycle)) + n.shift) % cycle
	if phase == phaseEastWest {
		in = (in + half) % cycle
	}
	switch {
	case in < greenTime:
		return green, t.Add(greenTime - in)
	case in < greenTime+yellowTime:
		return yellow, t.Add(greenTime + yellowTime - in)
	}
	return red, t.Add(cycle - in)
}
