package main

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const grantsPath = "/api/v1/grants"

func grantPath(id string) string { return grantsPath + "/" + url.PathEscape(id) }

var grantFields = []string{"id", "dataset", "state", "reason", "due", "due_by", "expires", "version"}

func grantCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "grant",
		Short:   "Apply for datasets, and decide about applications",
		Long:    "grant is how data that are conditional are had: an application, a check of its form, a review, a decision with its reason and law. What is unconditional is granted at once.\n有条件数据的使用申请：申请、形式审查、审核、附理由与法律依据的决定；无条件的即时授权。",
		Example: "  hub grant apply application.yaml\n  hub grant list --overdue",
	}, grantApply(r), grantList(r), grantShow(r), grantCheck(r), grantReview(r), grantDecide(r), grantRevoke(r)))
}

// flatGrant prepares a grant for people: the reason of its last decision.
func flatGrant(g map[string]any) {
	for _, key := range []string{"decision", "ended"} {
		if d, ok := g[key].(map[string]any); ok {
			reason, _ := d["reason"].(map[string]any)
			g["reason"] = reason["zh"]
		}
	}
	if body, ok := g["body"].(map[string]any); ok {
		name, _ := body["name"].(map[string]any)
		g["body"] = name["zh"]
	}
}

// act sends a step of something and prints what became of it.
func (r *remote) act(cmd *cobra.Command, path string, body any, fields []string, flat func(map[string]any)) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	var answer map[string]any
	if err := hub.Call(cmd.Context(), http.MethodPost, path, nil, body, &answer); err != nil {
		return err
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	flat(answer)
	return printFields(cmd.OutOrStdout(), answer, fields)
}

func grantApply(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "apply FILE",
		Short:   "Apply for a dataset, by a file in YAML or JSON",
		Long:    "apply files an application: dataset, way (share or open), body with name and credit code, purpose, scope (items, area, from, to, rate), until. docs/formats/dataset.md has an example.",
		Example: "  hub grant apply application.yaml",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := document(args[0])
			if err != nil {
				return err
			}
			return r.act(cmd, grantsPath, body, grantFields, flatGrant)
		},
	}
}

func grantList(r *remote) *cobra.Command {
	var dataset, state string
	var overdue bool
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Short:   "List applications and grants, the newest first",
		Example: "  hub grant list --state applied\n  hub grant list --overdue",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			q := query("dataset", dataset, "state", state)
			if overdue {
				q.Set("overdue", "true")
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, grantsPath, q, limit)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "no application matches; `hub grant apply FILE` files one",
				[]string{"id", "dataset", "body", "applicant", "state", "reason", "due", "overdue", "expires"}, flatGrant)
		},
	}
	f := c.Flags()
	f.StringVar(&dataset, "dataset", "", "only of this dataset's `id`")
	f.StringVar(&state, "state", "", "only in this `state`: applied, reviewing, granted, returned, refused, expired or revoked")
	f.BoolVar(&overdue, "overdue", false, "only those whose next step should have been done")
	f.IntVar(&limit, "limit", 100, "at most so many (0: all)")
	return c
}

func grantShow(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show an application or a grant",
		Example: "  hub grant show g-7",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.show(cmd, grantPath(args[0]))
		},
	}
}

func grantCheck(r *remote) *cobra.Command {
	var missing said
	c := &cobra.Command{
		Use:     "check ID",
		Short:   "Take an application as right in its form, or return it with what is missing",
		Example: "  hub grant check g-7\n  hub grant check g-7 --missing-zh '未附职责依据'",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"right": missing == said{}, "missing": missing}
			return r.act(cmd, grantPath(args[0])+"/check", body, grantFields, flatGrant)
		},
	}
	c.Flags().StringVar(&missing.ZH, "missing-zh", "", "what is `missing`, in Chinese; returns the application")
	c.Flags().StringVar(&missing.EN, "missing-en", "", "what is `missing`, in English")
	return c
}

func grantReview(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "review ID OPINION",
		Short:   "Write down a reviewer's opinion",
		Example: "  hub grant review g-7 '用途与职责相符'",
		Args:    exactArgs("ID", "OPINION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.act(cmd, grantPath(args[0])+"/review", map[string]string{"opinion": args[1]}, grantFields, flatGrant)
		},
	}
}

// grounds are the flags of why something is decided.
type grounds struct {
	reason       said
	law, article string
}

func (g *grounds) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&g.reason.ZH, "reason-zh", "", "`why`, in Chinese")
	f.StringVar(&g.reason.EN, "reason-en", "", "`why`, in English")
	f.StringVar(&g.law, "law", "", "`title` of the law in Chinese")
	f.StringVar(&g.article, "article", "", "`article` of the law, such as 第三十三条")
}

func (g *grounds) laws() []map[string]any {
	if g.law == "" && g.article == "" {
		return nil
	}
	return []map[string]any{{"title": map[string]string{"zh": g.law}, "article": g.article}}
}

func grantDecide(r *remote) *cobra.Command {
	var g grounds
	var grant, refuse bool
	var items []string
	var until string
	c := &cobra.Command{
		Use:     "decide ID",
		Short:   "Grant or refuse an application; a refusal names its reason and law",
		Example: "  hub grant decide g-7 --grant --reason-zh 符合共享条件 --item moisture --until 2027-06-30T00:00:00Z\n  hub grant decide g-7 --refuse --reason-zh 用途与职责无关 --law 吉林省大数据条例 --article 第二十九条",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"grant": grant, "reason": g.reason, "law": g.laws(), "items": items}
			if until != "" {
				body["until"] = until
			}
			return r.act(cmd, grantPath(args[0])+"/decide", body, grantFields, flatGrant)
		},
	}
	g.flags(c)
	f := c.Flags()
	f.BoolVar(&grant, "grant", false, "grant it")
	f.BoolVar(&refuse, "refuse", false, "refuse it")
	f.StringArrayVar(&items, "item", nil, "grant this `item` only, may be repeated")
	f.StringVar(&until, "until", "", "grant it until this `time` (RFC 3339)")
	c.MarkFlagsOneRequired("grant", "refuse")
	c.MarkFlagsMutuallyExclusive("grant", "refuse")
	return c
}

func grantRevoke(r *remote) *cobra.Command {
	var g grounds
	c := &cobra.Command{
		Use:     "revoke ID",
		Short:   "End a grant, and what is read by it at this moment",
		Example: "  hub grant revoke g-7 --reason-zh 用于他途 --law 吉林省大数据条例 --article 第三十条",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.act(cmd, grantPath(args[0])+"/revoke", map[string]any{"reason": g.reason, "law": g.laws()}, grantFields, flatGrant)
		},
	}
	g.flags(c)
	return c
}
