package ckan

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/catalog"
)

// Index is a snapshot as the read-only API gives it. It never changes.
type Index struct {
	packages  []*indexed // by name
	names     []string
	byID      map[string]*indexed
	resources map[string]*Resource
}

// indexed is the package of an entry.
type indexed struct {
	entry *catalog.Entry
	Package
	text string // lower case, for words
}

// NewIndex makes the packages of a snapshot. Those of entries that an index has
// already, which may be nil, are taken from there.
func NewIndex(s *catalog.Snapshot, base catalog.Base, before *Index) *Index {
	x := &Index{byID: make(map[string]*indexed, 2*len(s.Entries)), resources: make(map[string]*Resource, len(s.Entries)), names: make([]string, 0, len(s.Entries)), packages: make([]*indexed, 0, len(s.Entries))}
	for _, e := range s.Entries {
		var p *indexed
		if before != nil {
			p = before.byID[e.Dataset.ID] // the name of ours
		}
		if p == nil || p.entry != e {
			p = &indexed{entry: e, Package: show(e, base)}
			p.text = words(&p.Package)
		}
		x.packages = append(x.packages, p)
		x.names = append(x.names, p.Name)
		x.byID[p.ID], x.byID[p.Name] = p, p
		for j := range p.Resources {
			x.resources[p.Resources[j].ID] = &p.Resources[j]
		}
	}
	return x
}

// words is what is searched when a query names no field.
func words(p *Package) string {
	all := []string{p.Name, p.Title, p.Notes, p.Organization.Title}
	for _, t := range p.Tags {
		all = append(all, t.Name)
	}
	for _, x := range p.Extras {
		if x.Key == "title_en" || x.Key == "identifier" {
			all = append(all, x.Value)
		}
	}
	return strings.ToLower(strings.Join(all, "\n"))
}

// Fault is why a call fails, in the words of CKAN.
type Fault struct {
	Kind    string `json:"__type"`
	Message string `json:"message"`
}

const missing, wrong = "Not Found Error", "Validation Error"

