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
  - name: direct
    rules:
      - {alert: Warm, expr: temperature > 30, for: 5m}
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

// late is a device that is cut off from minute 5 to minute 30, and others whose way
// takes two minutes.
const late = `
rule_files: [rules/*.yaml]
lateness: 2m
reach: 1h
tests:
  - name: what is late by no more than declared is in time
    input_series:
      - {series: 'temperature{site="a"}', values: '20x4 40x20', delay: 2m}
    alert_rule_test:
      - {eval_time: 11m59s, alertname: Hot}
      - {eval_time: 12m, alertname: Hot, exp_alerts: [{exp_labels: {site: a, severity: warning}, exp_annotations: {summary: a has 40, runbook_url: /runbooks/Hot}}]}
    alert_history_test:
      - {eval_time: 15m, alertname: Hot, exp_history: [{state: firing, at: 10m, exp_labels: {site: a, severity: warning}}]}
  - name: what was kept and sent later is history
    input_series:
      - {series: 'temperature{site="a"}', values: '20x4 stale _x23 20x20'}
      - {series: 'temperature{site="a"}', values: '_x5 40x9 20x13', held_until: 30m}
    alert_rule_test:
      - {eval_time: 29m, alertname: Hot}
      - {eval_time: 30m, alertname: Hot}
    alert_history_test:
      - {eval_time: 29m, alertname: Hot}
      - eval_time: 30m
        alertname: Hot
        exp_history:
          - {state: firing, at: 10m, known: 30m, exp_labels: {site: a, severity: warning}}
          - {state: resolved, at: 15m, known: 30m, exp_labels: {site: a, severity: warning}}
      - eval_time: 40m
        alertname: Late
        exp_history:
          - {state: firing, at: 5m, known: 30m, exp_labels: {site: a}}
          - {state: resolved, at: 15m, known: 30m, exp_labels: {site: a}}
    promql_expr_test:
      - {expr: 'site:temperature:avg', eval_time: 10m, exp_samples: [{labels: 'site:temperature:avg{site="a"}', value: 40}]}
      - {expr: 'ALERTS{alertname="Hot",alertstate="firing"}', eval_time: 12m, exp_samples: [{labels: 'ALERTS{alertname="Hot", alertstate="firing", severity="warning", site="a"}', value: 1}]}
      - {expr: 'ALERTS{alertname="Hot"}', eval_time: 15m}
  - name: what goes on fires with the time since when
    input_series:
      - {series: 'temperature{site="a"}', values: '20x4'}
      - {series: 'temperature{site="a"}', values: '_x5 40x40', held_until: 30m}
    alert_rule_test:
      - {eval_time: 32m, alertname: Late, exp_alerts: [{exp_labels: {site: a}}]}
    alert_history_test:
      - {eval_time: 32m, alertname: Late, exp_history: [{state: firing, at: 5m, known: 30m, exp_labels: {site: a}}]}
  - name: what had no reason is taken back
    input_series:
      - {series: 'temperature{site="a"}', values: '40x3 _x3 40x40'}
      - {series: 'temperature{site="a"}', values: '_x4 20x2', held_until: 12m}
    alert_history_test:
      - {eval_time: 11m, alertname: Warm, exp_history: [{state: firing, at: 5m, exp_labels: {site: a}}]}
      - eval_time: 20m
        alertname: Warm
        exp_history:
          - {state: firing, at: 5m, exp_labels: {site: a}}
          - {state: retracted, at: 5m, known: 12m, exp_labels: {site: a}}
          - {state: firing, at: 12m, exp_labels: {site: a}}
  - name: beyond the reach nothing is evaluated again
    input_series:
      - {series: 'temperature{site="a"}', values: '20x4 stale _x123 20'}
      - {series: 'temperature{site="a"}', values: '_x5 40x9 20', held_until: 2h}
    alert_history_test:
      - {eval_time: 130m, alertname: Hot}
`

