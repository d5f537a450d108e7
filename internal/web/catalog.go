package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/catalog/search"
)

// Catalogue is what the pages of the public catalogue show. Rows, Privacy,
// Quality, Difference and Granted may be nil where nobody knows of it; each may return nil
// for nothing.
type Catalogue struct {
	Register *register.Register
	// Snapshot returns the public catalogue as it is: the same one until something
	// changed.
	Snapshot func() *catalog.Snapshot
	// Base is where the addresses that people keep begin.
	Base catalog.Base
	// Classes are what places of the classification are called, by their steps joined by
	// hyphens.
	Classes map[string]catalog.Text
	// Rows returns those of a release. They are asked for once, since a release
	// never changes.
	Rows func(ctx context.Context, dataset string, version int64) (*release.Table, error)
	// Privacy returns the report of the privacy gate that lies beside a release.
	Privacy func(ctx context.Context, dataset string, version int64) ([]byte, error)
	// Quality returns how good a dataset was lately.
	Quality func(ctx context.Context, dataset string) (*Quality, error)
	// Difference returns what a release changed of the one that it replaces.
	Difference func(ctx context.Context, dataset string, version int64) (*Difference, error)
	// Between returns what is different between two versions, or between the parts of
	// them that a grant in force gives; nil: all of what everybody may have.
	Between func(ctx context.Context, dataset string, before, after int64, g *register.Grant) (*Difference, error)
	// Steps returns what was done about a ticket; without desk, what its filer may
	// know.
	Steps func(ctx context.Context, t *register.Ticket, desk bool) ([]register.Step, error)
	// Granted returns what a grant gives of the newest releases, the newest first.
	Granted func(g *register.Grant) []GrantedRelease
}

// GrantedRelease is what a grant gives of a release: all of it, or a part.
type GrantedRelease struct {
	*release.Manifest
	// Known says that sizes and hashes are; a part has none before it is made.
	Known bool
}

// Quality is how good a dataset was, day by day.
type Quality struct {
	// History is in order of time.
	History []catalog.Measurement
	// Compared is what was declared beside what was measured.
	Compared []Comparison
}

// Comparison is something that was declared, and what was measured of it.
type Comparison struct {
	What, Declared, Measured catalog.Text
	Holds                    bool
	Since                    time.Time // of what does not hold; zero: not known
}

// Difference is what a release changed of another.
type Difference struct {
	Added, Removed, Changed, Same int
	// NewItems and GoneItems are those that only one of them has.
	NewItems, GoneItems []string
	// Unkeyed says that nothing tells rows apart but their values.
	Unkeyed bool
	// Examples are some of the values that changed.
	Examples []ChangedValue
}

// ChangedValue is a value of a row that another release has otherwise. Row names
// the row by its keys; Was or Is is empty where there was no value.
type ChangedValue struct{ Row, Item, Was, Is string }

// shelf keeps what is made of snapshots and releases, which never change.
type shelf struct {
	mu       sync.Mutex
	index    *search.Index
	previews map[previewKey]*preview
}

// indexOf is the index of the snapshot that is.
func (p *pages) indexOf() *search.Index {
	s := p.Catalogue.Snapshot()
	p.shelf.mu.Lock()
	defer p.shelf.mu.Unlock()
	if p.shelf.index == nil || p.shelf.index.Snapshot != s {
		p.shelf.index = search.New(s)
	}
	return p.shelf.index
}

// PublicPages are the patterns of the pages that everybody may open, and that have
// the addresses of what they are about: other forms of it may be given there to
// who asks for them.
func PublicPages() []string { return patterns(publicPages()) }

// FurtherPages are the patterns of the other pages of the catalogue.
func FurtherPages() []string { return patterns(furtherPages()) }

// StewardPages are the patterns of the pages for who keeps the catalogue.
func StewardPages() (all []string) {
	for _, page := range stewardPages() {
		all = append(all, page.pattern)
	}
	return all
}

type publicPage struct {
	pattern string
	serve   func(*pages, http.ResponseWriter, *http.Request)
}

func patterns(of []publicPage) (all []string) {
	for _, page := range of {
		all = append(all, page.pattern)
	}
	return all
}

func publicPages() []publicPage {
	return []publicPage{
		{"GET /catalog", (*pages).showSearch},
		{"GET /catalog/dataset/{id}", (*pages).showDataset},
		{"GET /catalog/dataset/{id}/release/{version}", (*pages).showRelease},
		{"GET /catalog/dataset/{id}/interface/{name}", toDataset("#use")},
		{"GET /catalog/record/{id}", toDataset("")},
		{"GET /catalog/provider/{code}", (*pages).showProvider},
		{"GET /catalog/service/{id}", (*pages).showService},
		{"GET /catalog/class/{path...}", (*pages).showTheme},
		{"GET /catalog/law/{title}/{article}", (*pages).showLaw},
	}
}

