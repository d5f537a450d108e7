package rules

import (
	"testing"
	"testing/fstest"
	"time"
)

var defaults = Defaults{Interval: time.Minute, Lateness: 30 * time.Second}

func files(named ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(named); i += 2 {
		m[named[i]] = &fstest.MapFile{Data: []byte(named[i+1])}
	}
	return m
}

const twoRules = `
groups:
  - name: rooms
    interval: 15s
    query_offset: 2m
    limit: 20
    labels: {team: "floor", severity: "none"}
    rules:
      - record: site:temperature:avg
        expr: avg by (site) (temperature)
      - alert: Hot
        expr: site:temperature:avg > 30
        for: 5m
        keep_firing_for: 1m
        labels: {severity: warning}
        annotations: {summary: "{{ $labels.site }} has {{ $value }}"}
  - name: others
    rules: [{alert: Any, expr: up == 0}]
`

func TestFilesOfPrometheusAreRead(t *testing.T) {
	all, faults := Load(files("a/rooms.yaml", twoRules, "a/rooms_test.yaml", "tests: []", "README.md", "x", "..data/rooms.yaml", "broken"), defaults)
	if len(faults) > 0 || len(all) != 2 {
		t.Fatal(all, faults)
	}
	g := all[0]
	if g.ID() != "a/rooms.yaml;rooms" || g.Interval != 15*time.Second || g.Lateness != 2*time.Minute || g.Limit != 20 || len(g.Rules) != 2 {
		t.Errorf("%+v", g)
	}
	if r := g.Rules[1]; r.Name() != "Hot" || r.For != 5*time.Minute || r.KeepFiringFor != time.Minute || r.Labels.String() != `{severity="warning", team="floor"}` {
		t.Errorf("%+v", r)
	}
	if g := all[1]; g.Interval != defaults.Interval || g.Lateness != defaults.Lateness {
		t.Errorf("without a word of its own: %+v", g)
	}
}

func TestEveryFaultOfAFileIsNamedWithItsLine(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"groups:\n- name: a\n  intervall: 1m\n", "line 3: f.yaml: field intervall not found in type rulefmt.RuleGroup"},
		{"groups:\n- name: a\n  rules:\n  - alert: A\n    expr: sum(\n", "line 5: f.yaml: group \"a\", rule 1, \"A\": could not parse expression: 1:5: parse error: unclosed left parenthesis"},
		{"groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up[5m]\n", "f.yaml: group \"a\", rule \"A\": the expression gives a range vector and must give an instant vector or a scalar"},
		{"groups:\n- {name: a, interval: 1ms}\n", "f.yaml: group \"a\": interval 1ms; use 1s to 24h0m0s"},
		{"groups:\n- {name: a, query_offset: 2h}\n", "f.yaml: group \"a\": query_offset 2h0m0s; use 0s to 1h0m0s: it is how late data may come"},
		{"groups:\n- name: a\n  rules:\n  - {alert: A, expr: up, annotations: {s: \"{{ .x\"}}\n", "f.yaml: group \"a\", rule 1, \"A\": annotation \"s\": template: __alert_A:1: unclosed action"},
		{"groups:\n- name: a\n- name: a\n", "f.yaml: groupname: \"a\" is repeated in the same file"},
	} {
		all, faults := Load(files("f.yaml", c.text), defaults)
		if len(faults) != 1 || faults[0].Error() != c.want || all != nil {
			t.Errorf("%s\ngives %v\nwant  %s", c.text, faults, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(twoRules)
	f.Fuzz(func(t *testing.T, text string) {
		all, faults := Parse("f.yaml", []byte(text), defaults)
		if len(faults) > 0 && all != nil {
			t.Error("groups of a broken file")
		}
	})
}