func TestLateSamplesAreWaitedForAndLookedAtAgain(t *testing.T) {
	s, faults := suite(t, late)
	if faults != "" {
		t.Fatal(faults)
	}
	failures, err := s.Run(t.Context())
	if err != nil || len(failures) > 0 {
		t.Fatalf("%v\n%s", err, told(failures))
	}
}

// TestWhatComesLateDecidesATest: each story of lateness fails without what makes it.
func TestWhatComesLateDecidesATest(t *testing.T) {
	for from, c := range map[string]struct{ to, want string }{
		"delay: 2m":           {"delay: 8m", "what is late by no more than declared is in time|Hot|12m0s\n- {alertname=\"Hot\""},
		"lateness: 2m":        {"lateness: 1m", "what is late by no more than declared is in time|Hot|15m0s\n- firing at 10m {"},
		"reach: 1h":           {"reach: 5m", "what was kept and sent later is history|Hot|30m0s\n- firing at 10m known at 30m {"},
		"held_until: 30m":     {"held_until: 31m", "what was kept and sent later is history|Hot|30m0s\n- firing at 10m known at 30m {"},
		"held_until: 12m":     {"held_until: 1s", "what had no reason is taken back|Warm|11m0s\n- firing at 5m {"},
		"at: 15m, known: 30m": {"at: 16m, known: 30m", "+ resolved at 15m known at 30m {alertname=\"Hot\", severity=\"warning\", site=\"a\"}\n"},
		"held_until: 2h":      {"held_until: 20m", "beyond the reach nothing is evaluated again|Hot|2h10m0s\n+ firing at 10m known at 20m {"},
		"{eval_time: 29m, alertname: Hot}\n      - eval_time: 30m\n        alertname: Hot": {"{eval_time: 29m, alertname: Cold}\n      - eval_time: 30m\n        alertname: Hot", "|Cold|29m0s\n- no rule file of the test has an alert of this name\n"},
	} {
		text := strings.Replace(late, from, c.to, 1)
		s, faults := suite(t, text)
		if faults != "" || text == late {
			t.Fatal(from, faults)
		}
		failures, err := s.Run(t.Context())
		if got := told(failures); err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.to, err, got, c.want)
		}
	}
	for from, c := range map[string]struct{ to, want string }{
		"delay: 2m":                      {"delay: -2m", "tests[0].input_series[0].delay"},
		"held_until: 30m":                {"held_until: soon", "tests[1].input_series[1].held_until"},
		"lateness: 2m":                   {"lateness: 2h", "rooms_test.yaml: lateness"},
		"reach: 1h":                      {"reach: 2d", "rooms_test.yaml: reach"},
		"state: firing, at: 10m, exp":    {"state: over, at: 10m, exp", `tests[0].alert_history_test[0].exp_history[0].state: "over"; use firing, resolved or retracted`},
		"retracted, at: 5m, known: 12m,": {"retracted, at: 5m,", "exp_history[1].known: it is missing; say when the data came"},
		"15m, alertname: Hot, exp_h":     {"15m, exp_h", "tests[0].alert_history_test[0].alertname: it is missing"},
	} {
		if _, got := suite(t, strings.Replace(late, from, c.to, 1)); !strings.Contains(got, c.want) {
			t.Errorf("%s gives\n%s\nwant %s", c.to, got, c.want)
		}
	}
}

// TestAFloodOfLateSamplesIsBounded: each that comes makes an hour be evaluated again.
func TestAFloodOfLateSamplesIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("a hundred thousand evaluations take seconds")
	}
	s, faults := suite(t, `{rule_files: [rules/*.yaml], reach: 1d, tests: [{input_series: [{series: temperature, values: 1x9000, delay: 6h}], alert_rule_test: [{eval_time: 6000m, alertname: Hot}]}]}`)
	if faults != "" {
		t.Fatal(faults)
	}
	if _, err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "or a shorter reach") {
		t.Error(err)
	}
}
