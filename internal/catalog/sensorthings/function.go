package sensorthings

import (
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// function is one of the query functions of OGC 18-088, 9.3.3.5.2.
type function struct {
	name   string
	takes  []kind
	gives  kind
	result func(args []value) value
}

var functions = []function{
	{"substringof", []kind{text, text}, boolean, func(a []value) value { return truthOf(strings.Contains(a[1].text, a[0].text)) }},
	{"startswith", []kind{text, text}, boolean, func(a []value) value { return truthOf(strings.HasPrefix(a[0].text, a[1].text)) }},
	{"endswith", []kind{text, text}, boolean, func(a []value) value { return truthOf(strings.HasSuffix(a[0].text, a[1].text)) }},
	{"length", []kind{text}, number, func(a []value) value { return numberOf(float64(utf8.RuneCountInString(a[0].text))) }},
	{"tolower", []kind{text}, text, func(a []value) value { return textOf(strings.ToLower(a[0].text)) }},
	{"toupper", []kind{text}, text, func(a []value) value { return textOf(strings.ToUpper(a[0].text)) }},
	{"trim", []kind{text}, text, func(a []value) value { return textOf(strings.TrimSpace(a[0].text)) }},
	{"year", []kind{instant}, number, ofTime(func(t time.Time) int { return t.Year() })},
	{"month", []kind{instant}, number, ofTime(func(t time.Time) int { return int(t.Month()) })},
	{"day", []kind{instant}, number, ofTime(func(t time.Time) int { return t.Day() })},
	{"hour", []kind{instant}, number, ofTime(func(t time.Time) int { return t.Hour() })},
	{"minute", []kind{instant}, number, ofTime(func(t time.Time) int { return t.Minute() })},
	{"second", []kind{instant}, number, ofTime(func(t time.Time) int { return t.Second() })},
	{"round", []kind{number}, number, ofNumber(math.Round)},
	{"floor", []kind{number}, number, ofNumber(math.Floor)},
	{"ceiling", []kind{number}, number, ofNumber(math.Ceil)},
}

// Times are told apart in UTC.
func ofTime(f func(time.Time) int) func([]value) value {
	return func(a []value) value { return numberOf(float64(f(time.UnixMilli(a[0].at).UTC()))) }
}

func ofNumber(f func(float64) float64) func([]value) value {
	return func(a []value) value { return numberOf(f(a[0].number)) }
}

// call reads the arguments of a function, of which the ( is taken.
func (p *parser) call(name token, depth int) (*expr, error) {
	if depth++; depth > maxParens {
		return nil, tooDeep()
	}
	i := slices.IndexFunc(functions, func(f function) bool { return f.name == name.text })
	if i < 0 {
		known := make([]string, len(functions))
		for i, f := range functions {
			known[i] = f.name
		}
		return nil, bad("$filter 中没有函数 %.40s；可用：%s。", "$filter: there is no function %.40s; there are %s", name.text, strings.Join(known, ", "))
	}
	f := functions[i]
	args := make([]*expr, len(f.takes))
	for i, want := range f.takes {
		if i > 0 && !p.is(",") {
			return nil, p.unexpected(",")
		}
		var err error
		if args[i], err = p.operand(depth); err != nil {
			return nil, err
		}
		if k := args[i].kind; k != want && k != dynamic {
			return nil, bad("%s 的第 %d 个参数应为 %s，而不是 %s。", "%s takes %[3]s as argument %[2]d, and not %[4]s", f.name, i+1, want, k)
		}
	}
	if !p.is(")") {
		return nil, p.unexpected(")")
	}
	return &expr{kind: f.gives, in: always, eval: func(q *question, r *row) (value, error) {
		values := make([]value, len(args))
		for i, a := range args {
			v, err := a.eval(q, r)
			if err != nil || v.kind != f.takes[i] {
				return value{}, err // null, of what there is not
			}
			values[i] = v
		}
		return f.result(values), nil
	}}, nil
}

const idName = "@iot.id"

// parsePath reads a property, behind single links where it is one of another
// entity: Datastream/Thing/properties/region.
func parsePath(of set, path string) (*expr, error) {
	var follow []link
	names := strings.Split(path, "/")
	for ; len(names) > 1; names = names[1:] {
		l, ok := linkOf(of, names[0])
		if !ok {
			break
		}
		if l.many {
			return nil, bad("%s 通向多个实体，不能用于条件或排序；请改从 %s 查询。", "%s leads to many entities and cannot be compared; ask %[2]s instead", l.name, l.to.name())
		}
		if follow = append(follow, l); len(follow) > maxNesting {
			return nil, bad("%.80s 经过的链接超过 %d 个。", "%.80s goes through more than %d links", path, maxNesting)
		}
		of = l.to
	}
	p, ok := propertyOf(of, names[0])
	if !ok {
		return nil, unknownProperty(of, names[0])
	}
	inner, own := names[1:], len(follow) == 0
	e := &expr{kind: p.kind, in: always, id: own && p.name == idName, time: own && of == observations && p.kind == instant}
	switch {
	case len(inner) > 0 && p.kind != object:
		return nil, bad("%s 没有下级属性 %.40s。", "%s is no object and has no %.40s", p.name, inner[0])
	case len(inner) > 0:
		e.kind = dynamic
	}
	e.eval = func(q *question, r *row) (value, error) {
		for _, l := range follow {
			var err error
			if r, err = q.one(l, r); err != nil || r == nil {
				return value{}, err
			}
		}
		return p.get(q, r).in(inner), nil
	}
	return e, nil
}

var identity = property{idName, text, func(_ *question, r *row) value { return textOf(r.key()) }}

func propertyOf(of set, name string) (property, bool) {
	if name == idName || name == "id" {
		return identity, true
	}
	for _, p := range entities[of].properties {
		if p.name == name {
			return p, true
		}
	}
	return property{}, false
}

func linkOf(of set, name string) (link, bool) {
	for _, l := range entities[of].links {
		if l.name == name {
			return l, true
		}
	}
	return link{}, false
}

func unknownProperty(of set, name string) error {
	all := []string{idName}
	for _, p := range entities[of].properties {
		all = append(all, p.name)
	}
	for _, l := range entities[of].links {
		all = append(all, l.name)
	}
	return bad("%s 没有属性 %.60q；有：%s。", "%s have no property %.60q; there are %s", of.name(), name, strings.Join(all, ", "))
}
