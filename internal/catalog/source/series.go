package source

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/release"
)

// part is what one series gives to an item, by bin.
type part struct {
	value

	group  string
	by     []string
	name   string // of the series
	input  int
	values []float64 // NaN: none
	at     []int64   // of the last sample; for last alone
	// single says of each bin whether its value is that of one sample, which stays
	// as it was measured.
	single []bool
}

// Series makes the table of a dataset whose source is series, compute or signals.
func Series(ctx context.Context, deps Deps, d *catalog.Dataset, period catalog.Period) (*Made, error) {
	p, err := planOf(d)
	if err != nil {
		return nil, err
	}
	bin := binOf(d)
	n := int(period.To.Sub(period.From) / bin)
	var parts []part
	var inputs []Input
	err = deps.Bins(ctx, d.Region, Selector(d), period.From, period.To, bin, func(labels map[string]string, bins []Bin) error {
		fed := p.fed(labels)
		if len(fed) == 0 {
			return nil
		}
		if (len(parts)+len(fed))*n > maxValues {
			return fmt.Errorf("dataset %s: its series have more than %d values in a day; narrow its selector, or make its bins longer", d.ID, maxValues)
		}
		in := Input{Labels: labels}
		for i := range bins {
			in.Samples += bins[i].Count
		}
		if p.place >= 0 {
			if lat, lon, ok := deps.Place(labels); ok {
				in.At = &Point{lat, lon}
			}
		}
		values := make([]string, len(p.by))
		for i, l := range p.by {
			values[i] = labelOf(labels, l)
		}
		name := seriesName(labels)
		for _, v := range fed {
			one := part{value: v, group: strings.Join(values, "\x00"), by: values, name: name, input: len(inputs)}
			one.read(bins)
			parts = append(parts, one)
		}
		inputs = append(inputs, in)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("dataset %s: %w", d.ID, err)
	}
	sorted, index := sortInputs(inputs)
	for i := range parts {
		parts[i].input = index[parts[i].input]
	}
	m := &Made{Inputs: sorted, Bin: bin, Key: p.key()}
	return m, m.fill(p, parts, period, n)
}

// sortInputs puts series in the order of their names, and tells where each went.
func sortInputs(all []Input) (sorted []Input, index []int) {
	names, order := make([]string, len(all)), make([]int, len(all))
	for i := range all {
		names[i], order[i] = all[i].Name(), i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(names[a], names[b]) })
	sorted, index = make([]Input, len(all)), make([]int, len(all))
	for to, from := range order {
		sorted[to], index[from] = all[from], to
	}
	return sorted, index
}

// read takes the bins of a series.
func (p *part) read(bins []Bin) {
	p.values, p.single = make([]float64, len(bins)), make([]bool, len(bins))
	if p.function == catalog.Latest {
		p.at = make([]int64, len(bins))
	}
	for i := range bins {
		b := &bins[i]
		if b.Count == 0 {
			p.values[i] = math.NaN()
			continue
		}
		p.single[i] = b.Count == 1
		switch p.function {
		case catalog.Minimum:
			p.values[i], p.single[i] = b.Min, true
		case catalog.Maximum:
			p.values[i], p.single[i] = b.Max, true
		case catalog.Total:
			p.values[i] = b.Sum
		case catalog.Latest:
			p.values[i], p.single[i], p.at[i] = b.Last, true, b.LastAt
		case catalog.Tally:
			p.values[i], p.single[i] = float64(b.Count), true
		default:
			p.values[i] = b.Sum / float64(b.Count)
		}
	}
}

// join makes one of what several series give to an item in a group, in the order
// of their names: sums of floating point depend on it.
func join(parts []part, bin int) (v float64, ok bool) {
	n, at, single := 0, int64(math.MinInt64), true
	for i := range parts {
		p := &parts[i]
		x := p.values[bin]
		if math.IsNaN(x) {
			continue
		}
		single = single && p.single[bin]
		n++
		switch {
		case p.function == catalog.Latest:
			if p.at[bin] > at {
				v, at = x, p.at[bin]
			}
		case n == 1:
			v = x
		case p.function == catalog.Minimum:
			v = min(v, x)
		case p.function == catalog.Maximum:
			v = max(v, x)
		default:
			v += x
		}
	}
	if n == 0 {
		return 0, false
	}
	f, scale := parts[0].function, parts[0].scale
	exact := f == catalog.Minimum || f == catalog.Maximum || f == catalog.Latest || f == catalog.Tally || n == 1 && single
	if f == catalog.Mean && n > 1 {
		v /= float64(n)
	}
	if scale != 0 {
		v, exact = v*scale, false
	}
	if !exact {
		v = rounded(v)
	}
	if v == 0 {
		v = 0 // not -0
	}
	return v, true
}

