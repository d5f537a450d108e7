package sensorthings

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// options are the query options of a collection or an entity, of the request or
// within a $expand.
type options struct {
	of     set
	raw    []rawOption // as they were sent, for nextLinks
	selec  []string    // nil: everything
	expand []expansion
	filter *expr
	order  []ordering
	top    int
	skip   int
	count  bool
	array  bool   // resultFormat=dataArray
	after  string // key behind which the page begins; empty at the beginning
}

type rawOption struct{ name, value string }

type expansion struct {
	link    link
	options *options
}

type ordering struct {
	by   *expr
	down bool
}

const tokenOption = "$skiptoken"

// datasetOption narrows a request to what of it is of a dataset. It is no option
// of the standard, which leaves names without $ to servers; Sight goes by it.
const datasetOption = "dataset"

// optionNames are what a request may ask for, in the order of nextLinks.
var optionNames = []string{"$select", "$expand", "$filter", "$orderby", "$count", "$resultFormat", "$top", "$skip", datasetOption, tokenOption}

// parseQuery reads the options of a request. The standard's ; within $expand is no
// separator here, as it is for net/url.
func parseQuery(of set, query string) (*options, error) {
	if len(query) > maxQuery {
		return nil, bad("查询参数超过 %d 字节。", "the query has more than %d bytes", maxQuery)
	}
	var all []rawOption
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, v, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		if err == nil {
			v, err = url.QueryUnescape(v)
		}
		if err != nil {
			return nil, bad("查询参数 %.60q 的百分号编码有误。", "%.60q is no percent-encoded option", part)
		}
		all = append(all, rawOption{name, v})
	}
	budget := maxExpanded
	return parseOptions(of, all, 0, &budget)
}

func parseOptions(of set, raw []rawOption, depth int, links *int) (*options, error) {
	o := &options{of: of, raw: raw, top: defaultTop}
	seen := map[string]bool{}
	for _, r := range raw {
		if seen[r.name] {
			return nil, bad("选项 %.40s 出现了两次。", "%.40s is given twice", r.name)
		}
		seen[r.name] = true
		if err := o.set(r, depth, links); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *options) set(r rawOption, depth int, links *int) (err error) {
	switch r.name {
	case "$select":
		return o.parseSelect(r.value)
	case "$expand":
		return o.parseExpand(r.value, depth, links)
	case "$filter":
		o.filter, err = parseFilter(o.of, r.value)
	case "$orderby":
		return o.parseOrder(r.value)
	case "$top":
		o.top, err = countOf(r, 0)
		o.top = min(o.top, maxTop)
	case "$skip":
		if o.skip, err = countOf(r, 0); err == nil && o.skip > maxSkip {
			return bad("$skip=%d 超过上限 %d；请沿 @iot.nextLink 翻页，或用 $filter 缩小范围。", "$skip=%d is more than %d; follow @iot.nextLink, which costs the same at any depth, or narrow with $filter", o.skip, maxSkip)
		}
	case "$count":
		if r.value != "true" && r.value != "false" {
			return bad("$count=%.20q 不是 true 或 false。", "$count=%.20q is neither true nor false", r.value)
		}
		o.count = r.value == "true"
	case datasetOption:
		if depth > 0 {
			return bad("%s 只能用于整个请求，不能写在 $expand 里。", "%s is of the whole request, and stands in no $expand", datasetOption)
		}
	case "$resultFormat":
		if r.value != "dataArray" || o.of != observations {
			return bad("$resultFormat=%.20q 不受支持；Observations 可用 dataArray。", "$resultFormat=%.20q is not known; Observations have dataArray", r.value)
		}
		o.array = true
	case tokenOption:
		key, err := base64.RawURLEncoding.DecodeString(r.value)
		if err != nil || len(key) == 0 {
			return bad("%s 不是本枢纽给出的；请去掉它从头开始。", "%s is none that this hub gave; leave it out to begin anew", tokenOption)
		}
		o.after = string(key)
	default:
		return bad("选项 %.40q 不存在；可用：%s。", "there is no option %.40q; there are %s", r.name, strings.Join(optionNames[:len(optionNames)-1], ", "))
	}
	return err
}

func countOf(r rawOption, low int) (int, error) {
	n, err := strconv.Atoi(r.value)
	if err != nil || n < low {
		return 0, bad("%s=%.20q 不是非负整数。", "%s=%.20q is no whole number of 0 and above", r.name, r.value)
	}
	return n, nil
}

func (o *options) parseSelect(s string) error {
	for name := range strings.SplitSeq(s, ",") {
		name = strings.TrimSpace(name)
		_, isProperty := propertyOf(o.of, name)
		_, isLink := linkOf(o.of, name)
		if !isProperty && !isLink {
			return unknownProperty(o.of, name)
		}
		if name == "id" {
			name = idName
		}
		o.selec = append(o.selec, name)
	}
	return nil
}

func (o *options) selects(name string) bool { return o.selec == nil || slices.Contains(o.selec, name) }

func (o *options) parseOrder(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		path, direction, _ := strings.Cut(strings.TrimSpace(part), " ")
		direction = strings.TrimSpace(direction)
		if direction != "" && direction != "asc" && direction != "desc" {
			return bad("$orderby 的方向 %.20q 不是 asc 或 desc。", "$orderby: %.20q is neither asc nor desc", direction)
		}
		by, err := parsePath(o.of, path)
		if err != nil {
			return err
		}
		if by.kind == object {
			return bad("$orderby 不能按对象 %.40s 排序。", "$orderby: %.40s is an object; order by one of its members, as in properties/kind", path)
		}
		if o.order = append(o.order, ordering{by, direction == "desc"}); len(o.order) > maxOrderings {
			return bad("$orderby 超过 %d 项。", "$orderby has more than %d terms", maxOrderings)
		}
	}
	return nil
}

