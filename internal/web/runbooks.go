package web

import (
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/access"
)

// runbooksView is the list of runbooks, or one of them.
type runbooksView struct {
	Subjects []runbookSubject
	Text     template.HTML // of one page
	Missing  string        // an alert that has none
}

// runbookSubject are the runbooks about one thing.
type runbookSubject struct {
	Name   string
	Alerts []runbookHead
}

// runbookHead is an alert as its page begins: severity, with what that asks for.
type runbookHead struct{ Name, Severity, Urgency string }

// alertName is what alerts are called, and so no path leads elsewhere.
var alertName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,100}$`)

// folder is where the runbooks of a language lie.
func (l lang) folder() string { return [...]string{"en", "zh"}[l] }

// showRunbooks lists what there is to do about every alert. It is open to all: who
// is woken by a message has no session.
func (p *pages) showRunbooks(w http.ResponseWriter, r *http.Request) {
	p.listRunbooks(w, r, http.StatusOK, "")
}

func (p *pages) listRunbooks(w http.ResponseWriter, r *http.Request, code int, missing string) {
	subjects, err := p.runbooks(p.language(w, r))
	if err != nil {
		p.Log.Error("runbooks_not_read", "error", err)
		http.Error(w, "the runbooks cannot be read", http.StatusInternalServerError)
		return
	}
	p.runbookPage(w, r, code, view{Title: p.language(w, r).table()["runbooks"], Page: runbooksView{Subjects: subjects, Missing: missing}})
}

// showRunbook shows what to do about one alert.
func (p *pages) showRunbook(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("alert")
	text, err := []byte(nil), fs.ErrNotExist
	if alertName.MatchString(name) {
		text, err = fs.ReadFile(p.Runbooks, p.language(w, r).folder()+"/"+name+".md")
	}
	if errors.Is(err, fs.ErrNotExist) {
		p.listRunbooks(w, r, http.StatusNotFound, name)
		return
	}
	if err != nil {
		p.Log.Error("runbooks_not_read", "error", err)
		http.Error(w, "the runbook cannot be read", http.StatusInternalServerError)
		return
	}
	p.runbookPage(w, r, http.StatusOK, view{Title: name, Page: runbooksView{Text: markdown(string(text))}})
}

func (p *pages) runbookPage(w http.ResponseWriter, r *http.Request, code int, v view) {
	v.Who = p.greet(access.CallerOf(r.Context()))
	p.render(w, r, p.runbook, code, v)
}

// runbooks are the pages of a language by subject, as their second lines have it:
// "severity: urgency · subject".
func (p *pages) runbooks(l lang) (all []runbookSubject, err error) {
	entries, err := fs.ReadDir(p.Runbooks, l.folder())
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		text, err := fs.ReadFile(p.Runbooks, l.folder()+"/"+e.Name())
		if err != nil {
			return nil, err
		}
		head := strings.SplitN(string(text), "\n", 4)
		if len(head) < 3 {
			continue
		}
		urgency, subject, _ := strings.Cut(head[2], " · ")
		severity := strings.TrimSpace(strings.FieldsFunc(urgency+" ", func(r rune) bool { return r == ':' || r == '：' })[0])
		i := slices.IndexFunc(all, func(s runbookSubject) bool { return s.Name == subject })
		if i < 0 {
			i = len(all)
			all = append(all, runbookSubject{Name: subject})
		}
		all[i].Alerts = append(all[i].Alerts, runbookHead{strings.TrimSuffix(e.Name(), ".md"), severity, urgency})
	}
	slices.SortFunc(all, func(a, b runbookSubject) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}
