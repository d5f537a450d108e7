// Package catalog holds what a public data catalogue is made of: datasets with
// their items, who provides them, how far they are shared and opened, how
// delicate they are, and how they come to be public. What may not be is an error
// that says what the law asks for. Art. 24
package catalog

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Class says how far data go.
//
// Art. 29 has the classes of sharing, Art. 33 those of opening.
type Class string

// The classes, of sharing among authorities and of opening to the public alike.
const (
	Unconditional Class = "unconditional"
	Conditional   Class = "conditional"
	None          Class = "none"
)

// Classes lists the classes, the widest first.
func Classes() []Class { return []Class{Unconditional, Conditional, None} }

// rank is how narrow a class is.
func (c Class) rank() int { return slices.Index(Classes(), c) }

// Wider reports whether a class goes further than another.
func (c Class) Wider(than Class) bool { return c.rank() < than.rank() }

// Narrower returns the one that goes less far.
func (c Class) Narrower(other Class) Class {
	if c.Wider(other) {
		return other
	}
	return c
}

// Text is a text for people in both languages; Chinese must be there.
type Text struct{ ZH, EN string }

// Type is that of the values of an item.
type Type string

// The types.
const (
	Number  Type = "number"
	Integer Type = "integer"
	Boolean Type = "boolean"
	String  Type = "string"
	Instant Type = "datetime" // RFC 3339
	Place   Type = "geometry" // GeoJSON
)

// Types lists the types.
func Types() []Type { return []Type{Number, Integer, Boolean, String, Instant, Place} }

// Item is a column of a dataset.
type Item struct {
	Name   string // ASCII, as in files
	Title  Text
	Type   Type
	Unit   string // UCUM; empty for none
	Length int    // of strings, in characters; 0: not bounded
	Share  Class
	Open   Class
	Grade  telemetry.Grade
	// Empty says what a value that is not there means.
	Empty Text
}

// Provider is who answers for a dataset.
type Provider struct {
	Name Text
	Code CreditCode
}

// Contact is whom people may ask.
type Contact struct {
	Name  Text
	Phone string
	Email string
}

// Law is a legal basis.
type Law struct {
	Title Text
	// Article as it is cited, such as 第二十九条.
	Article string
	URL     string
}

// Terms are how far something goes, and why no further.
type Terms struct {
	Class Class
	// Condition, Scope and Purpose are mandatory for conditional.
	Condition, Scope, Purpose Text
	// Basis is mandatory for conditional and none.
	Basis []Law
}

// Path places a dataset in the classification: 类, 项, 目, 细目.
type Path [4]string

// State is how far a dataset has come.
type State string

// The states.
const (
	Draft     State = "draft"
	Submitted State = "submitted"
	Published State = "published"
	Suspended State = "suspended" // out of everybody's reach until it is published again
	Withdrawn State = "withdrawn" // a tombstone
)

// next are the states that may follow.
var next = map[State][]State{
	Draft:     {Submitted, Withdrawn},
	Submitted: {Draft, Published, Withdrawn},
	Published: {Draft, Suspended, Withdrawn},
	Suspended: {Draft, Published, Withdrawn},
}

// May reports whether a dataset may go from a state to another.
func (s State) May(to State) bool { return slices.Contains(next[s], to) }

// Dataset is one entry of the catalogue.
type Dataset struct {
	// ID names it in addresses and files: a-z, 0-9 and hyphens. It never changes
	// and is never given again.
	ID string
	// Code is 信息资源代码: the class path and a number.
	Code     string
	Title    Text
	Abstract Text
	Keywords []Text
	Provider Provider
	Contact  Contact
	Path     Path
	// Region is the division code (GB/T 2260), or the beginning of one, of where
	// its data come from; empty: from everywhere.
	Region string
	Items  []Item
	Source Source
	Share  Terms
	Open   Terms
	Grade  telemetry.Grade
	// Signed is who signed the grade; empty: nobody yet.
	Signed string
	// Harm is what the grade follows from.
	Harm []Harm
	// Personal says that rows are about persons.
	Personal bool
	Privacy  Privacy
	// Cycle is how often it changes, as declared.
	Cycle Cycle
	// Retention is how long releases are kept; 0: for good.
	Retention time.Duration
	Licence   string // URI
	Related   []string
	State     State
	// Created, Published and Modified are times of the record; Data is when its
	// data changed last.
	Created, Published, Modified, Data time.Time
	Version                            int64
}