func (o *options) parseExpand(s string, depth int, links *int) error {
	if depth++; depth > maxNesting {
		return bad("$expand 嵌套超过 %d 层。", "$expand is nested more than %d deep; ask for the inner entities by their navigationLink", maxNesting)
	}
	parts, err := outside(s, ',')
	if err != nil {
		return err
	}
	for _, part := range parts {
		if *links--; *links < 0 {
			return bad("$expand 一共超过 %d 个链接。", "$expand names more than %d links", maxExpanded)
		}
		if err := o.expandOne(strings.TrimSpace(part), depth, links); err != nil {
			return err
		}
	}
	return nil
}

// expandOne reads Link, Link/Link or Link(options).
func (o *options) expandOne(s string, depth int, links *int) error {
	path, inner, nested := strings.Cut(s, "(")
	if nested && !strings.HasSuffix(inner, ")") {
		return bad("$expand 中 %.40q 的括号没有结束。", "$expand: the ( of %.40q is not closed", path)
	}
	name, rest, more := strings.Cut(strings.TrimSpace(path), "/")
	l, ok := linkOf(o.of, name)
	if !ok {
		return unknownLink(o.of, name)
	}
	var raw []rawOption
	if more { // the options are those of the last
		raw = []rawOption{{"$expand", rest + s[len(path):]}}
	} else if nested {
		parts, err := outside(strings.TrimSuffix(inner, ")"), ';')
		if err != nil {
			return err
		}
		for _, p := range parts {
			name, v, _ := strings.Cut(p, "=")
			raw = append(raw, rawOption{strings.TrimSpace(name), v})
		}
	}
	for i, e := range o.expand {
		if e.link.name == name {
			return o.expand[i].merge(raw, depth, links)
		}
	}
	inside, err := parseOptions(l.to, raw, depth, links)
	if err != nil {
		return err
	}
	if inside.after != "" {
		return bad("$expand 内不能使用 %s。", "%s has no place within $expand", tokenOption)
	}
	o.expand = append(o.expand, expansion{l, inside})
	return nil
}

// merge adds what a second path through the same link expands.
func (e *expansion) merge(raw []rawOption, depth int, links *int) error {
	if len(raw) != 1 || raw[0].name != "$expand" {
		return bad("$expand 两次给出 %s。", "$expand names %s twice; put its options together", e.link.name)
	}
	known := e.options.raw
	for i, r := range known {
		if r.name == "$expand" {
			known[i].value += "," + raw[0].value
			return e.options.parseExpand(raw[0].value, depth, links)
		}
	}
	e.options.raw = append(known, raw[0])
	return e.options.parseExpand(raw[0].value, depth, links)
}

func unknownLink(of set, name string) error {
	all := make([]string, len(entities[of].links))
	for i, l := range entities[of].links {
		all[i] = l.name
	}
	return bad("%s 没有链接 %.60q；有：%s。", "%s have no link %.60q; there are %s", of.name(), name, strings.Join(all, ", "))
}

// outside parts a text at marks that stand in no parentheses and no quotes.
func outside(s string, mark byte) (parts []string, err error) {
	depth, begin, inText := 0, 0, false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\'':
			inText = !inText
		case inText:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == mark && depth == 0:
			parts = append(parts, s[begin:i])
			begin = i + 1
		}
		if depth < 0 {
			break
		}
	}
	if depth != 0 || inText {
		return nil, bad("%.60q 的括号或引号不成对。", "the parentheses or quotes of %.60q do not match", s)
	}
	return append(parts, s[begin:]), nil
}

// link is the query of the page that follows, behind a key.
func (o *options) next(after string) string {
	var b strings.Builder
	for _, name := range optionNames {
		for _, r := range o.raw {
			if r.name == name && name != "$skip" && name != tokenOption {
				b.WriteString(r.name + "=" + escapeQuery(r.value) + "&")
			}
		}
	}
	return b.String() + tokenOption + "=" + base64.RawURLEncoding.EncodeToString([]byte(after))
}

// escapeQuery leaves what the standard writes plain as people read it.
func escapeQuery(s string) string {
	return strings.NewReplacer("%24", "$", "%28", "(", "%29", ")", "%2C", ",", "%2F", "/", "%3A", ":", "%3D", "=", "%40", "@", "%27", "'").Replace(url.QueryEscape(s))
}
