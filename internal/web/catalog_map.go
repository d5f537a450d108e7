package web

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/road"
)

// The map of coverage, in pixels: the middle of the map that others have.
const (
	coverWide, coverHigh = 720, 400
	coverFitWide         = 560
	coverFitHigh         = 320
	// nameWide and nameHigh are what the name of a town takes.
	nameWide, nameHigh = 92, 17
)

// coverMap is where the data of a dataset come from.
type coverMap struct {
	ViewBox string
	Base    mapView // tiles and scale
	Box     *coverBox
	Lines   []string
	Spots   []dot
	Places  []coverPlace
	Area    catalog.Box
	Known   bool // Area is
}

type coverBox struct{ X, Y, Wide, High string }

type coverPlace struct {
	dot
	Key string // of the division code
}

// capitals are the seats of the divisions that are named on maps.
var capitals = map[string]road.Position{
	"220100": {Lat: 43.886, Lon: 125.324}, "220200": {Lat: 43.838, Lon: 126.550}, "220300": {Lat: 43.166, Lon: 124.350}, "220400": {Lat: 42.888, Lon: 125.144},
	"220500": {Lat: 41.728, Lon: 125.940}, "220600": {Lat: 41.943, Lon: 126.424}, "220700": {Lat: 45.141, Lon: 124.825}, "220800": {Lat: 45.619, Lon: 122.839}, "222400": {Lat: 42.891, Lon: 129.509},
}

// coverOf draws an area and places of rows; nil where nothing is known of it.
func coverOf(area *catalog.Box, marks []mark) *coverMap {
	var all []road.Position
	m := &coverMap{ViewBox: fmt.Sprintf("%d %d %d %d", (mapWide-coverWide)/2, (mapHigh-coverHigh)/2, coverWide, coverHigh)}
	if area != nil && area.Sound() {
		m.Area, m.Known = *area, true
		all = append(all, road.Position{Lat: area.North, Lon: area.West}, road.Position{Lat: area.South, Lon: area.East})
	}
	for _, k := range marks {
		all = append(all, k.line...)
	}
	if len(all) == 0 {
		return nil
	}
	c := fit(all, coverFitWide, coverFitHigh)
	m.Base.tiles(&c)
	for i := range m.Base.Tiles {
		m.Base.Tiles[i].Href = strings.Replace(m.Base.Tiles[i].Href, "/basemap/", "/catalog/basemap/", 1)
	}
	m.Base.scale(&c)
	if m.Known {
		west, north := c.at(all[0])
		east, south := c.at(all[1])
		if east-west < 8 && south-north < 8 { // one place: a ring around it
			m.Spots = append(m.Spots, dot{pixel((west + east) / 2), pixel((north + south) / 2)})
		} else {
			m.Box = &coverBox{pixel(west), pixel(north), pixel(east - west), pixel(south - north)}
		}
	}
	for _, k := range marks {
		if len(k.line) == 1 {
			x, y := c.at(k.line[0])
			m.Spots = append(m.Spots, dot{pixel(x), pixel(y)})
			continue
		}
		var line []string
		for _, at := range k.line {
			x, y := c.at(at)
			line = append(line, pixel(x)+","+pixel(y))
		}
		m.Lines = append(m.Lines, strings.Join(line, " "))
	}
	m.name(&c)
	return m
}

// name writes the towns, those that come first where two would cover one another.
func (m *coverMap) name(c *camera) {
	const left, right, top, bottom = (mapWide-coverWide)/2 + 10, (mapWide+coverWide)/2 - nameWide, (mapHigh-coverHigh)/2 + 20, (mapHigh+coverHigh)/2 - 30
	type spot struct{ x, y float64 }
	var taken []spot
	for _, r := range regions() {
		at, known := capitals[r.key]
		if !known {
			continue
		}
		x, y := c.at(at)
		covered := slices.ContainsFunc(taken, func(other spot) bool {
			return math.Abs(other.x-x) < nameWide && math.Abs(other.y-y) < nameHigh
		})
		if !covered && x > left && x < right && y > top && y < bottom {
			taken = append(taken, spot{x, y})
			m.Places = append(m.Places, coverPlace{dot{pixel(x), pixel(y)}, r.key})
		}
	}
}

// degrees writes an angle.
func degrees(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) + "°" }
