package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/rules"
	"github.com/songhua-io/hub/internal/web"
)

func (h *hub) alertBook() web.AlertBook {
	return web.AlertBook{Show: h.showAlerts, Silence: h.silenceFromPage, End: h.endSilenceFromPage}
}

const (
	shownAlerts  = 500 // on the page
	shownHistory = 50
	// tolerated is how late rules may be before the page says so.
	tolerated = 2 * time.Minute
)

// showAlerts is what a caller may see on the page of alerts.
func (h *hub) showAlerts(ctx context.Context, c access.Caller) (out web.Alerts, err error) {
	out.At = h.clock()
	for _, g := range h.rules.Groups() {
		if c.Region == "" {
			if late := out.At.Sub(g.Done.Add(g.Interval + g.Lateness)); late > max(tolerated, out.Behind) {
				out.Behind = late.Round(time.Second)
			}
		}
		for _, r := range g.Rules {
			if r.Err != nil && c.Region == "" {
				out.Failing++
			}
			for _, v := range r.Alerts {
				if len(out.Alerts) < shownAlerts && api.SeesAlert(c, v.Labels.Get("region"), v.Grade) {
					out.Alerts = append(out.Alerts, pageAlert(&v))
				}
			}
		}
	}
	if c.Region == "" {
		for file, wrong := range h.rules.Faults() {
			out.Faulty = append(out.Faulty, [2]string{file, wrong})
		}
		slices.SortFunc(out.Faulty, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	}
	for _, s := range h.rules.Silences(false) {
		if strings.HasPrefix(s.Region, c.Region) || strings.HasPrefix(c.Region, s.Region) {
			one := web.Silence{ID: s.ID, By: s.By, Comment: s.Comment, From: s.From, Until: s.Until}
			for _, m := range s.Matchers {
				one.Matchers = append(one.Matchers, m.String())
			}
			out.Silences = append(out.Silences, one)
		}
	}
	found, _, err := h.rules.History(ctx, rules.HistoryQuery{Limit: shownHistory, Sees: func(ch *rules.Change) bool {
		return api.SeesAlert(c, ch.Labels.Get("region"), h.rules.Grade(ch))
	}})
	for _, ch := range found {
		out.History = append(out.History, web.AlertEvent{Kind: ch.Kind, Name: ch.Rule, At: ch.At, Known: ch.Known, Late: ch.Late, Labels: pairs(ch.Labels)})
	}
	return out, err
}

func pageAlert(v *rules.View) web.Alert {
	note := v.Annotations.Get
	a := web.Alert{ID: v.ID, Name: v.Rule, State: v.State(), Severity: v.Labels.Get("severity"), Value: fmt.Sprintf("%.6g", v.Value), Runbook: note("runbook_url"),
		Summary: web.Bilingual{ZH: note("summary_zh"), EN: note("summary")}, Description: web.Bilingual{ZH: note("description_zh"), EN: note("description")},
		Labels: pairs(v.Labels), Since: v.Active, Silenced: len(v.Silences) > 0}
	if v.Firing() {
		a.Since = v.Fired
	}
	return a
}

// pairs are the labels that tell alerts of one name apart.
func pairs(ls labels.Labels) (all [][2]string) {
	ls.Range(func(l labels.Label) {
		if l.Name != "alertname" && l.Name != "severity" {
			all = append(all, [2]string{l.Name, l.Value})
		}
	})
	return all
}

// silenceFromPage makes a silence for an alert that the caller sees, or for all of its
// name.
func (h *hub) silenceFromPage(ctx context.Context, c access.Caller, o web.SilenceOrder) error {
	all := h.rules.Alerts()
	i := slices.IndexFunc(all, func(v rules.View) bool { return v.ID == o.Alert && api.SeesAlert(c, v.Labels.Get("region"), v.Grade) })
	if i < 0 {
		return fmt.Errorf("the alert is over; there is nothing to silence (告警已结束，无需静默)")
	}
	var ms []rules.Matcher
	var err error
	all[i].Labels.Range(func(l labels.Label) {
		if o.Named && l.Name != "alertname" {
			return
		}
		m, parsed := rules.ParseMatcher(fmt.Sprintf("%q=%q", l.Name, l.Value))
		if parsed != nil {
			err = parsed
		}
		ms = append(ms, m)
	})
	if err != nil {
		return err
	}
	now := h.clock().UTC()
	s := rules.Silence{Matchers: ms, From: now, Until: now.Add(o.For), By: c.Name, Comment: o.Comment, Region: c.Region}
	_, err = h.rules.Silence(h.notedSilence(ctx, c, "silence", c.Region, nil, s), s)
	return err
}

func (h *hub) endSilenceFromPage(ctx context.Context, c access.Caller, id string) error {
	all := h.rules.Silences(false)
	i := slices.IndexFunc(all, func(s rules.Silence) bool { return s.ID == id })
	if i < 0 {
		return fmt.Errorf("there is no silence %s that is not over (没有未结束的静默 %[1]s)", id)
	}
	if d := access.Allow(c, access.SilenceAlerts, all[i].Region); !d.Allowed {
		return fmt.Errorf("%s %s", d.ZH, d.EN)
	}
	_, err := h.rules.EndSilence(h.notedSilence(ctx, c, "silence "+id, all[i].Region, all[i], nil), id, c.Name)
	return err
}

// notedSilence puts what somebody did on the page on record.
func (h *hub) notedSilence(ctx context.Context, c access.Caller, object, region string, before, after any) context.Context {
	text := func(v any) string {
		if v == nil {
			return ""
		}
		b, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(b)
	}
	return audit.With(ctx, audit.Entry{At: h.clock(), Actor: c.Name, Role: c.Role, Origin: c.Address, Action: access.SilenceAlerts, Object: object, Region: region, Before: text(before), After: text(after)})
}
