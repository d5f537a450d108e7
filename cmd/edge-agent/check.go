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
		Short:   "Show every error of a config file",
		Example: "  edge-agent check /etc/songhua/edge-agent.yaml",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := loadConfig(args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s: no errors\n", args[0])
			return err
		},
	}
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
