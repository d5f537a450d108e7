package correction

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Bounds of the log: it is held in memory, some 300 bytes each, and a read of a
// series looks at all corrections of its metric and device.
const (
	maxAll   = 100_000
	maxOfOne = 1000
)

// Deps are what a log works with. All but Touched are required.
type Deps struct {
	Records *records.DB
	// Store holds the samples as they came.
	Store storage.Queryable
	// Touched notes, durably, that samples of a device from one time to another, in
	// ms and both included, are about to be others than they were; nil: nobody asks.
	Touched func(device string, from, to int64) error
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Log is the corrections, in the order in which they were made. Reads never wait
// for one that is being added.
type Log struct {
	deps Deps
	n    atomic.Int64

	adding sync.Mutex // held while one is added, its disk write included
	parted int64      // no later one is made at or before it, ms; guarded by adding

	mu sync.RWMutex // guards what follows; slices grow behind what readers hold
	// by finds the corrections of a metric of a device; metrics and devices count
	// those of each.
	by      map[key][]*Correction
	metrics map[string]int
	devices map[string]int
	all     []*Correction
}

type key struct{ metric, device string }

// Open reads the log.
func Open(ctx context.Context, d Deps) (*Log, error) {
	l := &Log{deps: d, by: map[key][]*Correction{}, metrics: map[string]int{}, devices: map[string]int{}}
	err := d.Records.Each(ctx, func(r *sql.Rows) error {
		c, text := &Correction{}, ""
		if err := r.Scan(&c.ID, &c.Device, &c.Metric, &c.From, &c.To, &c.At, &text); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), c); err != nil {
			return fmt.Errorf("correction %d cannot be read: %w; restore records.db from a backup", c.ID, err)
		}
		l.put(c)
		return nil
	}, "SELECT id, device, metric, from_ms, to_ms, made_at, record FROM corrections ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("read the corrections: %w", err)
	}
	d.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_correction_log_size", Help: "Corrections that are kept, at most 100,000."}, func() float64 { return float64(l.Len()) }))
	return l, nil
}

// Len is how many there are.
func (l *Log) Len() int { return int(l.n.Load()) }

func (l *Log) put(c *Correction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := key{c.Metric, c.Device}
	l.by[k] = append(l.by[k], c)
	l.metrics[c.Metric]++
	l.devices[c.Device]++
	l.all = append(l.all, c)
	l.n.Add(1)
}

// of returns the corrections of a metric of a device, the oldest first.
func (l *Log) of(metric, device string) []*Correction {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.by[key{metric, device}]
}

// concerns reports whether a correction may be about a series of a selector.
func (l *Log) concerns(ms []*labels.Matcher) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, m := range ms {
		switch {
		case m.Type != labels.MatchEqual:
		case m.Name == metricLabel && l.metrics[m.Value] == 0, m.Name == deviceLabel && l.devices[m.Value] == 0:
			return false
		}
	}
	return len(l.all) > 0
}

// Filter chooses corrections; the zero value chooses all.
type Filter struct {
	Device, Metric string
	Ticket         string
	Before         int64 // only those with a smaller id; 0: all
	// Sees says which the caller may see; nil: all.
	Sees func(*Correction) bool
}

// List returns corrections, the newest first, at most limit, and the id behind
// which others follow; 0 when there are none.
func (l *Log) List(f Filter, limit int) (part []*Correction, next int64) {
	l.mu.RLock()
	all := l.all
	l.mu.RUnlock()
	for i := len(all) - 1; i >= 0; i-- {
		c := all[i]
		switch {
		case f.Before != 0 && c.ID >= f.Before, f.Device != "" && c.Device != f.Device, f.Metric != "" && c.Metric != f.Metric, f.Ticket != "" && c.Ticket != f.Ticket, f.Sees != nil && !f.Sees(c):
		case len(part) == limit:
			return part, part[limit-1].ID
		default:
			part = append(part, c)
		}
	}
	return part, 0
}

// Add adds a correction and returns it as it is kept, once it is durable: every
// read that begins later shows it. ID, At and Samples are its own to fill. One
// that is about no sample is refused with ErrNothing, and one whose Old is not
// what is read there with ErrOld: both tell of a mistake.
func (l *Log) Add(ctx context.Context, c Correction) (*Correction, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	l.adding.Lock()
	defer l.adding.Unlock()
	switch {
	case l.Len() >= maxAll:
		return nil, fmt.Errorf("the hub %w, %d; import the right values for other series, or ask for fewer and wider corrections", ErrFull, maxAll)
	case len(l.of(c.Metric, c.Device)) >= maxOfOne:
		return nil, fmt.Errorf("%s of device %s %w, %d; a scale over a range corrects many samples at once", c.Metric, c.Device, ErrFull, maxOfOne)
	}
	if err := l.measure(ctx, &c); err != nil {
		return nil, err
	}
	c.ID, c.At = 1, max(l.deps.Clock().UnixMilli(), l.parted+1)
	if n := len(l.all); n > 0 { // only adders write it
		last := l.all[n-1]
		c.ID, c.At = last.ID+1, max(c.At, last.At)
	}
	if l.deps.Touched != nil {
		if err := l.deps.Touched(c.Device, c.From, c.To); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(&c)
	if err != nil {
		return nil, err
	}
	err = l.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO corrections (id, device, metric, from_ms, to_ms, made_at, record) VALUES (?, ?, ?, ?, ?, ?, ?)", c.ID, c.Device, c.Metric, c.From, c.To, c.At, string(text))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("keep a correction of %s: %w", &c, err)
	}
	l.put(&c)
	return &c, nil
}

