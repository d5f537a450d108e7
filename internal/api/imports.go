package api

import (
	"context"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/backfill"
)

// importIn describes a file of history.
type importIn struct {
	ID   string `path:"id" doc:"SHA-256 of the file and of how it is read, 64 hex digits"`
	Body struct {
		Name   string `json:"name" maxLength:"500"`
		Format string `json:"format" maxLength:"64"`
		Size   int64  `json:"size,omitempty" minimum:"0" doc:"bytes"`
	}
}

type oneImport struct{ Body backfill.Import }

func (a *API) beginImport(ctx context.Context, in *importIn) (*oneImport, error) {
	caller := access.CallerOf(ctx)
	i := backfill.Import{ID: in.ID, Name: in.Body.Name, Format: in.Body.Format, Size: in.Body.Size, By: caller.Name, Region: caller.Region}
	known, err := a.Imports.Begin(a.noted(ctx, access.ImportHistory, "import "+in.ID, caller.Region, nil, in.Body), i)
	if err != nil {
		return nil, err
	}
	return &oneImport{*known}, nil
}

type importID struct {
	ID string `path:"id"`
}

func (a *API) getImport(ctx context.Context, in *importID) (*oneImport, error) {
	i, err := a.Imports.Get(ctx, in.ID, access.CallerOf(ctx).Region)
	if err != nil {
		return nil, err
	}
	return &oneImport{*i}, nil
}

func (a *API) listImports(ctx context.Context, in *Paging) (*pageOut[backfill.Import], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	all, err := a.Imports.List(ctx, access.CallerOf(ctx).Region)
	if err != nil {
		return nil, err
	}
	part, next := cut(all, func(i *backfill.Import) string { return i.ID }, after, in.Limit)
	out := newPage[backfill.Import](len(part))
	for _, i := range part {
		out.Body.Items = append(out.Body.Items, *i)
	}
	out.Body.Next = next
	return out, nil
}
