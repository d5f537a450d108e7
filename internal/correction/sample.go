package correction

import (
	"context"
	"maps"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Value is what is read of a sample; there may be none.
type Value struct {
	V  float64
	Is bool
}

// Sample is one that a correction is about: as it came, as it was read before the
// correction and right after it, and as it is read now.
type Sample struct {
	Labels                  map[string]string
	At                      int64 // ms
	Raw, Before, After, Now Value
}

// Samples are those that a correction is about, series by series, at most limit;
// more says that there are others.
func (l *Log) Samples(ctx context.Context, c *Correction, limit int) (all []Sample, more bool, err error) {
	q, err := l.deps.Store.Querier(c.From, c.To)
	if err != nil {
		return nil, false, err
	}
	defer q.Close()
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, metricLabel, c.Metric), labels.MustNewMatcher(labels.MatchEqual, deviceLabel, c.Device)}
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, name, c.Labels[name]))
	}
	set := q.Select(ctx, true, nil, ms...)
	var it chunkenc.Iterator
	for set.Next() {
		ls := set.At().Labels()
		it = set.At().Iterator(it)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if kind != chunkenc.ValFloat {
				continue
			}
			t, raw := it.At()
			if telemetry.IsStaleMarker(raw) {
				continue
			}
			if len(all) == limit {
				return all, true, nil
			}
			s := Sample{Labels: ls.Map(), At: t, Raw: Value{raw, true}}
			active := l.active(ls, t)
			before := slices.IndexFunc(active, func(a *Correction) bool { return a.ID >= c.ID })
			if before < 0 {
				before = len(active)
			}
			s.Before.V, s.Before.Is = apply(active[:before], raw)
			s.After.V, s.After.Is = apply(active[:min(before+1, len(active))], raw)
			s.Now.V, s.Now.Is = apply(active, raw)
			all = append(all, s)
		}
		if err := it.Err(); err != nil {
			return nil, false, err
		}
	}
	return all, false, set.Err()
}
