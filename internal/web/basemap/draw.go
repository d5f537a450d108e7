// Package basemap draws the maps that lie under data: tiles of 256 × 256 pixels in
// Web Mercator, as all map programs ask for them, made of the roads that roadside
// units told. The ground is transparent, so that tiles suit light pages and dark
// ones. Nothing is fetched from elsewhere.
package basemap

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"

	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/traffic"
)

// Bounds of zooms: a province to a lane.
const (
	MinZoom = 3
	MaxZoom = 19
	// Size of a tile in pixels.
	Size = 256
)

// maxLatitude is where Web Mercator is cut into a square.
const maxLatitude = 85.05112878

// Project is where a position lies on the world that is one tile at zoom 0: x to
// the east, y to the south, 0 to 1.
func Project(p road.Position) (x, y float64) {
	lat := min(max(p.Lat, -maxLatitude), maxLatitude) * math.Pi / 180
	return p.Lon/360 + .5, .5 - math.Log(math.Tan(math.Pi/4+lat/2))/(2*math.Pi)
}

// Unproject is the position of a place of the world.
func Unproject(x, y float64) road.Position {
	return road.Position{Lat: math.Atan(math.Sinh(math.Pi*(1-2*y))) * 180 / math.Pi, Lon: (x - .5) * 360}
}

// Net is a road net, ready to be drawn.
type Net struct {
	lines []line
	nodes []point
	// Version changes with what is drawn.
	Version uint64
}

type point struct{ x, y float64 }

type line struct {
	points   []point
	min, max point
}

// NewNet returns the net of links. Directions of one road lie on one another and
// are drawn once.
func NewNet(links []traffic.LinkView) *Net {
	n := &Net{}
	seen := map[uint64]bool{}
	for i := range links {
		l := line{min: point{math.Inf(1), math.Inf(1)}, max: point{math.Inf(-1), math.Inf(-1)}}
		for _, p := range links[i].Points {
			x, y := Project(p)
			if math.IsNaN(x) || math.IsNaN(y) {
				continue
			}
			l.points = append(l.points, point{x, y})
			l.min, l.max = point{min(l.min.x, x), min(l.min.y, y)}, point{max(l.max.x, x), max(l.max.y, y)}
		}
		if h := l.hash(); len(l.points) > 1 && !seen[h] {
			seen[h] = true
			n.lines = append(n.lines, l)
			n.Version += h // the order of links means nothing
		}
	}
	for _, p := range traffic.Places(links) {
		if x, y := Project(p); !math.IsNaN(x) && !math.IsNaN(y) {
			n.nodes = append(n.nodes, point{x, y})
		}
	}
	return n
}

// hash is one of the points in either direction.
func (l *line) hash() (h uint64) {
	for _, p := range l.points {
		one := math.Float64bits(math.Round(p.x*1e10))*0x9e3779b97f4a7c15 ^ math.Float64bits(math.Round(p.y*1e10))
		one ^= one >> 29
		h += one * 0xbf58476d1ce4e5b9
	}
	return h
}

// The palette: what is drawn later has higher numbers, and the highest number of a
// pixel counts.
const (
	shades    = 16 // of an edge, so that it looks smooth
	gridColor = 1
	textColor = 2
	roadBase  = 3
	nodeBase  = roadBase + shades
)

var palette = func() color.Palette {
	p := color.Palette{color.NRGBA{}, color.NRGBA{128, 146, 141, 60}, color.NRGBA{112, 130, 125, 170}}
	for _, c := range []color.NRGBA{{138, 154, 149, 150}, {122, 139, 134, 200}} {
		for i := range shades {
			c := c
			c.A = uint8(int(c.A) * (i + 1) / shades)
			p = append(p, c)
		}
	}
	return p
}()

// Draw draws a tile as PNG; false for one that is beyond the bounds.
func (n *Net) Draw(z, x, y int) ([]byte, bool) {
	if z < MinZoom || z > MaxZoom || x < 0 || y < 0 || x >= 1<<z || y >= 1<<z {
		return nil, false
	}
	t := &tile{Paletted: image.NewPaletted(image.Rect(0, 0, Size, Size), palette), scale: Size * math.Exp2(float64(z)), x: float64(x * Size), y: float64(y * Size)}
	t.graticule(z)
	width := widthOf(z)
	for i := range n.lines {
		if l := &n.lines[i]; t.near(l.min, l.max, width) {
			t.polyline(l.points, width)
		}
	}
	if z >= 14 {
		for _, p := range n.nodes {
			if t.near(p, p, 2*width) {
				a := t.at(p)
				t.capsule(a, a, 1.1*width, nodeBase)
			}
		}
	}
	var out bytes.Buffer
	e := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := e.Encode(&out, t); err != nil {
		panic(err) // a buffer takes everything
	}
	return out.Bytes(), true
}

