package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

func twinCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "twin",
		Short:   "The configuration that a device is to have, and the one it has",
		Example: "  hub twin patch probe-1 '{\"interval\": \"30s\"}'\n  hub twin show probe-1\n  hub twin list --standing drifted",
	},
		twinShow(r), twinList(r), twinHistory(r),
		twinWant(r, "set", http.MethodPut, "Set the configuration that a device is to have"),
		twinWant(r, "patch", http.MethodPatch, "Change it: what is absent stays, null clears (RFC 7396)"),
		twinClear(r)))
}

func twinPath(device string) string { return devicePath(device) + "/twin" }

var twinFields = []string{"device", "standing", "wanted", "reported", "drift"}

func twinShow(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "show DEVICE",
		Short:   "Show both sides of a device's configuration and where they differ",
		Example: "  hub twin show probe-1",
		Args:    exactArgs("DEVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodGet, twinPath(args[0]), nil, twinFields)
		},
	}
}

func twinWant(r *remote, verb, method, short string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " DEVICE JSON|FILE|-",
		Short:   short,
		Example: "  hub twin " + verb + " probe-1 '{\"interval\": \"30s\"}'\n  hub twin " + verb + " probe-1 wanted.json",
		Args:    exactArgs("DEVICE", "JSON"),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := jsonFrom(cmd.InOrStdin(), args[1])
			if err != nil {
				return err
			}
			return r.print(cmd, method, twinPath(args[0])+"/wanted", config, twinFields)
		},
	}
}

// jsonFrom reads JSON that is an argument itself, in a file, or on standard
// input.
func jsonFrom(stdin io.Reader, arg string) (json.RawMessage, error) {
	text, err := []byte(arg), error(nil)
	switch {
	case arg == "-":
		text, err = io.ReadAll(stdin)
	case arg != "" && arg[0] != '{':
		text, err = os.ReadFile(arg)
	}
	if err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		return nil, usageError{fmt.Errorf("%.60q is no JSON object; write it like '{\"interval\": \"30s\"}', or name a file that holds one", arg)}
	}
	return text, nil
}

func twinClear(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "clear DEVICE",
		Short:   "Want nothing of a device any more; it goes by its own configuration",
		Example: "  hub twin clear probe-1",
		Args:    exactArgs("DEVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodDelete, twinPath(args[0])+"/wanted", nil, twinFields)
		},
	}
}

func twinList(r *remote) *cobra.Command {
	var standing string
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Short:   "List how devices' configurations stand",
		Example: "  hub twin list\n  hub twin list --standing refused",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return twinTable(cmd, r, "/api/v1/twins", query("standing", standing), limit, "no device matches; `hub twin set DEVICE JSON` wants something of one",
				[]string{"device", "standing", "wanted_version", "reported_version", "reported_at", "drift", "errors"})
		},
	}
	c.Flags().StringVar(&standing, "standing", "", "only those that are `so`: pending, refused, in_step or drifted")
	c.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	return c
}

func twinHistory(r *remote) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:     "history DEVICE",
		Short:   "List the versions of what a device was to have, the newest first",
		Example: "  hub twin history probe-1",
		Args:    exactArgs("DEVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return twinTable(cmd, r, twinPath(args[0])+"/history", nil, limit, "nothing was ever wanted of it", []string{"version", "at", "actor", "config"})
		},
	}
	c.Flags().IntVar(&limit, "limit", 20, "at most so many (0: all)")
	return c
}

func twinTable(cmd *cobra.Command, r *remote, path string, q map[string][]string, limit int, none string, columns []string) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	all, err := client.Pages[map[string]any](cmd.Context(), hub, path, q, limit)
	if err != nil {
		return err
	}
	return r.list(cmd, all, none, columns, nil)
}
