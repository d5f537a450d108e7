package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// exactly wants n arguments; an unknown command is named as such.
func exactly(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) > 0 && c.HasSubCommands():
			return usageError{fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath())}
		case len(args) != n:
			return usageError{fmt.Errorf("%s wants %d arguments, got %d; usage: %s", c.CommandPath(), n, len(args), c.UseLine())}
		}
		return nil
	}
}

// configFlag adds --config, which the command cannot do without.
func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "config", "c", "", "config `FILE`")
	c.PreRunE = func(*cobra.Command, []string) error {
		if *file == "" {
			return usageError{fmt.Errorf("%s needs --config FILE; edge-agent config prints one to begin with", c.CommandPath())}
		}
		return nil
	}
	_ = c.MarkFlagFilename("config", "yaml", "yml") // fails only for a flag that does not exist
}
