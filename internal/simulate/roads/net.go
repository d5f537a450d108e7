package roads

import (
	"math"
	"time"
)

// The net is that of the avenues around the middle of Changchun: they cross at
// right angles, in blocks that differ, and turned as Renmin Street is. Each
// crossing is an intersection with signals and a roadside unit, each pair of
// neighbours has a link in both directions.
const (
	originLat, originLon = 43.86, 125.30
	tilt                 = 10.0 // degrees clockwise from north, of the avenues
	stopLine             = 20.0 // metres before the node, where a link ends
	laneWidth            = 3.5
	metresPerDegree      = 111_320.0
	cosOrigin            = 0.721035 // of originLat
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

// step is the way of one metre, east and north.
func (d direction) step() (dx, dy float64) {
	sin, cos := math.Sincos(d.heading() * math.Pi / 180)
	return sin, cos
}

// heading is in degrees clockwise from north.
func (d direction) heading() float64 { return float64(d)*90 + tilt }

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
	dx, dy   float64    // of a metre, east and north
	length   float64    // to the stop line
	cars     []*vehicle // the first is nearest to the stop line
}

func newNet(n int, shift func() time.Duration) []*node {
	columns := int(math.Ceil(math.Sqrt(float64(n))))
	all := make([]*node, n)
	for i := range all {
		along, across := north, east
		ax, ay := along.step()
		cx, cy := across.step()
		up, right := avenue(i/columns, blocksNorth), avenue(i%columns, blocksEast)
		all[i] = &node{id: uint16(i + 1), x: ax*up + cx*right, y: ay*up + cy*right, shift: shift()}
	}
	join := func(a, b int, d direction) {
		if b >= n {
			return
		}
		for _, l := range []*link{{from: all[a], to: all[b], way: d}, {from: all[b], to: all[a], way: d.turned(2)}} {
			l.length = math.Hypot(l.to.x-l.from.x, l.to.y-l.from.y) - 2*stopLine
			l.dx, l.dy = l.way.step()
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

// blocksNorth and blocksEast are the lengths of blocks in metres, over and over.
var (
	blocksNorth = []float64{480, 560, 420, 640, 500}
	blocksEast  = []float64{520, 400, 610, 450, 700, 380}
)

// avenue is how far from the first avenue another one is, in metres.
func avenue(n int, blocks []float64) (metres float64) {
	for i := range n {
		metres += blocks[i%len(blocks)]
	}
	return metres
}

// place is so many metres along a link, in degrees.
func (l *link) place(s float64) (lat, lon float64) {
	s += stopLine // links begin behind the node
	return degrees(l.from.x+l.dx*s, l.from.y+l.dy*s)
}

func degrees(x, y float64) (lat, lon float64) {
	return originLat + y/metresPerDegree, originLon + x/(metresPerDegree*cosOrigin)
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
