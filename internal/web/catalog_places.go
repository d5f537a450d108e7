package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/search"
)

// listView is a page of datasets that have something in common.
type listView struct {
	Kind     string // provider, theme or service
	Name     catalog.Text
	Code     string
	Crumbs   []crumb
	Below    []themeLink
	Contacts []catalog.Contact
	Service  *catalog.Service
	Cards    []datasetCard
	Figures  catalogueFigures
}

type crumb struct {
	Step string
	Name catalog.Text
	Href string
}

type themeLink struct {
	crumb
	Number int
}

// found are the entries that have something in common, the newest first.
func foundOf(s *catalog.Snapshot, takes func(*catalog.Entry) bool) (all []*catalog.Entry) {
	for _, e := range s.Entries {
		if takes(e) {
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b *catalog.Entry) int { return search.Changed(b).Compare(search.Changed(a)) })
	return all
}

// listed is the page of entries; none: the address names nothing.
func (p *pages) listed(w http.ResponseWriter, r *http.Request, v listView, all []*catalog.Entry, name string) {
	if len(all) == 0 {
		p.noSuch(w, r)
		return
	}
	v.Cards = cardsOf(all)
	v.Figures = figuresOf(&catalog.Snapshot{Entries: all})
	p.publish(w, r, "list", http.StatusOK, view{Title: name, Page: v})
}

func (p *pages) showProvider(w http.ResponseWriter, r *http.Request) {
	code := r.PathValue("code")
	all := foundOf(p.Catalogue.Snapshot(), func(e *catalog.Entry) bool { return string(e.Dataset.Provider.Code) == code })
	v := listView{Kind: "provider", Code: code}
	for _, e := range all {
		v.Name = e.Dataset.Provider.Name
		if c := e.Dataset.Contact; !slices.Contains(v.Contacts, c) && len(v.Contacts) < 10 {
			v.Contacts = append(v.Contacts, c)
		}
	}
	p.listed(w, r, v, all, plain(p.language(w, r).tag(), v.Name))
}

func (p *pages) showService(w http.ResponseWriter, r *http.Request) {
	s, id := p.Catalogue.Snapshot(), r.PathValue("id")
	v := listView{Kind: "service", Service: s.Service(id)}
	if v.Service == nil {
		p.noSuch(w, r)
		return
	}
	v.Name = v.Service.Title
	p.listed(w, r, v, foundOf(s, func(e *catalog.Entry) bool {
		_, live := e.Offered()
		return slices.ContainsFunc(live, func(d catalog.Distribution) bool { return d.Service == id })
	}), plain(p.language(w, r).tag(), v.Name))
}

// themeHref is the page of a place in the classification.
func themeHref(steps []string) string {
	at := "/catalog/class"
	for _, s := range steps {
		at += "/" + url.PathEscape(s)
	}
	return at
}

// pathOf is how deep a classification goes, as steps.
func pathOf(p catalog.Path) []string {
	n := slices.Index(p[:], "")
	if n < 0 {
		n = len(p)
	}
	return p[:n]
}

func (p *pages) crumbsOf(steps []string) (all []crumb) {
	for i := range steps {
		all = append(all, p.crumbOf(steps[:i+1]))
	}
	return all
}

func (p *pages) crumbOf(steps []string) crumb {
	return crumb{steps[len(steps)-1], p.Catalogue.className(steps), themeHref(steps)}
}

func (p *pages) showTheme(w http.ResponseWriter, r *http.Request) {
	steps := strings.Split(r.PathValue("path"), "/")
	if len(steps) > len(catalog.Path{}) {
		p.noSuch(w, r)
		return
	}
	below := map[string]int{}
	all := foundOf(p.Catalogue.Snapshot(), func(e *catalog.Entry) bool {
		path := pathOf(e.Dataset.Path)
		if len(path) < len(steps) || !slices.Equal(path[:len(steps)], steps) {
			return false
		}
		if len(path) > len(steps) {
			below[path[len(steps)]]++
		}
		return true
	})
	v := listView{Kind: "theme", Name: p.Catalogue.className(steps), Crumbs: p.crumbsOf(steps[:len(steps)-1])}
	for step, n := range below {
		v.Below = append(v.Below, themeLink{p.crumbOf(append(slices.Clone(steps), step)), n})
	}
	slices.SortFunc(v.Below, func(a, b themeLink) int {
		return cmp.Or(cmp.Compare(b.Number, a.Number), strings.Compare(a.Step, b.Step))
	})
	p.listed(w, r, v, all, plain(p.language(w, r).tag(), v.Name))
}

// lawView is a page of articles.
type lawView struct {
	One      bool
	Law      catalog.Law
	Articles []article     // those whose words are known
	Cards    []datasetCard // datasets that rest on it
	Link     string
}

func (p *pages) showLaw(w http.ResponseWriter, r *http.Request) {
	v := lawView{One: true, Law: catalog.Law{Title: catalog.Text{ZH: r.PathValue("title")}, Article: r.PathValue("article")}}
	rests := foundOf(p.Catalogue.Snapshot(), func(e *catalog.Entry) bool {
		return slices.ContainsFunc(slices.Concat(e.Dataset.Share.Basis, e.Dataset.Open.Basis), func(l catalog.Law) bool {
			if l.Title.ZH != v.Law.Title.ZH || l.Article != v.Law.Article {
				return false
			}
			v.Law = l
			return true
		})
	})
	a, known := articleOf(v.Law)
	if !known && len(rests) == 0 {
		p.noSuch(w, r)
		return
	}
	if known {
		v.Articles, v.Law.Title = []article{a}, regulation
	}
	v.Link, _ = catalog.Link(v.Law.URL)
	v.Cards = cardsOf(rests[:min(len(rests), 100)])
	p.publish(w, r, "law", http.StatusOK, view{Title: plain(p.language(w, r).tag(), v.Law.Title) + " " + v.Law.Article, Page: v})
}

func (p *pages) showLaws(w http.ResponseWriter, r *http.Request) {
	p.publish(w, r, "law", http.StatusOK, view{Title: plain(p.language(w, r).tag(), regulation), Page: lawView{Articles: articles(), Law: catalog.Law{Title: regulation}}})
}

// lawHref is the page of a legal basis.
func lawHref(l catalog.Law) string {
	return "/catalog/law/" + url.PathEscape(l.Title.ZH) + "/" + url.PathEscape(l.Article)
}

// aboutView says how the catalogue is read by programs.
type aboutView struct {
	Base     string
	Figures  catalogueFigures
	Number   int64
	Services []catalog.Service
	Example  string // id of a dataset
}

func (p *pages) showAbout(w http.ResponseWriter, r *http.Request) {
	s := p.Catalogue.Snapshot()
	v := aboutView{Base: string(p.Catalogue.Base), Figures: figuresOf(s), Number: s.Number, Services: s.Services, Example: "ID"}
	if len(s.Entries) > 0 {
		v.Example = s.Entries[0].Dataset.ID
	}
	p.publish(w, r, "about", http.StatusOK, view{Title: p.language(w, r).table()["about"], Page: v})
}
