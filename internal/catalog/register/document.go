package register

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Bounds of a document.
const (
	MaxDocument = 256 << 10 // bytes, as sent and as kept
	maxItems    = 1000
	maxText     = 10_000 // bytes of one text
)

// Document is a dataset as people write it, in YAML or JSON
// (docs/formats/dataset.md): what a person decides, and nothing that the
// register adds.
type Document struct {
	ID       string   `yaml:"id" json:"id"`
	Title    Text     `yaml:"title" json:"title,omitzero"`
	Abstract Text     `yaml:"abstract" json:"abstract,omitzero"`
	Keywords []Text   `yaml:"keywords" json:"keywords,omitempty"`
	Region   string   `yaml:"region" json:"region,omitempty"`
	Provider Provider `yaml:"provider" json:"provider,omitzero"`
	Contact  Contact  `yaml:"contact" json:"contact,omitzero"`
	// Path is 类, 项, 目, 细目.
	Path   []string `yaml:"path" json:"path,omitempty"`
	Items  []Item   `yaml:"items" json:"items,omitempty"`
	Source Source   `yaml:"source" json:"source"`
	Share  Terms    `yaml:"share" json:"share"`
	Open   Terms    `yaml:"open" json:"open"`
	// Grade is that of the highest item when empty.
	Grade     string       `yaml:"grade" json:"grade,omitempty"`
	Harm      []Harm       `yaml:"harm" json:"harm,omitempty"`
	Personal  bool         `yaml:"personal" json:"personal,omitempty"`
	Privacy   PrivacyTerms `yaml:"privacy" json:"privacy,omitzero"`
	Cycle     Cycle        `yaml:"cycle" json:"cycle,omitzero"`
	Retention string       `yaml:"retention" json:"retention,omitempty"`
	Licence   string       `yaml:"licence" json:"licence,omitempty"`
	Related   []string     `yaml:"related" json:"related,omitempty"`
}

// Text is a text in both languages.
type Text struct {
	ZH string `yaml:"zh" json:"zh,omitempty"`
	EN string `yaml:"en" json:"en,omitempty"`
}

// Provider is who answers for a dataset.
type Provider struct {
	Name Text   `yaml:"name" json:"name,omitzero"`
	Code string `yaml:"code" json:"code,omitempty"`
}

// Contact is whom people may ask.
type Contact struct {
	Name  Text   `yaml:"name" json:"name,omitzero"`
	Phone string `yaml:"phone" json:"phone,omitempty"`
	Email string `yaml:"email" json:"email,omitempty"`
}

// Item is a column. Share, Open and Grade are those of the dataset when empty,
// Type is number.
type Item struct {
	Name   string `yaml:"name" json:"name"`
	Title  Text   `yaml:"title" json:"title,omitzero"`
	Type   string `yaml:"type" json:"type,omitempty"`
	Unit   string `yaml:"unit" json:"unit,omitempty"`
	Length int    `yaml:"length" json:"length,omitempty"`
	Share  string `yaml:"share" json:"share,omitempty"`
	Open   string `yaml:"open" json:"open,omitempty"`
	Grade  string `yaml:"grade" json:"grade,omitempty"`
	Empty  Text   `yaml:"empty" json:"empty,omitzero"`
}

// Source is what a dataset is made of. Durations are as in 15m.
type Source struct {
	Kind     string   `yaml:"kind" json:"kind"`
	Selector string   `yaml:"selector" json:"selector,omitempty"`
	Bin      string   `yaml:"bin" json:"bin,omitempty"`
	Function string   `yaml:"function" json:"function,omitempty"`
	By       []string `yaml:"by" json:"by,omitempty"`
	Live     bool     `yaml:"live" json:"live,omitempty"`
}

// PrivacyTerms are what a dataset asks of the privacy gate.
type PrivacyTerms struct {
	Noise *Noise `yaml:"noise" json:"noise,omitempty"`
	// Contributor is the label that tells contributors apart in series about persons;
	// empty: device. Cap is the most that one adds to a sum in a bin.
	Contributor string  `yaml:"contributor" json:"contributor,omitempty"`
	Cap         float64 `yaml:"cap" json:"cap,omitempty"`
}

// Noise is what is added to counts: Epsilon is spent by each version of a day, of a
// Budget for all of them (1 when it is 0); Bound is how many passages of one vehicle
// in a day it hides together.
type Noise struct {
	Epsilon float64 `yaml:"epsilon" json:"epsilon"`
	Budget  float64 `yaml:"budget" json:"budget,omitempty"`
	Bound   int64   `yaml:"bound" json:"bound,omitempty"`
}

// Terms are how far a dataset goes, and why no further.
type Terms struct {
	Class     string `yaml:"class" json:"class"`
	Condition Text   `yaml:"condition" json:"condition,omitzero"`
	Scope     Text   `yaml:"scope" json:"scope,omitzero"`
	Purpose   Text   `yaml:"purpose" json:"purpose,omitzero"`
	Basis     []Law  `yaml:"basis" json:"basis,omitempty"`
}

