package traffic

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/songhua-io/hub/internal/road"
)

// Series is a number that a minute has. Its value stands in records on disk: it
// is never used for another one. Units have 1 to 39, signals 40 to 79, roads 80
// to 119, events 120 to 159.
type Series uint8

// Cell names a number of a minute: of a series, what it is about, and the part of
// what is added.
type Cell struct {
	Series Series
	// Part is the kind, the type, or the bucket; what the series says.
	Part uint8
	// A and B are what it is about: the two nodes of a link, the node and the
	// phase of a signal; 0 for the unit as a whole.
	A, B uint32
}

// Form is how numbers of a minute become samples.
type Form uint8

// The forms.
const (
	Sum       Form = iota // one sample for each part
	Max                   // the greatest
	Last                  // the one that came last
	Mean                  // part 0 over part 1
	Quantiles             // parts are buckets of Bounds; p15, p50 and p85
)

// Subject is what A and B of a cell are.
type Subject uint8

// The subjects, and the labels that they give.
const (
	OfUnit  Subject = iota
	OfLink          // from, to
	OfNode          // node
	OfPhase         // node, phase
	OfLane          // from, to, and lane in the high octet of part
)

// Definition says what a series is.
type Definition struct {
	Name    string // of the metric
	Unit    string // UCUM
	ZH, EN  string // what it tells
	Form    Form
	Subject Subject
	// PartLabel is the label that a part gives, and Parts its values.
	PartLabel string
	Parts     []string
	// Scale turns a bucket's number into its middle, for Quantiles.
	Scale func(part float64) float64
}

// definitions are all series, by number.
var definitions = func() (all [256]*Definition) {
	for _, some := range []map[Series]Definition{unitSeries, signalSeries, roadSeries, eventSeries} {
		for n, d := range some {
			all[n] = &d
		}
	}
	return all
}()

// unknownSeries is what a record of a later edition may hold.
var unknownSeries Definition

func definition(s Series) *Definition {
	if d := definitions[s]; d != nil {
		return d
	}
	return &unknownSeries
}

// Definitions lists what a minute may tell, by number.
func Definitions() (all []Definition) {
	for _, d := range definitions {
		if d != nil {
			all = append(all, *d)
		}
	}
	return all
}

// nodeCell is a node as a subject.
func nodeCell(n road.NodeID) uint32 { return uint32(n.Region)<<16 | uint32(n.ID) }

// NodeName is a node as in labels: region.id, or id where there is no region.
func NodeName(n road.NodeID) string {
	if n.Region == 0 {
		return strconv.Itoa(int(n.ID))
	}
	return fmt.Sprintf("%d.%d", n.Region, n.ID)
}

func cellNode(a uint32) string { return NodeName(road.NodeID{Region: uint16(a >> 16), ID: uint16(a)}) }

// Tag is a label of a sample.
type Tag struct{ Name, Value string }

// Sample is a number of a minute. The labels of its unit come to it where it is
// stored.
type Sample struct {
	Metric, Unit string
	Tags         []Tag
	Value        float64
}

// Quantile are those that distributions give.
var quantiles = []struct {
	name string
	q    float64
}{{"0.15", 0.15}, {"0.5", 0.5}, {"0.85", 0.85}}

func compareCells(a, b Cell) int {
	return cmp.Or(cmp.Compare(a.Series, b.Series), cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B), cmp.Compare(a.Part, b.Part))
}

// samples makes samples of a minute, in the order of the series.
func (w *window) samples() (out []Sample) {
	keys := make([]Cell, 0, len(w.cells))
	for c := range w.cells {
		keys = append(keys, c)
	}
	slices.SortFunc(keys, compareCells)
	for len(keys) > 0 {
		n := 1
		for n < len(keys) && keys[n].Series == keys[0].Series && keys[n].A == keys[0].A && keys[n].B == keys[0].B {
			n++
		}
		out = w.subject(out, keys[:n])
		keys = keys[n:]
	}
	return out
}

// subject appends the samples of one series and subject.
func (w *window) subject(out []Sample, parts []Cell) []Sample {
	d, c := definition(parts[0].Series), parts[0]
	if d.Name == "" {
		return out
	}
	sample := func(v float64, more ...Tag) {
		out = append(out, Sample{Metric: d.Name, Unit: d.Unit, Tags: append(d.tags(c), more...), Value: v})
	}
	switch d.Form {
	case Mean:
		if n := w.cells[Cell{c.Series, 1, c.A, c.B}]; n > 0 {
			sample(w.cells[Cell{c.Series, 0, c.A, c.B}] / n)
		}
	case Quantiles:
		total := 0.0
		for _, p := range parts {
			total += w.cells[p]
		}
		for _, q := range quantiles {
			sample(d.Scale(w.quantile(parts, total*q.q)), Tag{"quantile", q.name})
		}
	default:
		for _, p := range parts {
			if d.PartLabel == "" {
				sample(w.cells[p])
			} else if int(p.Part) < len(d.Parts) {
				sample(w.cells[p], Tag{d.PartLabel, d.Parts[p.Part]})
			}
		}
	}
	return out
}

// quantile is the part, with what of it, below which so many are.
func (w *window) quantile(parts []Cell, rank float64) float64 {
	below := 0.0
	for _, p := range parts {
		n := w.cells[p]
		if below+n >= rank && n > 0 {
			return float64(p.Part) + (rank-below)/n
		}
		below += n
	}
	return math.NaN()
}

func (d *Definition) tags(c Cell) []Tag {
	switch d.Subject {
	case OfLink:
		return []Tag{{"from", cellNode(c.A)}, {"to", cellNode(c.B)}}
	case OfNode:
		return []Tag{{"node", cellNode(c.A)}}
	case OfPhase:
		return []Tag{{"node", cellNode(c.A)}, {"phase", strconv.Itoa(int(c.B))}}
	}
	return nil
}
