package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
)

// form is what was sent by one, with what is wrong beside the fields.
type form struct {
	url.Values
	Problems map[string][]catalog.Problem // by field
	// Fault is why it was not taken as a whole.
	Fault catalog.Text
	// Other is the dataset that another one would collect again.
	Other *register.Record
}

// readForm reads what was posted; what is too long is a problem.
func readForm(w http.ResponseWriter, r *http.Request) *form {
	f := &form{Values: url.Values{}}
	r.Body = http.MaxBytesReader(w, r.Body, register.MaxDocument)
	if err := r.ParseForm(); err != nil {
		f.Fault = catalog.Text{ZH: "表单无法读取：" + err.Error(), EN: "the form cannot be read: " + err.Error()}
		return f
	}
	f.Values = r.PostForm
	return f
}

func (f *form) trimmed(name string) string { return strings.TrimSpace(f.Get(name)) }

func (f *form) text(name string) register.Text {
	return register.Text{ZH: f.trimmed(name + ".zh"), EN: f.trimmed(name + ".en")}
}

// laws are those of a field, as far as something is written.
func (f *form) laws(name string) (all []register.Law) {
	for i := range maxLaws {
		at := fmt.Sprintf("%s[%d]", name, i)
		l := register.Law{Title: f.text(at + ".title"), Article: f.trimmed(at + ".article"), URL: f.trimmed(at + ".url")}
		if l != (register.Law{}) {
			all = append(all, l)
		}
	}
	return all
}

// maxLaws is how many legal bases a form has room for.
const maxLaws = 3

// day reads a date; the zero time where there is none.
func (f *form) day(name string) (t time.Time) {
	s := f.trimmed(name)
	if s == "" {
		return t
	}
	t, err := time.ParseInLocation(time.DateOnly, s, chinaTime)
	if err != nil {
		f.wrong(name, "%.30q 不是日期，写作 2027-06-30", "%.30q is no date; write it like 2027-06-30", s)
	}
	return t
}

func (f *form) number(name string) int {
	s := f.trimmed(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		f.wrong(name, "%.30q 不是整数", "%.30q is no whole number", s)
	}
	return n
}

func (f *form) wrong(name, zh, en string, args ...any) {
	f.put(catalog.Problem{Path: name, ZH: fmt.Sprintf(zh, args...), EN: fmt.Sprintf(en, args...)})
}

func (f *form) put(p catalog.Problem) {
	if f.Problems == nil {
		f.Problems = map[string][]catalog.Problem{}
	}
	f.Problems[p.Path] = append(f.Problems[p.Path], p)
}

// version is what the form was made of.
func (f *form) version() int64 {
	n, err := strconv.ParseInt(f.Get("version"), 10, 64)
	if err != nil || n < 0 {
		return -1 // that of nothing
	}
	return n
}

// refused puts an error beside the fields that it is about, and returns the code
// of the answer; 0 for one that is the hub's own.
func (f *form) refused(err error) int {
	var invalid *register.Invalid
	var shared *register.Shared
	same := func() catalog.Text { return catalog.Text{ZH: err.Error(), EN: err.Error()} }
	switch {
	case errors.As(err, &invalid):
		for _, p := range invalid.Problems {
			f.put(p)
		}
		return http.StatusUnprocessableEntity
	case errors.As(err, &shared):
		f.Fault, f.Other = catalog.Text{ZH: shared.ZH(), EN: shared.Error()}, shared.By
		return http.StatusConflict
	case errors.Is(err, register.ErrReason):
		f.Fault = same()
		return http.StatusUnprocessableEntity
	case errors.Is(err, register.ErrStale):
		f.Fault = catalog.Text{ZH: "内容已被他人修改，请重新打开本页再试。", EN: "Somebody else changed it meanwhile. Open the page again, and repeat what you did."}
		return http.StatusConflict
	case errors.Is(err, register.ErrState), errors.Is(err, register.ErrShut), errors.Is(err, register.ErrFull):
		f.Fault = same()
		return http.StatusConflict
	case errors.Is(err, register.ErrUnknown):
		f.Fault = same()
		return http.StatusNotFound
	}
	return 0
}