// Law is a legal basis.
type Law struct {
	Title   Text   `yaml:"title" json:"title,omitzero"`
	Article string `yaml:"article" json:"article,omitempty"`
	URL     string `yaml:"url" json:"url,omitempty"`
}

// Harm is what may come of a leak.
type Harm struct {
	Interest string `yaml:"interest" json:"interest"`
	Degree   string `yaml:"degree" json:"degree"`
}

// Cycle is an update cycle.
type Cycle struct {
	Kind   string `yaml:"kind" json:"kind,omitempty"`
	Period string `yaml:"period" json:"period,omitempty"`
}

// Invalid lists everything that is wrong with what was sent.
type Invalid struct {
	Of       string // such as "dataset soil-moisture"
	Problems []catalog.Problem
}

func (e *Invalid) Error() string { return e.Of + " cannot be taken: " + e.list(catalog.Problem.Error) }

// ZH is Error for people who read Chinese.
func (e *Invalid) ZH() string {
	return e.Of + " 有误：" + e.list(func(p catalog.Problem) string { return p.Path + "：" + p.ZH })
}

func (e *Invalid) list(say func(catalog.Problem) string) string {
	all := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		all[i] = say(p)
	}
	return strings.Join(all, "; ")
}

// Parse reads a document in YAML or JSON. The error is an *Invalid with every
// key that is not known and every value that cannot be read, or with all that
// is wrong with the dataset. What a draft may leave out is not wrong.
func Parse(text []byte) (*Document, error) {
	bad := &Invalid{Of: "the document"}
	if len(text) > MaxDocument {
		bad.Problems = []catalog.Problem{{Path: "", ZH: fmt.Sprintf("有 %d 字节，至多 %d", len(text), MaxDocument), EN: fmt.Sprintf("it has %d bytes; at most %d are allowed", len(text), MaxDocument)}}
		return nil, bad
	}
	var d Document
	for _, f := range strict.Decode(text, &d) {
		line := ""
		if f.Line > 0 {
			line = fmt.Sprintf(" (line %d)", f.Line)
		}
		bad.Problems = append(bad.Problems, catalog.Problem{Path: f.Path, ZH: f.Msg + line, EN: f.Msg + line})
	}
	if len(bad.Problems) > 0 {
		return nil, bad
	}
	if bad.Of = "dataset " + d.ID; d.ID == "" {
		bad.Of = "the document"
	}
	if _, bad.Problems = d.Dataset(); len(bad.Problems) > 0 {
		return nil, bad
	}
	return &d, nil
}

// reading collects what cannot be read of a document.
type reading struct{ faults []catalog.Problem }

func (r *reading) add(path, zh, en string, args ...any) {
	r.faults = append(r.faults, catalog.Problem{Path: path, ZH: fmt.Sprintf(zh, args...), EN: fmt.Sprintf(en, args...)})
}

func (r *reading) duration(path, s string) time.Duration {
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		r.add(path, "%.30q 不是时长，写作 15m、24h", "%.30q is no duration; write it like 15m or 24h", s)
	}
	return d
}

func (r *reading) grade(path, s string) telemetry.Grade {
	if s == "" {
		return telemetry.General
	}
	g, err := telemetry.ParseGrade(s)
	switch {
	case err != nil:
		r.add(path, "%.30q 不是等级：general、important 或 core", "%.30q is no grade; write general, important or core", s)
	case g == telemetry.Ungraded:
		r.add(path, "未定级的数据不得进入目录：general、important 或 core", "data without a grade cannot stand in the catalogue; write general, important or core")
	}
	return g
}

// Dataset is what the document says, and all that is wrong with it.
func (d *Document) Dataset() (*catalog.Dataset, []catalog.Problem) {
	out, faults := d.read()
	return out, slices.Concat(faults, out.Check(false), catalog.CheckHarm(out.Harm))
}

// read is what the document says, and what of it cannot be read.
func (d *Document) read() (*catalog.Dataset, []catalog.Problem) {
	var r reading
	out := &catalog.Dataset{
		ID: d.ID, Title: d.Title.of(), Abstract: d.Abstract.of(), Region: d.Region, Personal: d.Personal, Licence: d.Licence,
		Provider: catalog.Provider{Name: d.Provider.Name.of(), Code: catalog.CreditCode(d.Provider.Code)},
		Contact:  catalog.Contact{Name: d.Contact.Name.of(), Phone: d.Contact.Phone, Email: d.Contact.Email},
		Share:    d.Share.of(), Open: d.Open.of(), Related: d.Related, Grade: r.grade("grade", d.Grade),
		Source: catalog.Source{
			Kind: catalog.SourceKind(d.Source.Kind), Selector: d.Source.Selector, Bin: r.duration("source.bin", d.Source.Bin),
			Function: catalog.Function(d.Source.Function), By: d.Source.By, Live: d.Source.Live,
		},
		Cycle:     catalog.Cycle{Kind: catalog.CycleKind(d.Cycle.Kind), Period: r.duration("cycle.period", d.Cycle.Period)},
		Retention: r.duration("retention", d.Retention),
	}
	for _, k := range d.Keywords {
		out.Keywords = append(out.Keywords, k.of())
	}
	for _, h := range d.Harm {
		out.Harm = append(out.Harm, catalog.Harm{Interest: catalog.Interest(h.Interest), Degree: catalog.Degree(h.Degree)})
	}
	r.path(d.Path, out)
	r.privacy(d, out)
	r.items(d, out)
	if !slices.Contains([]catalog.CycleKind{"", catalog.Continuous, catalog.Periodic, catalog.Irregular, catalog.Never}, out.Cycle.Kind) {
		r.add("cycle.kind", "%.30q 不是更新周期：continuous、periodic、irregular 或 never", "%.30q is no cycle; there are continuous, periodic, irregular and never", d.Cycle.Kind)
	}
	r.length(d)
	return out, r.faults
}

