package query

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Periods knows how often devices report, declared or learned. Its methods are
// called for every series of every query and from many goroutines.
type Periods interface {
	// Period returns a device's reporting period; false when it is not known.
	Period(device string) (period time.Duration, ok bool)
	// MaxPeriod returns the longest period of any device; 0 when none is known.
	MaxPeriod() time.Duration
}

// OwnJob is the label job of the series that the hub itself writes.
const OwnJob = "hub"

const (
	// plainHold is for how long a value holds of which no period is known:
	// PromQL's own rule.
	plainHold = 5 * time.Minute
	// maxHold bounds how far an instant selector looks back: two and a half
	// periods of a device that reports every ten hours.
	maxHold = 25 * time.Hour
)

// hold is for how long a value stands when its device reports every period.
func hold(period time.Duration) time.Duration { return period / 2 * 5 }

// lookback is how far instant selectors must look back so that the slowest
// device's last value still stands.
func lookback(p Periods) time.Duration {
	if p == nil {
		return plainHold
	}
	longest := min(p.MaxPeriod(), maxHold) // before it is multiplied, so that it cannot overflow
	return min(max(hold(longest), plainHold), maxHold)
}

// held is a store in which every series ends, for instant selectors, as soon as
// its last value no longer stands: a stale marker follows the sample after
// which nothing came for longer than the hold of its device. PromQL never lets
// range selectors see stale markers, so they read the store as it is.
//
// A series without a known period holds five minutes. Such series and those of
// fast devices are selected over their own short window rather than over the
// lookback of the slowest device, which may be three hundred times as long.
type held struct {
	storage.Queryable
	periods  Periods
	lookback time.Duration // that of the query
}

func (h held) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := h.Queryable.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return &heldQuerier{q, h.periods, h.lookback.Milliseconds()}, nil
}

type heldQuerier struct {
	storage.Querier
	periods  Periods
	lookback int64
}

func (q *heldQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	if hints == nil || hints.Range > 0 {
		return q.Querier.Select(ctx, sorted, hints, ms...)
	}
	speeds := []speed{fast, slow}
	if q.lookback <= plainHold.Milliseconds() {
		speeds = speeds[:1]
	} else if device, ok := soleDevice(ms); ok && speedOf(q.hold(device)) == fast {
		speeds = speeds[:1]
	}
	sets := make([]storage.SeriesSet, len(speeds))
	for i, s := range speeds {
		sets[i] = q.selectSpeed(ctx, sorted, *hints, s, ms)
	}
	switch {
	case len(sets) == 1:
		return sets[0]
	case sorted:
		return storage.NewMergeSeriesSet(sets, hints.Limit, storage.ChainedSeriesMerge)
	}
	return &chainedSet{sets: sets}
}

// selectSpeed selects the series of one speed over the window that matters to
// them. PromQL's hints begin one lookback, less a millisecond, before the first
// instant that is evaluated.
func (q *heldQuerier) selectSpeed(ctx context.Context, sorted bool, hints storage.SelectHints, s speed, ms []*labels.Matcher) storage.SeriesSet {
	if s == fast {
		hints.Start += q.lookback - plainHold.Milliseconds()
	}
	return &heldSet{SeriesSet: q.Querier.Select(ctx, sorted, &hints, ms...), querier: q, speed: s, until: hints.End}
}

// hold returns for how many milliseconds the values of a device stand; never
// longer than the query looks back.
func (q *heldQuerier) hold(device string) int64 {
	if device != "" && q.periods != nil {
		if period, ok := q.periods.Period(device); ok && period > 0 {
			return min(hold(min(period, maxHold)).Milliseconds(), q.lookback)
		}
	}
	return plainHold.Milliseconds()
}

// holdOf is the hold of a series. What the hub itself writes of a device comes
// once a minute, whatever the device's period is.
func (q *heldQuerier) holdOf(l labels.Labels) int64 {
	device := l.Get("device")
	if device == "" || l.Get("job") == OwnJob {
		return plainHold.Milliseconds()
	}
	return q.hold(device)
}

// speed parts series by whether their hold fits into five minutes.
type speed bool

const (
	fast speed = false
	slow speed = true
)

func speedOf(hold int64) speed { return hold > plainHold.Milliseconds() }

// soleDevice returns the only device that the matchers let through, if they
// name one.
func soleDevice(ms []*labels.Matcher) (string, bool) {
	for _, m := range ms {
		if m.Name == "device" && m.Type == labels.MatchEqual {
			return m.Value, true
		}
	}
	return "", false
}

// heldSet passes on the series of one speed, each with its end marked.
type heldSet struct {
	storage.SeriesSet
	querier *heldQuerier
	speed   speed
	until   int64
	current storage.Series
	made    []heldSeries // allocated by the hundred: there is one for each series
}

func (s *heldSet) Next() bool {
	for s.SeriesSet.Next() {
		series := s.SeriesSet.At()
		hold := s.querier.holdOf(series.Labels())
		if speedOf(hold) != s.speed {
			continue
		}
		s.current = series
		if hold < s.querier.lookback {
			s.current = s.wrap(series, hold)
		}
		return true
	}
	return false
}

func (s *heldSet) wrap(series storage.Series, hold int64) storage.Series {
	if len(s.made) == cap(s.made) {
		s.made = make([]heldSeries, 0, 128)
	}
	s.made = append(s.made, heldSeries{series, hold, s.until})
	return &s.made[len(s.made)-1]
}

func (s *heldSet) At() storage.Series { return s.current }

// chainedSet gives one set after the other, for readers that want no order.
type chainedSet struct {
	sets []storage.SeriesSet
	at   int
}

func (c *chainedSet) Next() bool {
	for ; c.at < len(c.sets); c.at++ {
		if c.sets[c.at].Next() {
			return true
		}
		if c.sets[c.at].Err() != nil {
			return false
		}
	}
	return false
}

func (c *chainedSet) At() storage.Series { return c.sets[c.at].At() }

func (c *chainedSet) Err() error {
	for _, s := range c.sets {
		if err := s.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (c *chainedSet) Warnings() annotations.Annotations {
	var all annotations.Annotations
	for _, s := range c.sets {
		all.Merge(s.Warnings())
	}
	return all
}
