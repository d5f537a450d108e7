package rules

import (
	"cmp"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Load reads every file of a folder and those below whose name ends in .yaml or
// .yml, but for *_test.yaml, which test them. With an error, all faults are
// returned, each with its file as Path, and no group.
func Load(dir fs.FS, d Defaults) ([]Group, []strict.Error) {
	var all []Group
	var faults []strict.Error
	err := fs.WalkDir(dir, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.HasPrefix(e.Name(), ".") && name != ".": // of Kubernetes' config maps
			return fs.SkipDir
		case e.IsDir() || !IsRuleFile(name):
			return nil
		}
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		groups, wrong := Parse(name, text, d)
		all, faults = append(all, groups...), append(faults, wrong...)
		return nil
	})
	if err != nil {
		faults = append(faults, strict.Error{Msg: fmt.Sprintf("rule files cannot be read: %v", err)})
	}
	if len(all) > MaxGroups {
		faults = append(faults, strict.Error{Msg: fmt.Sprintf("there are %d groups of rules, and %d are the most", len(all), MaxGroups)})
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return all, nil
}

// IsRuleFile reports whether a file of this name holds rules.
func IsRuleFile(name string) bool {
	ext := path.Ext(name)
	return (ext == ".yaml" || ext == ".yml") && !strings.HasSuffix(strings.TrimSuffix(name, ext), "_test")
}

// Parse reads one file.
func Parse(file string, text []byte, d Defaults) ([]Group, []strict.Error) {
	if len(text) > MaxFileBytes {
		return nil, []strict.Error{{Path: file, Msg: fmt.Sprintf("the file has %d bytes, and %d are the most; make two of it", len(text), MaxFileBytes)}}
	}
	p := parser.NewParser(parser.Options{})
	read, errs := rulefmt.Parse(text, false, model.UTF8Validation, p, slog.New(slog.DiscardHandler))
	var faults []strict.Error
	for _, err := range errs {
		faults = append(faults, faultOf(file, err)...)
	}
	if read == nil || len(faults) > 0 {
		return nil, sorted(faults)
	}
	var all []Group
	for _, g := range read.Groups {
		group := Group{File: file, Name: g.Name, Interval: cmp.Or(time.Duration(g.Interval), d.Interval), Lateness: d.Lateness, Limit: g.Limit}
		if g.QueryOffset != nil {
			group.Lateness = time.Duration(*g.QueryOffset)
		}
		for _, msg := range outOfBounds(group, len(g.Rules)) {
			faults = append(faults, strict.Error{Path: file, Msg: msg})
		}
		for _, r := range g.Rules {
			rule, err := ruleOf(p, g, r)
			if err != nil {
				faults = append(faults, strict.Error{Path: file, Msg: fmt.Sprintf("group %q, rule %q: %v", g.Name, cmp.Or(r.Alert, r.Record), err)})
				continue
			}
			group.Rules = append(group.Rules, rule)
		}
		all = append(all, group)
	}
	if len(faults) > 0 {
		return nil, sorted(faults)
	}
	return all, nil
}

func outOfBounds(g Group, rules int) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if g.Interval < MinInterval || g.Interval > MaxInterval || g.Interval%time.Millisecond != 0 {
		fault("group %q: interval %s; use %s to %s", g.Name, g.Interval, MinInterval, MaxInterval)
	}
	if g.Lateness < 0 || g.Lateness > MaxLateness {
		fault("group %q: query_offset %s; use 0s to %s: it is how late data may come", g.Name, g.Lateness, MaxLateness)
	}
	if g.Limit < 0 || g.Limit > DefaultLimit {
		fault("group %q: limit %d; use 1 to %d, or leave it out", g.Name, g.Limit, DefaultLimit)
	}
	if rules > MaxGroupRules {
		fault("group %q has %d rules, and %d are the most; make two of it", g.Name, rules, MaxGroupRules)
	}
	return faults
}

func ruleOf(p parser.Parser, g rulefmt.RuleGroup, r rulefmt.Rule) (Rule, error) {
	expr, err := p.ParseExpr(r.Expr)
	if err != nil {
		return Rule{}, err
	}
	if t := expr.Type(); t != parser.ValueTypeVector && t != parser.ValueTypeScalar {
		return Rule{}, fmt.Errorf("the expression gives a %s and must give an instant vector or a scalar", parser.DocumentedType(t))
	}
	b := labels.NewBuilder(labels.FromMap(g.Labels))
	for k, v := range r.Labels {
		b.Set(k, v)
	}
	return Rule{Record: r.Record, Alert: r.Alert, Expr: expr, For: time.Duration(r.For), KeepFiringFor: time.Duration(r.KeepFiringFor),
		Labels: b.Labels(), Annotations: labels.FromMap(r.Annotations)}, nil
}

// position is how rulefmt, and yaml in its own way, begin what they say.
var position = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+)|(\d+):\d+(?:: \d+:\d+)?): `)

func faultOf(file string, err error) []strict.Error {
	var all []strict.Error
	for msg := range strings.Lines(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n")) {
		msg, line := strings.TrimSpace(msg), 0
		if at := position.FindStringSubmatch(msg); at != nil {
			line, _ = strconv.Atoi(at[1] + at[2])
			msg = msg[len(at[0]):]
		}
		all = append(all, strict.Error{Path: file, Line: line, Msg: msg})
	}
	return all
}

func sorted(faults []strict.Error) []strict.Error {
	slices.SortStableFunc(faults, func(a, b strict.Error) int { return cmp.Compare(a.Line, b.Line) })
	return slices.Compact(faults) // rulefmt decodes twice, and says some things twice
}
