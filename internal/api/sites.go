package api

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/registry"
)

// SiteIn is what callers say of a site.
type SiteIn struct {
	Names  text     `json:"names"`
	Region string   `json:"region,omitempty" doc:"six-digit division code (GB/T 2260)"`
	Lat    *float64 `json:"lat,omitempty"`
	Lon    *float64 `json:"lon,omitempty"`
}

type siteOut struct {
	ID string `json:"id"`
	SiteIn
	Version int64     `json:"version"`
	Updated time.Time `json:"updated"`
}

type oneSite struct {
	ETag string `header:"ETag"`
	Body siteOut
}

func showSite(s *registry.Site) siteOut {
	return siteOut{s.ID, SiteIn{text{s.ZH, s.EN}, s.Region, s.Lat, s.Lon}, s.Version, s.Updated}
}

// SiteID is a request about one site, on the condition of its version.
type SiteID struct {
	ID string `path:"id"`
	Conditional
}

func (a *API) site(ctx context.Context, id string) (*registry.Site, error) {
	s, err := a.Registry.Site(id)
	if err == nil && !strings.HasPrefix(s.Region, region(ctx)) {
		err = fmt.Errorf("site %q %w", id, registry.ErrUnknown)
	}
	return s, err
}

func (a *API) listSites(ctx context.Context, in *Paging) (*pageOut[siteOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	part, next := cut(a.Registry.Sites(region(ctx)), func(s *registry.Site) string { return s.ID }, after, in.Limit)
	out := newPage[siteOut](len(part))
	for _, s := range part {
		out.Body.Items = append(out.Body.Items, showSite(s))
	}
	out.Body.Next = next
	return out, nil
}

func (a *API) getSite(ctx context.Context, in *SiteID) (*oneSite, error) {
	s, err := a.site(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &oneSite{etag(s.Version), showSite(s)}, nil
}

type sitePut struct {
	SiteID
	Body SiteIn
}

func (a *API) putSite(ctx context.Context, in *sitePut) (*oneSite, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteSites, in.Body.Region); err != nil {
		return nil, err
	}
	var before any
	if old, err := a.Registry.Site(in.ID); err == nil {
		if err := may(ctx, access.WriteSites, old.Region); err != nil {
			return nil, err
		}
		before = showSite(old)
	}
	ctx = a.noted(ctx, access.WriteSites, "site "+in.ID, in.Body.Region, before, in.Body)
	s, err := a.Registry.PutSite(ctx, registry.Site{
		ID: in.ID, ZH: in.Body.Names.ZH, EN: in.Body.Names.EN, Region: in.Body.Region, Lat: in.Body.Lat, Lon: in.Body.Lon,
	}, version)
	if err != nil {
		return nil, err
	}
	return &oneSite{etag(s.Version), showSite(s)}, nil
}

func (a *API) removeSite(ctx context.Context, in *SiteID) (*nothing, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	s, err := a.site(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return nil, a.Registry.RemoveSite(a.noted(ctx, access.WriteSites, "site "+s.ID, s.Region, showSite(s), nil), s.ID, version)
}

type regionOut struct {
	Region  string `json:"region" doc:"six-digit division code; empty for devices without one"`
	Devices int    `json:"devices"`
}

func (a *API) listRegions(ctx context.Context, in *Paging) (*pageOut[regionOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	counts := a.Registry.Regions(sees(ctx))
	var all []regionOut
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		if strings.HasPrefix(code, region(ctx)) {
			all = append(all, regionOut{code, counts[code]})
		}
	}
	out := newPage[regionOut](len(all))
	if in.Cursor == "" && len(all) > 0 && all[0].Region == "" { // the empty code lies behind no key
		out.Body.Items = append(out.Body.Items, all[0])
	}
	part, next := cut(all, func(r regionOut) string { return r.Region }, after, in.Limit)
	out.Body.Items, out.Body.Next = append(out.Body.Items, part...), next
	return out, nil
}
