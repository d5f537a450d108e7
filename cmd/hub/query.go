package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// promAnswer is the envelope of the Prometheus API.
type promAnswer struct {
	Data struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	} `json:"data"`
	Warnings []string `json:"warnings,omitempty"`
	Infos    []string `json:"infos,omitempty"`
}

// promSeries is one series of a vector (Value) or matrix (Values).
type promSeries struct {
	Metric map[string]string `json:"metric"`
	Value  promPoint         `json:"value"`
	Values []promPoint       `json:"values"`
}

// promPoint is [seconds, "value"].
type promPoint struct {
	at    time.Time
	value string
}

func (p *promPoint) UnmarshalJSON(text []byte) error {
	var seconds float64
	if err := json.Unmarshal(text, &[]any{&seconds, &p.value}); err != nil {
		return err
	}
	p.at = time.UnixMilli(int64(seconds * 1000))
	return nil
}

func queryCommand() *cobra.Command {
	r := &remote{}
	var at, unit, asOf string
	c := &cobra.Command{
		Use:     "query PROMQL",
		Short:   "Ask for values in PromQL",
		Example: "  hub query 'temperature'\n  hub query 'avg by (site) (temperature{kind=\"sensor\"})'\n  hub query 'max_over_time(temperature[1h])' --at 2h --json\n  hub query 'avg by (site) (soil_temperature)' --unit degF\n  hub query 'temperature' --at 2h --as-of 24h",
		Args:    exactArgs("PROMQL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			when, err := moment("at", at)
			if err != nil {
				return err
			}
			known, err := moment("as-of", asOf)
			if err != nil {
				return err
			}
			return r.ask(cmd, query("query", args[0], "time", when, "unit", unit, "as_of", known))
		},
	}
	c.Flags().StringVar(&at, "at", "", "the `time` to ask for: 2h ago, or RFC 3339 (default: the present)")
	c.Flags().StringVar(&asOf, "as-of", "", "show what was known at this `time`, before later corrections: 2h ago, or RFC 3339")
	c.Flags().StringVar(&unit, "unit", "", "convert values to this `unit` before anything is made of them (a code of SenML or UCUM, such as degF)")
	return r.register(c)
}

func (r *remote) ask(cmd *cobra.Command, question url.Values) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := hub.Call(cmd.Context(), http.MethodGet, "/prometheus/api/v1/query", question, nil, &raw); err != nil {
		return err
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), raw)
	}
	var answer promAnswer
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	for _, note := range append(answer.Warnings, answer.Infos...) {
		fmt.Fprintln(cmd.ErrOrStderr(), note)
	}
	rows, err := answer.rows()
	if err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	if len(rows) < 2 {
		fmt.Fprintln(cmd.ErrOrStderr(), "no series has a value there; `hub query '{__name__!=\"\"}'` shows what there is")
		return nil
	}
	return table(cmd.OutOrStdout(), rows)
}

// rows makes a table of an answer: one column for each label.
func (a *promAnswer) rows() ([][]string, error) {
	if a.Data.Type == "scalar" || a.Data.Type == "string" {
		var p promPoint
		err := json.Unmarshal(a.Data.Result, &p)
		return [][]string{{"value", "time"}, {cell(p.value), clock(p.at)}}, err
	}
	var all []promSeries
	if err := json.Unmarshal(a.Data.Result, &all); err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, s := range all {
		for name := range s.Metric {
			found[name] = true
		}
	}
	delete(found, "__name__")
	names := append([]string{"__name__"}, slices.Sorted(maps.Keys(found))...)
	head := slices.Concat([]string{"metric"}, names[1:], []string{"value", "time"})
	rows := [][]string{head}
	for _, s := range all {
		if a.Data.Type == "vector" {
			s.Values = []promPoint{s.Value}
		}
		for _, p := range s.Values {
			row := make([]string, 0, len(head))
			for _, name := range names {
				row = append(row, cell(s.Metric[name]))
			}
			rows = append(rows, append(row, short(p.value), clock(p.at)))
		}
	}
	return rows, nil
}

// short writes a value with the digits that people read; --json has them all.
func short(value string) string {
	v, err := strconv.ParseFloat(value, 64)
	if err != nil || len(value) <= 12 {
		return value
	}
	return strconv.FormatFloat(v, 'g', 8, 64)
}

func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
