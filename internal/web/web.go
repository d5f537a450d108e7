// Package web shows people what the API knows: pages rendered on the server,
// with everything they need embedded and nothing fetched from elsewhere.
package web

import (
	"context"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/login"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/traffic"
)

//go:embed static pages
var files embed.FS

// Deps are what the pages need. All fields must be set.
type Deps struct {
	// Changes returns entries of the record of changes.
	Changes func(context.Context, ChangeQuery) (Changes, error)
	// Compute returns what somebody who is narrowed to a region may see of
	// compute, and Workload one workload: ErrNoWorkload when there is none.
	Compute  func(ctx context.Context, region string) (Compute, error)
	Workload func(ctx context.Context, region, id string) (Workload, error)
	// Roads returns what a caller may see of roads, and UnitPlace what is registered of
	// a roadside unit.
	Roads     func(access.Caller) traffic.Views
	UnitPlace func(unit string) UnitPlace
	Catalogue Catalogue
	// Runbooks are what to do about alerts: zh/ALERT.md and en/ALERT.md.
	Runbooks  fs.FS
	AlertBook AlertBook
	// Corrections are what was found wrong in stored samples.
	Corrections Corrections
	// Now is the time; that of roads is told with it.
	Now func() time.Time
	// Desk lets people in and out.
	Desk     *login.Desk
	Sessions *access.Sessions
	// Version is shown at the foot of the pages.
	Version string
	Log     *slog.Logger
}

type pages struct {
	Deps
	console, signin, changes, compute, workload, alerts *template.Template
	roads, unit, intersection, runbook                  *template.Template
	corrections, correction                             *template.Template

	// catalog are the pages of the catalogue, by name.
	catalog map[string]*template.Template
	shelf   shelf

	assets *assets
}

