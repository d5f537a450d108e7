package ruletest

import (
	"errors"
	"os"
	"strings"
	"testing"
)

const rooms = `
groups:
  - name: means
    rules:
      - record: site:temperature:avg
        expr: avg by (site) (temperature)
  - name: rooms
    rules:
      - alert: Hot
        expr: site:temperature:avg > 30
        for: 5m
        labels: {severity: warning}
        annotations: {summary: "{{ $labels.site }} has {{ $value }}", runbook_url: "{{ $externalURL }}/runbooks/Hot"}
  - name: late
    query_offset: 3m
    rules:
      - {alert: Late, expr: temperature > 30}
`

const ok = `
rule_files: [rules/*.yaml]
evaluation_interval: 1m
group_eval_order: [means, rooms]
tests:
  - name: a room grows hot
    external_url: https://hub
    input_series:
      - {series: 'temperature{site="a"}', values: '20x4 40x10 _x10 stale'}
    alert_rule_test:
      - {eval_time: 9m, alertname: Hot}
      - eval_time: 10m
        alertname: Hot
        exp_alerts:
          - exp_labels: {site: a, severity: warning}
            exp_annotations: {summary: a has 40, runbook_url: https://hub/runbooks/Hot}
      - {eval_time: 7m, alertname: Late}
      - eval_time: 8m30s
        alertname: Late
        exp_alerts: [{exp_labels: {site: a}}]
    promql_expr_test:
      - {expr: 'site:temperature:avg', eval_time: 6m, exp_samples: [{labels: 'site:temperature:avg{site="a"}', value: 40}]}
      - {expr: 'ALERTS{alertname="Hot"}', eval_time: 6m, exp_samples: [{labels: 'ALERTS{alertname="Hot", alertstate="pending", severity="warning", site="a"}', value: 1}]}
      - {expr: 'site:temperature:avg', eval_time: 25m}
      - {expr: 'vector(1)', eval_time: 1m, exp_samples: [{labels: '{}', value: 1}]}
`

func suite(t *testing.T, test string) (*Suite, string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"rules/rooms.yaml": rooms, "rooms_test.yaml": test} {
		if err := errors.Join(os.MkdirAll("rules", 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s, faults := Load("rooms_test.yaml")
	var all []string
	for _, f := range faults {
		all = append(all, f.Error())
	}
	return s, strings.Join(all, "\n")
}

func told(failures []Failure) string {
	var b strings.Builder
	for _, f := range failures {
		b.WriteString(f.Test + "|" + f.About + "|" + f.At.String() + "\n" + strings.Join(f.Diff, "\n") + "\n")
	}
	return b.String()
}

func TestWhatIsAsItIsToBePasses(t *testing.T) {
	s, faults := suite(t, ok)
	if faults != "" {
		t.Fatal(faults)
	}
	failures, err := s.Run(t.Context())
	if err != nil || len(failures) > 0 {
		t.Fatalf("%v\n%s", err, told(failures))
	}
}

func TestADifferenceIsShownByItsLines(t *testing.T) {
	for from, c := range map[string]struct{ to, want string }{
		"summary: a has 40":                     {"summary: a has 41", "a room grows hot|Hot|10m0s\n  {alertname=\"Hot\", severity=\"warning\", site=\"a\"}\n-   summary: a has 41\n+   summary: a has 40\n"},
		"{eval_time: 9m, alertname: Hot}":       {"{eval_time: 9m, alertname: Hot, exp_alerts: [{exp_labels: {site: a}}]}", "a room grows hot|Hot|9m0s\n- {alertname=\"Hot\", site=\"a\"}\n"},
		"eval_time: 7m, alertname: Late":        {"eval_time: 8m, alertname: Late", "a room grows hot|Late|8m0s\n+ {alertname=\"Late\", site=\"a\"}\n"},
		"alertname: Late}":                      {"alertname: Early}", "a room grows hot|Early|7m0s\n- no rule file of the test has an alert of this name\n"},
		"site=\"a\"}', value: 40":               {"site=\"a\"}', value: 41", "a room grows hot|site:temperature:avg|6m0s\n- {__name__=\"site:temperature:avg\", site=\"a\"} 41\n+ {__name__=\"site:temperature:avg\", site=\"a\"} 40\n"},
		"{labels: '{}', value: 1}":              {"{labels: '{', value: 1}", "a room grows hot|vector(1)|1m0s\n- exp_samples[0]: labels \"{\": "},
		"expr: 'vector(1)'":                     {"expr: 'vector(1'", "a room grows hot|vector(1|1m0s\n- "},
		"values: '20x4 40x10 _x10 stale'":       {"values: '20x9 40x10 _x10 stale'", "a room grows hot|Late|8m30s\n- {alertname=\"Late\", site=\"a\"}\n"},
		"exp_annotations: {summary: a has 40, ": {"exp_annotations: {summary: a has 40, team: x, ", "-   team: x\n"},
	} {
		text := strings.Replace(ok, from, c.to, 1)
		s, faults := suite(t, text)
		if faults != "" || text == ok {
			t.Fatal(from, faults)
		}
		failures, err := s.Run(t.Context())
		if got := told(failures); err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.to, err, got, c.want)
		}
	}
}

