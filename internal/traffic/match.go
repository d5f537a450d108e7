package traffic

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// Which participants are on a link.
const (
	// metresPerDegree of latitude, on a sphere of the equator's radius: lengths are
	// within 0.4 % of those on the ellipsoid.
	metresPerDegree = 111_320.0
	// stray is how far beyond the width of a link, to either side of its line, a
	// participant may be, and beyond how far before its begin or behind its end.
	stray  = 2.0
	beyond = 10.0
	// turned is how many degrees off the direction of the link it may head.
	turned = 45.0
	// Detector is how far before the end of a link, which is the stop line,
	// vehicles are counted, in metres. A link of less than twice that is counted
	// in its middle.
	Detector = 30.0
)

// net are the links of a unit's map in metres, with an index of places. It does
// not change once it is built.
type net struct {
	at       road.Position // the origin
	perLon   float64       // metres of a degree of longitude there
	links    []link
	segments []segment

	// The index: cells of a grid, and which segments are near each.
	x, y          float64 // the corner with the lowest coordinates
	size          float64 // of a cell
	columns, rows int
	first         []uint32 // of a cell in near; one more than there are cells
	near          []uint16
}

// link is a road to a node.
type link struct {
	from, to uint32 // as cells have them
	ordinal  uint32 // of those between the same nodes
	name     string
	line     []road.Position
	length   float64
	detector float64 // metres from its begin
	limit    float64
	lanes    int     // one at least
	lane     []strip // those with points
	kept     *kept
}

// kept is of a link what goes on when the map changes.
type kept struct {
	queue   queue
	numbers numbers
	sensed  time.Time // when sensors last saw somebody on it
	passed  int64     // when they last saw a motor vehicle pass the detector, µs
}

// strip is a lane.
type strip struct {
	id       uint8
	noMotor  bool
	phases   []uint8 // that let it go
	segments []segment
}

// segment is a straight piece of a link.
type segment struct {
	link    int
	x, y    float64 // its begin
	dx, dy  float64 // its direction
	length  float64
	from    float64 // metres of the link before it
	heading float64 // degrees
	reach   float64 // metres to either side
	before  float64 // metres that it goes on before its begin, and behind its end
	behind  float64
}

// origin sets the origin, where it is not set.
func (n *net) origin(p road.Position) {
	if n.perLon == 0 {
		n.at, n.perLon = p, metresPerDegree*math.Cos(p.Lat*math.Pi/180)
	}
}

func (n *net) metres(lat, lon float64) (x, y float64) {
	return (lon - n.at.Lon) * n.perLon, (lat - n.at.Lat) * metresPerDegree
}

// join adds a link, unless it has no length.
func (n *net) join(to *charted, l *road.Link, line []road.Position, old *net) {
	out := link{from: nodeCell(l.From), to: nodeCell(to.ID), name: l.Name, line: line, limit: l.Limit, lanes: max(1, len(l.Lanes))}
	for i := range n.links {
		if o := &n.links[i]; o.from == out.from && o.to == out.to {
			out.ordinal++
		}
	}
	width := l.Width
	if math.IsNaN(width) {
		width = usualLane * float64(out.lanes)
	}
	segments := n.cut(line, width+stray)
	if len(segments) == 0 {
		return
	}
	for i := range segments {
		segments[i].link = len(n.links)
	}
	last := &segments[len(segments)-1]
	out.length = last.from + last.length
	out.detector = max(out.length-Detector, out.length/2)
	for i := range l.Lanes {
		lane := &l.Lanes[i]
		if pieces := n.cut(lane.Points, cmp.Or(known0(lane.Width), usualLane)/2+stray); len(pieces) > 0 {
			out.lane = append(out.lane, strip{lane.ID, lane.NoMotor, phasesOf(lane.To, l.Movements), pieces})
		}
	}
	out.kept = &kept{numbers: noNumbers()}
	if o := old.same(&out); o != nil {
		out.kept = o.kept
	}
	n.links, n.segments = append(n.links, out), append(n.segments, segments...)
}

