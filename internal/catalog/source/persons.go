package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/release"
)

// Series about persons, such as those of meters in homes, come out as a table for
// the privacy gate: districts by bins of time, and who contributes, told apart by a
// label. Rows of single devices, and what lets one be told from others, are never
// made. Art. 39

// step is the power of ten in which numbers of series are counted, since the gate
// takes whole ones: thousandths of the item's unit, or with noise about thousandths
// of the cap, below which the noise leaves nothing to be seen.
func step(d *catalog.Dataset, noise bool) int {
	if !noise || d.Privacy.Cap <= 0 {
		return -3
	}
	return int(math.Floor(math.Log10(d.Privacy.Cap))) - 3
}

// deviceLabel tells contributors apart where a dataset names no other label.
const deviceLabel = "device"

// PersonTerms are what a table about persons goes by, besides the series.
type PersonTerms struct {
	// Key decides what is left out of those who contribute more than once a bin; see
	// [gate.NewTally].
	Key []byte
	// Noise says that noise is to be added.
	Noise bool
}

// Persons are a table for the gate, and from which series it is: they are never
// published, since each is somebody's.
type Persons struct {
	Table  *gate.Table
	Behind []Input
}

// errPersons says what of series about persons passes the gate.
var errPersons = errors.New("of series about persons only aggregates of districts or cities pass the privacy gate")

// CheckPersons reports why a dataset about persons cannot pass the gate; nil when it
// can.
func CheckPersons(d *catalog.Dataset) error {
	no := func(why string, args ...any) error {
		return fmt.Errorf("%w, and %s", errPersons, fmt.Sprintf(why, args...))
	}
	switch by := d.Source.By; {
	case d.Source.Kind != catalog.SourceSeries:
		return no("those of %s have no contributors that could be told apart: make it of series, or set personal to false if it is about nobody", d.Source.Kind)
	case d.Source.Live:
		return no("not live: set source.live to false")
	case len(by) != 1 || by[0] != levelDistrict && by[0] != levelCity:
		return no("its rows are by %v: a row of a device, a site or a household is one of a person; set source.by to [%s] or [%s]", by, levelDistrict, levelCity)
	case d.Source.Function == catalog.Minimum || d.Source.Function == catalog.Maximum || d.Source.Function == catalog.Latest:
		return no("%s is the value of one of them; use avg, sum or count", d.Source.Function)
	case binOf(d) < Quarter:
		return no("its bins are of %s; make them 15m at least", binOf(d))
	}
	p, err := planOf(d)
	switch {
	case err != nil:
		return err
	case p.place >= 0:
		return no("item %s is where the devices are, which is where people live; leave it out", d.Items[p.place].Name)
	case len(p.values) == 0:
		return no("it has no item that holds a number; add one that is named as the metric")
	}
	return nil
}

// levelCity is a level of space.
const levelCity = "city"

// place is where and when somebody contributed.
type place struct {
	bin      int
	district string
}

// person is what one contributor gave in a place, in steps: they are whole, so that
// the order of series does not matter.
type person struct {
	sum, mean int64
	series    int64 // how many told of means
}

// PersonTable makes the table of a day of a dataset about persons, and nil where
// there are no series. Each contributor counts once in each bin of a district,
// however many devices it has, and with the cap of the dataset at most. It has
// districts and cities from version 1 on, so that no total that is released later
// follows from what is out; with noise it has what the dataset shows.
func PersonTable(ctx context.Context, deps Deps, d *catalog.Dataset, period catalog.Period, terms PersonTerms) (*Persons, error) {
	if err := CheckPersons(d); err != nil {
		return nil, fmt.Errorf("dataset %s: %w", d.ID, err)
	}
	r := &personReader{d: d, step: step(d, terms.Noise), bin: binOf(d), period: period, people: map[string]map[place]*person{}, functions: map[catalog.Function]bool{}}
	var err error
	if r.plan, err = planOf(d); err != nil {
		return nil, err
	}
	if err := deps.Bins(ctx, d.Region, Selector(d), period.From, period.To, r.bin, r.series); err != nil {
		return nil, fmt.Errorf("dataset %s: %w", d.ID, err)
	}
	if r.empty() {
		return nil, nil
	}
	t, err := r.table(terms)
	if err != nil {
		return nil, fmt.Errorf("dataset %s: %w", d.ID, err)
	}
	behind, _ := sortInputs(r.inputs)
	return &Persons{t, behind}, nil
}

// personReader collects what contributors gave.
type personReader struct {
	step      int
	d         *catalog.Dataset
	plan      *plan
	bin       time.Duration
	period    catalog.Period
	metric    string
	inputs    []Input
	people    map[string]map[place]*person // by contributor
	functions map[catalog.Function]bool
	values    int
}

