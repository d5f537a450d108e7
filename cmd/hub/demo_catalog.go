package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/hub"
	"github.com/songhua-io/hub/internal/simulate"
)

// demoDatasets are those that the demo publishes.
//
//go:embed catalog/*.yaml
var demoDatasets embed.FS

// demoDocuments reads them.
func demoDocuments() (all []*register.Document, err error) {
	names, err := fs.Glob(demoDatasets, "catalog/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := demoDatasets.ReadFile(name)
		if err != nil {
			return nil, err
		}
		d, err := register.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Base(name), err)
		}
		all = append(all, d)
	}
	return all, nil
}

// demoClasses are what places of the classification are called, in a code table that
// the demo made up.
var demoClasses = []register.ClassName{
	{Code: "1-03", ZH: "生态环境", EN: "Environment"},
	{Code: "2-05", ZH: "道路交通", EN: "Roads"},
	{Code: "2-06", ZH: "交通信号", EN: "Traffic signals"},
	{Code: "2-09", ZH: "市政照明", EN: "Street lighting"},
	{Code: "3-01", ZH: "农业", EN: "Agriculture"},
	{Code: "3-04", ZH: "水利", EN: "Water"},
	{Code: "3-07", ZH: "算力", EN: "Computing"},
}

// demoApplication is the one that is under way.
var demoApplication = map[string]any{
	"dataset": "water-levels", "way": "open",
	"body":    map[string]any{"name": map[string]string{"zh": "某水文研究所", "en": "Hydrological institute"}, "code": "91220101MA00000000"},
	"purpose": "洪水预报模型的检验", "scope": map[string]any{"items": []string{"device", "time", "water_level_m"}},
}

// demoPast is how many days before today the demo has roads of, and releases.
const demoPast = 2

// publishCatalog applies, signs and publishes the datasets of the demo, and
// releases the days that its fleet remembers as soon as they are there.
func publishCatalog(ctx context.Context, at hub.Addresses, admin string, f fleet, told <-chan struct{}, log *slog.Logger) error {
	c, err := client.New(at.HTTP, admin)
	if err != nil {
		return err
	}
	all, err := demoDocuments()
	if err != nil {
		return err
	}
	for _, d := range all {
		var old struct{ State string }
		if err := c.Call(ctx, http.MethodGet, datasetPath(d.ID), nil, nil, &old); err == nil && old.State != "" {
			continue // a demo with --data that ran before
		}
		if err := publishDataset(ctx, c, d); err != nil {
			return fmt.Errorf("dataset %s: %w", d.ID, err)
		}
		if d.ID == demoApplication["dataset"] {
			if err := c.Call(ctx, http.MethodPost, "/api/v1/grants", nil, demoApplication, nil); err != nil {
				return fmt.Errorf("apply for dataset %s: %w", d.ID, err)
			}
		}
	}
	return releasePast(ctx, c, all, f, told, log)
}

func publishDataset(ctx context.Context, c *client.Client, d *register.Document) error {
	if err := c.Call(ctx, http.MethodPut, datasetPath(d.ID), nil, d, nil); err != nil {
		return err
	}
	for _, act := range []struct {
		name string
		body any
	}{{"submit", nil}, {"sign", map[string]string{"by": "李四"}}, {"publish", nil}} {
		if err := c.Call(ctx, http.MethodPost, datasetPath(d.ID)+"/"+act.name, nil, act.body, nil); err != nil {
			return fmt.Errorf("%s: %w", act.name, err)
		}
	}
	return nil
}

// releasePast releases the days before today: those of facilities at once, those of
// roads as soon as it is known where their units are, the others when the history of
// the fleet is there. Nothing is released of a day that the history begins in.
func releasePast(ctx context.Context, c *client.Client, all []*register.Document, f fleet, told <-chan struct{}, log *slog.Logger) error {
	release := func(after time.Time, kinds ...catalog.SourceKind) error {
		for _, d := range all {
			if !slices.Contains(kinds, catalog.SourceKind(d.Source.Kind)) {
				continue
			}
			if err := releaseDays(ctx, c, d.ID, after, log); err != nil {
				return err
			}
		}
		return nil
	}
	if f.compute {
		if err := release(time.Time{}, catalog.SourceCompute); err != nil {
			return err
		}
	}
	if f.RSUs > 0 {
		if err := mapsAreThere(ctx, c, f.Links()); err != nil {
			return err
		}
		if err := release(time.Time{}, catalog.SourceRoads, catalog.SourceSignals); err != nil {
			return err
		}
	}
	select {
	case <-told:
	case <-ctx.Done():
		return nil
	}
	return release(f.Start.Add(-simulate.History), catalog.SourceSeries)
}

// mapsTake is within what time the maps of roadside units come.
const mapsTake = time.Minute

// mapsAreThere waits until it is known where so many links are, for as long as that
// may take: a release says where what it counts has passed.
func mapsAreThere(ctx context.Context, c *client.Client, links int) error {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for until := time.Now().Add(mapsTake); time.Now().Before(until); {
		known, err := client.Pages[struct{}](ctx, c, "/api/v1/roads/links", nil, 1000)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("ask where roads are: %w", err)
		case len(known) >= links:
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// releaseDays releases the days before today of a dataset that begin after a time.
func releaseDays(ctx context.Context, c *client.Client, dataset string, after time.Time, log *slog.Logger) error {
	china := time.FixedZone("UTC+8", 8*3600)
	y, m, day := time.Now().In(china).Date()
	for back := demoPast; back >= 1; back-- {
		from := time.Date(y, m, day-back, 0, 0, 0, 0, china)
		if from.Before(after) {
			continue
		}
		err := c.Call(ctx, http.MethodPost, "/api/v1/releases", nil, map[string]any{"dataset": dataset, "from": from, "to": from.AddDate(0, 0, 1)}, nil)
		var no *client.Problem
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &no): // it was released when the demo ran before, or there is nothing of it
			log.Info("demo_release_not_made", "dataset", dataset, "day", from.Format(time.DateOnly), "error", err)
		case err != nil:
			return err
		}
	}
	return nil
}

// pastUnless makes up what no device tells afterwards: passages on roads, and what a
// hub made of roads and facilities. Nil where a demo ran before, which has its past.
func (f fleet) pastUnless(data string) func(hub.Past) error {
	if _, err := os.Stat(filepath.Join(data, "records.db")); err == nil {
		return nil
	}
	return func(keep hub.Past) error {
		to := time.Now().Truncate(time.Minute)
		from := to.Truncate(time.Hour).Add(-(demoPast + 1) * 24 * time.Hour)
		var some []hub.Passage
		err := simulate.PastRoads(f.Config, from, to.Truncate(time.Hour), func(p simulate.Passing) error {
			some = append(some, hub.Passage(p))
			if len(some) < 20_000 {
				return nil
			}
			err := keep.Passages(some)
			some = some[:0]
			return err
		})
		if err == nil && len(some) > 0 {
			err = keep.Passages(some)
		}
		if err != nil {
			return err
		}
		return simulate.PastSeries(f.Config, f.compute, from, to, func(t simulate.Track) error { return keep.Track(hub.Track(t)) })
	}
}
