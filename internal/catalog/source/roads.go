package source

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/release"
)

// Quarter is the finest bin of time of roads, and minutes is how many it has.
const (
	Quarter = 15 * time.Minute
	minutes = 15
)

// Passages are the motor vehicles of a minute at the detector of a link, without
// special ones, and the sum of their speeds in mm/s.
type Passages struct{ Vehicles, SpeedSum int64 }

// Vertex is a point of a road, in millionths of a degree.
type Vertex = gate.Point

// Link is a road from a node to another.
type Link struct {
	Code string `json:"code"` // from>to
	// District is the division code of who reports it.
	District string   `json:"district,omitempty"`
	Units    []string `json:"units"`
	// Path is where it lies, longitude and latitude in millionths of a degree.
	Path []gate.Point `json:"path,omitempty"`
}

// RoadTerms are what a table of roads goes by, besides what passed.
type RoadTerms struct {
	// Returning is in how many minutes nobody passes a detector twice.
	Returning int
	// Reach is how many metres a vehicle gets in a second, at most; 0: as far as any
	// does.
	Reach float64
	// Noise says that noise is to be added.
	Noise bool
	// Grown says that of a link, in the quarter of an hour that begins at a minute since
	// 1970, passages were only ever added; nil: that is not known.
	Grown func(link string, minute int64) bool
}

// FastestPassage bounds the speed of a single passage, in mm/s.
const FastestPassage = 70_000

// Levels of the tables of roads.
const (
	levelHour     = "hour"
	levelDistrict = "district"
	unknownPlace  = "000000"
)

// RoadTable is the table of a day of roads for the privacy gate: links by quarters
// of an hour. It has all groupings that any dataset of roads shows, so that totals
// that are released later follow from none that are out; with noise it has those
// that the dataset shows, since noise is added to the finest of them, and others
// would be sums of it anyway. Every minute is at, for a link, a minute since 1970.
func RoadTable(d *catalog.Dataset, period catalog.Period, links []Link, at func(link string, minute int64) Passages, terms RoadTerms) (*gate.Table, error) {
	plan, err := roadPlan(d)
	if err != nil {
		return nil, err
	}
	space, times := gate.Dimension{Name: "link"}, gate.Dimension{Name: "time", Time: true}
	district, hour := gate.Level{Name: levelDistrict}, gate.Level{Name: levelHour, Length: time.Hour}
	for _, l := range links {
		of := cmp.Or(l.District, unknownPlace)
		i := slices.Index(district.Codes, of)
		if i < 0 {
			i = len(district.Codes)
			district.Codes = append(district.Codes, of)
		}
		district.Of = append(district.Of, int32(i))
		space.Leaves = append(space.Leaves, gate.Leaf{Code: l.Code, Path: l.Path})
	}
	for from := period.From; from.Before(period.To); from = from.Add(Quarter) {
		if from.Sub(period.From)%time.Hour == 0 {
			hour.Codes = append(hour.Codes, from.UTC().Format(time.RFC3339))
		}
		hour.Of = append(hour.Of, int32(len(hour.Codes)-1))
		times.Leaves = append(times.Leaves, gate.Leaf{Code: from.UTC().Format(time.RFC3339), Start: from.Unix(), End: from.Add(Quarter).Unix()})
	}
	space.Levels, times.Levels = []gate.Level{district}, []gate.Level{hour}
	t := &gate.Table{
		Dataset: d.ID, Dimensions: []gate.Dimension{space, times},
		Measures: []gate.Measure{{Name: itemVehicles, Unit: "1", Kind: gate.Count, Round: 1}, {Name: itemSpeed, Unit: "mm/s", Kind: gate.Mean, Of: itemVehicles, Round: 100}},
	}
	if terms.Noise {
		t.Measures[1].Cap = FastestPassage
		if !plan.has(itemSpeed) {
			t.Measures = t.Measures[:1] // which then has all of ε
		}
	}
	for _, s := range []string{gate.Each, levelDistrict} {
		for _, b := range []string{gate.Each, levelHour, gate.All} {
			if g := (gate.Grouping{s, b}); !terms.Noise || plan.shows(g) {
				t.Groupings = append(t.Groupings, g)
			}
		}
	}
	begins := period.From.Unix() / 60
	c := newCounts(links, len(times.Leaves)*minutes, func(link, minute int) int64 { return at(links[link].Code, begins+int64(minute)).Vehicles }, terms.Reach)
	returning := max(1, terms.Returning)
	for l := range links {
		alone := c.crowd([]int{l}, returning)
		for q := range times.Leaves {
			cell := gate.Cell{Values: []int64{c.of(l, q*minutes, minutes), 0}[:len(t.Measures)], Contributors: c.distinct(alone, q*minutes, minutes, min(returning, minutes))}
			for m := range minutes {
				p := at(links[l].Code, begins+int64(q*minutes+m))
				if p.Vehicles > 0 {
					cell.Told |= 1 << m
				}
				if len(t.Measures) > 1 {
					cell.Values[1] += p.SpeedSum
				}
			}
			cell.Grown = terms.Grown != nil && terms.Grown(links[l].Code, begins+int64(q*minutes))
			t.Cells = append(t.Cells, cell)
		}
	}
	c.total(t, returning)
	return t, nil
}