// phasesOf are the phases that let a lane go: its own, or those of its link.
func phasesOf(lane, link []road.Movement) (phases []uint8) {
	for _, all := range [][]road.Movement{lane, link} {
		for _, m := range all {
			if m.HasPhase {
				phases = append(phases, m.Phase)
			}
		}
		if len(phases) > 0 {
			break
		}
	}
	return phases
}

func known0(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// same is the link that is called as another; nil when there is none.
func (n *net) same(as *link) *link {
	if n == nil {
		return nil
	}
	for i := range n.links {
		if o := &n.links[i]; o.from == as.from && o.to == as.to && o.ordinal == as.ordinal {
			return o
		}
	}
	return nil
}

// cut makes pieces of a line.
func (n *net) cut(line []road.Position, reach float64) (out []segment) {
	for i := 1; i < len(line); i++ {
		x0, y0 := n.metres(line[i-1].Lat, line[i-1].Lon)
		x1, y1 := n.metres(line[i].Lat, line[i].Lon)
		length := math.Hypot(x1-x0, y1-y0)
		if length < 0.01 || length > 100_000 { // a point twice, or elsewhere on earth
			continue
		}
		s := segment{x: x0, y: y0, dx: (x1 - x0) / length, dy: (y1 - y0) / length, length: length, reach: reach}
		if s.heading = math.Atan2(s.dx, s.dy) * 180 / math.Pi; s.heading < 0 {
			s.heading += 360
		}
		if n := len(out); n > 0 {
			s.from = out[n-1].from + out[n-1].length
		}
		out = append(out, s)
	}
	if len(out) > 0 {
		out[0].before, out[len(out)-1].behind = beyond, beyond
	}
	return out
}

const (
	maxGrid     = 64      // cells to a side
	leastCell   = 25.0    // metres to a side of a cell
	maxNear     = 1 << 18 // pieces in all cells
	maxSegments = 1 << 16
)

// index makes the grid, the finest that has room.
func (n *net) index() {
	if len(n.segments) == 0 || len(n.segments) > maxSegments {
		n.segments = nil
		return
	}
	low, high := [2]float64{math.Inf(1), math.Inf(1)}, [2]float64{math.Inf(-1), math.Inf(-1)}
	for i := range n.segments {
		a, b := n.segments[i].box()
		for k := range 2 {
			low[k], high[k] = min(low[k], a[k]), max(high[k], b[k])
		}
	}
	n.x, n.y = low[0], low[1]
	for grid := maxGrid; ; grid /= 2 {
		n.size = max(leastCell, (high[0]-low[0])/float64(grid), (high[1]-low[1])/float64(grid))
		n.columns, n.rows = int((high[0]-low[0])/n.size)+1, int((high[1]-low[1])/n.size)+1
		total := 0
		for i := range n.segments {
			c := n.covered(i)
			total += (c[2] - c[0] + 1) * (c[3] - c[1] + 1)
		}
		if total <= maxNear || grid == 1 {
			break
		}
	}
	n.first = make([]uint32, n.columns*n.rows+1)
	n.cover(func(cell int, _ uint16) { n.first[cell+1]++ })
	for i := 1; i < len(n.first); i++ {
		n.first[i] += n.first[i-1]
	}
	n.near = make([]uint16, n.first[len(n.first)-1])
	next := slices.Clone(n.first)
	n.cover(func(cell int, s uint16) {
		n.near[next[cell]] = s
		next[cell]++
	})
}

// cover tells which cells each segment may be near to.
func (n *net) cover(see func(cell int, segment uint16)) {
	for i := range n.segments {
		c := n.covered(i)
		for row := c[1]; row <= c[3]; row++ {
			for column := c[0]; column <= c[2]; column++ {
				see(row*n.columns+column, uint16(i))
			}
		}
	}
}

// covered are the first column and row that a segment is near to, and the last.
func (n *net) covered(i int) [4]int {
	a, b := n.segments[i].box()
	return [4]int{int((a[0] - n.x) / n.size), int((a[1] - n.y) / n.size), int((b[0] - n.x) / n.size), int((b[1] - n.y) / n.size)}
}

// box is where somebody may be who is on a segment.
func (s *segment) box() (low, high [2]float64) {
	d := s.reach + beyond
	x1, y1 := s.x+s.dx*s.length, s.y+s.dy*s.length
	return [2]float64{min(s.x, x1) - d, min(s.y, y1) - d}, [2]float64{max(s.x, x1) + d, max(s.y, y1) + d}
}

// off is how far a place is from a segment, to its side, and where along the
// link; false when it is out of reach.
func (s *segment) off(x, y float64) (aside, along float64, ok bool) {
	x, y = x-s.x, y-s.y
	along, aside = x*s.dx+y*s.dy, math.Abs(x*s.dy-y*s.dx)
	switch {
	case along < -s.before:
		if s.before > 0 {
			return 0, 0, false
		}
		along, aside = 0, math.Hypot(aside, along) // at a bend there is a wedge that no piece covers
	case along > s.length+s.behind:
		if s.behind > 0 {
			return 0, 0, false
		}
		along, aside = s.length, math.Hypot(aside, along-s.length)
	}
	if aside > s.reach {
		return 0, 0, false
	}
	return aside, s.from + along, true
}

// away is how many degrees two headings differ.
func away(a, b float64) float64 {
	d := math.Abs(a - b)
	return min(d, math.Abs(360-d))
}

// place is where somebody is on a map.
type place struct {
	x, y  float64 // metres
	link  *link   // the nearest that leads where they head; nil: none
	along float64 // metres from its begin
	// facing is the nearest link that leads where they come from; nil: none.
	facing *link
	back   float64 // metres from its begin
}

// match finds the links that somebody is on: the nearest that leads where they
// head, for pedestrians the nearest, and for others the nearest that they face.
func (n *net) match(p *road.Participant, at *place) {
	if n == nil || len(n.segments) == 0 {
		return
	}
	at.x, at.y = n.metres(p.Lat, p.Lon)
	gx, gy := (at.x-n.x)/n.size, (at.y-n.y)/n.size
	if !(gx >= 0 && gy >= 0 && gx < float64(n.columns) && gy < float64(n.rows)) { // NaN as well
		return
	}
	cell := int(gy)*n.columns + int(gx)
	best, opposite := math.Inf(1), math.Inf(1)
	for _, i := range n.near[n.first[cell]:n.first[cell+1]] {
		s := &n.segments[i]
		off := away(p.Heading, s.heading)
		ahead := off <= turned || p.Type == road.Pedestrian
		if !ahead && !(off >= wrongHeading) {
			continue
		}
		d, m, ok := s.off(at.x, at.y)
		switch {
		case !ok:
		case ahead && d < best:
			best, at.along, at.link = d, m, &n.links[s.link]
		case !ahead && d < opposite:
			opposite, at.back, at.facing = d, m, &n.links[s.link]
		}
	}
}

// lies reports the lane for motor vehicles that a place is on, at least so many
// metres within its edges; nil when it is on none.
func (l *link) lies(x, y, within float64) (lane *strip) {
	best := math.Inf(1)
	for i := range l.lane {
		if l.lane[i].noMotor {
			continue
		}
		for j := range l.lane[i].segments {
			s := &l.lane[i].segments[j]
			if d, _, on := s.off(x, y); on && d <= s.reach-stray-within && d < best {
				best, lane = d, &l.lane[i]
			}
		}
	}
	return lane
}

// on is a place on the line of a link, so many metres from its begin.
func (n *net) on(l *link, along float64) road.Position {
	for i := range n.segments {
		s := &n.segments[i]
		if &n.links[s.link] != l || along > s.from+s.length && s.behind == 0 {
			continue
		}
		d := along - s.from
		return road.Position{Lat: n.at.Lat + (s.y+s.dy*d)/metresPerDegree, Lon: n.at.Lon + (s.x+s.dx*d)/n.perLon}
	}
	return n.at
}

// laneAt is the lane of a link that a place is on; false when it cannot be known.
func (l *link) laneAt(x, y float64) (id uint8, ok bool) {
	best := math.Inf(1)
	for i := range l.lane {
		for j := range l.lane[i].segments {
			if d, _, on := l.lane[i].segments[j].off(x, y); on && d < best {
				best, id, ok = d, l.lane[i].id, true
			}
		}
	}
	return id, ok
}