func notFound(format string, args ...any) *Fault {
	return &Fault{missing, fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *Fault {
	return &Fault{wrong, fmt.Sprintf(format, args...)}
}

// Found is the answer to package_search.
type Found struct {
	Count   int       `json:"count"`
	Sort    string    `json:"sort"`
	Results []Package `json:"results"`
	// Facets are not counted.
	Facets       struct{} `json:"facets"`
	SearchFacets struct{} `json:"search_facets"`
}

// actions are the calls that there are. They only read.
var actions = map[string]func(*Index, url.Values) (any, *Fault){
	"package_list":   func(x *Index, q url.Values) (any, *Fault) { return x.list(q) },
	"package_search": func(x *Index, q url.Values) (any, *Fault) { return x.search(q) },
	"package_show":   func(x *Index, q url.Values) (any, *Fault) { return x.show(q) },
	"resource_show":  func(x *Index, q url.Values) (any, *Fault) { return x.resource(q) },
}

// Call answers a call of the action API as CKAN does: the body, and the status.
// help is the address of the call.
func (x *Index) Call(action string, q url.Values, help string) (status int, body []byte) {
	type answer struct {
		Help    string `json:"help"`
		Success bool   `json:"success"`
		Result  any    `json:"result,omitempty"`
		Error   any    `json:"error,omitempty"`
	}
	result, fault := any(nil), notFound("there is no action %.60q here; there are package_list, package_search, package_show and resource_show, which read", action)
	if f, known := actions[action]; known {
		result, fault = f(x, q)
	}
	a, status := answer{Help: help, Success: true, Result: result}, 200
	if fault != nil {
		a, status = answer{Help: help, Error: fault}, 409
		if fault.Kind == missing {
			status = 404
		}
	}
	body, err := json.Marshal(a)
	if err != nil {
		panic(err) // these structs are text, numbers and lists
	}
	return status, body
}

func (x *Index) list(q url.Values) (any, *Fault) {
	limit, err := number(q, "limit", len(x.names), len(x.names))
	if err != nil {
		return nil, err
	}
	offset, err := number(q, "offset", 0, 1<<30)
	if err != nil {
		return nil, err
	}
	from := min(offset, len(x.names))
	return x.names[from:min(from+limit, len(x.names))], nil
}

func (x *Index) show(q url.Values) (any, *Fault) {
	id := cmp.Or(q.Get("id"), q.Get("name_or_id"))
	p, found := x.byID[id]
	if !found {
		return nil, notFound("there is no dataset %.110q; package_list names all", id)
	}
	return &p.Package, nil
}

func (x *Index) resource(q url.Values) (any, *Fault) {
	r, found := x.resources[q.Get("id")]
	if !found {
		return nil, notFound("there is no resource %.110q; package_show gives those of a dataset", q.Get("id"))
	}
	return r, nil
}

// number is a parameter that is a whole number from 0; above most it is most.
func number(q url.Values, name string, absent, most int) (int, *Fault) {
	s := q.Get(name)
	if s == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, invalid("%s: %.40q is no whole number from 0", name, s)
	}
	return min(n, most), nil
}

// Bounds of a search; CKAN has the same for rows.
const (
	usualRows = 10
	mostRows  = 1000
	longest   = 1000 // characters of q, and of fq
	mostTerms = 32
)

func (x *Index) search(q url.Values) (any, *Fault) {
	rows, err := number(q, "rows", usualRows, mostRows)
	if err != nil {
		return nil, err
	}
	start, err := number(q, "start", 0, 1<<30)
	if err != nil {
		return nil, err
	}
	var terms []term
	for _, name := range []string{"q", "fq"} {
		more, err := parse(name, q.Get(name))
		if err != nil {
			return nil, err
		}
		terms = append(terms, more...)
	}
	order, sorted, err := ordering(q.Get("sort"))
	if err != nil {
		return nil, err
	}
	var hits []*indexed
	for _, p := range x.packages {
		if !slices.ContainsFunc(terms, func(t term) bool { return p.matches(t) == t.not }) {
			hits = append(hits, p)
		}
	}
	slices.SortStableFunc(hits, func(a, b *indexed) int { return order(&a.Package, &b.Package) })
	f := &Found{Count: len(hits), Sort: sorted, Results: []Package{}}
	from := min(start, len(hits))
	for _, p := range hits[from:min(from+rows, len(hits))] {
		f.Results = append(f.Results, p.Package)
	}
	return f, nil
}

// orders are what can be sorted by.
var orders = map[string]func(a, b *Package) int{
	"score":             func(_, _ *Package) int { return 0 }, // a package matches or does not
	"relevance":         func(_, _ *Package) int { return 0 },
	"name":              func(a, b *Package) int { return strings.Compare(a.Name, b.Name) },
	"title":             func(a, b *Package) int { return strings.Compare(a.Title, b.Title) },
	"title_string":      func(a, b *Package) int { return strings.Compare(a.Title, b.Title) },
	"id":                func(a, b *Package) int { return strings.Compare(a.ID, b.ID) },
	"metadata_created":  func(a, b *Package) int { return strings.Compare(a.MetadataCreated, b.MetadataCreated) },
	"metadata_modified": func(a, b *Package) int { return strings.Compare(a.MetadataModified, b.MetadataModified) },
}

// ordering reads a list such as "title asc, metadata_modified desc".
func ordering(s string) (order func(a, b *Package) int, sorted string, err *Fault) {
	if strings.TrimSpace(s) == "" {
		s = "score desc, metadata_modified desc"
	}
	var all []func(a, b *Package) int
	for part := range strings.SplitSeq(s, ",") {
		words := strings.Fields(part)
		if len(words) == 0 || len(words) > 2 || len(words) == 2 && words[1] != "asc" && words[1] != "desc" || len(all) == len(orders) {
			return nil, "", invalid("sort: %.80q is no field followed by asc or desc", part)
		}
		f, known := orders[words[0]]
		if !known {
			return nil, "", invalid("sort: there is no %.40q; there are name, title, metadata_created, metadata_modified and score", words[0])
		}
		if len(words) == 2 && words[1] == "desc" {
			up := f
			f = func(a, b *Package) int { return up(b, a) }
		}
		all = append(all, f)
	}
	return func(a, b *Package) int {
		for _, f := range all {
			if c := f(a, b); c != 0 {
				return c
			}
		}
		return 0
	}, s, nil
}

// term is a condition: a word that is in the package's texts, or a field with
// a value.
type term struct {
	field, value string // value is in lower case
	not          bool
}

// fields are those that conditions may name, with their values in a package.
var fields = map[string]func(p *Package) []string{
	"name":         func(p *Package) []string { return []string{p.Name} },
	"id":           func(p *Package) []string { return []string{p.ID} },
	"title":        func(p *Package) []string { return []string{p.Title} },
	"notes":        func(p *Package) []string { return []string{p.Notes} },
	"organization": func(p *Package) []string { return []string{p.Organization.Name} },
	"owner_org":    func(p *Package) []string { return []string{p.OwnerOrg} },
	"state":        func(p *Package) []string { return []string{p.State} },
	"type":         func(p *Package) []string { return []string{p.Type} },
	"dataset_type": func(p *Package) []string { return []string{p.Type} },
	"tags": func(p *Package) (all []string) {
		for _, t := range p.Tags {
			all = append(all, t.Name)
		}
		return all
	},
	"res_format": func(p *Package) (all []string) {
		for _, r := range p.Resources {
			all = append(all, r.Format)
		}
		return all
	},
	"share_class": func(p *Package) []string { return extra(p, "share_class") },
	"open_class":  func(p *Package) []string { return extra(p, "open_class") },
	"grade":       func(p *Package) []string { return extra(p, "grade") },
}

func extra(p *Package, key string) []string {
	for _, x := range p.Extras {
		if x.Key == key {
			return []string{x.Value}
		}
	}
	return nil
}

func (p *indexed) matches(t term) bool {
	if t.field == "" {
		return strings.Contains(p.text, t.value)
	}
	for _, v := range fields[t.field](&p.Package) {
		v = strings.ToLower(v)
		if v == t.value || t.value == "*" || (t.field == "title" || t.field == "notes") && strings.Contains(v, t.value) {
			return true
		}
	}
	return false
}

// parse reads the part of Solr's language that programs use: words and "phrases"
// that must all be there, field:value, + and - before them, AND between them,
// and *:* for everything. What is not of it is an error, never something else.
func parse(name, s string) (terms []term, err *Fault) {
	if utf8.RuneCountInString(s) > longest {
		return nil, invalid("%s: has more than %d characters", name, longest)
	}
	rest := strings.TrimSpace(s)
	for rest != "" {
		if after, is := strings.CutPrefix(rest, "AND "); is {
			rest = strings.TrimSpace(after)
			continue
		}
		var t term
		if t, rest, err = next(name, rest); err != nil {
			return nil, err
		}
		if t.field == "*" {
			continue
		}
		if len(terms) == mostTerms {
			return nil, invalid("%s: has more than %d conditions", name, mostTerms)
		}
		terms = append(terms, t)
	}
	return terms, nil
}

// next reads one condition.
func next(name, s string) (t term, rest string, err *Fault) {
	if s[0] == '+' || s[0] == '-' {
		t.not, s = s[0] == '-', s[1:]
	}
	if strings.HasPrefix(s, "*:*") && !t.not {
		return term{field: "*"}, strings.TrimSpace(s[3:]), nil
	}
	if i := strings.IndexAny(s, ": \t\n\""); i > 0 && s[i] == ':' {
		t.field, s = s[:i], s[i+1:]
		if fields[t.field] == nil {
			return t, "", invalid("%s: there is no field %.40q; there are name, id, title, notes, organization, owner_org, tags, res_format, share_class, open_class, grade, type, state", name, t.field)
		}
	}
	value, rest, quoted := s, "", strings.HasPrefix(s, `"`)
	if quoted {
		var closed bool
		if value, rest, closed = strings.Cut(s[1:], `"`); !closed {
			return t, "", invalid("%s: a quotation mark is not closed: %.60q", name, s)
		}
	} else if i := strings.IndexAny(s, " \t\n\r"); i >= 0 {
		value, rest = s[:i], s[i:]
	}
	switch {
	case value == "":
		return t, "", invalid("%s: a condition has no value: %.60q", name, s)
	case !quoted && (value == "AND" || value == "OR" || value == "NOT" || strings.ContainsAny(value, `()[]{}^~?"\`) || strings.Contains(value, "*") && (value != "*" || t.field == "")):
		return t, "", invalid("%s: %.60q is not supported: write words, \"phrases\", field:value, + and -, or quote it", name, value)
	}
	t.value = strings.ToLower(value)
	return t, strings.TrimSpace(rest), nil
}
