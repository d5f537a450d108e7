// Command edge-agent reads sensors, machines and roadside units and sends what
// it read to a hub, losing nothing on the way.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit code: 0 done, 1 the thing asked for failed, 2 wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "edge-agent:", err)
	if errors.As(err, new(usageError)) {
		fmt.Fprintf(stderr, "`%s --help` says more.\n", command.CommandPath())
		return 2
	}
	return 1
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "edge-agent",
		Short:         "Read sensors and machines, keep it on disk, send it to a hub",
		Example:       "  edge-agent config > agent.yaml\n  edge-agent check agent.yaml\n  edge-agent run --config agent.yaml",
		Args:          exactly(0),
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%s: %w", c.CommandPath(), cli.FlagFault(c, err))}
	})
	root.AddCommand(newRun(), newEnroll(), newCheck(), newConfig(), newSimulate(), newSpool(), newMember(), newVersion())
	cli.Complete(root, func(err error) error { return usageError{err} })
	return root
}
