package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/config"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "check FILE",
		Short:   "List every error of a config file, each with its key path",
		Example: "  hub check /etc/songhua/hub.yaml",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := config.Load(args[0])
			var invalid *config.Invalid
			if errors.As(err, &invalid) {
				for _, e := range invalid.Errors {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %v\n", args[0], e)
				}
				return fmt.Errorf("%s has %d errors", args[0], len(invalid.Errors))
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is correct\n", args[0])
			return nil
		},
	}
}

func configCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "config",
		Short:   "Print the default config with the meaning of every key",
		Example: "  hub config > hub.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Annotated())
			return err
		},
	}
}
