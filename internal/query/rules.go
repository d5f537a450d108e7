package query

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// RuleGroup is a group of rules as /rules tells of it.
type RuleGroup struct {
	Name, File string
	Interval   time.Duration
	Limit      int
	Took       time.Duration // its last evaluation
	At         time.Time     // of it
	Rules      []Rule
}

// Rule is a rule: it records or, where Alert is set, raises alerts.
type Rule struct {
	Name, Query         string
	Labels, Annotations labels.Labels
	Health, LastError   string // health is unknown, ok or err
	Took                time.Duration
	At                  time.Time

	Alert              bool
	State              string // unknown, inactive, pending or firing
	For, KeepFiringFor time.Duration
	Alerts             []RuleAlert
}

// RuleAlert is an alert that is pending or fires.
type RuleAlert struct {
	Labels, Annotations labels.Labels
	State               string
	Active              time.Time
	KeepFiringSince     time.Time // zero: it is not kept
	Value               float64
}

// The shapes of Prometheus, whose order of fields they keep.
type (
	groupsOut struct {
		Groups []groupOut `json:"groups"`
		Next   string     `json:"groupNextToken,omitempty"`
	}
	groupOut struct {
		Name           string    `json:"name"`
		File           string    `json:"file"`
		Rules          []any     `json:"rules"`
		Interval       float64   `json:"interval"`
		Limit          int       `json:"limit"`
		EvaluationTime float64   `json:"evaluationTime"`
		LastEvaluation time.Time `json:"lastEvaluation"`
	}
	alertingOut struct {
		State          string        `json:"state"`
		Name           string        `json:"name"`
		Query          string        `json:"query"`
		Duration       float64       `json:"duration"`
		KeepFiringFor  float64       `json:"keepFiringFor"`
		Labels         labels.Labels `json:"labels"`
		Annotations    labels.Labels `json:"annotations"`
		Alerts         []alertOut    `json:"alerts"`
		Health         string        `json:"health"`
		LastError      string        `json:"lastError,omitempty"`
		EvaluationTime float64       `json:"evaluationTime"`
		LastEvaluation time.Time     `json:"lastEvaluation"`
		Type           string        `json:"type"`
	}
	recordingOut struct {
		Name           string        `json:"name"`
		Query          string        `json:"query"`
		Labels         labels.Labels `json:"labels"`
		Health         string        `json:"health"`
		LastError      string        `json:"lastError,omitempty"`
		EvaluationTime float64       `json:"evaluationTime"`
		LastEvaluation time.Time     `json:"lastEvaluation"`
		Type           string        `json:"type"`
	}
	alertOut struct {
		Labels          labels.Labels `json:"labels"`
		Annotations     labels.Labels `json:"annotations"`
		State           string        `json:"state"`
		ActiveAt        time.Time     `json:"activeAt"`
		KeepFiringSince *time.Time    `json:"keepFiringSince,omitempty"`
		Value           string        `json:"value"`
	}
)

func (a *API) ruleGroups(r *request) []RuleGroup {
	if a.source.Rules == nil {
		return nil
	}
	return a.source.Rules(r.Request)
}

// alerts answers /alerts.
func (a *API) alerts(r *request) answer {
	all := []alertOut{}
	for _, g := range a.ruleGroups(r) {
		for _, rule := range g.Rules {
			all = append(all, rule.alerts()...)
		}
	}
	return answer{data: map[string][]alertOut{"alerts": all}}
}

func (r *Rule) alerts() []alertOut {
	all := make([]alertOut, len(r.Alerts))
	for i, a := range r.Alerts {
		all[i] = alertOut{Labels: a.Labels, Annotations: a.Annotations, State: a.State, ActiveAt: a.Active, Value: strconv.FormatFloat(a.Value, 'e', -1, 64)}
		if !a.KeepFiringSince.IsZero() {
			all[i].KeepFiringSince = &a.KeepFiringSince
		}
	}
	return all
}

// ruleFilter chooses groups and rules.
type ruleFilter struct {
	names, groups, files []string
	labels               [][]*labels.Matcher
	kind                 string // alert or record; empty: both
	noAlerts             bool
	limit                int // groups of a page; 0: all
	token                string
}

