package main

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/backfill/file"
	"github.com/songhua-io/hub/internal/client"
)

// createDevices says how devices are registered that are not there, and which
// are.
type createDevices struct {
	kind, region, site string
	known              map[string]bool // nil: not asked yet
}

// registerAtOnce is how many devices the API registers by one request.
const registerAtOnce = 10_000

// register makes sure that the devices of a part are there; a dry run notes those
// that are not. They wait for their credentials: nobody needs a secret to have
// history.
func (t *transfer) register(ctx context.Context, p *file.Part) error {
	c := &t.importing.create
	if c.known == nil {
		all, err := client.Pages[device](ctx, t.hub, devicesPath, nil, 0)
		if err != nil {
			return err
		}
		c.known = map[string]bool{}
		for _, d := range all {
			if id, ok := d["id"].(string); ok {
				c.known[id] = true
			}
		}
	}
	var fresh []map[string]any
	p.Devices(func(id string, _ int) {
		if c.known[id] || t.missing[id] {
			return
		}
		d := map[string]any{"id": id, "kind": c.kind, "awaited": true}
		if c.region != "" {
			d["region"] = c.region
		}
		if c.site != "" {
			d["site"] = c.site
		}
		fresh = append(fresh, d)
	})
	t.result.Created += len(fresh)
	if t.dry {
		for _, d := range fresh {
			t.missing[d["id"].(string)] = true
		}
		return nil
	}
	for len(fresh) > 0 {
		some := fresh[:min(len(fresh), registerAtOnce)]
		fresh = fresh[len(some):]
		if err := t.hub.Call(ctx, http.MethodPost, devicesPath+":batch", nil, map[string]any{"devices": some}, nil); err != nil {
			return err
		}
		for _, d := range some {
			c.known[d["id"].(string)] = true
		}
	}
	return nil
}

// importsCommand shows what was imported.
func importsCommand() *cobra.Command {
	r := &remote{}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List imports of history and how far they are",
		Example: "  hub imports list\n  hub imports list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, importsPath, nil, 0)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "nothing was imported; `hub import FILE` does", []string{"name", "format", "by", "begun", "updated", "accepted", "rejected", "done"}, nil)
		},
	}
	return r.register(group(&cobra.Command{Use: "imports", Short: "See what history was imported", Example: "  hub imports list"}, list))
}