func (r *personReader) series(labels map[string]string, bins []Bin) error {
	fed := r.plan.fed(labels)
	if len(fed) == 0 {
		return nil
	}
	name := labels["__name__"]
	if r.metric != "" && name != r.metric {
		return fmt.Errorf("it has the metrics %s and %s; a dataset about persons has one, since who is in both could be told apart: make one of each", r.metric, name)
	}
	r.metric = name
	label := cmp.Or(r.d.Privacy.Contributor, deviceLabel)
	who := labels[label]
	if who == "" {
		return fmt.Errorf("series %s has no label %s, which tells contributors apart; name one that all have in privacy.contributor, such as %s", seriesName(labels), label, deviceLabel)
	}
	if r.values += len(bins); r.values > maxValues {
		return fmt.Errorf("its series have more than %d values in a day; narrow its selector, or make its bins longer", maxValues)
	}
	in := Input{Labels: labels}
	if r.people[who] == nil {
		r.people[who] = map[place]*person{}
	}
	for i := range bins {
		if bins[i].Count == 0 {
			continue
		}
		in.Samples += bins[i].Count
		at := place{i, districtOf(labels)}
		p := r.people[who][at]
		if p == nil {
			p = &person{}
			r.people[who][at] = p
		}
		if err := r.add(p, fed, &bins[i]); err != nil {
			return err
		}
	}
	r.inputs = append(r.inputs, in)
	return nil
}

// empty reports whether nobody gave anything.
func (r *personReader) empty() bool {
	for _, places := range r.people {
		if len(places) > 0 {
			return false
		}
	}
	return true
}

// add adds what a series has in a bin.
func (r *personReader) add(p *person, fed []value, b *Bin) error {
	p.series++
	for _, v := range fed {
		r.functions[v.function] = true
		of, is := &p.sum, b.Sum
		switch v.function {
		case catalog.Tally:
			continue
		case catalog.Total:
		case catalog.Mean:
			of, is = &p.mean, b.Sum/float64(b.Count)
		default:
			return fmt.Errorf("%w, and %s is the value of one of them; use avg, sum or count", errPersons, v.function)
		}
		if !(is >= 0 && is < maxGiven) {
			return fmt.Errorf("a contributor gives %v of %s in a bin; what is summed up about persons is from 0 to %v: choose a metric that is never negative, or a larger unit", is, r.metric, maxGiven)
		}
		*of += int64(math.Round(is * math.Pow10(-r.step)))
	}
	return nil
}

// maxGiven bounds what a series gives in a bin, so that sums stay whole numbers.
const maxGiven = 1e9

// districtOf is that of the registry: what devices say of themselves might tell them
// apart.
func districtOf(labels map[string]string) string {
	if region := labels["region"]; len(region) >= 6 {
		return region[:6]
	}
	return unknownPlace
}

// unitOf is the unit of a measure in steps of the item's.
func unitOf(step int) string { return "1e" + strconv.Itoa(step) }

// measureOf names the measure of a metric by a function, as other datasets of it do.
func measureOf(metric string, f catalog.Function) string { return metric + " " + string(f) }

// table tallies what was collected.
func (r *personReader) table(terms PersonTerms) (*gate.Table, error) {
	t := &gate.Table{Dataset: r.d.ID, Zone: int64(ChinaAhead / time.Second), Measures: []gate.Measure{{Name: measureOf(r.metric, catalog.Tally), Unit: "1", Kind: gate.Count, Round: 1}}}
	var functions []catalog.Function
	for _, f := range []catalog.Function{catalog.Total, catalog.Mean} {
		if !r.functions[f] {
			continue
		}
		functions = append(functions, f)
		m := gate.Measure{Name: measureOf(r.metric, f), Unit: unitOf(r.step), Kind: gate.Sum, Round: 1, Cap: int64(math.Round(r.d.Privacy.Cap * math.Pow10(-r.step)))}
		if f == catalog.Mean {
			m.Kind, m.Of = gate.Mean, t.Measures[0].Name
		}
		t.Measures = append(t.Measures, m)
	}
	districts := r.dimensions(t)
	for _, level := range []string{gate.Each, levelCity} {
		if !terms.Noise || level == shownLevel(r.d) {
			t.Groupings = append(t.Groupings, gate.Grouping{level, gate.Each})
		}
	}
	t.Bound = int64(len(t.Dimensions[1].Leaves))
	tally, err := gate.NewTally(t, terms.Key)
	if err != nil {
		return nil, err
	}
	number := uint64(0)
	for _, who := range slices.Sorted(maps.Keys(r.people)) {
		number++
		for at, p := range r.people[who] {
			c := gate.Contribution{Who: number, Leaf: []int{districts[at.district], at.bin}, Values: []int64{1}}
			for _, f := range functions {
				v := p.sum
				if f == catalog.Mean {
					v = (2*p.mean + p.series) / (2 * p.series)
				}
				c.Values = append(c.Values, v)
			}
			if err := tally.Add(c); err != nil {
				return nil, err
			}
		}
	}
	tally.Fill()
	return t, nil
}

