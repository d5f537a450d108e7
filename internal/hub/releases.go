package hub

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/catalog/release"
)

// releasesDir is where releases lie in the data directory.
const releasesDir = "catalog/releases"

// openReleases opens the files of datasets. It comes after the register, which
// says of what grade they are.
func (h *hub) openReleases() (err error) {
	h.releases, err = release.Open(release.Deps{Dir: filepath.Join(h.at.Data, filepath.FromSlash(releasesDir)), Noted: h.notedRelease, Log: h.log, Clock: h.clock})
	return err
}

// notedRelease puts a release, or its end, on record.
func (h *hub) notedRelease(ctx context.Context, what release.Event, m *release.Manifest) error {
	region := ""
	if rec, err := h.catalog.Get(m.Dataset); err == nil {
		region = rec.Region()
	}
	c := access.CallerOf(ctx)
	e := audit.Entry{At: h.clock(), Actor: c.Name, Role: c.Role, Origin: c.Address, Action: access.WriteDatasets, Object: fmt.Sprintf("release %s/%d", m.Dataset, m.Version), Region: region, After: told(string(what))}
	if !c.Known() {
		e.Actor = own
	}
	return h.audit.Add(ctx, e)
}
