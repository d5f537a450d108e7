package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/client"
)

const datasetsPath = "/api/v1/datasets"

func datasetPath(id string) string { return datasetsPath + "/" + url.PathEscape(id) }

var datasetFields = []string{"id", "code", "state", "grade", "signed", "reason", "version"}

func datasetCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "dataset",
		Short:   "Datasets of the public catalogue: write, submit, sign, publish, withdraw",
		Long:    "dataset keeps the public catalogue. A dataset is a file (docs/formats/dataset.md); a change of one that is published is a draft beside it until that is published too.\n公共数据目录：以文件编写数据集，提交、签署定级、发布、暂停、撤销；已发布的数据集在变更发布前保持不变。",
		Example: "  hub dataset draft 'soil_temperature' > soil.json\n  hub dataset apply soil.yaml\n  hub dataset submit soil && hub dataset sign soil --by 李四 && hub dataset publish soil",
	}, datasetApply(r), datasetDraft(r), datasetList(r), datasetShow(r),
		datasetMove(r, "submit", "Hand a draft in; all that is missing is named"),
		datasetBecause(r, "return", "Give back what was submitted", "the abstract does not say which farms"),
		datasetSign(r),
		datasetMove(r, "publish", "Publish what was submitted, or open again what was suspended"),
		datasetBecause(r, "suspend", "Take it out of everybody's reach, at once", "values of 3 September are wrong"),
		datasetBecause(r, "withdraw", "Take it away for good; its id and code are never given again", "the sensors are gone"),
		datasetHistory(r), datasetLineage(r), datasetQuality(r), datasetBudget(r)))
}

func datasetApply(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "apply FILE",
		Short:   "Make a dataset from a file in YAML or JSON, or write what it is to become",
		Example: "  hub dataset apply soil.yaml",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			d, err := register.Parse(text)
			var bad *register.Invalid
			if errors.As(err, &bad) {
				all := []error{fmt.Errorf("%s has %d errors", args[0], len(bad.Problems))}
				for _, p := range bad.Problems {
					all = append(all, p)
				}
				return errors.Join(all...)
			}
			if err != nil {
				return err
			}
			return r.print(cmd, http.MethodPut, datasetPath(d.ID), d, datasetFields)
		},
	}
}

func datasetDraft(r *remote) *cobra.Command {
	var id string
	c := &cobra.Command{
		Use:     "draft SELECTOR",
		Short:   "Print a document made from what is measured; a person completes it",
		Example: "  hub dataset draft 'soil_temperature{region=\"220100\"}' --id soil > soil.json",
		Args:    exactArgs("SELECTOR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			var d register.Document
			body := map[string]string{"selector": args[0], "id": id}
			if err := hub.Call(cmd.Context(), http.MethodPost, datasetsPath+":draft", nil, body, &d); err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), d)
		},
	}
	c.Flags().StringVar(&id, "id", "", "its `id` (default: made of the metric and the region)")
	return c
}

func datasetList(r *remote) *cobra.Command {
	var state, region, q string
	c := &cobra.Command{
		Use:     "list",
		Short:   "List datasets",
		Example: "  hub dataset list --state submitted",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, datasetsPath, query("state", state, "region", region, "q", q), 0)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "no dataset matches; make one with `hub dataset apply FILE`",
				[]string{"id", "zh", "state", "change", "shared", "opened", "grade", "code", "version", "modified"}, flatDataset)
		},
	}
	f := c.Flags()
	f.StringVar(&state, "state", "", "only in this `state`: draft, submitted, published, suspended or withdrawn")
	f.StringVar(&region, "region", "", "only where the division code begins with this `prefix`")
	f.StringVar(&q, "search", "", "only where the id, the code or a title holds this `text`")
	return c
}

// flatDataset prepares a dataset for a row of a table.
func flatDataset(d map[string]any) {
	part := func(object, key string) any {
		o, _ := d[object].(map[string]any)
		return o[key]
	}
	d["zh"], d["shared"], d["opened"], d["change"] = part("title", "zh"), part("share", "class"), part("open", "class"), part("change", "state")
}