// dimensions sets those of the table: districts of which there is anything, with
// their cities, and bins. It returns the index of each district.
func (r *personReader) dimensions(t *gate.Table) map[string]int {
	index := map[string]int{}
	for _, places := range r.people {
		for at := range places {
			index[at.district] = 0
		}
	}
	space, times := gate.Dimension{Name: levelDistrict}, gate.Dimension{Name: "bins of " + r.bin.String(), Time: true}
	city := gate.Level{Name: levelCity}
	for _, at := range slices.Sorted(maps.Keys(index)) {
		index[at] = len(space.Leaves)
		space.Leaves = append(space.Leaves, gate.Leaf{Code: at})
		code := at[:4] + "00"
		i := slices.Index(city.Codes, code)
		if i < 0 {
			i = len(city.Codes)
			city.Codes = append(city.Codes, code)
		}
		city.Of = append(city.Of, int32(i))
	}
	for from := r.period.From; from.Before(r.period.To); from = from.Add(r.bin) {
		times.Leaves = append(times.Leaves, gate.Leaf{Code: from.UTC().Format(time.RFC3339), Start: from.Unix(), End: from.Add(r.bin).Unix()})
	}
	space.Levels = []gate.Level{city}
	t.Dimensions = []gate.Dimension{space, times}
	return index
}

// shownLevel is the level of a dataset's rows.
func shownLevel(d *catalog.Dataset) string {
	if d.Source.By[0] == levelCity {
		return levelCity
	}
	return gate.Each
}

// PersonRows are the rows of what passed the gate: what was withheld is a row without
// numbers. Where rows come from is told by districts, and no further.
func PersonRows(d *catalog.Dataset, out *gate.Published) (*Made, error) {
	p, err := planOf(d)
	if err != nil {
		return nil, err
	}
	m := &Made{Bin: binOf(d), Key: p.key(), Table: &release.Table{Columns: make([]release.Column, len(d.Items))}}
	for i, it := range d.Items {
		m.Table.Columns[i].Item = it
	}
	g := slices.IndexFunc(out.Groupings, func(g gate.PublishedGrouping) bool { return g.Levels[0] == shownLevel(d) })
	if g < 0 {
		return nil, fmt.Errorf("dataset %s: nothing was published by %s", d.ID, d.Source.By[0])
	}
	measures := map[catalog.Function]int{}
	metric := ""
	for i, x := range out.Measures {
		for _, f := range []catalog.Function{catalog.Tally, catalog.Total, catalog.Mean} {
			if base, ok := strings.CutSuffix(x.Name, " "+string(f)); ok {
				measures[f], metric = i, base
			}
		}
	}
	codes, starts := codesOf(&out.Dimensions[0], out.Groupings[g].Levels[0]), startsOf(&out.Dimensions[1], gate.Each)
	functions := p.functions(metric)
	for s, code := range codes {
		m.Inputs = append(m.Inputs, Input{Labels: map[string]string{"__name__": metric, d.Source.By[0]: code}})
		m.Groups = append(m.Groups, Group{By: []string{code}, Row: m.Table.Rows, Runs: [][2]int{{0, len(starts)}}, Inputs: []int{s}})
		for b, start := range starts {
			for i := range m.Table.Columns {
				c := &m.Table.Columns[i]
				switch f, has := functions[i]; {
				case i == p.times:
					addInteger(c, start*1000, true)
				case i == p.labels[0]:
					addString(c, code, true)
				case has:
					n := out.Groupings[g].Values[(s*len(starts)+b)*len(out.Measures)+measures[f]]
					v, err := valueOf(n.Value, &out.Measures[measures[f]])
					if err != nil {
						return nil, err
					}
					addValue(c, v, n.Shown)
				default:
					addValue(c, 0, false)
				}
			}
			m.Table.Rows++
		}
	}
	for i := range m.Table.Columns {
		if c := &m.Table.Columns[i]; !slices.Contains(c.Absent, true) {
			c.Absent = nil
		}
	}
	return m, m.Table.Check()
}

// valueOf is a published number in the unit of its item.
func valueOf(n int64, m *gate.PublishedMeasure) (float64, error) {
	text := strconv.FormatInt(n, 10)
	if m.Kind != gate.Count {
		text += strings.TrimPrefix(m.Unit, "1")
	}
	return strconv.ParseFloat(text, 64)
}

// functions are those of the columns that a metric feeds.
func (p *plan) functions(metric string) map[int]catalog.Function {
	all := map[int]catalog.Function{}
	for _, v := range p.fed(map[string]string{"__name__": metric}) {
		all[v.column] = v.function
	}
	return all
}
