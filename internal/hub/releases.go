package hub

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/telemetry"
)

// releasesDir is where releases lie in the data directory.
const releasesDir = "catalog/releases"

// cutsDir is where parts of releases lie that were made for narrowed grants. It is
// no part of a backup: they are made again.
const cutsDir = "cuts"

// openReleases opens the files of datasets. It comes after the register, which
// says of what grade they are.
func (h *hub) openReleases() error {
	var keys *release.Keys
	var err error
	if path := h.cfg.Releases.KeyFile; path != "" {
		if keys, err = release.ReadKeys(path, h.at.Data); err != nil {
			return err
		}
	}
	h.releases, err = release.Open(release.Deps{
		Dir: filepath.Join(h.at.Data, filepath.FromSlash(releasesDir)), Keys: keys, Noted: h.notedRelease, Changed: h.feedChanged, Log: h.log, Clock: h.clock,
		Cuts: release.CutDeps{Dir: filepath.Join(h.at.Data, cutsDir), Max: int64(h.cfg.Releases.CutsMax), Where: func(ctx context.Context, dataset string, version int64) ([]release.Stretch, error) {
			return h.publisher.Stretches(ctx, dataset, version)
		}},
	})
	if err == nil {
		h.measureCuts()
		h.stack.start("sealing of releases", h.sealReleases)
	}
	return err
}

// measureCuts shows how much room the parts of releases take.
func (h *hub) measureCuts() {
	use := func(of func(release.CutUse) float64) func() float64 {
		return func() float64 { return of(h.releases.CutUse()) }
	}
	h.metrics.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_release_cuts", Help: "Parts of releases that are kept for narrowed grants."}, use(func(u release.CutUse) float64 { return float64(u.Kept) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_release_cuts_bytes", Help: "Bytes of these on disk; at most releases.cuts_max."}, use(func(u release.CutUse) float64 { return float64(u.Bytes) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "hub_release_cuts_made_total", Help: "Parts of releases that were made."}, use(func(u release.CutUse) float64 { return float64(u.Made) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "hub_release_cuts_found_total", Help: "Requests for parts of releases that were there."}, use(func(u release.CutUse) float64 { return float64(u.Found) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "hub_release_cuts_dropped_total", Help: "Parts of releases that made room for others."}, use(func(u release.CutUse) float64 { return float64(u.Dropped) })),
	)
}

// eventActions is what the record of changes calls what becomes of releases.
var eventActions = map[release.Event]access.Action{release.Made: access.MakeReleases, release.Sealed: access.SealReleases, release.Removed: access.RemoveReleases}

// notedRelease puts a release, or its end, on record.
func (h *hub) notedRelease(ctx context.Context, what release.Event, m *release.Manifest) error {
	after, err := m.Note()
	if err != nil {
		return err
	}
	region := ""
	if rec, err := h.catalog.Get(m.Dataset); err == nil {
		region = rec.Region()
	}
	c := access.CallerOf(ctx)
	e := audit.Entry{At: h.clock(), Actor: c.Name, Role: c.Role, Origin: c.Address, Action: eventActions[what], Object: fmt.Sprintf("release %s/%d", m.Dataset, m.Version), Region: region, After: after}
	if !c.Known() {
		e.Actor = own
	}
	return h.audit.Add(ctx, e)
}

// sealEvery is how soon after a raised grade what was released before lies
// encrypted; it is out of everybody's reach at once.
const sealEvery = 30 * time.Second

// sealReleases encrypts releases that lie in plain of datasets whose grade asks for
// more than that. Art. 74(3)
func (h *hub) sealReleases(ctx context.Context) error {
	tick := time.NewTicker(sealEvery)
	defer tick.Stop()
	told := map[string]bool{}
	for {
		h.sealRaised(ctx, told)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sealRaised encrypts what lies in plain now; what fails is told once.
func (h *hub) sealRaised(ctx context.Context, told map[string]bool) {
	for _, id := range h.releases.Datasets() {
		rec, err := h.catalog.Get(id)
		if err != nil || rec.Dataset().Grade < telemetry.Important {
			continue
		}
		if err := h.releases.Seal(ctx, id); err != nil && !told[id] && ctx.Err() == nil {
			told[id] = true
			h.log.Error("releases_not_sealed", "dataset", id, "error", err)
		}
	}
}
