package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func datasetQuality(r *remote) *cobra.Command {
	limit := 0
	c := &cobra.Command{
		Use:     "quality ID",
		Short:   "Show what is found of a dataset, and how good it was day by day",
		Long:    "quality lists the open findings of a dataset, where what is measured is not what is declared, with the way out, and then its days, the newest first.\n列出数据集未解决的发现（声明与实测不符之处及处理办法），以及逐日的测量，新的在前。",
		Example: "  hub dataset quality soil\n  hub dataset quality soil --days 90 --json",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			var q struct {
				Dataset  string           `json:"dataset"`
				Measured *string          `json:"measured"`
				Findings []map[string]any `json:"findings"`
				Items    []map[string]any `json:"items"`
			}
			if err := hub.Call(cmd.Context(), http.MethodGet, datasetPath(args[0])+"/quality", query("limit", fmt.Sprint(limit)), nil, &q); err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), q)
			}
			for _, f := range q.Findings {
				fmt.Fprintf(cmd.OutOrStdout(), "%v %v (since %v)\n  %v\n  %v\n", f["kind"], orEmpty(f["about"]), f["since"], f["zh"], f["en"])
			}
			return r.list(cmd, q.Items, "it was not measured yet: a day is, some hours after it is over", []string{"day", "completeness", "p95", "validity", "consistency", "accessibility", "expected", "received"}, flatDay)
		},
	}
	c.Flags().IntVar(&limit, "days", 30, "how many `days`")
	return c
}

func orEmpty(v any) any {
	if v == nil {
		return ""
	}
	return v
}

// flatDay prepares a day for a row of a table.
func flatDay(d map[string]any) {
	shares, _ := d["shares"].(map[string]any)
	for name, v := range shares {
		if share, ok := v.(float64); ok && name != "timeliness" {
			d[name] = fmt.Sprintf("%.2f%%", 100*share)
		}
	}
	if p95, ok := shares["timeliness"].(float64); ok {
		d["p95"] = fmt.Sprintf("%.3gs", p95)
	}
}
