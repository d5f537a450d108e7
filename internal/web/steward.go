package web

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
)

// stewardPage is a page for who has an action in the table of rights.
type stewardPage struct {
	pattern string
	action  access.Action
	serve   func(*pages, http.ResponseWriter, *http.Request, access.Caller)
}

// stewardPages are those of who keeps the catalogue.
func stewardPages() []stewardPage {
	return []stewardPage{
		{"GET /steward", access.WriteDatasets, (*pages).showRegister},
		{"GET /steward/new", access.WriteDatasets, (*pages).askSelector},
		{"POST /steward/new", access.WriteDatasets, (*pages).draftDataset},
		{"GET /steward/datasets/{id}", access.WriteDatasets, (*pages).editDataset},
		{"POST /steward/datasets/{id}", access.WriteDatasets, (*pages).saveDataset},
		{"POST /steward/datasets/{id}/act", access.WriteDatasets, (*pages).moveDataset},
		{"GET /steward/applications", access.DecideGrants, (*pages).listApplications},
		{"GET /steward/applications/{id}", access.DecideGrants, (*pages).showGrant},
		{"POST /steward/applications/{id}", access.DecideGrants, (*pages).stepGrant},
		{"GET /steward/objections", access.HandleObjections, (*pages).listTickets},
		{"GET /steward/objections/{id}", access.HandleObjections, (*pages).showThread},
		{"POST /steward/objections/{id}", access.HandleObjections, (*pages).answerThread},
	}
}

// forSteward serves a page to who may open it.
func (p *pages) forSteward(w http.ResponseWriter, r *http.Request, page stewardPage) {
	if caller, may := p.admit(w, r, page.action); may {
		page.serve(p, w, r, caller)
	}
}

// mayStewards reports whether a caller may change a dataset.
func mayStewards(c access.Caller, d *catalog.Dataset) bool {
	return access.Allow(c, access.WriteDatasets, d.Region).Allowed && access.AllowGrade(c, d.Grade).Allowed
}

// deskView is what waits for somebody, for the tabs of all these pages.
type deskView struct {
	Tab                     string
	LateGrants, LateTickets int
	OpenGrants, OpenTickets int
	Body                    any
}

const shownOpen = 500 // of applications and objections that are counted

func (p *pages) deskOf(r *http.Request, tab string, body any) deskView {
	c, now := access.CallerOf(r.Context()), p.Now()
	v := deskView{Tab: tab, Body: body}
	for _, s := range []register.GrantState{register.Applied, register.Reviewing} {
		all, err := p.Catalogue.Register.Grants(r.Context(), register.GrantQuery{Region: c.Region, State: s, Limit: shownOpen})
		if err != nil {
			p.Log.Error("applications_not_read", "error", err)
		}
		for _, g := range all {
			v.OpenGrants++
			if g.Overdue(now) {
				v.LateGrants++
			}
		}
	}
	all, err := p.Catalogue.Register.Tickets(r.Context(), register.TicketQuery{Region: c.Region, State: register.Filed, Limit: shownOpen})
	if err != nil {
		p.Log.Error("tickets_not_read", "error", err)
	}
	for _, t := range all {
		v.OpenTickets++
		if t.Overdue(now) {
			v.LateTickets++
		}
	}
	return v
}

func (p *pages) showDesk(w http.ResponseWriter, r *http.Request, page string, code int, title, tab string, body any) {
	p.publish(w, r, page, code, view{Title: title, Page: p.deskOf(r, tab, body)})
}

// registerView is the list of datasets.
type registerView struct {
	Rows   []registerRow
	States []choice
	Q      string
	State  string
	Total  int
}

type registerRow struct {
	*register.Record
	Name     catalog.Text
	Grade    string
	Open     string
	Broken   []Comparison // findings
	Waiting  int          // applications and objections that wait
	Due      time.Time    // the first deadline
	Late     bool
	Shown    catalog.State // what asks for somebody: that of a change, else its own
	Problems int           // that a draft has before it can be submitted
}

// draftOf is the edition that people work on.
func draftOf(r *register.Record) *register.Edition {
	if r.Change != nil {
		return r.Change
	}
	return &r.Edition
}

