package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/catalog/source"
)

// releaseStore is the store of releases as the publisher knows it.
type releaseStore struct{ *release.Store }

// Put implements publish.Store.
func (s releaseStore) Put(ctx context.Context, d publish.Draft) error {
	about, err := json.Marshal(struct {
		Region string         `json:"region,omitempty"`
		Source catalog.Source `json:"source"`
	}{d.Dataset.Region, d.Dataset.Source})
	if err != nil {
		return err
	}
	draft := release.Draft{
		Dataset: d.Dataset, Table: d.Table, Key: d.Key, Period: d.Period, Replaces: d.Replaces, Reason: d.Reason, Privacy: d.Privacy,
		Recipe: release.Recipe{Transform: release.Transform(d.Transform), Source: about},
	}
	for _, name := range d.Inputs {
		draft.Recipe.Inputs = append(draft.Recipe.Inputs, release.Input{ID: name})
	}
	if d.Thread != "" || len(d.Corrections) > 0 {
		draft.Recipe.Parameters, err = json.Marshal(struct {
			Corrections []int64 `json:"corrections,omitempty"`
			Ticket      string  `json:"ticket,omitempty"`
		}{d.Corrections, d.Thread})
		if err != nil {
			return err
		}
	}
	m, err := s.Store.Put(ctx, draft)
	if err == nil && m.Version != d.Version {
		err = fmt.Errorf("dataset %s: what was decided as version %d is released as version %d", d.Dataset.ID, d.Version, m.Version)
	}
	return err
}

// List implements publish.Store. Releases whose files are gone are none.
func (s releaseStore) List(dataset string) (all []publish.Released) {
	for _, m := range s.Store.List(dataset) {
		all = append(all, publish.Released{Version: m.Version, Period: catalog.Period(m.Period)})
	}
	return all
}

// Remove implements publish.Store.
func (s releaseStore) Remove(ctx context.Context, dataset string, version int64) error {
	_, err := s.Store.Remove(ctx, dataset, version, catalog.Text{ZH: "保存期限届满", EN: "its retention has ended"})
	return err
}

// makeRelease makes a release when somebody asks for it: of a day of China, with
// the reason where it corrects one.
func (h *hub) makeRelease(ctx context.Context, o api.ReleaseOrder) (*release.Manifest, error) {
	day := source.Day(o.Period.From)
	if !day.From.Equal(o.Period.From) || !day.To.Equal(o.Period.To) {
		return nil, fmt.Errorf("dataset %s %w: releases are of days of China's time (UTC+8), such as from %s to %s", o.Dataset, release.ErrInvalid, day.From.Format(time.RFC3339), day.To.Format(time.RFC3339))
	}
	made, err := h.publisher.Make(ctx, publish.Order{Dataset: o.Dataset, Day: o.Period.From, Reason: o.Reason, Ticket: o.Ticket, Replaces: o.Replaces})
	if err != nil {
		return nil, err
	}
	return h.releases.Get(o.Dataset, made.Version)
}

// rebuild makes the rows of a release again.
func (h *hub) rebuild(ctx context.Context, m *release.Manifest) (*release.Table, []byte, error) {
	return h.publisher.Rebuild(ctx, m.Dataset, m.Version)
}
