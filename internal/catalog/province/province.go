// Package province writes datasets by the template of the provincial platform:
// the columns of 政务信息资源目录编制指南, a row for every item (信息项). Codes are
// those of a destination, which are configured: what its tables do not know is
// an error that says so, and never a guess. Art. 24
package province

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Destination is a platform that takes catalogues, with its code tables.
type Destination struct {
	// Name is what it is called in messages and records.
	Name string
	// Share has the codes of 共享类型 by class: unconditional, conditional, none.
	Share map[string]string
	// Open has the codes of 是否向社会开放 by class: unconditional, conditional, none.
	Open map[string]string
	// Cycle has the codes of 更新周期 by cycle: continuous, irregular, never, or a
	// period such as 10m, 1h, 24h.
	Cycle map[string]string
	// Type has the codes of 数据类型 by type: number, integer, boolean, string,
	// datetime, geometry.
	Type map[string]string
	// Format has the codes of 信息资源格式 by media type, such as text/csv.
	Format map[string]string
	// Grade has the codes of 数据分级 by grade: general, important, core.
	Grade map[string]string
}

// Check returns what is wrong with the destination: codes for what does not
// exist. A table may lack what is never sent.
func (d Destination) Check(path string) []strict.Error {
	var es []strict.Error
	if strings.TrimSpace(d.Name) == "" {
		es = append(es, strict.Fault(path, "name", "must be there: it names the platform in messages and records"))
	}
	for _, t := range d.tables() {
		for _, value := range slices.Sorted(maps.Keys(t.codes)) {
			switch {
			case !t.exists(value):
				es = append(es, strict.Fault(path, t.key+"."+value, "is the code of nothing; there are %s", t.values))
			case strings.TrimSpace(t.codes[value]) == "":
				es = append(es, strict.Fault(path, t.key+"."+value, "has no code; take it from the platform's table of %s", t.title))
			}
		}
	}
	return es
}

// table is a code table with the values it may have codes for.
type table struct {
	key, title string // in the configuration, and of the template
	codes      map[string]string
	values     string // for people
	exists     func(string) bool
}

func oneOf[T ~string](all []T) (string, func(string) bool) {
	words := make([]string, len(all))
	for i, v := range all {
		words[i] = string(v)
	}
	return strings.Join(words, ", "), func(s string) bool { return slices.Contains(words, s) }
}

func (d *Destination) tables() []table {
	classes, class := oneOf(catalog.Classes())
	types, typ := oneOf(catalog.Types())
	grades, grade := oneOf([]string{telemetry.General.String(), telemetry.Important.String(), telemetry.Core.String()})
	return []table{
		{"share", "共享类型", d.Share, classes, class},
		{"open", "是否向社会开放", d.Open, classes, class},
		{"cycle", "更新周期", d.Cycle, "continuous, irregular, never and periods such as 10m, 1h, 24h", cycle},
		{"type", "数据类型", d.Type, types, typ},
		{"format", "信息资源格式", d.Format, "media types such as text/csv", func(s string) bool { return strings.Count(s, "/") == 1 }},
		{"grade", "数据分级", d.Grade, grades, grade},
	}
}

func cycle(s string) bool {
	if slices.Contains([]catalog.CycleKind{catalog.Continuous, catalog.Irregular, catalog.Never}, catalog.CycleKind(s)) {
		return true
	}
	p, err := time.ParseDuration(s)
	return err == nil && p > 0
}

// code looks a value up; not found, the problem says what to do.
func (d *Destination) code(ps *[]catalog.Problem, path, key, value string) string {
	for _, t := range d.tables() {
		if t.key != key {
			continue
		}
		if code, found := t.find(value); found {
			return code
		}
		*ps = append(*ps, catalog.Problem{Path: path,
			ZH: fmt.Sprintf("目的地 %q 的代码表「%s」没有 %q；请在其配置的 %s 下补上该平台的代码，或修改数据集", d.Name, t.title, value, t.key),
			EN: fmt.Sprintf("destination %q has no code for %q in its table of %s; add the platform's code under %s of its configuration, or change the dataset", d.Name, value, t.title, t.key)})
	}
	return ""
}

// find looks a value up: periods are the same however they are written.
func (t *table) find(value string) (string, bool) {
	if code, found := t.codes[value]; found {
		return code, true
	}
	if t.key != "cycle" {
		return "", false
	}
	want, err := time.ParseDuration(value)
	for _, written := range slices.Sorted(maps.Keys(t.codes)) {
		if p, perr := time.ParseDuration(written); err == nil && perr == nil && p == want {
			return t.codes[written], true
		}
	}
	return "", false
}

