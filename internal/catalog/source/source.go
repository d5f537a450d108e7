// Package source makes the table of a dataset for a period: the rows that its
// source comes to, in one order, and from which series each of them follows. The
// same samples make the same table, whenever and wherever that is done. Roads
// come out as a table for the privacy gate, and as rows of what passed it only.
// Art. 39
package source

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/release"
)

// ChinaAhead is how far China's time is ahead of UTC, without summer time.
const ChinaAhead = 8 * time.Hour

// China is the time by whose days releases go.
var China = time.FixedZone("UTC+8", int(ChinaAhead/time.Second))

// Day is the day of a time in China.
func Day(t time.Time) catalog.Period {
	y, m, d := t.In(China).Date()
	from := time.Date(y, m, d, 0, 0, 0, 0, China).UTC()
	return catalog.Period{From: from, To: from.Add(24 * time.Hour)}
}

// Bin is what the samples of a series in a bin of time come to; Count 0: there are
// none. LastAt is in Unix milliseconds.
type Bin struct {
	Count               int64
	Sum, Min, Max, Last float64
	LastAt              int64
}

// Deps are what tables are made of.
type Deps struct {
	// Bins reads the series that a selector selects in a region prefix once, and
	// hands out each with its bins, in any order; both belong to the caller until
	// each returns.
	Bins func(ctx context.Context, region, selector string, from, to time.Time, bin time.Duration, each func(labels map[string]string, bins []Bin) error) error
	// Place is where the device of a series is, or its site, in degrees of WGS 84.
	Place func(labels map[string]string) (lat, lon float64, ok bool)
}

// Point is a place in degrees of WGS 84.
type Point struct {
	Lat float64 `json:"lat"`
	Lon float64 `json:"lon"`
}

// Input is a series that went into a table.
type Input struct {
	Labels map[string]string `json:"labels"`
	// Samples are those of the period.
	Samples int64 `json:"samples"`
	// At is where its device was when the table was made; nil: not known, or not
	// asked for.
	At *Point `json:"at,omitempty"`
}

// Name is the series as PromQL has it, labels in order.
func (in *Input) Name() string { return seriesName(in.Labels) }

func seriesName(labels map[string]string) string {
	var b strings.Builder
	b.WriteString(labels["__name__"])
	b.WriteByte('{')
	first := true
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name == "__name__" {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.WriteString(name)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(labels[name]))
	}
	b.WriteByte('}')
	return b.String()
}

// Group is the rows of one combination of the labels that rows keep.
type Group struct {
	// By are the values of these labels, in the order of the dataset.
	By []string `json:"by,omitempty"`
	// Row is the first of its rows, from 0, and Runs are its bins: from which one
	// on, how many.
	Row  int      `json:"row"`
	Runs [][2]int `json:"runs"`
	// Inputs are the series that it is made of, as indices.
	Inputs []int `json:"inputs"`
	// Bin is how long its bins are; 0: as those of the table.
	Bin time.Duration `json:"bin_ns,omitempty"`
}

// Rows is how many rows the group has.
func (g *Group) Rows() (n int) {
	for _, r := range g.Runs {
		n += r[1]
	}
	return n
}

// At is the bin of a row of the group, counted from its first one.
func (g *Group) At(row int) int {
	for _, r := range g.Runs {
		if row < r[1] {
			return r[0] + row
		}
		row -= r[1]
	}
	return -1
}

// Made is a table with where it comes from.
type Made struct {
	Table  *release.Table
	Inputs []Input // in the order of their names
	Groups []Group // in the order of their rows
	// Key are the items that tell rows apart, and by which they are ordered.
	Key []string
	Bin time.Duration
}

// maxValues bounds the series of a table times its bins.
const maxValues = 32 << 20

// What the source kinds of the hub's own series select.
const (
	computeSelector = `{__name__=~"hub_schedule_facility_load|hub_schedule_facility_power_watts|hub_schedule_facility_carbon_kg_per_hour"}`
	signalsSelector = `{__name__=~"signal_light_seconds|signal_cycle_seconds|signal_green_ratio|signal_mode_seconds"}`
)

// Selector is the PromQL that selects the series of a dataset; empty for roads,
// which have none.
func Selector(d *catalog.Dataset) string {
	switch d.Source.Kind {
	case catalog.SourceSeries:
		return d.Source.Selector
	case catalog.SourceCompute:
		return computeSelector
	case catalog.SourceSignals:
		return signalsSelector
	}
	return ""
}

// by are the labels that rows keep.
func by(d *catalog.Dataset) []string {
	switch {
	case len(d.Source.By) > 0:
		return d.Source.By
	case d.Source.Kind == catalog.SourceCompute:
		return []string{"facility"}
	case d.Source.Kind == catalog.SourceSignals:
		return []string{"node", "phase"}
	}
	return nil
}