// digits are those that a computed value keeps: more than any sensor has.
const digits = 7

func rounded(v float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'e', digits-1, 64), 64)
	if err != nil {
		return v
	}
	return r
}

// fill makes the table: groups in the order of their labels, in each the bins.
func (m *Made) fill(p *plan, parts []part, period catalog.Period, bins int) error {
	slices.SortFunc(parts, func(a, b part) int {
		return cmp.Or(strings.Compare(a.group, b.group), cmp.Compare(a.column, b.column), strings.Compare(a.name, b.name))
	})
	t := &release.Table{Columns: make([]release.Column, len(p.d.Items))}
	for i, it := range p.d.Items {
		t.Columns[i].Item = it
	}
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && parts[n].group == parts[0].group {
			n++
		}
		m.group(t, p, parts[:n], period, bins)
		parts = parts[n:]
	}
	for i := range t.Columns {
		c := &t.Columns[i]
		if !slices.Contains(c.Absent, true) {
			c.Absent = nil
		}
	}
	m.Table = t
	return t.Check()
}

func (m *Made) group(t *release.Table, p *plan, parts []part, period catalog.Period, bins int) {
	g := Group{By: parts[0].by, Row: t.Rows}
	columns := map[int][]part{}
	for from := 0; from < len(parts); {
		to := from + 1
		for to < len(parts) && parts[to].column == parts[from].column {
			to++
		}
		columns[parts[from].column] = parts[from:to]
		from = to
	}
	for i := range parts {
		g.Inputs = append(g.Inputs, parts[i].input)
	}
	slices.Sort(g.Inputs)
	g.Inputs = slices.Compact(g.Inputs)
	place, placed := m.place(g.Inputs)
	// Bins in which any item has a value are rows.
	any := make([]bool, bins)
	for i := range parts {
		for b, v := range parts[i].values {
			any[b] = any[b] || !math.IsNaN(v)
		}
	}
	for b := range any {
		switch k := len(g.Runs) - 1; {
		case !any[b]:
		case k >= 0 && g.Runs[k][0]+g.Runs[k][1] == b:
			g.Runs[k][1]++
		default:
			g.Runs = append(g.Runs, [2]int{b, 1})
		}
	}
	for i := range t.Columns {
		c := &t.Columns[i]
		label := slices.Index(p.labels, i)
		of := columns[i]
		for b := range any {
			switch {
			case !any[b]:
			case i == p.times:
				addInteger(c, period.From.UnixMilli()+int64(b)*m.Bin.Milliseconds(), true)
			case i == p.place:
				addString(c, place, placed)
			case label >= 0:
				addString(c, g.By[label], g.By[label] != "")
			default:
				v, has := join(of, b)
				addValue(c, v, has)
			}
		}
	}
	if rows := g.Rows(); rows > 0 {
		m.Groups = append(m.Groups, g)
		t.Rows += rows
	}
}

// place is the middle of where the devices are, as GeoJSON, to about a hundred
// metres.
func (m *Made) place(inputs []int) (string, bool) {
	var lat, lon float64
	n := 0
	for _, i := range inputs {
		if at := m.Inputs[i].At; at != nil {
			lat, lon, n = lat+at.Lat, lon+at.Lon, n+1
		}
	}
	if n == 0 {
		return "", false
	}
	short := func(v float64) string { return strconv.FormatFloat(v/float64(n), 'f', 3, 64) }
	return `{"type":"Point","coordinates":[` + short(lon) + `,` + short(lat) + `]}`, true
}

func addInteger(c *release.Column, v int64, has bool) {
	c.Integers, c.Absent = append(c.Integers, v), append(c.Absent, !has)
}

func addString(c *release.Column, v string, has bool) {
	c.Strings, c.Absent = append(c.Strings, v), append(c.Absent, !has)
}

func addValue(c *release.Column, v float64, has bool) {
	if !has {
		v = 0
	}
	c.Absent = append(c.Absent, !has)
	switch c.Type {
	case catalog.Integer, catalog.Instant:
		c.Integers = append(c.Integers, int64(math.Round(v)))
	case catalog.Boolean:
		c.Booleans = append(c.Booleans, v != 0)
	default:
		c.Numbers = append(c.Numbers, v)
	}
}
