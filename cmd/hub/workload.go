package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const workloadsPath = "/api/v1/workloads"

func workloadPath(id string) string { return workloadsPath + "/" + url.PathEscape(id) }

func workloadCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "workload",
		Short:   "What is to run: submit it, see where it runs or why it waits",
		Example: "  hub workload submit train.yaml\n  hub workload explain w-06h19f7r4z8xf",
	}, workloadSubmit(r), workloadList(r), workloadShow(r), workloadExplain(r), workloadEvents(r), workloadCancel(r)))
}

func workloadSubmit(r *remote) *cobra.Command {
	var dry, key string
	c := &cobra.Command{
		Use:     "submit FILE",
		Short:   "Submit a workload from a file in YAML or JSON",
		Long:    "submit reads a workload and gives it to the hub, which promises capacity at once, or says why it waits.\nWith --dry-run nothing is kept: place says where it would go, queue where it would stand.",
		Example: "  hub workload submit train.yaml\n  hub workload submit train.yaml --dry-run place\n  hub workload submit train.yaml --key nightly-2026-11-26",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := document(args[0])
			if err != nil {
				return err
			}
			hub, err := r.client()
			if err != nil {
				return err
			}
			var w workload
			if err := hub.Once(key).Call(cmd.Context(), http.MethodPost, workloadsPath, query("dry_run", dry), body, &w); err != nil {
				return err
			}
			return r.explain(cmd, w)
		},
	}
	c.Flags().StringVar(&dry, "dry-run", "", "keep nothing: `place` or queue")
	c.Flags().StringVar(&key, "key", "", "idempotency `key`: the same submission again, within seven days, changes nothing")
	return c
}

func workloadList(r *remote) *cobra.Command {
	var tenant, state string
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Short:   "List workloads, the newest first",
		Example: "  hub workload list\n  hub workload list --state queued --tenant default",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, workloadsPath, query("tenant", tenant, "state", state), limit)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "no workload matches; `hub workload submit FILE` makes one",
				[]string{"id", "tenant", "name", "state", "facility", "members", "reason", "submitted"}, flatWorkload)
		},
	}
	f := c.Flags()
	f.StringVar(&tenant, "tenant", "", "only of this `tenant`")
	f.StringVar(&state, "state", "", "only in this `state`: queued, deferred, reserved, bound, running, …")
	f.IntVar(&limit, "limit", 100, "at most so many (0: all)")
	return c
}

func flatWorkload(w map[string]any) {
	spec, _ := w["workload"].(map[string]any)
	w["tenant"], w["name"] = spec["tenant"], spec["name"]
	if d, ok := w["decision"].(map[string]any); ok {
		parts, _ := d["assignments"].([]any)
		var at []string
		for _, p := range parts {
			p, _ := p.(map[string]any)
			if f, _ := p["facility"].(string); f != "" && !strings.Contains(joined(at), f) {
				at = append(at, f)
			}
		}
		w["facility"], w["members"] = joined(at), len(parts)
	}
	if reasons, _ := w["reasons"].([]any); len(reasons) > 0 {
		first, _ := reasons[0].(map[string]any)
		w["reason"] = first["code"]
	}
}

func workloadShow(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a workload as the hub has it",
		Example: "  hub workload show w-06h19f7r4z8xf",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.show(cmd, workloadPath(args[0]))
		},
	}
}

func workloadExplain(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "explain ID",
		Short:   "Say why a workload runs where it does, or why it waits and what would help",
		Example: "  hub workload explain w-06h19f7r4z8xf",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			var w workload
			if err := hub.Call(cmd.Context(), http.MethodGet, workloadPath(args[0])+"/explanation", nil, nil, &w); err != nil {
				return err
			}
			return r.explain(cmd, w)
		},
	}
}

func workloadCancel(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "cancel ID",
		Short:   "End a workload wherever it is",
		Example: "  hub workload cancel w-06h19f7r4z8xf",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.gone(cmd, workloadPath(args[0]), "workload "+args[0]+" is cancelled")
		},
	}
}

// workload is what a person is shown of one.
type workload struct {
	raw json.RawMessage

	ID       string   `json:"id"`
	State    string   `json:"state"`
	Reasons  []reason `json:"reasons"`
	Decision *struct {
		Assignments []assignment `json:"assignments"`
		Until       string       `json:"until"`
		Planned     []assignment `json:"planned"`
		EnergyKWh   float64      `json:"energy_kwh"`
		CarbonKg    float64      `json:"carbon_kg"`
		Cost        float64      `json:"cost"`
		Scores      []score      `json:"scores"`
		RunnersUp   []struct {
			Facility, Pool string
			Cost           float64
			Worse          score
		} `json:"runners_up"`
		Preempts []victim  `json:"preempts"`
		Refused  []refusal `json:"refused"`
	} `json:"decision"`
	Lease *struct {
		ID    string `json:"id"`
		Token uint64 `json:"token"`
	} `json:"lease"`
	Queue *struct {
		Rank  int    `json:"rank"`
		Start string `json:"start_p50"`
	} `json:"queue"`
}

// UnmarshalJSON keeps the whole beside what is shown of it.
func (w *workload) UnmarshalJSON(b []byte) error {
	type shown workload
	w.raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*shown)(w))
}

type reason struct {
	Code string `json:"code"`
	Text said   `json:"text"`
}

// said is a text in both languages, of which a person reads the one of their
// locale.
type said struct{ ZH, EN string }

