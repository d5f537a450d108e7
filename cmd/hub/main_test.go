package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestEveryCommandShowsAnExample(t *testing.T) {
	seen := 0
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		seen++
		var out, errs bytes.Buffer
		code := run(append(strings.Fields(c.CommandPath())[1:], "--help"), &out, &errs)
		if code != 0 || !strings.Contains(out.String(), "Examples:\n  ") || c.Short == "" {
			t.Errorf("%s --help: exit %d, %s%s", c.CommandPath(), code, &out, &errs)
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(rootCommand())
	if seen < 30 {
		t.Errorf("only %d commands were found", seen)
	}
}
