// Package ruletest runs unit tests of rules, in the files of `promtool test rules`:
// series that are made up, and what alerts and expressions shall give of them.
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
	maxEvaluations = 100_000 // of all groups of one test
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
	Tests        []Test
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
	ExternalURL    string
	// ExternalLabels must be empty: the hub has none.
	ExternalLabels map[string]string
	// StartTimestamp is RFC 3339.
	StartTimestamp time.Time
}

// Input is a series and its values, such as '0+10x5 _x3 stale'.
type Input struct{ Series, Values string }

// AlertCase says which alerts of a name fire at a time.
type AlertCase struct {
	EvalTime  model.Duration
	Alertname string
	ExpAlerts []ExpAlert
}

// ExpAlert is an alert as it is to be. alertname is added to its labels.
type ExpAlert struct{ ExpLabels, ExpAnnotations map[string]string }

// ExprCase says what an expression gives at a time, with all rules evaluated.
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
	return append(faults, positive(at, "evaluation_interval", f.EvaluationInterval)...)
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
func (e *ExprCase) Check(at string) []strict.Error {
	return positive(at, "eval_time", e.EvalTime)
}

// Check refuses what could not be meant.
func (s *Input) Check(at string) []strict.Error {
	if _, _, err := newParser().ParseSeriesDesc(s.Series + " " + s.Values); err != nil {
		return []strict.Error{strict.Fault(at, "values", "%q %q is no series; write values such as '0+10x5 _x3 stale': %v", s.Series, s.Values, err)}
	}
	return nil
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
	s := Suite{File: File{EvaluationInterval: model.Duration(time.Minute)}}
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
	groups, faults := rules.Parse(file, text, rules.Defaults{Interval: time.Duration(s.File.EvaluationInterval)})
	s.Groups = append(s.Groups, groups...)
	return faults
}

func join(file, key string) string {
	if key == "" {
		return file
	}
	return file + ": " + key
}
