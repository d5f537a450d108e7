// Command hub is the telemetry hub: it takes what devices report, keeps it, and
// answers for it. `hub demo` shows everything on this machine.
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

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0 done, 1 the thing asked for failed, 2 wrong usage.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(usageError)), isUsage(err):
		fmt.Fprintf(stderr, "hub: %v\n`%s --help` says more.\n", err, command.CommandPath())
		return 2
	}
	fmt.Fprintf(stderr, "hub: %v\n", err)
	return 1
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "hub",
		Short:         "A telemetry hub: devices in, durable series, charts and APIs out",
		Long:          "hub takes telemetry by MQTT, CoAP and HTTP, acknowledges it when it is on disk, and answers PromQL.\n枢纽：经 MQTT、CoAP、HTTP 接收遥测，落盘后才确认，并以 PromQL 提供查询。",
		Example:       "  hub demo\n  hub serve --data /var/lib/songhua\n  hub device add probe-1 --kind sensor\n  hub query 'temperature'",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usageError{cli.FlagFault(c, err)} })
	root.AddCommand(
		serveCommand(), demoCommand(), backupCommand(), restoreCommand(), drillCommand(),
		checkCommand(), configCommand(), verifyCommand(), benchCommand(), versionCommand(),
		deviceCommand(), modelCommand(), enrolCommand(), caCommand(), commandCommand(), rolloutCommand(), twinCommand(), rsuCommand(), roadsCommand(), facilityCommand(), poolCommand(), queueCommand(), tenantCommand(), networkCommand(), signalCommand(), capacityCommand(), simulateCommand(), workloadCommand(), datasetCommand(), grantCommand(), objectionCommand(), outletCommand(), tokenCommand(), sessionCommand(), auditCommand(), queryCommand(), rejectsCommand(), rulesCommand(), v2xCommand(), releaseCommand(), correctCommand(), correctionsCommand(), importCommand(), importsCommand(),
	)
	cli.Complete(root, func(err error) error { return usageError{err} })
	return root
}
