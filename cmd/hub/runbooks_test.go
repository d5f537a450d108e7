package main

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/songhua-io/hub/deploy/alerts"
	"github.com/songhua-io/hub/docs/runbooks"
	"github.com/songhua-io/hub/internal/rules"
)

// TestWhatRunbooksTellPeopleToTypeIsThere: every command of the hub in a runbook is
// one, with its flags and arguments, and every query is PromQL over metrics that are
// known.
func TestWhatRunbooksTellPeopleToTypeIsThere(t *testing.T) {
	commands, queries := 0, 0
	known := alerts.Metrics()
	err := fs.WalkDir(runbooks.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(runbooks.Files, name)
		if err != nil {
			return err
		}
		for _, line := range typed(string(text)) {
			words, err := shellWords(line)
			if err != nil {
				t.Errorf("%s: %s: %v", name, line, err)
				continue
			}
			if len(words) == 0 || words[0] != "hub" {
				continue
			}
			commands++
			if err := isCommand(words[1:]); err != nil {
				t.Errorf("%s: %s: %v", name, line, err)
			}
			if len(words) < 3 || words[1] != "query" {
				continue
			}
			queries++
			names, err := rules.NamesOf(words[2])
			if err != nil {
				t.Errorf("%s: %s: %v", name, line, err)
			}
			for _, metric := range names {
				if !alerts.Known(known, metric) {
					t.Errorf("%s: %s: nothing writes %s", name, line, metric)
				}
			}
		}
		return nil
	})
	if err != nil || commands < 200 || queries < 100 {
		t.Errorf("%d commands and %d queries were found: %v", commands, queries, err)
	}
}

// typed are the lines of a page's blocks of code, and its code within lines that is a
// command of the hub.
func typed(text string) (all []string) {
	block := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			block = !block
		case block:
			all = append(all, line)
		default:
			for i, part := range strings.Split(line, "`") {
				if i%2 == 1 && strings.HasPrefix(part, "hub ") {
					all = append(all, part)
				}
			}
		}
	}
	return all
}

// isCommand reports what is wrong with a command line of the hub.
func isCommand(args []string) error {
	root := rootCommand()
	c, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	rest = c.Flags().Args()
	if err := c.ValidateArgs(rest); err != nil {
		return err
	}
	if c.HasSubCommands() && len(rest) > 0 && c.Name() != "rejects" && c.Name() != "backup" {
		return fmt.Errorf("%s has no command %q", c.CommandPath(), rest[0])
	}
	return c.ValidateRequiredFlags()
}

// shellWords parts a line as a shell does, as far as quotes go.
func shellWords(line string) (words []string, err error) {
	var word strings.Builder
	quote, begun := rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, begun = r, true
		case quote == 0 && r == ' ':
			if begun {
				words = append(words, word.String())
				word.Reset()
			}
			begun = false
		default:
			begun = true
			word.WriteRune(r)
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote %c is open", quote)
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

func TestShellWords(t *testing.T) {
	got, err := shellWords(`hub query 'a{b="c"} > 1' --at 2h "x y"`)
	if err != nil || strings.Join(got, "|") != `hub|query|a{b="c"} > 1|--at|2h|x y` {
		t.Errorf("%q %v", got, err)
	}
	if _, err := shellWords("hub 'x"); err == nil {
		t.Error("an open quote")
	}
	for _, wrong := range []string{"nothing", "device nothing", "device show", "device show a --nothing", "query"} {
		if isCommand(strings.Fields(wrong)) == nil {
			t.Errorf("hub %s is no command", wrong)
		}
	}
}
