package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/hub"
)

func verifyCommand() *cobra.Command {
	var graded string
	c := &cobra.Command{
		Use:     "verify [DIR]",
		Short:   "Walk everything a stopped hub keeps and name what is damaged",
		Long:    "verify reads every block, log and table in a data directory, the root of its authority, the files of releases, and the rejects that are kept. It changes nothing, also after a\ncrash, and exits with 1 when something is damaged. The hub must not run.",
		Example: "  hub verify /var/lib/songhua\n  hub verify /var/lib/songhua --graded /srv/encrypted/series",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("verify takes one directory, but got %d", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := config.Default().Data
			if len(args) == 1 {
				dir = args[0]
			}
			dir, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			report := func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) }
			findings, err := hub.Verify(cmd.Context(), dir, report)
			if err != nil {
				return err
			}
			if graded != "" {
				more, err := hub.VerifyGraded(cmd.Context(), graded, report)
				if err != nil {
					return err
				}
				findings += more
			}
			if findings > 0 {
				return fmt.Errorf("%s has %d damaged places", dir, findings)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: no damage\n", dir)
			return nil
		},
	}
	c.Flags().StringVar(&graded, "graded", "", "also the `directory` that store.graded_dir names")
	_ = c.MarkFlagDirname("graded")
	return c
}