func furtherPages() []publicPage {
	return []publicPage{
		{"GET /catalog/law", (*pages).showLaws},
		{"GET /catalog/about", (*pages).showAbout},
		{"GET /catalog/dataset/{id}/apply", (*pages).showApply},
		{"POST /catalog/dataset/{id}/apply", (*pages).apply},
		{"GET /catalog/applications", (*pages).showApplications},
		{"GET /catalog/applications/{id}", (*pages).showApplication},
		{"GET /catalog/objection/new", (*pages).showObject},
		{"POST /catalog/objection/new", (*pages).object},
		{"GET /catalog/objection", (*pages).askTicket},
		{"POST /catalog/objection", (*pages).showTicket},
		{"POST /catalog/objection/message", (*pages).addToTicket},
	}
}

// catalogPages puts the pages of the catalogue on the mux.
func (p *pages) catalogPages(mux *http.ServeMux) {
	for _, page := range append(publicPages(), furtherPages()...) {
		mux.HandleFunc(page.pattern, func(w http.ResponseWriter, r *http.Request) { page.serve(p, w, r) })
	}
	for _, page := range stewardPages() {
		mux.HandleFunc(page.pattern, func(w http.ResponseWriter, r *http.Request) { p.forSteward(w, r, page) })
	}
}

// publish sends a page that is the same for everybody who has not signed in, so
// that it may be kept for a minute and asked for by its tag.
func (p *pages) publish(w http.ResponseWriter, r *http.Request, page string, code int, v view) {
	v.Who = p.greet(access.CallerOf(r.Context()))
	p.fill(w, r, &v)
	var text bytes.Buffer
	if err := p.catalog[page].ExecuteTemplate(&text, "layout.html", v); err != nil {
		p.Log.Error("page_not_rendered", "path", r.URL.Path, "error", err)
		http.Error(w, "the page could not be made; the hub's log says why", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	sum := sha256.Sum256(text.Bytes())
	tag := `"` + hex.EncodeToString(sum[:9]) + `"`
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.Lang)
	h.Add("Vary", "Accept, Accept-Language, Cookie, Authorization")
	switch {
	case r.Method == http.MethodPost || code >= 400:
		h.Set("Cache-Control", "no-store")
	case v.Who.Name != "" || r.URL.Query().Has("lang"):
		h.Set("Cache-Control", "private, no-cache")
		h.Set("ETag", tag)
	default:
		h.Set("Cache-Control", "public, max-age=60")
		h.Set("ETag", tag)
	}
	if code == http.StatusOK && h.Get("ETag") != "" && strings.Contains(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(code)
	if _, err := w.Write(text.Bytes()); err != nil {
		p.Log.Debug("page_not_sent", "path", r.URL.Path, "error", err)
	}
}

// noSuch answers for what is not in the catalogue.
func (p *pages) noSuch(w http.ResponseWriter, r *http.Request) {
	p.publish(w, r, "gone", http.StatusNotFound, view{Title: "404", Page: goneView{}})
}

// goneView is a dataset that the public has no more; without an id, what never
// was.
type goneView struct {
	ID     string
	Title  register.Text
	State  catalog.State
	Reason string
	At     time.Time
}

// toDataset leads from an address of something about a dataset to a part of its
// page.
func toDataset(part string) func(*pages, http.ResponseWriter, *http.Request) {
	return func(p *pages, w http.ResponseWriter, r *http.Request) {
		if p.entry(w, r) != nil {
			http.Redirect(w, r, "/catalog/dataset/"+r.PathValue("id")+part, http.StatusSeeOther)
		}
	}
}

// entry is a dataset that the public may see now, or the answer for it was sent.
func (p *pages) entry(w http.ResponseWriter, r *http.Request) *catalog.Entry {
	id := r.PathValue("id")
	e := p.Catalogue.Snapshot().Find(id)
	rec, err := p.Catalogue.Register.Get(id)
	switch {
	case err != nil || !rec.Public():
		p.noSuch(w, r)
		return nil
	case rec.State == catalog.Withdrawn || rec.State == catalog.Suspended:
		code := http.StatusGone
		if rec.State == catalog.Suspended {
			code = http.StatusServiceUnavailable
		}
		l := p.language(w, r)
		p.publish(w, r, "gone", code, view{Title: plain(l.tag(), rec.Document.Title), Page: goneView{id, rec.Document.Title, rec.State, rec.Reason, rec.Modified}})
		return nil
	case e == nil:
		p.noSuch(w, r)
	}
	return e
}
