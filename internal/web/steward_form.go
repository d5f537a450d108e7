package web

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
)

// Bounds of the form of a dataset.
const (
	spareItems = 1  // empty lines for items
	maxLines   = 50 // of keywords and related datasets
	maxHarm    = 4
)

// documentForm fills a form with a document; fields are named as in JSON.
func documentForm(d *register.Document, version int64) *form {
	f := &form{Values: url.Values{}}
	put := func(name, value string) {
		if value != "" {
			f.Set(name, value)
		}
	}
	text := func(name string, t register.Text) { put(name+".zh", t.ZH); put(name+".en", t.EN) }
	put("version", strconv.FormatInt(version, 10))
	put("id", d.ID)
	text("title", d.Title)
	text("abstract", d.Abstract)
	put("keywords", linesOf(d.Keywords))
	put("region", d.Region)
	text("provider.name", d.Provider.Name)
	put("provider.code", d.Provider.Code)
	text("contact.name", d.Contact.Name)
	put("contact.phone", d.Contact.Phone)
	put("contact.email", d.Contact.Email)
	for i, step := range d.Path {
		put(fmt.Sprintf("path[%d]", i), step)
	}
	for i, it := range d.Items {
		at := fmt.Sprintf("items[%d].", i)
		put(at+"name", it.Name)
		text(at+"title", it.Title)
		put(at+"type", it.Type)
		put(at+"unit", it.Unit)
		if it.Length > 0 {
			put(at+"length", strconv.Itoa(it.Length))
		}
		put(at+"share", it.Share)
		put(at+"open", it.Open)
		put(at+"grade", it.Grade)
		text(at+"empty", it.Empty)
	}
	put("items", strconv.Itoa(len(d.Items)+spareItems))
	s := &d.Source
	put("source.kind", s.Kind)
	put("source.selector", s.Selector)
	put("source.bin", s.Bin)
	put("source.function", s.Function)
	put("source.by", strings.Join(s.By, " "))
	if s.Live {
		put("source.live", "on")
	}
	for name, t := range map[string]*register.Terms{"share": &d.Share, "open": &d.Open} {
		put(name+".class", t.Class)
		text(name+".condition", t.Condition)
		text(name+".scope", t.Scope)
		text(name+".purpose", t.Purpose)
		for i, l := range t.Basis {
			at := fmt.Sprintf("%s.basis[%d]", name, i)
			text(at+".title", l.Title)
			put(at+".article", l.Article)
			put(at+".url", l.URL)
		}
	}
	put("grade", d.Grade)
	for i, h := range d.Harm {
		put(fmt.Sprintf("harm[%d].interest", i), h.Interest)
		put(fmt.Sprintf("harm[%d].degree", i), h.Degree)
	}
	if d.Personal {
		put("personal", "on")
	}
	put("privacy.contributor", d.Privacy.Contributor)
	put("privacy.cap", decimal(d.Privacy.Cap))
	if n := d.Privacy.Noise; n != nil {
		put("privacy.noise.epsilon", decimal(n.Epsilon))
		put("privacy.noise.budget", decimal(n.Budget))
		put("privacy.noise.bound", decimal(float64(n.Bound)))
	}
	put("cycle.kind", d.Cycle.Kind)
	put("cycle.period", d.Cycle.Period)
	put("retention", d.Retention)
	put("licence", d.Licence)
	put("related", strings.Join(d.Related, "\n"))
	return f
}

