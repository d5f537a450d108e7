package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const rejectsPath = "/api/v1/rejects"

// which says what rejects are meant.
type which struct {
	device, stage, reason, since, until string
	all                                 bool
}

func (w *which) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&w.device, "device", "", "only of this `device`")
	f.StringVar(&w.stage, "stage", "", "only of this `stage`: door, decode, identify, validate, grade or commit")
	f.StringVar(&w.reason, "reason", "", "only for this `reason`")
	f.StringVar(&w.since, "since", "", "only after this `time`: 2h ago, or RFC 3339")
	f.StringVar(&w.until, "until", "", "only before this `time`")
}

// pairs are the names and values that the API takes.
func (w *which) pairs() ([]string, error) {
	since, err := moment("since", w.since)
	if err != nil {
		return nil, err
	}
	until, err := moment("until", w.until)
	return []string{"device", w.device, "stage", w.stage, "reason", w.reason, "since", since, "until", until}, err
}

func rejectsCommand() *cobra.Command {
	r := &remote{}
	list := rejectsList(r)
	c := r.register(group(&cobra.Command{
		Use:     "rejects",
		Short:   "The desk of what was not stored: list it, try it again, drop it",
		Example: "  hub rejects\n  hub rejects replay --device probe-1\n  hub rejects drop --reason time_future",
	}, list,
		rejectsAct(r, "replay", "Send rejected messages on their way again, once their cause is mended", "stored"),
		rejectsAct(r, "drop", "Forget rejected messages", "dropped")))
	unknown := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknown(cmd, args)
		}
		return list.RunE(cmd, args)
	}
	return c
}

func rejectsList(r *remote) *cobra.Command {
	var w which
	limit := 100
	c := &cobra.Command{
		Use:     "list",
		Short:   "List what was not stored, the newest first",
		Example: "  hub rejects list --since 1h\n  hub rejects list --device probe-1 --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asked, err := w.pairs()
			if err != nil {
				return err
			}
			hub, err := r.client()
			if err != nil {
				return err
			}
			if r.json {
				asked = append(asked, "payload", "true")
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, rejectsPath, query(asked...), limit)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "nothing was rejected", []string{"at", "device", "stage", "reason", "detail", "id"}, nil)
		},
	}
	w.register(c)
	c.Flags().IntVar(&limit, "limit", limit, "at most so many (0: all)")
	return c
}

func rejectsAct(r *remote, verb, short, done string) *cobra.Command {
	var w which
	c := &cobra.Command{
		Use:     verb,
		Short:   short,
		Example: "  hub rejects " + verb + " --device probe-1\n  hub rejects " + verb + " --all",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asked, err := w.pairs()
			if err != nil {
				return err
			}
			body := map[string]any{}
			for name, values := range query(asked...) {
				body[name] = values[0]
			}
			if len(body) == 0 && !w.all {
				return usageError{fmt.Errorf("%s: name what is meant with --device, --stage, --reason, --since or --until, or say --all", cmd.CommandPath())}
			}
			if w.all {
				body["all"] = true
			}
			return r.count(cmd, verb, done, body)
		},
	}
	w.register(c)
	c.Flags().BoolVar(&w.all, "all", false, "all of them")
	return c
}

func (r *remote) count(cmd *cobra.Command, verb, done string, body any) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := hub.Call(cmd.Context(), http.MethodPost, rejectsPath+":"+verb, nil, body, &raw); err != nil {
		return err
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), raw)
	}
	var answer struct{ Count int }
	if err := json.Unmarshal(raw, &answer); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d messages %s\n", answer.Count, done)
	return err
}