// String returns the Chinese text where LC_ALL, LC_MESSAGES or LANG says zh.
func (s said) String() string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			if strings.HasPrefix(v, "zh") && s.ZH != "" {
				return s.ZH
			}
			break
		}
	}
	return s.EN
}

type assignment struct {
	Task     string `json:"task"`
	Index    int    `json:"index"`
	Facility string `json:"facility"`
	Pool     string `json:"pool"`
	Node     string `json:"node"`
	Devices  []int  `json:"devices"`
	Start    string `json:"start"`
	End      string `json:"end"`
}

type score struct {
	Scorer string  `json:"scorer"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Cost   float64 `json:"cost"`
}

type victim struct {
	Workload, Lost string
	Priority       int
	Cost           float64
}

type refusal struct {
	Facility, Pool string
	Reason         reason
	Change         []struct{ Key, From, To string }
}

// shownRows is how many rows of a list a person is shown; --json has all.
const shownRows = 20

// explain prints what a person needs: where it runs, or why it waits.
func (r *remote) explain(cmd *cobra.Command, w workload) error {
	if r.json {
		return printJSON(cmd.OutOrStdout(), w.raw)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s  %s\n", orDash(w.ID), w.State)
	for _, x := range w.Reasons {
		fmt.Fprintf(out, "  %s\n", x.Text)
	}
	if w.Queue != nil {
		fmt.Fprintf(out, "  %d ahead in the queue", w.Queue.Rank)
		if w.Queue.Start != "" {
			fmt.Fprintf(out, "; expected to start at %s", cell(w.Queue.Start))
		}
		fmt.Fprintln(out)
	}
	d := w.Decision
	if d == nil {
		return nil
	}
	if d.Until != "" {
		fmt.Fprintf(out, "  deferred until %s\n", cell(d.Until))
	}
	if len(d.Assignments) > 0 {
		fmt.Fprintf(out, "  %.2f kWh, %.2f kg CO2, %.2f yuan\n", d.EnergyKWh, d.CarbonKg, d.Cost)
		if err := assignments(out, d.Assignments); err != nil {
			return err
		}
	}
	if len(d.Planned) > 0 {
		if len(d.Assignments) == 0 {
			fmt.Fprintf(out, "  %.2f kWh, %.2f kg CO2, %.2f yuan\n", d.EnergyKWh, d.CarbonKg, d.Cost)
		}
		fmt.Fprintln(out, "\nplanned, not held")
		if err := assignments(out, d.Planned); err != nil {
			return err
		}
	}
	if err := scores(out, d.Scores); err != nil {
		return err
	}
	for i, x := range d.RunnersUp {
		if i == 0 {
			fmt.Fprintln(out, "\nnot chosen")
		}
		fmt.Fprintf(out, "  %s/%s  %.2f yuan; %s %.4g %s costs %.2f\n", x.Facility, x.Pool, x.Cost, x.Worse.Scorer, x.Worse.Value, x.Worse.Unit, x.Worse.Cost)
	}
	for i, x := range d.Preempts {
		if i == 0 {
			fmt.Fprintf(out, "\n%s\n", said{ZH: "为其让路", EN: "gave way to it"})
		}
		fmt.Fprintf(out, "  %s  %s\n", x.Workload, said{
			ZH: fmt.Sprintf("优先级 %d；损失 %s 的工作，计 %.2f 元", x.Priority, x.Lost, x.Cost),
			EN: fmt.Sprintf("priority %d; loses %s of work, which counts %.2f yuan", x.Priority, x.Lost, x.Cost),
		})
	}
	return refusals(out, d.Refused)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func assignments(out io.Writer, all []assignment) error {
	rows := [][]string{{"task", "index", "facility", "pool", "node", "devices", "start", "end"}}
	for i, a := range all {
		if i == shownRows {
			fmt.Fprintf(out, "  (the first %d of %d members; --json has all)\n", shownRows, len(all))
			break
		}
		rows = append(rows, []string{a.Task, fmt.Sprint(a.Index), a.Facility, a.Pool, orDash(a.Node), orDash(strings.Trim(fmt.Sprint(a.Devices), "[]")), cell(a.Start), cell(a.End)})
	}
	fmt.Fprintln(out)
	return table(out, rows)
}

func scores(out io.Writer, all []score) error {
	if len(all) == 0 {
		return nil
	}
	rows := [][]string{{"scorer", "value", "unit", "yuan"}}
	for _, s := range all {
		rows = append(rows, []string{s.Scorer, fmt.Sprintf("%.4g", s.Value), s.Unit, fmt.Sprintf("%.3f", s.Cost)})
	}
	fmt.Fprintln(out)
	return table(out, rows)
}

func refusals(out io.Writer, all []refusal) error {
	if len(all) == 0 {
		return nil
	}
	fmt.Fprintf(out, "\n%d of the pools cannot take it\n", len(all))
	rows := [][]string{{"facility", "pool", "why", "would fit with"}}
	for i, x := range all {
		if i == shownRows {
			fmt.Fprintf(out, "  (the first %d; --json has all)\n", shownRows)
			break
		}
		var change []string
		for _, c := range x.Change {
			change = append(change, c.Key+": "+c.From+" → "+c.To)
		}
		rows = append(rows, []string{x.Facility, x.Pool, x.Reason.Text.String(), orDash(strings.Join(change, ", "))})
	}
	return table(out, rows)
}