// rules answers /rules.
func (a *API) rules(r *request) answer {
	f, bad := a.ruleFilter(r)
	if bad != nil {
		return fails(bad)
	}
	out := groupsOut{Groups: []groupOut{}}
	found := f.token == ""
	for _, g := range a.ruleGroups(r) {
		token := groupToken(g)
		if found = found || token == f.token; !found || !f.takesGroup(g) {
			continue
		}
		shown := f.show(g)
		if len(shown.Rules) == 0 {
			continue
		}
		if f.limit > 0 && len(out.Groups) == f.limit {
			out.Next = token
			break
		}
		out.Groups = append(out.Groups, shown)
	}
	if !found {
		return fails(badParameter(fmt.Errorf("invalid group_next_token '%v'. were rule groups changed?", f.token), "group_next_token"))
	}
	return answer{data: out}
}

func groupToken(g RuleGroup) string {
	sum := sha256.Sum256([]byte(g.File + ";" + g.Name))
	return hex.EncodeToString(sum[:])
}

func (a *API) ruleFilter(r *request) (f ruleFilter, _ *failure) {
	if r.formErr != nil {
		return f, bad(fmt.Errorf("error parsing form values: %w", r.formErr))
	}
	var err error
	if f.labels, err = a.selectors(r.Form["match[]"]); err != nil {
		return f, bad(err)
	}
	q := r.URL.Query()
	if f.kind = strings.ToLower(q.Get("type")); f.kind != "" && f.kind != "alert" && f.kind != "record" {
		return f, badParameter(fmt.Errorf("not supported value %q", f.kind), "type")
	}
	if s := strings.ToLower(q.Get("exclude_alerts")); s != "" {
		if f.noAlerts, err = strconv.ParseBool(s); err != nil {
			return f, badParameter(fmt.Errorf("error converting exclude_alerts: %w", err), "exclude_alerts")
		}
	}
	f.names, f.groups, f.files = r.Form["rule_name[]"], r.Form["rule_group[]"], r.Form["file[]"]
	return f, f.page(q)
}

// page reads which page of the groups is asked for.
func (f *ruleFilter) page(q url.Values) *failure {
	limit := q.Get("group_limit")
	f.token = q.Get("group_next_token")
	if limit == "" {
		if f.token != "" {
			return badParameter(errors.New("group_limit needs to be present in order to paginate over the groups"), "group_next_token")
		}
		return nil
	}
	n, err := strconv.ParseInt(limit, 10, 32)
	switch {
	case err != nil:
		return badParameter(fmt.Errorf("group_limit needs to be a valid number: %w", err), "group_limit")
	case n <= 0:
		return badParameter(errors.New("group_limit needs to be greater than 0"), "group_limit")
	}
	f.limit = int(n)
	return nil
}

func oneOfOrAll(all []string, s string) bool { return len(all) == 0 || slices.Contains(all, s) }

func (f *ruleFilter) takesGroup(g RuleGroup) bool {
	return oneOfOrAll(f.groups, g.Name) && oneOfOrAll(f.files, g.File)
}

func (f *ruleFilter) takes(r *Rule) bool {
	if r.Alert && f.kind == "record" || !r.Alert && f.kind == "alert" || !oneOfOrAll(f.names, r.Name) {
		return false
	}
	return len(f.labels) == 0 || slices.ContainsFunc(f.labels, func(ms []*labels.Matcher) bool {
		return !slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return !m.Matches(r.Labels.Get(m.Name)) })
	})
}

func (f *ruleFilter) show(g RuleGroup) groupOut {
	out := groupOut{Name: g.Name, File: g.File, Rules: []any{}, Interval: g.Interval.Seconds(), Limit: g.Limit, EvaluationTime: g.Took.Seconds(), LastEvaluation: g.At}
	for i := range g.Rules {
		r := &g.Rules[i]
		switch {
		case !f.takes(r):
		case r.Alert:
			one := alertingOut{State: r.State, Name: r.Name, Query: r.Query, Duration: r.For.Seconds(), KeepFiringFor: r.KeepFiringFor.Seconds(), Labels: r.Labels, Annotations: r.Annotations,
				Health: r.Health, LastError: r.LastError, EvaluationTime: r.Took.Seconds(), LastEvaluation: r.At, Type: "alerting"}
			if !f.noAlerts {
				one.Alerts = r.alerts()
			}
			out.Rules = append(out.Rules, one)
		default:
			out.Rules = append(out.Rules, recordingOut{r.Name, r.Query, r.Labels, r.Health, r.LastError, r.Took.Seconds(), r.At, "recording"})
		}
	}
	return out
}
