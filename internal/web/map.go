package web

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/web/basemap"
)

// The map, in pixels of a wide page; narrow ones show its middle.
const (
	mapWide, mapHigh = 1280, 520
	// fitWide and fitHigh are what is chosen to hold everything.
	fitWide, fitHigh = 480, 400
	maxDrawn         = 1500 // links, and as many of everything else
)

// mapView is the map as it is drawn.
type mapView struct {
	Wide, High int
	Zoom       int
	At         string // latitude and longitude of its middle
	Tiles      []mapTile
	Links      []mapLink
	Nodes      []mapNode
	Units      []mapUnit
	Events     []mapEvent
	Hidden     int // that are within the map and not drawn
	Nothing    bool
	In, Out    string // addresses; empty at the bounds
	All        string
	ScaleWide  int
	Scale      string
}

type mapTile struct {
	Href string
	X, Y int
}

type mapLink struct {
	Points, Class, Title string
}

type mapNode struct {
	X, Y   string
	Slices []mapSlice
	Href   string
	Name   string
	Faults int
}

type mapSlice struct{ Path, Class string }

type mapUnit struct {
	X, Y, State, Name, Href string
}

type mapEvent struct{ X, Y, Name, Href string }

// camera is where the map is looked at from.
type camera struct {
	zoom int
	x, y float64 // of the middle, in pixels of the world
}

func (c *camera) scale() float64 { return basemap.Size * math.Exp2(float64(c.zoom)) }

// at is where a position is on the map.
func (c *camera) at(p road.Position) (x, y float64) {
	x, y = basemap.Project(p)
	return x*c.scale() - c.x + mapWide/2, y*c.scale() - c.y + mapHigh/2
}

func (c *camera) middle() string {
	p := basemap.Unproject(c.x/c.scale(), c.y/c.scale())
	return fmt.Sprintf("%.6f,%.6f", p.Lat, p.Lon)
}

// to is the address of the map at another zoom.
func (c *camera) to(zoom int, q url.Values) string {
	if zoom < basemap.MinZoom || zoom > basemap.MaxZoom {
		return ""
	}
	next := url.Values{"z": {strconv.Itoa(zoom)}, "at": {c.middle()}}
	for name, v := range q {
		if name != "z" && name != "at" && name != "lang" {
			next[name] = v
		}
	}
	return address("/roads", next)
}

// look is the camera that an address asks for; else one that sees everything.
func look(q url.Values, all []road.Position) camera {
	lat, lon, _ := strings.Cut(q.Get("at"), ",")
	zoom, err := strconv.Atoi(q.Get("z"))
	p := road.Position{Lat: number(lat), Lon: number(lon)}
	if err == nil && zoom >= basemap.MinZoom && zoom <= basemap.MaxZoom && math.Abs(p.Lat) <= 85 && math.Abs(p.Lon) <= 180 {
		c := camera{zoom: zoom}
		x, y := basemap.Project(p)
		c.x, c.y = x*c.scale(), y*c.scale()
		return c
	}
	return fit(all, fitWide, fitHigh)
}

func number(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.NaN()
	}
	return v
}

func fit(all []road.Position, wide, high float64) camera {
	west, north, east, south := 1.0, 1.0, 0.0, 0.0
	for _, p := range all {
		if x, y := basemap.Project(p); !math.IsNaN(x) && !math.IsNaN(y) {
			west, east, north, south = min(west, x), max(east, x), min(north, y), max(south, y)
		}
	}
	if west > east { // nothing has a place: the province
		west, north = basemap.Project(road.Position{Lat: 46.3, Lon: 121.6})
		east, south = basemap.Project(road.Position{Lat: 40.9, Lon: 131.3})
	}
	c := camera{zoom: 17}
	for c.zoom > basemap.MinZoom && ((east-west)*c.scale() > wide || (south-north)*c.scale() > high) {
		c.zoom--
	}
	c.x, c.y = (west+east)/2*c.scale(), (north+south)/2*c.scale()
	return c
}

// seen reports whether what is at a place is on the map.
func seen(x, y float64) bool {
	return x > -40 && y > -40 && x < mapWide+40 && y < mapHigh+40
}

