package local

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/telemetry"
)

// A commit takes its points in up to three rounds, each an appender of the
// TSDB, and waits for the disk once:
//
//	in order   newer than everything known of their series: most points, no look-up
//	behind     the others within the window: looked up first, since the TSDB would
//	           store a second value of the same time without a word
//	late       older than the window: the same, into the late part
//
// The rule for points of one series and time, in order of arrival and wherever
// the first is stored (head, out-of-order chunks, blocks, late part, the same
// commit): the same value, bit by bit, is taken and changes nothing; another
// value is refused with conflict.

// arrival is a point with its place in the writes of the commit.
type arrival struct {
	id           telemetry.SeriesID
	series       *entry
	time         int64
	value        float64
	write, point int
}

// round is the memory that commits reuse.
type round struct {
	behind []arrival // not newer than what is known of their series
	late   []arrival // refused by the recent part as too old, or by its head as known
	known  []lookup  // what is stored at the times of a run of arrivals
}

var (
	errClosed = errors.New("store is closed")
	errPanic  = errors.New("panic in the TSDB")
)

// Commit implements [store.Engine].
func (d *DB) Commit(writes []*telemetry.Write) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return fmt.Errorf("commit to %s: %w", d.cfg.Dir, errClosed)
	case d.failed != nil:
		return d.failed
	}
	start := time.Now()
	if err := d.take(writes); err != nil {
		d.failed = fmt.Errorf("%w: %w", store.ErrFailed, explain(d.cfg.Dir, err))
		return d.failed
	}
	d.metrics.commit.Observe(time.Since(start).Seconds())
	d.count(writes)
	return nil
}

func (d *DB) take(writes []*telemetry.Write) (err error) {
	defer func() {
		// The TSDB panics when it cannot write a chunk file.
		if r := recover(); r != nil {
			if cause, ok := r.(error); ok {
				err = fmt.Errorf("%w: %w", errPanic, cause)
			} else {
				err = fmt.Errorf("%w: %v", errPanic, r)
			}
		}
	}()
	if err := d.checkSpace(); err != nil {
		return err
	}
	d.table.Begin()
	defer d.table.End()
	d.round.behind, d.round.late = d.round.behind[:0], d.round.late[:0]
	for _, w := range writes {
		w.Refused, w.Repeated = w.Refused[:0], w.Repeated[:0]
	}
	if err := d.takeInOrder(writes); err != nil {
		return err
	}
	if err := d.takeBehind(writes); err != nil {
		return err
	}
	if err := d.takeLate(writes); err != nil {
		return err
	}
	sortRefusals(writes)
	return d.flush()
}

func (d *DB) flush() error {
	start := time.Now()
	defer func() { d.metrics.fsync.Observe(time.Since(start).Seconds()) }()
	if err := d.recent.flush(); err != nil {
		return err
	}
	if late := d.late.Load(); late != nil {
		return late.flush()
	}
	return nil
}

// takeInOrder appends the points that are newer than what is known of their
// series and puts the others behind.
func (d *DB) takeInOrder(writes []*telemetry.Write) error {
	if d.recent.fresh() {
		return d.putAllBehind(writes)
	}
	app, before := d.recent.begin(true)
	samples := 0
	for w, write := range writes {
		for p := range write.Points {
			pt := &write.Points[p]
			s := d.table.Get(pt.Series)
			if s == nil {
				return errors.Join(unknownSeries(pt.Series), app.Rollback())
			}
			switch {
			case pt.Time < s.State.lastT, pt.Time == s.State.lastT && inPlaceOfMarker(pt.Value, s.State.lastV):
				d.putBehind(s, pt, w, p)
				continue
			case pt.Time == s.State.lastT && s.State.lastT != noTime:
				if !same(pt.Value, s.State.lastV) {
					refuse(writes, w, p, telemetry.ReasonConflict)
				} else {
					write.Repeated = append(write.Repeated, p)
				}
				continue
			}
			ref, err := app.Append(s.State.ref, s.Labels, pt.Time, pt.Value)
			switch {
			case err == nil:
				s.State.learn(ref, pt.Time, pt.Value)
				samples++
			case isBehind(err), errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
				d.putBehind(s, pt, w, p)
			default:
				return errors.Join(appendError(s, err), app.Rollback())
			}
		}
	}
	if samples == 0 {
		return app.Rollback()
	}
	missing, err := d.recent.commit(app, before, samples)
	if err != nil || missing == 0 {
		return err
	}
	return d.settle(writes, d.inOrder(writes))
}

func isBehind(err error) bool {
	return errors.Is(err, storage.ErrOutOfOrderSample) || errors.Is(err, storage.ErrTooOldSample) || errors.Is(err, storage.ErrOutOfBounds)
}

func unknownSeries(id telemetry.SeriesID) error {
	return fmt.Errorf("a point has the series id %#x, which was never given out or was forgotten", uint64(id))
}

func appendError(s *entry, err error) error {
	return fmt.Errorf("append to series %s: %w", s.Labels, err)
}

func (d *DB) putBehind(s *entry, pt *telemetry.Point, write, point int) {
	d.round.behind = append(d.round.behind, arrival{pt.Series, s, pt.Time, pt.Value, write, point})
}

// putAllBehind serves the first commit of an empty head: without a newest
// sample the TSDB cannot tell what is in order.
func (d *DB) putAllBehind(writes []*telemetry.Write) error {
	for w, write := range writes {
		for p := range write.Points {
			s := d.table.Get(write.Points[p].Series)
			if s == nil {
				return unknownSeries(write.Points[p].Series)
			}
			d.putBehind(s, &write.Points[p], w, p)
		}
	}
	return nil
}

