package main

import (
	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/edge"
)

// newMember is what the agent itself starts for each process that a hub leased
// this machine for.
func newMember() *cobra.Command {
	return &cobra.Command{
		Use:     "member DIR",
		Short:   "Look after one member of a lease; the agent starts it",
		Example: "  edge-agent member 7-train-0",
		Hidden:  true,
		Args:    exactly(1),
		RunE:    func(_ *cobra.Command, args []string) error { return edge.Member(args[0]) },
	}
}
