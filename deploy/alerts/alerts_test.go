package alerts

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/songhua-io/hub/docs/runbooks"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/rules/ruletest"
)

func shipped(t *testing.T) (all []rules.Rule) {
	t.Helper()
	groups, faults := rules.Load(Files, rules.Defaults{Interval: time.Minute})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for _, g := range groups {
		if g.Lateness != 0 {
			t.Errorf("%s: query_offset is unknown to vmalert and old Prometheus", g.Name)
		}
		all = append(all, g.Rules...)
	}
	if len(all) < 70 {
		t.Fatalf("only %d rules are there", len(all))
	}
	return all
}

func hasHan(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
}

func TestEveryAlertSaysWhatIsWrongInBothLanguages(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range shipped(t) {
		if r.Alert == "" || seen[r.Alert] {
			t.Errorf("%s is no alert, or there twice", r.Name())
		}
		seen[r.Alert] = true
		if s := r.Labels.Get("severity"); !slices.Contains([]string{"page", "warning", "info"}, s) {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		for _, name := range []string{"summary", "description"} {
			en, zh := r.Annotations.Get(name), r.Annotations.Get(name+"_zh")
			if en == "" || hasHan(en) || !hasHan(zh) {
				t.Errorf("%s: %s is %q and %q", r.Alert, name, en, zh)
			}
		}
		if got := r.Annotations.Get("runbook_url"); got != "{{ $externalURL }}/runbooks/"+r.Alert {
			t.Errorf("%s: its page is %q", r.Alert, got)
		}
	}
}

// sections are the headings of a page.
var sections = map[string][]string{
	"en": {"## What it means", "## See it", "## Likely causes", "## What to do", "## Whom to call"},
	"zh": {"## 含义", "## 如何查看", "## 可能原因", "## 处理步骤", "## 通知何人"},
}

var block = regexp.MustCompile("(?s)```sh\n.*?```")

// TestEveryAlertHasItsPages in both languages, with the same commands, and no page is
// of an alert that is not there.
func TestEveryAlertHasItsPages(t *testing.T) {
	want := map[string]bool{}
	for _, r := range shipped(t) {
		want[r.Alert] = true
		commands := map[string]string{}
		for lang, heads := range sections {
			text, err := runbooks.Files.ReadFile(lang + "/" + r.Alert + ".md")
			if err != nil {
				t.Error(err)
				continue
			}
			if !strings.HasPrefix(string(text), "# "+r.Alert+"\n\n"+r.Labels.Get("severity")) || hasHan(string(text)) != (lang == "zh") {
				t.Errorf("%s in %s begins with another name or severity, or is in the other language", r.Alert, lang)
			}
			for _, h := range heads {
				if _, after, found := strings.Cut(string(text), "\n"+h+"\n\n"); !found || strings.TrimSpace(after) == "" || strings.HasPrefix(after, "#") {
					t.Errorf("%s in %s says nothing under %q", r.Alert, lang, h)
				}
			}
			commands[lang] = strings.Join(block.FindAllString(string(text), -1), "\n")
		}
		if commands["en"] != commands["zh"] || commands["en"] == "" {
			t.Errorf("%s: the commands differ between the languages, or there are none", r.Alert)
		}
	}
	for lang := range sections {
		pages, err := runbooks.Files.ReadDir(lang)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pages {
			if !want[strings.TrimSuffix(p.Name(), ".md")] {
				t.Errorf("%s/%s is of no alert that is shipped", lang, p.Name())
			}
		}
	}
}

func tests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("tests/*_test.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files
}

// TestEveryAlertIsTried by series that raise it and by series that do not.
func TestEveryAlertIsTried(t *testing.T) {
	raised, quiet := map[string]bool{}, map[string]bool{}
	for _, file := range tests(t) {
		suite, faults := ruletest.Load(file)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		failures, err := suite.Run(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, f := range failures {
			t.Errorf("%s: %s: %s at %s\n%s", file, f.Test, f.About, f.At, strings.Join(f.Diff, "\n"))
		}
		for _, one := range suite.File.Tests {
			for _, c := range one.AlertRuleTest {
				raised[c.Alertname] = raised[c.Alertname] || len(c.ExpAlerts) > 0
				quiet[c.Alertname] = quiet[c.Alertname] || len(c.ExpAlerts) == 0
			}
		}
	}
	for _, r := range shipped(t) {
		if !raised[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s has no series that raise it (%v), or none that do not (%v)", r.Alert, raised[r.Alert], quiet[r.Alert])
		}
	}
}

// TestWhatComesLateIsTriedOfEverySubjectThatDevicesReport: its test files say which
// samples come late, which promtool knows nothing of, and what stands in the history
// then.
func TestWhatComesLateIsTriedOfEverySubjectThatDevicesReport(t *testing.T) {
	for _, subject := range []string{"environment", "fleet", "roads"} {
		suite, faults := ruletest.Load("tests/late/" + subject + "_test.yaml")
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if got, want := time.Duration(suite.File.Lateness), rules.DefaultConfig().Lateness; got != want {
			t.Errorf("%s: lateness %s, and a hub waits for %s", subject, got, want)
		}
		failures, err := suite.Run(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		for _, f := range failures {
			t.Errorf("%s: %s: %s at %s\n%s", subject, f.Test, f.About, f.At, strings.Join(f.Diff, "\n"))
		}
	}
}

// canary is a test that every promtool passes that counts time.
const canary = `
evaluation_interval: 1m
tests:
  - input_series: [{series: x, values: '0 1 2 3'}]
    promql_expr_test: [{expr: x, eval_time: 3m, exp_samples: [{labels: x, value: 3}]}]
`

// TestPromtoolAgrees: the files and their tests are those of Prometheus, too. Some
// promtool of Debian 12 sees the first value of a series only, and is no judge.
func TestPromtoolAgrees(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool (Debian package prometheus) is not installed")
	}
	files, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, append([]string{"check", "rules"}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	file := filepath.Join(t.TempDir(), "canary_test.yaml")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "test", "rules", file).CombinedOutput(); err != nil {
		t.Skipf("this promtool does not count time: %s", out)
	}
	out, err := exec.Command(promtool, append([]string{"test", "rules"}, tests(t)...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%.4000s", err, out)
	}
}

func TestNamesAreKnownByTheirHistogram(t *testing.T) {
	names := []string{"hub_a_seconds", "hub_b_total"}
	for name, want := range map[string]bool{"hub_b_total": true, "hub_a_seconds_bucket": true, "hub_a_seconds_count": true, "hub_c": false, "hub_c_sum": false} {
		if Known(names, name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	if all := Metrics(); len(all) < 100 || !slices.IsSorted(all) {
		t.Errorf("%d names", len(all))
	}
}

// TestTheFilesAreOfSubjects: each begins with its subject in both languages, which
// docs/alerts.md is made of.
func TestTheFilesAreOfSubjects(t *testing.T) {
	files, err := Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := Files.ReadFile(f.Name())
		lines := bytes.SplitN(text, []byte("\n"), 3)
		if err != nil || len(lines) < 3 || !bytes.HasPrefix(lines[0], []byte("# ")) || !hasHan(string(lines[1])) {
			t.Error(f.Name(), errors.Join(err))
		}
	}
}
