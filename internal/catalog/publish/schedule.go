package publish

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/source"
)

// Run finishes what was decided before, follows grades, and makes releases each
// day at their time, until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	follow := time.NewTicker(followEvery)
	defer follow.Stop()
	due := p.due(p.deps.Clock())
	if err := p.finishAll(ctx); err != nil && ctx.Err() == nil {
		p.deps.Log.Error("release_not_finished", "error", err)
	}
	working := make(chan struct{}, 1) // one pass at a time, beside the grades
	for {
		select {
		case <-ctx.Done():
			working <- struct{}{}
			return nil
		case <-follow.C:
		}
		if err := p.follow(ctx); err != nil && ctx.Err() == nil {
			p.deps.Log.Error("grades_not_followed", "error", err)
		}
		if now := p.deps.Clock(); !now.Before(due) {
			select {
			case working <- struct{}{}:
				due = p.due(now)
				go func() {
					p.Daily(ctx)
					<-working
				}()
			default:
			}
		}
	}
}

// due is the next time at which releases are made.
func (p *Publisher) due(now time.Time) time.Time {
	at, err := p.cfg.at()
	if err != nil {
		panic(err) // it was checked
	}
	due := source.Day(now).From.Add(at)
	if !due.After(now) {
		due = due.Add(24 * time.Hour)
	}
	return due
}

func (p *Publisher) finishAll(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	pending, err := p.publications(ctx, "released = 0 ORDER BY dataset, version")
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, pub := range pending {
		if id := pub.Dataset.ID; !done[id] {
			done[id] = true
			if err := p.finish(ctx, id); err != nil && !errors.Is(err, ErrShut) {
				p.deps.Log.Error("release_not_finished", "dataset", id, "error", err)
			}
		}
	}
	return nil
}

// Daily releases the days of the look-back that are over, of all datasets that are
// published: those that are not out yet, and again those whose rows have changed.
// Before, it makes again what changed behind the look-back; after, it removes what
// is kept no longer. What goes wrong with one dataset keeps no other back.
func (p *Publisher) Daily(ctx context.Context) {
	today := source.Day(p.deps.Clock())
	back, err := p.lookBack(ctx, today)
	if err == nil {
		err = p.reopen(ctx)
	}
	if err == nil {
		err = p.remake(ctx)
	}
	if err != nil && ctx.Err() == nil {
		p.deps.Log.Error("releases_not_made_again", "error", err)
	}
	for _, d := range p.deps.Published() {
		if d.Cycle.Kind == catalog.Never || ctx.Err() != nil {
			continue
		}
		p.days(ctx, d, today, max(back, p.cfg.LookBack))
		p.retain(ctx, d)
	}
	if ctx.Err() == nil {
		err = errors.Join(p.passed(ctx, today), p.deps.Passages.Forget(ctx, today.From.Add(-KeepPassages)))
	}
	if err != nil && ctx.Err() == nil {
		p.deps.Log.Error("daily_releases_not_closed", "error", err)
	}
}

// days releases the days of a dataset from so many back on until yesterday.
func (p *Publisher) days(ctx context.Context, d *catalog.Dataset, today catalog.Period, back int) {
	for ; back >= 1; back-- {
		_, err := p.Make(ctx, Order{Dataset: d.ID, Day: today.From.AddDate(0, 0, -back)})
		switch {
		case err == nil || errors.Is(err, ErrSame) || errors.Is(err, ErrEmpty) || errors.Is(err, ErrEarly) || ctx.Err() != nil:
			continue
		case errors.Is(err, ErrShut) || errors.Is(err, ErrGrade):
			p.deps.Log.Warn("release_refused", "dataset", d.ID, "error", err)
		default:
			p.deps.Log.Error("release_not_made", "dataset", d.ID, "error", err)
		}
		return
	}
}

// retain removes the files of releases that are older than the dataset keeps
// them. What the gate knows of them stays.
func (p *Publisher) retain(ctx context.Context, d *catalog.Dataset) {
	if d.Retention == 0 {
		return
	}
	until := p.deps.Clock().Add(-d.Retention)
	for _, r := range p.deps.Store.List(d.ID) {
		if r.Period.To.After(until) {
			continue
		}
		if err := p.deps.Store.Remove(ctx, d.ID, r.Version); err != nil {
			p.deps.Log.Error("release_not_removed", "dataset", d.ID, "version", r.Version, "error", err)
			continue
		}
		p.deps.Log.Info("release_removed", "dataset", d.ID, "version", r.Version, "note", "its retention has ended")
	}
}

// metrics are those of a publisher.
type metrics struct {
	releases *prometheus.CounterVec
	seconds  prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		releases: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_publish_releases_total", Help: "Releases that were asked for, by what came of it."}, []string{"result"}),
		seconds:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hub_publish_release_seconds", Help: "Time to make a release, the gate and its attacks included.", Buckets: []float64{0.1, 0.3, 1, 3, 10, 30, 100}}),
	}
	reg.MustRegister(m.releases, m.seconds)
	return m
}

func (m *metrics) made(err error, took time.Duration) {
	result := "failed"
	switch {
	case err == nil:
		result = "made"
		m.seconds.Observe(took.Seconds())
	case errors.Is(err, ErrSame):
		result = "same"
	case errors.Is(err, ErrEmpty), errors.Is(err, ErrEarly):
		result = "nothing"
	case errors.Is(err, ErrShut), errors.Is(err, ErrGrade):
		result = "refused"
	}
	m.releases.WithLabelValues(result).Inc()
}
