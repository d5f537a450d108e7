// Package ruletest runs unit tests of rules, in the files of `promtool test rules`:
// series that are made up, and what alerts and expressions shall give of them. Beyond
// promtool a file may say that samples come late, and what stands in the history of
// alerts then.
package ruletest

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/rules"
)

// Bounds of test files.
const (
	MaxFileBytes   = 4 << 20
	maxEvaluations = 100_000 // of all groups of one test, and as many again for what comes late
)

// File is a file of tests. Times begin at the Unix epoch, or where a test says.
type File struct {
	// RuleFiles are files of rules, by their paths from the test's file; * and ? stand for any.
	RuleFiles []string `yaml:"rule_files"`
	// EvaluationInterval is how often groups are evaluated; 1m when absent.
	EvaluationInterval model.Duration
	// GroupEvalOrder are groups that go first, in this order.
	GroupEvalOrder []string
	// FuzzyCompare takes the two neighbours of a number for the number.
	FuzzyCompare bool
	// Lateness is that of groups without query_offset, as rules.lateness; 0 when absent.
	Lateness model.Duration
	// Reach is how far back rules are evaluated again, as rules.reach; 1h when absent.
	Reach model.Duration
	Tests []Test
}

// Test is one story: series, and what is to come of them.
type Test struct {
	Name string
	// Interval is the time between the values of a series; the evaluation interval
	// when absent.
	Interval       model.Duration
	InputSeries    []Input
	AlertRuleTest  []AlertCase
	PromqlExprTest []ExprCase
	// AlertHistoryTest are cases of the hub's own: promtool knows none.
	AlertHistoryTest []HistoryCase
	ExternalURL      string
	// ExternalLabels must be empty: the hub has none.
	ExternalLabels map[string]string
	// StartTimestamp is RFC 3339.
	StartTimestamp time.Time
}

// Input is a series and its values, such as '0+10x5 _x3 stale'. A series may be there
// several times, with values that come in time and values that come late.
type Input struct {
	Series, Values string
	// Delay is how long after its time each sample comes.
	Delay model.Duration
	// HeldUntil is when samples come whose time is before it, since the start: what a
	// device kept while it had no way to the hub.
	HeldUntil model.Duration
}

// AlertCase says which alerts of a name fire at a time.
type AlertCase struct {
	EvalTime  model.Duration
	Alertname string
	ExpAlerts []ExpAlert
}

// ExpAlert is an alert as it is to be. alertname is added to its labels.
type ExpAlert struct{ ExpLabels, ExpAnnotations map[string]string }

// HistoryCase says what stands in the history of alerts of a name at a time.
type HistoryCase struct {
	EvalTime   model.Duration
	Alertname  string
	ExpHistory []ExpChange
}

// ExpChange is an entry of the history. alertname is added to its labels.
type ExpChange struct {
	// State is firing, resolved or retracted.
	State string
	// At is when it happened by the time of the data. Known is when the hub knew of it
	// where data that came late showed it, and absent where they did not.
	At        model.Duration
	Known     model.Duration
	ExpLabels map[string]string
}

// ExprCase says what an expression gives at a time, with all rules evaluated and all
// samples there that come before the test ends.
type ExprCase struct {
	Expr       string
	EvalTime   model.Duration
	ExpSamples []ExpSample
}

// ExpSample is one element of what an expression gives.
type ExpSample struct {
	Labels    string
	Value     float64
	Histogram string
}

// Check refuses what could not be meant.
func (f *File) Check(at string) (faults []strict.Error) {
	seen := map[string]bool{}
	for i, g := range f.GroupEvalOrder {
		if seen[g] {
			faults = append(faults, strict.Fault(at, fmt.Sprintf("group_eval_order[%d]", i), "group %q is there twice", g))
		}
		seen[g] = true
	}
	faults = append(faults, positive(at, "evaluation_interval", f.EvaluationInterval)...)
	faults = append(faults, strict.Between(at, "lateness", time.Duration(f.Lateness), 0, rules.MaxLateness)...)
	return append(faults, strict.Between(at, "reach", time.Duration(f.Reach), 0, rules.MaxReach)...)
}

