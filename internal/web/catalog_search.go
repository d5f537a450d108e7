package web

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/search"
)

// Bounds of the page of results.
const (
	foundPerPage = 20
	shownValues  = 8 // of a facet at once
)

// searchView is what the page of results is rendered from besides view.
type searchView struct {
	Q       string
	Order   search.Order
	Orders  []choice
	Hidden  []field // what is chosen, for the form
	Total   int     // that are found
	All     int     // that there are
	From    int
	To      int
	Cards   []datasetCard
	Facets  []facetView
	Chosen  []choice // each with the address without it
	Clear   string
	Earlier string
	Later   string
	Empty   bool // the catalogue has nothing at all
	Landing bool // nothing was asked for
	Themes  []choice
	Figures catalogueFigures
}

// catalogueFigures is how much there is.
type catalogueFigures struct {
	Datasets, Providers, Releases, Open int
	Changed                             time.Time
}

type field struct{ Name, Value string }

// choice is something that can be chosen: a link and how many it leads to.
type choice struct {
	Value  string
	Name   template.HTML
	Href   string
	Number int
	On     bool
	Hot    bool // not of the first ones
	Facet  search.Facet
}

type facetView struct {
	Facet  search.Facet
	Values []choice
	More   []choice
	Open   bool // something of More is chosen
}

// datasetCard is a dataset in a list.
type datasetCard struct {
	ID       string
	Href     string
	Title    catalog.Text
	Abstract catalog.Text
	Provider catalog.Text
	Open     catalog.Class
	Grade    string
	Cycle    string
	Formats  []string
	Live     bool
	Rows     int64
	Changed  time.Time
	Theme    string
}

func cardOf(e *catalog.Entry) datasetCard {
	d := e.Dataset
	c := datasetCard{ID: d.ID, Href: "/catalog/dataset/" + d.ID, Title: ownTitle(d.ID, d.Title), Abstract: d.Abstract, Provider: d.Provider.Name, Open: d.Open.Class, Grade: d.Grade.String(),
		Cycle: search.CycleOf(d.Cycle), Changed: search.Changed(e), Theme: d.Path[0]}
	latest, live := e.Offered()
	if latest != nil {
		for _, f := range latest.Files {
			c.Formats = append(c.Formats, formatName(f.MediaType))
			c.Rows = max(c.Rows, f.Rows)
		}
	}
	c.Live = len(live) > 0
	slices.Sort(c.Formats)
	c.Formats = slices.Compact(c.Formats)
	return c
}

func cardsOf(all []*catalog.Entry) (cards []datasetCard) {
	for _, e := range all {
		cards = append(cards, cardOf(e))
	}
	return cards
}

// asked is what an address asks for.
func asked(q url.Values) search.Query {
	s := search.Query{Text: strings.TrimSpace(q.Get("q")), Order: search.Order(q.Get("sort")), Chosen: map[search.Facet][]string{}}
	if !slices.Contains(search.Orders(), s.Order) {
		s.Order = search.Best
	}
	for _, f := range search.Facets() {
		for _, v := range q[string(f)] {
			if v != "" && len(v) <= 300 && len(s.Chosen[f]) < 20 && !slices.Contains(s.Chosen[f], v) {
				s.Chosen[f] = append(s.Chosen[f], v)
			}
		}
	}
	return s
}

// searchAddress is where a query is answered.
func searchAddress(s search.Query, from int) string {
	q := url.Values{}
	if s.Text != "" {
		q.Set("q", s.Text)
	}
	if s.Order != search.Best {
		q.Set("sort", string(s.Order))
	}
	for f, all := range s.Chosen {
		if len(all) > 0 {
			q[string(f)] = all
		}
	}
	if from > 0 {
		q.Set("from", strconv.Itoa(from))
	}
	return address("/catalog", q)
}

// toggled is a query with a value of a facet chosen, or given up.
func toggled(s search.Query, f search.Facet, value string) search.Query {
	chosen := map[search.Facet][]string{}
	for name, all := range s.Chosen {
		chosen[name] = slices.Clone(all)
	}
	if i := slices.Index(chosen[f], value); i >= 0 {
		chosen[f] = slices.Delete(chosen[f], i, i+1)
	} else {
		chosen[f] = append(chosen[f], value)
	}
	s.Chosen = chosen
	return s
}

