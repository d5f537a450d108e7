package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
)

func itoa(n int) string { return strconv.Itoa(n) }

const listedPerPage = 50

// grantsView is the list of applications.
type grantsView struct {
	Rows   []grantView
	States []choice
	State  string
	Older  string
}

func (p *pages) listApplications(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	q := r.URL.Query()
	v := grantsView{State: q.Get("state")}
	below, err := strconv.ParseInt(q.Get("below"), 10, 64)
	if err != nil {
		below = 0
	}
	query := register.GrantQuery{Region: caller.Region, Dataset: q.Get("dataset"), Below: below, Limit: listedPerPage}
	if v.State == "overdue" {
		query.Overdue = true
	} else if slices.Contains(register.GrantStates(), register.GrantState(v.State)) {
		query.State = register.GrantState(v.State)
	}
	all, err := p.Catalogue.Register.Grants(r.Context(), query)
	if err != nil {
		p.Log.Error("applications_not_read", "error", err)
		http.Error(w, "the applications could not be read; the hub's log says why", http.StatusInternalServerError)
		return
	}
	for _, g := range all {
		v.Rows = append(v.Rows, p.grantOf(g, nil))
	}
	slices.SortStableFunc(v.Rows, func(a, b grantView) int { return cmp.Compare(waiting(b), waiting(a)) })
	if len(all) == listedPerPage {
		next := url.Values{"below": {strconv.FormatInt(all[len(all)-1].Number, 10)}}
		if v.State != "" {
			next.Set("state", v.State)
		}
		v.Older = address("/steward/applications", next)
	}
	for _, s := range append([]string{"", "overdue"}, states(register.GrantStates())...) {
		to := url.Values{}
		if s != "" {
			to.Set("state", s)
		}
		v.States = append(v.States, choice{Value: s, Href: address("/steward/applications", to), On: s == v.State})
	}
	p.showDesk(w, r, "steward_applications", http.StatusOK, p.language(w, r).table()["applications"], "applications", v)
}

func states[S ~string](all []S) (texts []string) {
	for _, s := range all {
		texts = append(texts, string(s))
	}
	return texts
}

// waiting is how much an application asks for somebody.
func waiting(v grantView) int {
	switch {
	case v.Late:
		return 2
	case !v.Due.IsZero():
		return 1
	}
	return 0
}

func (p *pages) showGrant(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	g, err := p.Catalogue.Register.Grant(r.Context(), r.PathValue("id"))
	if err != nil || !access.Allow(caller, access.DecideGrants, g.Region).Allowed {
		p.noSuch(w, r)
		return
	}
	p.grantPage(w, r, http.StatusOK, g, &form{Values: url.Values{}})
}

func (p *pages) grantPage(w http.ResponseWriter, r *http.Request, code int, g *register.Grant, f *form) {
	v := p.grantOf(g, f)
	v.Gives = p.givenBy(g)
	p.showDesk(w, r, "steward_application", code, g.ID(), "applications", v)
}

// stepGrant takes a step of an application.
func (p *pages) stepGrant(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	reg, ctx, id := p.Catalogue.Register, r.Context(), r.PathValue("id")
	g, err := reg.Grant(ctx, id)
	if err != nil || !access.Allow(caller, access.DecideGrants, g.Region).Allowed {
		p.noSuch(w, r)
		return
	}
	f := readForm(w, r)
	version := f.version()
	switch do := f.Get("do"); do {
	case "right", "missing":
		_, err = reg.Checked(ctx, id, version, do == "right", f.text("missing"))
	case "review":
		_, err = reg.Review(ctx, id, version, f.trimmed("opinion"))
	case "grant", "refuse":
		until := f.day("until")
		if len(f.Problems) == 0 {
			_, err = reg.Decide(ctx, id, version, register.Verdict{Grant: do == "grant", Reason: f.text("reason"), Law: f.laws("law"), Items: f.Values["items"], Until: until})
		}
	case "revoke":
		_, err = reg.Revoke(ctx, id, version, f.text("ended"), f.laws("law"))
	default:
		f.wrong("do", "没有这个操作", "is no act")
	}
	if err == nil && len(f.Problems) == 0 {
		http.Redirect(w, r, "/steward/applications/"+id, http.StatusSeeOther)
		return
	}
	code := http.StatusUnprocessableEntity
	if err != nil {
		code = p.failed(r, f, err)
	}
	if now, lookup := reg.Grant(ctx, id); lookup == nil {
		g = now
	}
	p.grantPage(w, r, code, g, f)
}