func datasetShow(r *remote) *cobra.Command {
	var change bool
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a dataset as a document that `hub dataset apply` takes again",
		Example: "  hub dataset show soil > soil.json\n  hub dataset show soil --change\n  hub dataset show soil --json",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.json {
				return r.show(cmd, datasetPath(args[0]))
			}
			hub, err := r.client()
			if err != nil {
				return err
			}
			var d struct {
				register.Document
				Change *register.Document `json:"change"`
			}
			if err := hub.Call(cmd.Context(), http.MethodGet, datasetPath(args[0]), nil, nil, &d); err != nil {
				return err
			}
			if !change {
				return printJSON(cmd.OutOrStdout(), d.Document)
			}
			if d.Change == nil {
				return fmt.Errorf("dataset %s has no change that waits to be published", args[0])
			}
			return printJSON(cmd.OutOrStdout(), d.Change)
		},
	}
	c.Flags().BoolVar(&change, "change", false, "show what it is to become")
	return c
}

func datasetMove(r *remote, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " ID",
		Short:   short,
		Example: "  hub dataset " + verb + " soil",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodPost, datasetPath(args[0])+"/"+verb, nil, datasetFields)
		},
	}
}

func datasetBecause(r *remote, verb, short, because string) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:     verb + " ID",
		Short:   short,
		Example: fmt.Sprintf("  hub dataset %s soil --reason %q", verb, because),
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodPost, datasetPath(args[0])+"/"+verb, map[string]string{"reason": reason}, datasetFields)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "`why`, shown with the dataset")
	_ = c.MarkFlagRequired("reason")
	return c
}

func datasetSign(r *remote) *cobra.Command {
	var by, grade string
	var items []string
	c := &cobra.Command{
		Use:     "sign ID",
		Short:   "Write down who answers for the grade; one that is raised suspends the dataset at once",
		Example: "  hub dataset sign soil --by 李四\n  hub dataset sign soil --by 李四 --item moisture=important",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			graded, err := pairs("item", items)
			if err != nil {
				return err
			}
			body := map[string]any{"by": by, "items": graded}
			if grade != "" {
				body["grade"] = grade
			}
			return r.print(cmd, http.MethodPost, datasetPath(args[0])+"/sign", body, datasetFields)
		},
	}
	f := c.Flags()
	f.StringVar(&by, "by", "", "`name` of the person")
	f.StringVar(&grade, "grade", "", "`grade` of the whole: general, important or core (default: as it is written)")
	f.StringArrayVar(&items, "item", nil, "`name=grade` of an item, may be repeated")
	_ = c.MarkFlagRequired("by")
	return c
}

func datasetHistory(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "history ID",
		Short:   "List the versions of a dataset, the newest first; --json shows what each was made of",
		Example: "  hub dataset history soil",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.all(cmd, datasetPath(args[0])+"/versions", "it has no version", []string{"version", "at", "actor", "act", "state", "reason"}, func(v map[string]any) {
				after, _ := v["after"].(map[string]any)
				v["state"] = after["state"]
			})
		},
	}
}

func datasetLineage(r *remote) *cobra.Command {
	version, row := 0, -1
	c := &cobra.Command{
		Use:     "lineage ID",
		Short:   "Show of which series of which devices a dataset is made, or a row of a release",
		Example: "  hub dataset lineage soil\n  hub dataset lineage soil --version 3 --row 17",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			if cmd.Flags().Changed("version") {
				q.Set("version", fmt.Sprint(version))
			}
			if cmd.Flags().Changed("row") {
				q.Set("row", fmt.Sprint(row))
			}
			path := datasetPath(args[0]) + "/lineage"
			if len(q) > 0 {
				path += "?" + q.Encode()
			}
			return r.show(cmd, path)
		},
	}
	c.Flags().IntVar(&version, "version", 0, "of a release; 0 is the newest (default: what the dataset is made of now)")
	c.Flags().IntVar(&row, "row", -1, "`row` of the release, from 0 in the order of its files (default: all)")
	return c
}