// Resource is a dataset by the template.
type Resource struct {
	Class        string   `json:"类"`
	Order        string   `json:"项"`
	Division     string   `json:"目"`
	Detail       string   `json:"细目"`
	Name         string   `json:"信息资源名称"`
	Code         string   `json:"信息资源代码"`
	Provider     string   `json:"信息资源提供方"`
	ProviderCode string   `json:"信息资源提供方代码"`
	Abstract     string   `json:"信息资源摘要"`
	Formats      []string `json:"信息资源格式"`
	Share        string   `json:"共享类型"`
	ShareTerms   string   `json:"共享条件"`
	ShareMethod  string   `json:"共享方式"`
	Open         string   `json:"是否向社会开放"`
	OpenTerms    string   `json:"开放条件"`
	Cycle        string   `json:"更新周期"`
	Published    string   `json:"发布日期"` // YYYY-MM-DD
	Related      []string `json:"关联资源代码"`
	Grade        string   `json:"数据分级"`
	Basis        string   `json:"依据"`
	Contact      string   `json:"咨询"`
	Phone        string   `json:"联系电话"`
	Items        []Item   `json:"信息项信息"`
}

// Item is a column by the template.
type Item struct {
	Name   string `json:"信息项名称"`
	Field  string `json:"英文名称"`
	Type   string `json:"数据类型"`
	Length string `json:"数据长度"` // of texts; empty: not bounded
	Unit   string `json:"计量单位"`
	Share  string `json:"共享类型"`
	Open   string `json:"是否向社会开放"`
	Grade  string `json:"数据分级"`
}

// beijing is the clock of the platform; China has one, without summer time.
var beijing = time.FixedZone("UTC+8", 8*60*60)

// Resources are the datasets of a snapshot in the codes of the destination, and
// every problem, by dataset and field. A dataset with a problem is left out: half
// of one is not sent.
func (d *Destination) Resources(s *catalog.Snapshot) (all []Resource, ps []catalog.Problem) {
	all = make([]Resource, 0, len(s.Entries))
	for _, e := range s.Entries {
		before := len(ps)
		if r := d.resource(&ps, s, e); len(ps) == before {
			all = append(all, r)
		}
	}
	return all, ps
}

// Resource is one dataset of a snapshot in the codes of the destination; with a
// problem it is none.
func (d *Destination) Resource(s *catalog.Snapshot, e *catalog.Entry) (Resource, []catalog.Problem) {
	var ps []catalog.Problem
	return d.resource(&ps, s, e), ps
}

func (d *Destination) resource(ps *[]catalog.Problem, s *catalog.Snapshot, e *catalog.Entry) Resource {
	c, at := e.Dataset, e.Dataset.ID+"."
	r := Resource{
		Class: c.Path[0], Order: c.Path[1], Division: c.Path[2], Detail: c.Path[3],
		Name: c.Title.ZH, Code: c.Code, Provider: c.Provider.Name.ZH, ProviderCode: string(c.Provider.Code), Abstract: c.Abstract.ZH,
		Share: d.code(ps, at+"share.class", "share", string(c.Share.Class)), ShareTerms: terms(&c.Share), ShareMethod: "接口、文件",
		Open: d.code(ps, at+"open.class", "open", string(c.Open.Class)), OpenTerms: terms(&c.Open),
		Cycle: d.code(ps, at+"cycle", "cycle", period(c.Cycle)), Grade: d.code(ps, at+"grade", "grade", c.Grade.String()),
		Basis: basis(c), Contact: c.Contact.Name.ZH, Phone: c.Contact.Phone, Formats: []string{}, Related: []string{}, Items: []Item{},
	}
	if !c.Published.IsZero() {
		r.Published = c.Published.In(beijing).Format(time.DateOnly)
	}
	r.Formats = d.formats(ps, at, e)
	for _, id := range c.Related {
		if other := s.Find(id); other != nil {
			r.Related = append(r.Related, other.Dataset.Code)
		}
	}
	for i, it := range c.Items {
		at := fmt.Sprintf("%sitems[%d].", at, i)
		item := Item{Name: it.Title.ZH, Field: it.Name, Unit: it.Unit, Type: d.code(ps, at+"type", "type", string(it.Type)), Share: d.code(ps, at+"share", "share", string(it.Share)),
			Open: d.code(ps, at+"open", "open", string(it.Open)), Grade: d.code(ps, at+"grade", "grade", it.Grade.String())}
		if it.Length > 0 {
			item.Length = strconv.Itoa(it.Length)
		}
		r.Items = append(r.Items, item)
	}
	return r
}

