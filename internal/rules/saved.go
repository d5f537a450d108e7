package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// savedGroup is what is kept of a group: its alerts as they are, and as they were at
// every time at which it may be evaluated again.
type savedGroup struct {
	Done  time.Time    `json:"done"`
	Rules []savedRule  `json:"rules"`
	Open  []savedFires `json:"open"`
	// Since is the oldest time that is known of. Of tells of which rules: what others
	// came to is no base to evaluate these on.
	Since time.Time `json:"since,omitzero"`
	Of    string    `json:"of,omitempty"`
	// Late is the oldest time of data that came late and were not looked at; zero: there
	// are none.
	Late time.Time `json:"late,omitzero"`
}

type savedRule struct {
	Alert  string        `json:"alert"`
	OfHub  bool          `json:"of_hub,omitempty"`
	Labels labels.Labels `json:"labels"`
	Active []savedAlert  `json:"active"`
	// Past are alerts that are there no more, or in another state.
	Past []savedAlert `json:"past,omitempty"`
}

// savedAlert is an alert in one state: from From on, and before To.
type savedAlert struct {
	Labels      labels.Labels `json:"labels"`
	Annotations labels.Labels `json:"annotations"`
	Value       string        `json:"value"`
	Active      time.Time     `json:"active"`
	Fired       time.Time     `json:"fired,omitzero"`
	Quiet       time.Time     `json:"quiet,omitzero"`
	From        time.Time     `json:"from,omitzero"`
	To          time.Time     `json:"to,omitzero"`
}

func (s *savedAlert) alert() *Alert {
	return &Alert{s.Labels, s.Annotations, parseNumber(s.Value), s.Active, s.Fired, s.Quiet}
}

// savedFires is an episode that goes on: the alert Active of Rules has it.
type savedFires struct {
	Rule  int           `json:"rule"`
	Alert labels.Labels `json:"alert"`
	Fired time.Time     `json:"fired"`
}

// state is what is to be kept of a group that runs no more.
func (g *group) state() savedGroup { return g.saved(g.moments, g.episodes, g.late.Load()) }

func (g *group) saved(moments []moment, episodes []*episode, late int64) savedGroup {
	s := savedGroup{Done: moments[len(moments)-1].at, Since: moments[0].at, Of: g.fingerprint()}
	if late != never {
		s.Late = time.UnixMilli(late)
	}
	for i, r := range g.Rules {
		saved := savedRule{Alert: r.Alert, OfHub: OfHub(r.Expr), Labels: r.Labels}
		if r.Alert != "" {
			saved.Active, saved.Past = spans(i, moments)
		}
		s.Rules = append(s.Rules, saved)
	}
	s.shorten()
	for _, e := range episodes {
		if e.open() {
			s.Open = append(s.Open, savedFires{e.rule, e.alert.Labels, e.fired})
		}
	}
	return s
}

// maxPast bounds how many alerts that are no more are kept of a group: where there
// were more, a restart leaves less time that can be evaluated again.
const maxPast = 2000

// shorten leaves out what is longest ago, beyond maxPast.
func (s *savedGroup) shorten() {
	var ends []time.Time
	for _, r := range s.Rules {
		for _, a := range r.Past {
			ends = append(ends, a.To)
		}
	}
	if len(ends) <= maxPast {
		return
	}
	slices.SortFunc(ends, time.Time.Compare)
	s.Since = ends[len(ends)-maxPast-1]
	for i := range s.Rules {
		s.Rules[i].Past = slices.DeleteFunc(s.Rules[i].Past, func(a savedAlert) bool { return !a.To.After(s.Since) })
	}
}

// spans are the alerts of a rule that are there at the last of moments, and those
// that were before it, each with the times at which it was in its state.
func spans(rule int, moments []moment) (active, past []savedAlert) {
	type span struct {
		alert *Alert
		from  time.Time
	}
	open := map[string]span{}
	save := func(s span, a *Alert, to time.Time) savedAlert {
		return savedAlert{a.Labels, a.Annotations, number(a.Value), a.Active, a.Fired, a.Quiet, s.from, to}
	}
	for i, m := range moments {
		if i > 0 && m.same {
			continue
		}
		for key, s := range open {
			if now := m.rules[rule][key]; now == nil || !sameState(s.alert, now) {
				past = append(past, save(s, s.alert, m.at))
				delete(open, key)
			}
		}
		for key, a := range m.rules[rule] {
			if _, goesOn := open[key]; !goesOn {
				open[key] = span{a, m.at}
			}
		}
	}
	for _, a := range moments[len(moments)-1].rules[rule].Sorted() {
		active = append(active, save(open[Key(a.Labels)], a, time.Time{}))
	}
	return active, past
}

