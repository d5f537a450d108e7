package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
)

// Alerts are what fires, what is kept quiet and what happened, as far as somebody may
// see it.
type Alerts struct {
	At       time.Time
	Alerts   []Alert
	Silences []Silence // that are not over
	History  []AlertEvent
	// Behind is by how much rules are evaluated later than they should be, Failing how
	// many rules cannot be, and Faulty what is wrong with which files; for those who
	// see all regions alone.
	Behind  time.Duration
	Failing int
	Faulty  [][2]string
}

// Alert is one that is pending or fires.
type Alert struct {
	ID, Name, State, Severity, Value, Runbook string
	Summary, Description                      Bilingual
	Labels                                    [][2]string // sorted, without alertname and severity
	Since                                     time.Time   // when it fired; of a pending one since when its condition holds
	Silenced                                  bool
}

// Bilingual is a text in both languages; one may be empty.
type Bilingual struct{ ZH, EN string }

// Silence keeps alerts quiet.
type Silence struct {
	ID, By, Comment string
	Matchers        []string
	From, Until     time.Time
}

// AlertEvent is an entry of the history of alerts.
type AlertEvent struct {
	Kind, Name string // firing, resolved or retracted
	At, Known  time.Time
	Late       bool
	Labels     [][2]string
}

// SilenceOrder is what somebody wants to be quiet: an alert, or all of its name.
type SilenceOrder struct {
	Alert   string // its id
	Named   bool
	For     time.Duration
	Comment string
}

// AlertBook is where the page of alerts comes from, and where what people do there
// goes. An error of a change is told to who asked for it.
type AlertBook struct {
	Show    func(context.Context, access.Caller) (Alerts, error)
	Silence func(context.Context, access.Caller, SilenceOrder) error
	End     func(context.Context, access.Caller, string) error
}

// alertsView is what the page is rendered from besides view.
type alertsView struct {
	Alerts
	Firing, Pending, Quiet []alertRow
	MaySilence, Failed     bool
	Fault                  string // why what was asked for could not be done
	Clock, Zone            string
	Lengths                []string // that a silence may have
}

type alertRow struct {
	Alert
	Text, More string // in the language of the page
	Shape      string // of presence by which the severity is shown
}

// silenceLengths are offered in hours.
func silenceLengths() []string { return []string{"1", "4", "24", "72", "168"} }

func (p *pages) showAlerts(w http.ResponseWriter, r *http.Request) {
	if caller, may := p.admit(w, r, access.ReadAlerts); may {
		p.alertsPage(w, r, caller, http.StatusOK, "")
	}
}

func (p *pages) alertsPage(w http.ResponseWriter, r *http.Request, caller access.Caller, code int, fault string) {
	v := alertsView{MaySilence: access.May(caller.Role, access.SilenceAlerts), Fault: fault, Lengths: silenceLengths()}
	found, err := p.AlertBook.Show(r.Context(), caller)
	if err != nil {
		p.Log.Error("alerts_not_read", "error", err)
		v.Failed, code = true, http.StatusInternalServerError
	}
	v.Alerts, v.Clock, v.Zone = found, found.At.Local().Format(time.TimeOnly), zoneOf(found.At)
	l := p.language(w, r)
	for _, a := range found.Alerts {
		row := alertRow{Alert: a, Text: a.Summary.in(l), More: a.Description.in(l), Shape: severityShape(a)}
		switch {
		case a.Silenced:
			v.Quiet = append(v.Quiet, row)
		case a.State == "firing":
			v.Firing = append(v.Firing, row)
		default:
			v.Pending = append(v.Pending, row)
		}
	}
	for _, rows := range [][]alertRow{v.Firing, v.Pending, v.Quiet} {
		slices.SortStableFunc(rows, func(a, b alertRow) int {
			return cmp.Or(cmp.Compare(urgency(a.Severity), urgency(b.Severity)), b.Since.Compare(a.Since), cmp.Compare(a.ID, b.ID))
		})
	}
	p.render(w, r, p.alerts, code, view{Who: p.greet(caller), Page: v})
}

// in is the text of a language, or the other one where there is none.
func (b Bilingual) in(l lang) string {
	if l == chinese {
		return cmp.Or(b.ZH, b.EN)
	}
	return cmp.Or(b.EN, b.ZH)
}

// urgency puts severities in order, the most urgent first.
func urgency(severity string) int {
	switch severity {
	case "page", "critical":
		return 0
	case "warning":
		return 1
	}
	return 2
}

func severityShape(a Alert) string {
	switch {
	case a.Silenced:
		return "never"
	case urgency(a.Severity) == 0:
		return "offline"
	case urgency(a.Severity) == 1:
		return "late"
	}
	return "online"
}

// silence makes one of a form.
func (p *pages) silence(w http.ResponseWriter, r *http.Request) {
	p.changeAlerts(w, r, func(caller access.Caller) error {
		hours, err := strconv.Atoi(r.PostFormValue("hours"))
		if err != nil || !slices.Contains(silenceLengths(), strconv.Itoa(hours)) {
			hours = 1
		}
		return p.AlertBook.Silence(r.Context(), caller, SilenceOrder{Alert: r.PostFormValue("alert"), Named: r.PostFormValue("of") == "name", For: time.Duration(hours) * time.Hour, Comment: strings.TrimSpace(r.PostFormValue("comment"))})
	})
}

func (p *pages) endSilence(w http.ResponseWriter, r *http.Request) {
	p.changeAlerts(w, r, func(caller access.Caller) error { return p.AlertBook.End(r.Context(), caller, r.PathValue("id")) })
}

func (p *pages) changeAlerts(w http.ResponseWriter, r *http.Request, change func(access.Caller) error) {
	caller, may := p.admit(w, r, access.ReadAlerts)
	if !may {
		return
	}
	if d := access.Allow(caller, access.SilenceAlerts, access.Anywhere); !d.Allowed {
		p.alertsPage(w, r, caller, http.StatusForbidden, p.language(w, r).choose(d.ZH, d.EN))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	if err := change(caller); err != nil {
		p.alertsPage(w, r, caller, http.StatusUnprocessableEntity, err.Error())
		return
	}
	http.Redirect(w, r, "/alerts", http.StatusSeeOther)
}
