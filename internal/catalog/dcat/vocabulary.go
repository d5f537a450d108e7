package dcat

import (
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// The tables of the Publications Office of the European Union, whose codes
// DCAT-AP asks for.
const authority = "http://publications.europa.eu/resource/authority/"

// code is a code of such a table, with what a page must say of it to be
// complete: its class, where it has one beside skos:Concept, and its English
// name.
type code struct {
	table, code string
	class       name
	label       string
}

var (
	access = map[catalog.Class]code{
		catalog.Unconditional: {"access-right", "PUBLIC", "dct:RightsStatement", "public"},
		catalog.Conditional:   {"access-right", "RESTRICTED", "dct:RightsStatement", "restricted"},
		catalog.None:          {"access-right", "NON_PUBLIC", "dct:RightsStatement", "non-public"},
	}
	// formats has no code for what the table is not known to have, such as NDJSON.
	formats = map[string]code{
		"text/csv":             {"file-type", "CSV", "dct:MediaTypeOrExtent", "CSV"},
		"application/json":     {"file-type", "JSON", "dct:MediaTypeOrExtent", "JSON"},
		"application/geo+json": {"file-type", "GEOJSON", "dct:MediaTypeOrExtent", "GeoJSON"},
	}
	kept      = code{"planned-availability", "STABLE", "", "stable"}
	available = code{"planned-availability", "AVAILABLE", "", "available"}

	cycles = map[catalog.CycleKind]code{
		catalog.Continuous: {"frequency", "UPDATE_CONT", "dct:Frequency", "continuously updated"},
		catalog.Irregular:  {"frequency", "IRREG", "dct:Frequency", "irregular"},
		catalog.Never:      {"frequency", "NEVER", "dct:Frequency", "never"},
	}
	periods = map[time.Duration]code{
		time.Hour:          {"frequency", "HOURLY", "dct:Frequency", "hourly"},
		2 * time.Hour:      {"frequency", "BIHOURLY", "dct:Frequency", "bihourly"},
		3 * time.Hour:      {"frequency", "TRIHOURLY", "dct:Frequency", "trihourly"},
		12 * time.Hour:     {"frequency", "DAILY_2", "dct:Frequency", "twice a day"},
		24 * time.Hour:     {"frequency", "DAILY", "dct:Frequency", "daily"},
		7 * 24 * time.Hour: {"frequency", "WEEKLY", "dct:Frequency", "weekly"},
	}
	// otherwise is the frequency of a period that the table has no code for; the
	// period itself stands in hub:updatePeriod.
	otherwise = code{"frequency", "OTHER", "dct:Frequency", "other"}
)

// code says what a code is, once a page, and returns it.
func (g *Graph) code(c code) object {
	id := authority + c.table + "/" + c.code
	n, fresh := g.about(id)
	if fresh {
		n.append("rdf:type", is("skos:Concept"))
		if c.class != "" {
			n.append("rdf:type", is(c.class))
		}
		n.append("skos:prefLabel", in("en", c.label))
		n.append("skos:inScheme", to(authority+c.table))
	}
	return to(id)
}

// frequency is the code of a cycle; not ok: none is declared.
func frequency(c catalog.Cycle) (code, bool) {
	if c.Kind == catalog.Periodic {
		if known, found := periods[c.Period]; found {
			return known, true
		}
		return otherwise, true
	}
	known, found := cycles[c.Kind]
	return known, found
}

// concept is a word of our own that stands for a value.
type concept struct {
	local, zh, en string
}

// scheme is a list of such words.
type scheme struct {
	local, zh, en string
	concepts      []concept
}

var (
	grades = scheme{"Grade", "数据分级（GB/T 43697）", "Grades of data (GB/T 43697)", []concept{
		{"gradeUngraded", "未分级", "ungraded"},
		{"gradeGeneral", "一般数据", "general"},
		{"gradeImportant", "重要数据", "important"},
		{"gradeCore", "核心数据", "core"},
	}}
	sharing = scheme{"ShareClass", "共享类型", "Classes of sharing", []concept{
		{"shareUnconditional", "无条件共享", "shared unconditionally"},
		{"shareConditional", "有条件共享", "shared conditionally"},
		{"shareNone", "不予共享", "not shared"},
	}}
	opening = scheme{"OpenClass", "开放类型", "Classes of opening", []concept{
		{"openUnconditional", "无条件开放", "opened unconditionally"},
		{"openConditional", "有条件开放", "opened conditionally"},
		{"openNone", "不予开放", "not opened"},
	}}
	schemes = []scheme{grades, sharing, opening}

	// properties of our own, with their comments.
	properties = []concept{
		{"grade", "数据等级", "grade of the data"},
		{"shareClass", "共享类型", "how far it is shared among authorities"},
		{"openClass", "开放类型", "how far it is opened to the public"},
		{"shareCondition", "共享条件", "on which condition it is shared"},
		{"shareScope", "共享范围", "how much of it is shared"},
		{"sharePurpose", "共享用途", "what for it is shared"},
		{"openCondition", "开放条件", "on which condition it is opened"},
		{"openScope", "开放范围", "how much of it is opened"},
		{"openPurpose", "开放用途", "what for it is opened"},
		{"personalData", "是否涉及个人信息", "whether its rows are about persons"},
		{"retention", "保存期限", "how long releases are kept; absent: for good"},
		{"updatePeriod", "更新周期", "how often it is updated, as declared"},
		{"item", "信息项", "an item, which is a column"},
		{"position", "顺序号", "place of the item, from 1"},
		{"itemName", "信息项名称", "name of the column in files"},
		{"itemType", "数据类型", "type of the values: number, integer, boolean, string, datetime, geometry"},
		{"itemLength", "数据长度", "longest text, in characters"},
		{"unit", "计量单位", "unit of the values, a code of UCUM"},
		{"emptyMeans", "空值含义", "what a value that is not there means"},
		{"rows", "数据量（行）", "rows of the file"},
		{"release", "版本号", "number of the release"},
	}
	metrics = map[catalog.Dimension]concept{
		catalog.Completeness:  {"completeness", "完整性：收到与应收之比", "completeness: received of what was expected"},
		catalog.Timeliness:    {"timeliness", "及时性：延迟的第 95 百分位（秒）", "timeliness: 95th percentile of the delay in seconds"},
		catalog.Validity:      {"validity", "有效性：合理值之比", "validity: share of plausible values"},
		catalog.Consistency:   {"consistency", "一致性：无重复、无乱序之比", "consistency: share without duplicates and disorder"},
		catalog.Accessibility: {"accessibility", "可访问性：地址探测成功之比", "accessibility: share of probes of its addresses that succeeded"},
	}
)

// hub is the address of a word of our own.
func (g *Graph) hub(local string) string { return g.vocabulary + local }

// concept says what the i-th word of a scheme is, once a page, and returns it.
func (g *Graph) concept(s *scheme, i int) object {
	c := &s.concepts[i]
	n, fresh := g.about(g.hub(c.local))
	if fresh {
		n.append("rdf:type", is("skos:Concept"))
		n.both("skos:prefLabel", c.zh, c.en)
		n.append("skos:inScheme", is(name("hub:"+s.local)))
	}
	return is(name("hub:" + c.local))
}

func (g *Graph) grade(is telemetry.Grade) object { return g.concept(&grades, int(is)) }

// class is the word for how far something goes; what no class is is taken for
// the narrowest.
func (g *Graph) class(s *scheme, is catalog.Class) object {
	for i, c := range catalog.Classes() {
		if c == is {
			return g.concept(s, i)
		}
	}
	return g.concept(s, len(s.concepts)-1)
}

// metric says what a dimension of quality is, once a page, and returns it.
func (g *Graph) metric(d catalog.Dimension) object {
	c := metrics[d]
	n, fresh := g.about(g.hub(c.local))
	if fresh {
		n.append("rdf:type", is("dqv:Metric"))
		n.both("skos:prefLabel", c.zh, c.en)
	}
	return is(name("hub:" + c.local))
}

// Vocabulary is every word of our own, with its meaning in Chinese and English.
func Vocabulary(base catalog.Base) *Graph {
	g := newGraph(base.Vocabulary(), 64)
	for i := range schemes {
		s := &schemes[i]
		n := g.a(g.hub(s.local), "skos:ConceptScheme")
		n.both("dct:title", s.zh, s.en)
		for j := range s.concepts {
			g.concept(s, j)
		}
	}
	for _, p := range properties {
		g.a(g.hub(p.local), "rdf:Property").both("rdfs:label", p.zh, p.en)
	}
	g.a(g.hub("Item"), "rdfs:Class").both("rdfs:label", "信息项", "item, a column of a dataset")
	for _, d := range catalog.Dimensions() {
		g.metric(d)
	}
	return g
}