func pixel(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// mapOf draws the map of what there is.
func mapOf(v *roadsView, q url.Values, t map[string]string) mapView {
	var all []road.Position
	for i := range v.links {
		all = append(all, v.links[i].Points...)
	}
	for i := range v.Units {
		if v.Units[i].Placed {
			all = append(all, v.Units[i].Place)
		}
	}
	c := look(q, all)
	m := mapView{Wide: mapWide, High: mapHigh, Zoom: c.zoom, At: c.middle(), Nothing: len(all) == 0, In: c.to(c.zoom+1, q), Out: c.to(c.zoom-1, q), All: "/roads"}
	m.tiles(&c)
	m.links(&c, v.links, t)
	m.nodes(&c, v)
	m.units(&c, v.Units, t)
	m.events(&c, v)
	m.scale(&c)
	return m
}

func (m *mapView) tiles(c *camera) {
	left, top := c.x-mapWide/2, c.y-mapHigh/2
	most := 1 << c.zoom
	for y := max(0, int(math.Floor(top/basemap.Size))); y < most && float64(y*basemap.Size) < top+mapHigh; y++ {
		for x := max(0, int(math.Floor(left/basemap.Size))); x < most && float64(x*basemap.Size) < left+mapWide; x++ {
			m.Tiles = append(m.Tiles, mapTile{fmt.Sprintf("/basemap/%d/%d/%d.png", c.zoom, x, y), int(math.Round(float64(x*basemap.Size) - left)), int(math.Round(float64(y*basemap.Size) - top))})
		}
	}
}

// links draws each on the right of its middle, as one drives here.
func (m *mapView) links(c *camera, links []traffic.LinkView, t map[string]string) {
	beside := min(max(float64(c.zoom)-12, .5), 5)
	for i := range links {
		l := &links[i]
		var line []byte
		within := false
		for k, p := range l.Points {
			x, y := c.at(p)
			dx, dy := direction(c, l.Points, k)
			x, y = x-dy*beside, y+dx*beside
			within = within || seen(x, y)
			line = append(append(append(append(line, pixel(x)...), ','), pixel(y)...), ' ')
		}
		if len(l.Points) < 2 || !within {
			continue
		}
		if len(m.Links) == maxDrawn {
			m.Hidden++
			continue
		}
		m.Links = append(m.Links, mapLink{strings.TrimSpace(string(line)), "r-" + paceOf(l), linkTitle(l, t)})
	}
}

// direction is where a line leads at one of its points, as a vector of length 1.
func direction(c *camera, points []road.Position, k int) (dx, dy float64) {
	a, b := points[max(k-1, 0)], points[min(k+1, len(points)-1)]
	x1, y1 := c.at(a)
	x2, y2 := c.at(b)
	length := math.Hypot(x2-x1, y2-y1)
	if length == 0 || math.IsNaN(length) {
		return 0, 0
	}
	return (x2 - x1) / length, (y2 - y1) / length
}

func (m *mapView) nodes(c *camera, v *roadsView) {
	for i := range v.Intersections {
		n := &v.Intersections[i]
		if !n.Placed {
			continue
		}
		x, y := c.at(n.Place)
		switch {
		case !seen(x, y):
		case len(m.Nodes) == maxDrawn:
			m.Hidden++
		default:
			m.Nodes = append(m.Nodes, mapNode{pixel(x), pixel(y), sectors(n.Phases, radius(c.zoom)), n.Href, n.Name, len(n.Faults)})
		}
	}
}

func radius(zoom int) float64 { return min(max(float64(zoom)-7, 3), 10) }

// sectors are those of a disc, one for each phase, clockwise from the top.
func sectors(phases []traffic.PhaseView, r float64) (all []mapSlice) {
	if len(phases) == 1 {
		return []mapSlice{{fmt.Sprintf("M0,-%[1]g A%[1]g,%[1]g 0 1 1 0,%[1]g A%[1]g,%[1]g 0 1 1 0,-%[1]g Z", r), "l-" + phases[0].Light.String()}}
	}
	for i, p := range phases {
		a, b := 2*math.Pi*float64(i)/float64(len(phases)), 2*math.Pi*float64(i+1)/float64(len(phases))
		all = append(all, mapSlice{fmt.Sprintf("M0,0 L%s,%s A%g,%g 0 0 1 %s,%s Z", pixel(r*math.Sin(a)), pixel(-r*math.Cos(a)), r, r, pixel(r*math.Sin(b)), pixel(-r*math.Cos(b))), "l-" + p.Light.String()})
	}
	return all
}

func (m *mapView) units(c *camera, units []roadUnit, t map[string]string) {
	beside := radius(c.zoom) + 5
	for i := range units {
		u := &units[i]
		if !u.Placed {
			continue
		}
		x, y := c.at(u.Place)
		switch {
		case !seen(x, y):
		case len(m.Units) == maxDrawn:
			m.Hidden++
		default:
			m.Units = append(m.Units, mapUnit{pixel(x + beside), pixel(y - beside), u.State, u.Title() + " · " + t[u.State], u.Href()})
		}
	}
}

func (m *mapView) events(c *camera, v *roadsView) {
	for i := range v.Events {
		e := &v.Events[i]
		if !e.Active || !e.Placed {
			continue
		}
		x, y := c.at(e.Place)
		switch {
		case !seen(x, y):
		case len(m.Events) == maxDrawn:
			m.Hidden++
		default:
			m.Events = append(m.Events, mapEvent{pixel(x), pixel(y - 16), e.Name, "#" + e.Anchor})
		}
	}
}

// scale is a bar of a round length.
func (m *mapView) scale(c *camera) {
	p := basemap.Unproject(c.x/c.scale(), c.y/c.scale())
	metres := 40_075_017 * math.Cos(p.Lat*math.Pi/180) / c.scale()
	length := math.Pow(10, math.Floor(math.Log10(120*metres)))
	for _, f := range []float64{5, 2} {
		if f*length <= 120*metres {
			length *= f
			break
		}
	}
	m.ScaleWide = int(length / metres)
	m.Scale = figure(length) + " m"
	if length >= 1000 {
		m.Scale = figure(length/1000) + " km"
	}
}