// Privacy is what a dataset asks of the privacy gate, beyond what its policy asks of
// every one.
type Privacy struct {
	// Noise is added to what is published; nil: none.
	Noise *Noise `json:",omitempty"`
	// Contributor is the label that tells contributors apart in series about persons,
	// such as that of a household; empty: the device.
	Contributor string `json:",omitempty"`
	// Cap is the most that a contributor adds to a sum in a bin, in the unit of the
	// item; what is more is cut off. 0: nothing is.
	Cap float64 `json:",omitempty"`
}

// Noise is two-sided geometric noise, and its budget, in millionths of ε.
type Noise struct {
	// MicroEpsilon is what a version spends of each day that it has, and MicroBudget
	// what all versions of a day may spend together.
	MicroEpsilon, MicroBudget int64
	// Bound is how many passages of one vehicle in a day the noise hides together. Of
	// series it is 0: the gate sees to it that nobody counts twice in a bin.
	Bound int64
}

// MaxMicroBudget is the highest budget: ε 1 a dataset and day.
const MaxMicroBudget = 1_000_000

// maxNoiseBound is more often than any vehicle passes detectors in a day.
const maxNoiseBound = 10_000

// Source is what a dataset is made of.
type Source struct {
	Kind SourceKind
	// Selector is PromQL that selects series, for SourceSeries.
	Selector string
	// Bin and Function are how they are summed up.
	Bin      time.Duration
	Function Function
	// By are the labels that rows keep; the spatial unit is one of them.
	By []string
	// Live says that values are offered as they come, by an interface.
	Live bool
}

// SourceKind is where rows come from.
type SourceKind string

// The kinds of sources.
const (
	SourceSeries  SourceKind = "series"  // of devices
	SourceRoads   SourceKind = "roads"   // flow and speed of links: always through the privacy gate
	SourceSignals SourceKind = "signals" // states of signals
	SourceCompute SourceKind = "compute" // load, energy and carbon of facilities
)

// Function is how values of a bin become one.
type Function string

// The functions.
const (
	Mean    Function = "avg"
	Minimum Function = "min"
	Maximum Function = "max"
	Total   Function = "sum"
	Latest  Function = "last"
	Tally   Function = "count"
)

// Functions lists the functions.
func Functions() []Function { return []Function{Mean, Minimum, Maximum, Total, Latest, Tally} }

// Cycle is an update cycle.
type Cycle struct {
	Period time.Duration // 0: as it happens, or never again: see Kind
	Kind   CycleKind
}

// CycleKind is how a dataset changes.
type CycleKind string

// The kinds of cycles.
const (
	Continuous CycleKind = "continuous"
	Periodic   CycleKind = "periodic"
	Irregular  CycleKind = "irregular"
	Never      CycleKind = "never"
)

var (
	datasetID = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)
	itemName  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	division  = regexp.MustCompile(`^(?:[0-9]{2}){0,3}$`)
	phone     = regexp.MustCompile(`^\+?[0-9][0-9 -]{5,19}$`)
)

// Division reports whether s is a division code, or the beginning of one.
func Division(s string) bool { return division.MatchString(s) }

// Problem is what is wrong with a dataset.
type Problem struct {
	Path   string // of the field, as in JSON
	ZH, EN string // what is wrong, and the way out
}

// Error implements error.
func (p Problem) Error() string { return p.Path + ": " + p.EN }

type problems []Problem

func (ps *problems) add(path, zh, en string, args ...any) {
	*ps = append(*ps, Problem{path, fmt.Sprintf(zh, args...), fmt.Sprintf(en, args...)})
}

func (ps *problems) need(ok bool, path string) {
	if !ok {
		ps.add(path, "必须填写", "must be there")
	}
}

// Check returns all that is wrong with a dataset; complete asks for what a
// submitted one must have, a draft may leave fields out.
func (d *Dataset) Check(complete bool) []Problem {
	var ps problems
	if !datasetID.MatchString(d.ID) {
		ps.add("id", "%.70q 不能作标识：用 1 到 63 个 a-z、0-9 和连字符", "%.70q is no id: it has 1 to 63 of a-z, 0-9 and hyphens, such as road-temperature-220100", d.ID)
	}
	if !Division(d.Region) {
		ps.add("region", "%.20q 不是行政区划代码：2、4 或 6 位数字", "%.20q is no division code: it has 2, 4 or 6 digits, such as 220100", d.Region)
	}
	ps.items(d)
	ps.terms("share", d.Share)
	ps.terms("open", d.Open)
	ps.source(&d.Source)
	ps.privacy(d)
	if d.Provider.Code != "" {
		if err := d.Provider.Code.Check(); err != nil {
			ps.add("provider.code", "统一社会信用代码 %.20q 有误：%v", "%.20q is no unified social credit code: %v", d.Provider.Code, err)
		}
	}
	if d.Contact.Phone != "" && !phone.MatchString(d.Contact.Phone) {
		ps.add("contact.phone", "%.30q 不是电话号码", "%.30q is no telephone number", d.Contact.Phone)
	}
	if complete {
		ps.complete(d)
	}
	return ps
}

