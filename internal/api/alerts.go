package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/telemetry"
)

// SeesAlert reports whether a caller may know of an alert of a region about data of a
// grade: as of the series that it follows from. What belongs to no region is for those
// who see all of them. Art. 74(3)
func SeesAlert(c access.Caller, region string, grade telemetry.Grade) bool {
	return strings.HasPrefix(region, c.Region) && grade <= max(c.Grade, telemetry.General)
}

type ruleGroupOut struct {
	File     string    `json:"file"`
	Name     string    `json:"name"`
	Interval string    `json:"interval"`
	Lateness string    `json:"lateness" doc:"how long after a moment its data may come: query_offset of the file"`
	Until    time.Time `json:"evaluated_until" doc:"the newest time that was evaluated"`
	Again    uint64    `json:"again" doc:"evaluations that were made again because data came late"`
	Beyond   uint64    `json:"beyond" doc:"how often data came that were too late even for that"`
	Rules    []ruleOut `json:"rules"`
}

type ruleOut struct {
	Name      string     `json:"name"`
	Kind      string     `json:"kind" doc:"alert or record"`
	Query     string     `json:"query"`
	State     string     `json:"state,omitempty" doc:"firing, pending or inactive: of the alerts that the caller may see"`
	Firing    int        `json:"firing"`
	Pending   int        `json:"pending"`
	For       string     `json:"for,omitempty"`
	Error     string     `json:"error,omitempty" doc:"why its last evaluation failed"`
	Took      string     `json:"took,omitempty"`
	Conflicts uint64     `json:"conflicts,omitempty" doc:"recorded values that late data would have made others; the first stay"`
	LateAt    *time.Time `json:"late_at,omitempty" doc:"time of the newest of those"`
}