// problemsOf are what keeps an edition from being submitted.
func problemsOf(e *register.Edition) []catalog.Problem {
	d, faults := e.Document.Dataset()
	return append(faults, d.Check(true)[len(d.Check(false)):]...)
}

func (p *pages) showRegister(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	q := r.URL.Query()
	v := registerView{Q: strings.TrimSpace(q.Get("q")), State: q.Get("state")}
	due := p.deadlines(r.Context(), caller)
	t := p.language(w, r).table()
	counts := map[catalog.State]int{}
	for _, rec := range p.Catalogue.Register.List() {
		if !strings.HasPrefix(rec.Region(), caller.Region) {
			continue
		}
		shown := draftOf(rec).State
		counts[shown]++
		v.Total++
		d := &rec.Document
		if v.State != "" && string(shown) != v.State || v.Q != "" && !strings.Contains(strings.ToLower(d.ID+"\n"+rec.Code+"\n"+d.Title.ZH+"\n"+d.Title.EN), strings.ToLower(v.Q)) {
			continue
		}
		v.Rows = append(v.Rows, p.registerRow(r.Context(), rec, due[rec.ID]))
	}
	slices.SortStableFunc(v.Rows, func(a, b registerRow) int { return cmp.Or(rank(b)-rank(a), b.Modified.Compare(a.Modified)) })
	for _, s := range []catalog.State{catalog.Draft, catalog.Submitted, catalog.Published, catalog.Suspended, catalog.Withdrawn} {
		to := url.Values{"state": {string(s)}}
		if v.Q != "" {
			to.Set("q", v.Q)
		}
		if string(s) == v.State {
			to.Del("state")
		}
		v.States = append(v.States, choice{Value: string(s), Href: address("/steward", to), Number: counts[s], On: string(s) == v.State})
	}
	p.showDesk(w, r, "steward", http.StatusOK, t["steward"], "datasets", v)
}

// rank is how much a dataset asks for somebody.
func rank(r registerRow) int {
	n := map[catalog.State]int{catalog.Submitted: 40, catalog.Suspended: 30, catalog.Draft: 20, catalog.Published: 10}[r.Shown]
	if r.Late {
		n += 200
	}
	if len(r.Broken) > 0 {
		n += 100
	}
	return n
}

type deadline struct {
	waiting int
	first   time.Time
}

// deadlines are those of open applications and objections, by dataset.
func (p *pages) deadlines(ctx context.Context, c access.Caller) map[string]deadline {
	all := map[string]deadline{}
	add := func(dataset string, due time.Time) {
		d := all[dataset]
		if d.waiting++; d.first.IsZero() || due.Before(d.first) {
			d.first = due
		}
		all[dataset] = d
	}
	for _, s := range []register.GrantState{register.Applied, register.Reviewing} {
		grants, err := p.Catalogue.Register.Grants(ctx, register.GrantQuery{Region: c.Region, State: s, Limit: shownOpen})
		if err != nil {
			p.Log.Error("applications_not_read", "error", err)
		}
		for _, g := range grants {
			add(g.Dataset, g.Due)
		}
	}
	tickets, err := p.Catalogue.Register.Tickets(ctx, register.TicketQuery{Region: c.Region, State: register.Filed, Limit: shownOpen})
	if err != nil {
		p.Log.Error("tickets_not_read", "error", err)
	}
	for _, t := range tickets {
		add(t.Dataset, t.Due)
	}
	return all
}

func (p *pages) registerRow(ctx context.Context, rec *register.Record, due deadline) registerRow {
	d := rec.Dataset()
	row := registerRow{Record: rec, Name: ownTitle(rec.ID, d.Title), Grade: d.Grade.String(), Open: string(d.Open.Class), Waiting: due.waiting, Due: due.first, Late: !due.first.IsZero() && due.first.Before(p.Now()), Shown: draftOf(rec).State}
	if row.Shown == catalog.Draft {
		row.Problems = len(problemsOf(draftOf(rec)))
	}
	if rec.State == catalog.Published && p.Catalogue.Quality != nil {
		q, err := p.Catalogue.Quality(ctx, rec.ID)
		if err != nil {
			p.Log.Warn("quality_not_read", "dataset", rec.ID, "error", err)
		} else if q != nil {
			for _, c := range q.Compared {
				if !c.Holds {
					row.Broken = append(row.Broken, c)
				}
			}
		}
	}
	return row
}

