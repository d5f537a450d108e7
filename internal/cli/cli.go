// Package cli gives both programs the commands that every program has, help and
// completion, with the examples and exit codes that hold for all others.
package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Complete adds help and completion to a program. Wrong usage of them is what
// usage makes of an error.
func Complete(root *cobra.Command, usage func(error) error) {
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(help(root.Name(), usage))
	root.InitDefaultHelpCmd()
	root.AddCommand(completion(root.Name(), usage))
}

func help(program string, usage func(error) error) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show what a command does, its flags and examples",
		Example: fmt.Sprintf("  %[1]s help\n  %[1]s help version", program),
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if of, rest, err := c.Root().Find(args); err == nil && len(rest) == 0 {
				for _, sub := range of.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			of, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usage(fmt.Errorf("there is no command %q; %s --help lists them", strings.Join(args, " "), program))
			}
			return of.Help()
		},
	}
}

// shells are those that completion is written for, and how each loads it.
var shells = []struct {
	name  string
	write func(*cobra.Command, io.Writer) error
	load  string
}{
	{"bash", func(c *cobra.Command, w io.Writer) error { return c.GenBashCompletionV2(w, true) },
		"  source <(%[1]s completion bash)\n  %[1]s completion bash > /etc/bash_completion.d/%[1]s    # for every shell from then on; needs the package bash-completion"},
	{"zsh", (*cobra.Command).GenZshCompletion,
		"  source <(%[1]s completion zsh)\n  %[1]s completion zsh > \"${fpath[1]}/_%[1]s\"    # for every shell from then on; needs autoload -U compinit; compinit"},
	{"fish", func(c *cobra.Command, w io.Writer) error { return c.GenFishCompletion(w, true) },
		"  %[1]s completion fish | source\n  %[1]s completion fish > ~/.config/fish/completions/%[1]s.fish    # for every shell from then on"},
}

func completion(program string, usage func(error) error) *cobra.Command {
	var names []string
	for _, s := range shells {
		names = append(names, s.name)
	}
	list := strings.Join(names, ", ")
	all := &cobra.Command{
		Use:     "completion SHELL",
		Short:   "Print what makes a shell complete commands and flags: " + list,
		Example: fmt.Sprintf("  source <(%s completion bash)", program),
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("no completion for %q; there is one for %s", args[0], list))
			}
			return c.Help()
		},
	}
	for _, s := range shells {
		all.AddCommand(&cobra.Command{
			Use:               s.name,
			Short:             "Print what makes " + s.name + " complete commands and flags",
			Example:           fmt.Sprintf(s.load, program),
			ValidArgsFunction: cobra.NoFileCompletions,
			Args: func(c *cobra.Command, args []string) error {
				if len(args) > 0 {
					return usage(fmt.Errorf("%s takes no argument, but got %q", c.CommandPath(), args[0]))
				}
				return nil
			},
			RunE: func(c *cobra.Command, _ []string) error { return s.write(c.Root(), c.OutOrStdout()) },
		})
	}
	return all
}