// labelOf is a label of a series. The spatial units are made of the region, where
// a series has no label of their name: district has six digits, city four and 00.
func labelOf(labels map[string]string, name string) string {
	v := labels[name]
	if v != "" {
		return v
	}
	switch region := labels["region"]; {
	case name == "district" && len(region) >= 6:
		return region[:6]
	case name == "city" && len(region) >= 4:
		return region[:4] + "00"
	}
	return ""
}

// ItemName is the item that holds a metric or a label: in lower case, with an
// underscore for what is neither a letter nor a digit.
func ItemName(name string) string {
	name = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		name = "m_" + strings.TrimLeft(name, "_")
	}
	return name[:min(len(name), 63)]
}

// value is what an item holds of the series that feed it.
type value struct {
	column   int
	function catalog.Function
	scale    float64 // of what the function gives; 0: as it is
}

// plan says what each item of a dataset holds.
type plan struct {
	d      *catalog.Dataset
	by     []string
	labels []int // column of each label of by
	times  int   // column of the start of the bin; -1: none
	place  int
	values map[string]value // by item
}

func planOf(d *catalog.Dataset) (*plan, error) {
	p := &plan{d: d, by: by(d), times: -1, place: -1, values: map[string]value{}}
	p.labels = make([]int, len(p.by))
	for i := range p.labels {
		p.labels[i] = -1
	}
	for i, it := range d.Items {
		label := slices.IndexFunc(p.by, func(l string) bool { return ItemName(l) == it.Name })
		switch {
		case label >= 0 && it.Type == catalog.String:
			p.labels[label] = i
		case label >= 0:
			return nil, fmt.Errorf("dataset %s: item %s holds the label %s and is of type %s; make it a string", d.ID, it.Name, p.by[label], it.Type)
		case it.Type == catalog.Instant && p.times < 0:
			p.times = i
		case it.Type == catalog.Place && p.place < 0:
			p.place = i
		case it.Type == catalog.Number || it.Type == catalog.Integer || it.Type == catalog.Boolean:
			p.values[it.Name] = value{column: i, function: d.Source.Function}
		default:
			return nil, fmt.Errorf("dataset %s: item %s of type %s is none of: the start of the bin (datetime), a label in source.by (string), the place (geometry), a metric (number, integer, boolean)", d.ID, it.Name, it.Type)
		}
	}
	if missing := slices.Index(p.labels, -1); missing >= 0 {
		return nil, fmt.Errorf("dataset %s: rows keep the label %s and no item holds it; add the item %s of type string, or take it out of source.by", d.ID, p.by[missing], ItemName(p.by[missing]))
	}
	if p.times < 0 {
		return nil, fmt.Errorf("dataset %s: no item is the time; add one of type datetime", d.ID)
	}
	if d.Source.Kind == catalog.SourceCompute {
		hours := binOf(d).Hours()
		for name, v := range map[string]value{"load": {}, "power": {}, "energy": {scale: hours / 1000}, "carbon": {scale: hours}} {
			if is, ok := p.values[name]; ok {
				p.values[name] = value{is.column, catalog.Mean, v.scale}
			}
		}
	}
	return p, nil
}

// binOf is the length of the bins of a dataset: an hour where it says none.
func binOf(d *catalog.Dataset) time.Duration {
	if d.Source.Bin > 0 {
		return d.Source.Bin
	}
	return time.Hour
}

// fed are the items that a series feeds.
func (p *plan) fed(labels map[string]string) (all []value) {
	name := labels["__name__"]
	switch p.d.Source.Kind {
	case catalog.SourceCompute:
		for _, item := range map[string][]string{"hub_schedule_facility_load": {"load"}, "hub_schedule_facility_power_watts": {"power", "energy"}, "hub_schedule_facility_carbon_kg_per_hour": {"carbon"}}[name] {
			if v, ok := p.values[item]; ok {
				all = append(all, v)
			}
		}
		return all
	case catalog.SourceSignals:
		name = strings.TrimSuffix(strings.TrimPrefix(name, "signal_"), "_seconds")
		for _, part := range []string{"light", "mode"} {
			if name == part {
				name += "_" + labels[part]
			}
		}
	}
	base := ItemName(name)
	if v, ok := p.values[base]; ok {
		if v.function == "" {
			v.function = catalog.Mean
		}
		if p.d.Source.Kind == catalog.SourceSignals && (strings.HasPrefix(base, "light_") || strings.HasPrefix(base, "mode_")) {
			v.function = catalog.Total // seconds of minutes
		}
		all = append(all, v)
	}
	for _, f := range catalog.Functions() {
		if v, ok := p.values[base+"_"+string(f)]; ok {
			v.function = f
			all = append(all, v)
		}
	}
	return all
}

// key are the labels that rows keep, and then the time.
func (p *plan) key() (all []string) {
	for _, i := range append(slices.Clone(p.labels), p.times) {
		all = append(all, p.d.Items[i].Name)
	}
	return all
}

// Check reports why rows cannot be made of a dataset; nil when they can.
func Check(d *catalog.Dataset) error {
	if d.Source.Kind == catalog.SourceRoads {
		_, err := roadPlan(d)
		return err
	}
	_, err := planOf(d)
	return err
}
