package quality

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/telemetry"
)

const metricLabel = "__name__"

// lately is for how long a series is expected that was there: a device that is
// silent for longer is a finding of those days, and then none of the dataset's
// any more.
const lately = 7 * 24 * time.Hour

// maxFlags bounds the samples that were flagged when they came and are remembered
// while a dataset is read.
const maxFlags = 1_000_000

// reading is one pass over the store for a dataset.
type reading struct {
	keeper  *Keeper
	dataset *catalog.Dataset
	m       *Measured
	found   *copies

	devices  map[string]bool
	units    map[string]string // by item
	newest   int64
	expected map[string]labels.Labels // that no sample was seen of yet
	flags    map[string][]int64       // by series: when a sample was out of range
	flagged  int
	binned   binned
}

func (r *reading) run(ctx context.Context) error {
	selection, err := r.keeper.deps.Selection(r.dataset)
	if err != nil || len(selection) == 0 {
		return err
	}
	ms, err := matchersOf(selection)
	if err != nil {
		return err
	}
	begin := r.m.Day.Begin()
	if err := r.readFlags(ctx, ms); err != nil {
		return err
	}
	if err := r.list(ctx, ms, begin.Add(-lately)); err != nil {
		return err
	}
	q, err := r.keeper.deps.Store.Querier(begin.UnixMilli(), r.m.Day.End().UnixMilli()-1)
	if err != nil {
		return err
	}
	defer q.Close()
	set := q.Select(ctx, false, &storage.SelectHints{Start: begin.UnixMilli(), End: r.m.Day.End().UnixMilli() - 1}, ms...)
	var it chunkenc.Iterator
	for set.Next() {
		ls := set.At().Labels()
		key := seriesKey(ls, ls.Get(metricLabel))
		if _, listed := r.expected[key]; !listed {
			continue
		}
		delete(r.expected, key)
		it = set.At().Iterator(it)
		if err := r.series(ls, it); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := set.Err(); err != nil {
		return err
	}
	for _, ls := range r.expected { // that had no samples
		if err := r.series(ls, chunkenc.NewNopIterator()); err != nil {
			return err
		}
	}
	r.m.Devices = len(r.devices)
	if r.newest > 0 {
		r.m.AgeSeconds = max(0, r.m.Day.End().Sub(time.UnixMilli(r.newest)).Seconds())
	}
	return nil
}

// list finds the series that are expected: those of the days before too. Samples
// are not read.
func (r *reading) list(ctx context.Context, ms []*labels.Matcher, from time.Time) error {
	begin, end := from.UnixMilli(), r.m.Day.End().UnixMilli()-1
	q, err := r.keeper.deps.Store.Querier(begin, end)
	if err != nil {
		return err
	}
	defer q.Close()
	r.expected = map[string]labels.Labels{}
	set := q.Select(ctx, false, &storage.SelectHints{Start: begin, End: end, Func: "series"}, ms...)
	for set.Next() {
		ls := set.At().Labels()
		metric := ls.Get(metricLabel)
		if r.item(metric) == nil && r.dataset.Source.Kind == catalog.SourceSeries {
			continue // the dataset says nothing of it
		}
		if len(r.expected) >= r.keeper.cfg.MaxSeries {
			r.m.Cut = true
			break
		}
		r.expected[seriesKey(ls, metric)] = ls.Copy()
	}
	return set.Err()
}

// item is the one that holds a metric; nil for none.
func (r *reading) item(metric string) *catalog.Item { return register.ItemOf(r.dataset, metric) }

// series counts one.
func (r *reading) series(ls labels.Labels, it chunkenc.Iterator) error {
	device, metric, unit := ls.Get("device"), ls.Get(metricLabel), ls.Get(telemetry.UnitTag)
	item := r.item(metric)
	is := r.keeper.deps.Expect(device, metric, unit)
	bin := r.dataset.Source.Bin
	if bin <= 0 {
		bin = time.Hour
	}
	begin, end := r.m.Day.Begin(), r.m.Day.End()
	if !is.Since.Before(end) {
		is.Since = time.Time{} // its history was brought in: it measured before it was registered
	}
	t := newTally(&is, r.m.From, end, bin, r.keeper.cfg.FlatLine)
	flags := r.flags[seriesKey(ls, metric)]
	r.binned.reset(begin)
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		if kind != chunkenc.ValFloat {
			continue
		}
		at, v := it.At()
		if telemetry.IsStaleMarker(v) {
			continue
		}
		r.newest = max(r.newest, at)
		_, flagged := slices.BinarySearch(flags, at)
		t.add(Sampled{at, v, flagged})
		r.binned.add(at, v)
	}
	if err := it.Err(); err != nil {
		return err
	}
	t.end()
	if is.Gone && t.n == 0 {
		return nil
	}
	r.devices[device] = true
	r.m.Series++
	r.m.Expected += t.expected()
	r.m.Received += t.received()
	r.m.Samples += t.n
	r.m.Invalid += t.invalid
	r.m.Range += t.outOfRange
	r.m.Jump += t.jump
	r.m.Flat += t.flat
	if t.n == 0 {
		r.m.Silent++
		return nil
	}
	if item != nil && is.Unit != "" {
		r.units[item.Name] = is.Unit
	}
	if s, ok := r.binned.sketch(); ok && r.found != nil && len(r.found.of) < r.keeper.cfg.MaxSeries {
		r.found.add(s, origin{r.dataset.ID, device, metric, nameOf(ls)})
	}
	return nil
}