// items of roads, besides the time and the place.
const (
	itemLink     = "link"
	itemDistrict = "district"
	itemBin      = "bin"
	itemVehicles = "vehicles"
	itemSpeed    = "speed"
	itemHeld     = "held"
)

// RoadRows are the rows of what passed the gate. A dataset with an item bin has
// those of all bins, else those of its own; one with an item district and none for
// the link has districts; one with both has links and districts, whose link is
// absent. What was withheld is a row without values: that it is missing is known
// anyway.
func RoadRows(d *catalog.Dataset, out *gate.Published, links []Link) (*Made, error) {
	p, err := roadPlan(d)
	if err != nil {
		return nil, err
	}
	m := &Made{Bin: p.bin, Table: &release.Table{Columns: make([]release.Column, len(d.Items))}}
	for i, it := range d.Items {
		m.Table.Columns[i].Item = it
	}
	index := map[string]*Link{}
	for i := range links {
		index[links[i].Code] = &links[i]
	}
	units := m.units(links)
	var all []roadGroup
	for gi := range out.Groupings {
		if g := &out.Groupings[gi]; p.shows(g.Levels) {
			all = append(all, p.groups(out, g, index)...)
		}
	}
	slices.SortFunc(all, func(a, b roadGroup) int { return strings.Compare(a.key, b.key) })
	for i := range all {
		m.rows(p, out, &all[i], units)
	}
	for _, name := range []string{itemDistrict, itemLink, itemBin, "time"} {
		if c, ok := p.item[name]; ok {
			m.Key = append(m.Key, d.Items[c].Name)
		}
	}
	for i := range m.Table.Columns {
		c := &m.Table.Columns[i]
		if !slices.Contains(c.Absent, true) {
			c.Absent = nil
		}
	}
	return m, m.Table.Check()
}

