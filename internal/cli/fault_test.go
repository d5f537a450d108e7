package cli

import (
	"errors"
	"testing"

	"github.com/spf13/cobra"
)

func TestAMistypedFlagNamesTheNearest(t *testing.T) {
	c := &cobra.Command{Use: "list"}
	c.Flags().StringP("data", "d", "", "where")
	c.Flags().Bool("json", false, "print JSON")
	c.Flags().Bool("secret", false, "")
	_ = c.Flags().MarkHidden("secret")
	for said, want := range map[string]string{
		"unknown flag: --date":        "unknown flag: --date; did you mean --data?",
		"unknown flag: --jso":         "unknown flag: --jso; did you mean --json?",
		"unknown flag: --secre":       "unknown flag: --secre",
		"unknown flag: --else":        "unknown flag: --else",
		"flag needs an argument: 'd'": "flag needs an argument: 'd'",
	} {
		if got := FlagFault(c, errors.New(said)).Error(); got != want {
			t.Errorf("%q is told as %q, want %q", said, got, want)
		}
	}
}
