package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"time"

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
func publishCatalog(ctx context.Context, at hub.Addresses, admin string, log *slog.Logger) error {
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
	return releasePast(ctx, c, all, log)
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

// fleetTakes is within what time the fleet is registered; where roadside units are
// is not known before.
const fleetTakes = 20 * time.Second

// releasePast releases the days before today: those of roads as soon as their
// units are there, the others when the history of the fleet has filled in, and
// those of which there is nothing not at all.
func releasePast(ctx context.Context, c *client.Client, all []*register.Document, log *slog.Logger) error {
	china := time.FixedZone("UTC+8", 8*3600)
	y, m, day := time.Now().In(china).Date()
	today := time.Date(y, m, day, 0, 0, 0, 0, china)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for _, of := range []struct {
		series bool
		after  time.Duration
	}{{false, fleetTakes}, {false, fleetTakes}, {true, simulate.HistoryTakes}} {
		pause.Reset(of.after)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil
		}
		for _, d := range all {
			if (d.Source.Kind == "series") != of.series {
				continue
			}
			for back := demoPast; back >= 1; back-- {
				from := today.AddDate(0, 0, -back)
				err := c.Call(ctx, http.MethodPost, "/api/v1/releases", nil, map[string]any{"dataset": d.ID, "from": from, "to": from.AddDate(0, 0, 1)}, nil)
				var no *client.Problem
				if ctx.Err() != nil {
					return nil
				}
				if err != nil && !errors.As(err, &no) {
					return err
				}
				if err != nil {
					log.Info("demo_release_not_made", "dataset", d.ID, "day", from.Format(time.DateOnly), "error", err)
				}
			}
		}
	}
	return nil
}

// pastRoads makes up the passages of the days before.
func pastRoads(c simulate.Config) func(keep func([]hub.Passage) error) error {
	return func(keep func([]hub.Passage) error) error {
		to := time.Now().Truncate(time.Hour)
		var some []hub.Passage
		err := simulate.PastRoads(c, to.Add(-(demoPast+1)*24*time.Hour), to, func(p simulate.Passing) error {
			some = append(some, hub.Passage(p))
			if len(some) < 20_000 {
				return nil
			}
			err := keep(some)
			some = some[:0]
			return err
		})
		if err != nil || len(some) == 0 {
			return err
		}
		return keep(some)
	}
}
