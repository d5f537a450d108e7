package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// call runs a command line.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestExitCodes(t *testing.T) {
	good := write(t, "device: d1\nuplink: {secret: s}\n")
	bad := write(t, "devise: d1\nuplink: {window: 0}\n")
	for _, c := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"version"}, 0, ""},
		{[]string{"check", good}, 0, ""},
		{[]string{"check", bad}, 1, `line 1: devise: unknown key; did you mean "device"?`},
		{[]string{"check", bad}, 1, "line 2: uplink.window: 0 is not from 1 to 1000"},
		{[]string{"check", "/absent"}, 1, "/absent"},
		{[]string{"check"}, 2, "wants 1 arguments"},
		{[]string{"run"}, 2, "needs --config FILE"},
		{[]string{"chek"}, 2, `unknown command "chek"`},
		{[]string{"help", "spool", "drain"}, 0, ""},
		{[]string{"help", "chek"}, 2, `no command "chek"`},
		{[]string{"completion", "fish"}, 0, ""},
		{[]string{"completion", "tcsh"}, 2, `no completion for "tcsh"`},
		{[]string{"completion", "bash", "x"}, 2, `takes no argument, but got "x"`},
		{[]string{"spool", "empty"}, 2, `unknown command "empty"`},
		{[]string{"run", "--confg", "x"}, 2, "unknown flag"},
		{[]string{"spool", "inspect", "--config", write(t, "device: d1\ndata: "+t.TempDir()+"\nuplink: {secret: s}\n")}, 1, "no spool in"},
	} {
		code, _, stderr := call(t, c.args...)
		if code != c.code || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%v: %d %s, want %d %s", c.args, code, stderr, c.code, c.stderr)
		}
	}
}

func TestTheConfigNeedsOnlyWhoTheAgentIs(t *testing.T) {
	_, text, _ := call(t, "config")
	text = strings.Replace(text, `device: ""`, "device: d1", 1)
	text = strings.Replace(text, `secret_file: ""`, "secret_file: /etc/edge-agent/secret", 1)
	if code, _, stderr := call(t, "check", write(t, text)); code != 0 {
		t.Error(stderr)
	}
}

func TestCheckTellsWhatTheHubLaysOverTheFile(t *testing.T) {
	data := t.TempDir()
	file := write(t, "device: d1\ndata: "+data+"\nuplink: {secret: s}\n")
	for _, c := range []struct{ wanted, says string }{
		{`{"device": "d1", "version": 3, "config": {"tags": {"room": null}, "sources": {"host": {"interval": "30s"}}}}`, "from the hub (version 3):\n  sources.host.interval: 30s\n  tags.room: null\n"},
		{`{"device": "d1", "version": 4, "config": {"data": "/"}}`, "version 4 from the hub does not go with this file and is not used:\n  data: is the agent's own"},
		{`{"device": "d2", "version": 4, "config": null}`, "could not be read"},
	} {
		if err := os.WriteFile(filepath.Join(data, "wanted.json"), []byte(c.wanted), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := call(t, "check", file); code != 0 || !strings.Contains(stdout, c.says) {
			t.Errorf("%s: %d %s%s", c.wanted, code, stdout, stderr)
		}
	}
}

func TestEveryCommandShowsAnExample(t *testing.T) {
	seen := 0
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		seen++
		path := strings.Fields(c.CommandPath())[1:]
		code, stdout, _ := call(t, append(path, "--help")...)
		if code != 0 || !strings.Contains(stdout, "Examples:\n  ") || c.Short == "" {
			t.Errorf("%s --help: exit %d, %s", c.CommandPath(), code, stdout)
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot())
	if seen < 14 {
		t.Errorf("only %d commands were found", seen)
	}
}