// formats are the codes of the forms that it is offered in, each once.
func (d *Destination) formats(ps *[]catalog.Problem, at string, e *catalog.Entry) []string {
	codes, seen := []string{}, map[string]bool{}
	release, live := e.Offered()
	all := live
	if release != nil {
		all = slices.Concat(release.Files, live)
	}
	for i := range all {
		if m := all[i].MediaType; !seen[m] {
			seen[m] = true
			if code := d.code(ps, at+"format", "format", m); code != "" && !slices.Contains(codes, code) {
				codes = append(codes, code)
			}
		}
	}
	return codes
}

func period(c catalog.Cycle) string {
	if c.Kind == catalog.Periodic {
		return c.Period.String()
	}
	return string(c.Kind)
}

// terms are condition, scope and purpose in one text, as the template has one.
func terms(t *catalog.Terms) string {
	var all []string
	for _, p := range []struct{ name, text string }{{"条件", t.Condition.ZH}, {"范围", t.Scope.ZH}, {"用途", t.Purpose.ZH}} {
		if p.text != "" {
			all = append(all, p.name+"："+p.text)
		}
	}
	return strings.Join(all, "；")
}

func basis(d *catalog.Dataset) string {
	var all []string
	for _, laws := range [][]catalog.Law{d.Share.Basis, d.Open.Basis} {
		for _, l := range laws {
			if s := "《" + l.Title.ZH + "》" + l.Article; !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return strings.Join(all, "；")
}

// JSON writes resources as a list of objects with the template's names.
func JSON(all []Resource) ([]byte, error) { return json.MarshalIndent(all, "", "  ") }

// Withdrawal says that a resource is no longer offered. The template has no such
// row: it is a document of its own.
type Withdrawal struct {
	Code   string `json:"信息资源代码"`
	Action string `json:"操作"` // 撤销
	Reason string `json:"撤销原因"`
}

// NewWithdrawal makes one of a code, as the platform knows it.
func NewWithdrawal(code, reason string) Withdrawal { return Withdrawal{code, "撤销", reason} }

// CSV writes the withdrawal as CSV writes resources.
func (w Withdrawal) CSV() ([]byte, error) {
	return rows([][]string{{"信息资源代码", "操作", "撤销原因"}, {w.Code, w.Action, w.Reason}})
}

// separator stands between several values in one cell.
const separator = ";"

// header are the columns of the CSV: of the resource first, then of its item.
var header = []string{"类", "项", "目", "细目", "信息资源名称", "信息资源代码", "信息资源提供方", "信息资源提供方代码", "信息资源摘要", "信息资源格式", "共享类型", "共享条件", "共享方式", "是否向社会开放", "开放条件",
	"更新周期", "发布日期", "关联资源代码", "数据分级", "依据", "咨询", "联系电话", "信息项名称", "信息项英文名称", "数据类型", "数据长度", "计量单位", "信息项共享类型", "信息项是否向社会开放", "信息项数据分级"}

// CSV writes resources as RFC 4180 says, with a byte order mark: without it the
// programs that people open the template with take it for GBK. A row is an item;
// a resource without items has a row all the same.
func CSV(all []Resource) ([]byte, error) {
	table := [][]string{header}
	for i := range all {
		r := &all[i]
		own := []string{r.Class, r.Order, r.Division, r.Detail, r.Name, r.Code, r.Provider, r.ProviderCode, r.Abstract, strings.Join(r.Formats, separator), r.Share, r.ShareTerms, r.ShareMethod, r.Open, r.OpenTerms,
			r.Cycle, r.Published, strings.Join(r.Related, separator), r.Grade, r.Basis, r.Contact, r.Phone}
		items := r.Items
		if len(items) == 0 {
			items = []Item{{}}
		}
		for _, it := range items {
			table = append(table, slices.Concat(own, []string{it.Name, it.Field, it.Type, it.Length, it.Unit, it.Share, it.Open, it.Grade}))
		}
	}
	return rows(table)
}

func rows(all [][]string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("\uFEFF")
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	if err := w.WriteAll(all); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
