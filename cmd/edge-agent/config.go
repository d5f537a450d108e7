package main

import (
	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/edge"
)

func newConfig() *cobra.Command {
	return &cobra.Command{
		Use:     "config",
		Short:   "Print the default config with comments",
		Example: "  edge-agent config > agent.yaml",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(edge.AnnotatedConfig())
			return err
		},
	}
}
