package main

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const signalsPath = "/api/v1/signals"

func signalPath(kind, zone string) string {
	return signalsPath + "/" + url.PathEscape(kind) + "/" + url.PathEscape(zone)
}

func signalCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "signal",
		Short:   "Forecasts of carbon, price, PUE and free capacity that work is placed and deferred by",
		Example: "  hub signal put carbon CN-JL forecast.yaml\n  hub signal list",
	}, signalPut(r), signalList(r), signalShow(r)))
}

func signalPut(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "put KIND ZONE FILE",
		Short:   "Send a forecast (carbon, price, pue or free) from a file in YAML or JSON",
		Long:    "put sends issued_at, unit and points (start, end, value; p10 and p90 where known). What was deferred by an older\nforecast is decided anew. The zone of free is a pool, and its value the share that will be free.",
		Example: "  hub signal put carbon CN-JL forecast.yaml",
		Args:    exactArgs("KIND", "ZONE", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := document(args[2])
			if err != nil {
				return err
			}
			return r.print(cmd, http.MethodPut, signalPath(args[0], args[1]), body, []string{"kind", "zone", "unit", "issued_at", "stale"})
		},
	}
}

func signalList(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List forecasts",
		Example: "  hub signal list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.all(cmd, signalsPath, "there is no forecast; `hub signal put KIND ZONE FILE` sends one", []string{"kind", "zone", "unit", "issued_at", "stale"}, nil)
		},
	}
}

func signalShow(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "show KIND ZONE",
		Short:   "Show a forecast as the hub has it",
		Example: "  hub signal show carbon CN-JL",
		Args:    exactArgs("KIND", "ZONE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.show(cmd, signalPath(args[0], args[1]))
		},
	}
}

// all lists everything of a path.
func (r *remote) all(cmd *cobra.Command, path, none string, columns []string, flat func(map[string]any)) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	all, err := client.Pages[map[string]any](cmd.Context(), hub, path, nil, 0)
	if err != nil {
		return err
	}
	return r.list(cmd, all, none, columns, flat)
}

// show prints an object as the hub has it.
func (r *remote) show(cmd *cobra.Command, path string) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	var object map[string]any
	if err := hub.Call(cmd.Context(), http.MethodGet, path, nil, nil, &object); err != nil {
		return err
	}
	return printJSON(cmd.OutOrStdout(), object)
}

var queues = kept{
	noun: "queue", article: "a", path: "/api/v1/queues",
	fields:  []string{"id", "tenants", "weight", "version"},
	columns: []string{"id", "tenants", "weight", "nominal", "borrow", "version"},
}

func queueCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "queue",
		Short:   "Shares of capacity that tenants draw on",
		Example: "  hub queue add research.yaml\n  hub queue list",
	}, queues.add(r, "research.yaml"), queues.list(r), queues.show(r, "research"), queues.remove(r, "research")))
}