// newView asks what a dataset is to be made of.
type newView struct{ Form *form }

func (p *pages) askSelector(w http.ResponseWriter, r *http.Request, _ access.Caller) {
	p.showDesk(w, r, "steward_new", http.StatusOK, p.language(w, r).table()["new_dataset"], "new", newView{&form{Values: url.Values{"selector": {r.URL.Query().Get("selector")}}}})
}

// draftDataset writes a draft of what is measured, for a person to complete. It is
// kept when it is saved.
func (p *pages) draftDataset(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	f := readForm(w, r)
	var d *register.Document
	var err error
	if f.Get("do") == "empty" {
		d = &register.Document{ID: f.trimmed("id"), Region: caller.Region, Source: register.Source{Kind: string(catalog.SourceSeries)}}
	} else if d, err = p.Catalogue.Register.Draft(r.Context(), f.trimmed("id"), f.trimmed("selector")); err != nil {
		code := p.failed(r, f, err)
		p.showDesk(w, r, "steward_new", code, p.language(w, r).table()["new_dataset"], "new", newView{f})
		return
	}
	p.datasetForm(w, r, http.StatusOK, nil, documentForm(d, 0), "")
}

// formView is the page of a dataset for stewards.
type formView struct {
	Record   *register.Record // nil: it is not kept yet
	Name     catalog.Text
	Edition  *register.Edition
	Form     *form
	Lines    []int
	Missing  []catalog.Problem // that keep it from being submitted
	Others   []catalog.Problem // of no field of the form
	Done     string            // what was done before
	History  []register.Version
	May      map[string]bool // acts
	Grades   []string
	Saved    bool
	Editable bool
	Laws     []int
	Harms    []int
}