func (ps *problems) items(d *Dataset) {
	seen := map[string]bool{}
	for i, it := range d.Items {
		at := fmt.Sprintf("items[%d]", i)
		switch {
		case !itemName.MatchString(it.Name):
			ps.add(at+".name", "%.70q 不能作字段名：以 a-z 开头，其后为 a-z、0-9、下划线，至多 63 个", "%.70q is no name of an item: a-z first, then up to 62 of a-z, 0-9 and _", it.Name)
		case seen[it.Name]:
			ps.add(at+".name", "字段 %q 重复", "item %q is there twice", it.Name)
		}
		seen[it.Name] = true
		if !slices.Contains(Types(), it.Type) {
			ps.add(at+".type", "%.30q 不是类型；可用：%v", "%.30q is no type; there are %v", it.Type, Types())
		}
		ps.classes(at, it.Share, it.Open)
		if it.Grade > d.Grade {
			ps.add(at+".grade", "字段等级 %s 高于数据集等级 %s；数据集取其最高者", "its grade %s is above that of the dataset, %s; a dataset has that of its highest item", it.Grade, d.Grade)
		}
	}
	for i, it := range d.Items {
		at := fmt.Sprintf("items[%d]", i)
		if d.Share.Class.rank() >= 0 && d.Share.Class.Wider(it.Share) {
			ps.add("share.class", "宽于字段 %q 的 %s；数据集的类别取其最严者", "goes further than item %q (%s is %s); a dataset goes as far as its strictest item", it.Name, at, it.Share)
		}
		if d.Open.Class.rank() >= 0 && d.Open.Class.Wider(it.Open) {
			ps.add("open.class", "宽于字段 %q 的 %s；数据集的类别取其最严者", "goes further than item %q (%s is %s); a dataset goes as far as its strictest item", it.Name, at, it.Open)
		}
	}
	ps.classes("", d.Share.Class, d.Open.Class)
	if d.Open.Class == Unconditional && d.Grade > telemetry.General {
		ps.add("open.class", "等级为 %s 的数据不得无条件开放", "data of grade %s cannot be opened unconditionally", d.Grade)
	}
	// Conditional is what live data are unless somebody says on what ground not.
	if d.Open.Class == Unconditional && d.Source.Live && len(d.Open.Basis) == 0 {
		ps.add("open.class", "持续产生的实时数据默认有条件开放；确可无条件开放的，在 open.basis 写明依据，否则将其脱敏聚合另立为无条件开放的数据集", "live data are opened conditionally by default; name in open.basis the ground on which everybody may have them, or make a dataset of their de-identified aggregate for everybody")
	}
}

// classes refuses pairs that the law does not know: what is opened to everybody
// and not shared with authorities. Art. 28
func (ps *problems) classes(at string, share, open Class) {
	field := func(name string) string {
		if at == "" {
			return name + ".class"
		}
		return at + "." + name
	}
	for _, c := range []struct {
		name string
		is   Class
	}{{"share", share}, {"open", open}} {
		if c.is.rank() < 0 {
			ps.add(field(c.name), "%.30q 不是类别；可用：%v", "%.30q is no class; there are %v", c.is, Classes())
		}
	}
	if share.rank() >= 0 && open.rank() >= 0 && open.Wider(share) {
		ps.add(field("open"), "开放（%s）不得宽于共享（%s）：公共数据以共享为原则", "is opened (%s) further than it is shared (%s): what everybody may have, authorities may", open, share)
	}
}

func (ps *problems) terms(at string, t Terms) {
	if t.Class == Conditional {
		ps.need(t.Condition.ZH != "", at+".condition.zh")
		ps.need(t.Scope.ZH != "", at+".scope.zh")
		ps.need(t.Purpose.ZH != "", at+".purpose.zh")
	}
	if (t.Class == Conditional || t.Class == None) && len(t.Basis) == 0 {
		ps.add(at+".basis", "类别为 %s 时必须写明法律依据", "is %s, which needs a legal basis: the law and its article", t.Class)
	}
}

