package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const (
	commandsPath = "/api/v1/commands"
	rolloutsPath = "/api/v1/rollouts"
)

// asked are the flags of what a device is asked.
type asked struct {
	Name      string          `json:"name"`
	Params    json.RawMessage `json:"params,omitempty"`
	Delivery  string          `json:"delivery,omitempty"`
	ExpiresIn string          `json:"expires_in,omitempty"`
	params    string
	once      bool
}

func (a *asked) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.params, "params", "", "`JSON` that goes with it")
	f.BoolVar(&a.once, "once", false, "deliver it at most once, and perhaps never")
	f.StringVar(&a.ExpiresIn, "expires-in", "", "how long it may wait, such as 90s (default 5m)")
}

func (a *asked) read(name string) error {
	a.Name = name
	if a.params != "" {
		if !json.Valid([]byte(a.params)) {
			return usageError{fmt.Errorf("--params %q is no JSON; write it like '{\"delay\": \"5s\"}'", a.params)}
		}
		a.Params = json.RawMessage(a.params)
	}
	if a.once {
		a.Delivery = "at_most_once"
	}
	return nil
}

var commandFields = []string{"id", "device", "rollout", "name", "params", "delivery", "state", "reason", "result", "actor", "attempts", "created", "expires", "sent", "received", "ended"}

func commandCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "command",
		Short:   "Ask devices for something, and see what became of it",
		Example: "  hub command send probe-1 reboot --wait 30s\n  hub command list --device probe-1",
	},
		commandSend(r), commandList(r), commandShow(r), commandCancel(r)))
}

func commandSend(r *remote) *cobra.Command {
	a := &asked{}
	var wait time.Duration
	c := &cobra.Command{
		Use:     "send DEVICE NAME",
		Short:   "Ask a device for something",
		Example: "  hub command send probe-1 reboot\n  hub command send gate-3 open --params '{\"seconds\": 20}' --once --wait 30s",
		Args:    exactArgs("DEVICE", "NAME"),
	}
	a.flags(c)
	c.Flags().DurationVar(&wait, "wait", 0, "wait so `long` for its end")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.read(args[1]); err != nil {
			return err
		}
		return r.issue(cmd, args[0], a, wait)
	}
	return c
}

func commandList(r *remote) *cobra.Command {
	var device, rollout, state string
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Short:   "List commands, the newest first",
		Example: "  hub command list --device probe-1\n  hub command list --state expired --limit 20",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, commandsPath, query("device", device, "rollout", rollout, "state", state), limit)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "no command matches; `hub command send DEVICE NAME` makes one",
				[]string{"id", "device", "name", "state", "reason", "attempts", "created", "ended", "actor"}, nil)
		},
	}
	f := c.Flags()
	f.StringVar(&device, "device", "", "only of this device's `id`")
	f.StringVar(&rollout, "rollout", "", "only of this rollout's `id`")
	f.StringVar(&state, "state", "", "only in this `state`: queued, sent, received, done, failed or expired")
	f.IntVar(&limit, "limit", 100, "at most so many (0: all)")
	return c
}

func commandShow(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a command",
		Example: "  hub command show c-06h19f7r4z8xfvrzs4",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodGet, commandsPath+"/"+url.PathEscape(args[0]), nil, commandFields)
		},
	}
}

func commandCancel(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "cancel ID",
		Short:   "Take back a command that has not ended; its device may have it already",
		Example: "  hub command cancel c-06h19f7r4z8xfvrzs4",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodPost, commandsPath+"/"+url.PathEscape(args[0])+"/cancel", nil, []string{"id", "device", "state", "reason"})
		},
	}
}

var rolloutFields = []string{"id", "name", "state", "reason", "devices", "commands", "rate", "canary", "failures", "actor", "created", "ended"}

func rolloutCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "rollout",
		Short:   "Ask a group of devices for something: a few first, then at a rate",
		Example: "  hub rollout start update --kind rsu --region 2201 --canary 3 --rate 5 --failures 1\n  hub rollout list",
	},
		rolloutStart(r), rolloutList(r),
		rolloutAct(r, "show", http.MethodGet, "", "Show how far a rollout is"),
		rolloutAct(r, "pause", http.MethodPost, "/pause", "Hold a rollout back; what was sent goes on"),
		rolloutAct(r, "resume", http.MethodPost, "/resume", "Let a paused rollout go on"),
		rolloutAct(r, "stop", http.MethodPost, "/stop", "End a rollout and take back what has not ended")))
}

func rolloutStart(r *remote) *cobra.Command {
	in := struct {
		*asked
		Devices  []string `json:"devices,omitempty"`
		Kind     string   `json:"kind,omitempty"`
		Site     string   `json:"site,omitempty"`
		Region   string   `json:"region,omitempty"`
		Q        string   `json:"q,omitempty"`
		Rate     float64  `json:"rate,omitempty"`
		Canary   int      `json:"canary,omitempty"`
		Failures int      `json:"failures,omitempty"`
	}{asked: &asked{}}
	c := &cobra.Command{
		Use:     "start NAME",
		Short:   "Ask a group of devices for something",
		Example: "  hub rollout start sync --device probe-1 --device probe-2\n  hub rollout start update --params '{\"version\": \"1.4\"}' --kind rsu --region 2201 --canary 3 --rate 5 --failures 1",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := in.read(args[0]); err != nil {
				return err
			}
			return r.print(cmd, http.MethodPost, rolloutsPath, in, []string{"id", "state", "devices", "commands"})
		},
	}
	in.flags(c)
	f := c.Flags()
	f.StringArrayVar(&in.Devices, "device", nil, "`id` of a device, may be repeated; or choose by the flags below")
	f.StringVar(&in.Kind, "kind", "", "all of this `kind`")
	f.StringVar(&in.Site, "site", "", "all at this `site`")
	f.StringVar(&in.Region, "region", "", "all where the division code begins with this `prefix`")
	f.StringVar(&in.Q, "search", "", "all where the id or a tag's value holds this `text`")
	f.Float64Var(&in.Rate, "rate", 0, "commands a `second` (0: no bound)")
	f.IntVar(&in.Canary, "canary", 0, "how many devices go first; the others wait until these have ended")
	f.IntVar(&in.Failures, "failures", 0, "how many may fail or expire; one more stops the rollout")
	return c
}

func rolloutList(r *remote) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Short:   "List rollouts, the newest first",
		Example: "  hub rollout list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, rolloutsPath, nil, limit)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "there is no rollout; `hub rollout start NAME` makes one", rolloutFields, nil)
		},
	}
	c.Flags().IntVar(&limit, "limit", 100, "at most so many (0: all)")
	return c
}

func rolloutAct(r *remote, verb, method, path, short string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " ID",
		Short:   short,
		Example: "  hub rollout " + verb + " r-06h19f7r4z8xfvrzs4",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, method, rolloutsPath+"/"+url.PathEscape(args[0])+path, nil, rolloutFields)
		},
	}
}