// ticketsView is the list of objections.
type ticketsView struct {
	Rows   []ticketRow
	States []choice
	State  string
	Older  string
}

type ticketRow struct {
	*register.Ticket
	Name catalog.Text
	Late bool
}

func (p *pages) ticketRow(t *register.Ticket) ticketRow {
	row := ticketRow{Ticket: t, Late: t.Overdue(p.Now()), Name: catalog.Text{ZH: t.Dataset}}
	if rec, err := p.Catalogue.Register.Get(t.Dataset); err == nil {
		row.Name = ownTitle(t.Dataset, rec.Dataset().Title)
	}
	return row
}

func (p *pages) listTickets(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	q := r.URL.Query()
	v := ticketsView{State: q.Get("state")}
	below, err := strconv.ParseInt(q.Get("below"), 10, 64)
	if err != nil {
		below = 0
	}
	query := register.TicketQuery{Region: caller.Region, Below: below, Limit: listedPerPage}
	switch v.State {
	case "overdue":
		query.Overdue = true
	case string(register.Filed), string(register.Answered), string(register.Closed):
		query.State = register.TicketState(v.State)
	}
	all, err := p.Catalogue.Register.Tickets(r.Context(), query)
	if err != nil {
		p.Log.Error("tickets_not_read", "error", err)
		http.Error(w, "the objections could not be read; the hub's log says why", http.StatusInternalServerError)
		return
	}
	for _, t := range all {
		v.Rows = append(v.Rows, p.ticketRow(t))
	}
	if len(all) == listedPerPage {
		v.Older = address("/steward/objections", url.Values{"below": {strconv.FormatInt(all[len(all)-1].Number, 10)}, "state": {v.State}})
	}
	for _, s := range []string{"", "overdue", string(register.Filed), string(register.Answered), string(register.Closed)} {
		to := url.Values{}
		if s != "" {
			to.Set("state", s)
		}
		v.States = append(v.States, choice{Value: s, Href: address("/steward/objections", to), On: s == v.State})
	}
	p.showDesk(w, r, "steward_objections", http.StatusOK, p.language(w, r).table()["objections"], "objections", v)
}

// threadView is a ticket for who answers it.
type threadView struct {
	ticketRow
	Form   *form
	Thread []threadEntry
}

func (p *pages) ticketFor(w http.ResponseWriter, r *http.Request, caller access.Caller) *register.Ticket {
	t, err := p.Catalogue.Register.Ticket(r.Context(), r.PathValue("id"))
	if err != nil || !access.Allow(caller, access.HandleObjections, t.Region).Allowed {
		p.noSuch(w, r)
		return nil
	}
	return t
}

func (p *pages) showThread(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	if t := p.ticketFor(w, r, caller); t != nil {
		p.showDesk(w, r, "steward_objection", http.StatusOK, t.ID(), "objections", threadView{p.ticketRow(t), &form{Values: url.Values{}}, p.threadOf(r.Context(), t, true)})
	}
}

// answerThread adds an answer to a ticket, or closes it.
func (p *pages) answerThread(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	t := p.ticketFor(w, r, caller)
	if t == nil {
		return
	}
	f, reg, id := readForm(w, r), p.Catalogue.Register, t.ID()
	var err error
	if f.Get("do") == "close" {
		_, err = reg.Close(r.Context(), id, f.version(), register.Outcome(f.Get("outcome")), f.trimmed("text"), f.laws("law"))
	} else {
		_, err = reg.Answer(r.Context(), id, f.version(), f.trimmed("text"))
	}
	if err == nil {
		http.Redirect(w, r, "/steward/objections/"+id, http.StatusSeeOther)
		return
	}
	code := p.failed(r, f, err)
	if now, lookup := reg.Ticket(r.Context(), id); lookup == nil {
		t = now
	}
	p.showDesk(w, r, "steward_objection", code, id, "objections", threadView{p.ticketRow(t), f, p.threadOf(r.Context(), t, true)})
}
