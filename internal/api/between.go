package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/release"
)

type compareIn struct {
	ReleaseID
	Against int64  `query:"against" minimum:"0" doc:"the version that counts as the one before; absent: the one that this release replaces"`
	Grant   string `query:"grant" maxLength:"32" doc:"compare what this grant gives of both; absent: what the caller's own grants give, or all"`
}

type compareOut struct {
	Body struct {
		Dataset string          `json:"dataset"`
		Version int64           `json:"version"`
		Against int64           `json:"against"`
		Keyed   bool            `json:"keyed" doc:"rows are told apart by their key; where a part lacks some of it, rows are the same where all their values are, and none is changed"`
		Diff    release.Changes `json:"diff"`
		Grant   string          `json:"grant,omitempty" doc:"by which the caller reads"`
		Cut     *release.Cut    `json:"cut,omitempty" doc:"the part of the later version that is compared"`
	}
}

// compareReleases compares two versions as far as the caller may download both, by
// one grant where it takes one. It counts as two requests by that grant.
func (a *API) compareReleases(ctx context.Context, in *compareIn) (*compareOut, error) {
	rec, err := a.dataset(ctx, in.Dataset)
	if err != nil {
		return nil, err
	}
	m, err := a.releaseKept(in.Dataset, in.Version)
	if err != nil {
		return nil, err
	}
	out := &compareOut{}
	b := &out.Body
	b.Dataset, b.Version, b.Against = in.Dataset, in.Version, in.Against
	if b.Against == 0 {
		b.Against = m.Replaces
	}
	switch b.Against {
	case 0:
		return nil, fault("query.against", in.Against, fmt.Sprintf("release %d of dataset %s replaces none; name the version that it is compared with", m.Version, m.Dataset))
	case in.Version:
		return nil, fault("query.against", in.Against, "is the same version; name another")
	}
	if err := shut(rec, a.Catalog.Open(in.Dataset, "")); err != nil {
		return nil, err
	}
	after, err := a.admitted(ctx, rec, in.Version, in.Grant)
	if err != nil {
		return nil, err
	}
	defer after.done()
	if after.grant != nil {
		in.Grant = after.grant.ID()
	}
	before, err := a.admitted(ctx, rec, b.Against, in.Grant)
	if err != nil {
		return nil, err
	}
	defer before.done()
	if err := a.noteComparison(ctx, after, b.Against); err != nil {
		return nil, err
	}
	b.Grant, b.Cut = in.Grant, after.cut
	found, err := a.Releases.Store.Between(after.held, in.Dataset, b.Against, in.Version, func(m *release.Manifest) (*release.Cut, error) {
		if m.Version == in.Version {
			return after.cut, nil
		}
		return before.cut, nil
	})
	if err == nil {
		err = context.Cause(after.held)
	}
	if err != nil {
		if ended := context.Cause(after.held); ended != nil {
			err = shut(rec, ended)
		}
		if ctx.Err() != nil {
			err = newProblem(http.StatusServiceUnavailable, "the request was given up")
		}
		return nil, err
	}
	b.Diff, b.Keyed = found.Changes, found.Keyed
	return out, nil
}

// noteComparison puts on record who compares versions by which grant, the first time
// in an hour. Art. 30
func (a *API) noteComparison(ctx context.Context, d *download, against int64) error {
	if d.grant == nil {
		return nil
	}
	object := "release " + d.record.ID + "/" + strconv.FormatInt(d.manifest.Version, 10)
	key := fmt.Sprintf("%s %s %s against %d", access.CallerOf(ctx).Name, d.grant.ID(), object, against)
	if !a.taken.first(key, a.Now()) {
		return nil
	}
	after := map[string]any{"grant": d.grant.ID(), "against": against}
	if d.cut != nil {
		after["cut"] = d.cut
	}
	err := a.Audit.Add(ctx, a.entry(ctx, access.ReadReleases, object, d.record.Region(), nil, after))
	if err != nil {
		a.taken.forget(key)
	}
	return err
}