func (ps *problems) source(s *Source) {
	if !slices.Contains([]SourceKind{SourceSeries, SourceRoads, SourceSignals, SourceCompute}, s.Kind) {
		ps.add("source.kind", "%.30q 不是数据来源", "%.30q is no kind of source; there are series, roads, signals and compute", s.Kind)
	}
	if s.Kind == SourceRoads && s.Live {
		ps.add("source.live", "道路数据须经隐私门控按时段发布，不得实时提供", "what is told of roads goes through the privacy gate, bin by bin, and is never live")
	}
	if s.Kind == SourceSeries && strings.TrimSpace(s.Selector) == "" {
		ps.need(false, "source.selector")
	}
	if s.Function != "" && !slices.Contains(Functions(), s.Function) {
		ps.add("source.function", "%.30q 不是汇总方法；可用：%v", "%.30q is no function; there are %v", s.Function, Functions())
	}
	if s.Bin < 0 || s.Bin > 0 && (s.Bin < time.Second || 24*time.Hour%s.Bin != 0) {
		ps.add("source.bin", "时间粒度 %s 须整除一天且不短于 1s", "%s does not divide a day into equal bins of a second or more", s.Bin)
	}
}

func (ps *problems) privacy(d *Dataset) {
	people := d.Personal && d.Source.Kind == SourceSeries
	if d.Personal && d.Source.Live {
		ps.add("source.live", "涉及个人的数据须经隐私门控按时段发布，不得实时提供", "what is about persons goes through the privacy gate, bin by bin, and is never live")
	}
	if !people && d.Privacy.Contributor != "" {
		ps.add("privacy.contributor", "只用于涉及个人的时序（personal: true）", "is for series about persons (personal: true)")
	}
	if !(d.Privacy.Cap >= 0 && d.Privacy.Cap <= 1e9) || !people && d.Privacy.Cap != 0 {
		ps.add("privacy.cap", "只用于涉及个人的时序（personal: true），为 0 到 1e9", "is for series about persons (personal: true), and from 0 to 1e9")
	}
	n := d.Privacy.Noise
	if n == nil {
		return
	}
	if d.Source.Kind != SourceRoads && !people {
		ps.add("privacy.noise", "噪声在隐私门控中加入，来源为 %s 且不涉及个人的数据集不经门控：去掉 privacy.noise", "is added by the privacy gate, which a dataset of %s that is about nobody does not pass: leave privacy.noise out", d.Source.Kind)
	}
	if n.MicroEpsilon < 1 || n.MicroEpsilon > MaxMicroBudget {
		ps.add("privacy.noise.epsilon", "每一版的 ε 须大于 0 且不超过 1", "must be above 0 and at most 1: it is what each version of a day spends")
	}
	if n.MicroBudget < n.MicroEpsilon || n.MicroBudget > MaxMicroBudget {
		ps.add("privacy.noise.budget", "每日预算须不小于 privacy.noise.epsilon 且不超过 1", "must be at least privacy.noise.epsilon, and at most 1: it is what all versions of a day may spend together")
	}
	if people {
		if n.Bound != 0 {
			ps.add("privacy.noise.bound", "门控保证同一贡献者每时段只计一次，不必填写", "must be left out: the gate sees to it that a contributor counts once in a bin")
		}
		if d.Privacy.Cap == 0 && d.Source.Function != Tally {
			ps.add("privacy.cap", "加噪声时必须填写：单个贡献者每时段计入合计的上限", "must be there with noise: the most that a contributor adds to a sum in a bin, such as 5 kW.h")
		}
	} else if n.Bound < 1 || n.Bound > maxNoiseBound {
		ps.add("privacy.noise.bound", "须为 1 到 %d：一辆车一日内由噪声共同掩盖的过车次数", "must be 1 to %d: how many passages of one vehicle in a day the noise hides together, such as 8", maxNoiseBound)
	}
}

func (ps *problems) complete(d *Dataset) {
	ps.need(d.Title.ZH != "", "title.zh")
	ps.need(d.Title.EN != "", "title.en")
	ps.need(d.Abstract.ZH != "", "abstract.zh")
	ps.need(d.Provider.Name.ZH != "", "provider.name.zh")
	ps.need(d.Provider.Code != "", "provider.code")
	ps.need(d.Contact.Name.ZH != "", "contact.name.zh")
	ps.need(d.Contact.Phone != "" || d.Contact.Email != "", "contact.phone")
	ps.need(d.Path[0] != "", "path")
	ps.need(len(d.Items) > 0, "items")
	ps.need(d.Licence != "" || d.Open.Class == None, "licence")
	ps.need(d.Cycle.Kind != "", "cycle.kind")
	for i, it := range d.Items {
		ps.need(it.Title.ZH != "", fmt.Sprintf("items[%d].title.zh", i))
	}
	if g, why := GradeOf(d.Harm); g > d.Grade {
		ps.add("grade", "依所填影响应为 %s（%s），不得低于此", "must be %s at least, as its harm says (%s)", g, why.EN)
	}
}
