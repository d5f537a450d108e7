package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func datasetBudget(r *remote) *cobra.Command {
	limit := 0
	c := &cobra.Command{
		Use:     "budget ID",
		Short:   "Show how its privacy budget stands: what noise has spent of each day, and what is left",
		Long:    "budget lists the days of data of which noise has spent something, the newest first: ε spent by the versions of the dataset, what is left to it, and what all datasets have spent. A release that would overdraw it is refused.\n列出数据集的隐私预算：噪声逐日支出的 ε、余额及全部数据集的合计支出；将超支的发布会被拒绝。",
		Example: "  hub dataset budget roads-220100\n  hub dataset budget roads-220100 --days 90 --json",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			var b struct {
				Dataset  string           `json:"dataset"`
				Noise    map[string]any   `json:"noise"`
				Together float64          `json:"together,omitempty"`
				Items    []map[string]any `json:"items"`
			}
			if err := hub.Call(cmd.Context(), http.MethodGet, datasetPath(args[0])+"/budget", query("limit", fmt.Sprint(limit)), nil, &b); err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), b)
			}
			if b.Noise != nil {
				fmt.Fprintf(cmd.OutOrStdout(), "each version spends ε %v of a budget of %v a day\n", b.Noise["epsilon"], orEmpty(b.Noise["budget"]))
			}
			return r.list(cmd, b.Items, "no noise was paid for; a dataset asks for it by privacy.noise (docs/formats/dataset.md)", []string{"day", "spent", "left", "all", "versions"}, nil)
		},
	}
	c.Flags().IntVar(&limit, "days", 30, "how many `days`")
	return c
}