// New returns the handler of the pages: /, all of /alerts, /audit, all of /corrections, /runbooks, all of /compute, of /roads, of /catalog, of /steward,
// of /signin, /signout and /static/. It expects the caller of a request in its context
// (Sessions.Identify); the data
// come from the API, which the browser asks with the same cookie.
func New(d Deps) (http.Handler, error) {
	p := &pages{Deps: d}
	var err error
	if p.assets, err = newAssets(files); err != nil {
		return nil, err
	}
	for name, t := range map[string]**template.Template{
		"console": &p.console, "signin": &p.signin, "changes": &p.changes, "compute": &p.compute, "workload": &p.workload,
		"alerts": &p.alerts, "roads": &p.roads, "unit": &p.unit, "intersection": &p.intersection, "runbook": &p.runbook,
	} {
		if *t, err = p.page(name + ".html"); err != nil {
			return nil, err
		}
	}
	for name, t := range map[string]**template.Template{"corrections": &p.corrections, "correction": &p.correction} {
		if *t, err = p.page("correction_parts.html", name+".html"); err != nil {
			return nil, err
		}
	}
	p.catalog = map[string]*template.Template{}
	for _, name := range []string{"search", "dataset", "release", "gone", "list", "law", "about", "apply", "applications", "application", "object", "ticket",
		"steward", "steward_new", "steward_dataset", "steward_applications", "steward_application", "steward_objections", "steward_objection", "denied"} {
		if p.catalog[name], err = p.page("catalog_parts.html", "catalog_"+name+".html"); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	p.catalogPages(mux)
	mux.HandleFunc("GET /{$}", p.showConsole)
	mux.HandleFunc("GET /audit", p.showChanges)
	mux.HandleFunc("GET /alerts", p.showAlerts)
	mux.HandleFunc("POST /alerts/silences", p.silence)
	mux.HandleFunc("POST /alerts/silences/{id}/end", p.endSilence)
	mux.HandleFunc("GET /corrections", p.showCorrections)
	mux.HandleFunc("GET /corrections/{id}", p.showCorrection)
	mux.HandleFunc("GET /compute", p.showCompute)
	mux.HandleFunc("GET /compute/workloads/{id}", p.showWorkload)
	mux.HandleFunc("GET /roads", p.showRoads)
	mux.HandleFunc("GET /roads/units/{id}", p.showUnit)
	mux.HandleFunc("GET /roads/intersections/{node}", p.showIntersection)
	mux.HandleFunc("GET /runbooks", p.showRunbooks)
	mux.HandleFunc("GET /runbooks/{alert}", p.showRunbook)
	mux.HandleFunc("GET /signin", p.showSignin)
	mux.HandleFunc("POST /signin", p.takeToken)
	mux.HandleFunc("GET /signin/oidc", p.beginAtIssuer)
	mux.HandleFunc("GET "+login.CallbackPath, p.comeBack)
	mux.HandleFunc("POST /signout", p.signOut)
	mux.Handle("GET /static/", p.assets)
	return harden(http.NewCrossOriginProtection().Handler(mux)), nil
}

func (p *pages) page(parts ...string) (*template.Template, error) {
	all := []string{"pages/layout.html"}
	for _, name := range parts {
		all = append(all, "pages/"+name)
	}
	t, err := template.New("").Funcs(p.functions()).ParseFS(files, all...)
	if err != nil {
		return nil, fmt.Errorf("read page %s: %w", parts[len(parts)-1], err)
	}
	return t, nil
}

func (p *pages) functions() template.FuncMap {
	all := p.consoleFunctions()
	maps.Copy(all, catalogFunctions())
	return all
}

func (p *pages) consoleFunctions() template.FuncMap {
	return template.FuncMap{
		"asset":  p.assets.url,
		"iso":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"shown":  shown,
		"clock":  func(t time.Time) string { return t.Local().Format(time.TimeOnly) },
		"minute": func(t time.Time) string { return t.Local().Format("01-02 15:04") },
		"say":    say, "figure": figure, "amount": showAmount,
		"passed":  func(from, to time.Time) string { return length(to.Sub(from).Round(time.Second)) },
		"because": because, "length": length, "unit": unitName,
		"bilingual": func(tag, zh, en string) string { return say(tag, schedule.Text{ZH: zh, EN: en}) },
		"light":     func(tag string, l road.Light) string { t := traffic.LightText(l); return say(tag, schedule.Text(t)) },
		"kmh":       kmh, "maybe": maybe, "share": share, "node": traffic.NodeName,
		"seconds": func(d time.Duration) string { return figure(d.Seconds()) + " s" },
		"add":     func(a, b int) int { return a + b },
		"exact":   exact,
		"minus":   func(v float64) float64 { return -v },
		"ofCorrection": func(t map[string]string, c Correction) any {
			return struct {
				T          map[string]string
				Correction Correction
			}{t, c}
		},
		"ofValue": func(t map[string]string, v *float64) any {
			return struct {
				T     map[string]string
				Value *float64
			}{t, v}
		},
		"coded":   func(text string) template.HTML { return template.HTML(inline(text)) }, // #nosec G203 -- it escapes the text
		"taken":   taken,
		"percent": func(share float64) string { return figure(math.Round(100*share)) + "%" },
		"changes": func(t map[string]string, r schedule.Refusal) any {
			return struct {
				T       map[string]string
				Refusal schedule.Refusal
			}{t, r}
		},
		"rows": func(t map[string]string, rows []alertRow, at time.Time, may bool, lengths []string) any {
			return struct {
				T       map[string]string
				Rows    []alertRow
				At      time.Time
				May     bool
				Lengths []string
			}{t, rows, at, may, lengths}
		},
		"pair": func(t map[string]string, d delta) any {
			return struct {
				T     map[string]string
				Delta delta
			}{t, d}
		},
	}
}

// harden sets what every answer carries: no script, style or connection but
// from here, and no page of others around ours.
func harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// view is what a page is rendered from.
type view struct {
	Lang    string // zh-CN or en
	T       map[string]string
	Data    any // for the script, as JSON
	Version string
	Page    any // what a page shows besides; nil on those of the script
	Path    string
	// Title is what the page is about; empty for the hub as a whole.
	Title string
	// MayAudit says that the caller may read the record of changes, MayCompute
	// what there is of compute, MayRoads of roads; MaySteward keeps the catalogue.
	MayAudit, MayCompute, MayRoads, MaySteward, MayAlerts, MayCorrections bool
	// Here is the address of this page.
	Here string

	OtherLang string // address of this page in the other language
	Who       who
	Place     string // what people call the region of who is signed in
	SignIn    invitation

	fault   string         // key of a text
	refusal *login.Refusal // nil for none
}

// who is signed in; nobody when the name is empty.
type who struct{ Name, Role, Region string }

// fill adds what all pages show.
func (p *pages) fill(w http.ResponseWriter, r *http.Request, v *view) {
	l := p.language(w, r)
	v.Lang, v.T, v.Version = l.tag(), l.table(), p.Version
	role := access.CallerOf(r.Context()).Role
	v.Path, v.MayAudit, v.MayCompute = r.URL.Path, access.May(role, access.ReadAudit), access.May(role, access.ReadCompute)
	v.MayAlerts, v.MayCorrections = access.May(role, access.ReadAlerts), access.May(role, access.ReadCorrections)
	v.MayRoads, v.MaySteward = access.May(role, access.ReadRoads), access.May(role, access.WriteDatasets)
	v.OtherLang, v.Here = otherLanguage(r, l), r.URL.RequestURI()
	v.Place = l.place(v.Who.Region)
}

func (p *pages) render(w http.ResponseWriter, r *http.Request, t *template.Template, code int, v view) {
	p.fill(w, r, &v)
	l := p.language(w, r)
	if t == p.console {
		v.Data = scriptData(l)
	}
	v.SignIn.name(v.T)
	switch {
	case v.refusal != nil:
		v.SignIn.Fault = [...]string{v.refusal.EN, v.refusal.ZH}[l]
	case v.fault != "":
		v.SignIn.Fault = v.T[v.fault]
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	if err := t.ExecuteTemplate(w, "layout.html", v); err != nil {
		p.Log.Debug("page_not_sent", "path", r.URL.Path, "error", err)
	}
}

// showConsole shows the first page. A token in the address becomes a session at
// once, so that it stays in no history and no log of a proxy.
func (p *pages) showConsole(w http.ResponseWriter, r *http.Request) {
	caller := access.CallerOf(r.Context())
	if token := r.URL.Query().Get("token"); token != "" {
		switch {
		case !opensPage(r):
			http.Error(w, "open this address as a page", http.StatusForbidden)
		case fromElsewhere(r):
			p.turnAway(w, r, p.Desk.FromElsewhere(r.Context(), caller))
		default:
			p.signIn(w, r, token)
		}
		return
	}
	if _, may := p.admit(w, r, access.ReadHub); !may {
		return
	}
	p.render(w, r, p.console, http.StatusOK, view{Who: p.greet(caller)})
}

// greet says who is signed in as the person would.
func (p *pages) greet(c access.Caller) who {
	w := who{Name: c.Name, Role: string(c.Role), Region: c.Region}
	if s, err := p.Sessions.Get(c.Session); err == nil {
		w.Name = s.Shown
	}
	return w
}

// admit reports whether the caller may open a page. Who may not is answered:
// whom the hub does not know is asked to sign in, and who has signed in learns
// which role it takes.
func (p *pages) admit(w http.ResponseWriter, r *http.Request, action access.Action) (access.Caller, bool) {
	caller := access.CallerOf(r.Context())
	if !caller.Known() {
		p.askToSignIn(w, r, caller)
		return caller, false
	}
	if d := access.Allow(caller, action, access.Anywhere); !d.Allowed {
		p.publish(w, r, "denied", http.StatusForbidden, view{Title: "403", Page: catalog.Text{ZH: d.ZH, EN: d.EN}})
		return caller, false
	}
	return caller, true
}

// askToSignIn is the answer to a page for those the hub knows.
func (p *pages) askToSignIn(w http.ResponseWriter, r *http.Request, c access.Caller) {
	v := view{}
	if c.Refused != "" {
		v.fault = "signin_expired"
	}
	p.invite(w, r, http.StatusUnauthorized, v)
}

func (p *pages) showSignin(w http.ResponseWriter, r *http.Request) {
	p.invite(w, r, http.StatusOK, view{})
}
