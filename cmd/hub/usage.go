package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// usageError is a fault in how the program was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// isUsage recognises cobra's own errors about how the program was called.
func isUsage(err error) bool {
	text := err.Error()
	for _, begin := range []string{"unknown command", "unknown flag", "unknown shorthand", "flag needs", "invalid argument", "required flag", "at least one of the flags", "if any flags in the group"} {
		if strings.HasPrefix(text, begin) {
			return true
		}
	}
	return false
}

// noArgs refuses arguments as wrong usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, but got %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

// exactArgs wants n arguments with these names.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usageError{fmt.Errorf("%s takes %s; got %d arguments", cmd.CommandPath(), strings.Join(names, " "), len(args))}
		}
		return nil
	}
}
