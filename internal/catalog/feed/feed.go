// Package feed keeps the public catalogue as others read it: the current
// snapshot, those that somebody still reads, and what became of each dataset
// last. A change that was told has a number that is on disk; the same number
// never tells something else, also after a crash. What is not published is in no
// new snapshot. Art. 32
package feed

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/ckan"
	"github.com/songhua-io/hub/internal/catalog/dcat"
	"github.com/songhua-io/hub/internal/records"
)

// Deps are what a feed works with. All are required but those that may be nil.
type Deps struct {
	Base    catalog.Base
	Records *records.DB
	// Datasets lists the ids of all datasets, whatever their state.
	Datasets func() []string
	// Standing is what stands of a dataset, and why it is not public where it is
	// not. It is not changed afterwards. Nil: there is none.
	Standing func(id string) (d *catalog.Dataset, reason string)
	// Releases are those of a dataset in order; nil: there are none.
	Releases func(id string) []catalog.Release
	// Live are the interfaces of a dataset; nil: there are none.
	Live func(d *catalog.Dataset) []catalog.Distribution
	// Measured is the quality of a dataset; nil: none is measured.
	Measured func(id string) []catalog.Measurement
	// Coverage is what a dataset covers; nil: not known.
	Coverage func(id string) catalog.Coverage
	// Services are what Live refers to.
	Services []catalog.Service
	// Advanced is called after every new snapshot; it does not block. Nil: nobody asks.
	Advanced func()
	Log      *slog.Logger
	Clock    func() time.Time
	Metrics  prometheus.Registerer
}

// Feed is the catalogue as it is read. All methods may be called from any
// goroutine.
type Feed struct {
	cfg   Config
	about *dcat.About
	deps  Deps
	cache *cache
	count *counters

	wake  chan struct{} // holds one: something is in dirty
	dmu   sync.Mutex
	dirty map[string]bool

	imu     sync.Mutex // guards what was made of the current snapshot when it was asked for
	indexed *Snapshot
	index   *ckan.Index

	mu        sync.RWMutex // guards all below; Run alone writes
	told      map[string]*told
	last      int64 // the highest number given
	forgotten int64 // the highest number of a tombstone that is no longer kept
	current   *Snapshot
	read      *shelf
}

// told is what the public was told of a dataset last. It never changes.
type told struct {
	number int64
	at     time.Time
	digest [32]byte
	// entry is nil where it is gone, and reason says why.
	entry  *catalog.Entry
	reason string
	source *catalog.Dataset // of the register, that entry is made of
}

// Snapshot is the catalogue at one moment.
type Snapshot struct {
	*catalog.Snapshot
	// Tag is of what persons decided of all entries.
	Tag [32]byte
}

// Open reads what was told, tells what changed since, and makes the first
// snapshot. It costs the digests of all datasets: about a second for 10,000.
func Open(ctx context.Context, cfg Config, d Deps) (*Feed, error) {
	f := &Feed{
		cfg: cfg, about: cfg.about(d.Base), deps: d, cache: newCache(int64(cfg.Cache)), wake: make(chan struct{}, 1), dirty: map[string]bool{},
		told: map[string]*told{}, read: newShelf(cfg.Snapshots),
	}
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	f.count = newCounters(d.Metrics, f)
	return f, f.advance(ctx, slices.Concat(d.Datasets(), slices.Collect(maps.Keys(f.told))))
}

// Changed says that something about a dataset may be another than it was. It does
// not block.
func (f *Feed) Changed(id string) {
	f.dmu.Lock()
	f.dirty[id] = true
	f.dmu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Feed) gathered() []string {
	f.dmu.Lock()
	defer f.dmu.Unlock()
	ids := slices.Collect(maps.Keys(f.dirty))
	clear(f.dirty)
	return ids
}

// Run makes new snapshots until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	refresh := time.NewTicker(f.cfg.Refresh)
	defer refresh.Stop()
	for {
		var ids []string
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
			ids = f.gathered()
		case <-refresh.C:
			ids = f.deps.Datasets()
			if err := f.forget(ctx); err != nil {
				f.deps.Log.Error("feed_tombstones_not_removed", "error", err)
			}
		}
		if err := f.advance(ctx, ids); err != nil && ctx.Err() == nil {
			f.deps.Log.Error("feed_not_kept", "error", err)
			for _, id := range ids {
				f.Changed(id)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(f.cfg.Interval):
		}
	}
}

// advance tells what became of datasets and makes the snapshot that has it. Run
// alone calls it.
func (f *Feed) advance(ctx context.Context, ids []string) error {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	next, last := map[string]*told{}, f.last
	var changed []string
	for _, id := range ids {
		was := f.told[id]
		is := f.assemble(id, was)
		if is == was {
			continue
		}
		next[id] = is
		if was == nil || is.digest != was.digest {
			last++
			is.number, is.at = last, f.deps.Clock()
			changed = append(changed, id)
		}
	}
	if len(next) == 0 && f.current != nil {
		return nil
	}
	if len(changed) == 0 {
		last++ // of the snapshot itself
	}
	if err := f.keep(ctx, last, changed, next); err != nil {
		return err
	}
	f.count.changes.Add(float64(len(changed)))
	f.stand(last, next)
	if f.deps.Advanced != nil {
		f.deps.Advanced()
	}
	return nil
}

// stand lets everybody see what is told now.
func (f *Feed) stand(last int64, next map[string]*told) {
	s := &Snapshot{Snapshot: catalog.NewSnapshot(last, f.merged(next), f.deps.Services)}
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.told, next)
	s.Tag = f.about.Tag(s.Snapshot, func(e *catalog.Entry) [32]byte { return f.told[e.Dataset.ID].digest })
	f.last, f.current = last, s
}