// units makes inputs of the units that report links, and returns them by the code
// of a link, and of a district.
func (m *Made) units(links []Link) map[string][]int {
	var all []string
	for _, l := range links {
		all = append(all, l.Units...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, u := range all {
		m.Inputs = append(m.Inputs, Input{Labels: map[string]string{"device": u}})
	}
	of := map[string][]int{}
	for _, l := range links {
		for _, u := range l.Units {
			i, _ := slices.BinarySearch(all, u)
			for _, code := range []string{l.Code, cmp.Or(l.District, unknownPlace)} {
				if !slices.Contains(of[code], i) {
					of[code] = append(of[code], i)
				}
			}
		}
	}
	return of
}

type roadsPlan struct {
	item map[string]int // column by what it holds; absent: none
	bin  time.Duration
}

func roadPlan(d *catalog.Dataset) (*roadsPlan, error) {
	p := &roadsPlan{item: map[string]int{}, bin: d.Source.Bin}
	if p.bin == 0 {
		p.bin = Quarter
	}
	if p.bin != Quarter && p.bin != time.Hour && p.bin != 24*time.Hour {
		return nil, fmt.Errorf("dataset %s: roads are released in bins of 15m, 1h and 24h, not %s", d.ID, p.bin)
	}
	types := map[string][]catalog.Type{itemLink: {catalog.String}, itemDistrict: {catalog.String}, itemBin: {catalog.String},
		itemVehicles: {catalog.Integer, catalog.Number}, itemSpeed: {catalog.Number}, itemHeld: {catalog.Boolean}}
	for i, it := range d.Items {
		name := it.Name
		switch {
		case it.Type == catalog.Instant:
			name = "time"
		case it.Type == catalog.Place:
			name = "place"
		case !slices.Contains(types[name], it.Type):
			return nil, fmt.Errorf("dataset %s: item %s of type %s is none of roads; they have a datetime, a geometry, link, district and bin (string), vehicles (integer), speed (number, m/s or km/h), held (boolean)", d.ID, it.Name, it.Type)
		}
		if _, twice := p.item[name]; twice {
			return nil, fmt.Errorf("dataset %s: item %s: there is one of type %s already", d.ID, it.Name, it.Type)
		}
		p.item[name] = i
	}
	if !p.has("time") || !p.has(itemLink) && !p.has(itemDistrict) {
		return nil, fmt.Errorf("dataset %s: its rows need a time (datetime), and a link or a district (string)", d.ID)
	}
	return p, nil
}

func (p *roadsPlan) has(item string) bool { _, ok := p.item[item]; return ok }

var roadBins = map[string]time.Duration{gate.Each: Quarter, levelHour: time.Hour, gate.All: 24 * time.Hour}

func (p *roadsPlan) shows(g gate.Grouping) bool {
	space := p.has(itemLink) && g[0] == gate.Each || p.has(itemDistrict) && g[0] == levelDistrict
	return space && (p.has(itemBin) || roadBins[g[1]] == p.bin)
}

// roadGroup is a link or a district in bins of one length.
type roadGroup struct {
	key            string // by what groups are ordered
	code           string // of the link, or of the district
	link, district string // as rows have them; empty: none
	length         time.Duration
	grouping       *gate.PublishedGrouping
	first          int // cell
	starts         []int64
	road           *Link // nil: a district
}

// groups are those of a grouping.
func (p *roadsPlan) groups(out *gate.Published, g *gate.PublishedGrouping, links map[string]*Link) (all []roadGroup) {
	starts := startsOf(&out.Dimensions[1], g.Levels[1])
	for s, code := range codesOf(&out.Dimensions[0], g.Levels[0]) {
		one := roadGroup{code: code, district: code, length: roadBins[g.Levels[1]], grouping: g, first: s * len(starts), starts: starts}
		if g.Levels[0] == gate.Each {
			one.link, one.district, one.road = code, "", links[code]
			if one.road != nil {
				one.district = one.road.District
			}
		}
		if one.district == unknownPlace {
			one.district = ""
		}
		for _, part := range []struct{ item, value string }{{itemDistrict, one.district}, {itemLink, one.link}, {itemBin, bins[one.length]}} {
			if p.has(part.item) {
				one.key += part.value + "\x00"
			}
		}
		if len(starts) > 0 {
			all = append(all, one)
		}
	}
	return all
}

// rows adds those of a group.
func (m *Made) rows(p *roadsPlan, out *gate.Published, g *roadGroup, units map[string][]int) {
	m.Groups = append(m.Groups, Group{By: []string{g.code, bins[g.length]}, Row: m.Table.Rows, Runs: [][2]int{{0, len(g.starts)}}, Inputs: units[g.code], Bin: g.length})
	for b, start := range g.starts {
		cell := g.first + b
		at := func(measure string) (n gate.Number) {
			if i := slices.IndexFunc(out.Measures, func(x gate.PublishedMeasure) bool { return x.Name == measure }); i >= 0 {
				n = g.grouping.Values[cell*len(out.Measures)+i]
			}
			return n
		}
		m.row(p, g, start, at(itemVehicles), at(itemSpeed), slices.Contains(g.grouping.Held, cell))
	}
}

var bins = map[time.Duration]string{Quarter: "15m", time.Hour: "1h", 24 * time.Hour: "24h"}

func (m *Made) row(p *roadsPlan, g *roadGroup, start int64, vehicles, speed gate.Number, held bool) {
	for name, i := range p.item {
		c := &m.Table.Columns[i]
		switch name {
		case "time":
			addInteger(c, start*1000, true)
		case "place":
			line, ok := "", false
			if g.road != nil {
				line, ok = lineOf(g.road.Path)
			}
			addString(c, line, ok)
		case itemLink:
			addString(c, g.link, g.link != "")
		case itemDistrict:
			addString(c, g.district, g.district != "")
		case itemBin:
			addString(c, bins[g.length], true)
		case itemVehicles:
			addValue(c, float64(vehicles.Value), vehicles.Shown)
		case itemSpeed:
			v := float64(speed.Value) / 1000
			if strings.HasPrefix(c.Unit, "km") {
				v = float64(speed.Value) * 36 / 10000
			}
			addValue(c, math.Round(v*100)/100, speed.Shown && vehicles.Shown)
		case itemHeld:
			c.Booleans, c.Absent = append(c.Booleans, held), append(c.Absent, false)
		}
	}
	m.Table.Rows++
}

// codesOf are what a level of a published dimension tells apart.
func codesOf(d *gate.PublishedDimension, level string) (all []string) {
	switch level {
	case gate.Each:
		for _, l := range d.Leaves {
			all = append(all, l.Code)
		}
		return all
	case gate.All:
		return []string{gate.All}
	}
	i := slices.IndexFunc(d.Levels, func(l gate.PublishedLevel) bool { return l.Name == level })
	if i < 0 {
		return nil
	}
	return d.Levels[i].Codes
}

// startsOf are when the bins of a level begin.
func startsOf(d *gate.PublishedDimension, level string) (all []int64) {
	if len(d.Leaves) == 0 {
		return nil
	}
	switch level {
	case gate.Each:
		for _, l := range d.Leaves {
			all = append(all, l.Start)
		}
		return all
	case gate.All:
		return []int64{d.Leaves[0].Start}
	}
	for _, code := range codesOf(d, level) {
		at, err := time.Parse(time.RFC3339, code)
		if err != nil {
			return nil
		}
		all = append(all, at.Unix())
	}
	return all
}

// lineOf is a line as GeoJSON, to about ten metres.
func lineOf(path []gate.Point) (string, bool) {
	if len(path) < 2 {
		return "", false
	}
	var b strings.Builder
	b.WriteString(`{"type":"LineString","coordinates":[`)
	for i, q := range path {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("[" + strconv.FormatFloat(float64(q.Lon)/1e6, 'f', 4, 64) + "," + strconv.FormatFloat(float64(q.Lat)/1e6, 'f', 4, 64) + "]")
	}
	b.WriteString("]}")
	return b.String(), true
}