// inOrder returns the points that takeInOrder appended: those neither refused
// nor put behind.
func (d *DB) inOrder(writes []*telemetry.Write) []arrival {
	var all []arrival
	behind := d.round.behind
	for w, write := range writes {
		refused := write.Refused
		for p := range write.Points {
			switch {
			case len(behind) > 0 && behind[0].write == w && behind[0].point == p:
				behind = behind[1:]
			case len(refused) > 0 && refused[0].Index == p:
				refused = refused[1:]
			default:
				pt := &write.Points[p]
				all = append(all, arrival{pt.Series, d.table.Get(pt.Series), pt.Time, pt.Value, w, p})
			}
		}
	}
	return all
}

// takeBehind stores the points that are not newer than their series, unless
// they are known.
func (d *DB) takeBehind(writes []*telemetry.Write) error {
	if len(d.round.behind) == 0 {
		return nil
	}
	sortArrivals(d.round.behind)
	news, err := d.sift(writes, d.round.behind)
	if err != nil || len(news) == 0 {
		return err
	}
	if d.recent.fresh() {
		newestFirst(news)
	}
	app, before := d.recent.begin(false)
	taken := news[:0]
	for _, a := range news {
		ref, err := app.Append(a.series.State.ref, a.series.Labels, a.time, a.value)
		switch {
		case err == nil:
			a.series.State.learn(ref, a.time, a.value)
			taken = append(taken, a)
		case isBehind(err):
			d.round.late = append(d.round.late, a)
		case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
			refuse(writes, a.write, a.point, telemetry.ReasonConflict)
		default:
			return errors.Join(appendError(a.series, err), app.Rollback())
		}
	}
	if len(taken) == 0 {
		return app.Rollback()
	}
	missing, err := d.recent.commit(app, before, len(taken))
	if err != nil || missing == 0 {
		return err
	}
	return d.settle(writes, taken)
}

// newestFirst puts the newest point first: an empty head begins with the first
// it sees and counts its window from there.
func newestFirst(as []arrival) {
	newest := 0
	for i := range as {
		if as[i].time > as[newest].time {
			newest = i
		}
	}
	as[0], as[newest] = as[newest], as[0]
}

// settle looks up points of which the head did not take all: each is stored
// with its value, or with another and refused, or goes to the late part. The
// last happens after a power cut that kept more of the chunk files than of the
// log: the head knows then a newest time of the series, but not all before it.
func (d *DB) settle(writes []*telemetry.Write, points []arrival) error {
	sortArrivals(points)
	known := make([]int, len(writes)) // what this commit stored itself is no repetition
	for i, w := range writes {
		known[i] = len(w.Repeated)
	}
	missing, err := d.sift(writes, points)
	for i, w := range writes {
		w.Repeated = w.Repeated[:known[i]]
	}
	d.round.late = append(d.round.late, missing...)
	return err
}

// takeLate stores what is too old for the recent part.
func (d *DB) takeLate(writes []*telemetry.Write) error {
	oldest := d.oldestTaken()
	d.round.late = slices.DeleteFunc(d.round.late, func(a arrival) bool {
		if a.time < oldest {
			refuse(writes, a.write, a.point, telemetry.ReasonTimePast)
			return true
		}
		return false
	})
	if len(d.round.late) == 0 {
		return nil
	}
	if d.late.Load() == nil {
		if err := d.openLate(); err != nil {
			return err
		}
	}
	late := d.late.Load()
	app, before := late.begin(false)
	for _, a := range d.round.late {
		if _, err := app.Append(0, a.series.Labels, a.time, a.value); err != nil {
			return errors.Join(appendError(a.series, err), app.Rollback())
		}
	}
	missing, err := late.commit(app, before, len(d.round.late))
	if err != nil {
		return err
	}
	if missing != 0 {
		return fmt.Errorf("%d of %d late points were not stored by the TSDB in %s", missing, len(d.round.late), late.dir)
	}
	d.metrics.late.Add(float64(len(d.round.late)))
	return nil
}

// inPlaceOfMarker reports whether a value was measured at a time at which only
// the end of its series is stored. It does not contradict: the end was told by
// the hub, which did not know that the series goes on right behind its newest
// sample. The TSDB cannot replace what it has, so such values go to the late
// part, and readers prefer them.
func inPlaceOfMarker(v, stored float64) bool {
	return telemetry.IsStaleMarker(stored) && !telemetry.IsStaleMarker(v)
}

func same(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }

func refuse(writes []*telemetry.Write, write, point int, r telemetry.Reason) {
	w := writes[write]
	w.Refused = append(w.Refused, telemetry.Refusal{Index: point, Reason: r})
}

func sortRefusals(writes []*telemetry.Write) {
	for _, w := range writes {
		if len(w.Refused) > 1 {
			slices.SortFunc(w.Refused, func(a, b telemetry.Refusal) int { return cmp.Compare(a.Index, b.Index) })
		}
	}
}

// sortArrivals sorts by series and time; points of the same series and time
// stay in the order in which they came.
func sortArrivals(as []arrival) {
	slices.SortFunc(as, func(a, b arrival) int {
		if c := cmp.Compare(uint32(a.id), uint32(b.id)); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.write, b.write), cmp.Compare(a.point, b.point))
	})
}

func (d *DB) count(writes []*telemetry.Write) {
	taken := 0
	for _, w := range writes {
		taken += len(w.Points) - len(w.Refused)
		for _, r := range w.Refused {
			d.metrics.refused.WithLabelValues(string(r.Reason)).Inc()
		}
	}
	d.metrics.points.Add(float64(taken))
}
