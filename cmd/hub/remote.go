package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/cli"
	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/config"
)

// remote is what every command that talks to a running hub shares.
type remote struct {
	where client.Where
	json  bool
}

// register adds the flags to a command and all below it.
func (r *remote) register(c *cobra.Command) *cobra.Command {
	flags := c.PersistentFlags()
	flags.StringVar(&r.where.URL, "hub", "", "`URL` of the hub (or HUB_URL; default "+client.DefaultURL+")")
	flags.StringVar(&r.where.Token, "token", "", "`token` to show (or HUB_TOKEN)")
	flags.StringVar(&r.where.Data, "data", "", "data `directory` of a hub on this machine: its address and admin token are used")
	flags.BoolVar(&r.json, "json", false, "print JSON")
	_ = c.MarkPersistentFlagDirname("data")
	return c
}

func (r *remote) client() (*client.Client, error) {
	w := r.where
	w.EnvURL, w.EnvToken = os.Getenv("HUB_URL"), os.Getenv("HUB_TOKEN")
	w.DefaultDataDirectory = config.Default().Data
	return client.Find(w)
}

// group is a command that only holds others.
func group(c *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	c.Args, c.SuggestionsMinimumDistance = cobra.ArbitraryArgs, 2
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("%s has no command %q%s", cmd.CommandPath(), args[0], cli.Meant(cmd.SuggestionsFor(args[0])))}
		}
		return cmd.Help()
	}
	c.AddCommand(commands...)
	return c
}

// printJSON prints what the hub answered, indented.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// query makes a query of flags; empty ones are left out.
func query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// moment reads a time flag: RFC 3339, or how long ago (90m, 36h).
func moment(flag, s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if ago, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-ago.Abs()).UTC().Format(time.RFC3339Nano), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC().Format(time.RFC3339Nano), nil
	}
	return "", usageError{fmt.Errorf("--%s %q is no time; write 2h for two hours ago, or 2026-01-31T08:00:00Z", flag, s)}
}

// pairs reads name=value flags.
func pairs(flag string, list []string) (map[string]string, error) {
	all := map[string]string{}
	for _, s := range list {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("--%s %q is no name=value pair", flag, s)}
		}
		all[name] = value
	}
	return all, nil
}
