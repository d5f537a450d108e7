package influx

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// Querier implements storage.Queryable. Times are in milliseconds since the Unix
// epoch, both included.
func (c *Client) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{client: c, mint: mint, maxt: maxt}, nil
}

type querier struct {
	client     *Client
	mint, maxt int64
}

func (q *querier) Close() error { return nil }

// Select implements storage.Querier. The samples of all series that match are in
// memory when it returns: InfluxDB promises no order of series.
func (q *querier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	mint, maxt := q.mint, q.maxt
	plan := everything
	limit := 0
	if hints != nil {
		mint, maxt, limit = max(mint, hints.Start), min(maxt, hints.End), hints.Limit
		plan = planOf(hints)
	}
	found := &found{most: q.client.cfg.MaxSamples, ms: ms, by: map[string]*series{}}
	if flux := q.client.query(mint, maxt, ms, plan...); flux != "" {
		if err := q.client.rows(ctx, flux, found.add); err != nil {
			return storage.ErrSeriesSet(err)
		}
	}
	return found.set(limit)
}

// Only values that are finite can be compared on the server.
const (
	valuesAlone = `r._field == "` + valueField + `"`
	bitsAlone   = `r._field == "` + bitsField + `"`
)

var (
	everything = []part{{bothFields, ""}}
	newest     = []part{{bothFields, "|> last()\n"}}
)

// planOf is what the server does of a PromQL function, where the result is the
// same bit by bit. It does for one instant alone: windows cost InfluxDB more than
// all of their samples. Hints without a function may be of who wants them all.
//
// An instant selector sees the newest sample. The largest and the smallest of
// what a range holds are the first such samples, for InfluxDB as for PromQL; of
// the last one and of whether there is any the newest value tells, and markers
// beside it. Sums would be added in another order.
//
// Who changes samples on their way to PromQL must clear Func: what is changed may
// no longer be the largest, and the one that then is was not sent.
func planOf(h *storage.SelectHints) []part {
	switch {
	case h.Func == "series":
		return newest
	case h.Step != 0 || h.Func == "":
		return everything
	case h.Range == 0:
		return newest
	}
	switch h.Func {
	case "max_over_time":
		return []part{{valuesAlone, "|> max()\n"}, {bitsAlone, ""}}
	case "min_over_time":
		return []part{{valuesAlone, "|> min()\n"}, {bitsAlone, ""}}
	case "last_over_time", "present_over_time", "absent_over_time":
		return []part{{valuesAlone, "|> last()\n"}, {bitsAlone, ""}}
	}
	return everything
}

// found is the series that the rows of answers make up.
type found struct {
	most int // samples
	ms   []*labels.Matcher
	by   map[string]*series // by what is stored of their labels
	all  []*series

	samples int
	table   *series   // of the current rows; nil when it does not match
	of      *[]sample // its values or its bits
	isBits  bool
	time    int // columns of the current table
	value   int
}

// sample is a value at a time in milliseconds since the Unix epoch.
type sample struct {
	t int64
	v float64
}

func (f *found) add(r *row) error {
	if r.first {
		if err := f.begin(r); err != nil {
			return err
		}
	}
	if f.table == nil {
		return nil
	}
	if f.samples++; f.samples > f.most {
		return fmt.Errorf("a selector has more than %d samples; ask for less at once, or raise store.remote.influx.max_samples", f.most)
	}
	s, ok, err := f.read(r)
	if ok {
		*f.of = append(*f.of, s)
	}
	return err
}

// begin reads the labels of a table.
func (f *found) begin(r *row) error {
	f.time, f.value = r.schema.column(timeColumn), r.schema.column(valueColumn)
	field := r.cell(r.schema.column(fieldColumn))
	if f.time < 0 || f.value < 0 || field != valueField && field != bitsField {
		return fmt.Errorf("the answer has a table of field %q with the columns %q", field, r.schema.names[1:])
	}
	key := r.tags()
	s, known := f.by[key]
	if !known {
		if s = (&series{labels: r.labels()}); !matches(f.ms, s.labels) {
			s = nil
		} else {
			f.all = append(f.all, s)
		}
		f.by[key] = s
	}
	f.table, f.isBits = s, field == bitsField
	if s != nil {
		if f.of = &s.values; f.isBits {
			f.of = &s.bits
		}
	}
	return nil
}

func matches(ms []*labels.Matcher, l labels.Labels) bool {
	for _, m := range ms {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

// read reads the sample of a row; false when it has no value, or one that nobody
// can have written for us.
func (f *found) read(r *row) (s sample, ok bool, err error) {
	at, err := time.Parse(time.RFC3339Nano, r.cell(f.time))
	if err != nil {
		return s, false, fmt.Errorf("the answer has a time %q", r.cell(f.time))
	}
	s.t = at.UnixMilli()
	text := r.cell(f.value)
	if text == "" {
		return s, false, nil
	}
	if f.isBits {
		var bits int64
		bits, err = strconv.ParseInt(text, 10, 64)
		s.v = math.Float64frombits(uint64(bits))
	} else {
		s.v, err = strconv.ParseFloat(text, 64)
	}
	if err != nil {
		return s, false, fmt.Errorf("the answer has a value %q of field %s", text, map[bool]string{true: bitsField, false: valueField}[f.isBits])
	}
	return s, true, nil
}

// isTag reports whether a column holds a tag or the measurement.
func (s *schema) isTag(i int) bool {
	return i < len(s.group) && s.group[i] && (s.names[i] == measurementColumn || s.names[i] != "" && s.names[i][0] != '_')
}

// tags is what is stored of the labels of a row, as a key.
func (r *row) tags() string {
	var key strings.Builder
	for i, name := range r.schema.names {
		if r.schema.isTag(i) && r.cell(i) != "" {
			key.WriteString(name)
			key.WriteByte(0)
			key.WriteString(r.cell(i))
			key.WriteByte(0)
		}
	}
	return key.String()
}

// labels are those of the series that a row is of.
func (r *row) labels() labels.Labels {
	var b labels.ScratchBuilder
	for i, name := range r.schema.names {
		switch {
		case !r.schema.isTag(i) || r.cell(i) == "":
		case name == measurementColumn:
			if metric := original(r.cell(i)); metric != "" {
				b.Add(metricName, metric)
			}
		default:
			b.Add(original(name), original(r.cell(i)))
		}
	}
	b.Sort()
	return b.Labels()
}

// set is what was found, cut to limit series if that is not 0. It is in order for
// everybody: the last bits of a sum depend on it.
func (f *found) set(limit int) storage.SeriesSet {
	slices.SortFunc(f.all, func(a, b *series) int { return labels.Compare(a.labels, b.labels) })
	if limit > 0 && len(f.all) > limit {
		f.all = f.all[:limit]
	}
	return &seriesSet{all: f.all, at: -1}
}