// failed is refused, with the hub's own failures told as such.
func (p *pages) failed(r *http.Request, f *form, err error) int {
	code := f.refused(err)
	if code == 0 {
		p.Log.Error("page_failed", "path", r.URL.Path, "error", err)
		f.Fault = catalog.Text{ZH: "枢纽内部出错，原因见其日志。", EN: "The hub failed at it; its log says why."}
		return http.StatusInternalServerError
	}
	return code
}

// orphans are problems of fields that a form does not have.
func (f *form) orphans(known func(string) bool) (all []catalog.Problem) {
	for path, ps := range f.Problems {
		if !known(path) {
			all = append(all, ps...)
		}
	}
	slices.SortFunc(all, func(a, b catalog.Problem) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// applyView is the page on which somebody applies for a dataset.
type applyView struct {
	*catalog.Dataset
	Name  catalog.Text
	Form  *form
	May   bool
	Terms termsView
	Base  string
	Items []choice
}

func (p *pages) applyView(e *catalog.Entry, caller access.Caller, f *form) applyView {
	d := e.Dataset
	v := applyView{Dataset: d, Name: ownTitle(d.ID, d.Title), Form: f, May: access.Allow(caller, access.ApplyGrants, d.Region).Allowed, Terms: termsOf("open", d.Open, "第三十三条"), Base: string(p.Catalogue.Base)}
	if f.Get("way") == string(register.Sharing) {
		v.Terms = termsOf("share", d.Share, "第二十九条")
	}
	for _, it := range d.Items {
		v.Items = append(v.Items, choice{Value: it.Name, On: slices.Contains(f.Values["items"], it.Name)})
	}
	return v
}

func (p *pages) showApply(w http.ResponseWriter, r *http.Request) {
	if e := p.entry(w, r); e != nil {
		f := &form{Values: url.Values{"way": {string(register.Opening)}, "area": {""}}}
		p.applyPage(w, r, http.StatusOK, e, f)
	}
}

func (p *pages) applyPage(w http.ResponseWriter, r *http.Request, code int, e *catalog.Entry, f *form) {
	v := p.applyView(e, access.CallerOf(r.Context()), f)
	l := p.language(w, r)
	p.publish(w, r, "apply", code, view{Title: l.table()["apply"] + " · " + plain(l.tag(), v.Name), Page: v})
}

// apply files an application. Art. 29(3), Art. 33(3)
func (p *pages) apply(w http.ResponseWriter, r *http.Request) {
	e := p.entry(w, r)
	if e == nil {
		return
	}
	caller, f := access.CallerOf(r.Context()), readForm(w, r)
	if d := access.Allow(caller, access.ApplyGrants, e.Dataset.Region); !d.Allowed {
		f.Fault = catalog.Text{ZH: d.ZH, EN: d.EN}
		p.applyPage(w, r, http.StatusForbidden, e, f)
		return
	}
	a := register.Application{
		Dataset: e.Dataset.ID, Way: register.Way(f.Get("way")), Body: register.Provider{Name: f.text("body.name"), Code: f.trimmed("body.code")}, Purpose: f.trimmed("purpose"), Ground: f.trimmed("ground"),
		Scope: register.Scope{Items: f.Values["items"], Area: f.trimmed("scope.area"), From: f.day("scope.from"), To: f.day("scope.to"), Rate: f.number("scope.rate")}, Until: f.day("until"),
	}
	code := http.StatusUnprocessableEntity
	if len(f.Problems) == 0 {
		g, err := p.Catalogue.Register.Apply(r.Context(), a)
		if err == nil {
			http.Redirect(w, r, "/catalog/applications/"+g.ID(), http.StatusSeeOther)
			return
		}
		code = p.failed(r, f, err)
	}
	p.applyPage(w, r, code, e, f)
}

// grantView is an application as it is shown.
type grantView struct {
	*register.Grant
	Name    catalog.Text // of the dataset
	Late    bool
	Steps   []stepView
	Form    *form
	Decides bool
	Items   []catalog.Item // of the dataset
	Gives   []givenView    // of its releases, where the page shows them
	Compare *compareView   // of what it gives; nil: nothing
}

// givenView is what a grant gives of a release.
type givenView struct {
	GrantedRelease
	Period catalog.Period
	Files  []fileView
}

// givenBy is what a grant in force gives, and what one would that is decided about.
func (p *pages) givenBy(g *register.Grant) (all []givenView) {
	if p.Catalogue.Granted == nil || g.State != register.Granted && g.State != register.Reviewing {
		return nil
	}
	for _, r := range p.Catalogue.Granted(g) {
		v := givenView{GrantedRelease: r, Period: catalog.Period(r.Manifest.Period)}
		for _, f := range r.Manifest.Files {
			href := fmt.Sprintf("/catalog/dataset/%s/release/%d/%s?grant=%s", r.Dataset, r.Version, url.PathEscape(f.Name), g.ID())
			v.Files = append(v.Files, fileView{catalog.Distribution{Name: f.Name, MediaType: f.MediaType, Size: f.Size, Rows: f.Rows}, href, formatName(f.MediaType), f.SHA256})
		}
		all = append(all, v)
	}
	return all
}

// stepView is one of the way of an application.
type stepView struct {
	Key   string
	At    time.Time
	State string // done, now or ahead
}

func (p *pages) grantOf(g *register.Grant, f *form) grantView {
	v := grantView{Grant: g, Late: g.Overdue(p.Now()), Form: f, Name: catalog.Text{ZH: g.Dataset}}
	if rec, err := p.Catalogue.Register.Get(g.Dataset); err == nil {
		v.Name, v.Items = ownTitle(g.Dataset, rec.Dataset().Title), rec.Dataset().Items
	}
	at := map[register.GrantState]int{register.Applied: 1, register.Reviewing: 2}
	now, open := at[g.State]
	for i, key := range []string{"step_applied", "step_checked", "step_decided"} {
		s := stepView{Key: key, State: "done"}
		switch {
		case i == 0:
			s.At = g.Applied
		case i == 2 && g.Decision != nil:
			s.At = g.Decision.At
		case open && i == now:
			s.State = "now"
		case open && i > now:
			s.State = "ahead"
		}
		if g.State == register.Returned && i == 1 {
			s.At = g.Decision.At
		}
		if g.State == register.Returned && i == 2 {
			continue
		}
		v.Steps = append(v.Steps, s)
	}
	return v
}

func (p *pages) showApplications(w http.ResponseWriter, r *http.Request) {
	caller, may := p.admit(w, r, access.ApplyGrants)
	if !may {
		return
	}
	all, err := p.Catalogue.Register.Grants(r.Context(), register.GrantQuery{Region: caller.Region, Applicant: caller.Name, Limit: 100})
	if err != nil {
		p.Log.Error("applications_not_read", "error", err)
		http.Error(w, "the applications could not be read; the hub's log says why", http.StatusInternalServerError)
		return
	}
	var v []grantView
	for _, g := range all {
		v = append(v, p.grantOf(g, nil))
	}
	p.publish(w, r, "applications", http.StatusOK, view{Title: p.language(w, r).table()["my_applications"], Page: v})
}

func (p *pages) showApplication(w http.ResponseWriter, r *http.Request) {
	caller, may := p.admit(w, r, access.ApplyGrants)
	if !may {
		return
	}
	g, err := p.Catalogue.Register.Grant(r.Context(), r.PathValue("id"))
	decides := err == nil && access.Allow(caller, access.DecideGrants, g.Region).Allowed
	if err != nil || !decides && (g.Applicant != caller.Name || !access.Allow(caller, access.ApplyGrants, g.Region).Allowed) {
		p.noSuch(w, r)
		return
	}
	v := p.grantOf(g, nil)
	v.Decides, v.Gives = decides, p.givenBy(g)
	if g.State == register.Granted {
		var versions []int64
		for _, one := range v.Gives {
			versions = append(versions, one.Version)
		}
		v.Compare = p.compare(r, g.Dataset, versions, 0, g)
	}
	p.publish(w, r, "application", http.StatusOK, view{Title: g.ID(), Page: v})
}

// objectView is the page on which anybody objects, or asks about the own data.
type objectView struct {
	ID      string // of the dataset; empty: none is meant
	Name    catalog.Text
	Subject bool
	Kinds   []register.TicketKind
	Form    *form
	Rule    article
	Rights  article
	// Ticket was filed, and Secret is told once.
	Ticket *register.Ticket
	Secret string
}

func (p *pages) objectView(id string, f *form) objectView {
	v := objectView{ID: id, Form: f, Subject: id == ""}
	v.Rule, _ = articleOf(lawOf("第二十七条"))
	v.Rights, _ = articleOf(lawOf("第三十八条"))
	if rec, err := p.Catalogue.Register.Get(id); err == nil && rec.Public() {
		v.Name = ownTitle(id, rec.Dataset().Title)
	} else if id != "" {
		v.Name = catalog.Text{ZH: id}
	}
	for _, k := range register.TicketKinds() {
		if k.Subject() == v.Subject {
			v.Kinds = append(v.Kinds, k)
		}
	}
	return v
}

func (p *pages) showObject(w http.ResponseWriter, r *http.Request) {
	v := p.objectView(r.URL.Query().Get("dataset"), &form{Values: url.Values{}})
	p.publish(w, r, "object", http.StatusOK, view{Title: p.language(w, r).table()["object"], Page: v})
}

// asAnybody is a context in which nobody is named: who objects may be a person
// who asks about the own data. Art. 39(2)
func asAnybody(ctx context.Context) context.Context {
	return access.WithCaller(ctx, access.Caller{Name: "anybody"})
}

// object files an objection, or the request of a person. Art. 27, Art. 38(2)
func (p *pages) object(w http.ResponseWriter, r *http.Request) {
	f := readForm(w, r)
	v, code := p.objectView(f.trimmed("dataset"), f), http.StatusCreated
	var err error
	v.Ticket, v.Secret, err = p.Catalogue.Register.File(asAnybody(r.Context()), register.Filing{
		Kind: register.TicketKind(f.Get("kind")), Dataset: v.ID, Region: f.trimmed("region"), Contact: f.trimmed("contact"), Text: f.trimmed("text"),
	})
	if err != nil {
		v.Ticket, v.Secret, code = nil, "", p.failed(r, f, err)
	}
	p.publish(w, r, "object", code, view{Title: p.language(w, r).table()["object"], Page: v})
}

// ticketView is the page on which somebody follows a ticket.
type ticketView struct {
	Form   *form
	Ticket *register.Ticket
	Name   catalog.Text
	Late   bool
	Secret string
	Thread []threadEntry
}

func (p *pages) askTicket(w http.ResponseWriter, r *http.Request) {
	p.ticketPage(w, r, http.StatusOK, ticketView{Form: &form{Values: url.Values{"id": {r.URL.Query().Get("id")}}}})
}

func (p *pages) ticketPage(w http.ResponseWriter, r *http.Request, code int, v ticketView) {
	if v.Ticket != nil {
		v.Thread = p.threadOf(r.Context(), v.Ticket, false)
		v.Late, v.Name = v.Ticket.Overdue(p.Now()), catalog.Text{ZH: v.Ticket.Dataset}
		if rec, err := p.Catalogue.Register.Get(v.Ticket.Dataset); err == nil && rec.Public() {
			v.Name = ownTitle(rec.ID, rec.Dataset().Title)
		}
	}
	p.publish(w, r, "ticket", code, view{Title: p.language(w, r).table()["follow"], Page: v})
}

func (p *pages) showTicket(w http.ResponseWriter, r *http.Request) {
	f := readForm(w, r)
	v, code := ticketView{Form: f, Secret: f.trimmed("secret")}, http.StatusOK
	var err error
	if v.Ticket, err = p.Catalogue.Register.TicketOf(asAnybody(r.Context()), f.trimmed("id"), v.Secret); err != nil {
		v.Ticket, code = nil, p.failed(r, f, err)
	}
	p.ticketPage(w, r, code, v)
}

func (p *pages) addToTicket(w http.ResponseWriter, r *http.Request) {
	f := readForm(w, r)
	v, code := ticketView{Form: f, Secret: f.trimmed("secret")}, http.StatusOK
	ctx, id := asAnybody(r.Context()), f.trimmed("id")
	t, err := p.Catalogue.Register.AddTo(ctx, id, v.Secret, f.trimmed("text"))
	if err != nil {
		code = p.failed(r, f, err)
		if t, err = p.Catalogue.Register.TicketOf(ctx, id, v.Secret); err != nil {
			t = nil
		}
	} else {
		f.Set("text", "")
	}
	v.Ticket = t
	p.ticketPage(w, r, code, v)
}
