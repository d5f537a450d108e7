// Package quality measures, day by day, how good the data of published datasets
// are: whether what was to come came, in time, plausible, once and in order, and
// whether the own addresses answer. Where that is not what is declared, and where
// somebody collects the same again, it is a finding, with the numbers and the way
// out. It reads the store once for a dataset, keeps every day, and changes
// nothing of what it measures. Art. 25(2)
package quality

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Deps are what a keeper measures with. All are required but Releases and Paths.
type Deps struct {
	Records  *records.DB
	Register *register.Register
	Store    storage.Queryable
	// Selection says which series a dataset is made of; none: of no series.
	Selection func(*catalog.Dataset) (register.Selection, error)
	// Expect says what is known of a metric of a device, and of the unit that its
	// series names.
	Expect func(device, metric, unit string) Expected
	// Arrivals calls back with how the samples of devices came since the start.
	Arrivals func(yield func(device string, a *telemetry.Arrivals) bool)
	// Releases are those of a dataset; nil: there are none.
	Releases func(id string) []catalog.Release
	// Paths are the own addresses of a dataset that anybody may open, and Base
	// where they begin: the door of this machine. Nil: none are tried.
	Paths   func(*catalog.Dataset) []string
	Base    func() string
	Client  *http.Client
	Devices Devices
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Keeper measures and keeps what was measured. Its methods may be called from any
// goroutine.
type Keeper struct {
	cfg     Config
	deps    Deps
	gauges  *gauges
	measure sync.Mutex // held while a day is measured

	arrivals arrivals

	mu     sync.RWMutex // guards all below
	latest map[string]*Measured
	open   map[string]map[string]Finding // by dataset and key
}

// Open reads what was last measured.
func Open(ctx context.Context, cfg Config, d Deps) (*Keeper, error) {
	k := &Keeper{cfg: cfg, deps: d, latest: map[string]*Measured{}, open: map[string]map[string]Finding{}}
	if err := k.load(ctx); err != nil {
		return nil, fmt.Errorf("read what was measured of datasets: %w", err)
	}
	k.gauges = newGauges(k)
	d.Metrics.MustRegister(k.gauges)
	return k, nil
}

// caughtUp is how many days back are measured that were missed while the hub was
// off.
const caughtUp = 7

// Run measures every day once it is over, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if err := k.Due(ctx); err != nil && ctx.Err() == nil {
			k.deps.Log.Error("quality_not_measured", "error", err)
		}
		select {
		case <-ctx.Done():
			// What came until now is counted; the context of the end is over.
			return k.Count(context.WithoutCancel(ctx))
		case <-tick.C:
		}
	}
}

// Due does all that is to be done by now: it writes down how samples came, and
// measures the days that are over and were not measured yet.
func (k *Keeper) Due(ctx context.Context) error {
	if err := k.count(ctx, false); err != nil {
		return err
	}
	last := DayOf(k.deps.Clock().Add(-k.cfg.After - 24*time.Hour))
	for ago := caughtUp - 1; ago >= 0; ago-- {
		day := DayOf(last.Begin().Add(-time.Duration(ago) * 24 * time.Hour))
		if err := k.Measure(ctx, day); err != nil {
			return err
		}
	}
	return nil
}

// Measure measures a day of all datasets that were public in it, or are released of
// it, and were not measured yet.
func (k *Keeper) Measure(ctx context.Context, day Day) error {
	k.measure.Lock()
	defer k.measure.Unlock()
	todo, err := k.todo(ctx, day)
	if err != nil || len(todo) == 0 {
		return err
	}
	came, err := k.arrived(ctx, day)
	if err != nil {
		return err
	}
	began := k.deps.Clock()
	found, failed := newCopies(), 0
	for _, d := range todo {
		m, findings, err := k.dataset(ctx, d, day, came, found)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil { // the others are measured, and this one again in a minute
			failed++
			k.deps.Log.Error("dataset_not_measured", "dataset", d.ID, "day", day, "error", err)
			continue
		}
		if err := k.keep(ctx, m, findings, Copied); err != nil {
			return err
		}
	}
	if failed == 0 {
		if err := k.copies(ctx, day, todo, found); err != nil {
			return err
		}
	}
	k.gauges.took.Set(k.deps.Clock().Sub(began).Seconds())
	return k.forget(ctx, day)
}

