package query

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Periods knows how often devices report, declared, learned or by their models.
// Its methods are
// called for every series of every query and from many goroutines.
type Periods interface {
	// Period returns how often a device reports a metric, and with an empty one
	// the metric that comes most seldom; false when it is not known.
	Period(device, metric string) (period time.Duration, ok bool)
	// MaxPeriod returns the longest period of any device; 0 when none is known.
	MaxPeriod() time.Duration
	// LongPeriods returns the devices with a period longer than LongPeriod:
	// the same slice until one comes or goes. It is only read.
	LongPeriods() []string
}

// LongPeriod is up to where all series are looked at over the look-back that
// their devices' periods need; devices with a longer one are looked up by name.
const LongPeriod = 10 * time.Hour

// OwnJob is the label job of the series that the hub itself writes.
const OwnJob = telemetry.OwnJob

const (
	// plainHold is for how long a value holds of which no period is known:
	// PromQL's own rule.
	plainHold = 5 * time.Minute
	// slowHold is how far an instant selector looks back for all series.
	slowHold = LongPeriod / 2 * 5
	// maxHold is how far it looks back for those of devices with a long period:
	// two and a half times the 31 days that the registry takes at most.
	maxHold = 31 * 24 * time.Hour / 2 * 5
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
// A series without a known period holds five minutes. Series are selected in
// bands of their holds, each over its own window rather than over the look-back
// of the slowest device, which may be twenty thousand times as long: the
// window decides how many blocks are searched. Devices with a period beyond
// LongPeriod are few, and named to the index: what the others have in the
// months before is not touched.
type held struct {
	confined
	periods  Periods
	long     *longOnes
	lookback time.Duration // that of the query
}

func (h held) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := h.confined.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return &heldQuerier{confinedQuerier: q.(*confinedQuerier), held: h, lookback: h.lookback.Milliseconds()}, nil
}

type heldQuerier struct {
	*confinedQuerier
	held     held
	lookback int64
	windows  []storage.Querier // over single windows
}

func (q *heldQuerier) Close() error {
	var errs []error
	for _, w := range q.windows {
		errs = append(errs, w.Close())
	}
	return errors.Join(append(errs, q.confinedQuerier.Close())...)
}

// within selects over a window alone: a querier searches all blocks of its own
// range, whatever the hints say.
func (q *heldQuerier) within(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	w, err := q.held.Queryable.Querier(hints.Start, hints.End)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	q.windows = append(q.windows, w)
	return (&confinedQuerier{w, q.budget}).Select(ctx, sorted, hints, ms...)
}

func (q *heldQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	switch {
	case hints == nil:
		return q.confinedQuerier.Select(ctx, sorted, hints, ms...)
	case hints.Range > 0:
		return q.within(ctx, sorted, hints, ms...)
	}
	var sets []storage.SeriesSet
	for _, b := range q.bands(ms) {
		sets = append(sets, q.selectBand(ctx, sorted, *hints, b, ms))
	}
	switch {
	case len(sets) == 1:
		return sets[0]
	case sorted:
		return storage.NewMergeSeriesSet(sets, hints.Limit, storage.ChainedSeriesMerge)
	}
	return &chainedSet{sets: sets}
}

// bands are those in which the matchers may find series. What the hub itself
// writes is always fast.
func (q *heldQuerier) bands(ms []*labels.Matcher) []band {
	slowest := bandOf(q.lookback)
	if device, ok := sole(ms, deviceLabel); ok {
		metric, named := sole(ms, "__name__")
		slowest = bandOf(q.hold(device, metric))
		if named && slowest == long {
			return []band{fast, long}
		}
	}
	return []band{fast, slow, long}[:slowest+1]
}

// selectBand selects the series of one band over the window that matters to
// them. PromQL's hints begin one lookback, less a millisecond, before the first
// instant that is evaluated.
func (q *heldQuerier) selectBand(ctx context.Context, sorted bool, hints storage.SelectHints, b band, ms []*labels.Matcher) storage.SeriesSet {
	switch b {
	case fast:
		hints.Start += q.lookback - plainHold.Milliseconds()
	case slow:
		hints.Start += max(0, q.lookback-slowHold.Milliseconds())
	case long:
		m, err := q.held.long.matcher()
		if err != nil {
			return storage.ErrSeriesSet(err)
		}
		ms = append(ms[:len(ms):len(ms)], m)
	}
	return &heldSet{SeriesSet: q.within(ctx, sorted, &hints, ms...), querier: q, band: b, until: hints.End}
}

// hold returns for how many milliseconds the values of a device's metric stand,
// of the one that stands longest where none is named; never longer than the
// query looks back.
func (q *heldQuerier) hold(device, metric string) int64 {
	if device != "" && q.held.periods != nil {
		if period, ok := q.held.periods.Period(device, metric); ok && period > 0 {
			return min(hold(min(period, maxHold)).Milliseconds(), q.lookback)
		}
	}
	return plainHold.Milliseconds()
}

// holdOf is the hold of a series. What the hub itself writes of a device comes
// once a minute, whatever the device's period is.
func (q *heldQuerier) holdOf(l labels.Labels) int64 {
	device := l.Get(deviceLabel)
	if device == "" || l.Get("job") == OwnJob {
		return plainHold.Milliseconds()
	}
	return q.hold(device, l.Get("__name__"))
}

// band parts series by how long they hold.
type band int

const (
	fast band = iota // up to five minutes
	slow             // up to slowHold
	long
)

func bandOf(hold int64) band {
	switch {
	case hold <= plainHold.Milliseconds():
		return fast
	case hold <= slowHold.Milliseconds():
		return slow
	}
	return long
}

// longOnes names the devices with long periods to the index.
type longOnes struct {
	periods Periods

	mu   sync.Mutex
	of   []string
	made *labels.Matcher // for of; making it costs more than a query
}

func (l *longOnes) matcher() (*labels.Matcher, error) {
	devices := l.periods.LongPeriods()
	l.mu.Lock()
	defer l.mu.Unlock()
	if same := len(l.of) == len(devices) && (len(devices) == 0 || &l.of[0] == &devices[0]); same && l.made != nil {
		return l.made, nil
	}
	// Without devices it matches what has none, which is in no band but fast.
	m, err := labels.NewMatcher(labels.MatchRegexp, deviceLabel, oneOf(devices))
	if err != nil {
		return nil, fmt.Errorf("devices with long periods: %w", err)
	}
	l.of, l.made = devices, m
	return m, nil
}

// sole returns the only value of a label that the matchers let through, if they
// name one.
func sole(ms []*labels.Matcher, label string) (string, bool) {
	for _, m := range ms {
		if m.Name == label && m.Type == labels.MatchEqual {
			return m.Value, true
		}
	}
	return "", false
}

// heldSet passes on the series of one band, each with its end marked.
type heldSet struct {
	storage.SeriesSet
	querier *heldQuerier
	band    band
	until   int64
	current storage.Series
	made    []heldSeries // allocated by the hundred: there is one for each series
}

func (s *heldSet) Next() bool {
	for s.SeriesSet.Next() {
		series := s.SeriesSet.At()
		hold := s.querier.holdOf(series.Labels())
		if bandOf(hold) != s.band {
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
