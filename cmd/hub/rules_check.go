package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/deploy/alerts"
	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/rules"
)

func rulesCheck() *cobra.Command {
	r := &remote{}
	c := &cobra.Command{
		Use:   "check FILE…",
		Short: "List every error of rule files, each with its key path, and metrics that nobody is known to send",
		Long: "check reads rule files as the hub does, in the format of Prometheus. A metric that is neither the hub's own nor recorded by one of the files is a warning: devices may send any. " +
			"With --hub or --data the metrics that the hub has are known, too.\n逐条列出规则文件的错误及其键路径；未知的指标仅作提示。给出 --hub 或 --data 时，枢纽已有的指标也视为已知。",
		Example: "  hub rules check /etc/songhua/rules/*.yaml\n  hub rules check rules.yaml --data /var/lib/songhua",
		Args:    someArgs("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			known, err := r.knownMetrics(cmd.Context())
			if err != nil {
				return err
			}
			return checkRules(cmd.OutOrStdout(), files, known)
		},
	}
	return r.register(c)
}

// someArgs wants one argument at least.
func someArgs(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{fmt.Errorf("%s needs a %s at least; see %s --help", cmd.CommandPath(), name, cmd.CommandPath())}
		}
		return nil
	}
}

// knownMetrics are those of the list, and those of a hub that was named.
func (r *remote) knownMetrics(ctx context.Context) ([]string, error) {
	known := alerts.Metrics()
	if cmp.Or(r.where.URL, r.where.Data, os.Getenv("HUB_URL")) == "" {
		return known, nil
	}
	hub, err := r.client()
	if err != nil {
		return nil, err
	}
	var answer struct{ Data []string }
	if err := hub.Call(ctx, http.MethodGet, "/prometheus/api/v1/label/__name__/values", nil, nil, &answer); err != nil {
		return nil, err
	}
	known = append(known, answer.Data...)
	slices.Sort(known)
	return slices.Compact(known), nil
}

// checkRules writes what is wrong with rule files, and what may be.
func checkRules(out io.Writer, files, known []string) error {
	var faults int
	var groups []rules.Group
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		read, wrong := rules.Parse(file, text, rules.Defaults{Interval: time.Minute})
		for _, f := range wrong {
			faults++
			fmt.Fprintln(out, placed(text, f))
		}
		groups = append(groups, read...)
	}
	warnings, count := 0, 0
	names := append([]string{rules.AlertsMetric, rules.AlertsMetric + "_FOR_STATE"}, known...)
	for _, g := range groups {
		for _, r := range g.Rules {
			names = append(names, r.Record)
		}
	}
	slices.Sort(names)
	for _, g := range groups {
		for _, r := range g.Rules {
			count++
			for _, name := range rules.Names(r.Expr) {
				if !alerts.Known(names, name) {
					warnings++
					fmt.Fprintf(out, "%s: warning: %s of group %s asks for %s, which neither the hub nor a rule here is known to have%s\n", g.File, r.Name(), g.Name, name, nearest(names, name))
				}
			}
		}
	}
	if faults > 0 {
		return fmt.Errorf("%d errors in %d files", faults, len(files))
	}
	fmt.Fprintf(out, "%d rules in %d files are correct", count, len(files))
	if warnings > 0 {
		fmt.Fprintf(out, ", with %d warnings", warnings)
	}
	fmt.Fprintln(out)
	return nil
}

// placed is a fault with its file, which is its Path, its line, and the key path of
// that.
func placed(text []byte, f strict.Error) string {
	msg := strings.TrimPrefix(f.Msg, f.Path+": ")
	if f.Line == 0 {
		return f.Path + ": " + msg
	}
	if key := strict.PathAt(text, f.Line); key != "" {
		msg = key + ": " + msg
	}
	return fmt.Sprintf("%s: line %d: %s", f.Path, f.Line, msg)
}

// nearest suggests the name that differs in the fewest places, where that are few.
func nearest(names []string, name string) string {
	best, at := len(name)/4+1, ""
	for _, n := range names {
		if d := strict.Distance(n, name); d < best {
			best, at = d, n
		}
	}
	if at == "" {
		return ""
	}
	return "; did you mean " + at + "?"
}