// merged are the entries of the current snapshot with those that are told now, by
// their ids: in order, so that sorting them costs a look.
func (f *Feed) merged(next map[string]*told) []*catalog.Entry {
	var old []*catalog.Entry
	if f.current != nil { // Run alone writes
		old = f.current.Entries
	}
	all := make([]*catalog.Entry, 0, len(old)+len(next))
	for _, id := range slices.Sorted(maps.Keys(next)) {
		i := 0
		for i < len(old) && old[i].Dataset.ID < id {
			i++
		}
		all, old = append(all, old[:i]...), old[i:]
		if len(old) > 0 && old[0].Dataset.ID == id {
			old = old[1:]
		}
		if e := next[id].entry; e != nil {
			all = append(all, e)
		}
	}
	return append(all, old...)
}

// assemble makes of a dataset what is to be told; was: nothing is another.
func (f *Feed) assemble(id string, was *told) *told {
	d, reason := f.deps.Standing(id)
	if d == nil || d.State != catalog.Published {
		if was == nil || was.entry == nil && was.digest == [32]byte{} {
			return was
		}
		return &told{number: was.number, at: was.at, reason: reason}
	}
	e := f.entry(d)
	is := &told{entry: e, source: d}
	if was != nil {
		is.number, is.at = was.number, was.at
		if was.source == d && offers(was.entry, e) { // what persons decide is the same
			is.digest = was.digest
			return is
		}
	}
	is.digest = f.about.Digest(e, f.deps.Services)
	return is
}

// entry is a dataset with all that is offered of it. What cannot be said of it is
// left out, and the log says so: the dataset itself stays, for to harvesters what
// is not there was deleted.
func (f *Feed) entry(d *catalog.Dataset) *catalog.Entry {
	is := *d
	e := &catalog.Entry{Dataset: &is}
	if f.deps.Releases != nil {
		e.Releases = f.deps.Releases(d.ID)
	}
	if f.deps.Live != nil {
		e.Live = f.deps.Live(d)
	}
	if f.deps.Measured != nil {
		e.Measurements = f.deps.Measured(d.ID)
	}
	if f.deps.Coverage != nil {
		e.Coverage = f.deps.Coverage(d.ID)
	}
	for _, p := range e.Check() {
		f.deps.Log.Warn("feed_part_left_out", "dataset", d.ID, "part", p.Path, "problem", p.EN)
		switch {
		case strings.HasPrefix(p.Path, "releases"):
			e.Releases = nil
		case strings.HasPrefix(p.Path, "live"):
			e.Live = nil
		case strings.HasPrefix(p.Path, "measurements"):
			e.Measurements = nil
		default:
			e.Coverage = catalog.Coverage{}
		}
	}
	if r := e.Latest(); r != nil {
		is.Data = r.Made
	}
	return e
}

// offers reports whether two entries of one dataset offer the same.
func offers(a, b *catalog.Entry) bool {
	if a == nil || len(a.Releases) != len(b.Releases) || !slices.Equal(a.Live, b.Live) {
		return false
	}
	x, y := a.Latest(), b.Latest()
	return x == y || x.Version == y.Version && x.Made.Equal(y.Made) && slices.Equal(x.Files, y.Files)
}

// Base is where all addresses begin.
func (f *Feed) Base() catalog.Base { return f.about.Base }

// Current is the newest snapshot.
func (f *Feed) Current() *Snapshot {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.current
}

// Index is the newest snapshot as CKAN's API reads it. Of the one before it takes
// what is the same.
func (f *Feed) Index() *ckan.Index {
	f.imu.Lock()
	defer f.imu.Unlock()
	if s := f.Current(); f.indexed != s {
		f.indexed, f.index = s, ckan.NewIndex(s.Snapshot, f.about.Base, f.index)
	}
	return f.index
}

// Item is what the public was told of a dataset last.
type Item struct {
	Dataset string
	// Number is that of the change, and At the time; zero: not known any more.
	Number int64
	At     time.Time
	// Entry is nil where it is gone, and Reason says why.
	Entry  *catalog.Entry
	Reason string
	// Snapshot has it.
	Snapshot *catalog.Snapshot
}

// Item returns what was told of a dataset. One that nothing is known of any more
// is gone.
func (f *Feed) Item(id string) Item {
	f.mu.RLock()
	defer f.mu.RUnlock()
	t := f.told[id]
	if t == nil {
		t = &told{number: max(f.forgotten, 1)}
	}
	return Item{id, t.number, t.at, t.entry, t.reason, f.current.Snapshot}
}

// Each calls do with every dataset that something was told of, and the number of
// the last change, in no order. It must not call the feed.
func (f *Feed) Each(do func(dataset string, number int64)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for id, t := range f.told {
		do(id, t.number)
	}
}

// ErrGone is wrapped by what Changes says of a number that it cannot go on from.
var ErrGone = fmt.Errorf("cannot be gone on from")

// Changes are those after a number up to the snapshot that is returned with them,
// at most dcat.PerChanges; more: others follow.
func (f *Feed) Changes(ctx context.Context, after int64) (all []catalog.Change, s *Snapshot, more bool, err error) {
	f.mu.RLock()
	s, forgotten := f.current, f.forgotten
	f.mu.RUnlock()
	if after < forgotten || after > s.Number {
		return nil, s, false, fmt.Errorf("%d %w", after, ErrGone)
	}
	all, err = f.since(ctx, after, s)
	if len(all) > dcat.PerChanges {
		all, more = all[:dcat.PerChanges], true
	}
	return all, s, more, err
}

// key names the snapshot among pages that were written.
func (s *Snapshot) key() string { return strconv.FormatInt(s.Number, 10) + " " }
