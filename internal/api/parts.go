package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/release"
)

// readsAll reports whether a caller reads all of a dataset by no grant.
func readsAll(c access.Caller, rec *register.Record) bool {
	return rec.Dataset().Open.Class == catalog.Unconditional || access.Allow(c, access.WriteDatasets, rec.Region()).Allowed
}

// manyGrants bounds the grants of one caller to a dataset that are looked at.
const manyGrants = 100

// grantsOf are the grants that a caller has to a dataset, the newest first.
func (a *API) grantsOf(ctx context.Context, rec *register.Record) ([]*register.Grant, error) {
	c := access.CallerOf(ctx)
	if !c.Known() {
		return nil, nil
	}
	return a.Catalog.Grants(ctx, register.GrantQuery{Applicant: c.Name, Dataset: rec.ID, State: register.Granted, Limit: manyGrants})
}

// grantedPart is what a grant gives of a release.
type grantedPart struct {
	grant   *register.Grant
	cut     *release.Cut     // nil: all
	outside *release.Outside // it gives nothing, and why
}

// partsOf is what grants give of a release: all of it first, then parts, the newest
// grant first, and then those that give nothing.
func partsOf(grants []*register.Grant, rec *register.Record, m *release.Manifest) []grantedPart {
	all := make([]grantedPart, len(grants))
	for i, g := range grants {
		all[i].grant = g
		var err error
		all[i].cut, err = m.Narrow(g.Given(rec.Dataset()), g.Scope.Area, g.Scope.From, g.Scope.To)
		errors.As(err, &all[i].outside)
	}
	rank := func(p grantedPart) int {
		switch {
		case p.outside != nil:
			return 2
		case p.cut != nil:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b grantedPart) int { return cmp.Compare(rank(a), rank(b)) })
	return all
}

// viewer is who looks at releases, and by which grant.
type viewer struct {
	api    *API
	grant  *register.Grant // nil: by the own ones
	grants map[string][]*register.Grant
}

// viewer is the caller; with the id of a grant what that gives: one that the caller
// may see.
func (a *API) viewer(ctx context.Context, grant string) (*viewer, error) {
	v := &viewer{api: a, grants: map[string][]*register.Grant{}}
	if grant == "" {
		return v, nil
	}
	var err error
	v.grant, err = a.grant(ctx, grant)
	return v, err
}

func (v *viewer) looksAt(dataset string) bool { return v.grant == nil || v.grant.Dataset == dataset }

// shown is a release as somebody is shown it.
type shown struct {
	*release.Manifest
	grant string // by which it is a part
	known bool   // sizes and hashes are
}

// sees is what the viewer has of a release: the part that the own grants give, or
// all. It is nil where the grant that is looked at gives nothing.
func (v *viewer) sees(ctx context.Context, m *release.Manifest) (*shown, error) {
	rec, err := v.api.Catalog.Get(m.Dataset)
	if err != nil {
		return nil, err
	}
	whole := &shown{Manifest: m, known: true}
	grants := []*register.Grant{v.grant}
	if v.grant == nil {
		if readsAll(access.CallerOf(ctx), rec) {
			return whole, nil
		}
		of, looked := v.grants[m.Dataset]
		if !looked {
			if of, err = v.api.grantsOf(ctx, rec); err != nil {
				return nil, err
			}
			v.grants[m.Dataset] = of
		}
		grants = of
	}
	parts := partsOf(grants, rec, m)
	switch {
	case len(parts) == 0 || parts[0].outside != nil && v.grant == nil:
		return whole, nil
	case parts[0].outside != nil:
		return nil, nil
	case parts[0].cut == nil:
		return whole, nil
	}
	part, known := v.api.Releases.Store.Describe(m, parts[0].cut)
	if m.Removed != nil {
		gone := *part
		gone.Removed, part = m.Removed, &gone
	}
	return &shown{part, parts[0].grant.ID(), known}, nil
}

func (s *shown) rows() *int64 {
	if !s.known {
		return nil
	}
	return &s.Manifest.Rows
}

func (s *shown) files() []fileOut {
	all := make([]fileOut, len(s.Manifest.Files))
	for i := range s.Manifest.Files {
		f := &s.Manifest.Files[i]
		all[i] = fileOut{Name: f.Name, MediaType: f.MediaType, SHA256: f.SHA256, Rows: f.Rows, URL: "/catalog/dataset/" + url.PathEscape(s.Dataset) + "/release/" + strconv.FormatInt(s.Version, 10) + "/" + url.PathEscape(f.Name)}
		if s.known {
			all[i].Size = &f.Size
		}
		if s.grant != "" {
			all[i].URL += "?" + grantOption + "=" + url.QueryEscape(s.grant)
		}
	}
	return all
}

// note says what is to be known of a part; nil: nothing.
func (s *shown) note() *text {
	var n text
	if !s.known {
		n = text{"各文件的大小、行数与散列在首次下载其中任一文件后可知。", "Sizes, rows and hashes are known after the first download of one of its files."}
	}
	if len(s.Key) == 0 {
		n.ZH += "授权的信息项不含区分各行的全部信息项（时间、标签），各行按所含的值排列。"
		n.EN += " The items that are granted are not all that tell rows apart (time, labels): rows are in the order of their values."
	}
	if n.ZH == "" {
		return nil
	}
	return &n
}

// What is put on record of downloads: the first in an hour of a file by a grant.
// Readers of Parquet ask for many ranges.
const (
	notedFor  = time.Hour
	manyNoted = 4096
)

// notedDownloads are those that were put on record lately. When there are too many
// all are forgotten, and some are noted twice.
type notedDownloads struct {
	mu  sync.Mutex
	all map[string]time.Time
}

// first reports whether a download is to be noted.
func (n *notedDownloads) first(key string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at, ok := n.all[key]; ok && now.Sub(at) < notedFor {
		return false
	}
	if n.all == nil || len(n.all) >= manyNoted {
		n.all = map[string]time.Time{}
	}
	n.all[key] = now
	return true
}

// forget is for one that could not be noted.
func (n *notedDownloads) forget(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.all, key)
}

// noteDownload puts on record who reads which part of a release by which grant,
// before the first byte. Art. 30
func (a *API) noteDownload(r *http.Request, d *download) error {
	if d.grant == nil || r.Method != http.MethodGet {
		return nil
	}
	c := access.CallerOf(r.Context())
	key := c.Name + " " + d.grant.ID() + " " + d.content.SHA256
	if !a.taken.first(key, a.Now()) {
		return nil
	}
	after := map[string]any{"grant": d.grant.ID(), "file": d.content.Name, "sha256": d.content.SHA256, "size": d.content.Size}
	if d.cut != nil {
		after["cut"] = d.cut
	}
	e := a.entry(r.Context(), access.ReadReleases, "release "+d.record.ID+"/"+strconv.FormatInt(d.manifest.Version, 10), d.record.Region(), nil, after)
	err := a.Audit.Add(r.Context(), e)
	if err != nil {
		a.taken.forget(key)
	}
	return err
}
