package main

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const objectionsPath = "/api/v1/objections"

func objectionPath(id string) string { return objectionsPath + "/" + url.PathEscape(id) }

var objectionFields = []string{"id", "kind", "dataset", "state", "outcome", "due", "due_by", "secret", "version"}

func objectionCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "objection",
		Short:   "Object to public data, ask about the own personal data, and answer",
		Long:    "objection files and answers tickets: objections to public data, and requests of a person about what is held about them. Whoever files one gets a secret, by which its thread is read and continued. What `hub correct --ticket` corrected, the releases made again and who outside has them stand in the thread.\n对公共数据的异议，以及个人就其个人数据的请求；提出者凭凭据查询与补充；以 `hub correct --ticket` 所作的更正、由此重新发布的版本及各下游接收情况均列入其中。",
		Example: "  hub objection file error --dataset soil --text '九月三日的数值有误'\n  hub objection list --overdue",
	}, objectionFile(r), objectionStatus(r), objectionAdd(r), objectionList(r), objectionShow(r), objectionAnswer(r), objectionClose(r)))
}

// asIs leaves an answer as it is.
func asIs(map[string]any) {}

func objectionFile(r *remote) *cobra.Command {
	body := struct {
		Kind    string `json:"kind"`
		Dataset string `json:"dataset,omitempty"`
		Region  string `json:"region,omitempty"`
		Contact string `json:"contact,omitempty"`
		Text    string `json:"text"`
	}{}
	c := &cobra.Command{
		Use:     "file KIND",
		Short:   "File an objection (error, omission, privacy, trade_secret) or a request (access, copy, transfer, rectify, erase)",
		Example: "  hub objection file error --dataset soil --text '九月三日的数值有误'\n  hub objection file access --region 220100 --contact 0431-88888888 --text '贵处有我的何种数据'",
		Args:    exactArgs("KIND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body.Kind = args[0]
			return r.act(cmd, objectionsPath, body, objectionFields, asIs)
		},
	}
	f := c.Flags()
	f.StringVar(&body.Dataset, "dataset", "", "`id` of the dataset that is objected to")
	f.StringVar(&body.Region, "region", "", "division `code` of who is to answer, where no dataset is named")
	f.StringVar(&body.Contact, "contact", "", "`how` to reach you; kept encrypted")
	f.StringVar(&body.Text, "text", "", "`what` it is about; kept encrypted")
	_ = c.MarkFlagRequired("text")
	return c
}

// withSecret is a command of who filed a ticket.
func withSecret(c *cobra.Command, run func(cmd *cobra.Command, id, secret string) error) *cobra.Command {
	var secret string
	c.Flags().StringVar(&secret, "secret", "", "`secret` of the ticket")
	_ = c.MarkFlagRequired("secret")
	c.RunE = func(cmd *cobra.Command, args []string) error { return run(cmd, args[0], secret) }
	return c
}

func objectionStatus(r *remote) *cobra.Command {
	return withSecret(&cobra.Command{
		Use:     "status ID",
		Short:   "See how far an own ticket is",
		Example: "  hub objection status t-7 --secret DCOGTZFAF2RDXNRJKYRUBAWUEK",
		Args:    exactArgs("ID"),
	}, func(cmd *cobra.Command, id, secret string) error {
		return r.ticket(cmd, http.MethodPost, objectionPath(id)+"/status", map[string]string{"secret": secret})
	})
}

func objectionAdd(r *remote) *cobra.Command {
	var text string
	c := withSecret(&cobra.Command{
		Use:     "add ID",
		Short:   "Add to an own ticket",
		Example: "  hub objection add t-7 --secret DCOGTZFAF2RDXNRJKYRUBAWUEK --text '四日也有误'",
		Args:    exactArgs("ID"),
	}, func(cmd *cobra.Command, id, secret string) error {
		return r.act(cmd, objectionPath(id)+"/messages", map[string]string{"secret": secret, "text": text}, objectionFields, asIs)
	})
	c.Flags().StringVar(&text, "text", "", "`what` to add")
	_ = c.MarkFlagRequired("text")
	return c
}