func span(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

func (p *pages) datasetForm(w http.ResponseWriter, r *http.Request, code int, rec *register.Record, f *form, done string) {
	v := formView{Record: rec, Form: f, Lines: span(f.itemLines()), Done: done, May: map[string]bool{}, Editable: rec == nil || rec.State != catalog.Withdrawn, Laws: span(maxLaws), Harms: span(maxHarm), Name: catalog.Text{ZH: f.Get("id")}}
	l := p.language(w, r)
	title := l.table()["new_dataset"]
	if rec != nil {
		v.Edition, v.Name = draftOf(rec), ownTitle(rec.ID, catalog.Text(draftOf(rec).Document.Title))
		title = cmp.Or(plain(l.tag(), v.Name), rec.ID)
		s, c := rec.State, v.Edition.State
		v.May = map[string]bool{
			"submit": c == catalog.Draft, "return": c == catalog.Submitted, "publish": c == catalog.Submitted || rec.Change == nil && s == catalog.Suspended,
			"suspend": s == catalog.Published, "withdraw": s != catalog.Withdrawn, "sign": s != catalog.Withdrawn,
		}
		if c == catalog.Draft || c == catalog.Submitted {
			v.Missing = problemsOf(v.Edition)
		}
		var err error
		if v.History, err = p.Catalogue.Register.History(r.Context(), rec.ID, 0, 20); err != nil {
			p.Log.Error("history_not_read", "dataset", rec.ID, "error", err)
		}
	}
	v.Others = f.orphans(documentFields)
	p.showDesk(w, r, "steward_dataset", code, title, "datasets", v)
}

// record is a dataset that the caller may change; nil: the answer was sent.
func (p *pages) record(w http.ResponseWriter, r *http.Request, caller access.Caller) *register.Record {
	rec, err := p.Catalogue.Register.Get(r.PathValue("id"))
	if err != nil || !mayStewards(caller, rec.Dataset()) {
		p.noSuch(w, r)
		return nil
	}
	return rec
}

func (p *pages) editDataset(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	if rec := p.record(w, r, caller); rec != nil {
		p.datasetForm(w, r, http.StatusOK, rec, documentForm(&draftOf(rec).Document, rec.Version), r.URL.Query().Get("done"))
	}
}

// saveDataset keeps a document, or gives the form another line.
func (p *pages) saveDataset(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	f, id := readForm(w, r), r.PathValue("id")
	rec, err := p.Catalogue.Register.Get(id)
	if err == nil && !mayStewards(caller, rec.Dataset()) {
		p.noSuch(w, r)
		return
	}
	if err != nil {
		rec = nil
	} else {
		f.Set("id", id)
	}
	if f.Get("do") == "line" {
		f.Set("items", itoa(f.itemLines()+1))
		p.datasetForm(w, r, http.StatusOK, rec, f, "")
		return
	}
	d := f.document()
	kept, err := p.put(r.Context(), caller, f, d, rec)
	if err != nil {
		p.datasetForm(w, r, p.failed(r, f, err), rec, f, "")
		return
	}
	if kept == nil {
		p.datasetForm(w, r, http.StatusUnprocessableEntity, rec, f, "")
		return
	}
	if f.Get("do") == "submit" {
		if kept, err = p.Catalogue.Register.Submit(r.Context(), kept.ID, kept.Version); err != nil {
			rec, lookup := p.Catalogue.Register.Get(d.ID)
			if lookup != nil {
				rec = nil
			} else {
				f.Set("version", itoa(int(rec.Version)))
			}
			p.datasetForm(w, r, p.failed(r, f, err), rec, f, "")
			return
		}
	}
	http.Redirect(w, r, "/steward/datasets/"+kept.ID+"?done="+cmp.Or(f.Get("do"), "save"), http.StatusSeeOther)
}

// put keeps a document that the caller may write; nil with problems in the form.
func (p *pages) put(ctx context.Context, caller access.Caller, f *form, d *register.Document, rec *register.Record) (*register.Record, error) {
	made, _ := d.Dataset()
	if a := access.Allow(caller, access.WriteDatasets, d.Region); !a.Allowed {
		f.put(catalog.Problem{Path: "region", ZH: a.ZH, EN: a.EN})
	}
	if a := access.AllowGrade(caller, made.Grade); !a.Allowed {
		f.put(catalog.Problem{Path: "grade", ZH: a.ZH, EN: a.EN})
	}
	version := int64(0)
	if rec != nil {
		version = f.version()
	} else if _, err := p.Catalogue.Register.Get(d.ID); err == nil {
		f.wrong("id", "标识 %s 已被使用；换一个", "the id %s is taken; choose another one", d.ID)
	}
	if len(f.Problems) > 0 {
		return nil, nil
	}
	return p.Catalogue.Register.Put(ctx, *d, version)
}

// moveDataset takes a step of a dataset.
func (p *pages) moveDataset(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	rec := p.record(w, r, caller)
	if rec == nil {
		return
	}
	f, reg := readForm(w, r), p.Catalogue.Register
	ctx, id, version, reason, do := r.Context(), rec.ID, f.version(), f.trimmed("reason"), f.Get("do")
	var err error
	switch do {
	case "submit":
		_, err = reg.Submit(ctx, id, version)
	case "return":
		_, err = reg.GiveBack(ctx, id, version, reason)
	case "publish":
		_, err = reg.Publish(ctx, id, version)
	case "suspend":
		_, err = reg.Suspend(ctx, id, version, reason)
	case "withdraw":
		_, err = reg.Withdraw(ctx, id, version, reason)
	case "sign":
		_, err = reg.Sign(ctx, id, version, register.Signing{By: f.trimmed("by"), Grade: f.Get("to_grade")})
	default:
		err = &register.Invalid{Of: "the act", Problems: []catalog.Problem{{Path: "do", ZH: "没有这个操作", EN: "is no act"}}}
	}
	if err != nil {
		now, lookup := reg.Get(id)
		if lookup != nil {
			now = rec
		}
		shown := documentForm(&draftOf(now).Document, now.Version)
		code := p.failed(r, shown, err)
		for _, name := range []string{"reason", "by", "to_grade", "do"} {
			shown.Set(name, f.Get(name))
		}
		p.datasetForm(w, r, code, now, shown, "")
		return
	}
	http.Redirect(w, r, "/steward/datasets/"+id+"?done="+do, http.StatusSeeOther)
}
