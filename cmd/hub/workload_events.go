package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

// askEvery is how often new events of a workload are asked for.
const askEvery = time.Second

func workloadEvents(r *remote) *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use:     "events ID",
		Short:   "List all that happened to a workload and its leases",
		Long:    "events lists every transition of a workload and its leases, the oldest first, with its sequence number.\nWith --follow it goes on until the workload has ended; --json prints an object in each line then.",
		Example: "  hub workload events w-06h19f7r4z8xf\n  hub workload events w-06h19f7r4z8xf --follow",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			path := workloadPath(args[0]) + "/events"
			if follow {
				return r.follow(cmd, hub, path)
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, path, nil, 0)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "nothing that happened to it is kept", []string{"seq", "at", "object", "from", "to", "why"}, flatEvent)
		},
	}
	c.Flags().BoolVar(&follow, "follow", false, "go on until the workload has ended")
	return c
}

func flatEvent(e map[string]any) {
	reason, _ := e["reason"].(map[string]any)
	text, _ := reason["text"].(map[string]any)
	zh, _ := text["zh"].(string)
	en, _ := text["en"].(string)
	e["why"] = said{zh, en}.String()
}

// follow prints events as they come.
func (r *remote) follow(cmd *cobra.Command, hub *client.Client, path string) error {
	out, since := cmd.OutOrStdout(), json.Number("0")
	for {
		var page struct {
			Items []json.RawMessage `json:"items"`
		}
		if err := hub.Call(cmd.Context(), http.MethodGet, path, url.Values{"since": {since.String()}, "limit": {"1000"}}, nil, &page); err != nil {
			return err
		}
		for _, text := range page.Items {
			var e map[string]any
			var key struct {
				Seq      json.Number
				Kind, To string
			}
			if err := json.Unmarshal(text, &key); err != nil {
				return err
			}
			if err := json.Unmarshal(text, &e); err != nil {
				return err
			}
			since = key.Seq
			if err := r.printEvent(out, text, e); err != nil {
				return err
			}
			if key.Kind == "workload" && slices.Contains([]string{"succeeded", "failed", "expired", "cancelled"}, key.To) {
				return nil
			}
		}
		select {
		case <-cmd.Context().Done():
			return nil // who follows has seen enough
		case <-time.After(askEvery):
		}
	}
}

func (r *remote) printEvent(out io.Writer, text json.RawMessage, e map[string]any) error {
	if r.json {
		_, err := fmt.Fprintf(out, "%s\n", text)
		return err
	}
	flatEvent(e)
	_, err := fmt.Fprintf(out, "%-6s %s  %-10s %s → %s  %s\n", cell(e["seq"]), cell(e["at"]), cell(e["object"]), cell(e["from"]), cell(e["to"]), cell(e["why"]))
	return err
}