func (a *API) listRules(ctx context.Context, in *Paging) (*pageOut[ruleGroupOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	c := access.CallerOf(ctx)
	part, next := cut(a.Rules.Groups(), func(g rules.GroupView) string { return g.ID() }, after, in.Limit)
	out := newPage[ruleGroupOut](len(part))
	for _, g := range part {
		one := ruleGroupOut{File: g.File, Name: g.Name, Interval: g.Interval.String(), Lateness: g.Lateness.String(), Until: g.Done.UTC(), Again: g.Again, Beyond: g.Beyond, Rules: []ruleOut{}}
		for i := range g.Rules {
			one.Rules = append(one.Rules, showRule(c, &g.Rules[i]))
		}
		out.Body.Items = append(out.Body.Items, one)
	}
	out.Body.Next = next
	return out, nil
}

func showRule(c access.Caller, r *rules.RuleView) ruleOut {
	out := ruleOut{Name: r.Name(), Kind: "record", Query: r.Expr.String(), Conflicts: r.Conflicts, LateAt: moment(r.LateAt)}
	if r.Err != nil {
		out.Error = r.Err.Error()
	}
	if r.Took > 0 {
		out.Took = r.Took.Round(time.Microsecond).String()
	}
	if r.Alert == "" {
		return out
	}
	out.Kind, out.State, out.For = "alert", rules.StateInactive, r.For.String()
	for _, v := range r.Alerts {
		switch {
		case !SeesAlert(c, v.Labels.Get("region"), v.Grade):
		case v.Firing():
			out.Firing++
		default:
			out.Pending++
		}
	}
	switch {
	case out.Firing > 0:
		out.State = rules.StateFiring
	case out.Pending > 0:
		out.State = rules.StatePending
	}
	return out
}

type alertOut struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	State       string            `json:"state" doc:"firing or pending"`
	Severity    string            `json:"severity,omitempty"`
	Group       string            `json:"group"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Value       string            `json:"value"`
	Active      time.Time         `json:"active_since" doc:"by the time of the data"`
	Fired       *time.Time        `json:"firing_since,omitempty"`
	Quiet       *time.Time        `json:"quiet_since,omitempty" doc:"since when its condition holds no more, while it is kept firing"`
	Silences    []string          `json:"silences,omitempty" doc:"ids of those that keep it quiet"`
	Grade       string            `json:"grade" doc:"of the data that it tells of"`
}

func showAlert(v *rules.View) alertOut {
	return alertOut{ID: v.ID, Name: v.Rule, State: v.State(), Severity: v.Labels.Get("severity"), Group: v.Group, Labels: v.Labels.Map(), Annotations: v.Annotations.Map(),
		Value: strconv.FormatFloat(v.Value, 'g', -1, 64), Active: v.Active.UTC(), Fired: moment(v.Fired.UTC()), Quiet: moment(v.Quiet), Silences: v.Silences, Grade: v.Grade.String()}
}

type alertsIn struct {
	Paging
	State string   `query:"state" enum:"firing,pending" doc:"only those in it"`
	Match []string `query:"match,explode" maxItems:"20" doc:"conditions on labels, such as severity=\"page\"; all must hold"`
}

func (a *API) listAlerts(ctx context.Context, in *alertsIn) (*pageOut[alertOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	ms, err := matchers("query.match", in.Match)
	if err != nil {
		return nil, err
	}
	c := access.CallerOf(ctx)
	var all []rules.View
	for _, v := range a.Rules.Alerts() {
		if SeesAlert(c, v.Labels.Get("region"), v.Grade) && (in.State == "" || in.State == v.State()) && rules.Match(ms, v.Labels) {
			all = append(all, v)
		}
	}
	key := func(v rules.View) string { return v.Group + "\x00" + v.Rule + "\x00" + v.ID }
	slices.SortFunc(all, func(x, y rules.View) int { return strings.Compare(key(x), key(y)) })
	part, next := cut(all, key, after, in.Limit)
	out := newPage[alertOut](len(part))
	for i := range part {
		out.Body.Items = append(out.Body.Items, showAlert(&part[i]))
	}
	out.Body.Next = next
	return out, nil
}

func matchers(where string, all []string) (ms []rules.Matcher, err error) {
	for i, s := range all {
		m, err := rules.ParseMatcher(s)
		if err != nil {
			return nil, fault(fmt.Sprintf("%s[%d]", where, i), s, err.Error())
		}
		ms = append(ms, m)
	}
	return ms, nil
}

type alertChangeOut struct {
	ID          int64             `json:"id"`
	Kind        string            `json:"kind" doc:"firing, resolved, or retracted: data that came late show that it had no reason to fire"`
	Name        string            `json:"name"`
	At          time.Time         `json:"at" doc:"when it happened, by the time of the data"`
	Known       time.Time         `json:"known" doc:"when the hub knew of it"`
	Late        bool              `json:"late" doc:"whether data that came late showed it"`
	Active      time.Time         `json:"active_since"`
	Group       string            `json:"group"`
	Value       string            `json:"value"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type historyIn struct {
	Paging
	Since time.Time `query:"since" doc:"only what happened then or later"`
	Until time.Time `query:"until" doc:"only what happened before"`
	Name  string    `query:"name" maxLength:"200" doc:"only of the alert of this name"`
}

func (a *API) alertHistory(ctx context.Context, in *historyIn) (*pageOut[alertChangeOut], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	c := access.CallerOf(ctx)
	found, next, err := a.Rules.History(ctx, rules.HistoryQuery{Since: in.Since, Until: in.Until, Alert: in.Name, Before: before, Limit: in.Limit,
		Sees: func(ch *rules.Change) bool { return SeesAlert(c, ch.Labels.Get("region"), a.Rules.Grade(ch)) }})
	if err != nil {
		return nil, err
	}
	out := newPage[alertChangeOut](len(found))
	for _, ch := range found {
		out.Body.Items = append(out.Body.Items, alertChangeOut{ch.ID, ch.Kind, ch.Rule, ch.At.UTC(), ch.Known.UTC(), ch.Late, ch.Active.UTC(), ch.Group, ch.Text, ch.Labels.Map(), ch.Annotations.Map()})
	}
	if next > 0 {
		out.Body.Next = cursor(strconv.FormatInt(next, 10))
	}
	return out, nil
}

type silenceOut struct {
	ID       string    `json:"id"`
	Matchers []string  `json:"matchers"`
	From     time.Time `json:"from"`
	Until    time.Time `json:"until"`
	By       string    `json:"by" doc:"who made it"`
	Comment  string    `json:"comment" doc:"why"`
	Created  time.Time `json:"created"`
	Ended    string    `json:"ended_by,omitempty" doc:"who ended it before its time"`
	Region   string    `json:"region,omitempty" doc:"alerts of others it leaves"`
	InForce  bool      `json:"in_force"`
}

func (a *API) showSilence(s *rules.Silence) silenceOut {
	out := silenceOut{ID: s.ID, From: s.From, Until: s.Until, By: s.By, Comment: s.Comment, Created: s.Created, Ended: s.Ended, Region: s.Region, InForce: s.InForce(a.Now())}
	for _, m := range s.Matchers {
		out.Matchers = append(out.Matchers, m.String())
	}
	return out
}

type silencesIn struct {
	Paging
	All bool `query:"all" doc:"those that are over too"`
}

// listSilences lists those that touch the caller's region.
func (a *API) listSilences(ctx context.Context, in *silencesIn) (*pageOut[silenceOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	var all []rules.Silence
	for _, s := range a.Rules.Silences(in.All) {
		if r := region(ctx); strings.HasPrefix(s.Region, r) || strings.HasPrefix(r, s.Region) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(x, y rules.Silence) int { return strings.Compare(x.ID, y.ID) })
	part, next := cut(all, func(s rules.Silence) string { return s.ID }, after, in.Limit)
	out := newPage[silenceOut](len(part))
	for i := range part {
		out.Body.Items = append(out.Body.Items, a.showSilence(&part[i]))
	}
	out.Body.Next = next
	return out, nil
}

type silenceIn struct {
	Body struct {
		Matchers []string  `json:"matchers" minItems:"1" maxItems:"20" doc:"conditions on labels, such as alertname=\"DeviceOffline\"; all must hold"`
		From     time.Time `json:"from,omitzero" required:"false" doc:"now when absent"`
		Until    time.Time `json:"until"`
		Comment  string    `json:"comment" minLength:"1" maxLength:"1000" doc:"why"`
	}
}

// makeSilence makes a silence for the region of the caller.
func (a *API) makeSilence(ctx context.Context, in *silenceIn) (*struct{ Body silenceOut }, error) {
	ms, err := matchers("body.matchers", in.Body.Matchers)
	if err != nil {
		return nil, err
	}
	c := access.CallerOf(ctx)
	s, err := a.Rules.Silence(a.noted(ctx, access.SilenceAlerts, "silence", c.Region, nil, in.Body), rules.Silence{
		Matchers: ms, From: in.Body.From.UTC(), Until: in.Body.Until.UTC(), By: c.Name, Comment: in.Body.Comment, Region: c.Region,
	})
	if errors.Is(err, rules.ErrSilence) {
		return nil, newProblem(422, err.Error())
	}
	return &struct{ Body silenceOut }{a.showSilence(&s)}, err
}

type silenceID struct {
	ID string `path:"id" maxLength:"40"`
}

func (a *API) endSilence(ctx context.Context, in *silenceID) (*nothing, error) {
	i := slices.IndexFunc(a.Rules.Silences(false), func(s rules.Silence) bool { return s.ID == in.ID })
	if i < 0 {
		return nil, newProblem(404, fmt.Sprintf("silence %q is not known, or is over; `hub rules silence list` shows them", in.ID))
	}
	s := a.Rules.Silences(false)[i]
	if err := may(ctx, access.SilenceAlerts, s.Region); err != nil {
		return nil, err
	}
	_, err := a.Rules.EndSilence(a.noted(ctx, access.SilenceAlerts, "silence "+s.ID, s.Region, a.showSilence(&s), nil), s.ID, access.CallerOf(ctx).Name)
	if errors.Is(err, rules.ErrUnknown) {
		return nil, newProblem(404, err.Error())
	}
	return nil, err
}
