package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/songhua-io/hub/internal/telemetry"
)

// View is an alert as it is told of.
type View struct {
	*Alert
	// ID is the same as long as the alert's labels are.
	ID          string
	Group, Rule string
	// Silences are the ids of those that are in force for it.
	Silences []string
	Grade    telemetry.Grade
	// OfHub says that the rule asks for nothing but metrics of the hub itself.
	OfHub bool
}

// GroupView is a group as it is told of.
type GroupView struct {
	Group
	At    time.Time // when it was last evaluated; zero: never
	Took  time.Duration
	Done  time.Time // the newest time that was evaluated
	Again uint64    // evaluations that were made again for late data
	// Beyond counts how often data came that were too late even for that.
	Beyond uint64
	Rules  []RuleView
}

// RuleView is a rule as it is told of.
type RuleView struct {
	Rule
	Err       error
	At        time.Time
	Took      time.Duration
	Conflicts uint64
	LateAt    time.Time
	OfHub     bool
	Alerts    []View
}

// State is how Prometheus calls the state of an alerting rule.
func (r *RuleView) State() string {
	state := StateInactive
	for _, a := range r.Alerts {
		if a.Firing() {
			return StateFiring
		}
		state = StatePending
	}
	return state
}

// Groups lists all groups with their rules and alerts, by file and name.
func (e *Engine) Groups() []GroupView {
	now := e.deps.Clock()
	e.mu.Lock()
	groups := slices.Clone(e.groups)
	silences := make([]Silence, 0, len(e.silences))
	for _, s := range e.silences {
		if s.InForce(now) {
			silences = append(silences, s)
		}
	}
	e.mu.Unlock()
	slices.SortFunc(silences, func(a, b Silence) int { return cmp.Compare(a.ID, b.ID) })
	all := make([]GroupView, len(groups))
	for i, g := range groups {
		all[i] = g.view(silences)
	}
	return all
}

func (g *group) view(silences []Silence) GroupView {
	g.mu.Lock()
	last := g.moments[len(g.moments)-1]
	v := GroupView{Group: g.Group, At: g.lastAt, Took: g.took, Done: last.at, Again: g.again, Beyond: g.beyond}
	statuses := slices.Clone(g.statuses)
	g.mu.Unlock()
	v.Rules = make([]RuleView, len(g.Rules))
	for i, r := range g.Rules {
		s := statuses[i]
		rv := RuleView{Rule: r, Err: s.Err, At: s.At, Took: s.Took, Conflicts: s.Conflicts, LateAt: s.LateAt, OfHub: OfHub(r.Expr)}
		for _, a := range last.rules[i].Sorted() {
			av := View{Alert: a, ID: idOf(a.Labels), Group: g.ID(), Rule: r.Alert, OfHub: rv.OfHub, Grade: g.engine.grade(a.Labels, rv.OfHub)}
			for _, s := range silences {
				if strings.HasPrefix(a.Labels.Get("region"), s.Region) && Match(s.Matchers, a.Labels) {
					av.Silences = append(av.Silences, s.ID)
				}
			}
			rv.Alerts = append(rv.Alerts, av)
		}
		v.Rules[i] = rv
	}
	return v
}

// Alerts lists the alerts of all rules.
func (e *Engine) Alerts() (all []View) {
	for _, g := range e.Groups() {
		for _, r := range g.Rules {
			all = append(all, r.Alerts...)
		}
	}
	return all
}

func idOf(ls labels.Labels) string {
	sum := sha256.Sum256([]byte(Key(ls)))
	return hex.EncodeToString(sum[:8])
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func parseNumber(s string) float64 {
	v, _ := strconv.ParseFloat(s, 64) // written by number
	return v
}

func parseMatcher(s string) (*labels.Matcher, error) {
	all, err := parser.NewParser(parser.Options{}).ParseMetricSelector("{" + s + "}")
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, errMatcher
	}
	return all[0], nil
}