// Part returns a time that parts what is known from what will be: a read as of it
// sees every correction that there is and, whenever it is done again, no other.
func (l *Log) Part() time.Time {
	l.adding.Lock()
	defer l.adding.Unlock()
	at := l.deps.Clock().UnixMilli()
	if n := len(l.all); n > 0 {
		at = max(at, l.all[n-1].At)
	}
	l.parted = max(l.parted, at)
	return time.UnixMilli(at)
}

// Made are the corrections that were made after one time and until another, and are
// about samples of a stretch from..to, in ms and both included; the oldest first.
func (l *Log) Made(after, until time.Time, from, to int64) (some []*Correction) {
	l.mu.RLock()
	all := l.all
	l.mu.RUnlock()
	for _, c := range all[sort.Search(len(all), func(i int) bool { return all[i].At > after.UnixMilli() }):] {
		if c.At > until.UnixMilli() {
			break
		}
		if c.overlaps(from, to) {
			some = append(some, c)
		}
	}
	return some
}

// Get returns the correction with an id; nil: there is none.
func (l *Log) Get(id int64) *Correction {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i := sort.Search(len(l.all), func(i int) bool { return l.all[i].ID >= id })
	if i < len(l.all) && l.all[i].ID == id {
		return l.all[i]
	}
	return nil
}

// measure counts the samples that a correction is about, as they are corrected
// now, and notes the old value of a single one.
func (l *Log) measure(ctx context.Context, c *Correction) error {
	store := l.Queryable()
	if c.Operation == Restore || c.Operation == Set { // of removed ones, too
		store = l.deps.Store
	}
	q, err := store.Querier(c.From, c.To)
	if err != nil {
		return err
	}
	defer q.Close()
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, metricLabel, c.Metric), labels.MustNewMatcher(labels.MatchEqual, deviceLabel, c.Device)}
	for name, value := range c.Labels {
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, name, value))
	}
	want, found := c.Old, 0 // series
	c.Old = nil
	set := q.Select(ctx, false, nil, ms...)
	var it chunkenc.Iterator
	for set.Next() {
		before := c.Samples
		s := set.At()
		it = s.Iterator(it)
		if err := l.count(it, s.Labels(), c, want); err != nil {
			return err
		}
		if c.Samples > before {
			found++
		}
	}
	switch {
	case set.Err() != nil:
		return set.Err()
	case c.Samples == 0:
		return fmt.Errorf("%s %w, from %s to %s; `hub import` adds samples that are missing", c, ErrNothing, clock(c.From), clock(c.To))
	case c.From == c.To && found > 1:
		c.Old = nil
		if c.Operation == Set {
			return fmt.Errorf("%w: %d series of %s have a sample at %s; name one by its labels", ErrInvalid, found, c, clock(c.From))
		}
	}
	return nil
}

// count adds the samples of one series to those of a correction.
func (l *Log) count(it chunkenc.Iterator, ls labels.Labels, c *Correction, want *float64) error {
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		if kind != chunkenc.ValFloat {
			continue
		}
		_, v := it.At()
		if telemetry.IsStaleMarker(v) {
			continue
		}
		c.Samples++
		if c.From == c.To {
			old, kept := v, true
			if c.Operation == Restore || c.Operation == Set {
				old, kept = apply(l.active(ls, c.From), v)
			}
			if want != nil && (!kept || *want != old) {
				return fmt.Errorf("%v %w of %s at %s, which is %s; read it again with `hub query`", *want, ErrOld, c, clock(c.From), shown(old, kept))
			}
			if kept {
				c.Old = &old
			}
		}
		if made, _ := apply([]*Correction{c}, v); math.IsInf(made, 0) || math.IsNaN(made) && !math.IsNaN(v) {
			return fmt.Errorf("%w: %v × %v + %v of %s at %s is no finite number", ErrInvalid, c.Factor, v, c.Offset, c, clock(it.AtT()))
		}
	}
	return it.Err()
}

func (l *Log) active(ls labels.Labels, t int64) (all []*Correction) {
	for _, c := range l.of(ls.Get(metricLabel), ls.Get(deviceLabel)) {
		if c.overlaps(t, t) && c.about(ls) {
			all = append(all, c)
		}
	}
	return all
}

func shown(v float64, kept bool) string {
	if !kept {
		return "removed"
	}
	return fmt.Sprint(v)
}