// ticket prints a ticket and its thread.
func (r *remote) ticket(cmd *cobra.Command, method, path string, body any) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	var t map[string]any
	if err := hub.Call(cmd.Context(), method, path, nil, body, &t); err != nil {
		return err
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), t)
	}
	if err := printFields(cmd.OutOrStdout(), t, append(objectionFields, "contact")); err != nil {
		return err
	}
	return table(cmd.OutOrStdout(), append([][]string{{"", "", ""}}, threadRows(t)...))
}

// threadRows are what was said and done about a ticket, in order of time; what is
// still to come is last.
func threadRows(t map[string]any) (rows [][]string) {
	said, _ := t["thread"].([]any)
	done, _ := t["steps"].([]any)
	for _, m := range append(said, done...) {
		m, ok := m.(map[string]any)
		if !ok {
			continue
		}
		text, by := m["text"], cell(m["by"])
		if step, ok := text.(map[string]any); ok {
			text, by = step["en"], "hub"
		}
		rows = append(rows, []string{cell(m["at"]), by, cell(text)})
	}
	slices.SortStableFunc(rows, func(a, b []string) int {
		if (a[0] == "") != (b[0] == "") {
			return strings.Compare(b[0], a[0])
		}
		return strings.Compare(a[0], b[0])
	})
	return rows
}

func objectionList(r *remote) *cobra.Command {
	var dataset, kind, state string
	var overdue bool
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Short:   "List tickets, the newest first",
		Example: "  hub objection list --state filed\n  hub objection list --overdue",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			q := query("dataset", dataset, "kind", kind, "state", state)
			if overdue {
				q.Set("overdue", "true")
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, objectionsPath, q, limit)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "no ticket matches", []string{"id", "kind", "dataset", "state", "filed", "due", "overdue", "outcome"}, nil)
		},
	}
	f := c.Flags()
	f.StringVar(&dataset, "dataset", "", "only about this dataset's `id`")
	f.StringVar(&kind, "kind", "", "only of this `kind`")
	f.StringVar(&state, "state", "", "only in this `state`: filed, answered or closed")
	f.BoolVar(&overdue, "overdue", false, "only those that should have been answered")
	f.IntVar(&limit, "limit", 100, "at most so many (0: all)")
	return c
}

func objectionShow(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a ticket with its thread",
		Example: "  hub objection show t-7",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.ticket(cmd, http.MethodGet, objectionPath(args[0]), nil)
		},
	}
}

func objectionAnswer(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "answer ID TEXT",
		Short:   "Answer a ticket",
		Example: "  hub objection answer t-7 '已核实，正在更正'",
		Args:    exactArgs("ID", "TEXT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.act(cmd, objectionPath(args[0])+"/answer", map[string]string{"text": args[1]}, objectionFields, asIs)
		},
	}
}

func objectionClose(r *remote) *cobra.Command {
	var g grounds
	c := &cobra.Command{
		Use:     "close ID OUTCOME TEXT",
		Short:   "Close a ticket as corrected, explained or rejected; a rejection names its law",
		Example: "  hub objection close t-7 corrected '已更正'\n  hub objection close t-7 rejected '经核实无误' --law 吉林省大数据条例 --article 第二十七条",
		Args:    exactArgs("ID", "OUTCOME", "TEXT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.act(cmd, objectionPath(args[0])+"/close", map[string]any{"outcome": args[1], "text": args[2], "law": g.laws()}, objectionFields, asIs)
		},
	}
	f := c.Flags()
	f.StringVar(&g.law, "law", "", "`title` of the law in Chinese")
	f.StringVar(&g.article, "article", "", "`article` of the law, such as 第二十七条")
	return c
}