// todo are the datasets to measure on a day, in the order of their ids: those that
// were published by its end, and those of which the day is released.
func (k *Keeper) todo(ctx context.Context, day Day) (all []*catalog.Dataset, err error) {
	done, err := k.measured(ctx, day)
	if err != nil {
		return nil, err
	}
	for _, d := range k.deps.Register.Published() {
		if !done[d.ID] && (d.Published.Before(day.End()) || k.released(d.ID, day)) {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *catalog.Dataset) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all, nil
}

// released reports whether there is a release of all of a day: it may be of before the
// dataset was published.
func (k *Keeper) released(id string, day Day) bool {
	if k.deps.Releases == nil {
		return false
	}
	return slices.ContainsFunc(k.deps.Releases(id), func(r catalog.Release) bool {
		return !r.Period.From.After(day.Begin()) && !r.Period.To.Before(day.End())
	})
}

// dataset measures a day of one dataset.
func (k *Keeper) dataset(ctx context.Context, d *catalog.Dataset, day Day, came map[string]*telemetry.Arrivals, found *copies) (*Measured, []Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	m := &Measured{Dataset: d.ID, Day: day, At: k.deps.Clock().UTC().Truncate(time.Millisecond), From: day.Begin().UTC(), AgeSeconds: -1}
	if d.Published.After(m.From) && d.Published.Before(day.End()) {
		m.From = d.Published
	}
	if d.Cycle.Kind == catalog.Periodic {
		m.CycleSeconds = d.Cycle.Period.Seconds()
	}
	r := reading{keeper: k, dataset: d, m: m, found: found, devices: map[string]bool{}, units: map[string]string{}}
	if err := r.run(ctx); err != nil {
		return nil, nil, fmt.Errorf("measure dataset %s: %w", d.ID, err)
	}
	if last := k.Latest(d.ID); m.AgeSeconds < 0 && last != nil && last.Day < day && last.AgeSeconds >= 0 {
		m.AgeSeconds = last.AgeSeconds + day.Begin().Sub(last.Day.Begin()).Seconds()
	}
	m.Arrived = sum(r.devices, came)
	if k.deps.Releases != nil {
		m.aged(k.deps.Releases(d.ID))
	}
	if k.deps.Paths != nil {
		k.probe(ctx, m, k.deps.Paths(d))
	}
	findings := append(k.cfg.findings(d, m), units(d, day, r.units)...)
	return m, findings, nil
}

// maxFormer bounds the former counts of a day; the first stay.
const maxFormer = 20

// Revise measures the samples of a day once more that was measured before they were
// corrected or came late. What stood before is kept beside. How samples came, their
// age and what was tried that day stay as they were.
func (k *Keeper) Revise(ctx context.Context, id string, day Day) error {
	k.measure.Lock()
	defer k.measure.Unlock()
	before, err := k.of(ctx, id, day)
	if err != nil || before == nil {
		return err
	}
	rec, err := k.deps.Register.Get(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	d := rec.Dataset()
	m := &Measured{Dataset: id, Day: day, At: k.deps.Clock().UTC().Truncate(time.Millisecond), From: before.From, AgeSeconds: before.AgeSeconds, CycleSeconds: before.CycleSeconds,
		Arrived: before.Arrived, Probes: before.Probes, Former: before.Former}
	r := reading{keeper: k, dataset: d, m: m, devices: map[string]bool{}, units: map[string]string{}}
	if err := r.run(ctx); err != nil {
		return fmt.Errorf("measure dataset %s on %s again: %w", id, day, err)
	}
	was, is := before.counts(), m.counts()
	if was.At = is.At; was == is {
		return nil
	}
	m.AgeSeconds = before.AgeSeconds
	if len(m.Former) < maxFormer {
		m.Former = append(m.Former, before.counts())
	}
	return k.keep(ctx, m, append(k.cfg.findings(d, m), units(d, day, r.units)...), Copied)
}

// aged goes by releases where they are newer than what is known of series.
func (m *Measured) aged(all []catalog.Release) {
	for _, r := range all {
		if made := m.Day.End(); r.Made.Before(made) && !r.Period.To.IsZero() {
			if age := max(0, made.Sub(r.Period.To).Seconds()); m.AgeSeconds < 0 || age < m.AgeSeconds {
				m.AgeSeconds = age
			}
		}
	}
}

// Latest is what was last measured of a dataset; nil: nothing yet. It is not to
// be changed.
func (k *Keeper) Latest(id string) *Measured {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.latest[id]
}

// Measurements are what the catalogue's feed says of a dataset.
func (k *Keeper) Measurements(id string) []catalog.Measurement {
	if m := k.Latest(id); m != nil {
		return m.Measurements()
	}
	return nil
}

// Findings are the open findings of a dataset.
func (k *Keeper) Findings(id string) (all []Finding) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, f := range k.open[id] {
		all = append(all, f)
	}
	sortFindings(all)
	return all
}