// Check refuses what could not be meant.
func (t *Test) Check(at string) []strict.Error {
	faults := positive(at, "interval", t.Interval)
	if len(t.ExternalLabels) > 0 {
		faults = append(faults, strict.Fault(at, "external_labels", "the hub has no external labels; leave them out"))
	}
	return faults
}

// Check refuses what could not be meant.
func (a *AlertCase) Check(at string) []strict.Error {
	faults := positive(at, "eval_time", a.EvalTime)
	if a.Alertname == "" {
		faults = append(faults, strict.Fault(at, "alertname", "it is missing; name the alert of a rule file"))
	}
	return faults
}

// Check refuses what could not be meant.
func (h *HistoryCase) Check(at string) []strict.Error {
	faults := positive(at, "eval_time", h.EvalTime)
	if h.Alertname == "" {
		faults = append(faults, strict.Fault(at, "alertname", "it is missing; name the alert of a rule file"))
	}
	return faults
}

// Check refuses what could not be meant.
func (c *ExpChange) Check(at string) []strict.Error {
	faults := positive(at, "known", c.Known)
	if c.State != rules.Fired && c.State != rules.Resolved && c.State != rules.Retracted {
		faults = append(faults, strict.Fault(at, "state", "%q; use %s, %s or %s", c.State, rules.Fired, rules.Resolved, rules.Retracted))
	}
	if c.State == rules.Retracted && c.Known == 0 {
		faults = append(faults, strict.Fault(at, "known", "it is missing; say when the data came that took the alert back"))
	}
	return faults
}

// Check refuses what could not be meant.
func (e *ExprCase) Check(at string) []strict.Error {
	return positive(at, "eval_time", e.EvalTime)
}

// Check refuses what could not be meant.
func (s *Input) Check(at string) []strict.Error {
	if _, _, err := newParser().ParseSeriesDesc(s.Series + " " + s.Values); err != nil {
		return []strict.Error{strict.Fault(at, "values", "%q %q is no series; write values such as '0+10x5 _x3 stale': %v", s.Series, s.Values, err)}
	}
	return append(positive(at, "delay", s.Delay), positive(at, "held_until", s.HeldUntil)...)
}

func positive(at, key string, d model.Duration) []strict.Error {
	return strict.AtLeast(at, key, time.Duration(d), 0)
}

func newParser() parser.Parser { return parser.NewParser(parser.Options{}) }

// Suite is a file of tests with the rules that it is about.
type Suite struct {
	File   File
	Groups []rules.Group
}

// Load reads a file of tests and the files of rules that it names. Faults have the
// file and key as Path.
func Load(name string) (*Suite, []strict.Error) {
	s := Suite{File: File{EvaluationInterval: model.Duration(time.Minute), Reach: model.Duration(rules.DefaultConfig().Reach)}}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, []strict.Error{{Path: name, Msg: fmt.Sprintf("it cannot be read: %v", err)}}
	}
	if len(text) > MaxFileBytes {
		return nil, []strict.Error{{Path: name, Msg: fmt.Sprintf("the file has %d bytes, and %d are the most; make two of it", len(text), MaxFileBytes)}}
	}
	if faults := strict.Decode(text, &s.File); len(faults) > 0 {
		for i, f := range faults {
			faults[i].Path = join(name, f.Path)
		}
		return nil, faults
	}
	if s.File.EvaluationInterval == 0 {
		s.File.EvaluationInterval = model.Duration(time.Minute)
	}
	var faults []strict.Error
	for i, pattern := range s.File.RuleFiles {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(name), pattern)
		}
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			faults = append(faults, strict.Error{Path: name, Msg: fmt.Sprintf("rule_files[%d]: there is no file %s; paths are seen from the test's file", i, s.File.RuleFiles[i])})
		}
		for _, f := range found {
			faults = append(faults, s.add(f)...)
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return &s, nil
}

func (s *Suite) add(file string) []strict.Error {
	text, err := os.ReadFile(file)
	if err != nil {
		return []strict.Error{{Path: file, Msg: fmt.Sprintf("it cannot be read: %v", err)}}
	}
	groups, faults := rules.Parse(file, text, rules.Defaults{Interval: time.Duration(s.File.EvaluationInterval), Lateness: time.Duration(s.File.Lateness)})
	s.Groups = append(s.Groups, groups...)
	return faults
}

func join(file, key string) string {
	if key == "" {
		return file
	}
	return file + ": " + key
}
