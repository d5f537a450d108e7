package main

import (
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const outletsPath = "/api/v1/outlets"

func outletPath(name string) string { return outletsPath + "/" + url.PathEscape(name) }

var outletFields = []string{"name", "kind", "delivered", "pending", "failed", "drifted", "oldest", "problem", "sent", "looked"}

func outletCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "outlet",
		Short:   "Where the catalogue goes: CKAN portals and provincial platforms",
		Long:    "outlet shows how the destinations of the configuration (ckan, province) stand: what they took, refuse or still wait for, and the receipts and codes that they gave.\n目录的对外出口：CKAN 门户与省级平台的送达、拒收、待送、回执与返回代码。",
		Example: "  hub outlet list\n  hub outlet show province-1 --state failed\n  hub outlet reconcile city",
	}, outletList(r), outletShow(r), outletRetry(r), outletReconcile(r), outletExport(r)))
}

func outletList(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the outlets and how they stand",
		Example: "  hub outlet list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, outletsPath, nil, 0)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "no outlet is configured; add one under ckan or province", outletFields, nil)
		},
	}
}

func outletShow(r *remote) *cobra.Command {
	state, limit := "", 100
	c := &cobra.Command{
		Use:     "show NAME",
		Short:   "List the datasets of an outlet: their state, receipts and the codes that it gave",
		Example: "  hub outlet show province-1\n  hub outlet show city --state drifted",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, outletPath(args[0])+"/datasets", query("state", state), limit)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "there are none", []string{"dataset", "state", "code", "name", "receipt", "drift", "problem", "at"}, func(e map[string]any) {
				if p, is := e["problem"].(map[string]any); is {
					e["problem"] = p["zh"]
				}
			})
		},
	}
	c.Flags().StringVar(&state, "state", "", "only of this `state`: delivered, pending, failed, gone or drifted")
	c.Flags().IntVar(&limit, "limit", limit, "at most so many (0: all)")
	return c
}

func outletRetry(r *remote) *cobra.Command {
	var dataset string
	c := &cobra.Command{
		Use:     "retry NAME",
		Short:   "Send anew what an outlet refused",
		Example: "  hub outlet retry province-1\n  hub outlet retry city --dataset soil-moisture",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]string{}
			if dataset != "" {
				body["dataset"] = dataset
			}
			return r.print(cmd, http.MethodPost, outletPath(args[0])+"/retry", body, []string{"count"})
		},
	}
	c.Flags().StringVar(&dataset, "dataset", "", "`id` of a dataset, whatever its state; all that are refused when absent")
	return c
}

func outletReconcile(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "reconcile NAME",
		Short:   "Hold what an outlet has against what it should have, and send anew what differs",
		Long:    "reconcile begins at once and works in the background; `hub outlet show NAME --state drifted` says what differed.",
		Example: "  hub outlet reconcile city",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodPost, outletPath(args[0])+"/reconcile", nil, outletFields)
		},
	}
}

func outletExport(r *remote) *cobra.Command {
	format, file := "csv", ""
	c := &cobra.Command{
		Use:     "export NAME",
		Short:   "Write the whole catalogue by the template of a provincial platform",
		Example: "  hub outlet export province-1 -o catalogue.csv\n  hub outlet export province-1 --format json",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			answer, err := hub.Stream(cmd.Context(), outletPath(args[0])+"/export", query("format", format))
			if err != nil {
				return err
			}
			defer answer.Close() //nolint:errcheck // it was read only
			if file == "" {
				_, err = io.Copy(cmd.OutOrStdout(), answer)
				return err
			}
			body, err := io.ReadAll(answer) // half a document is none
			if err != nil {
				return err
			}
			return os.WriteFile(file, body, 0o644)
		},
	}
	c.Flags().StringVar(&format, "format", format, "csv or json")
	c.Flags().StringVarP(&file, "output", "o", "", "write to this `file`")
	return c
}