func TestEveryFaultOfATestFileHasItsKeyPath(t *testing.T) {
	for from, c := range map[string]struct{ to, want string }{
		"rules/*.yaml":                  {"rule/*.yaml", "rooms_test.yaml: rule_files[0]: there is no file rule/*.yaml; paths are seen from the test's file"},
		"20x4 40x10":                    {"20y4", "rooms_test.yaml: tests[0].input_series[0].values: "},
		"eval_time: 9m":                 {"eval_tim: 9m", "rooms_test.yaml: tests[0].alert_rule_test[0].eval_tim"},
		"alertname: Hot}":               {"alertname: ''}", "rooms_test.yaml: tests[0].alert_rule_test[0].alertname: it is missing"},
		"[means, rooms]":                {"[means, means]", "rooms_test.yaml: group_eval_order[1]: group \"means\" is there twice"},
		"external_url: https://hub":     {"external_labels: {a: b}", "rooms_test.yaml: tests[0].external_labels: the hub has no external labels"},
		"evaluation_interval: 1m":       {"evaluation_interval: soon", "rooms_test.yaml: evaluation_interval"},
		"{eval_time: 9m, alertname: Ho": {"{eval_time: -9m, alertname: Ho", "rooms_test.yaml: tests[0].alert_rule_test[0].eval_time"},
	} {
		if _, got := suite(t, strings.Replace(ok, from, c.to, 1)); !strings.Contains(got, c.want) {
			t.Errorf("%s gives\n%s\nwant %s", c.to, got, c.want)
		}
	}
	s, faults := suite(t, strings.Replace(ok, "eval_time: 25m", "eval_time: 1000d", 1))
	if faults != "" {
		t.Fatal(faults)
	}
	if _, err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "set a longer evaluation_interval") {
		t.Error(err)
	}
}

// TestRulesSeeAlertsOfOthers: an alert that only another rule reads is evaluated.
func TestRulesSeeAlertsOfOthers(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"r.yaml":      `{groups: [{name: a, rules: [{alert: One, expr: x > 0}, {alert: Other, expr: 'sum(ALERTS{alertname="One"}) > 0'}]}]}`,
		"r_test.yaml": `{rule_files: [r.yaml], tests: [{input_series: [{series: x, values: 1x5}], alert_rule_test: [{eval_time: 2m, alertname: Other, exp_alerts: [{}]}]}]}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, faults := Load("r_test.yaml")
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if failures, err := s.Run(t.Context()); err != nil || len(failures) > 0 {
		t.Errorf("%v\n%s", err, told(failures))
	}
}