// widthOf is half of the width of a road in pixels: its 14 m, and never so little
// that it cannot be seen.
func widthOf(z int) float64 {
	const metresAtZoom0 = 40_075_017.0 / Size * .72 // at the latitude of Jilin
	return min(max(7/(metresAtZoom0/math.Exp2(float64(z))), .8), 24)
}

type tile struct {
	*image.Paletted
	scale, x, y float64 // pixels of the world, and of the tile's corner
}

func (t *tile) at(p point) point { return point{p.x*t.scale - t.x, p.y*t.scale - t.y} }

// near reports whether what lies between two corners touches the tile.
func (t *tile) near(low, high point, margin float64) bool {
	a, b := t.at(low), t.at(high)
	return a.x < Size+margin && a.y < Size+margin && b.x > -margin && b.y > -margin
}

func (t *tile) polyline(points []point, width float64) {
	for i := 1; i < len(points); i++ {
		t.capsule(t.at(points[i-1]), t.at(points[i]), width, roadBase)
	}
}

// capsule fills what is no further than r from the line a to b, its edge in
// shades. It looks at the pixels near the line only.
func (t *tile) capsule(a, b point, r float64, base uint8) {
	dx, dy := b.x-a.x, b.y-a.y
	length := math.Hypot(dx, dy)
	reach := r + 1
	for y := max(0, int(min(a.y, b.y)-reach)); y <= min(Size-1, int(max(a.y, b.y)+reach)); y++ {
		low, high := min(a.x, b.x)-reach, max(a.x, b.x)+reach
		if math.Abs(dy) > 1e-9 { // where the strip around the line crosses this row
			middle := a.x + (float64(y)+.5-a.y)*dx/dy
			side := reach * length / math.Abs(dy)
			low, high = max(low, middle-side), min(high, middle+side)
		}
		for x := max(0, int(low)); x <= min(Size-1, int(high)); x++ {
			px, py := float64(x)+.5-a.x, float64(y)+.5-a.y
			along := 0.0
			if length > 0 {
				along = min(max((px*dx+py*dy)/(length*length), 0), 1)
			}
			cover := min(r+.5-math.Hypot(px-along*dx, py-along*dy), 1)
			if cover <= 0 {
				continue
			}
			shade := base + uint8(cover*(shades-1))
			if at := y*Size + x; shade > t.Pix[at] {
				t.Pix[at] = shade
			}
		}
	}
}

// graticule draws lines of whole degrees or parts of them, with their numbers
// where they cross.
func (t *tile) graticule(z int) {
	step := 10.0
	for _, s := range []float64{5, 2, 1, .5, .2, .1, .05, .02, .01, .005, .002, .001} {
		if s/360*t.scale < 160 {
			break
		}
		step = s
	}
	digits := max(0, int(math.Ceil(-math.Log10(step)-1e-9)))
	const margin = 64.0 // so far numbers reach into neighbours
	northWest := Unproject((t.x-margin)/t.scale, (t.y-margin)/t.scale)
	southEast := Unproject((t.x+Size+margin)/t.scale, (t.y+Size+margin)/t.scale)
	for i := math.Ceil(northWest.Lon / step); i*step <= southEast.Lon; i++ {
		x, _ := Project(road.Position{Lon: i * step})
		px := int(math.Floor(x*t.scale - t.x))
		for y := range Size {
			t.grid(px, y)
		}
		for j := math.Ceil(southEast.Lat / step); j*step <= northWest.Lat; j++ {
			_, y := Project(road.Position{Lat: j * step})
			py := int(math.Floor(y*t.scale - t.y))
			t.label(px+4, py+4, degrees(j*step, digits, 'N', 'S'))
			t.label(px+4, py+12, degrees(i*step, digits, 'E', 'W'))
		}
	}
	for j := math.Ceil(southEast.Lat / step); j*step <= northWest.Lat; j++ {
		_, y := Project(road.Position{Lat: j * step})
		for x := range Size {
			t.grid(x, int(math.Floor(y*t.scale-t.y)))
		}
	}
}

func (t *tile) grid(x, y int) {
	if x >= 0 && y >= 0 && x < Size && y < Size {
		t.Pix[y*Size+x] = max(t.Pix[y*Size+x], gridColor)
	}
}