// fingerprint tells apart groups that make other alerts of the same data.
func (g *group) fingerprint() string {
	h := sha256.New()
	fmt.Fprintln(h, g.Interval)
	for _, r := range g.Rules {
		fmt.Fprintln(h, r.Record, r.Alert, r.Expr, r.For, r.KeepFiringFor, r.Labels)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// resume begins a group where a former one of its name, in this run of the hub or
// the one before, was; without one, at the present.
func (g *group) resume(s savedGroup, now time.Time) {
	at, goesOn := g.due(now).Add(-g.Interval), !s.Done.IsZero() && s.Done.Before(now)
	if goesOn {
		at = g.floor(s.Done)
	}
	rules := make([]Active, len(g.Rules))
	past := make([][]savedAlert, len(g.Rules))
	for i, r := range g.Rules {
		j := slices.IndexFunc(s.Rules, func(was savedRule) bool { return was.Alert == r.Alert && labels.Equal(was.Labels, r.Labels) })
		if r.Alert == "" || j < 0 {
			continue
		}
		rules[i], past[i] = Active{}, slices.Concat(s.Rules[j].Past, s.Rules[j].Active)
		for _, a := range s.Rules[j].Active {
			key, alert := Key(a.Labels), a.alert()
			rules[i][key] = alert
			for _, o := range s.Open {
				if o.Rule == j && labels.Equal(o.Alert, a.Labels) {
					g.episodes = append(g.episodes, &episode{rule: i, key: key, alert: alert, fired: o.Fired})
				}
			}
		}
	}
	g.begin(at, rules)
	if goesOn && !s.Since.IsZero() && s.Of == g.fingerprint() {
		g.recall(s.Since, past)
	}
	if !s.Late.IsZero() {
		g.noted = s.Late.UnixMilli()
		g.cameLate(g.noted)
	}
}

// begin makes the group go on from what its alerts were at a time.
func (g *group) begin(at time.Time, rules []Active) {
	g.moments = []moment{{at: at, rules: rules}}
	g.evaluated.Store(at.UnixMilli())
}

// recall puts the moments since a time, and the episodes that ended after it, before
// the one at which the group begins.
func (g *group) recall(since time.Time, past [][]savedAlert) {
	last := g.moments[0]
	turns := map[time.Time]bool{} // at which alerts changed
	for i, all := range past {
		for _, a := range all {
			turns[a.From.UTC()], turns[a.To.UTC()] = true, true
			g.recallEpisode(i, &a)
		}
	}
	var before []moment
	for at := g.floor(since).UTC(); at.Before(last.at); at = at.Add(g.Interval) {
		m := moment{at: at, same: len(before) > 0 && !turns[at]}
		if m.same {
			m.rules = before[len(before)-1].rules
		} else {
			m.rules = activeAt(past, at)
		}
		before = append(before, m)
	}
	if len(before) > 0 {
		last.same = sameAlerts(before[len(before)-1].rules, last.rules)
	}
	g.moments = append(before, last)
}

// recallEpisode takes an alert that fired and does no more for an episode. Where
// it fired in several states, one after the other, the last says when it ended.
func (g *group) recallEpisode(rule int, a *savedAlert) {
	if a.Fired.IsZero() || a.To.IsZero() {
		return
	}
	key := Key(a.Labels)
	i := slices.IndexFunc(g.episodes, func(e *episode) bool { return e.rule == rule && e.key == key && e.fired.Equal(a.Fired) })
	switch {
	case i < 0:
		g.episodes = append(g.episodes, &episode{rule: rule, key: key, alert: a.alert(), fired: a.Fired, ended: a.To})
	case !g.episodes[i].open() && g.episodes[i].ended.Before(a.To):
		g.episodes[i].ended = a.To
	}
}

// activeAt are the alerts of all rules at a time.
func activeAt(past [][]savedAlert, at time.Time) []Active {
	rules := make([]Active, len(past))
	for i, all := range past {
		rules[i] = Active{}
		for _, a := range all {
			if !a.From.After(at) && (a.To.IsZero() || at.Before(a.To)) {
				rules[i][Key(a.Labels)] = a.alert()
			}
		}
	}
	return rules
}

// sameAlerts reports whether the same alerts are there in the same states.
func sameAlerts(a, b []Active) bool {
	return slices.EqualFunc(a, b, func(x, y Active) bool { return maps.EqualFunc(x, y, sameState) })
}

func sameState(x, y *Alert) bool {
	return x.Firing() == y.Firing() && x.Active.Equal(y.Active) && x.Quiet.Equal(y.Quiet)
}