// decimal writes a number as people type it; none for 0.
func decimal(v float64) string {
	if v == 0 {
		return ""
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// decimal reads a number; NaN where it is none, of which the register says so.
func (f *form) decimal(name string) float64 {
	s := f.trimmed(name)
	if s == "" {
		return 0
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.NaN()
	}
	return v
}

// noise is what the form asks for; nil: none.
func (f *form) noise() *register.Noise {
	n := register.Noise{Epsilon: f.decimal("privacy.noise.epsilon"), Budget: f.decimal("privacy.noise.budget"), Bound: int64(f.number("privacy.noise.bound"))}
	if n == (register.Noise{}) {
		return nil
	}
	return &n
}

// linesOf writes texts as "zh | en", one to a line.
func linesOf(all []register.Text) string {
	lines := make([]string, len(all))
	for i, t := range all {
		lines[i] = t.ZH
		if t.EN != "" {
			lines[i] += " | " + t.EN
		}
	}
	return strings.Join(lines, "\n")
}

func (f *form) lines(name string) (all []string) {
	for line := range strings.Lines(f.Get(name)) {
		if line = strings.TrimSpace(line); line != "" && len(all) < maxLines {
			all = append(all, line)
		}
	}
	return all
}

// itemLines is how many lines for items the form has.
func (f *form) itemLines() int {
	n, err := strconv.Atoi(f.Get("items"))
	if err != nil || n < 1 {
		return spareItems
	}
	return min(n, 200)
}

// document is what a form says. Lines of items without anything are left out,
// and problems keep the numbers that lines have then.
func (f *form) document() *register.Document {
	d := &register.Document{
		ID: f.trimmed("id"), Title: f.text("title"), Abstract: f.text("abstract"), Region: f.trimmed("region"),
		Provider: register.Provider{Name: f.text("provider.name"), Code: f.trimmed("provider.code")},
		Contact:  register.Contact{Name: f.text("contact.name"), Phone: f.trimmed("contact.phone"), Email: f.trimmed("contact.email")},
		Source: register.Source{Kind: f.trimmed("source.kind"), Selector: f.trimmed("source.selector"), Bin: f.trimmed("source.bin"), Function: f.trimmed("source.function"),
			By: strings.FieldsFunc(f.Get("source.by"), func(r rune) bool { return r == ' ' || r == ',' || r == '，' || r == '\n' || r == '\r' }), Live: f.Get("source.live") != ""},
		Share: f.terms("share"), Open: f.terms("open"), Grade: f.trimmed("grade"), Personal: f.Get("personal") != "",
		Cycle: register.Cycle{Kind: f.trimmed("cycle.kind"), Period: f.trimmed("cycle.period")}, Retention: f.trimmed("retention"), Licence: f.trimmed("licence"), Related: f.lines("related"),
	}
	d.Privacy = register.PrivacyTerms{Noise: f.noise(), Contributor: f.trimmed("privacy.contributor"), Cap: f.decimal("privacy.cap")}
	for _, line := range f.lines("keywords") {
		zh, en, _ := strings.Cut(line, "|")
		d.Keywords = append(d.Keywords, register.Text{ZH: strings.TrimSpace(zh), EN: strings.TrimSpace(en)})
	}
	for i := range catalog.Path([4]string{}) {
		d.Path = append(d.Path, f.trimmed(fmt.Sprintf("path[%d]", i)))
	}
	for len(d.Path) > 0 && d.Path[len(d.Path)-1] == "" {
		d.Path = d.Path[:len(d.Path)-1]
	}
	for i := range f.itemLines() {
		at := fmt.Sprintf("items[%d].", i)
		it := register.Item{Name: f.trimmed(at + "name"), Title: f.text(at + "title"), Type: f.trimmed(at + "type"), Unit: f.trimmed(at + "unit"), Length: f.number(at + "length"),
			Share: f.trimmed(at + "share"), Open: f.trimmed(at + "open"), Grade: f.trimmed(at + "grade"), Empty: f.text(at + "empty")}
		if it.Name != "" || it.Title.ZH != "" || it.Title.EN != "" {
			d.Items = append(d.Items, it)
		}
	}
	for i := range maxHarm {
		at := fmt.Sprintf("harm[%d].", i)
		if h := (register.Harm{Interest: f.trimmed(at + "interest"), Degree: f.trimmed(at + "degree")}); h != (register.Harm{}) {
			d.Harm = append(d.Harm, h)
		}
	}
	return d
}

func (f *form) terms(name string) register.Terms {
	return register.Terms{Class: f.trimmed(name + ".class"), Condition: f.text(name + ".condition"), Scope: f.text(name + ".scope"), Purpose: f.text(name + ".purpose"), Basis: f.laws(name + ".basis")}
}

// documentFields reports whether the form of a dataset shows the problems of a
// path beside a field.
func documentFields(path string) bool {
	simple := []string{"id", "title", "title.zh", "title.en", "abstract", "abstract.zh", "abstract.en", "keywords", "region", "provider.name", "provider.name.zh", "provider.name.en", "provider.code",
		"contact.name", "contact.name.zh", "contact.name.en", "contact.phone", "contact.email", "path", "items", "source.kind", "source.selector", "source.bin", "source.function", "source.by", "source.live",
		"grade", "harm", "personal", "privacy.contributor", "privacy.cap", "privacy.noise", "privacy.noise.epsilon", "privacy.noise.budget", "privacy.noise.bound", "cycle.kind", "cycle.period", "retention", "licence", "related"}
	for _, way := range []string{"share", "open"} {
		for _, part := range []string{"class", "condition.zh", "scope.zh", "purpose.zh", "basis"} {
			simple = append(simple, way+"."+part)
		}
	}
	return slices.Contains(simple, path) || strings.HasPrefix(path, "items[") || strings.HasPrefix(path, "path[") || strings.HasPrefix(path, "harm[")
}