func (p *pages) showSearch(w http.ResponseWriter, r *http.Request) {
	x, q := p.indexOf(), asked(r.URL.Query())
	l := p.language(w, r)
	found := x.Find(q)
	v := searchView{Q: q.Text, Order: q.Order, Total: len(found.Entries), All: len(x.Snapshot.Entries), Empty: len(x.Snapshot.Entries) == 0, Clear: "/catalog", Figures: figuresOf(x.Snapshot)}
	v.page(found.Entries, q, r.URL.Query().Get("from"))
	v.facets(found, q, l, p.nameOf(x.Snapshot, l))
	v.Landing = q.Text == "" && len(v.Chosen) == 0 && v.From <= 1
	t := l.table()
	for _, o := range search.Orders() {
		as := q
		as.Order = o
		v.Orders = append(v.Orders, choice{Value: string(o), Name: template.HTML(template.HTMLEscapeString(t["sort_"+string(o)])), Href: searchAddress(as, 0), On: o == q.Order}) // #nosec G203 -- escaped
	}
	title := t["catalogue"]
	if q.Text != "" {
		title = q.Text + " · " + title
	}
	p.publish(w, r, "search", http.StatusOK, view{Title: title, Page: v})
}

func figuresOf(s *catalog.Snapshot) (f catalogueFigures) {
	providers := map[string]bool{}
	for _, e := range s.Entries {
		f.Datasets++
		f.Releases += len(e.Releases)
		providers[string(e.Dataset.Provider.Code)+e.Dataset.Provider.Name.ZH] = true
		if e.Dataset.Open.Class == catalog.Unconditional {
			f.Open++
		}
		if at := search.Changed(e); at.After(f.Changed) {
			f.Changed = at
		}
	}
	f.Providers = len(providers)
	return f
}

func (v *searchView) page(all []*catalog.Entry, q search.Query, from string) {
	start, err := strconv.Atoi(from)
	if err != nil || start < 0 || start >= len(all) {
		start = 0
	}
	end := min(start+foundPerPage, len(all))
	v.Cards = cardsOf(all[start:end])
	v.From, v.To = start+1, end
	if start > 0 {
		v.Earlier = searchAddress(q, max(0, start-foundPerPage))
		if start <= foundPerPage {
			v.Earlier = searchAddress(q, 0)
		}
	}
	if end < len(all) {
		v.Later = searchAddress(q, end)
	}
}

// facets makes the links by which results are narrowed.
func (v *searchView) facets(found search.Found, q search.Query, l lang, name func(search.Facet, string) template.HTML) {
	for _, f := range search.Facets() {
		one := facetView{Facet: f}
		for i, c := range found.Counts[f] {
			on := slices.Contains(q.Chosen[f], c.Value)
			link := choice{Value: c.Value, Name: name(f, c.Value), Href: searchAddress(toggled(q, f, c.Value), 0), Number: c.Number, On: on, Facet: f}
			if on {
				v.Chosen = append(v.Chosen, link)
				v.Hidden = append(v.Hidden, field{string(f), c.Value})
			}
			if i < shownValues {
				one.Values = append(one.Values, link)
			} else {
				one.More, one.Open = append(one.More, link), one.Open || on
			}
			if f == search.Theme && !on {
				v.Themes = append(v.Themes, link)
			}
		}
		if len(one.Values) > 0 {
			v.Facets = append(v.Facets, one)
		}
	}
	if q.Order != search.Best {
		v.Hidden = append(v.Hidden, field{"sort", string(q.Order)})
	}
	if q.Text != "" {
		v.Clear = searchAddress(search.Query{Text: q.Text, Order: q.Order}, 0)
	}
}

// nameOf says what people call values of facets.
func (p *pages) nameOf(s *catalog.Snapshot, l lang) func(search.Facet, string) template.HTML {
	t, tag := l.table(), l.tag()
	providers := map[string]catalog.Text{}
	for _, e := range s.Entries {
		providers[string(e.Dataset.Provider.Code)] = e.Dataset.Provider.Name
	}
	return func(f search.Facet, value string) template.HTML {
		switch f {
		case search.Theme:
			return tx(tag, p.Catalogue.className([]string{value}))
		case search.Provider:
			if name, ok := providers[value]; ok && value != "" {
				return tx(tag, name)
			}
			return tx(tag, value)
		case search.Cycle:
			return template.HTML(template.HTMLEscapeString(cycleName(t, tag, value))) // #nosec G203 -- escaped
		case search.Format:
			if sv := s.Service(value); sv != nil {
				return tx(tag, sv.Title)
			}
			return template.HTML(template.HTMLEscapeString(formatName(value))) // #nosec G203 -- escaped
		}
		return template.HTML(template.HTMLEscapeString(t[string(f)+"_"+value])) // #nosec G203 -- escaped
	}
}