func (r *reading) path(path []string, out *catalog.Dataset) {
	if len(path) > len(out.Path) {
		r.add("path", "至多四级：类、项、目、细目", "has %d steps; there are four at most: 类, 项, 目, 细目", len(path))
		return
	}
	for i, step := range path {
		if step == "" || strings.ContainsAny(step, "/\n") {
			r.add(fmt.Sprintf("path[%d]", i), "%.30q 为空或含 /", "%.30q is empty or has a /", step)
		}
		out.Path[i] = step
	}
}

func (r *reading) privacy(d *Document, out *catalog.Dataset) {
	n := d.Privacy.Noise
	out.Privacy.Contributor, out.Privacy.Cap = d.Privacy.Contributor, d.Privacy.Cap
	if n == nil {
		return
	}
	out.Privacy.Noise = &catalog.Noise{MicroEpsilon: r.micro("privacy.noise.epsilon", n.Epsilon), MicroBudget: catalog.MaxMicroBudget, Bound: n.Bound}
	if n.Budget != 0 {
		out.Privacy.Noise.MicroBudget = r.micro("privacy.noise.budget", n.Budget)
	}
}

// micro are the millionths of an ε. It takes no finer ones: what is spent is
// counted in whole numbers.
func (r *reading) micro(path string, v float64) int64 {
	micro := math.Round(v * 1e6)
	if !(math.Abs(v*1e6-micro) < 1e-4) || math.Abs(micro) > 1e12 {
		r.add(path, "%v 不是 ε：至多六位小数", "%v is no ε: it has six decimals at most, such as 0.25", v)
		return 1
	}
	return int64(micro)
}

func (r *reading) items(d *Document, out *catalog.Dataset) {
	if len(d.Items) > maxItems {
		r.add("items", "至多 %[2]d 个，现有 %[1]d 个", "are %d; at most %d are allowed", len(d.Items), maxItems)
		return
	}
	for i, it := range d.Items {
		at := fmt.Sprintf("items[%d].", i)
		item := catalog.Item{
			Name: it.Name, Title: it.Title.of(), Type: catalog.Type(orElse(it.Type, string(catalog.Number))), Unit: it.Unit, Length: it.Length, Empty: it.Empty.of(),
			Share: catalog.Class(orElse(it.Share, d.Share.Class)), Open: catalog.Class(orElse(it.Open, d.Open.Class)),
			Grade: r.grade(at+"grade", orElse(it.Grade, d.Grade)),
		}
		if it.Length < 0 {
			r.add(at+"length", "%d 为负", "%d is negative", it.Length)
		}
		if d.Grade == "" {
			out.Grade = max(out.Grade, item.Grade) // the highest item wins
		}
		out.Items = append(out.Items, item)
	}
}

func (r *reading) length(d *Document) {
	for _, t := range []struct {
		at   string
		text Text
	}{{"title", d.Title}, {"abstract", d.Abstract}, {"provider.name", d.Provider.Name}, {"contact.name", d.Contact.Name}} {
		if len(t.text.ZH) > maxText || len(t.text.EN) > maxText {
			r.add(t.at, "超过 %d 字节", "has more than %d bytes", maxText)
		}
	}
}

func orElse(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}

func (t Text) of() catalog.Text { return catalog.Text(t) }

func (t Terms) of() catalog.Terms {
	out := catalog.Terms{Class: catalog.Class(t.Class), Condition: t.Condition.of(), Scope: t.Scope.of(), Purpose: t.Purpose.of()}
	for _, l := range t.Basis {
		out.Basis = append(out.Basis, l.of())
	}
	return out
}

func (l Law) of() catalog.Law {
	return catalog.Law{Title: l.Title.of(), Article: l.Article, URL: l.URL}
}

// same reports whether two documents say the same.
func (d *Document) same(other *Document) bool { return bytes.Equal(asJSON(d), asJSON(other)) }

// graded reports whether two documents say the same of what the grade is about.
func (d *Document) graded(other *Document) bool {
	a, b := *d, *other
	of := func(d Document) []byte {
		grades := map[string]string{}
		for _, it := range d.Items {
			grades[it.Name] = orElse(it.Grade, d.Grade)
		}
		return asJSON([]any{d.Grade, grades, d.Harm, d.Source, d.Personal, d.Privacy})
	}
	return bytes.Equal(of(a), of(b))
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the structs of this package always have a JSON form
	}
	return b
}