// readFlags remembers which samples were out of range when they came: the series
// beside each metric says so.
func (r *reading) readFlags(ctx context.Context, ms []*labels.Matcher) error {
	begin, end := r.m.Day.Begin().UnixMilli(), r.m.Day.End().UnixMilli()-1
	q, err := r.keeper.deps.Store.Querier(begin, end)
	if err != nil {
		return err
	}
	defer q.Close()
	r.flags = map[string][]int64{}
	set := q.Select(ctx, false, &storage.SelectHints{Start: begin, End: end}, beside(ms)...)
	var it chunkenc.Iterator
	for set.Next() {
		ls := set.At().Labels()
		key := seriesKey(ls, strings.TrimSuffix(ls.Get(metricLabel), telemetry.OutOfRange))
		it = set.At().Iterator(it)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if at, v := it.At(); v == 1 && r.flagged < maxFlags {
				r.flags[key] = append(r.flags[key], at)
				r.flagged++
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
		slices.Sort(r.flags[key])
	}
	return set.Err()
}

// beside are the conditions of the series beside those that others select.
func beside(ms []*labels.Matcher) []*labels.Matcher {
	var all []*labels.Matcher
	for _, m := range ms {
		switch {
		case m.Name != metricLabel:
			all = append(all, m)
		case m.Type == labels.MatchEqual || m.Type == labels.MatchNotEqual:
			all = append(all, labels.MustNewMatcher(m.Type, m.Name, m.Value+telemetry.OutOfRange))
		default: // it compiled without the suffix
			all = append(all, labels.MustNewMatcher(m.Type, m.Name, "(?:"+m.Value+")"+telemetry.OutOfRange))
		}
	}
	return append(all, labels.MustNewMatcher(labels.MatchRegexp, metricLabel, ".+"+telemetry.OutOfRange))
}

func matchersOf(s register.Selection) ([]*labels.Matcher, error) {
	types := map[string]labels.MatchType{"=": labels.MatchEqual, "!=": labels.MatchNotEqual, "=~": labels.MatchRegexp, "!~": labels.MatchNotRegexp}
	all := make([]*labels.Matcher, len(s))
	for i, m := range s {
		one, err := labels.NewMatcher(types[m.Is], m.Label, m.Value)
		if err != nil {
			return nil, err
		}
		all[i] = one
	}
	return all, nil
}

// seriesKey tells series apart by all of their labels, under a metric.
func seriesKey(ls labels.Labels, metric string) string {
	var b strings.Builder
	b.WriteString(metric)
	ls.Range(func(l labels.Label) {
		if l.Name != metricLabel {
			b.WriteString("\xff" + l.Name + "\xfe" + l.Value)
		}
	})
	return b.String()
}

// nameOf is how people call a series.
func nameOf(ls labels.Labels) string {
	var tags []string
	ls.Range(func(l labels.Label) {
		if l.Name != metricLabel && !telemetry.IsReserved([]byte(l.Name)) {
			tags = append(tags, l.Name+"="+l.Value)
		}
	})
	name := ls.Get(metricLabel) + " @ " + ls.Get("device")
	if len(tags) > 0 {
		name += " (" + strings.Join(tags, ", ") + ")"
	}
	return name
}
