package hub

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/telemetry"
)

// releasesDir is where releases lie in the data directory.
const releasesDir = "catalog/releases"

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
		Dir: filepath.Join(h.at.Data, filepath.FromSlash(releasesDir)), Keys: keys, Noted: h.notedRelease, Log: h.log, Clock: h.clock,
	})
	if err == nil {
		h.stack.start("sealing of releases", h.sealReleases)
	}
	return err
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
