package main

import (
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const (
	rulesPath    = "/api/v1/rules"
	alertsPath   = "/api/v1/alerts"
	silencesPath = "/api/v1/silences"
)

func rulesCommand() *cobra.Command {
	r := &remote{}
	return group(&cobra.Command{
		Use:     "rules",
		Short:   "What raises alerts, what fires, what is kept quiet, and what happened",
		Long:    "rules shows how the rules of the hub are evaluated, the alerts that they raise and raised, and keeps alerts quiet for a while (docs/rules.md).\n规则与告警：评估情况、当前告警、历史，以及静默。",
		Example: "  hub rules list\n  hub rules alerts --match 'severity=\"page\"'\n  hub rules silence add 'alertname=\"DeviceOffline\"' 'site=\"plant-a\"' --for 4h --comment 'power works until noon'\n  hub rules history --since 24h\n  hub rules check rules.yaml",
	}, r.register(rulesList(r)), r.register(rulesAlerts(r)), r.register(rulesHistory(r)), rulesSilence(r), rulesCheck(), rulesTest())
}

func rulesList(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the rules and how their evaluation goes",
		Example: "  hub rules list\n  hub rules list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			groups, err := client.Pages[map[string]any](cmd.Context(), hub, rulesPath, nil, 0)
			if err != nil {
				return err
			}
			var all []map[string]any
			for _, g := range groups {
				list, _ := g["rules"].([]any)
				for _, one := range list {
					rule, ok := one.(map[string]any)
					if !ok {
						continue
					}
					rule["group"], rule["file"], rule["interval"], rule["lateness"], rule["evaluated_until"] = g["name"], g["file"], g["interval"], g["lateness"], g["evaluated_until"]
					all = append(all, rule)
				}
			}
			return r.list(cmd, all, "there are no rules; rules.shipped and rules.dir say where they come from", []string{"file", "group", "name", "kind", "state", "firing", "pending", "took", "error"}, nil)
		},
	}
}

func rulesAlerts(r *remote) *cobra.Command {
	var match []string
	c := &cobra.Command{
		Use:     "alerts",
		Short:   "List the alerts of now",
		Example: "  hub rules alerts\n  hub rules alerts --match 'severity=\"page\"' --match 'region=~\"2201.*\"'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, alertsPath, url.Values{"match": match}, 0)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "nothing fires", []string{"name", "state", "severity", "active_since", "value", "summary", "silences"}, withSummary)
		},
	}
	c.Flags().StringArrayVar(&match, "match", nil, "only with labels like `name=\"value\"` (also !=, =~, !~; may be given again)")
	return c
}

func withSummary(a map[string]any) {
	if notes, ok := a["annotations"].(map[string]any); ok {
		a["summary"] = notes["summary"]
	}
}

func rulesHistory(r *remote) *cobra.Command {
	var since time.Duration
	name, limit := "", 100
	c := &cobra.Command{
		Use:     "history",
		Short:   "List what alerts did: when it happened, and when it was known",
		Example: "  hub rules history\n  hub rules history --name DeviceOffline --since 24h",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			q := query("name", name)
			if since > 0 {
				q.Set("since", time.Now().Add(-since).UTC().Format(time.RFC3339))
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, alertsPath+"/history", q, limit)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "nothing happened", []string{"at", "known", "late", "kind", "name", "value", "summary"}, withSummary)
		},
	}
	c.Flags().DurationVar(&since, "since", 0, "only what happened in the last `time`")
	c.Flags().StringVar(&name, "name", "", "only of the alert of this `name`")
	c.Flags().IntVar(&limit, "limit", limit, "at most so many (0: all)")
	return c
}

func rulesSilence(r *remote) *cobra.Command {
	return r.register(group(&cobra.Command{
		Use:     "silence",
		Short:   "Keep alerts quiet for a while: they fire, and nobody is told",
		Example: "  hub rules silence add 'alertname=\"DeviceOffline\"' --for 4h --comment 'power works'\n  hub rules silence list\n  hub rules silence end s-abc",
	}, silenceAdd(r), silenceList(r), silenceEnd(r)))
}

var silenceFields = []string{"id", "matchers", "from", "until", "by", "comment", "in_force"}

func silenceAdd(r *remote) *cobra.Command {
	length, comment := time.Duration(0), ""
	c := &cobra.Command{
		Use:     "add MATCHER...",
		Short:   "Silence the alerts whose labels meet all matchers",
		Example: "  hub rules silence add 'alertname=\"DeviceOffline\"' 'site=\"plant-a\"' --for 4h --comment 'power works until noon'",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"matchers": args, "until": time.Now().Add(length).UTC().Format(time.RFC3339), "comment": comment}
			return r.print(cmd, http.MethodPost, silencesPath, body, silenceFields)
		},
	}
	c.Flags().DurationVar(&length, "for", time.Hour, "for how `long`")
	c.Flags().StringVar(&comment, "comment", "", "`why`")
	_ = c.MarkFlagRequired("comment") // the flag is there
	return c
}

func silenceList(r *remote) *cobra.Command {
	all := false
	c := &cobra.Command{
		Use:     "list",
		Short:   "List silences",
		Example: "  hub rules silence list\n  hub rules silence list --all",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			q := url.Values{}
			if all {
				q.Set("all", "true")
			}
			found, err := client.Pages[map[string]any](cmd.Context(), hub, silencesPath, q, 0)
			if err != nil {
				return err
			}
			return r.list(cmd, found, "there is none", silenceFields, nil)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "those that are over too")
	return c
}

func silenceEnd(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "end ID",
		Short:   "End a silence now",
		Example: "  hub rules silence end s-abc",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodDelete, silencesPath+"/"+url.PathEscape(args[0]), nil, nil)
		},
	}
}
