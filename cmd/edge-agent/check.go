package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge"
)

func newCheck() *cobra.Command {
	return &cobra.Command{
		Use:     "check FILE",
		Short:   "Show every error of a config file, and what the hub lays over it",
		Example: "  edge-agent check /etc/songhua/edge-agent.yaml",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := loadConfig(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: no errors\n%s", args[0], hubsPart(cfg))
			return err
		},
	}
}

// hubsPart tells which keys are the hub's and not the file's.
func hubsPart(cfg edge.Config) string {
	o, err := edge.FromHub(cfg)
	var b strings.Builder
	switch {
	case err != nil:
		fmt.Fprintf(&b, "what the hub wants could not be read: %v\n", err)
	case len(o.Faults) > 0:
		fmt.Fprintf(&b, "version %d from the hub does not go with this file and is not used:\n", o.Version)
		for _, f := range o.Faults {
			fmt.Fprintf(&b, "  %s: %s\n", f.Path, f.Msg)
		}
	case o.Version > 0:
		fmt.Fprintf(&b, "from the hub (version %d):\n", o.Version)
		for _, k := range o.Keys {
			fmt.Fprintf(&b, "  %s\n", k)
		}
	}
	return b.String()
}

func loadConfig(file string) (edge.Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return edge.Config{}, err
	}
	cfg, faults := edge.ParseConfig(data)
	if len(faults) == 0 {
		return cfg, nil
	}
	return cfg, configError{file, faults}
}

// configError is all faults of a file, one a line.
type configError struct {
	file   string
	faults []strict.Error
}

func (e configError) Error() string {
	lines := make([]string, len(e.faults))
	for i, f := range e.faults {
		lines[i] = "  " + f.Error()
	}
	plural := "s"
	if len(lines) == 1 {
		plural = ""
	}
	return fmt.Sprintf("%s has %d error%s:\n%s", e.file, len(lines), plural, strings.Join(lines, "\n"))
}
